//! What is held against the program by what servers see: whose lookups each connection carries.

use std::collections::{BTreeMap, BTreeSet};

use super::super::record::{Message, Recorder, Side, What};

/// So long after its question was answered, in seconds, a lookup's requests may still be on their way.
const LATE: f64 = 120.0;

/// Who asked for a name, and when.
#[derive(Debug)]
struct Asked {
    id: u32,
    begun: f64,
    ended: f64,
}

/// One connection, as far as it was looked at.
#[derive(Debug, Default)]
struct Carried {
    /// Whose lookups it may have carried: those who asked for each of the names at the time.
    owners: Option<BTreeSet<u32>>,
    is_sync: bool,
}

/// All questions of the last hour, and what connections carried.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By the beginning of the name's scripthash.
    asked: BTreeMap<u64, Vec<Asked>>,
    carried: BTreeMap<usize, Carried>,
    /// Requests for names, and those whose asker could be told.
    pub(super) requests: u64,
    pub(super) known: u64,
}

impl Watch {
    pub(super) fn begin(&mut self, name: u64, id: u32, now: f64) {
        self.asked.entry(name).or_default().push(Asked {
            id,
            begun: now,
            ended: f64::INFINITY,
        });
    }

    pub(super) fn end(&mut self, name: u64, id: u32, now: f64) {
        let asked = self.asked.entry(name).or_default().iter_mut();
        if let Some(asked) = asked.rev().find(|asked| asked.id == id && asked.ended > now) {
            asked.ended = now;
        }
    }

    pub(super) fn forget_before(&mut self, then: f64) {
        self.asked.retain(|_, asked| {
            asked.retain(|asked| asked.ended + LATE > then);
            !asked.is_empty()
        });
    }

    /// Looks at what a connection carried since the last time.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn look_at(&mut self, connection: usize, recorder: &Recorder, is_over: bool) -> Result<bool, String> {
        let carried = self.carried.entry(connection).or_default();
        let mut is_used = false;
        for message in recorder.take(0) {
            let Message {
                at, from, what, name, ..
            } = message;
            if from != Side::Client {
                continue;
            }
            carried.is_sync |= what == What::Subscription;
            if what != What::Lookup {
                continue;
            }
            is_used = true;
            self.requests += 1;
            if carried.is_sync {
                return Err(format!(
                    "connection {connection}: header sync's carries a lookup at {at:.1}"
                ));
            }
            let Some(asked) = name.and_then(|name| self.asked.get(&name)) else {
                // A transaction, by its hash; or a name that nobody asked for, which is told by the same word.
                continue;
            };
            self.known += 1;
            let askers = asked.iter().filter(|it| it.begun <= at && at <= it.ended + LATE);
            let askers: BTreeSet<u32> = askers.map(|it| it.id).collect();
            let owners = match carried.owners.take() {
                None => askers.clone(),
                Some(before) => before.intersection(&askers).copied().collect(),
            };
            if owners.is_empty() {
                return Err(format!(
                    "connection {connection}: a lookup at {at:.1} that none of its owners asked for; {} others did",
                    askers.len()
                ));
            }
            carried.owners = Some(owners);
        }
        if is_over {
            self.carried.remove(&connection);
        }
        Ok(is_used)
    }

    /// How much is kept.
    pub(super) fn connections(&self) -> usize {
        self.carried.len()
    }
}
