//! Spending: name operations as signed transactions, and what pays for them.

use bitcoin::absolute::LockTime;
use bitcoin::script::ScriptBuf;
use bitcoin::{Amount, OutPoint, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction};

use super::{COINBASE_MATURITY, MINER, NAME_VERSION, World, WorldError};
use crate::wallet::{AddressKind, Owner, Signer, Spent};
use isonym_core::chain::Height;
use isonym_core::name::NameId;
use isonym_core::name::script::NameOp;

/// What a name transaction leaves to the miner, in satoshis.
const FEE: u64 = 100_000;

/// A name output that the wallet holds, or held.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) born: Height,
    outpoint: OutPoint,
    output: TxOut,
    owner: Owner,
    /// The salt of a NAME_NEW; none for later operations.
    pub(super) salt: Option<Vec<u8>>,
}

/// Money of the miner, all from one coinbase.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    pub(super) born: Height,
    outpoint: OutPoint,
    output: TxOut,
    coinbase: Height,
}

impl World {
    pub(super) fn queue_operation(
        &mut self,
        name: &NameId,
        op: &NameOp,
        kind: AddressKind,
        held: Option<Holding>,
        signer: Signer,
        salt: Option<Vec<u8>>,
    ) -> Result<Txid, WorldError> {
        let owner = Owner {
            kind,
            key: self.next_key,
        };
        let name_output = TxOut {
            value: Amount::from_sat(self.params.min_name_value),
            script_pubkey: op.to_script(&self.wallet.address(owner)),
        };
        let locked = if held.is_some() { 0 } else { self.params.min_name_value };
        let coin = self.coin(locked + FEE)?;
        let change = TxOut {
            value: coin.output.value - Amount::from_sat(locked + FEE),
            script_pubkey: coin.output.script_pubkey.clone(),
        };
        let mut spent: Vec<(OutPoint, TxOut, Owner, Signer)> = Vec::new();
        if let Some(held) = held {
            spent.push((held.outpoint, held.output, held.owner, signer));
        }
        spent.push((coin.outpoint, coin.output, MINER, Signer::Owner));
        let transaction = self.signed(&spent, vec![name_output.clone(), change.clone()])?;

        let txid = transaction.compute_txid();
        let born = self.next_height();
        self.next_key += 1;
        self.queue.push(transaction);
        self.holdings.entry(name.clone()).or_default().push(Holding {
            born,
            outpoint: OutPoint { txid, vout: 0 },
            output: name_output,
            owner,
            salt,
        });
        self.coins.push(Coin {
            born,
            outpoint: OutPoint { txid, vout: 1 },
            output: change,
            coinbase: coin.coinbase,
        });
        Ok(txid)
    }

    fn signed(
        &self,
        spent: &[(OutPoint, TxOut, Owner, Signer)],
        output: Vec<TxOut>,
    ) -> Result<Transaction, WorldError> {
        let input = spent
            .iter()
            .map(|(outpoint, ..)| TxIn {
                previous_output: *outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            })
            .collect();
        let mut transaction = Transaction {
            version: transaction::Version(NAME_VERSION),
            lock_time: LockTime::ZERO,
            input,
            output,
        };
        for (index, (_, output, owner, signer)) in spent.iter().enumerate() {
            let spent = Spent {
                script: &output.script_pubkey,
                value: output.value.to_sat(),
                owner: *owner,
            };
            self.wallet
                .sign(&mut transaction, index, spent, *signer)
                .ok_or(WorldError::Unsignable { index })?;
        }
        Ok(transaction)
    }

    /// Has the next operation paid for by a coinbase of its own, so that another branch can confirm it without those that
    /// come before it here.
    pub fn pay_apart(&mut self) -> Result<(), WorldError> {
        let coin = self.next_coinbase(0)?;
        self.coins.push(coin);
        Ok(())
    }

    /// Puts an operation that another branch has into the next block, as miners do with what a reorganisation took away.
    /// What it spends must be there: that is looked at by nobody.
    pub fn queue_again(&mut self, branch: &Self, txid: &Txid) -> Result<(), WorldError> {
        let known = branch.chain.transaction(txid).ok_or(WorldError::NotInBranch)?;
        let born = self.next_height();
        for (name, held) in &branch.holdings {
            let held = held.iter().filter(|holding| holding.outpoint.txid == *txid).cloned();
            let again = held.map(|holding| Holding { born, ..holding });
            self.holdings.entry(name.clone()).or_default().extend(again);
        }
        let change = branch.coins.iter().filter(|coin| coin.outpoint.txid == *txid).cloned();
        self.coins.extend(change.map(|coin| Coin { born, ..coin }));
        self.queue.push(known.transaction.clone());
        Ok(())
    }

    /// Returns what pays for the next transaction: the last change, or the next coinbase in age.
    fn coin(&self, at_least: u64) -> Result<Coin, WorldError> {
        if let Some(coin) = self.coins.last()
            && coin.output.value.to_sat() >= at_least
        {
            return Ok(coin.clone());
        }
        self.next_coinbase(at_least)
    }

    /// Returns the oldest coinbase that is younger than all that were spent.
    fn next_coinbase(&self, at_least: u64) -> Result<Coin, WorldError> {
        let at = self.next_height();
        let born = self.coins.iter().map(|coin| coin.coinbase + 1).max().unwrap_or(1);
        let coinbase = self
            .chain
            .block(born)
            .filter(|_| born + COINBASE_MATURITY <= at)
            .and_then(|block| block.transactions.first());
        let funds = coinbase.and_then(|coinbase| {
            let output = coinbase.transaction.output.first()?.clone();
            let enough = output.value.to_sat() >= at_least;
            enough.then_some((coinbase.txid, output))
        });
        let (txid, output) = funds.ok_or(WorldError::NoFunds { at })?;
        Ok(Coin {
            born,
            outpoint: OutPoint { txid, vout: 0 },
            output,
            coinbase: born,
        })
    }
}
