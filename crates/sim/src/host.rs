//! The edge: a simulated server on 127.0.0.1, over TCP or TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::conversation::{Desk, converse};
use super::ledger::Ledger;
use super::{Fault, Release, Server, SimChain, World};
use isonym_core::time::Moment;

/// What the system may hold in bytes where a sender is to notice a slow receiver. By itself it holds megabytes on
/// loopback, which would hide that replies wait.
pub(super) const BUFFER: u32 = 128 * 1024;

/// Most clients that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The beginning of the steady clock that all hosts and proxies of a process share.
pub(super) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Reads the clock that ledgers and tapes go by.
pub fn now() -> Moment {
    Moment::default() + origin().elapsed()
}

/// A world that servers share: it can grow and reorganise while they run.
#[derive(Clone, Debug)]
pub struct SharedWorld {
    world: Arc<Mutex<World>>,
    pub(super) changes: Arc<watch::Sender<()>>,
}

impl SharedWorld {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            changes: Arc::new(watch::Sender::new(())),
        }
    }

    fn locked(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the chain.
    pub fn read<T>(&self, look: impl FnOnce(&SimChain) -> T) -> T {
        look(self.locked().chain())
    }

    /// Changes the world (replaces it too: `*world = world.fork_at(..)`), then lets all servers tell their
    /// subscribers.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.locked());
        self.changes.send_replace(());
        result
    }
}

/// Why a server can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No port can be opened on 127.0.0.1.
    #[error("can't listen on 127.0.0.1")]
    Listen(#[from] io::Error),
    /// No certificate can be made.
    #[error("can't make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library doesn't take the certificate.
    #[error("can't set up TLS")]
    Tls(#[from] rustls::Error),
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS with a new self-signed certificate for the server's name.
    Tls,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its name in the ledger and in its certificate.
    pub name: String,
    /// Its certificate (DER), if it speaks TLS.
    pub certificate: Option<Vec<u8>>,
    desk: Desk,
    accepting: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its connections' tasks end with it: they belong to the task's join set.
        self.accepting.abort();
    }
}

impl Host {
    /// Starts a server on a free port of 127.0.0.1.
    pub async fn start(
        name: &str,
        transport: Transport,
        server: Server,
        world: SharedWorld,
        ledger: Ledger,
    ) -> Result<Self, HostError> {
        let listener = listen(server.limits().is_some()).await?;
        let addr = listener.local_addr()?;
        let (acceptor, certificate) = match transport {
            Transport::Tcp => (None, None),
            Transport::Tls => {
                let (config, certificate) = tls_config(name)?;
                (Some(TlsAcceptor::from(Arc::new(config))), Some(certificate))
            }
        };
        let desk = Desk::new(name, server, world, ledger);
        let accepting = tokio::spawn(accept(listener, acceptor, desk.clone()));
        Ok(Self {
            addr,
            name: name.to_owned(),
            certificate,
            desk,
            accepting,
        })
    }

    /// Starts an honest server over TCP, of the release that is the default.
    pub async fn honest(name: &str, world: SharedWorld, ledger: Ledger) -> Result<Self, HostError> {
        let server = Server::new(Release::default(), None);
        Self::start(name, Transport::Tcp, server, world, ledger).await
    }

    /// Changes what the server does wrong from the next request on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.desk.set_fault(fault);
    }
}

async fn listen(notices_slow_clients: bool) -> io::Result<TcpListener> {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    if !notices_slow_clients {
        return TcpListener::bind::<SocketAddr>(addr).await;
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn tls_config(name: &str) -> Result<(ServerConfig, Vec<u8>), HostError> {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let der: CertificateDer<'static> = cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)?;
    Ok((config, der.to_vec()))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, desk: Desk) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, peer)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let conn = desk.ledger.record_connection(&desk.name, peer.port(), now());
        let (desk, acceptor) = (desk.clone(), acceptor.clone());
        connections.spawn(async move {
            // However a client goes, the server takes no harm: what it did is in the ledger.
            let _ = match acceptor {
                None => converse(stream, conn, &desk).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => converse(stream, conn, &desk).await,
                    Err(error) => Err(error),
                },
            };
            desk.ledger.record_end(conn);
        });
    }
}
