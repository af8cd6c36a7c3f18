//! A stream of bytes cut into lines that are bounded, however long a stranger makes them.

/// Bytes that are kept allocated between lines; longer lines give their room back. Hundreds of connections rest.
const KEPT: usize = 4 << 10;

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
    /// [`LineTooLong`] when the last line, still unfinished, exceeds the bound. It is not stored; finished lines that came
    /// with it are, and can be taken out before its sender is left.
    pub fn extend(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        self.bytes.drain(..self.start);
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
        let (finished, unfinished) = match chunk.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => chunk.split_at_checked(last + 1).unwrap_or((chunk, &[])),
            None => (&[][..], chunk),
        };
        let begun = if finished.is_empty() { self.bytes.len() } else { 0 };
        self.bytes.extend_from_slice(finished);
        if begun + unfinished.len() > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        self.bytes.extend_from_slice(unfinished);
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
            if self.start == self.bytes.len() && self.bytes.capacity() > KEPT {
                self.bytes.clear();
                self.bytes.shrink_to(KEPT);
                (self.start, self.scanned) = (0, 0);
            }
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
    fn lines_that_were_finished_before_an_endless_one_are_there() {
        let mut buffer = LineBuffer::new(3);
        assert_eq!(buffer.extend(b"ab\ncd\nxxxx"), Err(LineTooLong { limit: 3 }));
        assert_eq!(lines(&mut buffer), [b"ab", b"cd"]);
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
        let mut buffer = LineBuffer::new(16 << 20);
        buffer.extend(&vec![b'a'; 5 << 20]).unwrap();
        buffer.extend(b"\n").unwrap();
        assert_eq!(lines(&mut buffer).len(), 1);
        buffer.extend(b"x\n").unwrap();
        assert!(buffer.bytes.capacity() <= 2 * KEPT);
        assert_eq!(lines(&mut buffer), [b"x"]);
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
