//! The machine itself.

use bitcoin::Txid;
use bitcoin::consensus::encode::deserialize;

use super::super::NameId;
use super::super::policy::{self, Heights, Outcome};
use super::super::proof::{self, NameProof, ProofError, ProofLink};
use super::{Ask, Attempt, Effect, Event, Fault, LookupError, LookupSettings};
use crate::chain::{HeaderTree, Height};
use crate::time::Moment;

#[derive(Debug)]
enum State {
    /// Waiting for the proof or the history.
    Asked,
    /// Waiting for these transactions; `complete` says whether the history ends with them.
    Fetching {
        wanted: Vec<(Txid, Height)>,
        complete: bool,
    },
    /// It came to an outcome.
    Answered(Outcome),
    /// It failed.
    Failed(String),
}

#[derive(Debug)]
struct Try {
    state: State,
    started: Moment,
}

/// One lookup of one name.
///
/// Feed it events, carry out its effects until [`Effect::Finished`].
#[derive(Debug)]
pub struct Lookup {
    name: NameId,
    settings: LookupSettings,
    claimed_height: Height,
    tries: Vec<Try>,
    finished: bool,
}

impl Lookup {
    /// Makes a lookup. `claimed_height` is the greatest height that servers claim, as header sync knows it.
    pub fn new(name: NameId, settings: LookupSettings, claimed_height: Height) -> Self {
        Self {
            name,
            settings,
            claimed_height,
            tries: Vec::new(),
            finished: false,
        }
    }

    /// Advances by one event.
    pub fn on_event(&mut self, now: Moment, tree: &HeaderTree, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.finished {
            return effects;
        }
        match event {
            Event::Start => {
                for _ in 0..self.settings.quorum.max(1) {
                    self.start(now, &mut effects);
                }
            }
            Event::Proof { attempt, links } if self.awaits_name(attempt) => {
                let state = self.on_proof(attempt, tree, links, true, &mut effects);
                self.set(attempt, state);
            }
            Event::History { attempt, entries } if self.awaits_name(attempt) => {
                let state = self.on_history(attempt, tree, &entries, &mut effects);
                self.set(attempt, state);
            }
            Event::Transactions { attempt, links } => self.on_transactions(attempt, tree, links, &mut effects),
            Event::Failed { attempt, reason } => {
                if self.is_open(attempt) {
                    self.set(attempt, State::Failed(reason));
                }
            }
            Event::Proof { .. } | Event::History { .. } | Event::Tick => {}
        }
        self.advance(now, &mut effects);
        effects
    }

    fn max_attempts(&self) -> usize {
        usize::from(self.settings.attempts.max(self.settings.quorum).max(1))
    }

    fn start(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Ok(attempt) = Attempt::try_from(self.tries.len()) else {
            return;
        };
        self.tries.push(Try {
            state: State::Asked,
            started: now,
        });
        effects.push(Effect::Ask {
            attempt,
            ask: Ask::Name(self.name.scripthash()),
        });
    }

    fn state(&self, attempt: Attempt) -> Option<&State> {
        self.tries.get(usize::from(attempt)).map(|attempt| &attempt.state)
    }

    fn set(&mut self, attempt: Attempt, state: State) {
        if let Some(entry) = self.tries.get_mut(usize::from(attempt)) {
            entry.state = state;
        }
    }

    fn awaits_name(&self, attempt: Attempt) -> bool {
        matches!(self.state(attempt), Some(State::Asked))
    }

    fn is_open(&self, attempt: Attempt) -> bool {
        matches!(self.state(attempt), Some(State::Asked | State::Fetching { .. }))
    }

    fn on_history(
        &self,
        attempt: Attempt,
        tree: &HeaderTree,
        entries: &[(Txid, Height)],
        effects: &mut Vec<Effect>,
    ) -> State {
        if entries.is_empty() {
            return State::Answered(Outcome::NeverExisted);
        }
        match proof::links_needed(entries, tree.params(), &self.settings.limits) {
            Ok(needed) => {
                let wanted: Vec<(Txid, Height)> = entries.iter().rev().take(needed).copied().collect();
                effects.push(Effect::Ask {
                    attempt,
                    ask: Ask::Transactions(wanted.clone()),
                });
                State::Fetching {
                    complete: needed == entries.len(),
                    wanted,
                }
            }
            Err(error) => Self::refuse(attempt, Fault::Proof(error), effects),
        }
    }

    fn on_transactions(
        &mut self,
        attempt: Attempt,
        tree: &HeaderTree,
        links: Vec<ProofLink>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(State::Fetching { wanted, complete }) = self.state(attempt) else {
            return;
        };
        let complete = *complete;
        // The heights and txids asked for came from this server too, so this only keeps its replies in step.
        let same = wanted.len() == links.len()
            && wanted.iter().zip(&links).all(|((txid, height), link)| {
                link.height == *height
                    && deserialize::<bitcoin::Transaction>(&link.tx).is_ok_and(|tx| tx.compute_txid() == *txid)
            });
        let state = if same {
            self.on_proof(attempt, tree, links, complete, effects)
        } else {
            Self::refuse(attempt, Fault::OtherTransactions, effects)
        };
        self.set(attempt, state);
    }

    fn on_proof(
        &self,
        attempt: Attempt,
        tree: &HeaderTree,
        links: Vec<ProofLink>,
        complete: bool,
        effects: &mut Vec<Effect>,
    ) -> State {
        let Some(newest) = links.first().map(|link| link.height) else {
            return State::Answered(Outcome::NeverExisted);
        };
        let proof = NameProof {
            links,
            complete,
            name_new: None,
        };
        match proof::verify(&self.name, &proof, tree, &self.settings.limits) {
            Ok(name) => {
                let heights = Heights {
                    local: tree.tip().height,
                    claimed: self.claimed_height,
                };
                State::Answered(policy::judge(name, heights, tree.params(), &self.settings.policy))
            }
            // Headers are kept as far down as a living name can reach: what lies below is no server's fault.
            Err(ProofError::MissingHeader { .. }) if tree.lowest().is_some_and(|lowest| newest < lowest) => {
                State::Answered(Outcome::LongExpired { height: newest })
            }
            Err(error) if error.is_server_fault() => Self::refuse(attempt, Fault::Proof(error), effects),
            Err(error) => State::Failed(error.to_string()),
        }
    }

    fn refuse(attempt: Attempt, fault: Fault, effects: &mut Vec<Effect>) -> State {
        let reason = format!("a server {fault}");
        effects.push(Effect::Blame { attempt, fault });
        State::Failed(reason)
    }

    fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let timeout = self.settings.attempt_timeout;
        for entry in &mut self.tries {
            if matches!(entry.state, State::Asked | State::Fetching { .. }) && now.since(entry.started) >= timeout {
                entry.state = State::Failed(format!("no answer within {} seconds", timeout.as_secs()));
            }
        }
        if let Some(result) = self.verdict(effects) {
            self.finished = true;
            for (attempt, entry) in (0..).zip(&self.tries) {
                if matches!(entry.state, State::Asked | State::Fetching { .. }) {
                    effects.push(Effect::Abandon(attempt));
                }
            }
            effects.push(Effect::Finished(result));
            return;
        }
        let more = self.max_attempts().saturating_sub(self.tries.len());
        let open = self
            .tries
            .iter()
            .filter(|entry| matches!(entry.state, State::Asked | State::Fetching { .. }));
        let (open, newest_start) = (open.count(), self.tries.iter().map(|entry| entry.started).max());
        let hedge_at = newest_start.map(|started| started + self.settings.hedge_after);
        // As many at once as the quorum still lacks, one more when they are slow, all when the name was denied.
        let denied = self.found() == 0 && self.tries.iter().any(|entry| matches!(entry.state, State::Answered(_)));
        let lacking = usize::from(self.settings.quorum.max(1))
            .saturating_sub(self.found())
            .max(1);
        let hedge = usize::from(hedge_at.is_some_and(|at| now >= at));
        let wanted = if denied {
            more
        } else {
            lacking.saturating_sub(open).max(hedge)
        };
        for _ in 0..wanted.min(more) {
            self.start(now, effects);
        }
        let open_tries = self
            .tries
            .iter()
            .filter(|entry| matches!(entry.state, State::Asked | State::Fetching { .. }));
        let deadline = open_tries.map(|entry| entry.started + timeout).min();
        let may_hedge = self.tries.len() < self.max_attempts();
        let hedge = self
            .tries
            .iter()
            .map(|entry| entry.started + self.settings.hedge_after)
            .max();
        if let Some(at) = [deadline, hedge.filter(|_| may_hedge)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
        {
            effects.push(Effect::WakeAt(at));
        }
    }

    fn found(&self) -> usize {
        self.tries
            .iter()
            .filter(|entry| matches!(entry.state, State::Answered(Outcome::Found(_))))
            .count()
    }

    /// Returns the result once no further answer could change it, or none can be had.
    fn verdict(&self, effects: &mut Vec<Effect>) -> Option<Result<Outcome, LookupError>> {
        let quorum = usize::from(self.settings.quorum.max(1));
        let open = self
            .tries
            .iter()
            .any(|entry| matches!(entry.state, State::Asked | State::Fetching { .. }));
        let exhausted = !open && self.tries.len() >= self.max_attempts();
        let answers: Vec<(Attempt, &Outcome)> = (0..)
            .zip(&self.tries)
            .filter_map(|(attempt, entry)| match &entry.state {
                State::Answered(outcome) => Some((attempt, outcome)),
                _ => None,
            })
            .collect();
        let enough = answers.len() >= quorum && self.found() > 0;
        if !enough && !exhausted {
            return None;
        }
        let reasons = || {
            let reason = |entry: &Try| match &entry.state {
                State::Failed(reason) => Some(reason.clone()),
                _ => None,
            };
            self.tries.iter().filter_map(reason).collect::<Vec<_>>()
        };
        let best = answers.iter().copied().max_by_key(|(attempt, outcome)| {
            // What is proved to be newest wins; of two alike the first one.
            (outcome.height(), u8::MAX - attempt)
        });
        let Some((_, best)) = best else {
            return Some(Err(LookupError::NoAnswer { reasons: reasons() }));
        };
        if answers.len() < quorum {
            return Some(Err(LookupError::NoQuorum {
                got: answers.len(),
                expected: quorum,
                reasons: reasons(),
            }));
        }
        if let Some(newest) = best.proven().map(|status| status.name.height()) {
            for (attempt, outcome) in &answers {
                let fault = match outcome.height() {
                    None => Fault::DeniedName { newest },
                    Some(shown) if shown < newest => Fault::HidUpdate { shown, newest },
                    Some(_) => continue,
                };
                effects.push(Effect::Blame {
                    attempt: *attempt,
                    fault,
                });
            }
        }
        Some(Ok(best.clone()))
    }
}
