//! The ranges of headers that are being fetched, and those that came too early.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pace::{Allowance, TRUNCATED};
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

/// Who would be done in this time takes nothing from others, since a round trip is as long.
const WORTH_STEALING: Duration = Duration::from_secs(2);

/// Who needs so long for what it was given is helped by whoever is free, however fast that may be.
const VERY_SLOW: Duration = Duration::from_secs(30);

/// How a connection stands that was given something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// No byte came for so long that somebody else may be given it too.
    Silent,
    /// At its rate it will be done with it after this time.
    Done(Duration),
    /// It brings bytes, and nobody knows how fast.
    Unknown,
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
    /// After this a chunk that others hold in silence is given to it too.
    pub(super) steal_after: Duration,
    /// How much it may be asked for at a time.
    pub(super) allowance: Allowance,
    /// Bytes of a full header.
    pub(super) full_size: f64,
    /// How many connections there are to share what is left.
    pub(super) circuits: usize,
    /// How long it takes for so many bytes beside what it is asked for already; `None` while its rate is not known.
    pub(super) busy: Option<Duration>,
    pub(super) rate: Option<u32>,
    /// How others stand, by what they were given: its first height.
    pub(super) holders: BTreeMap<(ConnId, Height), Holder>,
}

impl Taker {
    /// Returns how many truncated headers it is asked for at most, where so many are left to be asked for.
    pub(super) fn truncated_chunk(&self, most: Height, left: Height) -> Height {
        self.allowance.truncated(self.share(left)).min(most).max(1)
    }

    /// The same for full headers.
    pub(super) fn full_chunk(&self, limits: &HeaderSyncLimits, left: Height) -> Height {
        let chunk = self.allowance.full(self.full_size, self.share(left));
        chunk.min(limits.full_chunk).max(1)
    }

    /// Returns how many headers it is asked for at most where they may come truncated.
    pub(super) fn light_chunk(&self, limits: &HeaderSyncLimits, left: Height) -> Height {
        if self.truncates {
            self.truncated_chunk(limits.truncated_chunk, left)
        } else {
            self.full_chunk(limits, left)
        }
    }

    /// Near the end each request leaves enough for all connections, so that they are done at the same time.
    fn share(&self, left: Height) -> Height {
        let parts = Height::try_from(self.circuits.saturating_mul(2)).unwrap_or(Height::MAX);
        left.div_ceil(parts.max(1))
    }

    /// Returns the bytes on the wire of a truncated header, or of a full one.
    pub(super) fn each(&self, is_truncated: bool) -> f64 {
        if is_truncated { TRUNCATED } else { 2.0 * self.full_size }
    }

    /// Says whether it is to be given, too, what another connection holds since then, of so many bytes: that one is
    /// silent, or would need more than twice as long.
    pub(super) fn outpaces(&self, holder: ConnId, start: Height, since: Moment, bytes: f64) -> bool {
        match self.holders.get(&(holder, start)) {
            None | Some(Holder::Silent) => self.now.since(since) >= self.steal_after,
            Some(Holder::Unknown) => false,
            Some(Holder::Done(theirs)) => {
                let (Some(busy), Some(rate)) = (self.busy, self.rate) else {
                    // Whatever its own rate is, few are so slow.
                    return *theirs >= VERY_SLOW && self.now.since(since) >= self.steal_after;
                };
                let own = busy.as_secs_f64() + bytes / f64::from(rate.max(1));
                *theirs >= WORTH_STEALING && own < theirs.as_secs_f64() / 2.0
            }
        }
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
    /// Returns how many heights are in ranges.
    pub(super) fn heights(&self) -> Height {
        let counts = self.0.values().map(|chunk| chunk.count);
        counts.fold(0, Height::saturating_add)
    }

    /// Returns how many heights are in ranges that nobody was given.
    pub(super) fn free_heights(&self) -> Height {
        let free = self
            .0
            .values()
            .filter(|chunk| chunk.reply.is_none() && chunk.holders.is_empty());
        free.map(|chunk| chunk.count).fold(0, Height::saturating_add)
    }

    /// Says whether there is room for more: `window` ranges of `chunk` headers may wait.
    pub(super) fn has_room(&self, chunk: Height, window: usize) -> bool {
        let most = Height::try_from(window).unwrap_or(Height::MAX).saturating_mul(chunk);
        self.heights() < most
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
            let has_room = self.has_room(chunk, window) || start == next;
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

    /// Gives a chunk of at most so many headers to a connection, which have `each` bytes on the wire: a free one, from
    /// above or from below, or else one that others keep it waiting for. A chunk that is more than it can serve is cut in
    /// two, and so taken away from those others.
    pub(super) fn assign(
        &mut self,
        taker: &Taker,
        most: Height,
        each: f64,
        from_above: bool,
    ) -> Option<(Height, Height)> {
        let servable = |(start, chunk): &(&Height, &Chunk)| {
            chunk.reply.is_none() && !chunk.holders.contains(&taker.conn) && **start <= taker.highest
        };
        let free = |(_, chunk): &(&Height, &Chunk)| chunk.holders.is_empty();
        let stuck = |(start, chunk): &(&Height, &Chunk)| {
            let bytes = f64::from(chunk.count.min(most)) * each;
            let mut holders = chunk.holders.iter();
            chunk.holders.len() < MAX_HOLDERS
                && holders.all(|holder| taker.outpaces(*holder, **start, chunk.since, bytes))
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

    /// Takes all away from a connection that ended without fault. What it delivered stays.
    pub(super) fn release_all(&mut self, conn: ConnId) {
        for chunk in self.0.values_mut() {
            chunk.holders.retain(|holder| *holder != conn);
        }
    }

    /// Says whether something that a connection delivered waits for its turn.
    pub(super) fn has_from(&self, conn: ConnId) -> bool {
        let mut replies = self.0.values().filter_map(|chunk| chunk.reply.as_ref());
        replies.any(|(from, _)| *from == conn)
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
impl Taker {
    /// Makes one of which nothing is known but this, among others that are silent.
    pub(super) fn unknown(conn: u64, highest: Height, now: Moment, steal_after: Duration) -> Self {
        let way = crate::reputation::ServerWay::default();
        Self {
            conn: ConnId(conn),
            highest,
            truncates: true,
            now,
            steal_after,
            allowance: super::pace::Pace::new(&way, now).allowance(&way),
            full_size: 1000.0,
            circuits: 1,
            busy: None,
            rate: None,
            holders: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taker(conn: u64, highest: Height, now: u64) -> Taker {
        Taker::unknown(conn, highest, Moment(now), Duration::from_millis(100))
    }

    #[test]
    fn who_is_slower_by_half_loses_a_chunk_and_who_is_not_keeps_it() {
        for (seconds, taken) in [(1, None), (30, None), (50, Some((1, 10)))] {
            let mut chunks = Chunks::default();
            chunks.insert(1, 10);
            assert_eq!(chunks.assign(&taker(1, 50, 0), 10, 160.0, false), Some((1, 10)));
            let holder = Holder::Done(Duration::from_secs(seconds));
            let other = Taker {
                busy: Some(Duration::from_secs(10)),
                rate: Some(160),
                holders: BTreeMap::from([((ConnId(1), 1), holder)]),
                ..taker(2, 50, 1_000_000)
            };
            assert_eq!(chunks.assign(&other, 10, 160.0, false), taken, "{seconds} s");
        }
    }

    #[test]
    fn a_second_delivery_frees_its_sender_to_be_asked_again() {
        let mut chunks = Chunks::default();
        chunks.insert(1, 10);
        assert_eq!(chunks.assign(&taker(1, 50, 0), 10, 160.0, false), Some((1, 10)));
        assert_eq!(chunks.assign(&taker(2, 50, 99), 10, 160.0, false), None);
        assert_eq!(chunks.assign(&taker(2, 50, 100), 10, 160.0, false), Some((1, 10)));
        chunks.deliver(1, ConnId(1), 10, vec![1]);
        chunks.deliver(1, ConnId(2), 10, vec![2]);
        chunks.distrust(ConnId(1));
        assert_eq!(chunks.take(1), None);
        assert_eq!(chunks.assign(&taker(2, 50, 100), 10, 160.0, false), Some((1, 10)));
    }

    #[test]
    fn a_chunk_is_cut_to_what_can_be_served_and_old_replies_do_not_fit_it() {
        let mut chunks = Chunks::default();
        chunks.insert(1, 10);
        assert_eq!(chunks.assign(&taker(1, 50, 0), 10, 160.0, false), Some((1, 10)));
        assert_eq!(chunks.assign(&taker(2, 4, 100), 10, 160.0, false), Some((1, 4)));
        chunks.deliver(1, ConnId(1), 10, vec![1]);
        assert_eq!(chunks.take(1), None);
        assert_eq!(chunks.assign(&taker(3, 50, 100), 10, 160.0, true), Some((5, 6)));
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
        assert_eq!(chunks.heights(), 1);
        chunks.keep(10, 11);
        assert_eq!(chunks.heights(), 0);
    }
}
