//! Connects to Tor's control port, logs in, and carries out what the controller decides; again whenever Tor comes back.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zeroize::Zeroizing;

use super::auth::{self, AuthError, ControlLogin, LoginMethod};
use super::controller::{ControlError, Controller, ControllerEffect, ControllerEvent, Notice, StreamLookup};
use super::reply::{ControlDecoder, ControlMessage, ControlReplyError};
use super::suffixes::Suffixes;
use crate::backoff::Backoff;
use crate::isolation::IsolationId;
use crate::naming::target::{Failure, Target};
use crate::time::Moment;

/// Whether it was said that the Tor in use may join streams.
static TOLD_OF_LEAKS: Once = Once::new();

/// How long Tor may take to accept a connection, to reply while we log in, and to read what we write.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pauses between two tries to connect: streams wait meanwhile, for two minutes at the most.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));

/// How many lists of isolation IDs wait to be forgotten. Where there are more they are left to be forgotten by time.
const FORGETTING: usize = 1024;

/// How long Tor may take to read the last that it is told.
const FAREWELL: Duration = Duration::from_secs(2);

/// Largest cookie file that is read, in bytes.
const MAX_COOKIE: u64 = 1024;

/// Largest file that is read of those in which Tor says where its control port is, in bytes.
const MAX_PORT_FILE: u64 = 16 << 10;

/// Where a control port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddr {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl ControlAddr {
    /// Where Tor has it unless told otherwise.
    pub const DEFAULT: Self = Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9051));
}

/// A text that tells no place of a control port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no place of a control port; give IP:PORT or the path of a Unix socket")]
pub struct ControlAddrError(String);

impl FromStr for ControlAddr {
    type Err = ControlAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let address = match text.strip_prefix("localhost:") {
            // The system is not asked for it.
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let address = address.parse().map_err(|_| ControlAddrError(text.to_owned()))?;
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for ControlAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How a control port is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlace {
    /// It is there.
    At(ControlAddr),
    /// It is where this file says, which Tor writes when it starts (`ControlPortWriteToFile`).
    File(PathBuf),
}

impl ControlPlace {
    /// Finds out where it is by now.
    pub(super) fn find(&self) -> Result<ControlAddr, SessionError> {
        match self {
            Self::At(address) => Ok(address.clone()),
            Self::File(path) => {
                let failed = |source| SessionError::PortFile {
                    path: path.clone(),
                    source,
                };
                let text = read_file(path, MAX_PORT_FILE).map_err(failed)?;
                let text = String::from_utf8_lossy(&text);
                let address = port_in_file(&text);
                address.ok_or_else(|| failed(io::Error::other("it names no control port")))
            }
        }
    }
}

impl fmt::Display for ControlPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::File(path) => write!(f, "the place that {} names", path.display()),
        }
    }
}

/// Returns the first control port of those that stand in Tor's file, one a line. Source: Tor, `control.c`,
/// `control_ports_write_to_file`.
fn port_in_file(text: &str) -> Option<ControlAddr> {
    text.lines().find_map(|line| {
        let (kind, place) = line.trim_end().split_once('=')?;
        match kind {
            "PORT" => place.parse().ok().map(ControlAddr::Tcp),
            "UNIX_PORT" => Some(ControlAddr::Unix(place.into())),
            _ => None,
        }
    })
}

/// Where Tor is, and how to log in.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// Where its control port is.
    pub address: ControlPlace,
    /// How to log in there.
    pub login: ControlLogin,
}

/// What became of the connection to Tor.
#[derive(Debug)]
pub enum StatusUpdate<'a> {
    /// Streams are taken care of.
    Ready,
    /// Tor can't be connected to, or has gone, for this reason. Connecting is tried again.
    Away(&'a SessionError),
    /// Tor was told to attach streams itself, and was told otherwise by us.
    OptionRestored,
    /// Tor has a new identity.
    NewIdentity,
}

/// Why a connection to Tor came to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing can be connected to.
    #[error("cannot connect to Tor's control port at {address}")]
    Connect {
        /// Where the control port should be.
        address: ControlAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file that says where the control port is can't be read, or is not there yet.
    #[error("cannot read where Tor's control port is in {path}")]
    PortFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to Tor's control port broke")]
    Io(#[from] io::Error),
    /// Tor closed the connection: it ends, or refuses the login.
    #[error("Tor closed its control port")]
    Closed,
    /// Tor's cookie can't be read.
    #[error("cannot read Tor's control cookie {path}; be a member of the group that owns it (debian-tor on Debian)")]
    Cookie {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no way to log in.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Tor refuses the login.
    #[error("Tor refused the login at its control port: {reply}")]
    LoginRefused {
        /// What it replied.
        reply: String,
    },
    /// What arrives is no message of Tor's.
    #[error(transparent)]
    Decode(#[from] ControlReplyError),
    /// Tor does not do what it has to.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl SessionError {
    /// Says whether the user has to mend it, since trying again would not. What went well before may do so again, as the
    /// files of a Tor that starts are not all there at once.
    fn is_final(&self, was_ready: bool) -> bool {
        match self {
            Self::Control(ControlError::Unsafe) => true,
            Self::Control(ControlError::Silent)
            | Self::Connect { .. }
            | Self::PortFile { .. }
            | Self::Io(_)
            | Self::Closed => false,
            // Tor has not got so far yet, or is still to be started.
            Self::Cookie { source, .. } if source.kind() == io::ErrorKind::NotFound => false,
            Self::Cookie { .. } | Self::Auth(_) | Self::LoginRefused { .. } | Self::Decode(_) | Self::Control(_) => {
                !was_ready
            }
        }
    }
}

/// Says that Tor took too long.
fn silent<T>(_: Elapsed) -> Result<T, SessionError> {
    Err(ControlError::Silent.into())
}

/// A TCP connection or a Unix socket.
trait ControlStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has what arrived be acknowledged at once.
    fn acknowledge(&self) {}
}

impl ControlStream for TcpStream {
    /// Tor writes its events one by one, and its system holds each back until the one before is acknowledged (RFC 896):
    /// with acknowledgements that are delayed as usual, a stream waits 40 milliseconds for nothing.
    fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // It is slower without, and no worse.
        let _ = socket2::SockRef::from(self).set_tcp_quickack(true);
    }
}

impl ControlStream for UnixStream {}

/// Takes care of a Tor's streams until `stop` is ready. Streams that wait by then are ended, since Tor would let them wait
/// on.
///
/// # Errors
///
/// [`SessionError`] for what the user has to mend.
pub async fn run(
    settings: &ControllerSettings,
    suffixes: Arc<Suffixes>,
    report: impl Fn(StatusUpdate<'_>),
    stop: impl Future<Output = ()>,
) -> Result<(), SessionError> {
    let mut task = ControllerTask::new(suffixes);
    let mut stop = pin!(stop);
    let mut failures = 0;
    let mut was_ready = false;
    loop {
        task.ready = false;
        let Err(end) = task.session(settings, &report, stop.as_mut()).await else {
            return Ok(());
        };
        was_ready |= task.ready;
        if end.is_final(was_ready) {
            return Err(end);
        }
        if task.ready {
            failures = 0;
        }
        report(StatusUpdate::Away(&end));
        tokio::select! {
            () = sleep(PAUSES.pause(failures)) => {}
            () = stop.as_mut() => return Ok(()),
        }
        failures = failures.saturating_add(1);
    }
}

/// That the program is about to end, and Tor was told what there was to tell.
struct Stopped;

/// Runs the controller's machine. It outlives connections.
struct ControllerTask {
    controller: Controller,
    suffixes: Arc<Suffixes>,
    lookups: JoinSet<(u64, Result<Target, Failure>)>,
    handles: HashMap<u64, AbortHandle>,
    forget: mpsc::Sender<Vec<IsolationId>>,
    /// Commands that are to be sent.
    commands: String,
    /// The machine's clock counts from here.
    started: Instant,
    /// When the machine wants to be woken up.
    wake: Option<Instant>,
    /// Whether streams were taken care of over the newest connection.
    ready: bool,
    /// Ends with this.
    _forgetting: JoinSet<()>,
}

impl ControllerTask {
    fn new(suffixes: Arc<Suffixes>) -> Self {
        let mut secret = [0; 64];
        rand::Rng::fill(&mut rand::rng(), &mut secret[..]);
        let (forget, mut to_forget) = mpsc::channel(FORGETTING);
        let resolver = suffixes.name_resolver().clone();
        let mut forgetting = JoinSet::new();
        forgetting.spawn(async move {
            while let Some(ids) = to_forget.recv().await {
                resolver.forget(ids).await;
            }
        });
        Self {
            controller: Controller::new(suffixes.names().map(str::to_owned).collect(), secret),
            suffixes,
            lookups: JoinSet::new(),
            handles: HashMap::new(),
            forget,
            commands: String::new(),
            started: Instant::now(),
            wake: None,
            ready: false,
            _forgetting: forgetting,
        }
    }

    /// Takes care of streams for as long as one connection holds, or until `stop` is ready.
    ///
    /// # Errors
    ///
    /// Why the connection ended.
    async fn session(
        &mut self,
        settings: &ControllerSettings,
        report: &impl Fn(StatusUpdate<'_>),
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Stopped, SessionError> {
        let session = async {
            let opening = async {
                let mut connection = ControlConnection::open(&settings.address.find()?).await?;
                connection.log_in(&settings.login).await?;
                Ok::<_, SessionError>(connection)
            };
            let connection = tokio::select! {
                connection = opening => connection?,
                () = stop.as_mut() => return Ok(Stopped),
            };
            self.on_event(ControllerEvent::Connected, report)?;
            self.control(connection, report, stop).await
        };
        let end = session.await;
        // It can want nothing more of a connection that has ended.
        let _ = self.on_event(ControllerEvent::Disconnected, report);
        self.commands.clear();
        end
    }

    async fn control(
        &mut self,
        mut connection: ControlConnection,
        report: &impl Fn(StatusUpdate<'_>),
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Stopped, SessionError> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            if !self.commands.is_empty() {
                connection.write(self.commands.as_bytes()).await?;
                self.commands.clear();
            }
            tokio::select! {
                () = stop.as_mut() => {
                    self.on_event(ControllerEvent::Stopping, report)?;
                    if !self.commands.is_empty() {
                        // What Tor does not read by then it learns by the end of the connection.
                        let _ = timeout(FAREWELL, connection.part(self.commands.as_bytes())).await;
                    }
                    return Ok(Stopped);
                }
                count = connection.stream.read(&mut bytes) => {
                    let count = count?;
                    if count == 0 {
                        return Err(SessionError::Closed);
                    }
                    // It lasts for a moment only.
                    connection.stream.acknowledge();
                    connection.decoder.push(bytes.get(..count).unwrap_or_default());
                    let mut is_partial = true;
                    while let Some(message) = connection.decoder.message()? {
                        is_partial = false;
                        self.on_event(ControllerEvent::Message(message), report)?;
                    }
                    if is_partial {
                        self.on_event(ControllerEvent::PartialMessage, report)?;
                    }
                }
                Some(ended) = self.lookups.join_next() => {
                    // One that was aborted has no result.
                    if let Ok((lookup, result)) = ended {
                        self.handles.remove(&lookup);
                        self.on_event(ControllerEvent::Resolved { lookup, result }, report)?;
                    }
                }
                () = sleep_until(self.wake.unwrap_or(self.started)), if self.wake.is_some() => {
                    self.wake = None;
                    self.on_event(ControllerEvent::Wake, report)?;
                }
            }
        }
    }

    /// Tells the machine of an event and does what it wants. An error is why it wants to disconnect.
    fn on_event(&mut self, event: ControllerEvent, report: &impl Fn(StatusUpdate<'_>)) -> Result<(), ControlError> {
        let now = Moment::default() + self.started.elapsed();
        for effect in self.controller.on_event(now, event) {
            match effect {
                ControllerEffect::Send(command) => {
                    self.commands.push_str(&command);
                    self.commands.push_str("\r\n");
                }
                ControllerEffect::Resolve(lookup) => self.resolve(lookup),
                ControllerEffect::Abort(number) => {
                    if let Some(handle) = self.handles.remove(&number) {
                        handle.abort();
                    }
                }
                ControllerEffect::Forget(ids) => drop(self.forget.try_send(ids)),
                ControllerEffect::Notify(Notice::Ready) => {
                    self.ready = true;
                    report(StatusUpdate::Ready);
                }
                ControllerEffect::Notify(Notice::OptionRestored) => report(StatusUpdate::OptionRestored),
                ControllerEffect::Notify(Notice::NewIdentity) => report(StatusUpdate::NewIdentity),
                ControllerEffect::WakeAt(Moment(milliseconds)) => {
                    let wait = Duration::from_millis(milliseconds);
                    self.wake = self.started.checked_add(wait);
                }
                ControllerEffect::Disconnect(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn resolve(&mut self, lookup: StreamLookup) {
        let suffixes = Arc::clone(&self.suffixes);
        let number = lookup.number;
        let resolving = async move {
            let StreamLookup {
                suffix,
                name,
                target_kind,
                id,
                ..
            } = lookup;
            (number, suffixes.resolve(suffix, &name, target_kind, &id).await)
        };
        self.handles.insert(number, self.lookups.spawn(resolving));
    }
}

/// A connection to a control port.
pub(super) struct ControlConnection {
    stream: Box<dyn ControlStream>,
    decoder: ControlDecoder,
}

impl ControlConnection {
    pub(super) async fn open(address: &ControlAddr) -> Result<Self, SessionError> {
        let connecting = async {
            Ok::<Box<dyn ControlStream>, io::Error>(match address {
                ControlAddr::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                ControlAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let stream = timeout(PATIENCE, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|source| SessionError::Connect {
            address: address.clone(),
            source,
        })?;
        Ok(Self {
            stream,
            decoder: ControlDecoder::default(),
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let written = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        Ok(written.or_else(silent)??)
    }

    /// Writes the last that Tor is told, and waits until it has closed the connection: while there is something left to
    /// read on this side, its end would take away what the other side has not read yet.
    async fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        let mut unread = [0; 4096];
        while self.stream.read(&mut unread).await? > 0 {}
        Ok(())
    }

    /// Gives a command and returns its reply. No events were asked for yet.
    pub(super) async fn command(&mut self, command: &str) -> Result<ControlMessage, SessionError> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        let reply = async {
            let mut bytes = [0; 4096];
            loop {
                if let Some(message) = self.decoder.message()? {
                    return Ok(message);
                }
                let count = self.stream.read(&mut bytes).await?;
                if count == 0 {
                    return Err(SessionError::Closed);
                }
                self.decoder.push(bytes.get(..count).unwrap_or_default());
            }
        };
        timeout(PATIENCE, reply).await.unwrap_or_else(silent)
    }

    pub(super) async fn log_in(&mut self, login: &ControlLogin) -> Result<(), SessionError> {
        let offers = self.command("PROTOCOLINFO 1").await?;
        auth::check_version(&offers)?;
        let command = match auth::choose_method(&offers, login)? {
            LoginMethod::Nothing => "AUTHENTICATE".to_owned(),
            LoginMethod::Password => {
                auth::authenticate_with_password(login.password.as_deref().map_or("", String::as_str))
            }
            LoginMethod::Cookie(path) => auth::authenticate(&read_cookie(path)?)?,
            LoginMethod::SafeCookie(path) => {
                let cookie = read_cookie(path)?;
                let nonce = rand::random();
                let reply = self.command(&auth::challenge(&nonce)).await?;
                auth::authenticate(&auth::answer_challenge(&reply, &cookie, &nonce)?)?
            }
        };
        let reply = self.command(&command).await?;
        if reply.is_ok() {
            if let Some(leaky) = auth::leaky(&offers) {
                // One is enough, however often it is connected to, and by whom.
                TOLD_OF_LEAKS.call_once(|| tracing::warn!("{leaky}"));
            }
            Ok(())
        } else {
            Err(SessionError::LoginRefused {
                reply: reply.text().to_owned(),
            })
        }
    }
}

fn read_cookie(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, SessionError> {
    read_file(&path, MAX_COOKIE).map_err(|source| SessionError::Cookie { path, source })
}

/// Reads the beginning of a file. Whoever answers names the cookie's: to open anything but a file might take forever.
fn read_file(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(auth::SECRET_LEN));
    let file = std::fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, most), &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_in_the_file_of_tor() {
        for (text, expected) in [
            ("PORT=127.0.0.1:9051\n", Some("127.0.0.1:9051")),
            ("UNIX_PORT=/run/tor/a b\nPORT=127.0.0.1:9051\n", Some("/run/tor/a b")),
            ("PORT=[::1]:9051\r\n", Some("[::1]:9051")),
            ("PORT=nonsense\nPORT=127.0.0.1:9151\n", Some("127.0.0.1:9151")),
            ("OTHER=127.0.0.1:9051\n127.0.0.1:9051\n", None),
            ("", None),
        ] {
            let found = port_in_file(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn places_of_control_ports_are_read() {
        for (text, expected) in [
            ("127.0.0.1:9051", "127.0.0.1:9051"),
            ("localhost:9151", "127.0.0.1:9151"),
            ("[::1]:9051", "[::1]:9051"),
            ("/run/tor/control", "/run/tor/control"),
            ("unix:control", "control"),
            ("./control", "./control"),
        ] {
            assert_eq!(text.parse::<ControlAddr>().unwrap().to_string(), expected);
        }
        for text in ["", "9051", "example.com:9051", "127.0.0.1"] {
            assert!(text.parse::<ControlAddr>().is_err(), "{text}");
        }
        assert_eq!(ControlAddr::DEFAULT.to_string(), "127.0.0.1:9051");
    }
}
