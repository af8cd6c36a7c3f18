//! What of a skeleton is still to be proved, in requests that connections share.

use std::time::Duration;

use crate::chain::Height;
use crate::isolation::ConnId;
use crate::time::Moment;

/// Most connections that are asked for the same: the first one, and those that steal it.
const MAX_HOLDERS: usize = 3;

/// Heights that are asked for together.
#[derive(Debug)]
struct Errand {
    heights: Vec<Height>,
    holders: Vec<ConnId>,
    since: Moment,
}

/// All that is to be proved.
#[derive(Debug, Default)]
pub(super) struct Errands(Vec<Errand>);

impl Errands {
    /// Parts rising heights into requests of at most so many; where no two neighbours are missing between them, of at
    /// most `run`, since such a request is cheap.
    pub(super) fn new(heights: impl IntoIterator<Item = Height>, batch: usize, run: Height) -> Self {
        let mut errands: Vec<Vec<Height>> = Vec::new();
        for height in heights {
            let fits = |errand: &Vec<Height>| {
                let follows = errand.last().is_some_and(|last| last.checked_add(1) == Some(height));
                let is_run = follows && is_run(errand);
                errand.len() < batch.max(1) || is_run && errand.len() < usize::try_from(run).unwrap_or(usize::MAX)
            };
            match errands.last_mut().filter(|errand| fits(errand)) {
                Some(errand) => errand.push(height),
                None => errands.push(vec![height]),
            }
        }
        let errand = |heights| Errand {
            heights,
            holders: Vec::new(),
            since: Moment::default(),
        };
        Self(errands.into_iter().map(errand).collect())
    }

    /// Returns how many heights are left.
    pub(super) fn left(&self) -> usize {
        self.0.iter().map(|errand| errand.heights.len()).sum()
    }

    /// Gives heights up to `highest` to a connection: such that nobody has, else such that others keep waiting for.
    pub(super) fn assign(
        &mut self,
        conn: ConnId,
        highest: Height,
        now: Moment,
        steal_after: Duration,
    ) -> Option<Vec<Height>> {
        let servable = |errand: &&mut Errand| {
            errand.heights.last().is_some_and(|last| *last <= highest) && !errand.holders.contains(&conn)
        };
        let waits = |errand: &Errand| errand.holders.len() < MAX_HOLDERS && now.since(errand.since) >= steal_after;
        let free = self
            .0
            .iter()
            .any(|errand| errand.holders.is_empty() && errand.heights.last().is_some_and(|last| *last <= highest));
        let mut servables = self.0.iter_mut().filter(servable);
        let errand = servables.find(|errand| if free { errand.holders.is_empty() } else { waits(errand) })?;
        errand.holders.push(conn);
        errand.since = now;
        Some(errand.heights.clone())
    }

    /// Takes heights away from a connection that failed to prove them.
    pub(super) fn release(&mut self, heights: &[Height], conn: ConnId) {
        if let Some(errand) = self.0.iter_mut().find(|errand| errand.heights == heights) {
            errand.holders.retain(|holder| *holder != conn);
        }
    }

    /// Takes all away from a connection.
    pub(super) fn release_all(&mut self, conn: ConnId) {
        for errand in &mut self.0 {
            errand.holders.retain(|holder| *holder != conn);
        }
    }

    /// Crosses heights off that were proved.
    pub(super) fn cross_off(&mut self, heights: &[Height]) {
        self.0.retain(|errand| errand.heights != heights);
    }

    /// Returns the earliest moment since which somebody is waited for who may be helped.
    pub(super) fn oldest_wait(&self) -> Option<Moment> {
        let held = self
            .0
            .iter()
            .filter(|errand| !errand.holders.is_empty() && errand.holders.len() < MAX_HOLDERS);
        held.map(|errand| errand.since).min()
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
    use super::*;

    const STEAL: Duration = Duration::from_secs(6);

    fn assign(errands: &mut Errands, conn: u64, highest: Height, now: u64) -> Option<Vec<Height>> {
        errands.assign(ConnId(conn), highest, Moment(now), STEAL)
    }

    #[test]
    fn heights_are_parted_into_batches_and_runs_into_longer_ones() {
        let heights = [1, 5, 9, 10, 20, 21, 22, 23, 24, 25];
        let errands = Errands::new(heights, 3, 4);
        let parts: Vec<_> = errands.0.iter().map(|errand| errand.heights.clone()).collect();
        assert_eq!(parts, [vec![1, 5, 9], vec![10, 20, 21], vec![22, 23, 24, 25]]);
        assert_eq!(errands.left(), 10);
        assert_eq!(Errands::new([], 3, 4).left(), 0);
        assert_eq!(Errands::new([1, 2], 0, 0).0.len(), 2);
    }

    #[test]
    fn each_is_given_once_and_again_when_it_is_slow() {
        let mut errands = Errands::new([1, 5, 9, 12], 2, 2);
        assert_eq!(assign(&mut errands, 1, 100, 0), Some(vec![1, 5]));
        assert_eq!(assign(&mut errands, 2, 8, 0), None, "it has no header that high");
        assert_eq!(assign(&mut errands, 2, 100, 0), Some(vec![9, 12]));
        assert_eq!(assign(&mut errands, 1, 100, 0), None);
        assert_eq!(assign(&mut errands, 3, 100, 5999), None);
        assert_eq!(assign(&mut errands, 3, 100, 6000), Some(vec![1, 5]));
        assert_eq!(assign(&mut errands, 4, 100, 6000), Some(vec![9, 12]));
        assert_eq!(errands.oldest_wait(), Some(Moment(6000)));
        errands.release(&[1, 5], ConnId(1));
        errands.release(&[1, 5], ConnId(3));
        assert_eq!(assign(&mut errands, 5, 100, 6000), Some(vec![1, 5]), "free again");
        errands.cross_off(&[1, 5]);
        errands.release_all(ConnId(2));
        errands.release_all(ConnId(4));
        assert_eq!(assign(&mut errands, 1, 100, 6000), Some(vec![9, 12]));
        errands.cross_off(&[9, 12]);
        assert_eq!((errands.left(), errands.oldest_wait()), (0, None));
    }

    #[test]
    fn no_more_than_three_are_asked_for_the_same() {
        let mut errands = Errands::new([7], 2, 2);
        let given = (0..5).filter(|conn| assign(&mut errands, *conn, 7, conn * 10_000).is_some());
        assert_eq!(given.count(), 3);
    }
}
