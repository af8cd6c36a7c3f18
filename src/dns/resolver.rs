//! Carries questions out: what is not known is looked up, under the isolation ID of the question and once at a time.
//!
//! No question waits for another one's lookup but where both have the same ID and need the same name. What would be too
//! much at once is refused, not queued: in a queue one ID would feel the other.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::sync::watch;
use tokio::time::{Instant as Deadline, timeout_at};

use super::backend::Backend;
use super::book::{Book, CacheSettings, Held, Instant, Key, Known};
use super::engine::{self, Found, Note, Reply, Step};
use super::message::Query;
use super::replies::Replies;
use super::secure::{Signers, secure};
use crate::isolation::{BlindedId, IsolationId};
use crate::name::NameId;
use crate::node::Clock;

/// How questions without an isolation ID are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Not at all: they are all of the default identity.
    #[default]
    Together,
    /// By the address that they come from.
    ByAddress,
    /// By address and port: by socket, that is.
    ByPort,
    /// Each is an identity of its own, and nothing is remembered for it.
    Apart,
}

/// Bounds and waits of the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a question waits for lookups. They go on without it, so that it can be asked again.
    pub patience: Duration,
    /// Most lookups at once.
    pub lookups: usize,
    /// Most lookups at once under one isolation ID.
    pub lookups_of_one: usize,
    /// Most lookups for one question, imports and glue of other names included.
    pub lookups_of_question: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            lookups: 512,
            lookups_of_one: 256,
            lookups_of_question: 64,
        }
    }
}

/// How questions are answered.
#[derive(Debug)]
pub struct Settings {
    /// What is served.
    pub engine: engine::Settings,
    /// What signs it.
    pub signers: Signers,
    /// What is remembered.
    pub cache: CacheSettings,
    /// Bounds and waits.
    pub limits: Limits,
    /// How questions without an isolation ID are told apart.
    pub anonymous: Anonymous,
}

/// Whose question it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What the book knows it by.
    key: BlindedId,
    /// What the backend is told.
    told: Option<IsolationId>,
    /// Whether it is for this question alone.
    once: bool,
}

impl Identity {
    /// Returns a number that is always the same for one identity of this process, and tells nothing of it.
    pub fn choice(&self) -> u64 {
        let bytes = self.key.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    }
}

/// Tells what is known of a name whose records an apex owns.
pub type Knowing<'a> = &'a mut dyn FnMut(&NameId, &Name) -> Found;

/// A lookup on its way: its number, and where its result will be.
type Flight = (u64, watch::Receiver<Option<Known>>);

struct State {
    book: Book,
    flights: HashMap<Key, Flight>,
    begun: u64,
}

/// Answers questions.
pub struct Resolver {
    backend: Backend,
    settings: Settings,
    clock: Clock,
    /// What isolation IDs are hashed with, so that the book holds none of them.
    key: [u8; 32],
    /// What the default identity is known by.
    nobody: BlindedId,
    state: Mutex<State>,
    replies: Mutex<Replies>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver(..)")
    }
}

impl Resolver {
    /// Makes a resolver. With a node behind it, it forgets whom that forgets.
    pub fn new(backend: Backend, settings: Settings) -> Arc<Self> {
        let key = rand::random();
        let resolver = Arc::new(Self {
            clock: Clock::start(),
            nobody: backend.blinded(&IsolationId::default(), &key),
            key,
            replies: Mutex::default(),
            state: Mutex::new(State {
                book: Book::new(settings.cache),
                flights: HashMap::new(),
                begun: 0,
            }),
            backend,
            settings,
        });
        if let Backend::Node(node) = &resolver.backend {
            let bound = Arc::downgrade(&resolver);
            node.forget_along(move |key| {
                if let Some(resolver) = bound.upgrade() {
                    resolver.forget(key);
                }
            });
        }
        resolver
    }

    /// A task that panicked cannot have left the state half-changed: nothing in it panics between two changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whose question it is that comes from an address.
    pub fn identity(&self, query: &Query, from: SocketAddr) -> Identity {
        let told = match (&query.isolation_id, self.source(from)) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(source)) if source.is_empty() => None,
            (None, Some(source)) => self.made_up(&source),
            (None, None) => self.made_up(&rand::random::<[u8; 32]>()),
        };
        Identity {
            once: query.isolation_id.is_none() && self.settings.anonymous == Anonymous::Apart,
            ..self.identified(told.as_ref())
        }
    }

    /// Makes an ID that nobody can pass by guessing: text, since some backends take nothing else.
    fn made_up(&self, of: &[u8]) -> Option<IsolationId> {
        let blinded = IsolationId::new(of)?.blinded(&self.key);
        let text = bitcoin::hex::DisplayHex::to_lower_hex_string(blinded.as_bytes());
        IsolationId::new(format!("dns-client-{text}").as_bytes())
    }

    /// Forgets all that was looked up under an identity, which is told as [`Handle::blinded`] returns it; `None`: under
    /// any. What is being looked up is not remembered.
    ///
    /// [`Handle::blinded`]: crate::node::Handle::blinded
    fn forget(&self, key: Option<&BlindedId>) {
        let mut state = self.state();
        state.book.forget(key);
        state
            .flights
            .retain(|flight, _| key.is_some_and(|key| flight.id != *key));
        drop(state);
        // Whose they are is not known, and they live for a second only.
        self.replies().clear();
    }

    fn replies(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the reply to a message off the wire if the very same was there a moment ago.
    pub fn repeated(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let at = self.instant();
        let source = self.source(from)?;
        self.replies().find(&source, message, at)
    }

    /// Remembers the reply to a message, which was made at once, for the next moment.
    pub fn note_reply(&self, message: &[u8], from: SocketAddr, reply: &[u8]) {
        if let Some(source) = self.source(from) {
            self.replies().store(&source, message, reply, self.instant());
        }
    }

    /// Returns what tells a caller apart beside what is in the query: nothing where all are one, `None` when no two queries
    /// may be one caller's.
    fn source(&self, from: SocketAddr) -> Option<Vec<u8>> {
        match self.settings.anonymous {
            Anonymous::Together => Some(Vec::new()),
            Anonymous::ByAddress => Some(from.ip().to_string().into_bytes()),
            Anonymous::ByPort => Some(from.to_string().into_bytes()),
            Anonymous::Apart => None,
        }
    }

    /// Answers a question if nothing has to be looked up for it.
    pub fn answer_at_once(&self, query: &Query, identity: &Identity) -> Option<Reply> {
        let reply = self.decide(identity, &Held::new(), |known| self.reply(query, known));
        reply.ok().map(|reply| self.secured(reply, query))
    }

    /// Answers a question.
    pub async fn answer(self: &Arc<Self>, query: &Query, identity: &Identity) -> Reply {
        let deadline = Deadline::now() + self.settings.limits.patience;
        let reply = self.settle(identity, deadline, |known| self.reply(query, known)).await;
        // No further query has this ID.
        if let (true, Some(id), Backend::Node(_)) = (identity.once, &identity.told, &self.backend) {
            self.backend.forget(id).await;
        }
        self.secured(reply, query)
    }

    /// Has looked up what a decision needs, under an isolation ID, until `step` comes to it. What is not known by the
    /// deadline has failed.
    pub async fn settle<T>(
        self: &Arc<Self>,
        who: &Identity,
        deadline: Deadline,
        mut step: impl FnMut(Knowing<'_>) -> Result<T, BTreeSet<NameId>>,
    ) -> T {
        let mut held = Held::new();
        // Each round looks something up that was not held before, or ends.
        loop {
            let needed = match self.decide(who, &held, &mut step) {
                Ok(settled) => return settled,
                Err(needed) => needed,
            };
            self.look_up(needed, who, deadline, &mut held).await;
        }
    }

    /// Returns who has this isolation ID; `None` is the default identity.
    pub fn identified(&self, id: Option<&IsolationId>) -> Identity {
        Identity {
            key: id.map_or_else(|| self.nobody, |id| self.backend.blinded(id, &self.key)),
            told: id.cloned(),
            once: false,
        }
    }

    /// Forgets an isolation ID, here and where lookups went.
    pub async fn forget_id(&self, id: &IsolationId) {
        self.forget(Some(&self.backend.blinded(id, &self.key)));
        self.backend.forget(id).await;
    }

    /// Returns what is served.
    pub fn engine(&self) -> &engine::Settings {
        &self.settings.engine
    }

    /// Decides by what is held and what is remembered for an identity.
    fn decide<T>(&self, who: &Identity, held: &Held, decide: impl FnOnce(Knowing<'_>) -> T) -> T {
        let at = self.instant();
        let mut state = self.state();
        decide(&mut |name, apex| state.book.find(&who.key, name, apex, held, at))
    }

    /// Replies to a query, or says what must be looked up first.
    fn reply(&self, query: &Query, known: Knowing<'_>) -> Result<Reply, BTreeSet<NameId>> {
        match engine::answer(&self.settings.engine, &query.question, known) {
            Step::Reply(reply) => Ok(*reply),
            Step::Need(names) => Err(names),
        }
    }

    fn instant(&self) -> Instant {
        Instant {
            now: self.clock.now().steady,
            epoch: self.backend.newest_block(),
        }
    }

    fn secured(&self, reply: Reply, query: &Query) -> Reply {
        secure(reply, query, &self.settings.signers, self.clock.now().wall)
    }

    /// Looks names up side by side, and holds what they come to.
    async fn look_up(self: &Arc<Self>, names: BTreeSet<NameId>, who: &Identity, deadline: Deadline, held: &mut Held) {
        let mut flights = Vec::with_capacity(names.len());
        for name in names {
            let room = held.len() + flights.len() < self.settings.limits.lookups_of_question;
            match room.then(|| self.begin(&name, who)).flatten() {
                Some(flight) => flights.push((name, flight)),
                None => {
                    held.insert(name, Known::Failed(Note::Busy));
                }
            }
        }
        for (name, mut flight) in flights {
            let known = match timeout_at(deadline, flight.wait_for(Option::is_some)).await {
                Ok(Ok(known)) => known.clone(),
                Ok(Err(_)) => None,
                Err(_) => Some(Known::Failed(Note::Timeout)),
            };
            held.insert(name, known.unwrap_or(Known::Failed(Note::NoBackend)));
        }
    }

    /// Begins to look a name up, or joins who does already under the same ID; `None` when too much goes on.
    fn begin(self: &Arc<Self>, name: &NameId, who: &Identity) -> Option<watch::Receiver<Option<Known>>> {
        let key = Key {
            id: who.key,
            name: name.clone(),
        };
        let mut state = self.state();
        if let Some((_, flight)) = state.flights.get(&key)
            && flight.has_changed().is_ok()
        {
            return Some(flight.clone());
        }
        let limits = &self.settings.limits;
        let of_one = state.flights.keys().filter(|flight| flight.id == key.id).count();
        if state.flights.len() >= limits.lookups || of_one >= limits.lookups_of_one {
            return None;
        }
        state.begun += 1;
        let number = state.begun;
        let (result, flight) = watch::channel(None);
        state.flights.insert(key.clone(), (number, flight.clone()));
        drop(state);
        let (resolver, who, epoch) = (Arc::clone(self), who.clone(), self.backend.newest_block());
        // In a task of its own: who asked may lose patience, and ask again.
        tokio::spawn(async move {
            let known = resolver.backend.look_up(&key.name, who.told.as_ref()).await;
            let now = resolver.clock.now().steady;
            let mut state = resolver.state();
            // Who was forgotten meanwhile is not remembered.
            if state.flights.get(&key).is_some_and(|(other, _)| *other == number) {
                state.flights.remove(&key);
                if !who.once {
                    state.book.store(key, known.clone(), Instant { now, epoch });
                }
            }
            drop(state);
            result.send_replace(Some(known));
        });
        Some(flight)
    }
}
