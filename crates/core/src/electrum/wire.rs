//! The shapes of JSON that replies come in, borrowed from the line and bounded while they are read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A list of at most `N` items; one more ends the parse.
#[derive(Debug)]
pub(super) struct AtMost<T, const N: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = AtMost<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < N {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(AtMost(items)),
                    }
                }
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom("too many items")),
                    None => Ok(AtMost(items)),
                }
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// An object with exactly one entry.
#[derive(Debug)]
pub(super) struct OnlyEntry<'a, T> {
    pub(super) key: &'a str,
    pub(super) value: T,
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for OnlyEntry<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Entry<'a, T> {
            type Value = OnlyEntry<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one entry")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some((key, value)) = map.next_entry()? else {
                    return Err(A::Error::custom("no entry"));
                };
                match map.next_key::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom("more than one entry")),
                    None => Ok(OnlyEntry { key, value }),
                }
            }
        }

        deserializer.deserialize_map(Entry(PhantomData))
    }
}

/// What every line is: a response or a notification. Absent and null are the same here.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<&'a str>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
}

/// The object of an error reply. Its text may hold escapes, so it is read to an owned string.
#[derive(Debug, serde::Deserialize)]
pub(super) struct ErrorObject {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

/// `blockchain.headers.subscribe`, result and notification.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Tip<'a> {
    pub(super) hex: &'a str,
    pub(super) height: u32,
}

/// `blockchain.block.headers`: `hex` up to protocol 1.5, `headers` from 1.6 on.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Chunk<'a, const N: usize> {
    pub(super) count: u32,
    #[serde(borrow)]
    pub(super) hex: Option<&'a str>,
    #[serde(borrow)]
    pub(super) headers: Option<AtMost<&'a str, N>>,
    pub(super) max: Option<u32>,
}

/// One item of `blockchain.scripthash.get_history`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct HistoryItem<'a> {
    pub(super) tx_hash: &'a str,
    pub(super) height: i64,
}

/// `blockchain.transaction.get_merkle`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Merkle<'a, const N: usize> {
    pub(super) block_height: u32,
    #[serde(borrow, rename = "merkle")]
    pub(super) branch: AtMost<&'a str, N>,
    pub(super) pos: u32,
}

/// One item of `blockchain.name.get_value_proof`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Link<'a, const N: usize> {
    pub(super) height: u32,
    pub(super) tx: &'a str,
    #[serde(borrow)]
    pub(super) tx_merkle: LinkMerkle<'a, N>,
}

/// The merkle branch of a [`Link`].
#[derive(Debug, serde::Deserialize)]
pub(super) struct LinkMerkle<'a, const N: usize> {
    #[serde(borrow, rename = "merkle")]
    pub(super) branch: AtMost<&'a str, N>,
    pub(super) pos: u32,
}

/// `server.features`, as far as it is of use.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Features<'a> {
    pub(super) genesis_hash: &'a str,
    #[serde(borrow)]
    pub(super) hosts: Option<&'a RawValue>,
}
