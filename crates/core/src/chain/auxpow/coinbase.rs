//! The parent coinbase transaction: walked over in place, never built up.

use bitcoin::hashes::{Hash, HashEngine, sha256d};

use super::DecodeError;
use super::reader::Reader;

/// The parent block's coinbase transaction, as ranges of borrowed bytes.
///
/// | bytes | field | in the txid |
/// | --- | --- | --- |
/// | 4 | version | yes |
/// | 2 | marker 00 and flag 01, with a witness only ([BIP-0144]) | no |
/// | any | inputs and outputs | yes |
/// | any | witness, one stack per input | no |
/// | 4 | lock time | yes |
///
/// [BIP-0144]: https://github.com/bitcoin/bips/blob/master/bip-0144.mediawiki
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentCoinbase<'a> {
    whole: &'a [u8],
    version: &'a [u8; 4],
    body: &'a [u8],
    lock_time: &'a [u8; 4],
    script: Option<&'a [u8]>,
}

impl<'a> ParentCoinbase<'a> {
    /// Longest serialization in bytes: Core drops messages above 4,000,000 bytes (`net.h`,
    /// `MAX_PROTOCOL_MESSAGE_LENGTH`), and a block comes in one. A tighter bound would let a miner make a block
    /// that full nodes take and this client never does.
    pub const MAX_SIZE: usize = 4_000_000;

    /// Parses a transaction from the front of `bytes` and returns it with what follows.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let window = bytes.get(..Self::MAX_SIZE).unwrap_or(bytes);
        let coinbase = Self::walk(window).map_err(|error| match error {
            DecodeError::Truncated { .. } if window.len() < bytes.len() => {
                DecodeError::OversizedCoinbase { max: Self::MAX_SIZE }
            }
            error => error,
        })?;
        Ok((coinbase, bytes.get(coinbase.whole.len()..).unwrap_or_default()))
    }

    fn walk(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { rest: bytes };
        let version = reader.array("coinbase version")?;
        let has_witness = reader.rest.first() == Some(&0) && reader.rest.get(1).is_some_and(|flag| *flag != 0);
        if has_witness {
            let [_, flag] = *reader.array("coinbase witness flag")?;
            if flag != 1 {
                return Err(DecodeError::WitnessFlag { got: flag });
            }
        }
        let start = reader.rest;
        let (inputs, script) = skip_inputs(&mut reader)?;
        skip_outputs(&mut reader)?;
        let body = consumed(start, reader.rest);
        if has_witness {
            skip_witness(&mut reader, inputs)?;
        }
        let lock_time = reader.array("coinbase lock time")?;
        Ok(Self {
            whole: consumed(bytes, reader.rest),
            version,
            body,
            lock_time,
            script,
        })
    }

    /// Returns the serialization, with the witness if there is one.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.whole
    }

    /// Returns the first input's script, where merge-mining puts its root; `None` without inputs.
    pub const fn script(&self) -> Option<&'a [u8]> {
        self.script
    }

    /// Returns the txid, which never covers the witness.
    pub fn txid(&self) -> sha256d::Hash {
        let mut engine = sha256d::Hash::engine();
        if self.version.len() + self.body.len() + self.lock_time.len() == self.whole.len() {
            engine.input(self.whole);
        } else {
            engine.input(self.version);
            engine.input(self.body);
            engine.input(self.lock_time);
        }
        sha256d::Hash::from_engine(engine)
    }
}

/// Returns the front of `before` that is no longer in `after`, its tail.
fn consumed<'a>(before: &'a [u8], after: &[u8]) -> &'a [u8] {
    before
        .get(..before.len().saturating_sub(after.len()))
        .unwrap_or_default()
}

/// Skips the inputs and returns their number and the first one's script. Each takes 41 bytes at least, so a lying
/// count ends with the bytes.
fn skip_inputs<'a>(reader: &mut Reader<'a>) -> Result<(u64, Option<&'a [u8]>), DecodeError> {
    let count = reader.compact_size("coinbase inputs")?;
    let mut first = None;
    for _ in 0..count {
        reader.take(36, "coinbase outpoint")?;
        let script = reader.bytes("coinbase input script")?;
        first = first.or(Some(script));
        reader.take(4, "coinbase sequence")?;
    }
    Ok((count, first))
}

/// Skips the outputs, of 9 bytes at least each.
fn skip_outputs(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    for _ in 0..reader.compact_size("coinbase outputs")? {
        reader.take(8, "coinbase amount")?;
        reader.bytes("coinbase output script")?;
    }
    Ok(())
}

/// Skips one witness stack per input. All of them empty is refused, as by Core (`primitives/transaction.h`): the
/// transaction should have been written without a witness.
fn skip_witness(reader: &mut Reader<'_>, inputs: u64) -> Result<(), DecodeError> {
    let mut items: u64 = 0;
    for _ in 0..inputs {
        let count = reader.compact_size("coinbase witness stack")?;
        for _ in 0..count {
            reader.bytes("coinbase witness item")?;
        }
        items = items.saturating_add(count);
    }
    if items == 0 {
        return Err(DecodeError::EmptyWitness);
    }
    Ok(())
}
