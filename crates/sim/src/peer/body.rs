//! A block as serialized, taken apart and put together, right or wrong.

use bitcoin::consensus::encode::serialize;
use bitcoin::{Transaction, VarInt};

use crate::chain::taken_apart;
use crate::fault::with_forged_value;

/// A block: header and AuxPoW as bytes, and its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    full_header: Vec<u8>,
    transactions: Vec<Transaction>,
}

impl Body {
    /// Takes a block apart; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (full_header, transactions) = taken_apart(bytes)?;
        Some(Self {
            full_header: full_header.to_vec(),
            transactions,
        })
    }

    /// Serializes the block with its witness.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.full_header.clone();
        bytes.extend(serialize(&VarInt::from(self.transactions.len())));
        for transaction in &self.transactions {
            bytes.extend(serialize(transaction));
        }
        bytes
    }

    /// Takes the witness away.
    #[must_use]
    pub(super) fn stripped(mut self) -> Self {
        for input in self
            .transactions
            .iter_mut()
            .flat_map(|transaction| &mut transaction.input)
        {
            input.witness.clear();
        }
        self
    }

    /// Repeats the last transactions so that the merkle root stays; nothing where their number is a power of two.
    ///
    /// Source: CVE-2012-2459.
    #[must_use]
    pub(super) fn mutated(mut self) -> Self {
        let count = self.transactions.len();
        let row = count.checked_shr(count.trailing_zeros()).unwrap_or(0);
        if row > 1 {
            let again = count / row;
            self.transactions.extend_from_within(count - again..);
        }
        self
    }

    /// Puts another value into the last name operation, or another lock time into the last transaction.
    #[must_use]
    pub(super) fn forged(mut self) -> Self {
        let forged =
            |transaction: &Transaction| Some(with_forged_value(transaction)).filter(|forged| forged != transaction);
        let found = self.transactions.iter_mut().rev().find_map(|transaction| {
            let forged = forged(transaction)?;
            *transaction = forged;
            Some(())
        });
        if found.is_none()
            && let Some(last) = self.transactions.last_mut()
        {
            let lock_time = last.lock_time.to_consensus_u32() ^ 1;
            last.lock_time = bitcoin::absolute::LockTime::from_consensus(lock_time);
        }
        self
    }

    /// Flips a bit in the last witness that is no coinbase's, or in the coinbase's; nothing where there is none.
    #[must_use]
    pub(super) fn with_forged_witness(mut self) -> Self {
        let inputs = self
            .transactions
            .iter_mut()
            .flat_map(|transaction| &mut transaction.input);
        if let Some(input) = inputs.rev().find(|input| !input.witness.is_empty()) {
            let mut items = input.witness.to_vec();
            if let Some(byte) = items.iter_mut().find_map(|item| item.last_mut()) {
                *byte ^= 1;
            }
            input.witness = bitcoin::Witness::from_slice(&items);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use isonym_core::time::Timestamp;

    use super::*;
    use crate::merkle;
    use crate::wallet::{AddressKind, Signer};
    use crate::{SimChain, World};

    fn chain() -> SimChain {
        let mut world = World::new(1, Timestamp(1_700_000_000));
        let names = ["d/a", "d/b", "d/c", "d/d", "d/e"].map(|name| (name, "value", AddressKind::P2wpkh));
        world.register_all(&names).unwrap();
        for count in 1..=5 {
            for (name, ..) in &names[..count] {
                world
                    .queue_update(name, "new", AddressKind::P2wsh, Signer::Owner)
                    .unwrap();
            }
            world.mine(1);
        }
        world.into_chain()
    }

    fn root(body: &Body) -> [u8; 32] {
        let txids = body.transactions.iter().map(|it| it.compute_txid().to_byte_array());
        merkle::root(&txids.collect::<Vec<_>>())
    }

    #[test]
    fn blocks_are_taken_apart_and_put_together() {
        let chain = chain();
        for height in 0..=chain.height() {
            let bytes = chain.block(height).unwrap().to_bytes();
            let body = Body::decode(&bytes).unwrap();
            assert_eq!(body.to_bytes(), bytes);
            let stripped = body.clone().stripped();
            assert_eq!(root(&stripped), root(&body));
            assert_eq!(Body::decode(&stripped.to_bytes()).unwrap(), stripped);
            assert_eq!(stripped.to_bytes().len() < bytes.len(), body != stripped);
            assert_eq!(Body::decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn mutated_blocks_have_the_same_root_and_forged_ones_another() {
        let chain = chain();
        for height in chain.height() - 4..=chain.height() {
            let body = Body::decode(&chain.block(height).unwrap().to_bytes()).unwrap();
            let count = body.transactions.len();
            let mutated = body.clone().mutated();
            assert_eq!(root(&mutated), root(&body));
            assert_eq!(mutated.transactions.len() > count, !count.is_power_of_two(), "{count}");
            assert_ne!(root(&body.clone().forged()), root(&body));
            let witness = body.clone().with_forged_witness();
            assert_eq!(root(&witness), root(&body));
            assert_ne!(witness, body);
        }
        let body = Body::decode(&chain.block(1).unwrap().to_bytes()).unwrap();
        assert_ne!(root(&body.clone().forged()), root(&body));
    }
}
