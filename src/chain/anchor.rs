//! Trust anchors: the blocks that verification starts from.

use std::fmt;
use std::str::FromStr;

use bitcoin::BlockHash;
use bitcoin::pow::Work;

use super::{Height, Network};

/// A block that is trusted by configuration.
///
/// As text, on the command line: `HEIGHT:HASH` or `HEIGHT:HASH:WORK`, the work in hexadecimal with or without `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Total work of the chain up to it, where known; only its sum with later work is ever shown, fork choice does
    /// not depend on it.
    pub chainwork: Option<Work>,
}

/// Why text is no anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// There are not two or three fields with colons between them.
    #[error("expected HEIGHT:HASH or HEIGHT:HASH:WORK")]
    Shape,
    /// The height is no number from 0 to [`Anchor::MAX_HEIGHT`].
    #[error("height `{0}` is no number from 0 to {max}", max = Anchor::MAX_HEIGHT)]
    Height(String),
    /// The hash has not 64 hexadecimal digits.
    #[error("block hash `{0}` is not 64 hexadecimal digits")]
    Hash(String),
    /// The work has not 1 to 64 hexadecimal digits.
    #[error("work `{0}` is not 1 to 64 hexadecimal digits")]
    Work(String),
    /// A file is longer than [`Anchor::MAX_TOML_LEN`].
    #[error("anchor file of {got} bytes, at most {max} allowed")]
    FileTooLong {
        /// Its length in bytes.
        got: usize,
        /// Longest length.
        max: usize,
    },
    /// A file is no TOML of the right form.
    #[error("anchor file: {0}")]
    Toml(#[from] toml::de::Error),
}

/// An anchor file, see `headers/README.md`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorFile {
    height: Height,
    hash: String,
    work: String,
    #[serde(rename = "source")]
    _source: String,
}

impl Anchor {
    /// Highest height of an anchor: Core's heights are i32.
    pub const MAX_HEIGHT: Height = i32::MAX.cast_unsigned();

    /// Longest anchor file in bytes.
    pub const MAX_TOML_LEN: usize = 4096;

    /// How an anchor file says that the work isn't known.
    const UNKNOWN_WORK: &str = "unknown";

    /// Returns the anchor that this version ships for a network, from the folder `headers`.
    ///
    /// # Errors
    ///
    /// None in a build that passed its tests: they parse every shipped file.
    pub fn shipped(network: Network) -> Result<Self, AnchorError> {
        Self::parse_toml(match network {
            Network::Mainnet => include_str!("../../headers/mainnet.toml"),
            Network::Testnet => include_str!("../../headers/testnet.toml"),
            Network::Regtest => include_str!("../../headers/regtest.toml"),
        })
    }

    /// Parses an anchor file.
    pub fn parse_toml(text: &str) -> Result<Self, AnchorError> {
        let (got, max) = (text.len(), Self::MAX_TOML_LEN);
        if got > max {
            return Err(AnchorError::FileTooLong { got, max });
        }
        let file: AnchorFile = toml::from_str(text)?;
        if file.height > Self::MAX_HEIGHT {
            return Err(AnchorError::Height(file.height.to_string()));
        }
        let chainwork = match file.work.as_str() {
            Self::UNKNOWN_WORK => None,
            work => Some(parse_work(work)?),
        };
        Ok(Self {
            height: file.height,
            hash: parse_hash(&file.hash)?,
            chainwork,
        })
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (height, rest) = text.split_once(':').ok_or(AnchorError::Shape)?;
        let (hash, work) = match rest.split_once(':') {
            Some((hash, work)) => (hash, Some(work)),
            None => (rest, None),
        };
        if work.is_some_and(|work| work.contains(':')) {
            return Err(AnchorError::Shape);
        }
        Ok(Self {
            height: parse_height(height)?,
            hash: parse_hash(hash)?,
            chainwork: work.map(parse_work).transpose()?,
        })
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.height, self.hash)?;
        match self.chainwork {
            Some(work) => write!(f, ":{work:#x}"),
            None => Ok(()),
        }
    }
}

fn parse_height(text: &str) -> Result<Height, AnchorError> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|height| digits_only && *height <= Anchor::MAX_HEIGHT)
        .ok_or_else(|| AnchorError::Height(excerpt(text)))
}

fn parse_hash(text: &str) -> Result<BlockHash, AnchorError> {
    text.parse().map_err(|_| AnchorError::Hash(excerpt(text)))
}

fn parse_work(text: &str) -> Result<Work, AnchorError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = || AnchorError::Work(excerpt(text));
    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    Work::from_unprefixed_hex(digits).map_err(|_| wrong())
}

/// Cuts text for a message, on whose length and line breaks nobody can be trusted.
fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
