//! Chains of full regtest headers, right ones and wrong ones.

use std::fmt;
use std::sync::Arc;

use bitcoin::hashes::Hash;

use crate::chain::builder::{self, AuxPowSpec, REGTEST_BITS};
use crate::chain::sync::ClaimedTip;
use crate::chain::{Anchor, FullHeader, Height, Network, PureHeader};

/// The time of the genesis block, in seconds; each further block is [`SPACING`] later.
pub(in crate::chain::sync) const GENESIS_TIME: u32 = 1_296_688_602;

/// Seconds between two blocks.
pub(in crate::chain::sync) const SPACING: u32 = 600;

/// Full headers from the genesis block on.
#[derive(Clone)]
pub(in crate::chain::sync) struct Chain(Arc<Vec<Vec<u8>>>);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tip = self.tip();
        write!(f, "{}:{}", tip.height, tip.hash)
    }
}

impl Chain {
    /// Mines so many blocks on top of the genesis block.
    pub(in crate::chain::sync) fn mined(count: Height) -> Self {
        let genesis = Network::Regtest.params().genesis.as_bytes().to_vec();
        Self(Arc::new(vec![genesis])).grown(count, 0)
    }

    /// Mines so many more blocks; another salt gives other blocks. Every fifth has AuxPoW.
    pub(in crate::chain::sync) fn grown(&self, count: Height, salt: u8) -> Self {
        let mut headers = self.0.to_vec();
        for _ in 0..count {
            let height = Height::try_from(headers.len()).unwrap();
            let prev = hash_of(headers.last().unwrap());
            let time = GENESIS_TIME + height * SPACING + u32::from(salt);
            headers.push(if height.is_multiple_of(5) {
                AuxPowSpec::default().full_header(prev, time)
            } else {
                let header = builder::header(0x0001_0004, prev, [salt; 32], time, REGTEST_BITS, 0);
                builder::mine(header, true).to_vec()
            });
        }
        Self(Arc::new(headers))
    }

    /// Adds so many blocks with AuxPoW; those of which the test holds, counted from 0, without the work that they claim.
    pub(in crate::chain::sync) fn merge_mined(
        &self,
        count: Height,
        salt: u8,
        is_forged: impl Fn(Height) -> bool,
    ) -> Self {
        let mut headers = self.0.to_vec();
        for at in 0..count {
            let height = Height::try_from(headers.len()).unwrap();
            let prev = hash_of(headers.last().unwrap());
            let spec = AuxPowSpec {
                parent_meets: !is_forged(at),
                ..AuxPowSpec::default()
            };
            headers.push(spec.full_header(prev, GENESIS_TIME + height * SPACING + u32::from(salt)));
        }
        Self(Arc::new(headers))
    }

    /// Keeps the blocks up to a height, and mines so many others on top of it.
    pub(in crate::chain::sync) fn forked(&self, height: Height, count: Height, salt: u8) -> Self {
        self.cut(height).grown(count, salt)
    }

    /// Keeps the blocks up to a height.
    pub(in crate::chain::sync) fn cut(&self, height: Height) -> Self {
        Self(Arc::new(self.0.iter().take(height as usize + 1).cloned().collect()))
    }

    /// Adds so many blocks without work.
    pub(in crate::chain::sync) fn idled(&self, count: Height) -> Self {
        let mut headers = self.0.to_vec();
        for _ in 0..count {
            let time = GENESIS_TIME + u32::try_from(headers.len()).unwrap() * SPACING;
            let prev = hash_of(headers.last().unwrap());
            let header = builder::header(0x0001_0004, prev, [9; 32], time, REGTEST_BITS, 0);
            headers.push(builder::mine(header, false).to_vec());
        }
        Self(Arc::new(headers))
    }

    /// Adds a block that claims to be so many seconds later than it should.
    pub(in crate::chain::sync) fn ahead(&self, seconds: u32) -> Self {
        let mut headers = self.0.to_vec();
        let time = GENESIS_TIME + u32::try_from(headers.len()).unwrap() * SPACING + seconds;
        let prev = hash_of(headers.last().unwrap());
        let header = builder::header(0x0001_0004, prev, [8; 32], time, REGTEST_BITS, 0);
        headers.push(builder::mine(header, true).to_vec());
        Self(Arc::new(headers))
    }

    /// Changes the bytes that are served for a height.
    pub(in crate::chain::sync) fn bent(&self, height: Height, bend: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut headers = self.0.to_vec();
        bend(&mut headers[height as usize]);
        Self(Arc::new(headers))
    }

    pub(in crate::chain::sync) fn height(&self) -> Height {
        Height::try_from(self.0.len() - 1).unwrap()
    }

    /// Returns the tip as an honest server tells it.
    pub(in crate::chain::sync) fn tip(&self) -> ClaimedTip {
        let hash = bitcoin::BlockHash::from_byte_array(hash_of(self.0.last().unwrap()));
        ClaimedTip {
            height: self.height(),
            hash,
        }
    }

    pub(in crate::chain::sync) fn tip_time(&self) -> u64 {
        let (full, _) = FullHeader::decode(self.0.last().unwrap()).unwrap();
        u64::from(full.pure.time())
    }

    pub(in crate::chain::sync) fn anchor(&self, height: Height) -> Anchor {
        Anchor {
            height,
            hash: self.cut(height).tip().hash,
            chainwork: None,
        }
    }

    /// Returns the full headers of these heights, as far as there are any.
    pub(in crate::chain::sync) fn full(&self, start: Height, count: Height) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .skip(start as usize)
            .take(count as usize)
            .map(Vec::as_slice)
    }

    pub(in crate::chain::sync) fn pure(&self, height: Height) -> PureHeader {
        PureHeader::decode(&self.0[height as usize][..80]).unwrap()
    }
}

fn hash_of(full: &[u8]) -> [u8; 32] {
    builder::sha256d(&full[..80])
}
