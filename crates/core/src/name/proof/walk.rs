//! The walk from a name's newest operation back to its registration.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bitcoin::Txid;

use super::step::Step;
use super::{NameProof, ProofError, ProofLink, ProvenName, ProvenStep, Reached};
use crate::chain::{HeaderTree, Height, Params};
use crate::name::{NameId, policy};

/// How much of a name's history is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofLimits {
    /// Most spends that are verified when all younger than `min_confirmations` are: 16.
    pub max_links: usize,
    /// Most transactions that are looked at in any case: 128. A name with more in its newest 12 blocks has no answer.
    pub max_entries: usize,
    /// From how many confirmations on older links needn't be verified: 12, as [`policy::MIN_CONFIRMATIONS`].
    pub min_confirmations: Height,
}

impl Default for ProofLimits {
    fn default() -> Self {
        Self {
            max_links: 16,
            max_entries: 128,
            min_confirmations: policy::MIN_CONFIRMATIONS,
        }
    }
}

/// Verifies what a server shows for a name, against our own headers.
///
/// Each transaction that is looked at must be in a block of the best chain. One that is no operation of the name is passed
/// over: servers keep entries of orphaned blocks in their index (`ElectrumX` 1.17.0 and 2.0.0 do), and to hide an operation
/// a server need not show something else. All others must have one name output with enough value locked, and spend the
/// name output of the next older one by a valid script.
/// The walk ends at the registration, at the first transaction at or below the anchor, or after
/// [`ProofLimits::max_links`] spends once 12 confirmations are reached.
///
/// # Errors
///
/// Any [`ProofError`]; each variant says its cause.
pub fn verify(
    name: &NameId,
    proof: &NameProof,
    tree: &HeaderTree,
    limits: &ProofLimits,
) -> Result<ProvenName, ProofError> {
    walk(name, proof, tree, limits, |_| ())
}

/// Verifies as [`verify`] does, and returns each operation that it looked at, newest first, with where it is in its block:
/// what whoever wants to see the proof is shown.
///
/// # Errors
///
/// As [`verify`].
pub fn trace(
    name: &NameId,
    proof: &NameProof,
    tree: &HeaderTree,
    limits: &ProofLimits,
) -> Result<(ProvenName, Vec<ProvenStep>), ProofError> {
    let mut steps = Vec::new();
    let proven = walk(name, proof, tree, limits, |step| {
        steps.push(ProvenStep {
            entry: step.entry.clone(),
            merkle: step.link.merkle.clone(),
        });
    })?;
    Ok((proven, steps))
}

/// Goes from the newest operation back, and hands each on once it is verified.
fn walk(
    name: &NameId,
    proof: &NameProof,
    tree: &HeaderTree,
    limits: &ProofLimits,
    mut on_step: impl FnMut(&Step<'_>),
) -> Result<ProvenName, ProofError> {
    if proof.links.is_empty() {
        return Err(ProofError::Empty);
    }
    let mut operations = Operations {
        name,
        tree,
        links: proof.links.iter(),
        passed_over: 0,
    };
    let newest = operations.next().unwrap_or(Err(ProofError::NotOfTheName {
        got: proof.links.len(),
        passed_over: proof.links.len(),
    }))?;
    let entry = newest.entry.clone();
    let mut walk = Walk {
        current: newest,
        links: 0,
        oldest_above_anchor: None,
    };
    on_step(&walk.current);
    let reached = loop {
        match walk.end(tree, limits) {
            Some(reached) => break reached,
            None if walk.links + 1 >= limits.max_entries => {
                return Err(ProofError::TooManyLinks {
                    max: limits.max_entries,
                });
            }
            None => {}
        }
        match operations.next() {
            Some(next) => {
                walk.step_to(next?, tree)?;
                on_step(&walk.current);
            }
            None => return Err(walk.ended_early(proof, operations.passed_over)),
        }
    };
    let mut commitment_checked = false;
    if reached == Reached::Registration {
        if let Some(before) = operations.next_link() {
            walk.check_was_free(before, tree)?;
        }
        if let Some(name_new) = &proof.name_new {
            walk.current.check_commitment(name_new)?;
            commitment_checked = true;
        }
    }
    Ok(ProvenName {
        entry,
        links: walk.links,
        reached,
        oldest_height: walk.current.link.height,
        oldest_above_anchor: walk.oldest_above_anchor,
        commitment_checked,
    })
}

/// Returns which operations of a history must be fetched for [`verify`] to succeed, newest first, each once.
///
/// The history is a server's claim, in whatever order: where blocks were replaced, `ElectrumX` up to 1.17.0 lists what it
/// indexed last behind what is younger, and what came back to its old place twice. Our own tip has no say in it, since what
/// we ask for would tell it: the newest operation stands for the tip.
///
/// # Errors
///
/// [`ProofError::TooManyLinks`] when more than [`ProofLimits::max_entries`] would be needed.
pub fn links_needed(
    history: &[(Txid, Height)],
    params: &Params,
    limits: &ProofLimits,
) -> Result<Vec<(Txid, Height)>, ProofError> {
    let mut needed = Vec::new();
    let mut newer: Option<Height> = None;
    let newest = history.iter().map(|(_, height)| *height).max().unwrap_or(0);
    for (txid, height) in newest_first(history) {
        if let Some(newer) = newer
            && newer.saturating_sub(height) >= params.expiration_depth(newer)
        {
            break;
        }
        if needed.len() >= limits.max_entries {
            return Err(ProofError::TooManyLinks {
                max: limits.max_entries,
            });
        }
        needed.push((txid, height));
        let deep = height.saturating_add(limits.min_confirmations) <= newest;
        if needed.len() > limits.max_links && deep {
            break;
        }
        newer = Some(height);
    }
    Ok(needed)
}

/// Returns the operations of a history newest first, each once; those of one block in the order that the server's list, which
/// begins with the oldest, has them in.
fn newest_first(history: &[(Txid, Height)]) -> Vec<(Txid, Height)> {
    let mut seen = BTreeSet::new();
    let mut sorted: Vec<(Txid, Height)> = history.iter().rev().copied().collect();
    sorted.retain(|entry| seen.insert(*entry));
    sorted.sort_by_key(|(_, height)| Reverse(*height));
    sorted
}

/// The operations of a name among the transactions that a server shows for it, newest first.
struct Operations<'a> {
    name: &'a NameId,
    tree: &'a HeaderTree,
    links: std::slice::Iter<'a, ProofLink>,
    passed_over: usize,
}

impl<'a> Operations<'a> {
    fn next(&mut self) -> Option<Result<Step<'a>, ProofError>> {
        for link in self.links.by_ref() {
            match Step::check(self.name, link, self.tree) {
                Err(error) if error.is_of_something_else() => self.passed_over += 1,
                step => return Some(step),
            }
        }
        None
    }

    /// Returns the next one that is not known to be none, proved or not: for what lies below all of our headers.
    fn next_link(&mut self) -> Option<&'a ProofLink> {
        let (name, tree) = (self.name, self.tree);
        let is_other =
            |link: &ProofLink| Step::check(name, link, tree).is_err_and(|error| error.is_of_something_else());
        self.links.by_ref().find(|link| !is_other(link))
    }
}

/// Where [`verify`] stands: at a transaction that is verified but for who was entitled to make it.
struct Walk<'a> {
    current: Step<'a>,
    links: usize,
    oldest_above_anchor: Option<Height>,
}

impl<'a> Walk<'a> {
    /// Says whether the chain has gone far enough back.
    fn end(&mut self, tree: &HeaderTree, limits: &ProofLimits) -> Option<Reached> {
        let height = self.current.link.height;
        let above_anchor = height > tree.anchor().height;
        if above_anchor {
            self.oldest_above_anchor = Some(height);
        }
        let deep = confirmations(height, tree.tip().height) >= limits.min_confirmations;
        if self.current.entry.registers {
            Some(Reached::Registration)
        } else if !above_anchor {
            Some(Reached::Anchor)
        } else {
            (self.links >= limits.max_links && deep).then_some(Reached::Limit)
        }
    }

    /// Goes to the next older transaction: the one that the current one must spend.
    fn step_to(&mut self, older: Step<'a>, tree: &HeaderTree) -> Result<(), ProofError> {
        let height = self.current.link.height;
        let gap = self.gap_to(older.link)?;
        if gap >= tree.params().expiration_depth(height) {
            return Err(ProofError::UpdateAfterExpiry { height, gap });
        }
        self.current.check_spends(&older)?;
        self.current = older;
        self.links += 1;
        Ok(())
    }

    /// Checks that the name had expired when the current transaction registered it. Below the anchor there is
    /// nothing to check: early mainnet blocks hold registrations that broke the rule.
    fn check_was_free(&self, before: &ProofLink, tree: &HeaderTree) -> Result<(), ProofError> {
        let height = self.current.link.height;
        let gap = self.gap_to(before)?;
        if height > tree.anchor().height && gap < tree.params().expiration_depth(height) {
            return Err(ProofError::RegisteredWhileTaken { height, gap });
        }
        Ok(())
    }

    fn gap_to(&self, older: &ProofLink) -> Result<Height, ProofError> {
        let newer = self.current.link;
        match newer.height.checked_sub(older.height) {
            Some(gap) if gap > 0 || newer.pos > older.pos => Ok(gap),
            _ => Err(ProofError::OutOfOrder {
                newer: newer.height,
                newer_pos: newer.pos,
                older: older.height,
                older_pos: older.pos,
            }),
        }
    }

    fn ended_early(&self, proof: &NameProof, passed_over: usize) -> ProofError {
        if passed_over > 0 {
            ProofError::NotOfTheName {
                got: proof.links.len(),
                passed_over,
            }
        } else if proof.complete {
            ProofError::NoRegistration {
                height: self.current.link.height,
            }
        } else {
            ProofError::TooShort { got: proof.links.len() }
        }
    }
}

/// Returns how many blocks of a chain with this tip confirm a block at `height`, itself counted.
pub(in crate::name) fn confirmations(height: Height, tip: Height) -> Height {
    tip.checked_sub(height).map_or(0, |above| above.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Network;

    fn needed(heights: &[Height]) -> Result<usize, ProofError> {
        let history: Vec<_> = heights
            .iter()
            .zip(0..)
            .map(|(height, at)| (txid(at), *height))
            .collect();
        let needed = links_needed(&history, Network::Regtest.params(), &ProofLimits::default())?;
        Ok(needed.len())
    }

    fn txid(number: u8) -> Txid {
        Txid::from_byte_array([number; 32])
    }

    #[test]
    fn a_short_history_is_needed_whole() {
        assert_eq!(needed(&[]), Ok(0));
        assert_eq!(needed(&[100]), Ok(1));
        assert_eq!(needed(&[100, 129, 129, 158]), Ok(4));
    }

    #[test]
    fn what_lies_before_an_expiry_is_not_needed() {
        assert_eq!(needed(&[70, 100, 130]), Ok(1));
        assert_eq!(needed(&[70, 100, 129]), Ok(2));
    }

    #[test]
    fn deep_links_are_limited_and_young_ones_are_not() {
        let deep: Vec<Height> = (0..100).map(|at| 100 + 20 * at).collect();
        assert_eq!(needed(&deep), Ok(17));
        let mut young = deep.clone();
        young.extend(vec![2095; 60]);
        assert_eq!(needed(&young), Ok(61), "the owner before the young ones is needed too");
        young.extend(vec![2095; 68]);
        assert_eq!(needed(&young), Err(ProofError::TooManyLinks { max: 128 }));
    }

    #[test]
    fn an_order_that_reorganisations_left_is_put_right_and_nothing_is_needed_twice() {
        let history =
            [(1, 100), (4, 107), (2, 103), (3, 103), (3, 103), (1, 100)].map(|(at, height)| (txid(at), height));
        let needed = links_needed(&history, Network::Regtest.params(), &ProofLimits::default());
        let expected = [(4, 107), (3, 103), (2, 103), (1, 100)].map(|(at, height)| (txid(at), height));
        assert_eq!(needed, Ok(expected.to_vec()));
    }

    proptest! {
        #[test]
        fn needed_is_bounded_and_covers_what_is_young(mut heights in proptest::collection::vec(any::<u16>(), 0..200)) {
            for height in &mut heights {
                *height %= 900;
            }
            heights.sort_unstable();
            let heights: Vec<Height> = heights.into_iter().map(Height::from).collect();
            match needed(&heights) {
                Ok(count) => {
                    prop_assert!(count <= heights.len().min(128));
                    prop_assert_eq!(count == 0, heights.is_empty());
                    let young = heights.iter().filter(|height| *height + 12 > *heights.last().unwrap()).count();
                    prop_assert!(count >= young);
                }
                Err(error) => prop_assert_eq!(error, ProofError::TooManyLinks { max: 128 }),
            }
        }
    }
}
