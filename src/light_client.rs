//! The library's face: a light client that runs in the background of a program.

use std::path::PathBuf;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::chain::anchor::AnchorError;
use crate::chain::sync::Progress;
use crate::chain::{Anchor, Network};
use crate::isolation::IsolationId;
use crate::name::lookup::MAX_QUORUM;
use crate::name::{NameId, Outcome};
use crate::net::pool::{MAX_OPENINGS_AN_HOUR, PoolSettings};
use crate::net::{self, ConnectionLimits, Proxy, ServerAddr, servers};
use crate::node::{Node, NodeConfig, NodeError};
use crate::service::{Daemon, DaemonSettings, Question, ServiceError, run_daemon};

/// What a light client is made from; begin with [`LightClient::builder`].
#[derive(Clone, Debug)]
pub struct LightClientBuilder {
    network: Network,
    data_folder: PathBuf,
    anchor: Option<Anchor>,
    proxy: Proxy,
    servers: Vec<String>,
    quorum: u8,
    openings_ahead: u32,
}

/// Why there is no light client, or none any more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LightClientError {
    /// A server's address is none.
    #[error("`{address}` is no server: {error}")]
    Server {
        /// What was given.
        address: String,
        /// What is wrong with it.
        error: net::address::AddressError,
    },
    /// No anchor is shipped for the network.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The node can't begin, or failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A quorum that no lookup can have.
    #[error("a quorum of {quorum} servers; it must be from 1 to {MAX_QUORUM}")]
    Quorum {
        /// What was given.
        quorum: u8,
    },
    /// It has ended.
    #[error("the light client has ended")]
    Ended,
}

impl LightClientBuilder {
    /// Verifies from this block on, in place of the one shipped for the network.
    #[must_use]
    pub fn anchor(self, anchor: Anchor) -> Self {
        Self {
            anchor: Some(anchor),
            ..self
        }
    }

    /// Goes out by this proxy, which should be Tor or the Tor within the library, in place of a Tor on 127.0.0.1, port 9050 or
    /// 9150.
    #[must_use]
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { proxy, ..self }
    }

    /// Asks these Electrum servers (`HOST:PORT`, `HOST:PORT:t` for plain TCP) in place of the shipped ones.
    #[must_use]
    pub fn servers(self, servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Has so many servers answer each lookup, 1 to 8; the newest proved
    /// value wins. 1 where nothing is said.
    #[must_use]
    pub fn quorum(self, quorum: u8) -> Self {
        Self { quorum, ..self }
    }

    /// Opens so many connections ahead of lookups in an hour, on average, for new isolation IDs to begin with; at most 60,
    /// which is the default. With 0 none is, and each new ID waits for one of its own.
    #[must_use]
    pub fn openings_ahead(self, an_hour: u32) -> Self {
        Self {
            openings_ahead: an_hour.min(MAX_OPENINGS_AN_HOUR),
            ..self
        }
    }

    /// Starts it: headers are fetched in the background from now on.
    ///
    /// # Errors
    ///
    /// [`LightClientError`] when an address is none, or the data folder can't be used.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time and I/O enabled.
    pub async fn start(self) -> Result<LightClient, LightClientError> {
        if !(1..=MAX_QUORUM).contains(&self.quorum) {
            return Err(LightClientError::Quorum { quorum: self.quorum });
        }
        let named = self.servers.iter().map(|address| {
            let parsed: Result<ServerAddr, _> = address.parse();
            parsed.map_err(|error| LightClientError::Server {
                address: address.clone(),
                error,
            })
        });
        let named = named.collect::<Result<Vec<_>, _>>()?;
        // Who names servers wants these and no others.
        let discover = named.is_empty();
        let config = NodeConfig {
            network: self.network,
            folder: self.data_folder,
            anchor: match self.anchor {
                Some(anchor) => anchor,
                None => Anchor::shipped(self.network)?,
            },
            servers: if named.is_empty() {
                servers::servers(self.network)
            } else {
                named
            },
            discover,
            proxy: self.proxy,
            connection_limits: ConnectionLimits::default(),
        };
        let mut settings = DaemonSettings {
            asks_beside_sync: true,
            ..DaemonSettings::default()
        };
        settings.lookup.quorum = self.quorum;
        settings.pool = PoolSettings::with_pace(self.openings_ahead);
        let (node, rebuilt) = Node::open(config)?;
        if let Some(reason) = rebuilt {
            tracing::warn!("the headers on disk are not used: {reason}; they are fetched anew");
        }
        let (started, daemon) = oneshot::channel();
        let running = tokio::spawn(async move {
            let running = run_daemon(node, &settings, |daemon| async move {
                let node = daemon.node.clone();
                // Whoever started it is gone when nobody takes this: then it ends at once.
                if started.send(daemon).is_ok() {
                    tokio::select! {
                        () = node.stopped() => {}
                        never = node.log_trouble() => match never {},
                    }
                }
                Ok(())
            });
            Box::pin(running).await
        });
        let daemon = daemon.await.map_err(|_| LightClientError::Ended)?;
        Ok(LightClient { daemon, running })
    }
}

/// A light client that runs in the background until it is stopped or dropped.
///
/// ```
/// use isonym::{IsolationId, LightClient, Network, Outcome, Proxy};
/// use isonym_sim::SimNetwork;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A simulated network; on the real one, `proxy` and `servers` can be left out where Tor runs.
/// # let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
/// let network = SimNetwork::start(1, isonym::Timestamp(now)).await?;
/// let folder = tempfile::tempdir()?;
/// let client = LightClient::builder(Network::Regtest, folder.path())
///     .proxy(Proxy::Socks5(vec![network.proxy.addr]))
///     .servers(SimNetwork::servers())
///     .start()
///     .await?;
/// client.synced(|_| ()).await?;
///
/// let reader = IsolationId::new(b"one reader of mine").expect("it is short");
/// let Outcome::Found(status) = client.lookup("d/alice", &reader).await? else {
///     panic!("it is registered");
/// };
/// assert_eq!(status.name.value().as_bytes(), br#"{"ip":"192.0.2.10"}"#);
/// client.forget(&reader).await;
/// client.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LightClient {
    daemon: Daemon,
    running: JoinHandle<Result<(), NodeError>>,
}

impl LightClient {
    /// Begins to make one that keeps its headers in a folder, which no other process uses at the same time.
    pub fn builder(network: Network, data_folder: impl Into<PathBuf>) -> LightClientBuilder {
        LightClientBuilder {
            network,
            data_folder: data_folder.into(),
            anchor: None,
            proxy: Proxy::tor(),
            servers: Vec::new(),
            quorum: 1,
            openings_ahead: MAX_OPENINGS_AN_HOUR,
        }
    }

    /// Waits until the headers are up to date, and tells its progress meanwhile. Lookups wait for that by themselves.
    ///
    /// # Errors
    ///
    /// [`NodeError::NoServer`] when no server could be used for now, [`NodeError::NotSynchronized`] when what they have is
    /// too old. It goes on trying in the background, so that this can be called again.
    pub async fn synced(&self, on_progress: impl FnMut(Progress)) -> Result<(), NodeError> {
        self.daemon.node.synced(on_progress).await.map(drop)
    }

    /// Looks a name (`d/example`) up and proves what it finds. Lookups with equal isolation IDs may be linked with each
    /// other by whoever watches; all others run over connections, circuits and memories of their own. A name that is too
    /// long was never registered.
    ///
    /// A lookup that comes before the headers are up to date asks at once, and is judged when they are: a first one takes as
    /// long as they do.
    ///
    /// # Errors
    ///
    /// [`ServiceError`] when it can't be found out.
    pub async fn lookup(&self, name: &str, id: &IsolationId) -> Result<Outcome, ServiceError> {
        let Some(name) = NameId::new(name.as_bytes()) else {
            return Ok(Outcome::NeverExisted);
        };
        let question = Question {
            name,
            isolation_id: Some(id.clone()),
            allow_expired: false,
            quorum: None,
            max_age: None,
        };
        let proved = self.daemon.names.name_show(&question).await?.into_proved()?;
        Ok(proved.outcome.clone())
    }

    /// Forgets an isolation ID: what is remembered for it, and its connections. No later lookup under it has to do with
    /// earlier ones.
    pub async fn forget(&self, id: &IsolationId) {
        self.daemon.names.forget(Some(id)).await;
    }

    /// Stops it, and waits until what it learnt is on the disk.
    ///
    /// # Errors
    ///
    /// [`NodeError::Store`] and [`NodeError::Folder`] when the disk did not take it.
    pub async fn stop(mut self) -> Result<(), NodeError> {
        let written = self.daemon.node.written().await;
        self.daemon.node.stop();
        (&mut self.running).await.unwrap_or(Err(NodeError::Stopped))?;
        written
    }
}

impl Drop for LightClient {
    fn drop(&mut self) {
        self.daemon.node.stop();
    }
}
