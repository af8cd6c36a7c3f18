//! A chain of mainnet's size for measurements: as many blocks as a name lives, with as many transactions of as many bytes
//! as mainnet has, and real signatures. It is made from a seed, kept in a file, and served from there.
//!
//! | file | |
//! | --- | --- |
//! | [`generator`] | makes the blocks one after the other |
//! | [`mod@file`] | the edge: writes them to a file, and reads single ones back |
//!
//! Work and difficulty are regtest's, and so are the rules but for one: names live for 36,000 blocks, see [`params`].
//!
//! Most names are older than the chain: their first operation in it spends an output of a transaction that is nowhere.
//! A client that has but the window can't tell that from mainnet's, a full node would refuse it.

pub mod file;
pub mod generator;

use std::fmt::Write;

use bitcoin::hashes::{Hash, sha256};
use isonym_core::chain::params::Expiration;
use isonym_core::chain::{Height, Network, Params};
use isonym_core::name::{NameId, NameValue};

pub use file::{WindowError, WindowFile};
pub use generator::Generator;

/// After how many blocks mainnet's names expire.
pub const LIFE: Height = 36_000;

/// Returns the constants that the chain keeps to: regtest's, but for the life of its names.
pub fn params() -> &'static Params {
    static PARAMS: Params = Params {
        expiration: Expiration::Fixed(LIFE),
        ..*Network::Regtest.params()
    };
    &PARAMS
}

/// How large a chain is made, and from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What all choices follow from.
    pub seed: u64,
    /// Blocks before the window, which no client has to fetch: at least [`Plan::BEFORE`], since the first ones only
    /// make the money. Names whose last operation is there have expired when the chain ends.
    pub before: Height,
    /// Blocks in the window.
    pub blocks: Height,
    /// Names with an operation in the chain; a few less in chains that are too short for them.
    pub names: u32,
}

impl Plan {
    /// Fewest blocks before the window.
    pub const BEFORE: Height = 120;

    /// What mainnet has: 450,000 transactions, 150,000 living names, 250 MB.
    pub const MAINNET: Self = Self {
        seed: 1,
        before: 200,
        blocks: LIFE,
        names: 150_000,
    };

    /// Returns a plan with mainnet's density and so many blocks in the window.
    pub const fn short(seed: u64, blocks: Height) -> Self {
        Self {
            seed,
            before: Self::MAINNET.before,
            blocks,
            names: blocks.saturating_mul(Self::MAINNET.names / LIFE),
        }
    }

    /// Returns the height of the last block.
    pub const fn height(&self) -> Height {
        self.before.saturating_add(self.blocks)
    }
}

/// What a name came to in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The number of the name.
    pub index: u32,
    /// The number of its newest operation, counted from its registration, which may lie before the chain.
    pub version: u32,
    /// The height of the block with that.
    pub height: Height,
}

impl Registered {
    /// Returns the name.
    pub fn name(&self) -> NameId {
        name(self.index)
    }

    /// Returns its newest value.
    pub fn value(&self) -> NameValue {
        value(self.index, self.version)
    }

    /// Says whether it lives at a height, which is at least that of its newest operation.
    ///
    /// Source: Namecoin Core `names/main.cpp`, `CNameData::isExpired`.
    pub fn lives_at(&self, height: Height) -> bool {
        height.saturating_sub(self.height) < LIFE
    }
}

/// Hashes what is to look random but be the same each time.
fn draw(word: &str, index: u32, version: u32) -> [u8; 32] {
    let bytes = [word.as_bytes(), &index.to_le_bytes(), &version.to_le_bytes()].concat();
    sha256::Hash::hash(&bytes).to_byte_array()
}

/// Returns the name with a number: each another one, most of them domains.
pub fn name(index: u32) -> NameId {
    const CONSONANTS: &[u8] = b"bdfghklmnprstvwz";
    const VOWELS: &[u8] = b"aeiou";
    let [kind, length, letters @ ..] = draw("name", index, 0);
    let mut text = String::from(match kind {
        0..16 => "id/",
        16..20 => "dd/",
        _ => "d/",
    });
    let pick = |from: &[u8], byte: u8| char::from(from.get(usize::from(byte) % from.len()).copied().unwrap_or(b'x'));
    for pair in letters.as_chunks::<2>().0.iter().take(1 + usize::from(length % 6)) {
        text.push(pick(CONSONANTS, pair[0]));
        text.push(pick(VOWELS, pair[1]));
    }
    // What makes it another one than all others.
    let _ = write!(text, "{index:x}");
    NameId::new(text.as_bytes()).unwrap_or_else(|| unreachable!("a name of some twenty bytes"))
}

/// Returns the value that a name gets by its operation with a number, counted from 0: JSON of 20 to 520 bytes,
/// since no script can push more.
pub fn value(index: u32, version: u32) -> NameValue {
    let [kind, a, b, c, length, rest @ ..] = draw("value", index, version);
    let ip = format!("198.{}.{b}.{c}", 18 + (a & 1));
    let mut digits = String::new();
    for byte in rest.iter().cycle().take(usize::from(length)) {
        let _ = write!(digits, "{byte:02x}");
    }
    let digits = |count: usize| digits.get(..count).unwrap_or(&digits);
    let text = match kind {
        0..50 => format!(r#"{{"ip":"{ip}"}}"#),
        50..85 => format!(r#"{{"ns":["ns1.{0}.example","ns2.{0}.example"]}}"#, digits(8)),
        85..115 => format!(r#"{{"ip":"{ip}","map":{{"*":{{"ip":"{ip}"}},"www":{{"alias":""}}}}}}"#),
        115..165 => format!(
            r#"{{"ip":"{ip}","map":{{"_tor":{{"txt":"{}.onion"}}}},"info":"{}"}}"#,
            digits(56),
            digits(usize::from(length))
        ),
        _ => format!(
            r#"{{"ip":["{ip}"],"info":"{}"}}"#,
            digits(usize::from(length) * 19 / 10)
        ),
    };
    NameValue::new(text.as_bytes()).unwrap_or_else(|| unreachable!("a value of at most 520 bytes"))
}

#[cfg(test)]
mod tests;
