//! Attacks by who only looks: which first uses, and which connections, are one daemon's?
//!
//! Subjects are *parties*: the connections that were first used together, which is one connection, or a burst. In the first
//! riddle the attacker is to name a later party of the same daemon among those that follow ([`View::Uses`]), in the second
//! one any connection of the same daemon among those that were opened about then ([`View::Openings`]). Each attack gives
//! every pair of connections a number; each connection of a candidate counts with its closest one of the subject.

use std::collections::BTreeMap;

use super::score::{Riddle, Trial};
use super::users::Observed;
use crate::virtual_world::{Record, Seen, Side, What};

/// Parties that follow and are asked about, for each daemon.
const HORIZON: usize = 2;

/// From this long before a party's beginning to as long afterwards, in seconds, connections are asked about that opened.
const ABOUT: f64 = 120.0;

/// Nothing more is expected of moments that are nearer to each other, in seconds.
const BLUR: f64 = 0.05;

/// Requests of a connection that are compared: those of the greeting, and the first for a name.
const WORDS: usize = 8;

/// What stands in for no nearness at all, in seconds.
const FAR: f64 = 7200.0;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Parties that follow.
    Uses,
    /// Connections that opened about then, used or not.
    Openings,
}

/// Connections that are taken for one thing.
#[derive(Clone, Debug)]
pub(super) struct Party {
    owner: usize,
    /// Each with its first use.
    pub(super) connections: Vec<(usize, Option<f64>)>,
    ids: Vec<usize>,
}

/// Returns the parties of a run in the order of their beginnings.
pub(super) fn parties(observed: &Observed) -> Vec<Party> {
    let mut parties: Vec<Party> = Vec::new();
    let mut by_group: BTreeMap<usize, usize> = BTreeMap::new();
    for visit in observed.visits() {
        let index = *by_group.entry(visit.group).or_insert_with(|| {
            parties.push(Party {
                owner: visit.owner,
                connections: Vec::new(),
                ids: Vec::new(),
            });
            parties.len() - 1
        });
        parties[index].connections.push((visit.connection, Some(visit.at)));
        parties[index].ids.push(visit.id);
    }
    parties
}

/// Returns each connection for lookups alone.
pub(super) fn single_ones(observed: &Observed) -> Vec<Party> {
    let visits = observed.visits();
    let of_lookups = observed
        .record
        .seen
        .iter()
        .enumerate()
        .filter(|(_, seen)| !seen.is_sync());
    let single = of_lookups.map(|(connection, seen)| Party {
        owner: observed.record.truth[connection].owner,
        connections: vec![(connection, seen.first_use())],
        ids: visits
            .iter()
            .filter(|visit| visit.connection == connection)
            .map(|visit| visit.id)
            .collect(),
    });
    single.collect()
}

/// What an attack is told of two connections.
pub struct Pair<'a> {
    record: &'a Record,
    links: &'a [Option<usize>],
    a: usize,
    b: usize,
    /// When the first one was first used.
    used: f64,
    /// When the other one was, if it was.
    then_used: Option<f64>,
}

impl Pair<'_> {
    fn a(&self) -> &Seen {
        &self.record.seen[self.a]
    }

    fn b(&self) -> &Seen {
        &self.record.seen[self.b]
    }
}

/// The nearer the higher.
fn near(seconds: f64) -> f64 {
    -(seconds.abs().min(FAR) + BLUR).ln()
}

/// The nearer the higher, but only if it comes after.
fn after(seconds: f64) -> f64 {
    if seconds >= 0.0 { near(seconds) } else { near(FAR) }
}

/// A connection is opened in the place of one that was used: which opens next after a first use?
fn successor(pair: &Pair<'_>) -> f64 {
    after(pair.b().opened - pair.used)
}

/// A daemon that expects to be used opens connections a while before.
fn predecessor(pair: &Pair<'_>) -> f64 {
    after(pair.used - pair.b().opened)
}

/// What one demand or one clock opens is opened together.
fn opened_together(pair: &Pair<'_>) -> f64 {
    near(pair.a().opened - pair.b().opened)
}

/// What one decision ends is closed together.
fn closed_together(pair: &Pair<'_>) -> f64 {
    match (pair.a().closed_at(), pair.b().closed_at()) {
        (Some(a), Some(b)) => near(a - b),
        _ => near(FAR),
    }
}

/// A new ID drives an old one out.
fn closed_at_use(pair: &Pair<'_>) -> f64 {
    let both = pair.a().closed_at().zip(pair.then_used);
    both.map_or(near(FAR), |(closed, used)| near(closed - used))
}

/// One timer sends all signs of life, or two of them at least.
fn pings_together(pair: &Pair<'_>) -> f64 {
    near(nearest(pair.a().times(What::Ping), || pair.b().times(What::Ping)))
}

/// One event has connections asked again: a block, or the end of what was remembered.
fn asks_again_together(pair: &Pair<'_>) -> f64 {
    let again = |seen: &Seen| seen.times(What::Lookup).skip(1).collect::<Vec<_>>();
    let b = again(pair.b());
    near(nearest(again(pair.a()).into_iter(), || b.iter().copied()))
}

/// The lookup on one is followed by something on the other.
fn stirs(pair: &Pair<'_>) -> f64 {
    let b = pair.b().times(What::Ping).chain(pair.b().closed_at());
    let distance = b.map(|at| at - pair.used).filter(|gap| *gap >= 0.0);
    near(distance.fold(FAR, f64::min))
}

/// What is asked depends on something that a daemon's connections share, such as its tip.
fn same_words(pair: &Pair<'_>) -> f64 {
    let words = |seen: &Seen| {
        let asked = seen
            .messages
            .iter()
            .filter(|it| it.from == Side::Client && it.what != What::Ping);
        asked.map(|it| it.words).take(WORDS).collect::<Vec<_>>()
    };
    let (a, b) = (words(pair.a()), words(pair.b()));
    a.iter().filter(|it| b.contains(it)).count() as f64 / a.len().max(1) as f64
}

/// Both have one sync connection that did something as they were opened or first used.
fn sync_in_common(pair: &Pair<'_>) -> f64 {
    let same = pair.links[pair.a].is_some() && pair.links[pair.a] == pair.links[pair.b];
    f64::from(u8::from(same))
}

/// Whoever opened one for itself had none left: what was clean then is another daemon's. Whoever took a clean one has more.
fn census(pair: &Pair<'_>) -> f64 {
    let (a, b) = (pair.a(), pair.b());
    let was_clean = b.opened < pair.used - 1.0;
    let took_own = pair.used - a.opened < 3.0;
    match (was_clean, took_own) {
        (true, true) => -1.0,
        (true, false) => 1.0,
        (false, _) => 0.0,
    }
}

fn nearest<I: Iterator<Item = f64>>(a: impl Iterator<Item = f64>, b: impl Fn() -> I) -> f64 {
    a.flat_map(|a| b().map(move |b| (a - b).abs())).fold(FAR, f64::min)
}

/// For each connection the one of header sync that did something last before it was opened.
fn links(record: &Record) -> Vec<Option<usize>> {
    let syncs = record.seen.iter().enumerate().filter(|(_, seen)| seen.is_sync());
    let mut stirred: Vec<(f64, usize)> = syncs
        .flat_map(|(index, seen)| {
            let said = seen.times(What::Ping).chain(seen.times(What::Header));
            said.chain([seen.opened])
                .chain(seen.closed_at())
                .map(move |at| (at, index))
        })
        .collect();
    stirred.sort_by(|a, b| a.0.total_cmp(&b.0));
    let latest = |at: f64| {
        let before = stirred.partition_point(|stir| stir.0 <= at);
        stirred[..before]
            .last()
            .filter(|stir| at - stir.0 < 5.0)
            .map(|stir| stir.1)
    };
    record.seen.iter().map(|seen| latest(seen.opened)).collect()
}

/// An attack: its name, and the number that it gives a pair.
pub type Attack = (&'static str, fn(&Pair<'_>) -> f64);

pub const ATTACKS: [Attack; 11] = [
    ("successor", successor),
    ("predecessor", predecessor),
    ("opened together", opened_together),
    ("closed together", closed_together),
    ("closed at use", closed_at_use),
    ("pings together", pings_together),
    ("asks again together", asks_again_together),
    ("stirs", stirs),
    ("same words", same_words),
    ("sync in common", sync_in_common),
    ("census", census),
];

/// What is known of a pair: the numbers of [`ATTACKS`], and the sampler's once it is at work.
pub type Row = [f64; ATTACKS.len() + 1];

/// Where a row has the sampler's number.
pub const SAMPLED: usize = ATTACKS.len();

/// All numbers of all pairs of one run.
pub struct Numbers {
    /// Subject, candidate, numbers.
    pub pairs: Vec<(usize, usize, Row)>,
    pub owners: Vec<usize>,
    /// One connection of each thing.
    pub(super) connections: Vec<usize>,
    /// Of which party each thing is a part, or is alone.
    clusters: Vec<usize>,
}

impl Numbers {
    /// Takes the numbers of a run.
    pub fn of(observed: &Observed, daemons: usize, view: View) -> Self {
        let mut things = parties(observed);
        let subjects = things.len();
        if view == View::Openings {
            things.extend(single_ones(observed));
        }
        let mut party_of = BTreeMap::new();
        for (index, party) in things.iter().enumerate().take(subjects) {
            party_of.extend(party.connections.iter().map(|it| (it.0, index)));
        }
        let cluster = |(index, thing): (usize, &Party)| {
            let of = party_of.get(&thing.connections[0].0);
            of.copied().unwrap_or(index)
        };
        let clusters = things.iter().enumerate().map(cluster).collect();
        let links = links(&observed.record);
        let seen = &observed.record.seen;
        let mut pairs = Vec::new();
        for (subject, a) in things.iter().enumerate().take(subjects) {
            let is_known = |b: &Party| {
                let one_id = b.ids.iter().any(|id| a.ids.contains(id));
                one_id || b.connections.iter().any(|it| a.connections.contains(it))
            };
            let begins = a.connections[0].1.unwrap_or_default();
            let about = |b: &Party| (seen[b.connections[0].0].opened - begins).abs() < ABOUT;
            let others = things.iter().enumerate().filter(|(_, b)| !is_known(b));
            let candidates: Vec<(usize, &Party)> = match view {
                View::Uses => others
                    .skip_while(|(b, _)| *b <= subject)
                    .take(HORIZON * daemons)
                    .collect(),
                View::Openings => others.filter(|(b, party)| *b >= subjects && about(party)).collect(),
            };
            for (candidate, b) in candidates {
                let mut row: Row = [0.0; ATTACKS.len() + 1];
                for (number, (_, attack)) in row.iter_mut().zip(ATTACKS) {
                    *number = between(&observed.record, &links, a, b, attack);
                }
                pairs.push((subject, candidate, row));
            }
        }
        Self {
            pairs,
            owners: things.iter().map(|party| party.owner).collect(),
            clusters,
            connections: things.iter().map(|party| party.connections[0].0).collect(),
        }
    }

    /// Makes the riddles of one attack, whose scores are made of a pair's numbers.
    pub fn trial(&self, score: impl Fn(&Row) -> f64) -> Trial {
        let mut riddles: Vec<Riddle> = Vec::new();
        for (subject, candidate, row) in &self.pairs {
            if riddles.last().is_none_or(|riddle| riddle.subject != *subject) {
                riddles.push(Riddle {
                    subject: *subject,
                    candidates: Vec::new(),
                });
            }
            let last = riddles.last_mut().unwrap();
            last.candidates.push((*candidate, score(row)));
        }
        Trial {
            riddles,
            owners: self.owners.clone(),
            kinds: vec![0; self.owners.len()],
            clusters: self.clusters.clone(),
        }
    }
}

fn between(record: &Record, links: &[Option<usize>], a: &Party, b: &Party, attack: fn(&Pair<'_>) -> f64) -> f64 {
    let closest = b.connections.iter().map(|(b, then_used)| {
        let numbers = a.connections.iter().map(|(a, used)| {
            attack(&Pair {
                record,
                links,
                a: *a,
                b: *b,
                used: used.unwrap_or_default(),
                then_used: *then_used,
            })
        });
        numbers.fold(f64::NEG_INFINITY, f64::max)
    });
    closest.sum::<f64>() / b.connections.len() as f64
}
