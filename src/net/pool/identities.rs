//! The identities that connections are bound to, from their first lookup until they are forgotten.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LookupId, ServerIndex};
use crate::isolation::{BlindedId, ConnId};
use crate::time::Moment;

/// The number of an identity, never reused: who comes back with an ID that was forgotten has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdentityNumber(u64);

/// Whose a connection is: one attempt of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) identity: IdentityNumber,
    pub(super) attempt: u8,
}

#[derive(Debug)]
pub(super) struct Identity {
    id: BlindedId,
    /// Whose share it counts in: of who asked first under it.
    caller: u64,
    last_used: Moment,
    /// How long it lives unused.
    ttl: Duration,
    pub(super) connections: BTreeMap<u8, ConnId>,
    /// The server that each attempt had last, be its connection there still or not.
    pub(super) servers: BTreeMap<u8, ServerIndex>,
    /// Servers that lied to it.
    pub(super) liars: BTreeSet<ServerIndex>,
    lookups: BTreeSet<LookupId>,
}

/// All identities. One that is forgotten while lookups have it is nobody's any more, but stays for them.
#[derive(Debug, Default)]
pub(super) struct Identities {
    all: BTreeMap<IdentityNumber, Identity>,
    live: BTreeMap<BlindedId, IdentityNumber>,
    lookups: BTreeMap<LookupId, IdentityNumber>,
    /// How many live ones each caller has.
    callers: BTreeMap<u64, usize>,
    next: u64,
}

impl Identities {
    /// Returns how many live ones there are.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn has(&self, id: &BlindedId) -> bool {
        self.live.contains_key(id)
    }

    pub(super) fn knows(&self, lookup: LookupId) -> bool {
        self.lookups.contains_key(&lookup)
    }

    pub(super) fn get(&self, number: IdentityNumber) -> Option<&Identity> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: IdentityNumber) -> Option<&mut Identity> {
        self.all.get_mut(&number)
    }

    /// Says whether an identity is forgotten, or there only for lookups that began before it was.
    pub(super) fn is_forgotten(&self, number: IdentityNumber) -> bool {
        let live = self.all.get(&number).and_then(|identity| self.live.get(&identity.id));
        live != Some(&number)
    }

    /// Returns the identity of a lookup: the one that it began with, else the one that its ID has now, else a new one.
    pub(super) fn of_lookup(
        &mut self,
        now: Moment,
        lookup: LookupId,
        id: BlindedId,
        caller: u64,
        ttl: Duration,
    ) -> IdentityNumber {
        let known = self.lookups.get(&lookup).or_else(|| self.live.get(&id)).copied();
        let number = known.unwrap_or_else(|| {
            self.next += 1;
            let number = IdentityNumber(self.next);
            self.live.insert(id, number);
            *self.callers.entry(caller).or_default() += 1;
            number
        });
        self.lookups.insert(lookup, number);
        let identity = self.all.entry(number).or_insert_with(|| Identity {
            id,
            caller,
            last_used: now,
            ttl,
            connections: BTreeMap::new(),
            servers: BTreeMap::new(),
            liars: BTreeSet::new(),
            lookups: BTreeSet::new(),
        });
        identity.last_used = now;
        identity.lookups.insert(lookup);
        number
    }

    pub(super) fn end_lookup(&mut self, now: Moment, lookup: LookupId) {
        let Some(number) = self.lookups.remove(&lookup) else {
            return;
        };
        if let Some(identity) = self.all.get_mut(&number) {
            identity.lookups.remove(&lookup);
            identity.last_used = now;
        }
        self.drop_if_gone(number);
    }

    pub(super) fn note_use(&mut self, now: Moment, id: &BlindedId) {
        if let Some(number) = self.live.get(id)
            && let Some(identity) = self.all.get_mut(number)
        {
            identity.last_used = now;
        }
    }

    /// Binds a connection to its owner; says whether there is such an owner, and it has none.
    pub(super) fn bind(&mut self, owner: Owner, conn: ConnId, server: ServerIndex) -> bool {
        let Some(identity) = self.all.get_mut(&owner.identity) else {
            return false;
        };
        if identity.connections.contains_key(&owner.attempt) {
            return false;
        }
        identity.connections.insert(owner.attempt, conn);
        identity.servers.insert(owner.attempt, server);
        true
    }

    pub(super) fn unbind(&mut self, owner: Owner, conn: ConnId) {
        if let Some(identity) = self.all.get_mut(&owner.identity)
            && identity.connections.get(&owner.attempt) == Some(&conn)
        {
            identity.connections.remove(&owner.attempt);
        }
    }

    /// Forgets an ID; says whether it was known.
    pub(super) fn forget(&mut self, id: &BlindedId) -> bool {
        let Some(number) = self.live.remove(id) else {
            return false;
        };
        let caller = self.all.get(&number).map(|identity| identity.caller);
        if let Some(Entry::Occupied(mut count)) = caller.map(|caller| self.callers.entry(caller)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.drop_if_gone(number);
        true
    }

    fn drop_if_gone(&mut self, number: IdentityNumber) {
        if self.is_forgotten(number) && self.all.get(&number).is_some_and(|it| it.lookups.is_empty()) {
            self.all.remove(&number);
        }
    }

    /// Returns all live IDs.
    pub(super) fn ids(&self) -> Vec<BlindedId> {
        self.live.keys().copied().collect()
    }

    fn idle(&self) -> impl Iterator<Item = &Identity> {
        let live = self.live.values().filter_map(|number| self.all.get(number));
        live.filter(|identity| identity.lookups.is_empty())
    }

    /// Returns how many live ones a caller has.
    pub(super) fn len_of(&self, caller: u64) -> usize {
        self.callers.get(&caller).copied().unwrap_or_default()
    }

    /// Returns the callers that have more than so many live ones.
    pub(super) fn callers_above(&self, room: usize) -> Vec<u64> {
        let above = self.callers.iter().filter(|(_, count)| **count > room);
        above.map(|(caller, _)| *caller).collect()
    }

    /// Returns the least recently used ID of the caller that has most, of those that no lookup uses.
    pub(super) fn of_the_largest_caller(&self) -> Option<BlindedId> {
        let idle = self.idle();
        let most = idle.max_by_key(|identity| (self.len_of(identity.caller), Reverse(identity.last_used)));
        most.map(|identity| identity.id)
    }

    /// Returns the least recently used ID of a caller, of those that no lookup uses.
    pub(super) fn least_recently_used(&self, caller: u64) -> Option<BlindedId> {
        let idle = self.idle().filter(|identity| identity.caller == caller);
        idle.min_by_key(|identity| identity.last_used)
            .map(|identity| identity.id)
    }

    /// Returns the IDs whose time is over.
    pub(super) fn expired(&self, now: Moment) -> Vec<BlindedId> {
        let expired = self.idle().filter(|it| it.last_used + it.ttl <= now);
        expired.map(|identity| identity.id).collect()
    }

    /// Returns the moment at which the next one expires.
    pub(super) fn next_expiry(&self) -> Option<Moment> {
        self.idle().map(|identity| identity.last_used + identity.ttl).min()
    }
}
