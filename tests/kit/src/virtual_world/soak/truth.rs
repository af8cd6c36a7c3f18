//! The chain that all honest servers come to agree on, and which values its names had of late.

use std::collections::VecDeque;

use bitcoin::BlockHash;
use isonym::chain::{Height, Network};
use isonym::name::script::NameScript;
use isonym::name::{NameId, Outcome};
use isonym::node::Proved;
use isonym_sim::wallet::Signer;
use isonym_sim::{AddressKind, SimChain, Work, World};

use super::super::{CHAIN, NAMES, RENEWAL, name};

/// Names from here on lapse and are registered anew.
pub(super) const LAPSING: usize = NAMES - 4;

/// How long, in seconds, a value may be served that no chain has any more: results are remembered for ten minutes, a lookup
/// takes some, and a server that nothing is amiss with some seconds to hear of a block.
pub(super) const WINDOW: f64 = 1200.0;

/// How long a name lapses and lives, in blocks.
const SEASON: usize = 120;

/// The newest operation of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    value: Vec<u8>,
    height: Height,
}

/// What a chain says.
#[derive(Debug)]
struct Page {
    tip: Height,
    hash: BlockHash,
    names: Vec<Option<Newest>>,
}

impl Page {
    fn of(chain: &SimChain) -> Self {
        Self {
            tip: chain.height(),
            hash: chain.tip_hash(),
            names: (0..NAMES).map(|number| newest(chain, number)).collect(),
        }
    }

    fn bears_out(&self, number: usize, outcome: &Outcome) -> bool {
        fits(outcome, self.names.get(number).and_then(Option::as_ref), self.tip)
    }
}

/// The chain, and what it said of late.
#[derive(Debug)]
pub(super) struct Chronicle {
    world: World,
    /// What the best chain said, each time from a moment on.
    pages: VecDeque<(f64, Page)>,
    /// What a server showed that was behind, each time until a moment.
    left: VecDeque<(f64, Page)>,
    /// Makes every value another one.
    values: u64,
}

/// Returns the newest operation of a name on a chain.
pub(super) fn newest(chain: &SimChain, number: usize) -> Option<Newest> {
    operations(chain, number).next()
}

/// Returns the operations of a name on a chain that give it a value, newest first.
fn operations(chain: &SimChain, number: usize) -> impl Iterator<Item = Newest> {
    let id = NameId::new(name(number).as_bytes()).unwrap();
    let entries = chain.history(&id.scripthash()).iter().rev();
    // What reorganisations left in an index is no operation of the name.
    entries.filter_map(move |entry| {
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
    })
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
            left: VecDeque::new(),
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
        self.pages.push_back((now, Page::of(self.world.chain())));
        while self.pages.get(1).is_some_and(|(next, _)| *next < now - WINDOW) {
            self.pages.pop_front();
        }
        while self.left.front().is_some_and(|(until, _)| *until < now - WINDOW) {
            self.left.pop_front();
        }
    }

    /// A server leaves a chain for another one: lookups of a moment ago may have seen it.
    pub(super) fn leave(&mut self, chain: &SimChain, now: f64) {
        let hash = chain.tip_hash();
        if self.pages.iter().all(|(_, page)| page.hash != hash) {
            self.left.push_back((now, Page::of(chain)));
        }
    }

    /// Returns names whose newest operation is in one of the last blocks.
    pub(super) fn changed_of_late(&self, blocks: Height) -> Vec<usize> {
        let chain = self.chain();
        let is_late = |number: &usize| newest(chain, *number).is_some_and(|it| it.height + blocks > chain.height());
        (0..NAMES).filter(is_late).collect()
    }

    /// Says whether an outcome was true a short time ago, by the best chain.
    pub(super) fn bears_out(&self, number: usize, outcome: &Outcome) -> bool {
        self.pages.iter().any(|(_, page)| page.bears_out(number, outcome))
    }

    /// Says whether a server that is not behind any more had it so a short time ago.
    pub(super) fn was_so_behind(&self, number: usize, outcome: &Outcome, now: f64) -> bool {
        let left = self.left.iter().filter(|(until, _)| *until >= now - WINDOW);
        left.map(|(_, page)| page).any(|page| page.bears_out(number, outcome))
    }

    /// Says whether what proves an outcome is part of the chain whose tip it was judged by, as far as that is known: it
    /// is, where that tip lies on the best chain. What the node says of its block may be as wrong as what it serves, so the
    /// operation itself has to be there.
    pub(super) fn stands_on_its_tip(&self, number: usize, proved: &Proved) -> bool {
        let chain = self.chain();
        let hash_at = |height| chain.header(height).map(|header| header.hash());
        let Some(status) = proved.outcome.proven() else {
            return true;
        };
        let height = status.name.height();
        let is_there = || {
            let mut there = operations(chain, number).filter(|it| it.height == height);
            there.any(|it| it.value == *status.name.value().as_bytes())
        };
        hash_at(proved.tip.height) != Some(proved.tip.hash) || (hash_at(height) == proved.block && is_there())
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
            let value = format!(r#"{{"txt":"value {}"}}"#, self.values);
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

#[cfg(test)]
mod tests {
    use isonym::name::proof::{self, ProofLimits};
    use isonym::name::{Policy, policy};

    use super::*;

    /// What is proved of a name on a chain, as a node shows it whose tip is that of another one.
    fn proved(chain: &SimChain, number: usize, judged: &SimChain) -> Proved {
        let id = NameId::new(name(number).as_bytes()).unwrap();
        let tree = |chain: &SimChain| chain.header_tree(Network::Regtest.params()).unwrap();
        let tip = tree(judged).tip();
        let tree = tree(chain);
        let proven = proof::verify(&id, &chain.name_proof(&id), &tree, &ProofLimits::default()).unwrap();
        let outcome = policy::judge(proven, tip.height, tree.params(), &Policy::default());
        let height = outcome.proven().map(|status| status.name.height());
        Proved {
            outcome,
            tip,
            read_from: None,
            unproved: 0,
            block: height.and_then(|height| tree.hash_at(height)),
        }
    }

    /// A name that the next block updates.
    fn due(chronicle: &Chronicle) -> usize {
        let height = usize::try_from(chronicle.chain().height()).unwrap();
        (0..LAPSING)
            .find(|number| (number + height).is_multiple_of(RENEWAL))
            .unwrap()
    }

    fn time_of_next(chronicle: &Chronicle) -> u64 {
        chronicle.world().time().0 + 600
    }

    #[test]
    fn a_value_is_true_until_a_while_after_it_is_replaced() {
        let mut chronicle = Chronicle::new();
        let number = due(&chronicle);
        let before = proved(chronicle.chain(), number, chronicle.chain()).outcome;
        assert!(chronicle.bears_out(number, &before));
        assert!(!chronicle.bears_out(number, &Outcome::NeverExisted));
        chronicle.grow(time_of_next(&chronicle), 600.0);
        let after = proved(chronicle.chain(), number, chronicle.chain()).outcome;
        assert_ne!(before, after);
        for outcome in [&before, &after] {
            assert!(chronicle.bears_out(number, outcome), "{outcome:?}");
        }
        chronicle.grow(time_of_next(&chronicle), 601.0 + WINDOW);
        assert!(!chronicle.bears_out(number, &before), "it is stale");
        assert!(chronicle.bears_out(number, &after));
    }

    #[test]
    fn what_a_server_showed_that_was_behind_is_borne_out_for_a_while() {
        let mut chronicle = Chronicle::new();
        let (behind, number) = (chronicle.chain().clone(), due(&chronicle));
        let before = proved(&behind, number, &behind).outcome;
        for now in [600.0, 4000.0] {
            chronicle.grow(time_of_next(&chronicle), now);
        }
        assert!(!chronicle.was_so_behind(number, &before, 4000.0));
        chronicle.leave(&behind, 4000.0);
        assert!(chronicle.was_so_behind(number, &before, 4000.0 + WINDOW));
        assert!(!chronicle.was_so_behind(number, &before, 4001.0 + WINDOW));
    }

    #[test]
    fn a_value_of_a_block_that_was_left_does_not_stand_on_the_new_tip() {
        let mut chronicle = Chronicle::new();
        let number = due(&chronicle);
        chronicle.grow(time_of_next(&chronicle), 600.0);
        let left = chronicle.chain().clone();
        let honest = proved(&left, number, &left);
        assert!(chronicle.stands_on_its_tip(number, &honest));
        let time = time_of_next(&chronicle);
        chronicle.reorganise(1, 7, time, 1200.0);
        // Our node may not know of the other branch yet.
        assert!(chronicle.stands_on_its_tip(number, &honest));
        let new = chronicle.chain().clone();
        let replaced = proved(&left, number, &new);
        assert!(chronicle.stands_on_its_tip(number, &proved(&new, number, &new)));
        assert!(!chronicle.stands_on_its_tip(number, &replaced));
        let block = replaced.outcome.proven().map(|status| status.name.height());
        let block = block.and_then(|height| new.header(height)).map(|header| header.hash());
        let unnoticed = Proved { block, ..replaced };
        assert!(
            !chronicle.stands_on_its_tip(number, &unnoticed),
            "whatever its block is said to be"
        );
    }
}
