//! Replies that are given again: to the same query, within the same second, while nothing changed.
//!
//! Resolvers and pages ask for the same over and over. Two queries that differ in nothing but their number, the
//! isolation ID included, have the same reply for as long as TTLs, signatures and the newest block are the same.
//!
//! A query is held as its keyed hash alone, since it has an isolation ID in it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use bitcoin::BlockHash;

use crate::time::Moment;

/// Bytes of a message's number, which comes first in it (RFC 1035 section 4.1.1).
const NUMBER: usize = 2;

/// Most bytes of replies that are held, with what they are found by.
const MAX_BYTES: usize = 4 << 20;

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD: usize = 64;

/// A hash of a query and who asked, with keys that nobody knows: of 128 bits, so that no two ever share one.
type Key = [u64; 2];

/// What replies hold for: a second, the newest block in it, and how often something was forgotten until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// Seconds of steady time.
    second: u64,
    tip: Option<BlockHash>,
    forgotten: u64,
}

impl Validity {
    /// Says what replies hold for that are made now.
    pub fn new(now: Moment, tip: Option<BlockHash>, forgotten: u64) -> Self {
        Self {
            second: now.0 / 1000,
            tip,
            forgotten,
        }
    }
}

/// The replies of one second.
#[derive(Debug, Default)]
pub struct ResponseCache {
    validity: Validity,
    hashers: [RandomState; 2],
    by_query: HashMap<Key, Box<[u8]>>,
    bytes: usize,
}

impl ResponseCache {
    /// Returns the reply to a query that was there before from the same `source`: what tells callers apart beside the
    /// query itself.
    pub fn find(&mut self, source: &[u8], query: &[u8], validity: Validity) -> Option<Vec<u8>> {
        self.keep_up(validity);
        let (number, rest) = query.split_at_checked(NUMBER)?;
        let reply = self.by_query.get(&self.key(rest, source))?;
        Some([number, reply].concat())
    }

    /// Remembers the reply to a query.
    pub fn store(&mut self, source: &[u8], query: &[u8], reply: &[u8], validity: Validity) {
        self.keep_up(validity);
        let (Some(asked), Some(reply)) = (query.get(NUMBER..), reply.get(NUMBER..)) else {
            return;
        };
        let key = self.key(asked, source);
        let size = size_of::<Key>() + reply.len() + ENTRY_OVERHEAD;
        if self.bytes + size > MAX_BYTES {
            return;
        }
        if self.by_query.insert(key, reply.into()).is_none() {
            self.bytes += size;
        }
    }

    /// Hashes a query and its source, each behind its length: else a query that ends like the start of somebody's address
    /// would be taken for theirs.
    fn key(&self, asked: &[u8], source: &[u8]) -> Key {
        self.hashers.each_ref().map(|hasher| hasher.hash_one((asked, source)))
    }

    fn keep_up(&mut self, validity: Validity) {
        if self.validity != validity {
            self.by_query.clear();
            self.bytes = 0;
            self.validity = validity;
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    fn at(millis: u64) -> Validity {
        Validity::new(Moment(millis), None, 0)
    }

    #[test]
    fn the_same_query_has_the_same_reply_under_its_own_number() {
        let mut replies = ResponseCache::default();
        replies.store(b"", b"\x01\x02query", b"\x01\x02reply", at(1000));
        assert_eq!(
            replies.find(b"", b"\x09\x08query", at(1999)),
            Some(b"\x09\x08reply".to_vec())
        );
        for (source, query) in [
            (&b""[..], &b"\x01\x02other"[..]),
            (b"a", b"\x01\x02query"),
            (b"", b"\x01"),
        ] {
            assert_eq!(replies.find(source, query, at(1999)), None);
        }
    }

    #[test]
    fn callers_are_told_apart() {
        let mut replies = ResponseCache::default();
        replies.store(b"\x7f\x00\x00\x01", b"\x01\x02query", b"\x01\x02reply", at(0));
        assert!(replies.find(b"\x7f\x00\x00\x01", b"\x01\x02query", at(0)).is_some());
        assert!(replies.find(b"\x7f\x00\x00\x02", b"\x01\x02query", at(0)).is_none());
        assert!(replies.find(b"", b"\x01\x02query", at(0)).is_none());
        replies.store(b"110.0.0.1", b"\x01\x02query", b"\x01\x02reply", at(0));
        assert!(replies.find(b"10.0.0.1", b"\x01\x02query1", at(0)).is_none());
    }

    #[test]
    fn nothing_outlives_its_second_its_block_or_forgetting() {
        let stored = || {
            let mut replies = ResponseCache::default();
            replies.store(b"", b"\x01\x02query", b"\x01\x02reply", at(500));
            replies
        };
        assert!(stored().find(b"", b"\x01\x02query", at(999)).is_some());
        assert!(stored().find(b"", b"\x01\x02query", at(1000)).is_none());
        let newer = Validity::new(Moment(999), Some(BlockHash::all_zeros()), 0);
        assert!(stored().find(b"", b"\x01\x02query", newer).is_none());
        let forgotten = Validity::new(Moment(999), None, 1);
        assert!(stored().find(b"", b"\x01\x02query", forgotten).is_none());
    }

    #[test]
    fn bytes_are_bounded() {
        let mut replies = ResponseCache::default();
        for number in 0..100_000_u32 {
            replies.store(b"", &number.to_be_bytes(), &[0; 512], at(0));
            replies.store(b"", &[&[0, 0][..], &number.to_be_bytes()].concat(), &[0; 512], at(0));
        }
        assert!(replies.bytes <= MAX_BYTES && replies.by_query.len() > 1000);
    }
}
