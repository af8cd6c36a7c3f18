//! The constants of Namecoin's networks, as values.
//!
//! Source: Namecoin Core `kernel/chainparams.cpp` and `names/main.h`.

use std::fmt;
use std::str::FromStr;

use bitcoin::{CompactTarget, Target};

use super::{Height, PureHeader};
use crate::time::Timestamp;

/// Blocks between two retargets, on every network that retargets.
pub const RETARGET_INTERVAL: Height = 2016;

/// What [`RETARGET_INTERVAL`] blocks should take: 14 days, in seconds.
pub const RETARGET_TIMESPAN: u32 = 14 * 24 * 60 * 60;

/// How many previous blocks' times the median is taken of.
pub const MEDIAN_TIME_SPAN: usize = 11;

/// How far a block time may lie ahead of the wall clock, in seconds.
pub const MAX_FUTURE_SECONDS: u64 = 2 * 60 * 60;

/// The age in seconds from which a tip counts as stale: eight hours.
///
/// 48 blocks are due in that time. A longer silence means that somebody keeps blocks from us, and with them the
/// updates that revoke old values.
pub const MAX_TIP_AGE: u64 = 8 * 60 * 60;

/// A Namecoin network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// The network that names are worth something on.
    #[default]
    Mainnet,
    /// The public test network.
    Testnet,
    /// Core's local network for tests: blocks on demand, no difficulty.
    Regtest,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 3] = [Self::Mainnet, Self::Testnet, Self::Regtest];

    /// Returns the network's name as the command line spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Regtest => "regtest",
        }
    }

    /// Returns the network's constants.
    pub const fn params(self) -> &'static Params {
        match self {
            Self::Mainnet => &MAINNET,
            Self::Testnet => &TESTNET,
            Self::Regtest => &REGTEST,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no network's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{0}`: expected mainnet, testnet or regtest")]
pub struct UnknownNetwork(pub String);

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(word: &str) -> Result<Self, UnknownNetwork> {
        Self::ALL
            .into_iter()
            .find(|network| network.as_str() == word)
            .ok_or_else(|| UnknownNetwork(word.to_owned()))
    }
}

/// When the target of a block may drop to the easiest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retargeting {
    /// Every 2016 blocks, no exception.
    Always,
    /// Every 2016 blocks, and blocks later than this time (seconds) may have minimum difficulty when they come
    /// more than 20 minutes after their parent.
    MinimumDifficultyAfter(u32),
    /// Never: every block has its parent's bits.
    Never,
}

/// The easiest target of a network: `2^(256 − leading_zeros) − 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowLimit {
    /// Zero bits in front, below 128.
    pub leading_zeros: u32,
}

impl PowLimit {
    /// Returns the target.
    pub fn target(self) -> Target {
        let mut bytes = [0xff; 32];
        let head = u128::MAX.checked_shr(self.leading_zeros).unwrap_or(0);
        bytes
            .iter_mut()
            .zip(head.to_be_bytes())
            .for_each(|(byte, value)| *byte = value);
        Target::from_be_bytes(bytes)
    }
}

/// The constants of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Which network.
    pub network: Network,
    /// The genesis header's 80 bytes.
    pub genesis: PureHeader,
    /// The easiest target allowed.
    pub pow_limit: PowLimit,
    /// How the target moves.
    pub retargeting: Retargeting,
    /// First height at which AuxPoW is allowed.
    pub auxpow_start: Height,
    /// Namecoin's number among merge-mined chains.
    pub chain_id: i32,
    /// Whether chain IDs of a block and of its parent block are enforced.
    pub strict_chain_id: bool,
    /// Version 1 headers are refused from this height on; `None`: never.
    pub legacy_end: Option<Height>,
    /// Heights from which the base version must be at least 2, 3 and 4.
    pub base_version_heights: [Height; 3],
    /// How name registrations age.
    pub expiration: Expiration,
    /// Fewest satoshis that a name output locks.
    pub min_name_value: u64,
    /// First byte of a P2PKH address.
    pub p2pkh_version: u8,
    /// First byte of a P2SH address.
    pub p2sh_version: u8,
    /// Human-readable part of segwit addresses.
    pub bech32_hrp: &'static str,
    /// Whether a tip older than eight hours means that the servers are stale: not on regtest, where blocks are
    /// made by hand.
    pub tip_ages: bool,
}

/// After how many blocks a name that nobody updates expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// Namecoin's historic schedule: 12000 below height 24000, then height − 12000 up to 48000, then 36000.
    Historic,
    /// The same depth at every height.
    Fixed(Height),
}

impl Params {
    /// Returns how many blocks after its last update a name expires, as seen from `height`.
    ///
    /// Source: Namecoin Core `consensus/params.h`, `NameExpirationDepth`.
    pub const fn expiration_depth(&self, height: Height) -> Height {
        match self.expiration {
            Expiration::Fixed(depth) => depth,
            Expiration::Historic if height < 24_000 => 12_000,
            Expiration::Historic if height < 48_000 => height - 12_000,
            Expiration::Historic => 36_000,
        }
    }

    /// Returns how many blocks before its expiry a name counts as semi-expired (renewal overdue).
    ///
    /// Two retarget intervals, four weeks: whoever has not renewed by then may lose the name to somebody else
    /// while a resolver with a slightly stale chain still serves the old value.
    /// Source: Electrum-NMC `names.py`, regtest value scaled as there.
    pub const fn semi_expiration_margin(&self) -> Height {
        match self.expiration {
            Expiration::Historic => 2 * RETARGET_INTERVAL,
            Expiration::Fixed(_) => 4,
        }
    }

    /// Says whether a tip with this block time is so old that the servers must have lost touch with the network.
    pub fn is_stale(&self, tip_time: Timestamp, now: Timestamp) -> bool {
        self.tip_ages && now.seconds_since(tip_time) > MAX_TIP_AGE
    }

    /// Returns the easiest target in its compact form.
    pub fn pow_limit_bits(&self) -> CompactTarget {
        self.pow_limit.target().to_compact_lossy()
    }
}

/// `0.01 NMC`, what a name output has locked since height 212500.
const NAME_LOCK: u64 = 1_000_000;

const fn hex_nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => unreachable!(),
    }
}

/// Builds a genesis header from its fields; the merkle root in display order (reversed), as documents print it.
#[expect(
    clippy::indexing_slicing,
    reason = "runs when compiled: a wrong index would not compile"
)]
const fn genesis(merkle_root: &[u8; 64], time: u32, bits: u32, nonce: u32) -> PureHeader {
    let mut bytes = [0; PureHeader::SIZE];
    bytes[0] = 1;
    let mut at = 0;
    while at < 32 {
        bytes[67 - at] = hex_nibble(merkle_root[2 * at]) << 4 | hex_nibble(merkle_root[2 * at + 1]);
        at += 1;
    }
    let words = [time.to_le_bytes(), bits.to_le_bytes(), nonce.to_le_bytes()];
    let mut at = 0;
    while at < 12 {
        bytes[68 + at] = words[at / 4][at % 4];
        at += 1;
    }
    PureHeader::new(bytes)
}

const TEST_GENESIS_ROOT: &[u8; 64] = b"4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";

static MAINNET: Params = Params {
    network: Network::Mainnet,
    genesis: genesis(
        b"41c62dbd9068c89a449525e3cd5ac61b20ece28c3c38b3f35b2161f0e6d3cb0d",
        1_303_000_001,
        0x1c00_7fff,
        0xa21e_a192,
    ),
    pow_limit: PowLimit { leading_zeros: 32 },
    retargeting: Retargeting::Always,
    auxpow_start: 19_200,
    chain_id: 1,
    strict_chain_id: true,
    legacy_end: Some(19_200),
    base_version_heights: [250_000, 250_000, 335_000],
    expiration: Expiration::Historic,
    min_name_value: NAME_LOCK,
    p2pkh_version: 52,
    p2sh_version: 13,
    bech32_hrp: "nc",
    tip_ages: true,
};

static TESTNET: Params = Params {
    network: Network::Testnet,
    genesis: genesis(TEST_GENESIS_ROOT, 1_296_688_602, 0x1d07_fff8, 0x16ec_0bff),
    pow_limit: PowLimit { leading_zeros: 28 },
    retargeting: Retargeting::MinimumDifficultyAfter(1_394_838_000),
    auxpow_start: 0,
    chain_id: 1,
    strict_chain_id: false,
    legacy_end: None,
    base_version_heights: [130_000; 3],
    expiration: Expiration::Historic,
    min_name_value: NAME_LOCK,
    p2pkh_version: 111,
    p2sh_version: 196,
    bech32_hrp: "tn",
    tip_ages: true,
};

static REGTEST: Params = Params {
    network: Network::Regtest,
    genesis: genesis(TEST_GENESIS_ROOT, 1_296_688_602, 0x207f_ffff, 2),
    pow_limit: PowLimit { leading_zeros: 1 },
    retargeting: Retargeting::Never,
    auxpow_start: 0,
    chain_id: 1,
    strict_chain_id: true,
    legacy_end: Some(1),
    base_version_heights: [1; 3],
    expiration: Expiration::Fixed(30),
    min_name_value: NAME_LOCK,
    p2pkh_version: 111,
    p2sh_version: 196,
    bech32_hrp: "ncrt",
    tip_ages: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_headers_hash_to_the_known_hashes() {
        let hashes = Network::ALL.map(|network| network.params().genesis.hash().to_string());
        assert_eq!(
            hashes,
            [
                "000000000062b72c5e2ceb45fbc8587e807c155b0da735e6483dfba2f0a9c770",
                "00000007199508e34a9ff81e6ec0c477a4cccff2a4767a8eee39c11db367b008",
                "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
            ]
        );
    }

    #[test]
    fn pow_limits_are_those_of_core() {
        let limits = Network::ALL.map(|network| network.params().pow_limit_bits().to_consensus());
        assert_eq!(limits, [0x1d00_ffff, 0x1d0f_ffff, 0x207f_ffff]);
    }

    #[test]
    fn expiration_depth_follows_the_historic_steps() {
        let params = Network::Mainnet.params();
        let at = [0, 23_999, 24_000, 47_999, 48_000, 800_000].map(|height| params.expiration_depth(height));
        assert_eq!(at, [12_000, 12_000, 12_000, 35_999, 36_000, 36_000]);
        assert_eq!(Network::Regtest.params().expiration_depth(800_000), 30);
    }

    #[test]
    fn network_names_parse_back() {
        for network in Network::ALL {
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        assert!("main".parse::<Network>().is_err());
    }
}
