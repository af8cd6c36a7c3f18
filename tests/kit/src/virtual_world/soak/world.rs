//! The servers of a soak, each with a view of the chain of its own, and the daemon's way to them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bitcoin::BlockHash;
use isonym::chain::Height;
use isonym::name::Outcome;
use isonym::net::dialer::{Duplex, Opening, StreamSource};
use isonym::net::{DialError, Host, Proxy, ServerAddr};
use isonym::node::{ListedServer, Proved, ServerClass, ServerUse, VirtualTime};
use isonym::service::Daemon;
use isonym_sim::{Desk, Fault, Ledger, Release, Server, SharedWorld, SimChain};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::super::link::{Circuit, Ear, carry};
use super::super::record::{Recorder, Side, Truth};
use super::super::{BEGINS, PIPE, name_in_messages, onion};
use super::openings::Openings;
use super::patience::{BOUND, Patience};
use super::truth::{Chronicle, WINDOW};
use super::watch::Watch;

/// How many servers are configured, each of an operator of its own. All are honest but the last one, at times.
pub const SERVERS: usize = 4;

/// Onion services that the honest ones of these name, up to this number: a good one, two that deny all names, one that is dead.
pub(super) const NAMED: usize = SERVERS + 4;

/// The first and the last one that the liar alone names, to each connection another one.
const LURES: Range<usize> = NAMED..26;

/// Nobody serves well for a week within so many seconds, even where clocks are set wrong.
const PROBATION: f64 = 2.0 * 86_400.0;

/// How many of the last events are told of with a failure.
const TOLD: usize = 40;

/// One of so many circuits can't be built, dies young, or is slow.
const FAILS: f64 = 0.05;
const DIES: f64 = 0.1;
const SLOW: f64 = 0.1;

/// One of so many circuits carries only so many bytes a second, or dies after so many bytes.
const NARROW: f64 = 0.15;
const RATES: Range<u32> = 5_000..100_000;
const WEARS: f64 = 0.05;
const BUDGETS: Range<usize> = 20_000..400_000;

/// How long a circuit that dies young lives, on average.
const YOUTH: Duration = Duration::from_secs(120);

/// The longest that a server takes to hear of a block where nothing is amiss with it.
pub(super) const PROMPT: Duration = Duration::from_secs(20);

/// How long after a disturbance all must be as before, in seconds.
pub const RECOVERY: f64 = 900.0;

/// How a server is just now.
#[derive(Debug)]
pub(super) struct State {
    pub(super) is_up: bool,
    /// Whether it takes new blocks.
    pub(super) follows: bool,
    pub(super) lag: Duration,
    pub(super) fault: Option<Fault>,
    /// Since when nothing is amiss with it.
    good_since: f64,
    /// When it was last asked for a name.
    pub(super) last_use: f64,
    /// Until when it said that there are no names.
    denied_until: f64,
}

impl State {
    fn is_good(&self) -> bool {
        self.is_up && self.follows && self.lag <= PROMPT && self.fault.is_none()
    }

    pub(super) fn good_since(&self) -> f64 {
        if self.is_good() { self.good_since } else { f64::INFINITY }
    }
}

#[derive(Debug)]
struct SoakServer {
    release: Release,
    view: SharedWorld,
    state: State,
}

impl SoakServer {
    /// Reads what it shows, which may be its chain without the last blocks.
    fn show<T>(&self, read: impl FnOnce(&SimChain) -> T) -> T {
        self.view.read(|chain| match self.state.fault {
            Some(Fault::Stale { behind }) => read(&chain.truncated(chain.height().saturating_sub(behind))),
            _ => read(chain),
        })
    }
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    server: usize,
    desk: Desk,
    recorder: Recorder,
    task: AbortHandle,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub blocks: u64,
    pub reorganisations: u64,
    pub events: BTreeMap<&'static str, u64>,
    pub questions: u64,
    /// Tries that failed, by what was said.
    pub failures: BTreeMap<String, u64>,
    /// Answers that only a server that is behind bears out.
    pub behind: u64,
    pub outcomes: BTreeMap<&'static str, u64>,
    pub connections: u64,
    pub requests: u64,
    pub known_requests: u64,
    /// First lookups of connections to servers that were learned of.
    pub lookups_of_learned: u64,
    /// Answers by JSON-RPC and DNS that were held against another front's.
    pub compared: u64,
    /// First uses of connections that were opened ahead; how many were opened in the minutes before them, and after.
    pub openings: (u64, u64, u64),
    /// The longest that anybody waited for an answer while a server was good, in seconds.
    pub longest_wait: f64,
    /// The most that there was of each.
    pub most: BTreeMap<&'static str, usize>,
}

impl Counts {
    pub(super) fn see(&mut self, what: &'static str, many: usize) {
        let most = self.most.entry(what).or_default();
        *most = (*most).max(many);
    }
}

#[derive(Debug)]
struct Inner {
    rng: StdRng,
    chronicle: Chronicle,
    servers: Vec<SoakServer>,
    open: BTreeMap<usize, Open>,
    watch: Watch,
    openings: Openings,
    patience: Patience,
    way_is_shut: bool,
    /// Whether the daemon knew its learned servers before it began.
    knew_before: bool,
    slowness: u32,
    /// Disturbances that last, and when the last one ended.
    disturbances: usize,
    calm_since: f64,
    log: VecDeque<String>,
    failure: Option<String>,
    counts: Counts,
    daemon: Option<(Daemon, Arc<VirtualTime>)>,
}

impl Inner {
    fn calm_since(&self, servers: u8) -> f64 {
        if self.disturbances > 0 {
            return f64::INFINITY;
        }
        let configured = self.servers.iter().take(SERVERS);
        let mut good: Vec<f64> = configured.map(|server| server.state.good_since()).collect();
        good.sort_by(f64::total_cmp);
        good[usize::from(servers.max(1)) - 1].max(self.calm_since)
    }

    /// Says whether an outcome was true of late; or whether a server that is configured has it so, which may be behind, so
    /// that it can't be known better by one server's word. Learned ones deny names: they are believed where one must do,
    /// and there are no two others.
    fn is_true(&mut self, now: f64, number: usize, quorum: u8, outcome: &Outcome, tip: Height) -> bool {
        if self.chronicle.bears_out(number, outcome) {
            return true;
        }
        let is_so = |server: &SoakServer| {
            let denies = server.state.denied_until > now - WINDOW && *outcome == Outcome::NeverExisted;
            denies || server.show(|chain| Chronicle::is_so_on(chain, number, outcome, tip))
        };
        let are_alone = quorum == 1 && self.calm_since(2) + RECOVERY > now - WINDOW;
        let is_behind = self.servers.iter().take(SERVERS).any(is_so)
            || self.chronicle.was_so_behind(number, outcome, now)
            || (are_alone && *outcome == Outcome::NeverExisted);
        self.counts.behind += u64::from(is_behind);
        is_behind
    }
}

/// What all tasks of a soak share.
#[derive(Debug)]
pub(super) struct SoakWorld {
    begun: Instant,
    pub(super) seed: u64,
    tells_all: bool,
    /// Seconds for which the machine was suspended, which the runtime knows nothing of.
    slept: AtomicU64,
    inner: Mutex<Inner>,
}

impl SoakWorld {
    pub(super) fn new(seed: u64, tells_all: bool) -> Arc<Self> {
        let chronicle = Chronicle::new();
        let server = |number: usize| SoakServer {
            release: [Release::V1_17, Release::V1_20, Release::V1_16, Release::V1_17][number % 4],
            view: SharedWorld::new(chronicle.world().clone()),
            state: State {
                is_up: number + 1 != NAMED,
                follows: true,
                lag: Duration::from_secs(2),
                fault: (SERVERS + 1..NAMED).contains(&number).then_some(Fault::DeniesNames),
                good_since: 0.0,
                last_use: 0.0,
                denied_until: f64::NEG_INFINITY,
            },
        };
        Arc::new(Self {
            begun: Instant::now(),
            seed,
            tells_all,
            slept: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                rng: StdRng::seed_from_u64(seed),
                servers: (0..NAMED).map(server).collect(),
                chronicle,
                open: BTreeMap::new(),
                watch: Watch::default(),
                openings: Openings::default(),
                patience: Patience::default(),
                way_is_shut: false,
                knew_before: false,
                slowness: 1,
                disturbances: 0,
                calm_since: 0.0,
                log: VecDeque::new(),
                failure: None,
                counts: Counts::default(),
                daemon: None,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Seconds of the runtime since it began.
    pub(super) fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// What a clock that is right shows.
    pub(super) fn wall(&self) -> u64 {
        BEGINS + self.begun.elapsed().as_secs() + self.slept.load(Ordering::Relaxed)
    }

    pub(super) fn sleep_through(&self, seconds: u64) {
        self.slept.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A generator for a task.
    pub(super) fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.inner().rng.random())
    }

    /// Tells of an event, for whoever reads how a run failed.
    pub(super) fn tell(&self, what: &str) {
        let line = format!("{:>10.1} s: {what}", self.now());
        if self.tells_all {
            println!("{line}");
        }
        let mut inner = self.inner();
        if inner.log.len() == TOLD {
            inner.log.pop_front();
        }
        inner.log.push_back(line);
    }

    pub(super) fn count(&self, event: &'static str) {
        self.counts(|counts| *counts.events.entry(event).or_default() += 1);
    }

    pub(super) fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.inner().counts)
    }

    /// Ends the run: what was promised was not kept. The first failure counts.
    pub(super) fn fail(&self, what: &str) {
        let (now, seed) = (self.now(), self.seed);
        let mut inner = self.inner();
        let states = inner.servers.iter().map(|server| format!("  {:?}\n", server.state));
        let states: String = states.collect();
        let standing = inner.daemon.as_ref().map(|(daemon, _)| daemon.node.standing());
        let log: Vec<&str> = inner.log.iter().map(String::as_str).collect();
        let text = format!(
            "seed {seed}, after {now:.1} s (day {:.2}): {what}\nservers:\n{states}the node: {standing:?}\nbefore:\n{}",
            now / 86400.0,
            log.join("\n")
        );
        inner.failure.get_or_insert(text);
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.inner().failure.clone()
    }

    pub(super) fn daemon(&self) -> Option<Daemon> {
        self.inner().daemon.as_ref().map(|(daemon, _)| daemon.clone())
    }

    pub(super) fn daemon_time(&self) -> Option<Arc<VirtualTime>> {
        self.inner().daemon.as_ref().map(|(_, time)| Arc::clone(time))
    }

    pub(super) fn set_daemon(&self, daemon: Option<(Daemon, Arc<VirtualTime>)>) {
        self.inner().daemon = daemon;
    }

    /// Begins, or ends, what nothing can be promised during.
    pub(super) fn disturb(&self, begins: bool) {
        let now = self.now();
        let mut inner = self.inner();
        if begins {
            inner.disturbances += 1;
        } else {
            inner.disturbances -= 1;
        }
        inner.calm_since = now;
        inner.openings.disturb(begins, now);
    }

    /// Since when answers of so many servers can be expected: nothing is wrong with the machine, and as many have been good
    /// all the time.
    pub(super) fn calm_since(&self, servers: u8) -> f64 {
        self.inner().calm_since(servers)
    }

    /// Finds a block, or has another branch take over.
    pub(super) fn find_block(self: &Arc<Self>, reorganisation: Option<Height>) {
        let (now, wall) = (self.now(), self.wall());
        let lags: Vec<Duration> = {
            let mut inner = self.inner();
            let seed = inner.rng.random();
            match reorganisation {
                None => inner.chronicle.grow(wall, now),
                Some(depth) => {
                    inner.chronicle.reorganise(depth, seed, wall, now);
                    inner.counts.reorganisations += 1;
                }
            }
            inner.counts.blocks += 1;
            let Inner { rng, servers, .. } = &mut *inner;
            let lags = servers.iter().map(|server| server.state.lag.mul_f64(rng.random()));
            lags.collect()
        };
        for (server, lag) in lags.into_iter().enumerate() {
            let world = Arc::clone(self);
            tokio::spawn(async move {
                sleep(lag).await;
                world.follow(server);
            });
        }
    }

    /// Returns the newest block that honest servers come to agree on.
    pub(super) fn best(&self) -> BlockHash {
        self.inner().chronicle.chain().tip_hash()
    }

    /// Returns names that the last blocks changed.
    pub(super) fn changed_of_late(&self, blocks: Height) -> Vec<usize> {
        self.inner().chronicle.changed_of_late(blocks)
    }

    /// Has a server hear of all blocks, unless it is not to.
    pub(super) fn follow(&self, server: usize) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner { servers, chronicle, .. } = &mut *inner;
        let server = &servers[server];
        if server.state.follows {
            server.show(|chain| chronicle.leave(chain, now));
            server.view.change(|view| view.chain_mut().follow(chronicle.chain()));
        }
    }

    /// Has a server index its chain anew, up to so many tenths of it.
    pub(super) fn reindex(&self, server: usize, tenths: Height) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner { servers, chronicle, .. } = &mut *inner;
        let view = &servers[server].view;
        view.read(|chain| chronicle.leave(chain, now));
        let chain = chronicle.chain();
        let part = chain.truncated(chain.height() / 10 * tenths);
        view.change(|view| *view.chain_mut() = part);
    }

    /// Changes how a server is.
    pub(super) fn change(&self, server: usize, change: impl FnOnce(&mut State)) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner { servers, chronicle, .. } = &mut *inner;
        servers[server].show(|chain| chronicle.leave(chain, now));
        let state = &mut inner.servers[server].state;
        let was_good = state.is_good();
        if state.fault == Some(Fault::DeniesNames) {
            state.denied_until = now;
        }
        change(state);
        if state.fault == Some(Fault::DeniesNames) {
            state.denied_until = f64::INFINITY;
        }
        if !was_good {
            state.good_since = now;
        }
        let (is_up, fault) = (state.is_up, state.fault.clone());
        inner.openings.note_disturbance(now);
        let cut: Vec<usize> = {
            let own = inner.open.iter().filter(|(_, open)| open.server == server);
            own.map(|(number, open)| {
                open.desk.set_fault(fault.clone());
                *number
            })
            .collect()
        };
        drop(inner);
        if !is_up {
            for connection in cut {
                self.end(connection);
            }
        }
    }

    /// Shuts the way out, or opens it again.
    pub(super) fn shut_way_out(&self, is_shut: bool) {
        self.inner().way_is_shut = is_shut;
        if is_shut {
            self.cut();
        }
    }

    pub(super) fn set_slowness(&self, factor: u32) {
        self.inner().slowness = factor;
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        let now = self.now();
        self.inner().openings.note_disturbance(now);
        let all: Vec<usize> = self.inner().open.keys().copied().collect();
        for connection in all {
            self.end(connection);
        }
    }

    /// Takes a connection's end down, and ends it where it goes on.
    fn end(&self, connection: usize) {
        self.look_at(connection, true);
        if let Some(open) = self.inner().open.remove(&connection) {
            open.task.abort();
        }
    }

    fn look_at(&self, connection: usize, is_over: bool) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner {
            open,
            watch,
            openings,
            servers,
            knew_before,
            counts: Counts { lookups_of_learned, .. },
            ..
        } = &mut *inner;
        let mut is_early = false;
        let Some(it) = open.get(&connection) else { return };
        let looked = watch.look_at(connection, &it.recorder);
        match looked {
            Ok(looked) => {
                if looked.is_alive {
                    openings.note_sign_of_life(connection);
                }
                if let Some(first) = looked.uses.first() {
                    let opened = openings.opening_of(connection);
                    if opened.is_some_and(|opened| watch.may_be_opened_for_owner(connection, opened)) {
                        openings.leave_out(connection);
                    }
                    openings.note_use(connection, *first);
                    servers[it.server].state.last_use = now;
                    *lookups_of_learned += u64::from(it.server >= SERVERS);
                    is_early = it.server >= SERVERS && !*knew_before && now < PROBATION;
                }
            }
            Err(what) => {
                drop(inner);
                self.fail(&what);
                return;
            }
        }
        if watch.is_sync(connection) {
            openings.leave_out(connection);
        }
        if is_over {
            openings.close(connection);
            watch.end_connection(connection);
        }
        drop(inner);
        if is_early {
            self.fail("a server is asked for a name that was learned of, and has not served for a week");
        }
    }

    /// Looks at everything that must hold at every time.
    pub(super) fn check(&self) {
        if let Err(what) = self.check_servers() {
            self.fail(&what);
        }
        let all: Vec<usize> = self.inner().open.keys().copied().collect();
        for connection in all {
            self.look_at(connection, false);
        }
        let now = self.now();
        let mut inner = self.inner();
        inner.watch.forget_before(now - 3600.0);
        inner.openings.count_until(now);
        let waits = inner.patience.check(now, |quorum| inner.calm_since(quorum) + RECOVERY);
        let wrong = waits.and(inner.openings.check());
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (open, watched) = (inner.open.len(), inner.watch.connections());
        let pool = inner.daemon.as_ref().map(|(daemon, _)| daemon.node.standing().pool);
        let remembered = inner.daemon.as_ref().map(|(daemon, _)| daemon.names.remembered());
        let counts = &mut inner.counts;
        counts.see("tasks", alive);
        counts.see("connections", open.max(watched));
        if let Some(pool) = pool {
            counts.see("IDs in the pool", pool.ids);
            counts.see("dirty connections", pool.dirty);
            counts.see("parting connections", pool.parting);
            counts.see("clean connections", pool.clean);
        }
        if let Some((results, _)) = remembered {
            counts.see("results remembered", results);
        }
        let (requests, known) = (inner.watch.requests, inner.watch.known);
        inner.counts.requests = requests;
        inner.counts.known_requests = known;
        inner.counts.openings = inner.openings.counted();
        drop(inner);
        if let Err(what) = wrong {
            self.fail(&what);
        }
    }

    /// Looks at which servers the node knows: what it learned of changes nothing of those that are configured.
    fn check_servers(&self) -> Result<(), String> {
        let Some(daemon) = self.daemon() else { return Ok(()) };
        let list = daemon.node.server_list();
        let configured = list.iter().filter(|it| it.class == ServerClass::Configured);
        let learned = |it: &&ListedServer| it.class == ServerClass::Corroborated;
        let all_used = configured.clone().all(|it| it.used_for == ServerUse::All);
        let is_named = |it: &ListedServer| (SERVERS..NAMED).any(|number| it.address.starts_with(&onion(number)));
        if configured.count() != SERVERS || !all_used || !list.iter().filter(learned).all(is_named) {
            return Err(format!("these servers are known: {list:?}"));
        }
        let learned = list.iter().filter(learned).count();
        self.counts(|counts| counts.see("servers learned", learned));
        Ok(())
    }

    /// Says for how long each server was good and calm and yet not asked for a name.
    pub(super) fn idle(&self) -> Vec<f64> {
        let now = self.now();
        let inner = self.inner();
        let since = |state: &State| state.last_use.max(state.good_since()).max(inner.calm_since);
        let servers = inner.servers.iter().take(SERVERS);
        servers.map(|server| (now - since(&server.state)).max(0.0)).collect()
    }

    /// The daemon begins with servers that it learned of long ago.
    pub(super) fn begin_with_learned(&self) {
        self.inner().knew_before = true;
    }

    pub(super) fn begin_question(&self, number: usize, id: u32) {
        let (name, now) = (name_in_messages(number).unwrap(), self.now());
        self.inner().watch.begin(name, id, now);
    }

    pub(super) fn end_question(&self, number: usize, id: u32) {
        let (name, now) = (name_in_messages(number).unwrap(), self.now());
        self.inner().watch.end(name, id, now);
    }

    /// Begins to wait for an answer of so many servers.
    pub(super) fn begin_waiting(&self, who: String, quorum: u8) -> u64 {
        let now = self.now();
        self.inner().patience.begin(who, quorum, now)
    }

    pub(super) fn note_failure(&self, waiting: u64, what: String) {
        self.inner().patience.note_failure(waiting, what);
    }

    pub(super) fn end_waiting(&self, waiting: u64) {
        let now = self.now();
        let mut inner = self.inner();
        let calm: Vec<f64> = (0..=2).map(|quorum| inner.calm_since(quorum) + RECOVERY).collect();
        let waited = inner.patience.end(waiting, now, |quorum| calm[usize::from(quorum)]);
        inner.counts.longest_wait = inner.counts.longest_wait.max(waited);
        drop(inner);
        if waited > BOUND {
            self.fail(&format!("an answer came only after {waited:.0} s"));
        }
    }

    /// Holds what a name is said to be by so many servers against the truth.
    pub(super) fn judge(&self, number: usize, quorum: u8, proved: &Proved) {
        let now = self.now();
        let mut inner = self.inner();
        let (outcome, tip) = (&proved.outcome, proved.tip.height);
        let what = if !inner.is_true(now, number, quorum, outcome, tip) {
            "is not true"
        } else if !inner.chronicle.stands_on_its_tip(number, proved) {
            "is proved by a block that our tip does not stand on"
        } else {
            return;
        };
        drop(inner);
        self.fail(&format!("name {number}: {outcome:?} at our height {tip} {what}"));
    }

    fn connect(self: &Arc<Self>, server: usize, circuit: Circuit, life: Option<Duration>) -> DuplexStream {
        let (client, near) = tokio::io::duplex(PIPE);
        let (far, end) = tokio::io::duplex(PIPE);
        let recorder = Recorder::default();
        let truth = Truth {
            owner: 0,
            dialed: self.now(),
        };
        recorder.open(truth, server, self.now());
        let mut inner = self.inner();
        let number = usize::try_from(inner.counts.connections).unwrap();
        inner.counts.connections += 1;
        let at = &inner.servers[server];
        let own = Server::new(at.release, at.state.fault.clone())
            .telling_of(peers(server, number))
            .at(&onion(server));
        let desk = Desk::new(&format!("s{server}.sim"), own, at.view.clone(), Ledger::new());
        let ear = Ear {
            recorder: recorder.clone(),
            connection: 0,
            begun: self.begun,
        };
        let counter = desk.clone();
        let world = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let conversation = async { tokio::join!(carry(near, far, circuit, &ear), counter.serve(end, 0)) };
            let _ = tokio::time::timeout(life.unwrap_or(Duration::MAX), conversation).await;
            ear.close(Side::Server);
            if let Some(world) = world.upgrade() {
                world.end(number);
            }
        });
        let open = Open {
            server,
            desk,
            recorder,
            task: task.abort_handle(),
        };
        inner.open.insert(number, open);
        let now = self.now();
        inner.openings.open(number, now);
        client
    }
}

/// What a server says of others, on a connection.
fn peers(server: usize, connection: usize) -> Value {
    let row = |number: usize| json!(["192.0.2.1", onion(number), ["v1.4.2", "t50001"]]);
    let lure = LURES.start + connection % LURES.len();
    match server {
        0..SERVERS if server + 1 < SERVERS => (SERVERS..NAMED).map(row).collect(),
        _ => json!([row(lure)]),
    }
}

/// The way of the daemon to the servers.
#[derive(Debug)]
pub(super) struct SoakWay(pub(super) Weak<SoakWorld>);

impl StreamSource for SoakWay {
    fn open(&self, server: &ServerAddr) -> Opening {
        let world = self.0.clone();
        let server: usize = match &server.host {
            Host::Name(name) if server.is_onion() => usize::from(name.as_bytes()[0] - b'a'),
            Host::Name(name) => name.as_str()[1..].trim_end_matches(".sim").parse().unwrap(),
            Host::Ip(ip) => panic!("no server has an address: {ip}"),
        };
        Box::pin(async move {
            let reach = || {
                let world = world.upgrade().filter(|world| !world.inner().way_is_shut);
                let proxy = Proxy::default();
                world.ok_or(DialError::ProxyUnreachable { proxy })
            };
            let reached = reach()?;
            if server >= NAMED {
                reached.fail("a server is dialed that one operator alone named");
                return Err(DialError::UnknownHost);
            }
            let (mut circuit, fails, life) = {
                let mut inner = reached.inner();
                let slow = if inner.rng.random_bool(SLOW) { 8 } else { 1 };
                let factor = slow * inner.slowness;
                let mut circuit = Circuit::draw(&mut inner.rng).slowed(factor);
                if inner.rng.random_bool(NARROW) {
                    circuit = circuit.with_rate(inner.rng.random_range(RATES));
                }
                if inner.rng.random_bool(WEARS) {
                    circuit = circuit.with_budget(inner.rng.random_range(BUDGETS));
                }
                let fails = inner.rng.random_bool(FAILS);
                let dies = inner.rng.random_bool(DIES);
                let life = isonym::time::random_pause(YOUTH, &mut inner.rng);
                (circuit, fails, dies.then_some(life))
            };
            drop(reached);
            sleep(circuit.opening()).await;
            let world = reach()?;
            let is_up = world.inner().servers[server].state.is_up;
            if fails || !is_up {
                return Err(DialError::UnknownHost);
            }
            let stream: Box<dyn Duplex> = Box::new(world.connect(server, circuit, life));
            Ok(stream)
        })
    }
}
