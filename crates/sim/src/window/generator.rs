//! Makes the blocks of a window one after the other, holding none of them.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::script::ScriptBuf;
use bitcoin::{Amount, OutPoint, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{LIFE, Plan, Registered, name, params, value};
use crate::chain::SimBlock;
use crate::miner::{self, Below, Work};
use crate::parent::AuxPowKind;
use crate::wallet::{AddressKind, Owner, Signer, Spent, Wallet};
use crate::world::{BLOCK_SPACING, COINBASE_MATURITY, FIRST_UPDATE_DEPTH, NAME_VERSION};
use isonym_core::chain::Height;
use isonym_core::name::script::{self, NameOp};

/// The time of block 1, long before any clock's, so that no block lies in the future.
const START: u32 = 1_500_000_000;

/// How many wallets pay for the names, each from the coinbase of one of the first blocks.
const PAYERS: u32 = 16;

/// How many keys hold the names: owners have more than one name, and keep their keys.
const KEYS: u32 = 4096;

/// How many transactions a block has beside the coinbase: 11.5 on average.
const TRANSACTIONS: RangeInclusive<usize> = 4..=19;

/// Of so many transactions beside those that end a registration, 10 pay, 8 begin a registration, and the others renew.
const OF: u32 = 93;

/// What a transaction leaves to the miner, in satoshis.
const FEE: u64 = 1000;

/// What a payment pays, in satoshis.
const PAYMENT: u64 = 600;

/// An output that is to be spent.
#[derive(Clone, Copy, Debug)]
struct Coin {
    outpoint: OutPoint,
    value: u64,
    owner: Owner,
}

/// The output of a name's newest operation.
#[derive(Clone, Debug)]
struct Held {
    outpoint: OutPoint,
    script: ScriptBuf,
    /// The height of its block.
    height: Height,
    /// The number of the operation, for [`value`].
    version: u32,
}

/// A name that was committed to.
#[derive(Clone, Debug)]
struct Committed {
    index: u32,
    held: Held,
    salt: [u8; 20],
}

/// Makes a window: an iterator over its blocks from height 0 on.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    rng: StdRng,
    wallet: Wallet,
    /// The block made last; none before the genesis block.
    below: Option<Below>,
    payers: Vec<Coin>,
    /// By the numbers of the names; none for those without an operation yet.
    held: Vec<Option<Held>>,
    /// The names that have an operation.
    touched: Vec<u32>,
    /// The next of the names that are older than the chain.
    next_old: u32,
    /// The next of those that are registered in it.
    next_new: u32,
    committed: VecDeque<Committed>,
}

impl Generator {
    /// Begins to make a chain.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            rng: StdRng::seed_from_u64(plan.seed),
            wallet: Wallet::new(plan.seed).with_keys(PAYERS + KEYS),
            below: None,
            payers: Vec::new(),
            held: vec![None; plan.names as usize],
            touched: Vec::new(),
            next_old: 0,
            next_new: plan.names - plan.names / 5,
            committed: VecDeque::new(),
        }
    }

    /// Returns what became of the names so far.
    pub fn registered(&self) -> impl Iterator<Item = Registered> {
        let held = (0..).zip(&self.held);
        held.filter_map(|(index, held)| {
            let Held { version, height, .. } = *held.as_ref()?;
            Some(Registered { index, version, height })
        })
    }

    fn mine(&mut self, below: Below) -> SimBlock {
        let height = below.height + 1;
        let time = START + below.height * BLOCK_SPACING;
        let miner = payer_owner(below.height % PAYERS);
        let (transactions, work) = if height > PAYERS + COINBASE_MATURITY {
            let kind = match self.rng.random_range(0..100_u8) {
                0..50 => AuxPowKind::Realistic,
                50..80 => AuxPowKind::Nested,
                _ => AuxPowKind::Pool,
            };
            (self.transactions(height), Work::AuxPow(kind))
        } else {
            (Vec::new(), Work::Native)
        };
        let script = self.wallet.address(miner);
        let block = miner::mine_upon(&mut self.rng, below, time, script, transactions, work);
        if below.height < PAYERS
            && let Some(coinbase) = block.transactions.first()
        {
            let value = coinbase.transaction.output.first().map_or(0, |out| out.value.to_sat());
            self.payers.push(Coin {
                outpoint: OutPoint::new(coinbase.txid, 0),
                value,
                owner: miner,
            });
        }
        block
    }

    fn transactions(&mut self, height: Height) -> Vec<Transaction> {
        let count = self.rng.random_range(TRANSACTIONS);
        let mut transactions = Vec::with_capacity(count);
        while transactions.len() < count {
            let due = |committed: &Committed| committed.held.height + FIRST_UPDATE_DEPTH <= height;
            let transaction = if self.committed.front().is_some_and(due)
                && let Some(committed) = self.committed.pop_front()
            {
                self.register(height, committed)
            } else {
                match self.rng.random_range(0..OF) {
                    0..10 => self.pay(),
                    10..18 if self.next_new < self.plan.names => self.commit(height),
                    _ => match self.next_renewal(height) {
                        Some(index) => self.renew(height, index),
                        None => self.pay(),
                    },
                }
            };
            transactions.extend(transaction);
        }
        transactions
    }

    /// Draws a name that lives: one that is older than the chain as long as there are some, half of the time.
    fn next_renewal(&mut self, height: Height) -> Option<u32> {
        let old_end = self.plan.names - self.plan.names / 5;
        if self.next_old < old_end && (self.touched.is_empty() || self.rng.random_bool(0.45)) {
            self.next_old += 1;
            return Some(self.next_old - 1);
        }
        if self.touched.is_empty() {
            return None;
        }
        let place = self.rng.random_range(0..self.touched.len());
        let index = *self.touched.get(place)?;
        let held = self.held.get(index as usize)?.as_ref()?;
        (held.height + LIFE > height && !is_given_up(index)).then_some(index)
    }

    fn commit(&mut self, height: Height) -> Option<Transaction> {
        let index = self.next_new;
        self.next_new += 1;
        let salt: [u8; 20] = self.rng.random();
        let commitment = script::commitment(&salt, &name(index));
        let (transaction, held) = self.operate(height, index, 0, &NameOp::New { commitment }, None)?;
        self.committed.push_back(Committed { index, held, salt });
        Some(transaction)
    }

    fn register(&mut self, height: Height, committed: Committed) -> Option<Transaction> {
        let Committed { index, held, salt } = committed;
        let op = NameOp::FirstUpdate {
            name: name(index),
            salt: salt.to_vec(),
            value: value(index, 0),
        };
        let (transaction, held) = self.operate(height, index, 0, &op, Some(held))?;
        self.touched.push(index);
        self.hold(index, held);
        Some(transaction)
    }

    fn renew(&mut self, height: Height, index: u32) -> Option<Transaction> {
        let held = match self.held.get_mut(index as usize)?.take() {
            Some(held) => held,
            None => self.held_before(index),
        };
        let version = held.version + 1;
        let op = NameOp::Update {
            name: name(index),
            value: value(index, version),
        };
        let (transaction, held) = self.operate(height, index, version, &op, Some(held))?;
        self.hold(index, held);
        Some(transaction)
    }

    /// Makes up the output that holds a name which is older than the chain.
    fn held_before(&mut self, index: u32) -> Held {
        self.touched.push(index);
        let op = NameOp::Update {
            name: name(index),
            value: value(index, 0),
        };
        Held {
            outpoint: OutPoint::new(Txid::from_byte_array(self.rng.random()), 0),
            script: op.to_script(&self.wallet.address(holder(index))),
            height: 0,
            version: 0,
        }
    }

    fn hold(&mut self, index: u32, held: Held) {
        if let Some(slot) = self.held.get_mut(index as usize) {
            *slot = Some(held);
        }
    }

    /// Makes the transaction of a name operation, which spends what held the name.
    fn operate(
        &mut self,
        height: Height,
        index: u32,
        version: u32,
        op: &NameOp,
        spent: Option<Held>,
    ) -> Option<(Transaction, Held)> {
        let owner = holder(index);
        let script = op.to_script(&self.wallet.address(owner));
        let value = params().min_name_value;
        let output = TxOut {
            value: Amount::from_sat(value),
            script_pubkey: script.clone(),
        };
        let locked = if spent.is_some() { 0 } else { value };
        let inputs = spent.map(|held| {
            let coin = Coin {
                outpoint: held.outpoint,
                value,
                owner,
            };
            (coin, held.script)
        });
        let transaction = self.signed(NAME_VERSION, inputs, output, locked)?;
        let held = Held {
            outpoint: OutPoint::new(transaction.compute_txid(), 0),
            script,
            height,
            version,
        };
        Some((transaction, held))
    }

    /// Pays somebody.
    fn pay(&mut self) -> Option<Transaction> {
        let owner = Owner {
            kind: AddressKind::P2wpkh,
            key: PAYERS + self.rng.random_range(0..KEYS),
        };
        let output = TxOut {
            value: Amount::from_sat(PAYMENT),
            script_pubkey: self.wallet.address(owner),
        };
        self.signed(transaction::Version::TWO.0, None, output, PAYMENT)
    }

    /// Makes a transaction with one output and the change of a payer's coin, which gives `amount` and the fee.
    fn signed(
        &mut self,
        version: i32,
        spent: Option<(Coin, ScriptBuf)>,
        output: TxOut,
        amount: u64,
    ) -> Option<Transaction> {
        let payer = self.rng.random_range(0..self.payers.len());
        let coin = *self.payers.get(payer)?;
        let script = self.wallet.address(coin.owner);
        let change = coin.value.checked_sub(amount + FEE)?;
        let inputs: Vec<(Coin, ScriptBuf)> = spent.into_iter().chain([(coin, script.clone())]).collect();
        let mut transaction = Transaction {
            version: transaction::Version(version),
            lock_time: LockTime::ZERO,
            input: inputs.iter().map(|(coin, _)| unsigned(coin.outpoint)).collect(),
            output: vec![
                output,
                TxOut {
                    value: Amount::from_sat(change),
                    script_pubkey: script,
                },
            ],
        };
        for (index, (coin, script)) in inputs.iter().enumerate() {
            let spent = Spent {
                script,
                value: coin.value,
                owner: coin.owner,
            };
            self.wallet.sign(&mut transaction, index, spent, Signer::Owner)?;
        }
        *self.payers.get_mut(payer)? = Coin {
            outpoint: OutPoint::new(transaction.compute_txid(), 1),
            value: change,
            owner: coin.owner,
        };
        Some(transaction)
    }
}

impl Iterator for Generator {
    type Item = SimBlock;

    fn next(&mut self) -> Option<SimBlock> {
        let params = params();
        let (block, height) = match self.below {
            None => {
                let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
                (SimBlock::new(params.genesis, &[], genesis.txdata), 0)
            }
            Some(below) if below.height < self.plan.height() => (self.mine(below), below.height + 1),
            Some(_) => return None,
        };
        self.below = Some(Below {
            height,
            hash: block.header.hash(),
            bits: params.genesis.bits(),
        });
        Some(block)
    }
}

fn unsigned(outpoint: OutPoint) -> TxIn {
    TxIn {
        previous_output: outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}

/// Returns who holds a name, always the same: two of five by a witness public key hash.
fn holder(index: u32) -> Owner {
    Owner {
        kind: if index % 5 < 3 {
            AddressKind::P2pkh
        } else {
            AddressKind::P2wpkh
        },
        key: PAYERS + index % KEYS,
    }
}

/// Says whether a name is left alone after its first operation in the chain, so that some expire.
fn is_given_up(index: u32) -> bool {
    index % 10 == 7
}

fn payer_owner(payer: u32) -> Owner {
    Owner {
        kind: if payer.is_multiple_of(2) {
            AddressKind::P2pkh
        } else {
            AddressKind::P2wpkh
        },
        key: payer,
    }
}
