//! Cuts a byte stream into lines: one line is one JSON value.

/// Longest line on a connection that carries lookups, in bytes.
///
/// A name with 280 operations is proved by 327 kB; this is room for some 3,500.
pub const LOOKUP_LINE: usize = 4 << 20;

/// Longest line on a connection that carries header sync, in bytes.
///
/// 2016 AuxPoW headers are 3 to 6 MB of hex; `ElectrumX` itself sends at most 10 MB.
pub const SYNC_LINE: usize = 16 << 20;

/// Bytes that are kept allocated between lines; longer lines give their room back.
const KEPT: usize = 64 << 10;

/// Deepest nesting of arrays and objects in a line. The deepest that the protocol has is a value proof's
/// merkle branch: response, result, list, item, `tx_merkle`, `merkle`. A batch adds one.
pub const MAX_DEPTH: usize = 12;

/// A line got longer than the connection allows; its sender must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The bound, in bytes without the newline.
    pub limit: usize,
}

/// Collects bytes as they come and gives lines out.
///
/// Every byte is looked at once. What is held is at most the bound plus one chunk.
#[derive(Debug)]
pub struct LineBuffer {
    limit: usize,
    bytes: Vec<u8>,
    /// Start of the first line not given out yet.
    start: usize,
    /// Everything between `start` and here is known to hold no newline.
    scanned: usize,
}

impl LineBuffer {
    /// Makes an empty buffer for lines of at most `limit` bytes, newline not counted.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
        }
    }

    /// Appends what came in. Take all lines out with [`Self::next_line`] before the next call.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] when the last line, still unfinished, exceeds the bound. Finished lines that came
    /// with it are lost: the connection is of no more use.
    pub fn extend(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        self.bytes.drain(..self.start);
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
        let unfinished = chunk
            .iter()
            .rev()
            .position(|byte| *byte == b'\n')
            .unwrap_or(self.bytes.len() + chunk.len());
        if unfinished > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Gives the next finished line out, without its newline (and a carriage return before it).
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] when it exceeds the bound.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let rest = self.bytes.get(self.scanned..).unwrap_or_default();
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.bytes.len();
            return Ok(None);
        };
        let (begin, end) = (self.start, self.scanned + at);
        self.start = end + 1;
        self.scanned = self.start;
        let line = self.bytes.get(begin..end).unwrap_or_default();
        if line.len() > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Returns the first bytes of an unfinished line.
    pub fn unfinished(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// Says whether no array or object in a line of JSON lies deeper than [`MAX_DEPTH`].
///
/// A cheap look before the parser: brackets inside of strings don't count. What is no JSON at all may pass;
/// the parser refuses it.
pub fn is_shallow(line: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in line {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| buffer.next_line().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn an_endless_line_is_refused_before_it_is_stored() {
        let mut buffer = LineBuffer::new(10);
        assert_eq!(buffer.extend(b"0123456789"), Ok(()));
        assert_eq!(buffer.next_line(), Ok(None));
        assert_eq!(buffer.extend(b"x"), Err(LineTooLong { limit: 10 }));
        assert_eq!(buffer.extend(b"\n"), Ok(()));
        assert_eq!(buffer.next_line(), Ok(Some(&b"0123456789"[..])));
    }

    #[test]
    fn a_finished_line_over_the_bound_is_refused() {
        let mut buffer = LineBuffer::new(3);
        buffer.extend(b"ab\nabcd\n").unwrap();
        assert_eq!(buffer.next_line(), Ok(Some(&b"ab"[..])));
        assert_eq!(buffer.next_line(), Err(LineTooLong { limit: 3 }));
    }

    #[test]
    fn a_long_line_gives_its_room_back() {
        let mut buffer = LineBuffer::new(SYNC_LINE);
        buffer.extend(&vec![b'a'; 5 << 20]).unwrap();
        buffer.extend(b"\n").unwrap();
        assert_eq!(lines(&mut buffer).len(), 1);
        buffer.extend(b"x\n").unwrap();
        assert!(buffer.bytes.capacity() <= 2 * KEPT);
        assert_eq!(lines(&mut buffer), [b"x"]);
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert!(is_shallow(
            format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)).as_bytes()
        ));
        assert!(!is_shallow("[".repeat(MAX_DEPTH + 1).as_bytes()));
        assert!(!is_shallow(r#"{"a":"#.repeat(MAX_DEPTH + 1).as_bytes()));
        assert!(is_shallow(br#""[[[[[[[[[[[[[[[[[\"[[[[[[[[[[[[[[[""#));
        assert!(!is_shallow(format!(r#""\\",{}"#, "[".repeat(MAX_DEPTH + 1)).as_bytes()));
        assert!(is_shallow("[],".repeat(100).as_bytes()));
    }

    proptest! {
        #[test]
        fn lines_come_out_whole_however_they_are_cut(
            lines_in in prop::collection::vec(prop::collection::vec(prop::num::u8::ANY.prop_filter("text", |byte| !b"\r\n".contains(byte)), 0..50), 0..20),
            cuts in prop::collection::vec(1usize..40, 1..200),
        ) {
            let mut stream: Vec<u8> = lines_in.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
            let mut buffer = LineBuffer::new(50);
            let mut lines_out = Vec::new();
            for cut in cuts.into_iter().cycle() {
                let rest = stream.split_off(cut.min(stream.len()));
                buffer.extend(&stream).unwrap();
                lines_out.extend(lines(&mut buffer));
                stream = rest;
                if stream.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(lines_out, lines_in);
            prop_assert!(buffer.unfinished().is_empty());
        }
    }
}
