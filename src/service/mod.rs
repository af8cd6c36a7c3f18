//! The one path of every question for a name, below all fronts.
//!
//! ```text
//! command │ rpc │ dns │ naming (tor, socks, prop279)
//!    └──► NameService
//!            ├── ResultCache, by BlindedId
//!            └──► Source { Local(node::Handle) │ Remote(jsonrpc::Client) }
//! ```
//!
//! A front hands in a raw isolation ID; it ends here. What is remembered and what the node is asked under is its
//! [`BlindedId`]; only a server behind JSON-RPC is told the ID itself, since it must keep its callers apart too.
//!
//! No question waits for another one's lookup but where both have the same identity and need the same name. What would be
//! too much at once is refused, not queued: in a queue one identity would feel the other. Each front has its own share of
//! what may be in work and of what is remembered ([`Caller`]), and so has each of its clients where it tells them apart.

mod answer;
mod daemon;
pub(crate) mod places;
mod remote;
mod result_cache;
#[cfg(test)]
mod slow_disk_tests;
pub mod tally;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::answer::{Answer, NameResult, ServiceError, Stated};
pub use self::daemon::{Daemon, DaemonSettings, Fronts, run_daemon};
use self::places::{Place, Places};
pub use self::remote::Backend;
use self::remote::Remote;
pub use self::result_cache::{Begun, CacheSettings, CacheTime, Caller, Derived, Holder, Pending, ResultCache};
use self::tally::{Came, Tally};
use crate::chain::Tip;
use crate::isolation::{BlindedId, IsolationId};
use crate::name::NameId;
use crate::name::proof::ProvenEntry;
use crate::net::pool::PoolCaller;
use crate::node::{Clock, Explanation, Handle, NameRequest, NodeError};
use crate::time::{AgingTime, Moment};

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
    /// The longest ago that what is answered may have been asked for; `None`: as long as it is remembered.
    pub max_age: Option<Duration>,
}

/// How long an identity lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    /// Until it is forgotten.
    Lasting,
    /// For one lookup, after which it is forgotten; nothing is remembered for it.
    OneLookup,
    /// For one question of a front, which says when that is answered; nothing is remembered for it.
    OneQuestion,
}

/// Who asks, as it is known here. Two questions of equal identities may be linked with each other.
#[derive(Clone)]
pub struct Identity {
    id: BlindedId,
    /// What a server behind JSON-RPC is told; nothing in a process with a node.
    raw: Option<IsolationId>,
    lifetime: Lifetime,
    /// Which client of a front it is, where that tells its clients apart.
    client: Option<u64>,
}

impl Identity {
    /// Returns a number that is always the same for one identity of this process, and tells nothing of it.
    pub fn choice(&self) -> u64 {
        let bytes = self.id.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    }

    /// Returns which client of the front it is, where that tells its clients apart.
    pub fn client(&self) -> Option<u64> {
        self.client
    }

    /// Says which client of the front asks: clients that the front tells apart must not feel each other.
    #[must_use]
    pub fn of_client(self, client: u64) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }

    /// Has nothing remembered for this identity: it is for one question, at whose end it is forgotten
    /// ([`NameService::end_question`]).
    #[must_use]
    pub fn for_one_question(self) -> Self {
        Self {
            lifetime: Lifetime::OneQuestion,
            ..self
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// How much one front may have in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerLimits {
    /// Most lookups and histories at a time, whether somebody waits for them still or not; more are refused.
    pub lookups: usize,
    /// Most lookups at a time under one identity.
    pub lookups_of_one: usize,
    /// Most lookups at a time for one client, where the front tells its clients apart.
    pub lookups_of_client: usize,
}

/// Where names are looked up.
#[derive(Debug)]
enum Source {
    Local(Handle),
    Remote(Box<Remote>),
}

impl Source {
    /// Brings what is known of a request up to the newest block.
    fn rejudge(&self, cache: &mut ResultCache, id: BlindedId, request: &NameRequest, at: CacheTime) {
        if let Self::Local(node) = self {
            cache.rejudge(id, request, at, |proved| node.rejudge(proved, request));
        }
    }
}

/// What a question takes for an answer.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// A failure of a moment ago.
    takes_failures: bool,
    /// Nothing that was asked for longer ago.
    max_age: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    cache: Arc<Mutex<ResultCache>>,
    /// What isolation IDs are hashed with, so that memory holds none of them.
    key: [u8; 32],
    clock: Clock,
    /// What IDs are hashed with before a server behind JSON-RPC is told them, since all identities were forgotten.
    renewal: Mutex<Option<[u8; 32]>>,
    /// By which results age.
    aging: Mutex<AgingTime>,
    /// Whether each question without an ID is an identity of its own.
    isolate_anonymous: bool,
    fronts: Fronts,
    tally: Arc<Tally>,
}

/// A front's way to names; clones lead to the same one.
#[derive(Clone)]
pub struct NameService {
    shared: Arc<Shared>,
    caller: Caller,
    limits: CallerLimits,
    /// One for each lookup in work.
    places: Arc<Places>,
}

impl fmt::Debug for NameService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameService(..)")
    }
}

/// What becomes of a request at once.
enum Start {
    Known(NameResult),
    Pending(Pending),
}

impl NameService {
    /// Asks the node of this process. `cache` is the one that forgets along with the node.
    fn local(node: Handle, cache: Arc<Mutex<ResultCache>>, settings: &DaemonSettings) -> Self {
        let limits = CallerLimits {
            lookups: settings.lookups,
            lookups_of_one: settings.lookups,
            lookups_of_client: settings.lookups,
        };
        Self::new(
            Source::Local(node),
            cache,
            limits,
            settings.isolate_anonymous,
            settings.fronts,
        )
    }

    /// Asks a server behind JSON-RPC, whose word is taken. With a quorum above 1 it is to ask so many others itself, which
    /// Isonym does and nobody else.
    pub fn remote(backend: impl Into<Backend>, cache: CacheSettings, quorum: u8) -> Self {
        let cache = Arc::new(Mutex::new(ResultCache::new(cache)));
        let lookups = DaemonSettings::default().lookups;
        let limits = CallerLimits {
            lookups,
            lookups_of_one: lookups,
            lookups_of_client: lookups,
        };
        Self::new(
            Source::Remote(Box::new(Remote::new(backend.into(), quorum))),
            cache,
            limits,
            false,
            Fronts::default(),
        )
    }

    fn new(
        source: Source,
        cache: Arc<Mutex<ResultCache>>,
        limits: CallerLimits,
        isolate_anonymous: bool,
        fronts: Fronts,
    ) -> Self {
        let clock = match &source {
            Source::Local(node) => node.clock(),
            Source::Remote(_) => Clock::start(),
        };
        let shared = Shared {
            source,
            cache,
            key: rand::random(),
            clock,
            renewal: Mutex::new(None),
            aging: Mutex::default(),
            isolate_anonymous,
            fronts,
            tally: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
            caller: Caller::Program,
            limits,
            places: Places::new(limits.lookups, limits.lookups_of_client),
        }
    }

    /// Returns the same service for another front, with its own share of what may be in work.
    #[must_use]
    pub fn for_caller(&self, caller: Caller, limits: CallerLimits) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            caller,
            limits,
            places: Places::new(limits.lookups, limits.lookups_of_client),
        }
    }

    /// Returns what all fronts count in.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.shared.tally)
    }

    /// Returns how many results are remembered over all fronts, and the bytes that they take.
    #[doc(hidden)]
    pub fn remembered(&self) -> (usize, usize) {
        self.cache().size()
    }

    /// Returns the limits that a front has where nothing else is said.
    pub fn limits(&self) -> CallerLimits {
        self.limits
    }

    /// A task that panicked cannot have left the cache half-changed: nothing in it panics between two changes.
    fn cache(&self) -> MutexGuard<'_, ResultCache> {
        self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest block, where the source tells of blocks.
    fn tip(&self) -> Option<bitcoin::BlockHash> {
        match &self.shared.source {
            Source::Local(node) => Some(node.tip_hash()),
            Source::Remote(_) => None,
        }
    }

    /// Returns the time, with the newest block beside it.
    fn time(&self, tip: Option<bitcoin::BlockHash>) -> CacheTime {
        CacheTime { now: self.now(), tip }
    }

    /// Returns the moment by which results age: what was true before the machine slept need not be when it wakes.
    fn now(&self) -> Moment {
        let mut aging = self.shared.aging.lock().unwrap_or_else(PoisonError::into_inner);
        aging.moment(self.shared.clock.now())
    }

    /// Returns who has this isolation ID; `None`, and the empty ID, are the default identity.
    pub fn identity(&self, id: Option<&IsolationId>) -> Identity {
        let given = id.filter(|id| !id.as_bytes().is_empty());
        Identity {
            id: given.unwrap_or(&IsolationId::default()).blinded(&self.shared.key),
            raw: match &self.shared.source {
                Source::Local(_) => None,
                Source::Remote(_) => given.map(|id| self.told(id)),
            },
            lifetime: Lifetime::Lasting,
            client: None,
        }
    }

    /// Returns what a server behind JSON-RPC is told in place of an ID: itself, until all identities are forgotten, then what
    /// nobody there can connect with that.
    fn told(&self, id: &IsolationId) -> IsolationId {
        let renewal = *self.shared.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = renewal.and_then(|key| {
            let text = bitcoin::hex::DisplayHex::to_lower_hex_string(id.blinded(&key).as_bytes());
            // It is far from being too long.
            IsolationId::new(format!("renewed-{text}").as_bytes())
        });
        renewed.unwrap_or_else(|| id.clone())
    }

    /// Returns the identity of a request with this ID: where anonymous requests are kept apart, one without an ID has an
    /// identity of its own.
    fn requester(&self, id: Option<&IsolationId>) -> Identity {
        let is_anonymous = id.is_none_or(|id| id.as_bytes().is_empty());
        if !(is_anonymous && self.shared.isolate_anonymous) {
            return self.identity(id);
        }
        let key: [u8; 32] = rand::random();
        Identity {
            id: IsolationId::default().blinded(&key),
            raw: None,
            lifetime: Lifetime::OneLookup,
            client: None,
        }
    }

    /// Returns who asks, for the pool. Connections that are opened ahead are dealt among the fronts that run; others, and
    /// clients that are told apart, open their own.
    fn pool_caller(&self, who: &Identity) -> PoolCaller {
        let front = self.caller as u64;
        PoolCaller {
            // Numbers of clients are hashes: the few that are as small as fronts' do no harm but to share their room.
            number: who.client.unwrap_or(front),
            part: self.shared.fronts.part_of(self.caller).filter(|_| who.client.is_none()),
        }
    }

    /// Looks a name up under the caller's isolation ID.
    ///
    /// # Errors
    ///
    /// [`NodeError::Syncing`] or [`NodeError::NotSynchronized`] while headers are not up to date,
    /// [`ServiceError::Busy`] when it is one lookup too many, else why it comes to no outcome.
    pub async fn name_show(&self, question: &Question) -> NameResult {
        let tip = match &self.shared.source {
            Source::Local(node) => Some(match node.check_ready() {
                Err(NodeError::Syncing { .. }) if node.settings().asks_beside_sync => node.tip_hash(),
                ready => ready?,
            }),
            Source::Remote(_) => None,
        };
        let who = self.requester(question.isolation_id.as_ref());
        let request = self.request(&question.name, question.allow_expired, question.quorum);
        let manner = Manner {
            takes_failures: false,
            max_age: question.max_age,
        };
        match self.start(&who, request, manner, self.time(tip))? {
            Start::Known(result) => result,
            Start::Pending(pending) => wait(pending).await,
        }
    }

    /// Returns all operations of a name that can be proved, oldest first, our tip, and how many older ones lie below all
    /// headers that are kept.
    ///
    /// # Errors
    ///
    /// As [`Self::name_show`]; [`ServiceError::NothingProved`] where the source is a server behind JSON-RPC.
    pub async fn name_history(&self, question: &Question) -> Result<(Vec<ProvenEntry>, Tip, usize), ServiceError> {
        let Source::Local(node) = &self.shared.source else {
            return Err(ServiceError::NothingProved);
        };
        node.check_ready()?;
        let who = self.requester(question.isolation_id.as_ref());
        let _place = self.place(&who)?;
        let history = node.name_history(who.id, self.pool_caller(&who), &question.name).await;
        if who.lifetime != Lifetime::Lasting {
            node.forget(Some(who.id));
        }
        Ok(history?)
    }

    /// Looks a name up anew, and tells what the answer stands on. Nothing of it is remembered.
    ///
    /// # Errors
    ///
    /// As [`Self::name_history`]; but that no server gave an answer that holds is an explanation too.
    pub async fn explain(&self, question: &Question) -> Result<Explanation, ServiceError> {
        let Source::Local(node) = &self.shared.source else {
            return Err(ServiceError::NothingProved);
        };
        node.check_ready()?;
        let who = self.requester(question.isolation_id.as_ref());
        let request = self.request(&question.name, question.allow_expired, question.quorum);
        let _place = self.place(&who)?;
        let explained = node.explain(who.id, self.pool_caller(&who), &request).await;
        if who.lifetime != Lifetime::Lasting {
            node.forget(Some(who.id));
        }
        Ok(explained?)
    }

    fn request(&self, name: &NameId, allow_expired: bool, quorum: Option<u8>) -> NameRequest {
        NameRequest {
            name: name.clone(),
            allow_expired,
            quorum: self.quorum().max(quorum.unwrap_or(0)),
        }
    }

    /// Returns how many servers must answer where a question says nothing of it.
    fn quorum(&self) -> u8 {
        match &self.shared.source {
            Source::Local(node) => node.settings().lookup.quorum,
            Source::Remote(remote) => remote.quorum,
        }
    }

    /// Begins to look a name up for a front that takes a failure of a moment ago for an answer. The lookup goes on
    /// whether or not its result is waited for.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Busy`].
    pub fn begin(&self, who: &Identity, name: &NameId) -> Result<Pending, ServiceError> {
        let manner = Manner {
            takes_failures: true,
            max_age: None,
        };
        match self.start(who, self.request(name, false, None), manner, self.time(self.tip()))? {
            Start::Known(result) => Ok(tokio::sync::watch::channel(Some(result)).1),
            Start::Pending(pending) => Ok(pending),
        }
    }

    fn start(
        &self,
        who: &Identity,
        request: NameRequest,
        manner: Manner,
        at: CacheTime,
    ) -> Result<Start, ServiceError> {
        let mut cache = self.cache();
        self.shared.source.rejudge(&mut cache, who.id, &request, at);
        let is_fresh = |asked: Moment| manner.max_age.is_none_or(|most| at.now.since(asked) <= most);
        let is_usable = manner.max_age.is_none() || cache.asked(who.id, &request, at).is_some_and(is_fresh);
        if is_usable
            && let Some((result, _)) = cache.find(who.id, &request, at)
            && (manner.takes_failures || result.is_ok())
        {
            let result = result.clone();
            let tells = cache.tells_use(who.id, at.now);
            drop(cache);
            self.note_use(who.id, tells);
            return Ok(Start::Known(result));
        }
        let begun = cache.begin(who.id, &request, self.limits.lookups_of_one, at.now);
        let (number, result, pending) = match begun {
            Begun::Joined(pending) => return Ok(Start::Pending(pending)),
            Begun::Full => {
                let limit = self.limits.lookups_of_one;
                return Err(ServiceError::Busy { limit });
            }
            Begun::New {
                number,
                result,
                pending,
            } => (number, result, pending),
        };
        let place = match self.place(who) {
            Ok(place) => place,
            Err(error) => {
                // Whoever learns nothing leaves nothing.
                let busy = Err(error.clone());
                cache.end(who.id, request, number, None, &busy, at.now, 1.0);
                return Err(error);
            }
        };
        drop(cache);
        let (service, who) = (self.clone(), who.clone());
        // In a task of its own: who asked first may leave while others wait for the same.
        tokio::spawn(async move {
            let fetched = service.fetch(&who, &request).await;
            service.shared.tally.lookup(Came::of(&fetched));
            let holder = (who.lifetime == Lifetime::Lasting).then_some(Holder {
                front: service.caller,
                client: who.client,
            });
            let now = service.now();
            let share = rand::random_range(0.5..1.0);
            service
                .cache()
                .end(who.id, request, number, holder, &fetched, now, share);
            if let (Lifetime::OneLookup, Source::Local(node)) = (who.lifetime, &service.shared.source) {
                node.forget(Some(who.id));
            }
            // Who has the answer may ask again.
            drop(place);
            result.send_replace(Some(fetched));
        });
        Ok(Start::Pending(pending))
    }

    async fn fetch(&self, who: &Identity, request: &NameRequest) -> NameResult {
        match &self.shared.source {
            Source::Local(node) => {
                let answer = node.name_show(who.id, self.pool_caller(who), request).await?;
                Ok(Answer::Proved(Arc::new(answer)))
            }
            Source::Remote(remote) => remote.look_up(&request.name, who.raw.as_ref(), request.quorum).await,
        }
    }

    /// Says for how long nobody was there to be asked for names; `None` where somebody was, as our own node always is.
    pub fn nobody_for(&self) -> Option<Duration> {
        match &self.shared.source {
            Source::Local(_) => None,
            Source::Remote(remote) => remote.nobody_for(),
        }
    }

    /// Takes one of the places for lookups, which is held until its lookup ends, whoever has left meanwhile.
    fn place(&self, who: &Identity) -> Result<Place, ServiceError> {
        self.places
            .take(who.client)
            .map_err(|limit| ServiceError::Busy { limit })
    }

    fn note_use(&self, id: BlindedId, tells: bool) {
        if let (true, Source::Local(node)) = (tells, &self.shared.source) {
            node.note_use(id);
        }
    }

    /// Decides something by what is remembered for an identity.
    pub fn with_known<T>(&self, who: &Identity, decide: impl FnOnce(&mut CacheView<'_>) -> T) -> T {
        let at = self.time(self.tip());
        let mut cache = self.cache();
        let mut known = CacheView::new(&mut cache, who.id, self.quorum(), at);
        known.source = Some(&self.shared.source);
        let decided = decide(&mut known);
        let was_used = known.was_used;
        let tells = was_used && cache.tells_use(who.id, at.now);
        drop(cache);
        self.note_use(who.id, tells);
        decided
    }

    /// Returns the newest block and how often something was forgotten: what a front made of results holds while both
    /// stay as they are.
    pub fn validity(&self) -> (Option<bitcoin::BlockHash>, u64) {
        (self.tip(), self.cache().forgotten())
    }

    /// Counts how often all identities were forgotten.
    pub fn renewals(&self) -> u64 {
        self.cache().renewals()
    }

    /// Forgets an isolation ID at once: what is remembered for it, its connections, and the ID itself at a server behind
    /// JSON-RPC. No later question has to do with earlier ones of the same ID. `None` forgets all identities of this
    /// process; the empty ID is the default identity.
    pub async fn forget(&self, id: Option<&IsolationId>) {
        let blinded = id.map(|id| self.identity(Some(id)).id);
        self.cache().forget(blinded);
        match (&self.shared.source, id) {
            (Source::Local(node), _) => node.forget(blinded),
            (Source::Remote(remote), Some(id)) => remote.forget(&self.told(id)).await,
            (Source::Remote(remote), None) => {
                *self.shared.renewal.lock().unwrap_or_else(PoisonError::into_inner) = Some(rand::random());
                // Who gave no ID has no other one there.
                remote.forget(&IsolationId::default()).await;
            }
        }
    }

    /// Ends the question that an identity was made for ([`Identity::for_one_question`]): no further one has it.
    pub fn end_question(&self, who: &Identity) {
        if let (Lifetime::OneQuestion, Source::Local(node)) = (who.lifetime, &self.shared.source) {
            self.cache().forget(Some(who.id));
            node.forget(Some(who.id));
        }
    }
}

/// Waits for a result.
async fn wait(mut pending: Pending) -> NameResult {
    let result = pending.wait_for(Option::is_some).await;
    result
        .ok()
        .and_then(|result| result.clone())
        .unwrap_or(Err(ServiceError::Stopped))
}

/// What is remembered for one identity, for as long as a front decides something by it.
pub struct CacheView<'a> {
    cache: &'a mut ResultCache,
    /// What judges proved results by the newest block.
    source: Option<&'a Source>,
    /// How many servers must answer where a question says nothing of it.
    quorum: u8,
    id: BlindedId,
    at: CacheTime,
    was_used: bool,
}

impl<'a> CacheView<'a> {
    /// Looks into a cache for an identity at a time; by default so many servers must answer.
    pub fn new(cache: &'a mut ResultCache, id: BlindedId, quorum: u8, at: CacheTime) -> Self {
        Self {
            cache,
            source: None,
            quorum,
            id,
            at,
            was_used: false,
        }
    }

    fn request(&self, name: &NameId) -> NameRequest {
        NameRequest {
            name: name.clone(),
            allow_expired: false,
            quorum: self.quorum,
        }
    }

    /// Returns the request for a name, with what is known of it as the newest block has it.
    fn judged(&mut self, name: &NameId) -> NameRequest {
        let request = self.request(name);
        if let Some(source) = self.source {
            source.rejudge(self.cache, self.id, &request, self.at);
        }
        request
    }

    /// Returns the time of the decision.
    pub fn now(&self) -> Moment {
        self.at.now
    }

    /// Returns what a name's lookup came to, and until when that holds.
    pub fn find(&mut self, name: &NameId) -> Option<(&NameResult, Moment)> {
        let request = self.judged(name);
        let found = self.cache.find(self.id, &request, self.at)?;
        self.was_used = true;
        Some(found)
    }

    /// Returns what the front made of a name's value.
    pub fn derived<T: Any + Send + Sync>(&mut self, name: &NameId) -> Option<Arc<T>> {
        let request = self.judged(name);
        let derived = self.cache.derived(self.id, &request, self.at)?;
        let made = Arc::clone(&derived.value).downcast().ok()?;
        self.was_used = true;
        Some(made)
    }

    /// Remembers what the front made of a name's value, for as long as the value itself.
    pub fn attach<T: Any + Send + Sync>(&mut self, name: &NameId, made: Arc<T>, size: usize) {
        let request = self.request(name);
        self.cache.attach(self.id, &request, Derived { value: made, size });
    }
}

#[cfg(test)]
mod tests;
