//! Carries questions out: has what is not known looked up under the identity of the question, and asks the engine again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::time::{Instant as Deadline, timeout_at};

use super::engine::{self, ExtendedError, Found, Reply, Step};
use super::lookup_result::{LookupResult, of_error};
use super::message::Query;
use super::records::{self, LookedUp};
use super::response_cache::{ResponseCache, Validity};
use super::sign::{Signers, sign};
use crate::isolation::IsolationId;
use crate::name::NameId;
use crate::node::Clock;
use crate::service::tally::Tally;
use crate::service::{CallerLimits, Identity, NameService};

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
    /// What the front may have in work.
    pub caller: CallerLimits,
    /// Most lookups for one question, imports and glue of other names included.
    pub lookups_of_question: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            caller: CallerLimits {
                lookups: 512,
                lookups_of_one: 256,
                // A quarter: a client may be another resolver with clients of its own.
                lookups_of_client: 128,
            },
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
    /// Bounds and waits.
    pub limits: Limits,
    /// How questions without an isolation ID are told apart.
    pub anonymous: Anonymous,
}

/// Tells what is known of a name whose records an apex owns.
pub type NameSource<'a> = &'a mut dyn FnMut(&NameId, &Name) -> Found;

/// What is served, and what signs it.
#[derive(Clone)]
struct Served {
    engine: Arc<engine::Settings>,
    signers: Arc<Signers>,
}

/// Answers questions.
pub struct Resolver {
    names: NameService,
    /// What a question begins with it ends with, even if it is replaced meanwhile.
    served: RwLock<Served>,
    limits: Limits,
    anonymous: Anonymous,
    clock: Clock,
    /// What callers are hashed with that have no isolation ID.
    key: [u8; 32],
    responses: Mutex<ResponseCache>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver(..)")
    }
}

impl Resolver {
    /// Returns what responses are counted in.
    pub(super) fn tally(&self) -> Arc<Tally> {
        self.names.tally()
    }

    /// Makes a resolver that has its names looked up by `names`.
    pub fn new(names: NameService, settings: Settings) -> Self {
        let served = Served {
            engine: Arc::new(settings.engine),
            signers: Arc::new(settings.signers),
        };
        Self {
            names,
            served: RwLock::new(served),
            limits: settings.limits,
            anonymous: settings.anonymous,
            clock: Clock::start(),
            key: rand::random(),
            responses: Mutex::default(),
        }
    }

    fn served(&self) -> Served {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has zones signed by these from now on.
    pub fn set_signers(&self, signers: Signers) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let engine = engine::Settings {
            dnskeys: signers.dnskeys(),
            ..engine::Settings::clone(&served.engine)
        };
        *served = Served {
            engine: Arc::new(engine),
            signers: Arc::new(signers),
        };
        *self.responses() = ResponseCache::default();
    }

    /// Says whose question it is that comes from an address.
    pub fn identity(&self, query: &Query, from: SocketAddr) -> Identity {
        let told = match (&query.isolation_id, self.source(from)) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(source)) if source.is_empty() => None,
            (None, Some(source)) => self.made_up(&source),
            (None, None) => self.made_up(&rand::random::<[u8; 32]>()),
        };
        let identity = self.names.identity(told.as_ref());
        let identity = match self.client(from) {
            Some(client) => identity.of_client(client),
            None => identity,
        };
        if query.isolation_id.is_none() && self.anonymous == Anonymous::Apart {
            identity.for_one_question()
        } else {
            identity
        }
    }

    /// Returns what tells clients apart by their address, if they are told apart so.
    pub(super) fn client(&self, from: SocketAddr) -> Option<u64> {
        match self.anonymous {
            Anonymous::ByAddress | Anonymous::ByPort => {
                let blinded = IsolationId::new(from.ip().to_string().as_bytes())?.blinded(&self.key);
                blinded.as_bytes().first_chunk().copied().map(u64::from_le_bytes)
            }
            Anonymous::Together | Anonymous::Apart => None,
        }
    }

    /// Makes an ID that nobody can pass by guessing: text, since some backends take nothing else.
    fn made_up(&self, of: &[u8]) -> Option<IsolationId> {
        let blinded = IsolationId::new(of)?.blinded(&self.key);
        let text = bitcoin::hex::DisplayHex::to_lower_hex_string(blinded.as_bytes());
        IsolationId::new(format!("dns-client-{text}").as_bytes())
    }

    fn responses(&self) -> MutexGuard<'_, ResponseCache> {
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a reply that is made now holds for.
    fn validity(&self) -> Validity {
        let (tip, forgotten) = self.names.validity();
        Validity::new(self.clock.now().steady, tip, forgotten)
    }

    /// Returns the reply to a message off the wire if the very same was there a moment ago.
    pub fn repeated(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let source = self.source(from)?;
        let validity = self.validity();
        self.responses().find(&source, message, validity)
    }

    /// Remembers the reply to a message, which was made at once, for the next moment.
    pub fn note_reply(&self, message: &[u8], from: SocketAddr, reply: &[u8]) {
        if let Some(source) = self.source(from) {
            let validity = self.validity();
            self.responses().store(&source, message, reply, validity);
        }
    }

    /// Returns what tells a caller apart beside what is in the query: nothing where all are one, `None` when no two queries
    /// may be one caller's.
    fn source(&self, from: SocketAddr) -> Option<Vec<u8>> {
        match self.anonymous {
            Anonymous::Together => Some(Vec::new()),
            Anonymous::ByAddress => Some(from.ip().to_string().into_bytes()),
            Anonymous::ByPort => Some(from.to_string().into_bytes()),
            Anonymous::Apart => None,
        }
    }

    /// Answers a question if nothing has to be looked up for it.
    pub fn answer_at_once(&self, query: &Query, identity: &Identity) -> Option<Reply> {
        let served = self.served();
        let reply = self.decide(identity, &LookedUp::new(), |known| served.reply(query, known));
        reply.ok().map(|reply| self.secured(reply, query, &served))
    }

    /// Answers a question.
    pub async fn answer(&self, query: &Query, identity: &Identity) -> Reply {
        let deadline = Deadline::now() + self.limits.patience;
        let served = self.served();
        let reply = self
            .settle(identity, deadline, |known| served.reply(query, known))
            .await;
        self.names.end_question(identity);
        self.secured(reply, query, &served)
    }

    /// Has looked up what a decision needs, under an isolation ID, until `step` comes to it. What is not known by the
    /// deadline has failed.
    pub async fn settle<T>(
        &self,
        who: &Identity,
        deadline: Deadline,
        step: impl FnMut(NameSource<'_>) -> Result<T, BTreeSet<NameId>>,
    ) -> T {
        self.settle_with(LookedUp::new(), who, deadline, step).await
    }

    /// As [`Self::settle`], where some names are known already: these are not looked up, whatever is remembered of them.
    pub async fn settle_with<T>(
        &self,
        mut looked_up: LookedUp,
        who: &Identity,
        deadline: Deadline,
        mut step: impl FnMut(NameSource<'_>) -> Result<T, BTreeSet<NameId>>,
    ) -> T {
        // Each round looks something up that was not there before, or ends.
        loop {
            let needed = match self.decide(who, &looked_up, &mut step) {
                Ok(settled) => return settled,
                Err(needed) => needed,
            };
            self.look_up(needed, who, deadline, &mut looked_up).await;
        }
    }

    /// Returns what is served.
    pub fn engine(&self) -> Arc<engine::Settings> {
        self.served().engine
    }

    /// Decides by what the question had looked up and what is remembered for an identity.
    fn decide<T>(&self, who: &Identity, looked_up: &LookedUp, decide: impl FnOnce(NameSource<'_>) -> T) -> T {
        self.names.with_known(who, |cache| {
            decide(&mut |name, apex| records::find(cache, name, apex, looked_up))
        })
    }

    fn secured(&self, reply: Reply, query: &Query, served: &Served) -> Reply {
        sign(reply, query, &served.signers, self.clock.now().wall)
    }

    /// Has names looked up side by side.
    async fn look_up(&self, names: BTreeSet<NameId>, who: &Identity, deadline: Deadline, looked_up: &mut LookedUp) {
        let mut in_flight = Vec::with_capacity(names.len());
        for name in names {
            if looked_up.len() + in_flight.len() >= self.limits.lookups_of_question {
                looked_up.insert(name, LookupResult::Failed(ExtendedError::Sprawling));
                continue;
            }
            match self.names.begin(who, &name) {
                Ok(pending) => in_flight.push((name, pending)),
                Err(error) => {
                    looked_up.insert(name, LookupResult::Failed(of_error(&error)));
                }
            }
        }
        for (name, mut pending) in in_flight {
            let result = match timeout_at(deadline, pending.wait_for(Option::is_some)).await {
                Ok(Ok(result)) => result.as_ref().map(LookupResult::of),
                Ok(Err(_)) => None,
                Err(_) => Some(LookupResult::Failed(ExtendedError::Timeout)),
            };
            looked_up.insert(name, result.unwrap_or(LookupResult::Failed(ExtendedError::NoBackend)));
        }
    }
}

impl Served {
    /// Replies to a query, or says what must be looked up first.
    fn reply(&self, query: &Query, known: NameSource<'_>) -> Result<Reply, BTreeSet<NameId>> {
        match engine::answer(&self.engine, &query.question, known) {
            Step::Reply(reply) => Ok(*reply),
            Step::Need(names) => Err(names),
        }
    }
}
