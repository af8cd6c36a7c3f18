//! The attack that weighs all uses together: who could have been empty, and who had how many to choose from?
//!
//! It supposes that a new ID opens a connection of its own by a coin, or because its daemon has no clean one, and takes a
//! random clean one else. Owners are sampled one party after the other (Gibbs), each by how likely all uses are that it has
//! to do with; two parties count as one daemon's as often as they are so.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::passive::{Numbers, Party, SAMPLED, parties, single_ones};
use super::users::Observed;

/// Sweeps over all parties, and how many of them are forgotten.
const SWEEPS: usize = 120;
const BURN_IN: usize = 40;

/// Chains that begin anew, each with other owners.
const CHAINS: u64 = 3;

/// What is supposed of the coin: how often a new ID opens its own though others are clean.
const COIN: f64 = 0.3;

/// A connection that is used so soon after it was opened, in seconds, was opened for that.
const AT_ONCE: f64 = 3.0;

struct Use {
    thing: usize,
    is_own: bool,
    /// Clean connections of each daemon at that time, beside the one that is used.
    clean: Vec<u32>,
}

impl Use {
    fn weight(&self, owner: usize) -> f64 {
        match (self.is_own, self.clean[owner]) {
            (true, 0) => 0.0,
            (true, _) => COIN.ln(),
            (false, others) => -f64::from(others + 1).ln(),
        }
    }
}

struct Chain {
    owners: Vec<usize>,
    uses: Vec<Use>,
    /// Its own uses, and those during which a connection of its was clean, once for each.
    own: Vec<Vec<usize>>,
    covered: Vec<Vec<usize>>,
}

impl Chain {
    fn begin(things: &[Party], observed: &Observed, daemons: usize, rng: &mut StdRng) -> Self {
        let opened = |connection: usize| observed.record.seen[connection].opened;
        let mut moments = Vec::new();
        let mut uses = Vec::new();
        for (thing, party) in things.iter().enumerate() {
            for (connection, used) in &party.connections {
                let Some(at) = used else { continue };
                moments.push((*connection, *at));
                uses.push(Use {
                    thing,
                    is_own: at - opened(*connection) < AT_ONCE,
                    clean: vec![0; daemons],
                });
            }
        }
        let clean_for = |connection: usize, used: Option<f64>| {
            let seen = &observed.record.seen[connection];
            let end = used.or(seen.closed_at()).unwrap_or(f64::INFINITY);
            let begin = seen.opened + AT_ONCE;
            let covered = moments
                .iter()
                .enumerate()
                .filter(move |(_, (of, at))| *of != connection && *at > begin && *at < end);
            covered.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let covered = things.iter().map(|party| {
            let all = party.connections.iter();
            all.flat_map(|(connection, used)| clean_for(*connection, *used))
                .collect()
        });
        let covered: Vec<Vec<usize>> = covered.collect();
        let mut own = vec![Vec::new(); things.len()];
        for (index, it) in uses.iter().enumerate() {
            own[it.thing].push(index);
        }
        let mut chain = Self {
            owners: things.iter().map(|_| rng.random_range(0..daemons)).collect(),
            uses,
            own,
            covered,
        };
        for thing in 0..things.len() {
            chain.count(thing, chain.owners[thing], true);
        }
        chain
    }

    fn count(&mut self, thing: usize, owner: usize, adds: bool) {
        for it in &self.covered[thing] {
            let clean = &mut self.uses[*it].clean[owner];
            *clean = if adds { *clean + 1 } else { *clean - 1 };
        }
    }

    /// Draws the owner of one thing anew.
    fn step(&mut self, thing: usize, daemons: usize, rng: &mut StdRng) {
        self.count(thing, self.owners[thing], false);
        let mut weights = Vec::with_capacity(daemons);
        for owner in 0..daemons {
            let is_touched = |it: &usize| {
                let of = self.uses[*it].thing;
                of != thing && self.owners[of] == owner
            };
            let touched: Vec<usize> = self.covered[thing].iter().copied().filter(is_touched).collect();
            let of_others = |chain: &Self| touched.iter().map(|it| chain.uses[*it].weight(owner)).sum::<f64>();
            let before = of_others(self);
            self.count(thing, owner, true);
            let own: f64 = self.own[thing].iter().map(|it| self.uses[*it].weight(owner)).sum();
            weights.push(own + of_others(self) - before);
            self.count(thing, owner, false);
        }
        let highest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = weights.iter().map(|weight| (weight - highest).exp()).collect();
        let mut left = rng.random::<f64>() * parts.iter().sum::<f64>();
        let drawn = parts.iter().position(|part| {
            left -= part;
            left <= 0.0
        });
        self.owners[thing] = drawn.unwrap_or(daemons - 1);
        self.count(thing, self.owners[thing], true);
    }
}

/// Adds to each pair of a run how often it is one daemon's.
pub fn sample(observed: &Observed, daemons: usize, numbers: &mut Numbers) {
    let mut things = parties(observed);
    let used: Vec<usize> = things
        .iter()
        .flat_map(|party| &party.connections)
        .map(|it| it.0)
        .collect();
    let unused = single_ones(observed)
        .into_iter()
        .filter(|party| !used.contains(&party.connections[0].0));
    things.extend(unused);
    let mut thing_of = vec![0; observed.record.seen.len()];
    for (thing, party) in things.iter().enumerate() {
        for (connection, _) in &party.connections {
            thing_of[*connection] = thing;
        }
    }
    for seed in 0..CHAINS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut chain = Chain::begin(&things, observed, daemons, &mut rng);
        for sweep in 0..SWEEPS {
            for thing in 0..things.len() {
                chain.step(thing, daemons, &mut rng);
            }
            if sweep < BURN_IN {
                continue;
            }
            let owner = |thing: usize| chain.owners[thing_of[numbers.connections[thing]]];
            for (a, b, row) in &mut numbers.pairs {
                row[SAMPLED] += f64::from(u8::from(owner(*a) == owner(*b)));
            }
        }
    }
}
