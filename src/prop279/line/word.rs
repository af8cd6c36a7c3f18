//! The words that a line is made of.

use std::fmt;

use crate::isolation::IsolationId;

/// What can stand in a line as one word, whoever reads it: UTF-8 without white space and control characters, from 1 to
/// [`Word::MAX_LEN`] bytes. `Debug` hides it: names, results and isolation IDs are words.
#[derive(Clone, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// Longest word in bytes.
    pub const MAX_LEN: usize = IsolationId::MAX_LEN;

    /// Makes a word of a text; `None` when it is none.
    pub fn new(text: &str) -> Option<Self> {
        // Some readers separate words at any white space of Unicode.
        let is_inner = |c: char| !c.is_whitespace() && !c.is_control();
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        (fits && text.chars().all(is_inner)).then(|| Self(text.to_owned()))
    }

    /// Makes a word of bytes; `None` when they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().and_then(Self::new)
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Word(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_end_words_or_lines() {
        for text in ["a", "a.bit", "xn--a.bit.", "é", "\"", "::1", &"a".repeat(Word::MAX_LEN)] {
            assert_eq!(Word::new(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            " ",
            "a b",
            "a\tb",
            "a\n",
            "a\r",
            "a\0",
            "a\u{7f}",
            "a\u{85}",
            "a\u{a0}",
            "a\u{2028}",
        ] {
            assert_eq!(Word::new(text), None, "{text:?}");
        }
        assert_eq!(Word::new(&"a".repeat(Word::MAX_LEN + 1)), None);
        assert_eq!(Word::from_bytes(b"\xff"), None);
        assert!(!format!("{:?}", Word::new("secret")).contains("secret"));
    }
}
