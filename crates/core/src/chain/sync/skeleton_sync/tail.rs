//! The last headers of a skeleton. They are proved whatever is drawn, so that they are no secret, and who has nothing else
//! to fetch while others bring the last headers of the skeleton is asked for them already.

use super::ProofQueue;
use crate::chain::Height;
use crate::chain::sync::chunks::Taker;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Full headers that came before the skeleton had got so far.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) conn: ConnId,
    pub(super) heights: Vec<Height>,
    pub(super) bytes: Vec<u8>,
}

/// What is asked for of the last headers, and what came.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The highest height that was put into the queue.
    top: Height,
    queue: ProofQueue,
    early: Vec<Early>,
}

impl Tail {
    /// Has the heights from `first` to `target` fetched as well, in requests of at most so many.
    pub(super) fn reach(&mut self, first: Height, target: Height, most: usize) {
        if target < self.top {
            *self = Self::default();
        }
        let from = first.max(self.top.saturating_add(1));
        self.queue.join(ProofQueue::new(from..=target, most));
        self.top = self.top.max(target);
    }

    /// Returns how many headers wait for the skeleton.
    pub(super) fn early(&self) -> usize {
        self.early.iter().map(|early| early.heights.len()).sum()
    }

    /// Says whether something that a connection delivered waits for the skeleton.
    pub(super) fn has_from(&self, conn: ConnId) -> bool {
        self.early.iter().any(|early| early.conn == conn)
    }

    pub(super) fn assign(&mut self, taker: &Taker) -> Option<Vec<Height>> {
        self.queue.assign(taker)
    }

    pub(super) fn release(&mut self, heights: &[Height], conn: ConnId) {
        self.queue.release(heights, conn);
    }

    pub(super) fn release_all(&mut self, conn: ConnId) {
        self.queue.release_all(conn);
    }

    /// Drops what a connection delivered, and takes away what it was given.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.queue.release_all(conn);
        self.early.retain(|early| early.conn != conn);
    }

    pub(super) fn cross_off(&mut self, heights: &[Height]) {
        self.queue.cross_off(heights);
    }

    /// Keeps full headers until the skeleton has got so far; those that nobody waits for any more are dropped.
    pub(super) fn keep(&mut self, early: Early) {
        if self.queue.has(&early.heights) {
            self.queue.cross_off(&early.heights);
            self.early.push(early);
        }
    }

    /// Takes out full headers that came, none of which lies above a height.
    pub(super) fn take_up_to(&mut self, top: Height) -> Option<Early> {
        let is_reached = |early: &Early| early.heights.last().is_some_and(|last| *last <= top);
        let at = self.early.iter().position(is_reached)?;
        Some(self.early.swap_remove(at))
    }

    /// Returns what connections were asked for and did not bring yet.
    pub(super) fn into_held(self) -> ProofQueue {
        self.queue.into_held()
    }

    pub(super) fn oldest_wait(&self) -> Option<Moment> {
        self.queue.oldest_wait()
    }
}
