//! What our servers of HTTP share: connections that are bounded in number, bytes and time, and the check that keeps web sites
//! out whose name was made to resolve to us.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HOST, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::net::accept::{Door, Place, Room};

/// Most bytes that are buffered of a request, hence of its headers.
const MAX_HEADERS: usize = 16 << 10;

/// Bounds and waits of all connections that come in at one door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Open at once; one more takes the place of the one that has asked nothing for longest.
    pub connections: usize,
    /// How long the headers of a request may take, idle time before it included.
    pub header_timeout: Duration,
    /// How long a caller may take to read anything of a reply.
    pub write_timeout: Duration,
}

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// Answers one. `local` is the address that it came to; none where the system has vouched for the caller.
    fn respond(
        &self,
        request: Request<Incoming>,
        local: Option<IpAddr>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// A connection that requests come in by.
pub trait CallerStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Makes it ready for replies. Returns the address that it came to; none where the system vouches for the caller.
    ///
    /// # Errors
    ///
    /// As the system says, where the caller is gone already.
    fn begin(&self) -> io::Result<Option<IpAddr>>;
}

impl CallerStream for TcpStream {
    fn begin(&self) -> io::Result<Option<IpAddr>> {
        // Replies are written whole: waiting for more to send only delays them.
        let _ = self.set_nodelay(true);
        Ok(Some(self.local_addr()?.ip()))
    }
}

impl CallerStream for UnixStream {
    fn begin(&self) -> io::Result<Option<IpAddr>> {
        Ok(None)
    }
}

/// Serves requests until `stopped` turns true, then waits for those in work. Whoever drops it cuts them off.
pub async fn serve<D>(door: D, manners: Manners, site: Arc<impl Site>, mut stopped: watch::Receiver<bool>)
where
    D: Door,
    D::Stream: CallerStream,
{
    let room = Room::new(manners.connections);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Its value changes once, from false to true.
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            Some((stream, _, place)) = room.accept(&door) => {
                let Ok(local) = stream.begin() else { continue };
                connections.spawn(connection(stream, local, place, manners, Arc::clone(&site), stopped.clone()));
            }
        }
    }
    drop(door);
    while connections.join_next().await.is_some() {}
}

/// Who is connected, and keeps the place from a request until its reply is written.
struct Caller {
    place: Place,
    is_answered: bool,
}

impl Caller {
    /// Nothing panics between two changes.
    fn lock(caller: &Mutex<Self>) -> MutexGuard<'_, Self> {
        caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&mut self) {
        self.is_answered = false;
        self.place.speaks();
    }

    fn has_written(&mut self) {
        if self.is_answered {
            self.is_answered = false;
            self.place.falls_silent();
        }
    }
}

async fn connection(
    stream: impl CallerStream,
    local: Option<IpAddr>,
    place: Place,
    manners: Manners,
    site: Arc<impl Site>,
    mut stopped: watch::Receiver<bool>,
) {
    let notice = place.notice();
    let caller = Arc::new(Mutex::new(Caller {
        place,
        is_answered: false,
    }));
    let written = Arc::clone(&caller);
    let service = service_fn(move |request| {
        let (site, caller) = (Arc::clone(&site), Arc::clone(&caller));
        async move {
            Caller::lock(&caller).asks();
            let response = site.respond(request, local).await;
            Caller::lock(&caller).is_answered = true;
            Ok::<_, Infallible>(response)
        }
    });
    let has_written = move || Caller::lock(&written).has_written();
    let stream = TokioIo::new(Patient::new(stream, manners.write_timeout, has_written));
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(manners.header_timeout)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(stream, service)
    );
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = notice.given() => return,
        // It is not looked at, as its lock may not be held further on.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a caller's connection ended: {error}");
    }
}

/// Why a body can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than it may.
    TooLarge,
    /// It ends early, or is no body.
    Broken,
    /// It does not come in time.
    TooSlow,
}

/// Reads a body of at most so many bytes.
///
/// # Errors
///
/// [`BodyError`].
pub async fn read_body(body: Incoming, most: usize, limit: Duration) -> Result<Bytes, BodyError> {
    // What is announced as too large is not read at all.
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge);
    }
    match timeout(limit, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// Says whether a request is for us, by all that it says of whom it is for.
pub fn is_for_us(uri: &Uri, headers: &HeaderMap, local: IpAddr) -> bool {
    let is_ours = |host: &str| is_our_host(host, local);
    // Browsers always send a host; programs of HTTP/1.0 need not.
    let mut hosts = headers.get_all(HOST).iter();
    hosts.all(|host| host.to_str().is_ok_and(is_ours)) && uri.authority().is_none_or(|it| is_ours(it.as_str()))
}

/// Says whether a `Host` header (or the authority of a request's target) names us: an address of the loopback
/// interface, `localhost`, or the address that the connection came to. A web site whose name was made to resolve to our
/// address (DNS rebinding) is named by its own name there.
fn is_our_host(host: &str, local: IpAddr) -> bool {
    // A port follows an IPv6 address in brackets, or a name, which has no colon.
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some(split) => split,
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if !port.is_empty() && port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    name.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback() || address.to_canonical() == local.to_canonical())
}

/// A stream that fails when the other side takes nothing of what is written for too long, and says when all is written.
struct Patient<S, F> {
    stream: S,
    patience: Duration,
    has_written: F,
    /// When a write that waits fails.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S, F> Patient<S, F> {
    fn new(stream: S, patience: Duration, has_written: F) -> Self {
        Self {
            stream,
            patience,
            has_written,
            deadline: None,
        }
    }

    /// Passes a write's progress on, unless it has waited for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.deadline = None;
            return progress;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Patient<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut() + Unpin> AsyncWrite for Patient<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, buf);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(progress, Poll::Ready(Ok(()))) {
            (self.has_written)();
        }
        self.watch(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let local = [192, 0, 2, 1].into();
        for host in [
            "localhost",
            "LocalHost:8336",
            "127.0.0.1",
            "127.0.0.1:8336",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8336",
            "192.0.2.1:8336",
            "[::ffff:192.0.2.1]:80",
        ] {
            assert!(is_our_host(host, local), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:8336",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "127.0.0.1@example.com",
            "192.0.2.2",
            "[::1",
            "::1",
            "[::2]",
            "localhost:",
            "localhost:port",
            "localhost:99999",
            "[::1]x",
            "[localhost",
            ":8336",
            "0x7f.1",
        ] {
            assert!(!is_our_host(host, local), "{host}");
        }
    }
}
