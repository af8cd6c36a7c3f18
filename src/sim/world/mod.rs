//! The simulated world: a chain that grows on demand, and the names that its wallet holds.

use std::collections::BTreeMap;
use std::mem;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, hash160};
use bitcoin::script::ScriptBuf;
use bitcoin::{Amount, OutPoint, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::chain::{SimBlock, SimChain};
use super::miner::{self, Work};
use super::wallet::{AddressKind, Owner, Signer, Spent, Wallet};
use crate::chain::{Height, Network, Params};
use crate::name::script::NameOp;
use crate::name::{NameId, NameValue};
use crate::time::Timestamp;

/// Seconds from one block to the next.
pub const BLOCK_SPACING: u32 = 600;

/// Blocks from a NAME_NEW to the first block that may hold its NAME_FIRSTUPDATE.
pub const FIRST_UPDATE_DEPTH: Height = 12;

/// Version of every transaction with a name operation.
pub const NAME_VERSION: i32 = 0x7100;

/// Blocks until a coinbase may be spent.
const COINBASE_MATURITY: Height = 100;

/// What a name transaction leaves to the miner, in satoshis.
const FEE: u64 = 100_000;

/// The key number of the miner, who also pays for the names.
const MINER: Owner = Owner {
    kind: AddressKind::P2pkh,
    key: 0,
};

/// Why the world can't do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// The name has too many bytes.
    #[error("name of {got} bytes, at most {} allowed", NameId::MAX_LEN)]
    NameTooLong {
        /// Its length.
        got: usize,
    },
    /// The value has too many bytes.
    #[error("value of {got} bytes, at most {} allowed", NameValue::MAX_LEN)]
    ValueTooLong {
        /// Its length.
        got: usize,
    },
    /// No mature coinbase is left to pay with; later blocks have one.
    #[error("no coinbase can be spent at height {at}")]
    NoFunds {
        /// The height of the next block.
        at: Height,
    },
    /// The name was not committed to, or not 12 blocks ago.
    #[error("name has no commitment that is {FIRST_UPDATE_DEPTH} blocks old")]
    NotCommitted,
    /// The name is not registered, or has expired.
    #[error("name is not registered")]
    NotRegistered,
    /// The name is registered and has not expired.
    #[error("name is registered already")]
    StillRegistered,
    /// The wallet can't sign the input.
    #[error("can't sign input {index}")]
    Unsignable {
        /// Its index.
        index: usize,
    },
}

/// A name output that the wallet holds, or held.
#[derive(Clone, Debug)]
struct Holding {
    born: Height,
    outpoint: OutPoint,
    output: TxOut,
    owner: Owner,
    /// The salt of a NAME_NEW; none for later operations.
    salt: Option<Vec<u8>>,
}

/// Money of the miner, all from one coinbase.
#[derive(Clone, Debug)]
struct Coin {
    born: Height,
    outpoint: OutPoint,
    output: TxOut,
    coinbase: Height,
}

/// A chain of regtest difficulty, a miner and the holder of all names on it.
///
/// Blocks are [`BLOCK_SPACING`] apart and valid by every rule that Namecoin Core knows for regtest; most
/// are merge-mined. Equal seeds and calls give equal chains.
#[derive(Clone, Debug)]
pub struct World {
    params: &'static Params,
    chain: SimChain,
    rng: StdRng,
    wallet: Wallet,
    start: Timestamp,
    next_key: u32,
    queue: Vec<Transaction>,
    /// Every name output ever held, oldest first, so that a fork can go back.
    holdings: BTreeMap<NameId, Vec<Holding>>,
    coins: Vec<Coin>,
}

impl World {
    /// Starts a world that has but its genesis block, regtest's own; block 1 will have the time `start`
    /// (after 2011, before 2106).
    pub fn new(seed: u64, start: Timestamp) -> Self {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let params = Network::Regtest.params();
        Self::on(SimBlock::new(params.genesis, &[], genesis.txdata), seed, start)
    }

    /// Starts a world on a genesis block of its own, as another network has.
    pub fn on(genesis: SimBlock, seed: u64, start: Timestamp) -> Self {
        Self {
            params: Network::Regtest.params(),
            chain: SimChain::new(genesis),
            rng: StdRng::seed_from_u64(seed),
            wallet: Wallet::new(seed),
            start,
            next_key: MINER.key + 1,
            queue: Vec::new(),
            holdings: BTreeMap::new(),
            coins: Vec::new(),
        }
    }

    /// Returns the chain as it is.
    pub fn chain(&self) -> &SimChain {
        &self.chain
    }

    /// Returns the network constants that the chain keeps to: regtest's.
    pub fn params(&self) -> &'static Params {
        self.params
    }

    /// Returns the time of the last block.
    pub fn time(&self) -> Timestamp {
        self.chain
            .header(self.chain.height())
            .map_or(self.start, |header| Timestamp(header.time().into()))
    }

    /// Branches off: another world that shares the blocks up to `height` and has the names as they were then.
    /// What it mines differs from here on if `seed` does. Nothing is queued in it.
    #[must_use]
    pub fn fork_at(&self, height: Height, seed: u64) -> Self {
        let mut fork = self.clone();
        fork.chain = self.chain.truncated(height);
        fork.rng = StdRng::seed_from_u64(seed);
        fork.queue.clear();
        fork.coins.retain(|coin| coin.born <= height);
        for held in fork.holdings.values_mut() {
            held.retain(|holding| holding.born <= height);
        }
        fork
    }

    /// Mines `count` blocks with work of all kinds; the first one takes what is queued.
    pub fn mine(&mut self, count: u32) {
        for _ in 0..count {
            let work = Work::draw(&mut self.rng);
            self.mine_with(work);
        }
    }

    /// Mines one block with a stated kind of work, and with what is queued.
    pub fn mine_with(&mut self, work: Work) {
        let time = self.next_time();
        let payee = self.wallet.address(MINER);
        let queued = mem::take(&mut self.queue);
        let block = miner::mine(&mut self.rng, &self.chain, time, payee, queued, work);
        self.chain.push(block);
    }

    fn next_time(&self) -> u32 {
        let time = match self.chain.height() {
            0 => u32::try_from(self.start.0).unwrap_or(u32::MAX),
            height => self
                .chain
                .header(height)
                .map_or(0, |header| header.time().saturating_add(BLOCK_SPACING)),
        };
        time.max(self.chain.header(0).map_or(0, |genesis| genesis.time() + 1))
    }

    /// Registers names: NAME_NEW, twelve blocks, NAME_FIRSTUPDATE, all in one block each.
    ///
    /// Mines as many blocks as it takes, about a hundred more the first time until a coinbase may be spent.
    pub fn register_all(&mut self, names: &[(&str, &str, AddressKind)]) -> Result<Vec<Txid>, WorldError> {
        while self.chain.height() < COINBASE_MATURITY {
            self.mine(1);
        }
        for (name, _, kind) in names {
            self.queue_commitment(name, *kind)?;
        }
        self.mine(FIRST_UPDATE_DEPTH);
        let txids = names
            .iter()
            .map(|(name, value, kind)| self.queue_registration(name, value, *kind))
            .collect();
        self.mine(1);
        txids
    }

    /// Registers one name, see [`Self::register_all`]; returns the NAME_FIRSTUPDATE, which is in the last block.
    pub fn register(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: AddressKind,
    ) -> Result<Txid, WorldError> {
        while self.chain.height() < COINBASE_MATURITY {
            self.mine(1);
        }
        self.queue_commitment(&name, kind)?;
        self.mine(FIRST_UPDATE_DEPTH);
        let txid = self.queue_registration(name, value, kind)?;
        self.mine(1);
        Ok(txid)
    }

    /// Updates a name and gives it to a new address of `kind`, in one block; returns the NAME_UPDATE.
    pub fn update(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: AddressKind,
    ) -> Result<Txid, WorldError> {
        let txid = self.queue_update(name, value, kind, Signer::Owner)?;
        self.mine(1);
        Ok(txid)
    }

    /// Puts a NAME_NEW into the next block.
    pub fn queue_commitment(&mut self, name: impl AsRef<[u8]>, kind: AddressKind) -> Result<Txid, WorldError> {
        let name = name_id(name.as_ref())?;
        let salt: [u8; 20] = self.rng.random();
        let commitment = hash160::Hash::hash(&[&salt, name.as_bytes()].concat()).to_byte_array();
        self.queue_operation(
            &name,
            &NameOp::New { commitment },
            kind,
            None,
            Signer::Owner,
            Some(salt.to_vec()),
        )
    }

    /// Puts a NAME_FIRSTUPDATE into the next block; its NAME_NEW must be twelve blocks old by then.
    pub fn queue_registration(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: AddressKind,
    ) -> Result<Txid, WorldError> {
        let name = name_id(name.as_ref())?;
        let value = name_value(value.as_ref())?;
        let (held, registered) = self.held(&name);
        let held = held.ok_or(WorldError::NotCommitted)?;
        let salt = held.salt.clone().ok_or(WorldError::NotCommitted)?;
        if held.born + FIRST_UPDATE_DEPTH > self.next_height() {
            return Err(WorldError::NotCommitted);
        }
        if registered {
            return Err(WorldError::StillRegistered);
        }
        let op = NameOp::FirstUpdate {
            name: name.clone(),
            salt,
            value,
        };
        self.queue_operation(&name, &op, kind, Some(held), Signer::Owner, None)
    }

    /// Puts a NAME_UPDATE into the next block, behind earlier ones of the same name. Signed by a stranger it is
    /// what a dishonest miner could slip into a block with real work.
    pub fn queue_update(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: AddressKind,
        signer: Signer,
    ) -> Result<Txid, WorldError> {
        let name = name_id(name.as_ref())?;
        let value = name_value(value.as_ref())?;
        let (held, registered) = self.held(&name);
        let held = held.filter(|held| registered && held.salt.is_none());
        let held = held.ok_or(WorldError::NotRegistered)?;
        let op = NameOp::Update {
            name: name.clone(),
            value,
        };
        self.queue_operation(&name, &op, kind, Some(held), signer, None)
    }

    /// Returns the newest output of a name, and whether the name counts as registered in the next block.
    fn held(&self, name: &NameId) -> (Option<Holding>, bool) {
        let Some(held) = self.holdings.get(name) else {
            return (None, false);
        };
        let next = self.next_height();
        let depth = self.params.expiration_depth(next);
        let registered = held
            .iter()
            .rev()
            .find(|holding| holding.salt.is_none())
            .is_some_and(|holding| holding.born + depth > next);
        (held.last().cloned(), registered)
    }

    fn next_height(&self) -> Height {
        self.chain.height() + 1
    }

    fn queue_operation(
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

    /// Returns what pays for the next transaction: the last change, or the next coinbase in age.
    fn coin(&self, at_least: u64) -> Result<Coin, WorldError> {
        if let Some(coin) = self.coins.last()
            && coin.output.value.to_sat() >= at_least
        {
            return Ok(coin.clone());
        }
        let at = self.next_height();
        let born = self.coins.last().map_or(1, |coin| coin.coinbase + 1);
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

fn name_id(bytes: &[u8]) -> Result<NameId, WorldError> {
    NameId::new(bytes).ok_or(WorldError::NameTooLong { got: bytes.len() })
}

fn name_value(bytes: &[u8]) -> Result<NameValue, WorldError> {
    NameValue::new(bytes).ok_or(WorldError::ValueTooLong { got: bytes.len() })
}

#[cfg(test)]
mod tests;
