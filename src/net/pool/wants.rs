//! What lookups wait for, in the order of the moments at which something is due for them.

use std::collections::{BTreeMap, BTreeSet};

use super::identities::Owner;
use super::{ServerIndex, Ticket};
use crate::time::Moment;

/// What the lookups of one owner wait for.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) tickets: BTreeMap<Ticket, Moment>,
    /// Whether its server must be another one than those of the attempts before.
    pub(super) distinct_server: bool,
    /// Servers that it was not opened to.
    pub(super) failed: BTreeSet<ServerIndex>,
    pub(super) failures: usize,
    /// When the next connection is opened, if none is open by then.
    pub(super) next_try: Moment,
}

impl Want {
    /// When something is due for it: its patience ends, or the next connection is opened.
    fn next_moment(&self) -> Moment {
        self.tickets.values().copied().fold(self.next_try, Moment::min)
    }
}

/// All that is waited for.
#[derive(Debug, Default)]
pub(super) struct Wants {
    all: BTreeMap<Owner, Want>,
    owners: BTreeMap<Ticket, Owner>,
    moments: BTreeSet<(Moment, Owner)>,
}

impl Wants {
    pub(super) fn get(&self, owner: Owner) -> Option<&Want> {
        self.all.get(&owner)
    }

    pub(super) fn has(&self, owner: Owner) -> bool {
        self.all.contains_key(&owner)
    }

    /// Returns how many lookups wait.
    pub(super) fn waiting(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn insert(&mut self, owner: Owner, want: Want) {
        self.owners.extend(want.tickets.keys().map(|ticket| (*ticket, owner)));
        self.moments.insert((want.next_moment(), owner));
        self.all.insert(owner, want);
    }

    pub(super) fn remove(&mut self, owner: Owner) -> Option<Want> {
        let want = self.all.remove(&owner)?;
        self.moments.remove(&(want.next_moment(), owner));
        for ticket in want.tickets.keys() {
            self.owners.remove(ticket);
        }
        Some(want)
    }

    /// Changes what is waited for, if it is; what nobody waits for any more is gone.
    pub(super) fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Want)) {
        if let Some(mut want) = self.remove(owner) {
            change(&mut want);
            if !want.tickets.is_empty() {
                self.insert(owner, want);
            }
        }
    }

    /// Nobody waits for this ticket any more.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(owner) = self.owners.get(&ticket).copied() {
            self.change(owner, |want| {
                want.tickets.remove(&ticket);
            });
        }
    }

    /// Returns those for which something is due, in the order of their owners.
    pub(super) fn due(&self, now: Moment) -> BTreeSet<Owner> {
        let due = self.moments.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, owner)| *owner).collect()
    }

    /// Returns the next moment at which something is due.
    pub(super) fn next_moment(&self) -> Option<Moment> {
        self.moments.first().map(|(at, _)| *at)
    }
}
