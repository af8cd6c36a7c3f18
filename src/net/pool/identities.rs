//! The identities that connections are bound to, from their first lookup until they are forgotten.

use std::cmp::Reverse;
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
    /// Servers that lied to it, or may have.
    pub(super) liars: BTreeSet<ServerIndex>,
    lookups: BTreeSet<LookupId>,
}

impl Identity {
    fn expires_at(&self) -> Moment {
        self.last_used + self.ttl
    }
}

/// What one caller has.
#[derive(Debug, Default)]
struct Share {
    /// How many live ones.
    live: usize,
    /// Those of them that no lookup uses, the least recently used one first.
    idle: BTreeSet<(Moment, BlindedId)>,
}

impl Share {
    /// How soon it gives one, where there is one to give: the larger it is, and the longer that one was not used.
    fn gives(&self) -> Option<(usize, Reverse<Moment>)> {
        let (oldest, _) = self.idle.first()?;
        Some((self.live, Reverse(*oldest)))
    }
}

/// All identities. One that is forgotten while lookups have it is nobody's any more, but stays for them.
///
/// There may be thousands, and each event of the pool asks whose time is over: so those that no lookup uses stand in order.
#[derive(Debug, Default)]
pub(super) struct Identities {
    all: BTreeMap<IdentityNumber, Identity>,
    live: BTreeMap<BlindedId, IdentityNumber>,
    lookups: BTreeMap<LookupId, IdentityNumber>,
    shares: BTreeMap<u64, Share>,
    /// Callers by how many live ones they have.
    sizes: BTreeSet<(usize, u64)>,
    /// Callers by how soon they give one.
    givers: BTreeSet<((usize, Reverse<Moment>), u64)>,
    /// Live ones that no lookup uses, by the end of their time.
    expiries: BTreeSet<(Moment, BlindedId)>,
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
            self.change_share(caller, |share| share.live += 1);
            number
        });
        self.take_from_idle(number);
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
        self.put_to_idle(number);
        self.drop_if_gone(number);
    }

    pub(super) fn note_use(&mut self, now: Moment, id: &BlindedId) {
        let Some(number) = self.live.get(id).copied() else {
            return;
        };
        self.take_from_idle(number);
        if let Some(identity) = self.all.get_mut(&number) {
            identity.last_used = now;
        }
        self.put_to_idle(number);
    }

    /// Changes what a caller has, and keeps the order of callers.
    fn change_share(&mut self, caller: u64, change: impl FnOnce(&mut Share)) {
        let share = self.shares.entry(caller).or_default();
        self.sizes.remove(&(share.live, caller));
        if let Some(gives) = share.gives() {
            self.givers.remove(&(gives, caller));
        }
        change(share);
        if share.live == 0 {
            self.shares.remove(&caller);
            return;
        }
        self.sizes.insert((share.live, caller));
        if let Some(gives) = share.gives() {
            self.givers.insert((gives, caller));
        }
    }

    /// Puts a live one that no lookup uses in order.
    fn put_to_idle(&mut self, number: IdentityNumber) {
        let Some(identity) = self.all.get(&number).filter(|it| it.lookups.is_empty()) else {
            return;
        };
        if self.live.get(&identity.id) != Some(&number) {
            return;
        }
        let (caller, entry) = (identity.caller, (identity.last_used, identity.id));
        self.expiries.insert((identity.expires_at(), identity.id));
        self.change_share(caller, |share| {
            share.idle.insert(entry);
        });
    }

    /// Takes one out of the order, before it is used, changed or gone.
    fn take_from_idle(&mut self, number: IdentityNumber) {
        let Some(identity) = self.all.get(&number) else { return };
        let (caller, entry) = (identity.caller, (identity.last_used, identity.id));
        if self.expiries.remove(&(identity.expires_at(), identity.id)) {
            self.change_share(caller, |share| {
                share.idle.remove(&entry);
            });
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

    /// Forgets an ID; returns whose it was, if it was known.
    pub(super) fn forget(&mut self, id: &BlindedId) -> Option<IdentityNumber> {
        let number = self.live.get(id).copied()?;
        self.take_from_idle(number);
        self.live.remove(id);
        if let Some(caller) = self.all.get(&number).map(|identity| identity.caller) {
            self.change_share(caller, |share| share.live = share.live.saturating_sub(1));
        }
        self.drop_if_gone(number);
        Some(number)
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

    /// Returns how many live ones a caller has.
    pub(super) fn len_of(&self, caller: u64) -> usize {
        self.shares.get(&caller).map_or(0, |share| share.live)
    }

    /// Returns the callers that have more than so many live ones.
    pub(super) fn callers_above(&self, room: usize) -> Vec<u64> {
        let above = self.sizes.range((room.saturating_add(1), 0)..);
        above.map(|(_, caller)| *caller).collect()
    }

    /// Returns the least recently used ID of the caller that has most, of those that no lookup uses.
    pub(super) fn of_the_largest_caller(&self) -> Option<BlindedId> {
        let (_, caller) = self.givers.last()?;
        self.least_recently_used(*caller)
    }

    /// Returns the least recently used ID of a caller, of those that no lookup uses.
    pub(super) fn least_recently_used(&self, caller: u64) -> Option<BlindedId> {
        let (_, id) = self.shares.get(&caller)?.idle.first()?;
        Some(*id)
    }

    /// Returns the IDs whose time is over.
    pub(super) fn expired(&self, now: Moment) -> BTreeSet<BlindedId> {
        let expired = self.expiries.iter().take_while(|(at, _)| *at <= now);
        expired.map(|(_, id)| *id).collect()
    }

    /// Returns the moment at which the next one expires.
    pub(super) fn next_expiry(&self) -> Option<Moment> {
        self.expiries.first().map(|(at, _)| *at)
    }
}
