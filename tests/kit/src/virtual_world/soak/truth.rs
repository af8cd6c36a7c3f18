//! The chain that all honest servers come to agree on, and which values its names had of late.

use std::collections::VecDeque;

use isonym::chain::{Height, Network};
use isonym::name::script::NameScript;
use isonym::name::{NameId, Outcome};
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, SimChain, Work, World};

use super::super::{CHAIN, NAMES, RENEWAL, name};

/// Names from here on lapse and are registered anew.
pub(super) const LAPSING: usize = NAMES - 4;

/// How long, in seconds, a value may be served that the chain has no more: that is the time for which results are
/// remembered, what servers lag, and for how long a clock may be wrong.
const WINDOW: f64 = 3.0 * 3600.0;

/// How long a name lapses and lives, in blocks.
const SEASON: usize = 120;

/// The newest operation of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    value: Vec<u8>,
    height: Height,
}

/// What the chain said from one moment to the next change.
#[derive(Debug)]
struct Page {
    since: f64,
    tip: Height,
    names: Vec<Option<Newest>>,
}

/// The chain, and the pages of the last hours.
#[derive(Debug)]
pub(super) struct Chronicle {
    world: World,
    pages: VecDeque<Page>,
    /// Makes every value another one.
    values: u64,
}

/// Returns the newest operation of a name on a chain.
pub(super) fn newest(chain: &SimChain, number: usize) -> Option<Newest> {
    let id = NameId::new(name(number).as_bytes())?;
    let entries = chain.history(&id.scripthash()).iter().rev();
    // What reorganisations left in an index is no operation of the name.
    let mut found = entries.filter_map(|entry| {
        let outputs = &chain.transaction(&entry.txid)?.transaction.output;
        let mut ops = outputs
            .iter()
            .filter_map(|output| NameScript::parse(&output.script_pubkey));
        let op = ops.find(|script| script.op.any_update().is_some_and(|(it, _)| *it == id))?;
        let (_, value) = op.op.any_update()?;
        Some(Newest {
            value: value.as_bytes().to_vec(),
            height: entry.height,
        })
    });
    found.next()
}

/// Whether an outcome is what such an operation comes to below such a tip.
fn fits(outcome: &Outcome, newest: Option<&Newest>, tip: Height) -> bool {
    let params = Network::Regtest.params();
    let left = |newest: &Newest| {
        let end = newest.height + params.expiration_depth(tip);
        i64::from(end) - i64::from(tip)
    };
    match (outcome, newest) {
        (Outcome::Found(status) | Outcome::Unconfirmed { status, .. }, Some(newest)) => {
            *status.name.value().as_bytes() == newest.value
        }
        (Outcome::NeverExisted, None) => true,
        // A block more or less is known here and there.
        (Outcome::SemiExpired(_), Some(newest)) => left(newest) <= i64::from(params.semi_expiration_margin()) + 1,
        (Outcome::Expired(_) | Outcome::LongExpired { .. }, Some(newest)) => left(newest) <= 1,
        _ => false,
    }
}

impl Chronicle {
    pub(super) fn new() -> Self {
        let mut chronicle = Self {
            world: CHAIN.clone(),
            pages: VecDeque::new(),
            values: 0,
        };
        chronicle.turn(0.0);
        chronicle
    }

    pub(super) fn chain(&self) -> &SimChain {
        self.world.chain()
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    fn turn(&mut self, now: f64) {
        let chain = self.world.chain();
        let page = Page {
            since: now,
            tip: chain.height(),
            names: (0..NAMES).map(|number| newest(chain, number)).collect(),
        };
        self.pages.push_back(page);
        while self.pages.get(1).is_some_and(|next| next.since < now - WINDOW) {
            self.pages.pop_front();
        }
    }

    /// Says whether an outcome was true at a moment of the last hours, by the best chain.
    pub(super) fn bears_out(&self, number: usize, outcome: &Outcome) -> bool {
        let mut pages = self.pages.iter();
        pages.any(|page| fits(outcome, page.names.get(number).and_then(Option::as_ref), page.tip))
    }

    /// Says whether a chain has it so, which need not be the best one, at its tip or a little below.
    pub(super) fn is_so_on(chain: &SimChain, number: usize, outcome: &Outcome, tip: Height) -> bool {
        let newest = newest(chain, number);
        fits(outcome, newest.as_ref(), tip) || fits(outcome, newest.as_ref(), chain.height())
    }

    /// Finds a block.
    pub(super) fn grow(&mut self, time: u64, now: f64) {
        self.grow_unseen(time);
        self.turn(now);
    }

    fn grow_unseen(&mut self, time: u64) {
        let height = usize::try_from(self.world.chain().height()).unwrap();
        for number in (0..NAMES).filter(|number| (number + height).is_multiple_of(RENEWAL)) {
            self.values += 1;
            let value = format!("value {}", self.values);
            let (name, kind) = (name(number), AddressKind::P2wpkh);
            let lapses = number >= LAPSING && (height / SEASON + number).is_multiple_of(2);
            if lapses {
                continue;
            }
            // A name that has lapsed takes two rounds to come back, of thirteen blocks each. What comes amiss in a
            // reorganisation is tried again in the next round.
            let _ = self
                .world
                .queue_update(&name, &value, kind, Signer::Owner)
                .or_else(|_| self.world.queue_registration(&name, &value, kind))
                .or_else(|_| self.world.queue_commitment(&name, kind));
        }
        self.world.mine_at(u32::try_from(time).unwrap(), Work::Native);
    }

    /// Has a branch take over that leaves so many blocks, and is one block longer.
    pub(super) fn reorganise(&mut self, depth: Height, seed: u64, time: u64, now: f64) {
        let at = self.world.chain().height() - depth;
        let fork = self.world.fork_at(at, seed);
        self.world = fork;
        let since = self.world.time().0;
        let blocks = u64::from(depth) + 1;
        for block in 1..=blocks {
            let step = time.saturating_sub(since) * block / blocks;
            self.grow_unseen((since + step).max(since + block));
        }
        self.turn(now);
    }
}
