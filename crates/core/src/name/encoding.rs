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

/// Returns bytes as people may be shown them, wherever they come from: UTF-8 where they are, with each character that is not
/// visible, or that changes how others are shown, as `\u{…}` and each byte that is no UTF-8 as `\xNN`. Line breaks are such
/// characters. It is for reading alone: different bytes may look alike.
pub fn visible(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\'' | '\\' => shown.push(char),
                _ => shown.extend(char.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shown_is_seen_and_changes_nothing_else() {
        for (bytes, shown) in [
            (&b"{\"a\":'\\'}"[..], r#"{"a":'\'}"#),
            ("grüße 名".as_bytes(), "grüße 名"),
            (b"a\nb\t\0\x1b[2J\x7f", r"a\nb\t\0\u{1b}[2J\u{7f}"),
            (
                "\u{202e}x\u{200b}\u{feff}\u{9b}".as_bytes(),
                r"\u{202e}x\u{200b}\u{feff}\u{9b}",
            ),
            (b"a\xff\xc3", r"a\xff\xc3"),
            (b"", ""),
        ] {
            assert_eq!(visible(bytes), shown);
        }
    }

    #[test]
    fn ascii_goes_from_space_to_delete() {
        for byte in 0..=u8::MAX {
            let fits = (0x20..=0x7f).contains(&byte);
            assert_eq!(Encoding::Ascii.encode(&[b'd', byte]).is_ok(), fits, "{byte:#x}");
            let text: String = ['d', char::from(byte)].into_iter().collect();
            assert_eq!(Encoding::Ascii.decode(&text).is_ok(), fits, "{byte:#x}");
        }
        assert_eq!(Encoding::Ascii.encode(b""), Ok(String::new()));
    }

    #[test]
    fn utf8_is_taken_strictly() {
        assert_eq!(Encoding::Utf8.encode("d/名\n\0".as_bytes()), Ok("d/名\n\0".to_owned()));
        let overlong: &[u8] = &[0xc0, 0x80];
        let surrogate: &[u8] = &[0xed, 0xa0, 0x80];
        let beyond: &[u8] = &[0xf4, 0x90, 0x80, 0x80];
        for bytes in [overlong, surrogate, beyond, b"\xff", b"d/\xc3"] {
            assert_eq!(Encoding::Utf8.encode(bytes), Err(EncodingError(Encoding::Utf8)));
        }
    }

    #[test]
    fn hex_takes_either_case_and_whole_bytes() {
        assert_eq!(Encoding::Hex.decode("00aAfF"), Ok(vec![0x00, 0xaa, 0xff]));
        assert_eq!(Encoding::Hex.encode(&[0x00, 0xaa, 0xff]), Ok("00aaff".to_owned()));
        assert_eq!(Encoding::Hex.decode(""), Ok(vec![]));
        for text in ["0", "0g", "0x00", " 00", "00 ", "+1", "\u{661}"] {
            assert_eq!(Encoding::Hex.decode(text), Err(EncodingError(Encoding::Hex)), "{text}");
        }
    }

    #[test]
    fn messages_show_names_as_core_does() {
        assert_eq!(quoted(b"d/x"), "'d/x'");
        assert_eq!(quoted(b""), "''");
        assert_eq!(quoted(b"it's"), "'it's'");
        assert_eq!(quoted("d/é".as_bytes()), "0x642fc3a9");
        assert_eq!(quoted(&[5]), "0x05");
    }

    #[test]
    fn words_parse_back_and_errors_name_them() {
        for encoding in Encoding::ALL {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
        }
        assert!("ASCII".parse::<Encoding>().is_err());
        assert_eq!(
            EncodingError(Encoding::Ascii).to_string(),
            "name/value is invalid for encoding ascii"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for encoding in Encoding::ALL {
                if let Ok(text) = encoding.encode(&bytes) {
                    prop_assert_eq!(encoding.decode(&text), Ok(bytes.clone()));
                }
            }
            prop_assert!(Encoding::Hex.encode(&bytes).is_ok());
        }

        #[test]
        fn what_is_decoded_encodes_to_the_same_text(text in any::<String>()) {
            for encoding in [Encoding::Ascii, Encoding::Utf8] {
                if let Ok(bytes) = encoding.decode(&text) {
                    prop_assert_eq!(encoding.encode(&bytes), Ok(text.clone()));
                }
            }
            if let Ok(bytes) = Encoding::Hex.decode(&text) {
                prop_assert_eq!(Encoding::Hex.encode(&bytes), Ok(text.to_lowercase()));
            }
        }
    }
}
