//! What of a skeleton is still to be proved, in requests that connections share.

use super::chunks::Taker;
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Most connections that are asked for the same: the first one, and those that steal it.
const MAX_HOLDERS: usize = 3;

/// Heights that are asked for together.
#[derive(Debug)]
struct Batch {
    heights: Vec<Height>,
    holders: Vec<ConnId>,
    since: Moment,
}

impl Batch {
    fn free(heights: Vec<Height>) -> Self {
        Self {
            heights,
            holders: Vec::new(),
            since: Moment::default(),
        }
    }
}

/// All that is to be proved.
#[derive(Debug, Default)]
pub(super) struct ProofQueue(Vec<Batch>);

impl ProofQueue {
    /// Parts rising heights into requests of at most so many.
    pub(super) fn new(heights: impl IntoIterator<Item = Height>, most: usize) -> Self {
        let heights: Vec<Height> = heights.into_iter().collect();
        let batches = heights.chunks(most.max(1)).map(<[Height]>::to_vec);
        Self(batches.map(Batch::free).collect())
    }

    /// Returns how many heights are left.
    pub(super) fn left(&self) -> usize {
        self.0.iter().map(|batch| batch.heights.len()).sum()
    }

    /// Gives heights that it can serve to a connection: such that nobody has, else such that others keep waiting for.
    pub(super) fn assign(&mut self, taker: &Taker) -> Option<Vec<Height>> {
        let reaches = |batch: &Batch| batch.heights.last().is_some_and(|last| *last <= taker.highest);
        let waits = |batch: &Batch| {
            let start = batch.heights.first().copied().unwrap_or_default();
            let count = u32::try_from(batch.heights.len()).unwrap_or(u32::MAX);
            let bytes = f64::from(count) * taker.each(false);
            let mut holders = batch.holders.iter();
            batch.holders.len() < MAX_HOLDERS
                && holders.all(|holder| taker.outpaces(*holder, start, batch.since, bytes))
        };
        let any_free = self.0.iter().any(|batch| batch.holders.is_empty() && reaches(batch));
        let suits = |batch: &&mut Batch| {
            let is_given = if any_free {
                batch.holders.is_empty()
            } else {
                waits(batch)
            };
            is_given && reaches(batch) && !batch.holders.contains(&taker.conn)
        };
        let at = self.0.iter_mut().position(|mut batch| suits(&mut batch))?;
        let batch = self.0.get_mut(at)?;
        let most = taker.allowance.batch(taker.full_size);
        let rest = if any_free && batch.heights.len() > most {
            batch.heights.split_off(most)
        } else {
            Vec::new()
        };
        batch.holders.push(taker.conn);
        batch.since = taker.now;
        let heights = batch.heights.clone();
        if !rest.is_empty() {
            self.0.insert(at + 1, Batch::free(rest));
        }
        Some(heights)
    }

    /// Takes heights away from a connection that failed to prove them.
    pub(super) fn release(&mut self, heights: &[Height], conn: ConnId) {
        if let Some(batch) = self.0.iter_mut().find(|batch| batch.heights == heights) {
            batch.holders.retain(|holder| *holder != conn);
        }
    }

    /// Takes all away from a connection.
    pub(super) fn release_all(&mut self, conn: ConnId) {
        for batch in &mut self.0 {
            batch.holders.retain(|holder| *holder != conn);
        }
    }

    /// Takes in all that is in another queue.
    pub(super) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Says whether these heights are asked for together.
    pub(super) fn has(&self, heights: &[Height]) -> bool {
        self.0.iter().any(|batch| batch.heights == heights)
    }

    /// Says whether a height is among those that are left.
    pub(super) fn includes(&self, height: Height) -> bool {
        self.0.iter().any(|batch| batch.heights.contains(&height))
    }

    /// Returns what connections were given.
    pub(super) fn into_held(mut self) -> Self {
        self.0.retain(|batch| !batch.holders.is_empty());
        self
    }

    /// Crosses heights off that were proved.
    pub(super) fn cross_off(&mut self, heights: &[Height]) {
        self.0.retain(|batch| batch.heights != heights);
    }

    /// Returns the earliest moment since which somebody is waited for who may be helped.
    pub(super) fn oldest_wait(&self) -> Option<Moment> {
        let held = self
            .0
            .iter()
            .filter(|batch| !batch.holders.is_empty() && batch.holders.len() < MAX_HOLDERS);
        held.map(|batch| batch.since).min()
    }
}

/// Says whether heights follow each other without a gap.
pub(super) fn is_run(heights: &[Height]) -> bool {
    heights.windows(2).all(|pair| match pair {
        [below, above] => below.checked_add(1) == Some(*above),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn assign(batches: &mut ProofQueue, conn: u64, highest: Height, now: u64) -> Option<Vec<Height>> {
        batches.assign(&Taker::unknown(conn, highest, Moment(now), Duration::from_secs(6)))
    }

    #[test]
    fn heights_are_parted_into_batches() {
        let heights = [1, 5, 9, 10, 20, 21, 22, 23, 24, 25];
        let batches = ProofQueue::new(heights, 3);
        let parts: Vec<_> = batches.0.iter().map(|batch| batch.heights.clone()).collect();
        assert_eq!(parts, [vec![1, 5, 9], vec![10, 20, 21], vec![22, 23, 24], vec![25]]);
        assert_eq!(batches.left(), 10);
        assert_eq!(ProofQueue::new([], 3).left(), 0);
        assert_eq!(ProofQueue::new([1, 2], 0).0.len(), 2);
    }

    #[test]
    fn each_is_given_once_and_again_when_it_is_slow() {
        let mut batches = ProofQueue::new([1, 5, 9, 12], 2);
        assert_eq!(assign(&mut batches, 1, 100, 0), Some(vec![1, 5]));
        assert_eq!(assign(&mut batches, 2, 8, 0), None, "it has no header that high");
        assert_eq!(assign(&mut batches, 2, 100, 0), Some(vec![9, 12]));
        assert_eq!(assign(&mut batches, 1, 100, 0), None);
        assert_eq!(assign(&mut batches, 3, 100, 5999), None);
        assert_eq!(assign(&mut batches, 3, 100, 6000), Some(vec![1, 5]));
        assert_eq!(assign(&mut batches, 4, 100, 6000), Some(vec![9, 12]));
        assert_eq!(batches.oldest_wait(), Some(Moment(6000)));
        batches.release(&[1, 5], ConnId(1));
        batches.release(&[1, 5], ConnId(3));
        assert_eq!(assign(&mut batches, 5, 100, 6000), Some(vec![1, 5]), "free again");
        batches.cross_off(&[1, 5]);
        batches.release_all(ConnId(2));
        batches.release_all(ConnId(4));
        assert_eq!(assign(&mut batches, 1, 100, 6000), Some(vec![9, 12]));
        batches.cross_off(&[9, 12]);
        assert_eq!((batches.left(), batches.oldest_wait()), (0, None));
    }

    #[test]
    fn no_more_than_three_are_asked_for_the_same() {
        let mut batches = ProofQueue::new([7], 2);
        let given = (0..5).filter(|conn| assign(&mut batches, *conn, 7, conn * 10_000).is_some());
        assert_eq!(given.count(), 3);
    }
}
