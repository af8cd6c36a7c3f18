//! Cuts a stream of bytes into lines, however long a stranger makes them.

use std::fmt;

/// Longest line in bytes, without its end: the longest name and isolation ID fit in several times.
pub const MAX_LINE: usize = 8 << 10;

/// A line of what a plugin or its caller writes. `Debug` hides it: names and isolation IDs stand in lines.
#[derive(Clone, PartialEq, Eq)]
pub enum PluginLine {
    /// The whole of it, without its end.
    Whole(Vec<u8>),
    /// [`MAX_LINE`] bytes of a line that is longer: its beginning, or nothing for each as many bytes that follow.
    Overlong(Vec<u8>),
}

impl fmt::Debug for PluginLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole(..)",
            Self::Overlong(_) => "Overlong(..)",
        })
    }
}

/// Cuts a stream into lines as its bytes arrive, holding [`MAX_LINE`] of them at most.
///
/// A line ends in LF on every platform; CR is a byte like others. Bytes behind the last LF are no line. Source:
/// Proposal 279, section 2.9.1.
#[derive(Default)]
pub struct LineDecoder {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// How much of an over-long line has passed since the last report of it; `None` in a line that is not too long yet.
    passed: Option<usize>,
}

impl LineDecoder {
    /// Takes more bytes, and returns the lines that they end.
    pub fn decode(&mut self, bytes: &[u8]) -> Vec<PluginLine> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.split_last() {
                Some((b'\n', rest)) => {
                    self.extend(rest, &mut lines);
                    let line = std::mem::take(&mut self.partial);
                    if self.passed.take().is_none() {
                        lines.push(PluginLine::Whole(line));
                    }
                }
                _ => self.extend(part, &mut lines),
            }
        }
        lines
    }

    fn extend(&mut self, bytes: &[u8], lines: &mut Vec<PluginLine>) {
        let more = match &mut self.passed {
            Some(passed) => {
                *passed = passed.saturating_add(bytes.len());
                *passed
            }
            None if self.partial.len().saturating_add(bytes.len()) <= MAX_LINE => {
                self.partial.extend_from_slice(bytes);
                return;
            }
            None => {
                let room = MAX_LINE.saturating_sub(self.partial.len());
                let (fits, more) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
                self.partial.extend_from_slice(fits);
                lines.push(PluginLine::Overlong(std::mem::take(&mut self.partial)));
                more.len()
            }
        };
        lines.extend((0..more / MAX_LINE).map(|_| PluginLine::Overlong(Vec::new())));
        self.passed = Some(more % MAX_LINE);
    }
}

impl fmt::Debug for LineDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineDecoder(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> PluginLine {
        PluginLine::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_end_in_line_feeds_alone() {
        let mut decoder = LineDecoder::default();
        assert_eq!(decoder.decode(b"a b"), []);
        let lines = decoder.decode(b"c\n\nd\r\ne\rf\0\ng");
        assert_eq!(lines, [whole("a bc"), whole(""), whole("d\r"), whole("e\rf\0")]);
        assert_eq!(decoder.decode(b"\n"), [whole("g")]);
    }

    #[test]
    fn an_overlong_line_is_reported_by_its_beginning_and_its_length() {
        let mut decoder = LineDecoder::default();
        let mut stream = vec![b'a'; MAX_LINE];
        stream.push(b'\n');
        assert_eq!(decoder.decode(&stream), [PluginLine::Whole(vec![b'a'; MAX_LINE])]);
        let mut stream = vec![b'a'; 3 * MAX_LINE];
        stream.extend_from_slice(b"\nb\n");
        let rest = PluginLine::Overlong(Vec::new());
        let expected = [
            PluginLine::Overlong(vec![b'a'; MAX_LINE]),
            rest.clone(),
            rest,
            whole("b"),
        ];
        assert_eq!(decoder.decode(&stream), expected);
    }

    #[test]
    fn nothing_shows_what_is_in_a_line() {
        let mut decoder = LineDecoder::default();
        let lines = decoder.decode(b"secret\nsecret");
        assert!(!format!("{lines:?} {decoder:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_come(
            parts in proptest::collection::vec((0..3 * MAX_LINE, any::<u8>()), 0..6),
            cuts in proptest::collection::vec(1..2 * MAX_LINE, 1..20),
        ) {
            let mut stream = Vec::new();
            for (length, byte) in parts {
                stream.extend(std::iter::repeat_n(byte, length));
                stream.push(b'\n');
            }
            let at_once = LineDecoder::default().decode(&stream);
            let (mut decoder, mut lines, mut rest) = (LineDecoder::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (bytes, after) = rest.split_at((*cut).min(rest.len()));
                lines.extend(decoder.decode(bytes));
                prop_assert!(decoder.partial.len() <= MAX_LINE);
                rest = after;
            }
            prop_assert_eq!(at_once, lines);
        }
    }
}
