//! A Tor within the program: a client of the Tor network that needs no other program.
//!
//! It has a thread and a runtime of its own, since it works on megabytes of network documents for whole seconds, which the
//! one thread of all the rest must not be held up by. It begins with the first stream that is asked for, and ends with the
//! last handle. There is one for each process: [`EmbeddedTor`] is cloned, not made anew.

mod config;
mod error;
mod standing;
mod stream_group;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arti_client::status::BootstrapStatus;
use arti_client::{BootstrapBehavior, DangerouslyIntoTorAddr as _, IntoTorAddr as _, TorClient, TorClientConfig};
use futures_util::StreamExt as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tor_rtcompat::tokio::TokioRustlsRuntime;

pub use self::config::EmbeddedTorSettings;
pub use self::error::{EmbeddedTorError, TorRefusal};
pub use self::standing::EmbeddedTorStanding;
use self::standing::{Headway, QUIET};
pub use self::stream_group::{GroupKey, StreamGroup};
use super::address::Host;
use super::dialer::Duplex;
use crate::backoff::Backoff;

/// How long a stream waits for a Tor that has just begun. The first time it fetches some megabytes.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked whether it still carries streams: what it knows gets old in silence.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The pauses before it is begun with anew, where it gave up.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(120));

/// How long it may get no further on its way before it is begun with anew, one try after the other. A relay that could not
/// be reached Arti leaves alone for minutes; where the fault was this machine's own, all of them are.
const STUCK: Backoff = Backoff::new(Duration::from_secs(15), Duration::from_secs(300));

/// How long a try that is given up may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Threads of its runtime.
const WORKERS: usize = 2;

/// A Tor within the program. Clones are the same one.
#[derive(Clone)]
pub struct EmbeddedTor(Arc<Shared>);

struct Shared {
    config: TorClientConfig,
    state: watch::Sender<State>,
    /// Whose drop ends its thread; there once that was started.
    thread: OnceLock<oneshot::Sender<Infallible>>,
}

#[derive(Clone, Default)]
struct State {
    standing: EmbeddedTorStanding,
    /// Whom to ask for streams, once it was ready for the first time.
    client: Option<Client>,
    /// Why there will never be one.
    failed: Option<EmbeddedTorError>,
}

#[derive(Clone)]
struct Client {
    tor: Arc<TorClient<TokioRustlsRuntime>>,
    /// Its runtime. What it does has to run there.
    runtime: Handle,
}

impl EmbeddedTor {
    /// Makes one, which does not begin yet.
    ///
    /// # Errors
    ///
    /// [`EmbeddedTorError::Config`] when the file with its settings can't be used.
    pub fn new(settings: &EmbeddedTorSettings) -> Result<Self, EmbeddedTorError> {
        Ok(Self(Arc::new(Shared {
            config: settings.load()?,
            state: watch::Sender::default(),
            thread: OnceLock::new(),
        })))
    }

    /// Returns how far it is.
    pub fn standing(&self) -> EmbeddedTorStanding {
        self.0.state.borrow().standing.clone()
    }

    /// Has it begin, if it has not yet, and waits for nothing.
    pub fn start(&self) {
        self.0.thread.get_or_init(|| {
            let (end, ended) = oneshot::channel();
            let (config, state) = (self.0.config.clone(), self.0.state.clone());
            let begun = std::thread::Builder::new()
                .name("embedded-tor".to_owned())
                .spawn(move || run(&config, &state, ended));
            if let Err(error) = begun {
                self.0.state.send_modify(|state| state.failed = Some(failed(&error)));
            }
            end
        });
    }

    /// Waits until it carries streams, for three minutes at most. One that did before is not waited for: it finds out by
    /// trying whether it does again.
    ///
    /// # Errors
    ///
    /// [`EmbeddedTorError::Failed`] when it never will, [`EmbeddedTorError::NotReady`] when it does not yet.
    pub async fn ready(&self) -> Result<(), EmbeddedTorError> {
        self.client().await.map(drop)
    }

    async fn client(&self) -> Result<Client, EmbeddedTorError> {
        self.start();
        let mut watched = self.0.state.subscribe();
        let settled = watched.wait_for(|state| state.failed.is_some() || state.client.is_some());
        // The sender lives as long as this handle.
        let state = match timeout(PATIENCE, settled).await {
            Ok(Ok(state)) => state.clone(),
            _ => return Err(EmbeddedTorError::NotReady(self.standing())),
        };
        match state {
            State {
                failed: Some(error), ..
            } => Err(error),
            State {
                client: Some(client), ..
            } => Ok(client),
            State { standing, .. } => Err(EmbeddedTorError::NotReady(standing)),
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// As [`Self::ready`], and [`EmbeddedTorError::Refused`].
    pub async fn connect(
        &self,
        host: &Host,
        port: u16,
        group: StreamGroup,
    ) -> Result<Box<dyn Duplex>, EmbeddedTorError> {
        let target = match host {
            Host::Name(name) => (name.as_str(), port).into_tor_addr(),
            // Whoever has an address has looked up no name for it.
            Host::Ip(address) => (*address, port).into_tor_addr_dangerously(),
        };
        let target = target.map_err(|_| EmbeddedTorError::Refused(TorRefusal::Address))?;
        let stream = self
            .ask(async move |tor| tor.connect_with_prefs(target, &group.preferences()).await)
            .await?;
        Ok(Box::new(stream))
    }

    /// Finds the addresses of a host, by way of an exit.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn resolve(&self, name: &str, group: StreamGroup) -> Result<Vec<IpAddr>, EmbeddedTorError> {
        let name = name.to_owned();
        self.ask(async move |tor| tor.resolve_with_prefs(&name, &group.preferences()).await)
            .await
    }

    /// Finds the hosts of an address, by way of an exit.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn resolve_address(&self, address: IpAddr, group: StreamGroup) -> Result<Vec<String>, EmbeddedTorError> {
        self.ask(async move |tor| tor.resolve_ptr_with_prefs(address, &group.preferences()).await)
            .await
    }

    /// Has something done in its own runtime. It is given up if nobody waits for it any more.
    async fn ask<T, F, W>(&self, work: W) -> Result<T, EmbeddedTorError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<TorClient<TokioRustlsRuntime>>) -> F,
        F: Future<Output = arti_client::Result<T>> + Send + 'static,
    {
        let Client { tor, runtime } = self.client().await?;
        let mut task = JoinSet::new();
        task.spawn_on(work(tor), &runtime);
        match task.join_next().await {
            Some(Ok(done)) => done.map_err(|error| EmbeddedTorError::Refused((&error).into())),
            // Its runtime has ended, or a bug ended the task.
            Some(Err(_)) | None => Err(EmbeddedTorError::Refused(TorRefusal::OnTheWay)),
        }
    }
}

/// The same one, not an equal one.
impl PartialEq for EmbeddedTor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EmbeddedTor {}

impl fmt::Debug for EmbeddedTor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedTor(..)")
    }
}

fn failed(error: &dyn std::error::Error) -> EmbeddedTorError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some say what their cause says.
        if !reason.ends_with(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    EmbeddedTorError::Failed { reason }
}

/// How one try to run it ended.
enum Ending {
    /// Nobody has a handle any more.
    Unwanted,
    /// It can't run at all.
    Failed(EmbeddedTorError),
    /// It got no further for so long that it is begun with anew.
    Stuck,
}

/// Runs it in this thread until nobody has a handle any more.
fn run(config: &TorClientConfig, state: &watch::Sender<State>, mut ended: oneshot::Receiver<Infallible>) {
    // Which of two makers of cryptography TLS has is for a program to say; there may be one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut watch, mut tries) = (Watch::new(), 0_u32);
    loop {
        watch.begin(STUCK.pause(tries));
        tries = tries.saturating_add(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("embedded-tor")
            .enable_all()
            .build();
        let ending = match &runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    _ = &mut ended => Ending::Unwanted,
                    ending = carry(config.clone(), state, &mut watch) => ending,
                }
            }),
            Err(error) => Ending::Failed(failed(error)),
        };
        match (ending, runtime) {
            // Its folder is free for the next try once all that it does has ended.
            (Ending::Stuck, Ok(runtime)) => runtime.shutdown_timeout(LAST_WORDS),
            (Ending::Failed(error), _) => {
                tracing::error!("{error}");
                return state.send_modify(|state| state.failed = Some(error));
            }
            (_, runtime) => return runtime.map(Runtime::shutdown_background).unwrap_or_default(),
        }
    }
}

/// Watches one try after the other.
struct Watch {
    begun: Instant,
    headway: Headway,
    /// Since when the present try runs, and how long it may get no further.
    tried: Duration,
    patience: Duration,
}

impl Watch {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            headway: Headway::default(),
            tried: Duration::ZERO,
            patience: Duration::MAX,
        }
    }

    fn begin(&mut self, patience: Duration) {
        (self.tried, self.patience) = (self.begun.elapsed(), patience);
    }

    fn standing(&mut self, status: &BootstrapStatus) -> EmbeddedTorStanding {
        self.headway.standing(
            self.begun.elapsed(),
            status.as_frac(),
            status.ready_for_traffic(),
            status.blocked().map(|blockage| blockage.to_string()),
        )
    }

    fn is_stuck(&self) -> bool {
        let since = self.headway.since().max(self.tried);
        self.begun.elapsed().saturating_sub(since) >= self.patience
    }
}

/// Begins it, and tells how far it is.
async fn carry(config: TorClientConfig, state: &watch::Sender<State>, watch: &mut Watch) -> Ending {
    let runtime = match TokioRustlsRuntime::current() {
        Ok(runtime) => runtime,
        Err(error) => return Ending::Failed(failed(&error)),
    };
    let builder = TorClient::with_runtime(runtime)
        .config(config)
        .bootstrap_behavior(BootstrapBehavior::Manual);
    let tor = match builder.create_unbootstrapped_async().await {
        Ok(tor) => tor,
        Err(error) => return Ending::Failed(failed(&error)),
    };
    tokio::select! {
        () = tell(&tor, state, watch) => Ending::Stuck,
        never = begin(&tor, state) => match never {},
    }
}

/// Tells how far it is, whenever that changes; returns once it is stuck before it carried any stream.
async fn tell(tor: &TorClient<TokioRustlsRuntime>, state: &watch::Sender<State>, watch: &mut Watch) {
    let mut events = tor.bootstrap_events();
    loop {
        let standing = watch.standing(&tor.bootstrap_status());
        let pause = if standing.ready { LOOK_AGAIN } else { QUIET };
        let mut has_carried = false;
        state.send_if_modified(|state| {
            has_carried = state.client.is_some();
            let is_new = state.standing != standing;
            state.standing = standing;
            is_new
        });
        if !has_carried && watch.is_stuck() {
            return;
        }
        // The stream of events ends with the client, which is borrowed here.
        let _ = timeout(pause, events.next()).await;
    }
}

/// Has it get ready, however often that takes.
async fn begin(tor: &Arc<TorClient<TokioRustlsRuntime>>, state: &watch::Sender<State>) -> Infallible {
    let mut failures = 0;
    while let Err(error) = tor.bootstrap().await {
        tracing::warn!("{}; trying again", failed(&error));
        sleep(PAUSES.pause(failures)).await;
        failures += 1;
    }
    tracing::info!("the embedded Tor is ready");
    let client = Client {
        tor: Arc::clone(tor),
        runtime: Handle::current(),
    };
    state.send_modify(|state| state.client = Some(client));
    std::future::pending().await
}
