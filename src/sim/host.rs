//! The edge: a simulated server on 127.0.0.1, over TCP or TLS.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::ledger::Ledger;
use super::server::{HOLD_BELOW, MAX_LINE, Output, Then};
use super::{Fault, Release, Server, Session, SimChain, World};
use crate::isolation::ConnId;
use crate::time::Moment;

/// Reads the steady clock that all hosts and proxies of a process share.
pub(super) fn now() -> Moment {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    Moment(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// A world that servers share: it can grow and reorganise while they run.
#[derive(Clone, Debug)]
pub struct SharedWorld {
    world: Arc<Mutex<World>>,
    changes: Arc<watch::Sender<()>>,
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
    server: Arc<Mutex<Server>>,
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (acceptor, certificate) = match transport {
            Transport::Tcp => (None, None),
            Transport::Tls => {
                let (config, certificate) = tls_config(name)?;
                (Some(TlsAcceptor::from(Arc::new(config))), Some(certificate))
            }
        };
        let server = Arc::new(Mutex::new(server));
        let desk = Desk {
            name: name.to_owned(),
            server: Arc::clone(&server),
            world,
            ledger,
        };
        let accepting = tokio::spawn(accept(listener, acceptor, desk));
        Ok(Self {
            addr,
            name: name.to_owned(),
            certificate,
            server,
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
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_fault(fault);
    }
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

/// What every connection of one server needs.
#[derive(Clone)]
struct Desk {
    name: String,
    server: Arc<Mutex<Server>>,
    world: SharedWorld,
    ledger: Ledger,
}

impl Desk {
    fn with_server(&self, act: impl FnOnce(&mut Server, &SimChain) -> Output) -> Output {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        self.world.read(|chain| act(&mut server, chain))
    }
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
                None => serve(stream, conn, &desk).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, conn, &desk).await,
                    Err(error) => Err(error),
                },
            };
            desk.ledger.record_end(conn);
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite, conn: ConnId, desk: &Desk) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    tokio::pin!(writer);
    let mut reader = BufReader::new(reader);
    let mut changes = desk.world.changes.subscribe();
    let mut session = Session::default();
    let mut line = Vec::new();
    let mut waiting = Waiting::default();
    loop {
        let room = u64::try_from(MAX_LINE.saturating_sub(line.len())).unwrap_or(0);
        let mut limited = (&mut reader).take(room);
        let mut output = tokio::select! {
            // Cancelled, it leaves what it has read in `line`.
            read = limited.read_until(b'\n', &mut line) => {
                if read? == 0 || line.pop_if(|last| *last == b'\n').is_none() {
                    return Ok(());
                }
                desk.ledger.record_request(conn, &line, now());
                let output = desk.with_server(|server, chain| server.on_line(&mut session, chain, &line));
                line.clear();
                output
            }
            known = changes.changed() => {
                if known.is_err() {
                    return Ok(());
                }
                desk.with_server(|server, chain| server.on_block(&mut session, chain))
            }
            () = tokio::time::sleep_until(waiting.until), if !waiting.lines.is_empty() => Output::default(),
        };
        if waiting.holds(&mut output) {
            continue;
        }
        if !send(&mut writer, output).await? {
            return Ok(());
        }
        waiting.until = Instant::now();
    }
}

/// Replies that are held back.
struct Waiting {
    lines: Vec<Vec<u8>>,
    /// When they must go; while there are none, when something was last sent.
    until: Instant,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            until: Instant::now(),
        }
    }
}

impl Waiting {
    /// Keeps the lines of `output` if they are to be held back and not too many wait, else puts those that waited in
    /// front of them.
    fn holds(&mut self, output: &mut Output) -> bool {
        if self.lines.is_empty() {
            self.until += output.hold;
        }
        self.lines.append(&mut output.lines);
        let bytes: usize = self.lines.iter().map(Vec::len).sum();
        let held = Instant::now() < self.until && bytes < HOLD_BELOW && output.then == Then::GoOn;
        if !held {
            output.lines = mem::take(&mut self.lines);
        }
        held
    }
}

/// Does what the server wants done; says whether the connection goes on.
async fn send(writer: &mut (impl AsyncWrite + Unpin), output: Output) -> io::Result<bool> {
    if !output.delay.is_zero() {
        tokio::time::sleep(output.delay).await;
    }
    for line in output.lines {
        writer.write_all(&[line.as_slice(), b"\n"].concat()).await?;
    }
    writer.flush().await?;
    match output.then {
        Then::GoOn => Ok(true),
        Then::Close => {
            writer.shutdown().await?;
            Ok(false)
        }
        Then::Forever(bytes) => loop {
            writer.write_all(&bytes).await?;
            tokio::task::yield_now().await;
        },
    }
}
