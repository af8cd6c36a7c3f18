//! Reads consensus-encoded fields from the front of borrowed bytes.

use super::DecodeError;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Takes `length` bytes; `field` names them in the error.
    pub(super) fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes `N` bytes as an array.
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes a little-endian i32.
    pub(super) fn int(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(|bytes| i32::from_le_bytes(*bytes))
    }

    /// Takes a compact size, which must be written in its shortest form as everywhere in consensus encoding.
    ///
    /// Source: Namecoin Core `serialize.h`, `ReadCompactSize`.
    pub(super) fn compact_size(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let [first] = *self.array(field)?;
        let (value, least) = match first {
            0xfd => (u64::from(u16::from_le_bytes(*self.array(field)?)), 0xfd),
            0xfe => (u64::from(u32::from_le_bytes(*self.array(field)?)), 0x1_0000),
            0xff => (u64::from_le_bytes(*self.array(field)?), 0x1_0000_0000),
            small => (u64::from(small), 0),
        };
        if value < least {
            return Err(DecodeError::LongCompactSize { field, value });
        }
        Ok(value)
    }

    /// Takes a byte string with its compact size in front.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.compact_size(field)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated { field })?;
        self.take(length, field)
    }
}
