//! The simulated world: a chain that grows on demand, and the names that its wallet holds.

pub(super) mod long;
mod spend;

use std::collections::BTreeMap;
use std::mem;

use bitcoin::hashes::{Hash, hash160};
use bitcoin::{Transaction, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::spend::{Coin, Holding};
use super::chain::{SimBlock, SimChain};
use super::miner::{self, Work};
use super::wallet::{AddressKind, Owner, Signer, Wallet};
use isonym_core::chain::{Height, Network, Params};
use isonym_core::name::script::NameOp;
use isonym_core::name::{NameId, NameValue};
use isonym_core::time::Timestamp;

/// Seconds from one block to the next.
pub const BLOCK_SPACING: u32 = 600;

/// Blocks from a NAME_NEW to the first block that may hold its NAME_FIRSTUPDATE.
pub const FIRST_UPDATE_DEPTH: Height = 12;

/// Version of every transaction with a name operation.
pub const NAME_VERSION: i32 = 0x7100;

/// Blocks until a coinbase may be spent.
pub(super) const COINBASE_MATURITY: Height = 100;

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
    /// The branch has no such transaction.
    #[error("transaction is not in the branch")]
    NotInBranch,
    /// The wallet can't sign the input.
    #[error("can't sign input {index}")]
    Unsignable {
        /// Its index.
        index: usize,
    },
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
        Self::begun(SimChain::new(genesis), seed, start)
    }

    /// Goes on where a chain ends, with keys that hold nothing on it: what is paid for names is not theirs, which
    /// only a full node can see.
    pub fn upon(chain: SimChain, seed: u64) -> Self {
        Self::begun(chain, seed, Timestamp::default())
    }

    fn begun(chain: SimChain, seed: u64, start: Timestamp) -> Self {
        Self {
            params: Network::Regtest.params(),
            chain,
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

    /// Returns the chain alone.
    pub fn into_chain(self) -> SimChain {
        self.chain
    }

    /// Lends the chain alone, for a server whose index is not what the miner has: names and coins go on as they were.
    pub fn chain_mut(&mut self) -> &mut SimChain {
        &mut self.chain
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
        self.mine_at(self.next_time(), work);
    }

    /// Mines one block with a stated block time, in seconds, which is not checked.
    pub fn mine_at(&mut self, time: u32, work: Work) {
        let payee = self.wallet.address(MINER);
        let queued = mem::take(&mut self.queue);
        let block = miner::mine(&mut self.rng, &self.chain, time, payee, queued, work);
        self.chain.push(block);
    }

    /// Mines one block as late as `now`, and later than the one before, with work of any kind.
    pub fn mine_by(&mut self, now: Timestamp) {
        let work = Work::draw(&mut self.rng);
        let time = now.0.max(self.time().0.saturating_add(1));
        self.mine_at(u32::try_from(time).unwrap_or(u32::MAX), work);
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

    /// Registers names: NAME_NEW, twelve blocks, NAME_FIRSTUPDATE, all in one block each; returns the latter, which
    /// are in the last block.
    ///
    /// Mines as many blocks as it takes, about a hundred more the first time until a coinbase may be spent.
    pub fn register_all<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        names: &[(N, V, AddressKind)],
    ) -> Result<Vec<Txid>, WorldError> {
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

    /// Registers one name, see [`Self::register_all`].
    pub fn register(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: AddressKind,
    ) -> Result<Txid, WorldError> {
        let txids = self.register_all(&[(name, value, kind)])?;
        txids.first().copied().ok_or(WorldError::NotCommitted)
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
        let held = self.holdings.get(&name).and_then(|held| held.last());
        let held = held.cloned().ok_or(WorldError::NotCommitted)?;
        let salt = held.salt.clone().ok_or(WorldError::NotCommitted)?;
        if held.born + FIRST_UPDATE_DEPTH > self.next_height() {
            return Err(WorldError::NotCommitted);
        }
        if self.registered(&name).is_some() {
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
        let held = self.registered(&name).cloned().ok_or(WorldError::NotRegistered)?;
        let op = NameOp::Update {
            name: name.clone(),
            value,
        };
        self.queue_operation(&name, &op, kind, Some(held), signer, None)
    }

    /// Returns the output that holds a name, unless the name will have expired in the next block.
    fn registered(&self, name: &NameId) -> Option<&Holding> {
        let next = self.next_height();
        let depth = self.params.expiration_depth(next);
        let mut held = self.holdings.get(name)?.iter().rev();
        held.find(|holding| holding.salt.is_none())
            .filter(|holding| holding.born + depth > next)
    }

    fn next_height(&self) -> Height {
        self.chain.height() + 1
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
