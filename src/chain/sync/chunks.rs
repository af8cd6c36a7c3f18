//! The ranges of headers that are being fetched, and those that came too early.

use std::collections::BTreeMap;

use crate::chain::Height;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Most connections that fetch the same chunk: the first one, and one that steals it.
const MAX_HOLDERS: usize = 2;

/// A range of heights on its way.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) count: Height,
    holders: Vec<ConnId>,
    since: Moment,
    reply: Option<(ConnId, Vec<u8>)>,
}

/// Ranges of heights that don't overlap, by their first height.
#[derive(Debug, Default)]
pub(super) struct Chunks(BTreeMap<Height, Chunk>);

impl Chunks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the first height of all ranges.
    pub(super) fn lowest(&self) -> Option<Height> {
        self.0.first_key_value().map(|(start, _)| *start)
    }

    /// Returns the first height above all ranges.
    pub(super) fn end(&self) -> Option<Height> {
        self.0
            .last_key_value()
            .map(|(start, chunk)| start.saturating_add(chunk.count))
    }

    pub(super) fn insert(&mut self, start: Height, count: Height) {
        self.0.insert(
            start,
            Chunk {
                count,
                holders: Vec::new(),
                since: Moment::default(),
                reply: None,
            },
        );
    }

    pub(super) fn count_of(&self, start: Height) -> Option<Height> {
        self.0.get(&start).map(|chunk| chunk.count)
    }

    /// Gives a chunk to a connection that can serve heights up to `highest`: a free one, from above or from
    /// below, or else one that its holder keeps waiting since before `steal_before`.
    pub(super) fn assign(
        &mut self,
        conn: ConnId,
        highest: Height,
        from_above: bool,
        now: Moment,
        steal_before: Moment,
    ) -> Option<(Height, Height)> {
        let servable = |start: Height, chunk: &Chunk| {
            chunk.reply.is_none()
                && !chunk.holders.contains(&conn)
                && start.saturating_add(chunk.count).saturating_sub(1) <= highest
        };
        let free = |(start, chunk): &(&Height, &mut Chunk)| servable(**start, chunk) && chunk.holders.is_empty();
        let stuck = |(start, chunk): &(&Height, &mut Chunk)| {
            servable(**start, chunk) && chunk.holders.len() < MAX_HOLDERS && chunk.since <= steal_before
        };
        let found = if from_above {
            self.0.iter_mut().rev().find(free)
        } else {
            self.0.iter_mut().find(free)
        };
        let found = match found {
            Some(found) => Some(found),
            None if from_above => self.0.iter_mut().rev().find(stuck),
            None => self.0.iter_mut().find(stuck),
        };
        found.map(|(start, chunk)| {
            chunk.holders.push(conn);
            chunk.since = now;
            (*start, chunk.count)
        })
    }

    /// Takes a chunk away from a connection that failed to deliver it.
    pub(super) fn release(&mut self, start: Height, conn: ConnId) {
        if let Some(chunk) = self.0.get_mut(&start) {
            chunk.holders.retain(|holder| *holder != conn);
        }
    }

    /// Keeps a chunk's bytes until its turn; a second delivery is dropped.
    pub(super) fn deliver(&mut self, start: Height, conn: ConnId, bytes: Vec<u8>) {
        if let Some(chunk) = self.0.get_mut(&start)
            && chunk.reply.is_none()
        {
            chunk.reply = Some((conn, bytes));
        }
    }

    /// Takes out the chunk that starts at `start`, if its bytes are there.
    pub(super) fn take(&mut self, start: Height) -> Option<(Height, ConnId, Vec<u8>)> {
        let chunk = self.0.get_mut(&start)?;
        let (conn, bytes) = chunk.reply.take()?;
        let count = chunk.count;
        self.0.remove(&start);
        Some((count, conn, bytes))
    }

    /// Returns the first height of the highest chunk whose bytes are there and which ends below `end`.
    pub(super) fn ending_at(&self, end: Height) -> Option<Height> {
        self.0
            .last_key_value()
            .filter(|(start, chunk)| chunk.reply.is_some() && start.saturating_add(chunk.count) == end)
            .map(|(start, _)| *start)
    }

    /// Drops what a connection delivered and nobody has used yet, since the connection turned out to be bad.
    pub(super) fn distrust(&mut self, conn: ConnId) {
        for chunk in self.0.values_mut() {
            chunk.holders.retain(|holder| *holder != conn);
            if chunk.reply.as_ref().is_some_and(|(from, _)| *from == conn) {
                chunk.reply = None;
            }
        }
    }

    /// Returns the earliest moment at which a waiting chunk may be stolen, given how long that takes.
    pub(super) fn oldest_wait(&self) -> Option<Moment> {
        self.0
            .values()
            .filter(|chunk| chunk.reply.is_none() && !chunk.holders.is_empty() && chunk.holders.len() < MAX_HOLDERS)
            .map(|chunk| chunk.since)
            .min()
    }
}
