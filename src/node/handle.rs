//! What the fronts may ask of a running node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::pow::Work;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::callers::{Callers, Found, Key};
use super::clock::Clock;
use super::connections::{Leases, Owner};
use super::daemon::DaemonSettings;
use super::header_sync::Lend;
use super::lookup_link::Dial;
use super::lookups::{self, Way};
use super::report::ServerResult;
use super::{Node, NodeError};
use crate::chain::sync::Progress;
use crate::chain::{Anchor, Height, Params, PureHeader, Tip};
use crate::isolation::{BlindedId, IsolationId};
use crate::name::lookup::LookupSettings;
use crate::name::policy::check_tip_age;
use crate::name::proof::ProvenEntry;
use crate::name::{NameId, Outcome};
use crate::net::pool::Counts;
use crate::net::{Pin, ServerAddr};
use crate::reputation::ServerReputation;

/// How long a proof waits for the header of a block that a server has and we don't: sync hears of new blocks at once,
/// but has them to fetch still.
const HEADER_GRACE: Duration = Duration::from_secs(10);

/// A question for a name.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name.
    pub name: NameId,
    /// Who asks; `None` when the caller gave no ID.
    pub isolation_id: Option<IsolationId>,
    /// Whether an expired value is wanted too, flagged as such.
    pub allow_expired: bool,
    /// How many servers must answer, where that is more than the node asks for anyway.
    pub quorum: Option<u8>,
}

/// An outcome, and the tip that its ages were counted from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was found out.
    pub outcome: Outcome,
    /// Our tip at that time.
    pub tip: Tip,
    /// How many headers were taken on the strength of a sample.
    pub unproved: usize,
}

/// How a running node stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The trust anchor.
    pub anchor: Anchor,
    /// Our tip.
    pub tip: Tip,
    /// Whether the headers are up to date, so that names can be looked up.
    pub synchronized: bool,
    /// How far header sync is.
    pub progress: Progress,
    /// How it goes with each server in header sync.
    pub servers: Vec<ServerResult>,
    /// How many headers were taken on the strength of a sample, and not proved yet themselves.
    pub unproved: usize,
    /// Connections of the lookups' pool.
    pub pool: Counts,
    /// Since the start.
    pub uptime: Duration,
}

/// What the node's tasks share. Locked for moments only, never while a task waits.
pub(super) struct State {
    pub(super) node: Node,
    pub(super) callers: Callers,
    pub(super) synchronized: bool,
    pub(super) progress: Progress,
    pub(super) servers: Vec<ServerResult>,
    pub(super) counts: Counts,
}

pub(super) struct Shared {
    state: Mutex<State>,
    leases: Leases,
    /// A permit for each lookup in work. A semaphore counts to less than a `usize` can.
    lookups: Arc<Semaphore>,
    clock: Clock,
    settings: DaemonSettings,
    /// What isolation IDs are hashed with, so that memory holds none of them.
    id_key: [u8; 32],
    stop: watch::Sender<bool>,
    forgetting: Mutex<Vec<Forgetting>>,
}

/// What a front does when an identity is forgotten; `None`: all of them. It is told the identity as
/// [`Handle::blinded`] returns it.
type Forgetting = Box<dyn Fn(Option<&BlindedId>) + Send + Sync>;

/// A way to a running node; clones lead to the same one.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl Handle {
    pub(super) fn new(node: Node, settings: &DaemonSettings, leases: Leases) -> Self {
        let clock = node.clock();
        let state = State {
            callers: Callers::new(settings.cache),
            synchronized: false,
            progress: Progress {
                done: 0,
                total: 0,
                connections: 0,
            },
            servers: Vec::new(),
            counts: Counts::default(),
            node,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            leases,
            lookups: Arc::new(Semaphore::new(settings.lookups.min(Semaphore::MAX_PERMITS))),
            clock,
            settings: *settings,
            id_key: rand::random(),
            stop: watch::Sender::new(false),
            forgetting: Mutex::new(Vec::new()),
        }))
    }

    /// A task that panicked cannot have left the state half-changed: nothing in it panics between two changes.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> &DaemonSettings {
        &self.0.settings
    }

    /// Returns the network's constants.
    pub fn params(&self) -> &'static Params {
        self.state().node.tree().params()
    }

    /// Looks a name up under the caller's isolation ID.
    ///
    /// # Errors
    ///
    /// [`NodeError::Syncing`] or [`NodeError::NotSynchronized`] while headers are not up to date,
    /// [`NodeError::Busy`] when it is one lookup too many, else [`NodeError::Lookup`] when it comes to no outcome.
    pub async fn name_show(&self, question: Question) -> Result<Answer, NodeError> {
        let Question {
            name,
            isolation_id,
            allow_expired,
            quorum,
        } = question;
        let (id, apart) = self.identity(isolation_id);
        let key = Key {
            name,
            allow_expired,
            quorum: self.0.settings.lookup.quorum.max(quorum.unwrap_or(0)),
        };
        let mut pending = {
            let mut state = self.state();
            self.check_ready(&state)?;
            let (tip, now) = (state.node.tree().tip().hash, self.0.clock.now().steady);
            match state.callers.find(&id, &key, tip, now) {
                Found::Answer(answer, tell) => {
                    if tell {
                        self.0.leases.note_use(id);
                    }
                    return Ok(*answer);
                }
                Found::Pending(pending) => pending,
                Found::Nothing { life } => {
                    let permit = self.permit().inspect_err(|_| {
                        // Whoever learns nothing leaves nothing.
                        state.callers.end(&id, life, &key, None, now);
                    })?;
                    let (result, pending) = watch::channel(None);
                    state.callers.begin(&id, key.clone(), pending.clone());
                    // In a task of its own: who asked first may leave while others wait for the same.
                    let node = self.clone();
                    tokio::spawn(async move {
                        let answer = node.look_up(&id, &key).await;
                        let now = node.0.clock.now().steady;
                        node.state().callers.end(&id, life, &key, answer.as_ref().ok(), now);
                        if apart {
                            node.0.leases.forget(Some(id));
                        }
                        // Who has the answer may ask again.
                        drop(permit);
                        result.send_replace(Some(answer));
                    });
                    pending
                }
            }
        };
        let answer = pending.wait_for(Option::is_some).await;
        answer
            .ok()
            .and_then(|answer| answer.clone())
            .unwrap_or(Err(NodeError::Stopped))
    }

    /// Takes one of the places for lookups, which is held until its lookup ends, whoever has left meanwhile.
    fn permit(&self) -> Result<OwnedSemaphorePermit, NodeError> {
        let limit = self.0.settings.lookups;
        let permit = Arc::clone(&self.0.lookups).try_acquire_owned();
        permit.map_err(|_| NodeError::Busy { limit })
    }

    async fn look_up(&self, id: &BlindedId, key: &Key) -> Result<Answer, NodeError> {
        let way = Way::Lease(self.0.leases.clone(), *id, key.quorum > 1);
        let mut settings: LookupSettings = self.0.settings.lookup;
        settings.policy.allow_expired = key.allow_expired;
        settings.quorum = key.quorum;
        settings.header_grace = HEADER_GRACE;
        let outcome = lookups::look_up(self.clone(), &key.name, settings, &way).await?;
        let state = self.state();
        let tree = state.node.tree();
        Ok(Answer {
            outcome,
            tip: tree.tip(),
            unproved: tree.unproved(),
        })
    }

    /// Returns all operations of a name that can be proved, oldest first, and our tip.
    ///
    /// # Errors
    ///
    /// As [`Self::name_show`], with [`NodeError::History`] when no server gives a usable history.
    pub async fn name_history(&self, question: Question) -> Result<(Vec<ProvenEntry>, Tip), NodeError> {
        let (id, apart) = self.identity(question.isolation_id);
        self.check_ready(&self.state())?;
        let _permit = self.permit()?;
        let way = Way::Lease(self.0.leases.clone(), id, false);
        let history = lookups::history(self.clone(), &question.name, self.0.settings.lookup, &way).await;
        if apart {
            self.0.leases.forget(Some(id));
        }
        let (entries, _) = history?;
        Ok((entries, self.state().node.tree().tip()))
    }

    /// Returns the identity that a request belongs to, and whether it is for this request alone. Absence is the default
    /// identity, which an empty ID is too.
    fn identity(&self, id: Option<IsolationId>) -> (BlindedId, bool) {
        let given = id.filter(|id| !id.as_bytes().is_empty());
        let apart = given.is_none() && self.0.settings.anonymous_apart;
        let key = if apart {
            rand::random::<[u8; 32]>()
        } else {
            self.0.id_key
        };
        (given.unwrap_or_default().blinded(&key), apart)
    }

    fn check_ready(&self, state: &State) -> Result<(), NodeError> {
        if !state.synchronized {
            let Progress { done, total, .. } = state.progress;
            return Err(NodeError::Syncing { done, total });
        }
        let tree = state.node.tree();
        check_tip_age(&tree.tip(), self.0.clock.now().wall, tree.params()).map_err(|reason| {
            NodeError::NotSynchronized {
                reason,
                servers: state.servers.clone(),
            }
        })
    }

    /// Returns how the node stands.
    pub fn standing(&self) -> Standing {
        let uptime = Duration::from_millis(self.0.clock.now().steady.0);
        let state = self.state();
        Standing {
            anchor: *state.node.tree().anchor(),
            tip: state.node.tree().tip(),
            synchronized: state.synchronized,
            progress: state.progress,
            servers: state.servers.clone(),
            unproved: state.node.tree().unproved(),
            pool: state.counts,
            uptime,
        }
    }

    /// Returns what an identity is known by here, which tells nobody what its ID was.
    pub fn blinded(&self, id: &IsolationId) -> BlindedId {
        id.blinded(&self.0.id_key)
    }

    /// Has a front forget identities along with the node: when a caller asks for it, and when they were not used for
    /// long. It is told them as [`Self::blinded`] returns them; `None`: all.
    pub fn forget_along(&self, forget: impl Fn(Option<&BlindedId>) + Send + Sync + 'static) {
        self.forgetting().push(Box::new(forget));
    }

    fn forgetting(&self) -> MutexGuard<'_, Vec<Forgetting>> {
        self.0.forgetting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_in_fronts(&self, id: Option<&BlindedId>) {
        for forget in self.forgetting().iter() {
            forget(id);
        }
    }

    /// Returns the newest block's hash.
    pub fn tip_hash(&self) -> BlockHash {
        self.state().node.tree().tip().hash
    }

    /// Returns the best chain's header at a height, if known.
    pub fn header_at(&self, height: Height) -> Option<PureHeader> {
        self.state().node.tree().header_at(height)
    }

    /// Returns the height of a header on the best chain.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        let state = self.state();
        let height = state.node.tree().height_of(hash)?;
        (state.node.tree().hash_at(height).as_ref() == Some(hash)).then_some(height)
    }

    /// Returns the total work up to a height of the best chain, as far as it can be known: `None` below the anchor.
    pub fn chainwork_at(&self, height: Height) -> Option<Work> {
        self.state().node.tree().chainwork_at(height)
    }

    /// Forgets an isolation ID: its connections are closed, what is cached for it is dropped. `None` forgets all. No
    /// lookup that begins after this returns has anything of what was before.
    pub fn forget(&self, id: Option<IsolationId>) {
        let id = id.map(|id| self.blinded(&id));
        // The pool does so as well, but only when its turn comes.
        match &id {
            Some(id) => self.state().callers.forget(id),
            None => self.state().callers.forget_all(),
        }
        self.forget_in_fronts(id.as_ref());
        self.0.leases.forget(id);
    }

    /// Asks the node to stop.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Waits until somebody asks the node to stop.
    pub async fn stopped(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

impl Lend for Handle {
    fn with<T>(&mut self, work: impl FnOnce(&mut Node) -> T) -> T {
        work(&mut self.state().node)
    }
}

impl Owner for Handle {
    fn dial(&self, server: usize) -> Option<Dial> {
        let state = self.state();
        let address = state.node.servers().get(server)?;
        Some(state.node.lookup_dial(server, address))
    }

    fn learn_pin(&self, server: &ServerAddr, pin: Pin) {
        self.state().node.learn_pin(server, pin);
    }

    fn forgotten(&self, id: &BlindedId) {
        self.state().callers.forget(id);
        self.forget_in_fronts(Some(id));
    }

    fn with_reputation<T>(&self, work: impl FnOnce(&mut ServerReputation) -> T) -> T {
        work(self.state().node.reputation_mut())
    }

    fn counted(&self, counts: Counts) {
        self.state().counts = counts;
    }
}
