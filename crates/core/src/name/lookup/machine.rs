//! The machine itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::consensus::encode::deserialize;
use bitcoin::{BlockHash, Txid};

use super::super::NameId;
use super::super::policy::{self, Outcome};
use super::super::proof::{self, NameProof, ProofError, ProofLink, ProvenName};
use super::{
    Account, Attempt, AttemptError, FailureScope, LookupEffect, LookupError, LookupEvent, LookupFault, LookupRequest,
    LookupSettings,
};
use crate::chain::{HeaderTree, Height};
use crate::reputation::STRANGERS;
use crate::time::Moment;

/// Blocks at the tip in which honest servers may differ from us and from each other, since a block takes a while to
/// reach and be indexed by all, and may be replaced. Who lags here is not believed, but not blamed either.
const UNSETTLED: Height = 6;

/// Blocks above our tip from which on a height is none that an honest server could name: header sync would have to have
/// missed a day of blocks, and then our tip is too old for any lookup.
const FAR_ABOVE: Height = 144;

/// Answers that it takes to believe that a name has no value: a second one, over another circuit, keeps one server, or one
/// exit, from denying what it likes. More of them would cost circuits and prove nothing either.
const OPINIONS: usize = 2;

/// How often it is looked whether a header that a proof waits for has come.
pub const HEADER_POLL: Duration = Duration::from_millis(500);

/// What a server has shown of a name so far.
#[derive(Clone, Debug, Default)]
struct Shown {
    /// The operations, each with what the server's list says of it.
    operations: Vec<((Txid, Height), ProofLink)>,
    /// Transactions in its list that are no operations of the name.
    others: usize,
    /// Transactions in its list that it says are not in their blocks.
    gone: usize,
}

/// A proof to be judged.
#[derive(Clone, Debug)]
struct Evidence {
    links: Vec<ProofLink>,
    /// Whether the server's list ends with the last link.
    complete: bool,
    /// Transactions of the list that the server says are not in their blocks.
    gone: usize,
}

impl Evidence {
    fn proof(&self) -> NameProof {
        NameProof {
            links: self.links.clone(),
            complete: self.complete,
            name_new: None,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Waiting for the proof or the history.
    Asked,
    /// Waiting for the history, since all that the proof shows is something else.
    Listing,
    /// Waiting for these transactions of a history.
    Fetching {
        history: Vec<(Txid, Height)>,
        wanted: Vec<(Txid, Height)>,
        shown: Shown,
    },
    /// Waiting for headers that our own sync has still to bring: the proof goes beyond our tip, or does not fit to our chain,
    /// which may be about to change.
    Ahead {
        evidence: Evidence,
        tip: BlockHash,
        until: Moment,
        /// Whether it is more than a few blocks ahead, or does not fit: somebody else may do better meanwhile.
        doubtful: bool,
    },
    /// Waiting for headers below the anchor that our own sync has still to bring: all that the server was asked for is here.
    Below {
        evidence: Evidence,
        lowest: Option<Height>,
        until: Moment,
    },
    /// Waiting for our headers to be up to date: all that the server was asked for is here.
    Unjudged { evidence: Evidence },
    /// It came to an outcome: by this evidence, where anything was proved.
    Answered {
        outcome: Outcome,
        evidence: Option<Evidence>,
    },
    /// It failed.
    Failed(AttemptError),
}

impl State {
    /// Makes the state of an attempt whose server says this, which nothing proves.
    const fn purported(outcome: Outcome) -> Self {
        Self::Answered {
            outcome,
            evidence: None,
        }
    }
}

#[derive(Debug)]
struct Try {
    state: State,
    started: Moment,
    /// The number of the server that it went to, once known.
    server: Option<usize>,
}

impl Try {
    fn is_open(&self) -> bool {
        !matches!(self.state, State::Answered { .. } | State::Failed(_))
    }

    /// Says whether it is up to the server to go on.
    fn waits_for_server(&self) -> bool {
        self.is_open() && !self.waits_for_headers()
    }

    /// Says whether all that a server can give is here, and only headers are missing: another one would not be faster.
    fn waits_for_headers(&self) -> bool {
        matches!(self.state, State::Below { .. } | State::Unjudged { .. })
    }
}

/// One lookup of one name.
///
/// Feed it events, carry out its effects until [`LookupEffect::Finished`].
#[derive(Debug)]
pub struct Lookup {
    name: NameId,
    settings: LookupSettings,
    servers: usize,
    tries: Vec<Try>,
    /// No server can be reached: a further attempt would get no connection.
    cut_off: bool,
    /// A server gave what can't be proved.
    lied_to: bool,
    phase: Phase,
}

/// How far a lookup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Our headers are not up to date: nothing is judged.
    BesideSync,
    Judging,
    Finished,
}

impl Lookup {
    /// Makes a lookup. `servers` is how many can be asked whose answers count apart: those of one operator are one.
    pub fn new(name: NameId, settings: LookupSettings, servers: usize) -> Self {
        Self {
            name,
            settings,
            servers,
            tries: Vec::new(),
            cut_off: false,
            lied_to: false,
            phase: Phase::Judging,
        }
    }

    /// Has this lookup begin before our headers are up to date. What it asks is the same; it judges nothing, and comes to no
    /// outcome, before [`LookupEvent::HeadersReady`].
    #[must_use]
    pub fn beside_sync(self) -> Self {
        Self {
            phase: Phase::BesideSync,
            ..self
        }
    }

    /// Advances by one event.
    pub fn on_event(&mut self, now: Moment, tree: &HeaderTree, event: LookupEvent) -> Vec<LookupEffect> {
        let mut effects = Vec::new();
        if self.phase == Phase::Finished {
            return effects;
        }
        self.cut_off |=
            matches!(&event, LookupEvent::Failed { failure, .. } if failure.scope() == FailureScope::Everything);
        match event {
            LookupEvent::Start if self.servers < self.quorum() => {
                self.phase = Phase::Finished;
                effects.push(LookupEffect::Finished(Err(LookupError::TooFewServers {
                    known: self.servers,
                    expected: self.quorum(),
                })));
                return effects;
            }
            LookupEvent::Start if self.tries.is_empty() => {
                for _ in 0..self.quorum() {
                    self.start(now, &mut effects);
                }
            }
            LookupEvent::Proof { attempt, links } if matches!(self.state(attempt), Some(State::Asked)) => {
                let state = self.on_proof(attempt, now, tree, links, &mut effects);
                self.set(attempt, state);
            }
            LookupEvent::History { attempt, entries }
                if matches!(self.state(attempt), Some(State::Asked | State::Listing)) =>
            {
                let state = if entries.is_empty() {
                    State::purported(Outcome::NeverExisted)
                } else {
                    self.fetch(attempt, now, tree, entries, Shown::default(), &mut effects)
                };
                self.set(attempt, state);
            }
            LookupEvent::Transactions { attempt, links } => {
                self.on_transactions(attempt, now, tree, links, &mut effects);
            }
            LookupEvent::Failed { attempt, failure } => {
                if self.is_open(attempt) {
                    self.set(attempt, State::Failed(failure.into()));
                }
            }
            LookupEvent::Assigned { attempt, server } => {
                if let Some(entry) = self.tries.get_mut(usize::from(attempt)) {
                    entry.server = Some(server);
                }
            }
            LookupEvent::HeadersReady if self.phase == Phase::BesideSync => {
                self.phase = Phase::Judging;
                self.judge_unjudged(now, tree, &mut effects);
            }
            LookupEvent::Start
            | LookupEvent::Proof { .. }
            | LookupEvent::History { .. }
            | LookupEvent::HeadersReady
            | LookupEvent::Tick => {}
        }
        if !self.tries.is_empty() {
            self.judge_awaited(now, tree, &mut effects);
            self.lied_to |= effects
                .iter()
                .any(|effect| matches!(effect, LookupEffect::Report { .. }));
            self.advance(now, tree, &mut effects);
        }
        effects
    }

    /// Says what became of each attempt so far, in their order.
    pub fn accounts(&self) -> impl Iterator<Item = (Attempt, Account<'_>)> {
        (0..).zip(&self.tries).map(|(attempt, entry)| {
            let account = match &entry.state {
                State::Answered { outcome, .. } => Account::Answered(outcome),
                State::Failed(error) => Account::Failed(error),
                _ => Account::Open,
            };
            (attempt, account)
        })
    }

    /// Returns what the best answer so far is proved by, and in which attempt it came; `None` where nothing is proved.
    pub fn evidence(&self) -> Option<(Attempt, NameProof)> {
        let (attempt, _) = self.best()?;
        match self.state(attempt)? {
            State::Answered { evidence, .. } => Some((attempt, evidence.as_ref()?.proof())),
            _ => None,
        }
    }

    fn quorum(&self) -> usize {
        usize::from(self.settings.quorum.max(1))
    }

    fn max_attempts(&self) -> usize {
        if self.cut_off {
            return self.tries.len();
        }
        usize::from(self.settings.attempts.max(self.settings.quorum).max(1))
    }

    fn start(&mut self, now: Moment, effects: &mut Vec<LookupEffect>) {
        let Ok(attempt) = Attempt::try_from(self.tries.len()) else {
            return;
        };
        self.tries.push(Try {
            state: State::Asked,
            started: now,
            server: None,
        });
        effects.push(LookupEffect::Ask {
            attempt,
            request: LookupRequest::Name(self.name.scripthash()),
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

    fn is_open(&self, attempt: Attempt) -> bool {
        self.tries.get(usize::from(attempt)).is_some_and(Try::is_open)
    }

    /// Takes a proof. Which of its transactions are operations of the name is read off them alone.
    fn on_proof(
        &self,
        attempt: Attempt,
        now: Moment,
        tree: &HeaderTree,
        mut links: Vec<ProofLink>,
        effects: &mut Vec<LookupEffect>,
    ) -> State {
        if links.is_empty() {
            return State::purported(Outcome::NeverExisted);
        }
        if !links.iter().any(|link| proof::is_operation_of(&self.name, &link.tx)) {
            // Where an entry of an orphaned block is the newest, a server that sees an expiry behind it ends there.
            effects.push(LookupEffect::Ask {
                attempt,
                request: LookupRequest::History(self.name.scripthash()),
            });
            return State::Listing;
        }
        put_in_order(&mut links);
        let evidence = Evidence {
            links,
            complete: true,
            gone: 0,
        };
        self.judge(attempt, now, now + self.settings.header_grace, tree, evidence, effects)
    }

    /// Asks for what is still needed of a history, or judges what there is. `history` has what is left of the server's list
    /// without all that turned out to be something else, or gone: what the list needs in its place is asked for as well.
    fn fetch(
        &self,
        attempt: Attempt,
        now: Moment,
        tree: &HeaderTree,
        history: Vec<(Txid, Height)>,
        shown: Shown,
        effects: &mut Vec<LookupEffect>,
    ) -> State {
        let passed_over = shown.others + shown.gone;
        let got = shown.operations.len() + passed_over;
        if history.is_empty() {
            // It lists what is there and is something else: the name's operations were in orphaned blocks, all of them.
            if shown.gone == 0 {
                return State::purported(Outcome::NeverExisted);
            }
            return Self::refuse_proof(attempt, ProofError::NotOfTheName { got, passed_over }, tree, effects);
        }
        let max = self.settings.limits.max_entries;
        let needed = match proof::links_needed(&history, tree.params(), &self.settings.limits) {
            Ok(_) if got > max => return Self::refuse_proof(attempt, ProofError::TooManyLinks { max }, tree, effects),
            Ok(needed) => needed,
            Err(error) => return Self::refuse_proof(attempt, error, tree, effects),
        };
        let is_there = |entry: &(Txid, Height)| shown.operations.iter().any(|(of, _)| of == entry);
        let wanted: Vec<(Txid, Height)> = needed.iter().filter(|entry| !is_there(entry)).copied().collect();
        if !wanted.is_empty() {
            effects.push(LookupEffect::Ask {
                attempt,
                request: LookupRequest::Transactions(wanted.clone()),
            });
            return State::Fetching { history, wanted, shown };
        }
        let complete = history.iter().all(is_there);
        let mut links: Vec<ProofLink> = shown.operations.into_iter().map(|(_, link)| link).collect();
        put_in_order(&mut links);
        let evidence = Evidence {
            links,
            complete,
            gone: shown.gone,
        };
        self.judge(attempt, now, now + self.settings.header_grace, tree, evidence, effects)
    }

    fn on_transactions(
        &mut self,
        attempt: Attempt,
        now: Moment,
        tree: &HeaderTree,
        links: Vec<Option<ProofLink>>,
        effects: &mut Vec<LookupEffect>,
    ) {
        let Some(State::Fetching { history, wanted, shown }) = self.state(attempt) else {
            return;
        };
        let (mut history, mut shown) = (history.clone(), shown.clone());
        // The heights and txids asked for came from this server too, so this only keeps its replies in step.
        let same = wanted.len() == links.len()
            && wanted.iter().zip(&links).all(|((txid, height), link)| {
                link.as_ref().is_none_or(|link| {
                    link.height == *height
                        && deserialize::<bitcoin::Transaction>(&link.tx).is_ok_and(|tx| tx.compute_txid() == *txid)
                })
            });
        let mut passed_over = BTreeSet::new();
        for (entry, link) in wanted.iter().zip(links) {
            match link {
                Some(link) if proof::is_operation_of(&self.name, &link.tx) => shown.operations.push((*entry, link)),
                Some(_) => shown.others += usize::from(passed_over.insert(*entry)),
                // Where blocks were just replaced it is no longer where it was, and the next older operation is what is true
                // now. To hide an operation a server need not do this.
                None => shown.gone += usize::from(passed_over.insert(*entry)),
            }
        }
        history.retain(|entry| !passed_over.contains(entry));
        let state = if same {
            self.fetch(attempt, now, tree, history, shown, effects)
        } else {
            Self::refuse(attempt, LookupFault::OtherTransactions, effects)
        };
        self.set(attempt, state);
    }

    /// Judges what came before our headers were up to date. From here on an attempt has as long as if it had just begun.
    fn judge_unjudged(&mut self, now: Moment, tree: &HeaderTree, effects: &mut Vec<LookupEffect>) {
        for at in 0..self.tries.len() {
            let Ok(attempt) = Attempt::try_from(at) else { return };
            let Some(entry) = self.tries.get_mut(at) else { return };
            if let State::Unjudged { evidence } = &entry.state {
                let evidence = evidence.clone();
                entry.started = now;
                let until = now + self.settings.header_grace;
                let state = self.judge(attempt, now, until, tree, evidence, effects);
                self.set(attempt, state);
            }
        }
    }

    /// Judges what waited for headers, once there are others or they have been waited for long enough.
    fn judge_awaited(&mut self, now: Moment, tree: &HeaderTree, effects: &mut Vec<LookupEffect>) {
        let current = tree.tip().hash;
        for at in 0..self.tries.len() {
            let Ok(attempt) = Attempt::try_from(at) else { return };
            let (evidence, until) = match self.state(attempt) {
                Some(State::Ahead {
                    evidence, tip, until, ..
                }) if *tip != current || *until <= now => (evidence.clone(), *until),
                Some(State::Below {
                    evidence,
                    lowest,
                    until,
                }) if *lowest != tree.lowest() || *until <= now => (evidence.clone(), now),
                _ => continue,
            };
            let state = self.judge(attempt, now, until, tree, evidence, effects);
            self.set(attempt, state);
        }
    }

    /// Judges what does not fit to our chain by the headers that there are: nobody waits for others any more.
    fn judge_doubtful(&mut self, now: Moment, tree: &HeaderTree, effects: &mut Vec<LookupEffect>) {
        for at in 0..self.tries.len() {
            let Ok(attempt) = Attempt::try_from(at) else { return };
            if let Some(State::Ahead {
                evidence,
                doubtful: true,
                ..
            }) = self.state(attempt)
            {
                let state = self.judge(attempt, now, now, tree, evidence.clone(), effects);
                self.set(attempt, state);
            }
        }
    }

    /// Judges a proof by our headers; where these may be about to change, that waits until `until`.
    fn judge(
        &self,
        attempt: Attempt,
        now: Moment,
        until: Moment,
        tree: &HeaderTree,
        evidence: Evidence,
        effects: &mut Vec<LookupEffect>,
    ) -> State {
        if self.phase == Phase::BesideSync {
            return State::Unjudged { evidence };
        }
        let tip = tree.tip();
        let newest = evidence.links.first().map_or(0, |link| link.height);
        let proved = self.prove(tree, &evidence);
        match proved {
            Ok(name) => State::Answered {
                outcome: policy::judge(name, tip.height, tree.params(), &self.settings.policy),
                evidence: Some(evidence),
            },
            Err(ProofError::MissingHeader { height }) if tree.awaits(height) && now < self.below_until(attempt) => {
                State::Below {
                    evidence,
                    lowest: tree.lowest(),
                    until: self.below_until(attempt),
                }
            }
            // Headers are kept as far down as a living name can reach: what lies below is no server's fault.
            Err(ProofError::MissingHeader { .. }) if newest < tree.history_low() => {
                State::purported(Outcome::LongExpired { height: newest })
            }
            Err(ref error) if now < until && error.may_fit_later(tip.height) => State::Ahead {
                evidence,
                tip: tip.hash,
                until,
                doubtful: newest <= tip.height || newest - tip.height > UNSETTLED,
            },
            Err(ProofError::MissingHeader { height }) if height > tip.height.saturating_add(FAR_ABOVE) => {
                let fault = LookupFault::FarAbove {
                    shown: height,
                    tip: tip.height,
                };
                Self::refuse(attempt, fault, effects)
            }
            Err(ProofError::Merkle { .. })
                if evidence
                    .links
                    .iter()
                    .any(|link| proof::is_in_replaced_block(link, tree)) =>
            {
                Self::distrust(attempt, ProofError::Replaced, effects)
            }
            Err(error) => Self::refuse_proof(attempt, error, tree, effects),
        }
    }

    /// Returns until when an attempt may wait for headers below the anchor.
    fn below_until(&self, attempt: Attempt) -> Moment {
        let started = self.tries.get(usize::from(attempt)).map(|entry| entry.started);
        started.unwrap_or_default() + self.settings.history_grace
    }

    fn prove(&self, tree: &HeaderTree, evidence: &Evidence) -> Result<ProvenName, ProofError> {
        let proved = proof::verify(&self.name, &evidence.proof(), tree, &self.settings.limits);
        match proved {
            // What is gone may be the one that was to be spent.
            Err(ProofError::TooShort { .. } | ProofError::NoRegistration { .. } | ProofError::NotSpent { .. })
                if evidence.gone > 0 =>
            {
                Err(ProofError::NotOfTheName {
                    got: evidence.links.len() + evidence.gone,
                    passed_over: evidence.gone,
                })
            }
            proved => proved,
        }
    }

    fn refuse_proof(attempt: Attempt, error: ProofError, tree: &HeaderTree, effects: &mut Vec<LookupEffect>) -> State {
        // In a block that was just replaced a transaction is where an honest server, but not we, can see it.
        let replaced = match &error {
            ProofError::Merkle { height, .. } => height.saturating_add(UNSETTLED) > tree.tip().height,
            _ => false,
        };
        if error.is_server_fault() && !replaced {
            return Self::refuse(attempt, LookupFault::Proof(error), effects);
        }
        Self::distrust(attempt, error, effects)
    }

    fn distrust(attempt: Attempt, error: ProofError, effects: &mut Vec<LookupEffect>) -> State {
        effects.push(LookupEffect::Distrust(attempt));
        State::Failed(AttemptError::Unproved(error))
    }

    fn refuse(attempt: Attempt, fault: LookupFault, effects: &mut Vec<LookupEffect>) -> State {
        let error = AttemptError::Fault(fault.clone());
        effects.push(LookupEffect::Report { attempt, fault });
        State::Failed(error)
    }

    fn advance(&mut self, now: Moment, tree: &HeaderTree, effects: &mut Vec<LookupEffect>) {
        let timeout = self.settings.attempt_timeout;
        for (attempt, entry) in (0..).zip(&mut self.tries) {
            if entry.waits_for_server() && now.since(entry.started) >= timeout {
                entry.state = State::Failed(AttemptError::TimedOut { after: timeout });
                effects.push(LookupEffect::Abandon(attempt));
            }
        }
        if let Some(result) = self.verdict(tree.tip().height, effects) {
            self.phase = Phase::Finished;
            self.judge_doubtful(now, tree, effects);
            let open = (0..).zip(&self.tries).filter(|(_, entry)| entry.is_open());
            effects.extend(open.map(|(attempt, _)| LookupEffect::Abandon(attempt)));
            effects.push(LookupEffect::Finished(result));
            return;
        }
        for _ in 0..self.more_wanted(now) {
            self.start(now, effects);
        }
        let open = self.tries.iter().filter(|entry| entry.waits_for_server());
        let deadline = open.map(|entry| entry.started + timeout).min();
        let may_hedge = self.tries.len() < self.max_attempts() && !self.awaits_headers();
        let awaits_header = self
            .tries
            .iter()
            .any(|entry| matches!(entry.state, State::Ahead { .. } | State::Below { .. }));
        let poll = awaits_header.then(|| now + HEADER_POLL);
        let wakes = [deadline, self.hedge_at().filter(|_| may_hedge), poll];
        if let Some(at) = wakes.into_iter().flatten().filter(|at| *at > now).min() {
            effects.push(LookupEffect::WakeAt(at));
        }
    }

    fn awaits_headers(&self) -> bool {
        self.tries.iter().any(Try::waits_for_headers)
    }

    /// Returns the moment at which the last attempt counts as slow.
    fn hedge_at(&self) -> Option<Moment> {
        let newest = self.tries.iter().map(|entry| entry.started).max()?;
        Some(newest + self.settings.hedge_after)
    }

    /// Returns how many attempts to begin: as many as the quorum still lacks, one more when they are slow, and as many as
    /// it takes for a second opinion when the name was denied.
    fn more_wanted(&self, now: Moment) -> usize {
        // Whether it is enough is for the verdict to say, which waits for headers.
        if self.has_enough() {
            return 0;
        }
        let more = self.max_attempts().saturating_sub(self.tries.len());
        let (found, answered) = (self.found(), self.answers().count());
        let is_hopeful = |entry: &&Try| entry.is_open() && !matches!(entry.state, State::Ahead { doubtful: true, .. });
        let open = self.tries.iter().filter(is_hopeful).count();
        let lacking = if found == 0 && answered > 0 {
            let voices = self.independent_opinions().saturating_sub(self.voices());
            self.opinions().saturating_sub(answered).max(voices)
        } else {
            self.quorum().saturating_sub(found).max(1)
        };
        let is_slow = self.hedge_at().is_some_and(|at| now >= at);
        let hedge = usize::from(is_slow && !self.awaits_headers());
        lacking.saturating_sub(open).max(hedge).min(more)
    }

    /// Returns how many answers it takes to believe that a name has no value, which nobody can prove: an update may be hidden.
    fn opinions(&self) -> usize {
        self.quorum().max(OPINIONS)
    }

    /// Returns of how many operators these must be, as far as there are as many.
    fn independent_opinions(&self) -> usize {
        self.opinions().min(self.servers)
    }

    fn found(&self) -> usize {
        self.tries
            .iter()
            .filter(|entry| {
                matches!(
                    entry.state,
                    State::Answered {
                        outcome: Outcome::Found(_),
                        ..
                    }
                )
            })
            .count()
    }

    fn answers(&self) -> impl Iterator<Item = (Attempt, &Outcome)> + Clone {
        (0..)
            .zip(&self.tries)
            .filter_map(|(attempt, entry)| match &entry.state {
                State::Answered { outcome, .. } => Some((attempt, outcome)),
                _ => None,
            })
    }

    /// Returns the answer that counts: what is proved to be newest wins; of two alike the first one.
    fn best(&self) -> Option<(Attempt, &Outcome)> {
        self.answers()
            .max_by_key(|(attempt, outcome)| (age_key(outcome), u8::MAX - attempt))
    }

    /// Returns how many operators answered; one that answered twice, by whichever of his servers, has one voice.
    fn voices(&self) -> usize {
        let answered = self
            .tries
            .iter()
            .filter(|entry| matches!(entry.state, State::Answered { .. }));
        answered
            .filter_map(|entry| entry.server)
            .collect::<BTreeSet<usize>>()
            .len()
    }

    /// Says whether all answers are of servers that were learned of. These cost nothing to whoever wants many, so that a name
    /// has no value is never theirs alone to say, even where nobody else is reached.
    fn only_strangers_answered(&self) -> bool {
        let mut answered = self
            .tries
            .iter()
            .filter(|entry| matches!(entry.state, State::Answered { .. }));
        answered.all(|entry| entry.server == Some(STRANGERS))
    }

    /// Says whether as many answered as it takes.
    fn has_enough(&self) -> bool {
        let got = self.voices();
        let opinions = self.answers().count() >= self.opinions() && got >= self.independent_opinions();
        let denied = self.found() == 0 && opinions && !self.tries.iter().any(Try::is_open);
        got >= self.quorum() && (self.found() > 0 || denied)
    }

    /// Returns the result once no further answer could change it, or none can be had.
    fn verdict(&self, tip: Height, effects: &mut Vec<LookupEffect>) -> Option<Result<Outcome, LookupError>> {
        let (got, expected) = (self.voices(), self.quorum());
        let open = self.tries.iter().any(Try::is_open);
        let exhausted = !open && self.tries.len() >= self.max_attempts();
        let enough = self.has_enough();
        // What came is judged by the headers of then; where nothing did, it is known now.
        let has_come = got > 0 || self.tries.iter().any(Try::waits_for_headers);
        if !enough && !exhausted || self.phase == Phase::BesideSync && has_come {
            return None;
        }
        let best = self.best();
        let is_strangers_word = best.is_some() && self.found() == 0 && self.only_strangers_answered();
        if is_strangers_word {
            // Attempts keep their connections, so that the next lookup would ask the same ones.
            effects.extend(self.answers().map(|(attempt, _)| LookupEffect::Distrust(attempt)));
        }
        let Some((_, best)) = best.filter(|_| !is_strangers_word) else {
            let reasons = self.reasons();
            let connected = self.tries.iter().any(|entry| entry.server.is_some());
            return Some(Err(if self.cut_off && !connected {
                LookupError::Unreachable { reasons }
            } else {
                LookupError::NoAnswer {
                    reasons,
                    lied_to: self.lied_to,
                }
            }));
        };
        if got < expected {
            return Some(Err(LookupError::NoQuorum {
                got,
                expected,
                reasons: self.reasons(),
            }));
        }
        self.report_hiders(best, tip, effects);
        Some(Ok(best.clone()))
    }

    fn reasons(&self) -> Vec<AttemptError> {
        let reason = |entry: &Try| match &entry.state {
            State::Failed(reason) => Some(reason.clone()),
            _ => None,
        };
        self.tries.iter().filter_map(reason).collect()
    }

    /// Reports whoever showed less than what is proved.
    fn report_hiders(&self, best: &Outcome, tip: Height, effects: &mut Vec<LookupEffect>) {
        let Some(newest) = best.proven().map(|status| status.name.height()) else {
            return;
        };
        if newest.saturating_add(UNSETTLED) > tip {
            return;
        }
        for (attempt, outcome) in self.answers() {
            let fault = match outcome.height() {
                None => LookupFault::DeniedName { newest },
                Some(shown) if age_key(outcome) < age_key(best) => LookupFault::HidUpdate { shown, newest },
                Some(_) => continue,
            };
            effects.push(LookupEffect::Report { attempt, fault });
        }
    }
}

/// Puts what a server shows into the order that a proof has, newest first, and leaves out what it shows twice: where blocks
/// were replaced, its index may have them in another one.
fn put_in_order(links: &mut Vec<ProofLink>) {
    links.sort_by_key(|link| Reverse((link.height, link.pos)));
    links.dedup();
}

/// Orders outcomes by their newest operation: by height, in one block by position.
fn age_key(outcome: &Outcome) -> (Option<Height>, u32) {
    let pos = outcome.proven().map_or(0, |status| status.name.entry().pos());
    (outcome.height(), pos)
}
