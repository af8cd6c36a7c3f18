//! Connects to Tor's control port, logs in, and carries out what the controller decides; again whenever Tor comes back.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::auth::{self, AuthError, Login, Way};
use super::controller::{ControlError, Controller, Effect, Tell};
use super::reply::{Decoder, Message, ReplyError};
use super::suffixes::Suffixes;
use crate::isolation::IsolationId;
use crate::naming::target::{Failure, Target};

/// How long Tor may take to accept a connection, to reply while we log in, and to read what we write.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long Tor may say nothing at all while it owes a reply.
const SILENCE: Duration = Duration::from_secs(30);

/// The first pause before another try to connect, which doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two tries: streams wait meanwhile, for two minutes at the most.
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// How many lists of isolation IDs wait to be forgotten. Where there are more they are left to be forgotten by time.
const FORGETTING: usize = 1024;

/// Largest cookie file that is read, in bytes.
const MAX_COOKIE: u64 = 1024;

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

/// Where Tor is, and how to log in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub address: ControlAddr,
    /// How.
    pub login: Login,
}

/// What became of the connection to Tor.
#[derive(Debug)]
pub enum News<'a> {
    /// Streams are taken care of.
    Ready,
    /// It can't be connected to, or has gone; tried again.
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
    /// It can't be connected to.
    #[error("cannot connect to Tor's control port at {address}")]
    Connect {
        /// Where it should be.
        address: ControlAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to Tor's control port broke")]
    Io(#[from] io::Error),
    /// Tor closed it: it ends, or refuses the login.
    #[error("Tor closed its control port")]
    Closed,
    /// Tor says nothing.
    #[error("Tor does not answer on its control port")]
    Silent,
    /// Its cookie can't be read.
    #[error("cannot read Tor's control cookie {path}")]
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
    /// The login is refused.
    #[error("Tor refused the login at its control port: {0}")]
    Login(String),
    /// What comes is no reply of Tor's.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// It is no use to go on.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl SessionError {
    /// Says whether it is for the user to mend: trying again would not. What went well before may do so again, as the files
    /// of a Tor that starts are not all there at once.
    fn is_final(&self, was_ready: bool) -> bool {
        match self {
            Self::Control(ControlError::Unsafe) => true,
            Self::Cookie { .. } | Self::Auth(_) | Self::Login(_) | Self::Reply(_) | Self::Control(_) => !was_ready,
            Self::Connect { .. } | Self::Io(_) | Self::Closed | Self::Silent => false,
        }
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has what arrived be acknowledged at once.
    fn acknowledge(&self) {}
}

impl Wire for TcpStream {
    /// Tor writes its events one by one, and its system holds each back until the one before is acknowledged (RFC 896):
    /// with acknowledgements that are delayed as usual, a stream waits 40 milliseconds for nothing.
    fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // It is slower without, and no worse.
        let _ = socket2::SockRef::from(self).set_tcp_quickack(true);
    }
}

impl Wire for UnixStream {}

/// Takes care of a Tor's streams until `stop` is ready.
///
/// # Errors
///
/// [`SessionError`] for what the user has to mend.
pub async fn run(
    settings: &Settings,
    suffixes: Arc<Suffixes>,
    news: impl Fn(News<'_>),
    stop: impl Future<Output = ()>,
) -> Result<(), SessionError> {
    let mut work = Work::new(suffixes);
    let forever = async {
        let mut pause = FIRST_PAUSE;
        let mut was_ready = false;
        loop {
            work.ready = false;
            let end = work.session(settings, &news).await;
            work.controller.end();
            // Nothing is sent any more.
            let _ = work.carry_out(&news);
            was_ready |= work.ready;
            if end.is_final(was_ready) {
                return end;
            }
            if work.ready {
                pause = FIRST_PAUSE;
            }
            news(News::Away(&end));
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    };
    tokio::select! {
        end = forever => Err(end),
        () = stop => Ok(()),
    }
}

/// What outlives a connection.
struct Work {
    controller: Controller,
    suffixes: Arc<Suffixes>,
    lookups: JoinSet<(u64, Result<Target, Failure>)>,
    handles: HashMap<u64, AbortHandle>,
    forget: mpsc::Sender<Vec<IsolationId>>,
    /// Whether streams were taken care of over the newest connection.
    ready: bool,
    /// Ends with this.
    _forgetting: JoinSet<()>,
}

impl Work {
    fn new(suffixes: Arc<Suffixes>) -> Self {
        let mut secret = [0; 64];
        rand::Rng::fill(&mut rand::rng(), &mut secret[..]);
        let (forget, mut to_forget) = mpsc::channel(FORGETTING);
        let namer = suffixes.namer().clone();
        let mut forgetting = JoinSet::new();
        forgetting.spawn(async move {
            while let Some(ids) = to_forget.recv().await {
                namer.forget(ids).await;
            }
        });
        Self {
            controller: Controller::new(suffixes.names().map(str::to_owned).collect(), secret),
            suffixes,
            lookups: JoinSet::new(),
            handles: HashMap::new(),
            forget,
            ready: false,
            _forgetting: forgetting,
        }
    }

    /// Takes care of streams for as long as one connection holds.
    async fn session(&mut self, settings: &Settings, news: &impl Fn(News<'_>)) -> SessionError {
        let session = async {
            let mut link = Link::open(&settings.address).await?;
            link.log_in(&settings.login).await?;
            self.controller.begin();
            self.go_on(link, news).await
        };
        match session.await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn go_on(
        &mut self,
        mut link: Link,
        news: &impl Fn(News<'_>),
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let commands = self.carry_out(news);
            if !commands.is_empty() {
                link.write(commands.as_bytes()).await?;
            }
            tokio::select! {
                count = link.wire.read(&mut bytes) => {
                    let count = count?;
                    if count == 0 {
                        return Err(SessionError::Closed);
                    }
                    // It lasts for a moment only.
                    link.wire.acknowledge();
                    link.decoder.push(bytes.get(..count).unwrap_or_default());
                    while let Some(message) = link.decoder.message()? {
                        self.controller.take(&message)?;
                    }
                }
                Some(done) = self.lookups.join_next() => {
                    // One that was aborted has no result.
                    if let Ok((number, result)) = done {
                        self.handles.remove(&number);
                        self.controller.resolved(number, result);
                    }
                }
                () = sleep(SILENCE), if self.controller.awaits_reply() => return Err(SessionError::Silent),
            }
        }
    }

    /// Does what the controller wants, and returns the commands that are to be sent.
    fn carry_out(&mut self, news: &impl Fn(News<'_>)) -> String {
        let mut commands = String::new();
        for effect in self.controller.effects() {
            match effect {
                Effect::Send(command) => {
                    commands.push_str(&command);
                    commands.push_str("\r\n");
                }
                Effect::Resolve(lookup) => {
                    let suffixes = Arc::clone(&self.suffixes);
                    let number = lookup.number;
                    let work = async move {
                        let result = suffixes
                            .resolve(lookup.suffix, &lookup.name, lookup.want, &lookup.id)
                            .await;
                        (number, result)
                    };
                    self.handles.insert(number, self.lookups.spawn(work));
                }
                Effect::Abort(number) => {
                    if let Some(handle) = self.handles.remove(&number) {
                        handle.abort();
                    }
                }
                Effect::Forget(ids) => drop(self.forget.try_send(ids)),
                Effect::Tell(Tell::Ready) => {
                    self.ready = true;
                    news(News::Ready);
                }
                Effect::Tell(Tell::OptionRestored) => news(News::OptionRestored),
                Effect::Tell(Tell::NewIdentity) => news(News::NewIdentity),
            }
        }
        commands
    }
}

/// A connection to a control port.
struct Link {
    wire: Box<dyn Wire>,
    decoder: Decoder,
}

impl Link {
    async fn open(address: &ControlAddr) -> Result<Self, SessionError> {
        let connecting = async {
            Ok::<Box<dyn Wire>, io::Error>(match address {
                ControlAddr::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                ControlAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let wire = timeout(PATIENCE, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let wire = wire.map_err(|source| SessionError::Connect {
            address: address.clone(),
            source,
        })?;
        Ok(Self {
            wire,
            decoder: Decoder::default(),
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let written = timeout(PATIENCE, self.wire.write_all(bytes)).await;
        written.map_err(|_| SessionError::Silent)?.map_err(SessionError::Io)
    }

    /// Gives a command and returns its reply. No events were asked for yet.
    async fn command(&mut self, command: &str) -> Result<Message, SessionError> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        let reply = async {
            let mut bytes = [0; 4096];
            loop {
                if let Some(message) = self.decoder.message()? {
                    return Ok(message);
                }
                let count = self.wire.read(&mut bytes).await?;
                if count == 0 {
                    return Err(SessionError::Closed);
                }
                self.decoder.push(bytes.get(..count).unwrap_or_default());
            }
        };
        timeout(PATIENCE, reply).await.unwrap_or(Err(SessionError::Silent))
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), SessionError> {
        let offers = self.command("PROTOCOLINFO 1").await?;
        auth::check_version(&offers)?;
        let command = match auth::choose(&offers, login)? {
            Way::Nothing => "AUTHENTICATE".to_owned(),
            Way::Password => auth::say_password(login.password.as_deref().unwrap_or_default()),
            Way::Cookie(path) => auth::say(&read_cookie(path)?)?,
            Way::SafeCookie(path) => {
                let cookie = read_cookie(path)?;
                let nonce = rand::random();
                let reply = self.command(&auth::challenge(&nonce)).await?;
                auth::say(&auth::answer(&reply, &cookie, &nonce)?)?
            }
        };
        let reply = self.command(&command).await?;
        if reply.is_ok() {
            Ok(())
        } else {
            Err(SessionError::Login(reply.text().to_owned()))
        }
    }
}

fn read_cookie(path: PathBuf) -> Result<Vec<u8>, SessionError> {
    let read = |path: &PathBuf| {
        // Whoever answers names the file: to open anything else might take forever.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut cookie = Vec::new();
        let file = std::fs::File::open(path)?;
        io::Read::read_to_end(&mut io::Read::take(file, MAX_COOKIE), &mut cookie)?;
        Ok(cookie)
    };
    read(&path).map_err(|source| SessionError::Cookie { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

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
