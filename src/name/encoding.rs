//! How the bytes of names and values are written as text.
//!
//! Source: Namecoin Core `names/encoding.cpp`.

use std::fmt;
use std::str::FromStr;

/// A way to write bytes as text. Each byte string has at most one text in each, so nothing is guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Each byte from 0x20 to 0x7f is the character of that code; there are no others. Core counts 0x7f in.
    #[default]
    Ascii,
    /// Well-formed UTF-8, control characters included.
    Utf8,
    /// Two digits for a byte, either case in, lower case out.
    Hex,
}

/// Bytes or a text that an encoding can't express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name/value is invalid for encoding {0}")]
pub struct EncodingError(pub Encoding);

/// A word that is no encoding's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown encoding `{0}`: expected ascii, utf8 or hex")]
pub struct UnknownEncoding(pub String);

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 3] = [Self::Ascii, Self::Utf8, Self::Hex];

    /// Returns the word for it in options and results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Utf8 => "utf8",
            Self::Hex => "hex",
        }
    }

    /// Returns the bytes that a text stands for.
    ///
    /// # Errors
    ///
    /// [`EncodingError`] when the text doesn't keep to the encoding.
    pub fn decode(self, text: &str) -> Result<Vec<u8>, EncodingError> {
        match self {
            Self::Ascii if is_ascii(text.as_bytes()) => Ok(text.as_bytes().to_vec()),
            Self::Ascii => Err(EncodingError(self)),
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Hex => decode_hex(text).ok_or(EncodingError(self)),
        }
    }

    /// Writes bytes as text.
    ///
    /// # Errors
    ///
    /// [`EncodingError`] when the encoding can't express the bytes.
    pub fn encode(self, bytes: &[u8]) -> Result<String, EncodingError> {
        let text = match self {
            Self::Ascii if !is_ascii(bytes) => None,
            Self::Ascii | Self::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Self::Hex => Some(encode_hex(bytes)),
        };
        text.ok_or(EncodingError(self))
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(word: &str) -> Result<Self, UnknownEncoding> {
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.as_str() == word)
            .ok_or_else(|| UnknownEncoding(word.to_owned()))
    }
}

/// Returns bytes as error messages show them: `'d/x'` when they are valid [`Encoding::Ascii`], else `0x` and hex.
///
/// Source: Namecoin Core `names/encoding.cpp`, `EncodeNameForMessage`.
pub fn quoted(bytes: &[u8]) -> String {
    match Encoding::Ascii.encode(bytes) {
        Ok(text) => format!("'{text}'"),
        Err(_) => format!("0x{}", encode_hex(bytes)),
    }
}

fn is_ascii(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (0x20..=0x7f).contains(byte))
}

fn encode_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
        .collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
