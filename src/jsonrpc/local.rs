//! The Unix socket in a data folder, by which commands of the same user reach its daemon. The system tells both ends who
//! the other is, which a port can't: after a daemon's end anybody may take that.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tower_service::Service;

use crate::net::accept::Door;

/// The usual name of the socket, in the data folder.
pub const FILE_NAME: &str = "rpc.sock";

/// The number of root, who may do all that anybody may.
const ROOT: u32 = 0;

/// Longest path that every system takes for a socket, in bytes.
const MAX_PATH: usize = 100;

/// Why there is no socket to listen at, or nobody to talk to at one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Something else lies in its place.
    #[error("{} is no socket: move it away", .0.display())]
    NoSocket(PathBuf),
    /// A program listens there.
    #[error("another program listens at {}", .0.display())]
    InUse(PathBuf),
    /// Who listens is neither this user nor root.
    #[error("user number {user} listens at {}: nothing is told there", .socket.display())]
    Stranger {
        /// Where.
        socket: PathBuf,
        /// Who.
        user: u32,
    },
    /// The system refuses.
    #[error("{}: {error}", .socket.display())]
    System {
        /// Where.
        socket: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Says whether there is a socket that this user may connect to, whoever listens there, or nobody any more.
pub fn is_there(socket: &Path) -> bool {
    let is_socket = fs::symlink_metadata(socket).is_ok_and(|found| is_socket(&found));
    is_socket && rustix::fs::access(socket, rustix::fs::Access::WRITE_OK).is_ok()
}

fn is_socket(found: &Metadata) -> bool {
    found.file_type().is_socket()
}

fn this_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A socket's path as the system takes it. One that is too long goes by its open folder, where the system has such paths.
struct ShortPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl ShortPath {
    fn of(socket: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if socket.as_os_str().len() <= MAX_PATH {
            return Ok(Self {
                path: socket.to_owned(),
                _folder: None,
            });
        }
        let folder = File::open(folder)?;
        Ok(Self {
            path: Path::new("/proc/self/fd")
                .join(folder.as_raw_fd().to_string())
                .join(name),
            _folder: Some(folder),
        })
    }
}

/// Listens for commands of this user and of root, and turns all others away.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    socket: PathBuf,
    users: [u32; 2],
}

impl LocalListener {
    /// Listens at a socket that this user alone may connect to. One that nobody listens at any more is replaced, and
    /// nothing else is.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub async fn bind(socket: &Path) -> Result<Self, LocalError> {
        let failed = |error| LocalError::System {
            socket: socket.to_owned(),
            error,
        };
        let short = ShortPath::of(socket).map_err(failed)?;
        match fs::symlink_metadata(socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !is_socket(&found) => return Err(LocalError::NoSocket(socket.to_owned())),
            Ok(_) => match UnixStream::connect(&short.path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(socket).map_err(failed)?;
                }
                _ => return Err(LocalError::InUse(socket.to_owned())),
            },
        }
        let listener = UnixListener::bind(&short.path).map_err(failed)?;
        fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            socket: socket.to_owned(),
            users: [ROOT, this_user()],
        })
    }

    /// Returns where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Door for LocalListener {
    type Stream = UnixStream;
    type Peer = u32;

    async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            // Who has gone already is nobody to tell anything of.
            let Ok(peer) = stream.peer_cred() else { continue };
            let user = peer.uid();
            if self.users.contains(&user) {
                return Ok((stream, user));
            }
            tracing::warn!("user number {user} was turned away from {}", self.socket.display());
        }
    }
}

/// Connects to the daemon at a socket, if it is one of these users'.
async fn connect(socket: &Path, known: &[u32]) -> Result<UnixStream, LocalError> {
    let failed = |error| LocalError::System {
        socket: socket.to_owned(),
        error,
    };
    if !is_socket(&fs::symlink_metadata(socket).map_err(failed)?) {
        return Err(LocalError::NoSocket(socket.to_owned()));
    }
    let short = ShortPath::of(socket).map_err(failed)?;
    let stream = UnixStream::connect(&short.path).await.map_err(failed)?;
    let user = stream.peer_cred().map_err(failed)?.uid();
    if known.contains(&user) {
        Ok(stream)
    } else {
        let socket = socket.to_owned();
        Err(LocalError::Stranger { socket, user })
    }
}

/// Returns who may listen at a socket: this user and root. Root calls the daemons of others too, each in its own folder.
fn known(socket: &Path) -> Vec<u32> {
    let user = this_user();
    let mut known = vec![ROOT, user];
    if user == ROOT
        && let Some(Ok(folder)) = socket.parent().map(fs::metadata)
    {
        known.push(folder.uid());
    }
    known
}

/// Has HTTP go by a socket, whatever host is named.
#[derive(Clone, Debug)]
pub(super) struct LocalConnector(Arc<Path>);

impl LocalConnector {
    pub(super) fn new(socket: &Path) -> Self {
        Self(socket.into())
    }
}

impl Service<Uri> for LocalConnector {
    type Response = TokioIo<UnixStream>;
    type Error = LocalError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(connect(&socket, &known(&socket)).await?)) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    /// A user who is not this one, nor root.
    fn other_user() -> u32 {
        this_user() + 1
    }

    #[tokio::test]
    async fn one_that_nobody_listens_at_is_replaced_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join(FILE_NAME);
        let first = LocalListener::bind(&socket).await.unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let second = LocalListener::bind(&socket).await;
        assert!(matches!(second, Err(LocalError::InUse(_))), "{second:?}");
        connect(&socket, &[this_user()]).await.unwrap();
        drop(first);
        assert!(is_there(&socket));
        drop(LocalListener::bind(&socket).await.unwrap());
        // Through a link, not even one that leads to a socket that nobody listens at.
        let link = temp.path().join("link");
        symlink(&socket, &link).unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "theirs").unwrap();
        for other in [&link, &file] {
            let bound = LocalListener::bind(other).await;
            assert!(matches!(bound, Err(LocalError::NoSocket(_))), "{bound:?}");
            assert!(!is_there(other));
            connect(other, &[this_user()]).await.unwrap_err();
        }
        assert!(is_there(&socket));
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
    }

    #[tokio::test]
    async fn no_folder_is_too_deep() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("f".repeat(120)).join("g".repeat(120));
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join(FILE_NAME);
        drop(LocalListener::bind(&socket).await.unwrap());
        let listener = LocalListener::bind(&socket).await.unwrap();
        connect(&socket, &[this_user()]).await.unwrap();
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn nobody_else_is_told_anything() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join(FILE_NAME);
        let mut listener = LocalListener::bind(&socket).await.unwrap();
        let user = this_user();
        match connect(&socket, &[other_user()]).await {
            Err(LocalError::Stranger { user: found, .. }) => assert_eq!(found, user),
            other => panic!("{other:?}"),
        }
        let (mut stream, accepted) = listener.accept().await.unwrap();
        assert_eq!((accepted, stream.read(&mut [0; 8]).await.unwrap()), (user, 0));
        // And the other way round.
        listener.users = [other_user(), other_user()];
        let mut turned_away = connect(&socket, &[user]).await.unwrap();
        let accepting = timeout(Duration::from_millis(50), listener.accept());
        assert!(accepting.await.is_err());
        assert_eq!(turned_away.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
