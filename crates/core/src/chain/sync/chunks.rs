//! The ranges of headers that are being fetched, and those that came too early.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{HeaderRequest, HeaderSyncLimits};
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Most connections that fetch the same chunk: the first one, and those that steal it. Two that never answer must
/// not keep it from a third.
const MAX_HOLDERS: usize = 3;

/// A range of heights on its way.
#[derive(Debug)]
pub(super) struct Chunk {
    count: Height,
    holders: Vec<ConnId>,
    since: Moment,
    reply: Option<(ConnId, Vec<u8>)>,
}

/// A connection that is free to fetch a chunk.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) conn: ConnId,
    /// The highest height that it can serve.
    pub(super) highest: Height,
    /// Whether it can cut headers to 80 bytes.
    pub(super) truncates: bool,
    pub(super) now: Moment,
    /// After this a chunk that others hold is given to it too.
    pub(super) steal_after: Duration,
}

impl Taker {
    /// Returns how many headers it is asked for at most where they may come truncated.
    pub(super) fn light_chunk(&self, limits: &HeaderSyncLimits) -> Height {
        let chunk = if self.truncates {
            limits.truncated_chunk
        } else {
            limits.full_chunk
        };
        chunk.max(1)
    }

    /// Returns a request for headers that may come truncated, since our tree or a skeleton hold against others.
    pub(super) fn light_request(&self, start: Height, count: Height, under: Height) -> HeaderRequest {
        if self.truncates {
            HeaderRequest::Truncated { start, count, under }
        } else {
            HeaderRequest::Full { start, count }
        }
    }
}

/// Ranges of heights that don't overlap, by their first height.
#[derive(Debug, Default)]
pub(super) struct Chunks(BTreeMap<Height, Chunk>);

impl Chunks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the first height of all ranges.
    pub(super) fn lowest(&self) -> Option<Height> {
        self.0.first_key_value().map(|(start, _)| *start)
    }

    /// Returns the lowest height from `from` on that no range covers, and where the next range begins.
    pub(super) fn first_gap(&self, from: Height) -> (Height, Option<Height>) {
        let mut at = from;
        for (start, chunk) in &self.0 {
            if *start > at {
                return (at, Some(*start));
            }
            at = at.max(start.saturating_add(chunk.count));
        }
        (at, None)
    }

    /// Drops what is of no use any more: ranges that end below `low`, and what lies above `high`.
    pub(super) fn keep(&mut self, low: Height, high: Height) {
        self.0
            .retain(|start, chunk| start.saturating_add(chunk.count) > low && *start <= high);
        if let Some(mut last) = self.0.last_entry() {
            let fits = (high - *last.key()).saturating_add(1);
            let chunk = last.get_mut();
            if chunk.count > fits && chunk.reply.is_none() {
                chunk.count = fits;
                chunk.holders.clear();
            }
        }
    }

    /// Fills the gaps from `next` to `target` with chunks of at most so many headers, while fewer than `window` wait.
    pub(super) fn plan(&mut self, next: Height, target: Height, claims: &[Height], chunk: Height, window: usize) {
        self.keep(next, target);
        loop {
            let (start, gap_end) = self.first_gap(next);
            // Without the lowest chunk nothing moves, however many wait above it.
            let has_room = self.len() < window || start == next;
            if start > target || !has_room {
                break;
            }
            // A chunk ends at a claimed tip, so that whoever claims it can serve it whole.
            let tips = claims.iter().copied().filter(|height| *height >= start);
            let end = tips.min().unwrap_or(target).min(start.saturating_add(chunk - 1));
            let end = end.min(gap_end.map_or(Height::MAX, |above| above - 1)).min(target);
            self.insert(start, end.saturating_sub(start).saturating_add(1));
        }
    }

    pub(super) fn insert(&mut self, start: Height, count: Height) {
        if count == 0 {
            return;
        }
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

    /// Gives a chunk of at most so many headers to a connection: a free one, from above or from below, or else one that
    /// others keep it waiting for. A chunk that is more than it can serve is cut in two, and so taken away from those
    /// others.
    pub(super) fn assign(&mut self, taker: &Taker, most: Height, from_above: bool) -> Option<(Height, Height)> {
        let servable = |(start, chunk): &(&Height, &Chunk)| {
            chunk.reply.is_none() && !chunk.holders.contains(&taker.conn) && **start <= taker.highest
        };
        let free = |(_, chunk): &(&Height, &Chunk)| chunk.holders.is_empty();
        let stuck = |(_, chunk): &(&Height, &Chunk)| {
            chunk.holders.len() < MAX_HOLDERS && taker.now.since(chunk.since) >= taker.steal_after
        };
        let mut servables: Vec<(&Height, &Chunk)> = self.0.iter().filter(servable).collect();
        if from_above {
            servables.reverse();
        }
        let found = servables.iter().copied().find(free);
        let (start, _) = found.or_else(|| servables.iter().copied().find(stuck))?;
        let start = self.cut(*start, taker, most, from_above)?;
        let chunk = self.0.get_mut(&start)?;
        chunk.holders.push(taker.conn);
        chunk.since = taker.now;
        Some((start, chunk.count))
    }

    /// Cuts a chunk to what a connection can serve; returns where its part begins.
    fn cut(&mut self, start: Height, taker: &Taker, most: Height, from_above: bool) -> Option<Height> {
        let chunk = self.0.get_mut(&start)?;
        let whole = chunk.count;
        let fits = taker.highest.saturating_sub(start).saturating_add(1);
        let part = whole.min(most).min(fits);
        if part == whole {
            return Some(start);
        }
        chunk.holders.clear();
        chunk.count = if from_above { whole - part } else { part };
        let rest = start.saturating_add(chunk.count);
        let rest_count = whole - chunk.count;
        self.insert(rest, rest_count);
        Some(if from_above { rest } else { start })
    }

    /// Takes a chunk away from a connection that failed to deliver it.
    pub(super) fn release(&mut self, start: Height, conn: ConnId) {
        if let Some(chunk) = self.0.get_mut(&start) {
            chunk.holders.retain(|holder| *holder != conn);
        }
    }

    /// Keeps a chunk's bytes until its turn; a second delivery is dropped, and one for a chunk that has been cut
    /// otherwise since.
    pub(super) fn deliver(&mut self, start: Height, conn: ConnId, count: Height, bytes: Vec<u8>) {
        if let Some(chunk) = self.0.get_mut(&start)
            && chunk.count == count
        {
            // It may be asked again when the reply that is kept turns out to be a lie.
            chunk.holders.retain(|holder| *holder != conn);
            chunk.reply.get_or_insert((conn, bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn taker(conn: u64, highest: Height, now: u64) -> Taker {
        Taker {
            conn: ConnId(conn),
            highest,
            truncates: true,
            now: Moment(now),
            steal_after: Duration::from_millis(100),
        }
    }

    #[test]
    fn a_second_delivery_frees_its_sender_to_be_asked_again() {
        let mut chunks = Chunks::default();
        chunks.insert(1, 10);
        assert_eq!(chunks.assign(&taker(1, 50, 0), 10, false), Some((1, 10)));
        assert_eq!(chunks.assign(&taker(2, 50, 99), 10, false), None);
        assert_eq!(chunks.assign(&taker(2, 50, 100), 10, false), Some((1, 10)));
        chunks.deliver(1, ConnId(1), 10, vec![1]);
        chunks.deliver(1, ConnId(2), 10, vec![2]);
        chunks.distrust(ConnId(1));
        assert_eq!(chunks.take(1), None);
        assert_eq!(chunks.assign(&taker(2, 50, 100), 10, false), Some((1, 10)));
    }

    #[test]
    fn a_chunk_is_cut_to_what_can_be_served_and_old_replies_do_not_fit_it() {
        let mut chunks = Chunks::default();
        chunks.insert(1, 10);
        assert_eq!(chunks.assign(&taker(1, 50, 0), 10, false), Some((1, 10)));
        assert_eq!(chunks.assign(&taker(2, 4, 100), 10, false), Some((1, 4)));
        chunks.deliver(1, ConnId(1), 10, vec![1]);
        assert_eq!(chunks.take(1), None);
        assert_eq!(chunks.assign(&taker(3, 50, 100), 10, true), Some((5, 6)));
    }

    #[test]
    fn gaps_are_found_from_below() {
        let mut chunks = Chunks::default();
        chunks.insert(5, 5);
        assert_eq!(chunks.first_gap(1), (1, Some(5)));
        assert_eq!(chunks.first_gap(5), (10, None));
        chunks.insert(12, 1);
        assert_eq!(chunks.first_gap(7), (10, Some(12)));
        chunks.keep(10, 12);
        assert_eq!(chunks.len(), 1);
        chunks.keep(10, 11);
        assert_eq!(chunks.len(), 0);
    }
}
