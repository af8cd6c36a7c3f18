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
    #[error("malformed anchor file")]
    Toml(#[from] toml::de::Error),
    /// An anchor can't be written as TOML.
    #[error("cannot write an anchor file")]
    Write(#[from] toml::ser::Error),
}

/// An anchor file, see `headers/README.md`.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct AnchorFile {
    height: Height,
    hash: String,
    work: String,
    source: String,
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

impl Anchor {
    /// Writes an anchor file, see `headers/README.md`. `source` says where the values come from.
    ///
    /// # Errors
    ///
    /// [`AnchorError::Write`] when that can't be written as TOML.
    pub fn to_toml(&self, source: &str) -> Result<String, AnchorError> {
        let file = AnchorFile {
            height: self.height,
            hash: self.hash.to_string(),
            work: self.chainwork.map_or(Self::UNKNOWN_WORK.to_owned(), short_hex),
            source: source.to_owned(),
        };
        Ok(toml::to_string(&file)?)
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
            Some(work) => write!(f, ":{}", short_hex(work)),
            None => Ok(()),
        }
    }
}

/// Writes work in hexadecimal without leading zeros.
fn short_hex(work: Work) -> String {
    let digits = format!("{work:x}");
    let significant = digits.trim_start_matches('0');
    format!("0x{}", if significant.is_empty() { "0" } else { significant })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "46c38b14b25fef782cc454cac284b720f58ad414d2c323a980ede420da6affcf";

    #[test]
    fn shipped_anchors_are_whole_and_the_known_ones() {
        let heights = Network::ALL.map(|network| {
            let anchor = Anchor::shipped(network).unwrap();
            assert!(anchor.chainwork.is_some());
            anchor.height
        });
        assert_eq!(heights, [815_000, 233_000, 0]);
        let genesis = Anchor::shipped(Network::Regtest).unwrap().hash;
        assert_eq!(genesis, Network::Regtest.params().genesis.hash());
        let mainnet = Anchor::shipped(Network::Mainnet).unwrap().to_string();
        assert_eq!(mainnet, format!("815000:{HASH}:0xa88f4530bb8eaceaffde5c50"));
    }

    #[test]
    fn a_written_file_is_read_back() {
        for text in [format!("815000:{HASH}:a8"), format!("0:{HASH}")] {
            let anchor: Anchor = text.parse().unwrap();
            for source in ["", "a \"quoted\" one\nin two lines", "ünï"] {
                let file = anchor.to_toml(source).unwrap();
                assert_eq!(Anchor::parse_toml(&file).unwrap(), anchor, "{file}");
            }
        }
    }

    #[test]
    fn the_command_line_form_is_parsed_with_or_without_work() {
        let parse = |text: String| text.parse::<Anchor>();
        let bare = parse(format!("815000:{HASH}")).unwrap();
        assert_eq!((bare.height, bare.chainwork), (815_000, None));
        let with = parse(format!("815000:{HASH}:a8")).unwrap();
        assert_eq!(with, parse(format!("815000:{HASH}:0xA8")).unwrap());
        assert_eq!(with.chainwork.unwrap().to_string(), "168");
    }

    #[test]
    fn each_wrong_field_has_its_error() {
        let parse = |text: &str| text.replace("HASH", HASH).parse::<Anchor>().unwrap_err();
        for text in ["", "1", "815000", "1:HASH:1:1", "1:HASH:1:"] {
            assert_eq!(parse(text), AnchorError::Shape, "{text}");
        }
        for text in ["", "-1", "+1", "1 ", "x", "2147483648", "99999999999999999999"] {
            assert_eq!(parse(&format!("{text}:HASH")), AnchorError::Height(text.to_owned()));
        }
        for text in ["", "46", "HASH0", "0xHASH", &"g".repeat(64)] {
            assert!(matches!(parse(&format!("1:{text}")), AnchorError::Hash(_)), "{text}");
        }
        for text in ["", "0x", "x", "+1", "0x0x1", "-1", &"0".repeat(65)] {
            assert!(
                matches!(parse(&format!("1:HASH:{text}")), AnchorError::Work(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn messages_neither_grow_nor_break_lines() {
        let message = format!("{}\n:{HASH}", "9".repeat(10_000))
            .parse::<Anchor>()
            .unwrap_err()
            .to_string();
        assert!(message.len() < 200);
        let message = format!("\n\u{1b}:{HASH}").parse::<Anchor>().unwrap_err().to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
    }

    #[test]
    fn anchor_files_are_strict() {
        let file = |height: &str, hash: &str, work: &str, more: &str| {
            Anchor::parse_toml(&format!(
                "height = {height}\nhash = \"{hash}\"\nwork = \"{work}\"\nsource = \"a test\"\n{more}"
            ))
        };
        assert_eq!(file("7", HASH, "unknown", "").unwrap().chainwork, None);
        assert_eq!(file("7", HASH, "0x10", ""), format!("7:{HASH}:10").parse());
        assert!(matches!(file("7", HASH, "", ""), Err(AnchorError::Work(_))));
        assert!(matches!(file("7", "", "1", ""), Err(AnchorError::Hash(_))));
        assert!(matches!(file("2147483648", HASH, "1", ""), Err(AnchorError::Height(_))));
        for (height, more) in [
            ("-1", ""),
            ("1.5", ""),
            ("\"1\"", ""),
            ("1", "more = 1"),
            ("1", "height = 2"),
        ] {
            assert!(
                matches!(file(height, HASH, "1", more), Err(AnchorError::Toml(_))),
                "{height} {more}"
            );
        }
        assert!(matches!(Anchor::parse_toml("height = 1"), Err(AnchorError::Toml(_))));
        let (got, max) = (Anchor::MAX_TOML_LEN + 1, Anchor::MAX_TOML_LEN);
        assert_eq!(
            Anchor::parse_toml(&" ".repeat(got)),
            Err(AnchorError::FileTooLong { got, max })
        );
    }

    proptest! {
        #[test]
        fn anchors_parse_back(height in 0..=Anchor::MAX_HEIGHT, hash: [u8; 32], work: Option<[u8; 32]>) {
            use bitcoin::hashes::Hash;
            let anchor = Anchor {
                height,
                hash: BlockHash::from_byte_array(hash),
                chainwork: work.map(Work::from_be_bytes),
            };
            prop_assert_eq!(anchor.to_string().parse(), Ok(anchor));
        }

        #[test]
        fn any_text_parses_or_fails(text in ".{0,200}") {
            let _ = text.parse::<Anchor>();
            let _ = Anchor::parse_toml(&text);
        }
    }
}
