//! Faults: one wrong behaviour each, of a server that is honest otherwise.

use std::time::Duration;

use bitcoin::Transaction;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::chain::{SimBlock, SimChain};
use super::miner::{self, Work};
use super::parent::{self, AuxPowKind, Flaw};
use super::skeleton::Skeleton;
use super::world::{BLOCK_SPACING, World};
use isonym_core::chain::{Height, Network, PureHeader};
use isonym_core::name::NameValue;
use isonym_core::name::script::{NameOp, NameScript};
use isonym_core::time::Timestamp;

/// What a server does wrong.
///
/// But for [`Fault::Silent`] and [`Fault::Slow`], the handshake (`server.version`) is always answered well, so that
/// the fault meets a client that trusts the connection. A signature by a stranger is no server's fault but a miner's:
/// see [`World::queue_update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It knows nothing of the newest blocks.
    Stale {
        /// How many blocks it lacks.
        behind: Height,
    },
    /// It accepts the connection and never answers.
    Silent,
    /// It answers the handshake and nothing else.
    SilentAfterHandshake,
    /// It takes its time for every reply.
    Slow {
        /// How long; the driver waits.
        delay: Duration,
    },
    /// It holds replies back until 1024 bytes wait to be sent or the time is over since it last sent something, but
    /// not the first 1024 bytes: what ElectrumX does from 1.18.0 on.
    HoldsSmallReplies {
        /// How long; ElectrumX: one second.
        delay: Duration,
    },
    /// It answers the first request with notifications that never end.
    FloodOfNotifications,
    /// It answers the first request with a line that never ends.
    FloodInOneLine,
    /// It cuts every reply in half.
    TruncatedReplies,
    /// It leaves out the last 40 bytes of the headers that it counts.
    TruncatedHeaders,
    /// It answers under ids that nobody used.
    WrongIds,
    /// It answers with bytes that are no JSON.
    GarbageJson,
    /// It answers with arrays in arrays.
    DeepNesting {
        /// How many.
        depth: usize,
    },
    /// It answers every request with an error.
    Errors,
    /// It flips a bit in the merkle branches of transactions.
    ForgedMerkleBranch,
    /// It replaces the AuxPoW of one header.
    ForgedAuxPow {
        /// The header: the first one with AuxPoW from this height on.
        from: Height,
        /// The rule that the new AuxPoW breaks.
        flaw: Flaw,
    },
    /// It puts another value into the transactions of names.
    ForgedValue,
    /// It hides the newest operations of every name.
    HiddenUpdates {
        /// How many.
        newest: usize,
    },
    /// It says that no name exists.
    DeniesNames,
    /// It answers questions about names that don't exist with another name's history.
    InventsNames,
    /// It claims blocks beyond the tip that nobody worked for.
    FakeLongerChain {
        /// How many blocks.
        extra: Height,
        /// What stands in for the work: [`Work::Nothing`] or [`Work::Flawed`].
        work: Work,
    },
    /// It refuses further service with error −101 and hangs up.
    ExcessiveResources {
        /// After how many bytes of replies.
        after_bytes: usize,
    },
    /// It hangs up.
    DropsConnection {
        /// After how many replies, that of the handshake included.
        after_replies: usize,
    },
    /// It serves the chain of another network, with another genesis block.
    WrongNetwork,
    /// It cheats those who take headers of 80 bytes and sample full ones.
    Skeleton(Skeleton),
}

impl Fault {
    /// Returns the chain that the server claims; `None`: the true one.
    pub(super) fn doctored(&self, chain: &SimChain) -> Option<SimChain> {
        match self {
            Self::Stale { behind } => Some(chain.truncated(chain.height().saturating_sub(*behind))),
            Self::ForgedAuxPow { from, flaw } => Some(with_forged_auxpow(chain, *from, *flaw)),
            Self::FakeLongerChain { extra, work } => Some(extended(chain, *extra, *work)),
            Self::WrongNetwork => Some(foreign(chain)),
            Self::Skeleton(skeleton) => skeleton.doctored(chain),
            _ => None,
        }
    }
}

fn with_forged_auxpow(chain: &SimChain, from: Height, flaw: Flaw) -> SimChain {
    let mut chain = chain.clone();
    let found = (from..=chain.height())
        .find_map(|height| Some((height, chain.header(height)?)).filter(|(_, header)| header.has_auxpow()));
    if let Some((height, header)) = found {
        let mut rng = StdRng::seed_from_u64(height.into());
        let auxpow = parent::mine(&mut rng, &header, AuxPowKind::Realistic, Some(flaw));
        chain.replace_full_header(height, [header.as_bytes(), auxpow.as_slice()].concat());
    }
    chain
}

pub(super) fn extended(chain: &SimChain, extra: Height, work: Work) -> SimChain {
    let mut rng = StdRng::seed_from_u64(extra.into());
    let mut chain = chain.clone();
    for _ in 0..extra {
        let time = chain.header(chain.height()).map_or(0, |tip| tip.time());
        let payee = bitcoin::ScriptBuf::new();
        let block = miner::mine(
            &mut rng,
            &chain,
            time.saturating_add(BLOCK_SPACING),
            payee,
            Vec::new(),
            work,
        );
        chain.push(block);
    }
    chain
}

/// Mines a chain of the same height and age on testnet's genesis header with regtest's bits.
fn foreign(chain: &SimChain) -> SimChain {
    let mut header = *Network::Testnet.params().genesis.as_bytes();
    let bits = Network::Regtest.params().genesis.bits().to_consensus();
    header
        .iter_mut()
        .skip(72)
        .zip(bits.to_le_bytes())
        .for_each(|(byte, value)| *byte = value);
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Testnet);
    let genesis = SimBlock::new(PureHeader::new(header), &[], genesis.txdata);
    let start = chain.header(1).map_or(0, |first| first.time());
    let mut world = World::on(genesis, 0, Timestamp(start.into()));
    for _ in 0..chain.height() {
        world.mine_with(Work::Native);
    }
    world.chain().clone()
}

/// Returns the transaction with another value of the same length, or a value where there was none.
pub(super) fn with_forged_value(transaction: &Transaction) -> Transaction {
    let mut forged = transaction.clone();
    for output in &mut forged.output {
        let Some(NameScript { op, address, .. }) = NameScript::parse(&output.script_pubkey) else {
            continue;
        };
        let op = match op {
            NameOp::New { .. } => continue,
            NameOp::FirstUpdate { name, salt, value } => NameOp::FirstUpdate {
                name,
                salt,
                value: forged_value(&value),
            },
            NameOp::Update { name, value } => NameOp::Update {
                name,
                value: forged_value(&value),
            },
        };
        output.script_pubkey = op.to_script(address);
    }
    forged
}

fn forged_value(value: &NameValue) -> NameValue {
    let mut bytes = value.as_bytes().to_vec();
    match bytes.first_mut() {
        Some(first) => *first ^= 1,
        None => bytes.push(b'x'),
    }
    NameValue::new(&bytes).unwrap_or_else(|| value.clone())
}
