//! The HTTP server that JSON-RPC rides on, as Core's: POST to `/` or below `/wallet/`, HTTP Basic.
//!
//! Everything a caller sends or holds is bounded: connections, calls at once, headers, bodies, and how long each may
//! take. A connection says nothing about who calls: each call names its own isolation ID.
//!
//! Source: Namecoin Core `httpserver.cpp` and `httprpc.cpp`.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::auth::{Guard, Verdict, is_our_host};
use super::methods::Methods;
use super::reply::{BatchReply, CallResult, Reply};
use super::request::{Body, Call, MAX_BODY, Member, Request as RpcRequest};
use crate::jsonrpc::local::LocalListener;
use crate::net::accept::{Door, MOST_CONNECTIONS, Place, Room};

/// Bounds and waits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, at each door; one more takes the place of the one that has asked nothing for longest.
    pub connections: usize,
    /// Requests worked on at once; more are refused with status 503.
    pub requests: usize,
    /// How long the headers of a request may take, idle time before it included.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a caller may take to read anything of a reply.
    pub write_timeout: Duration,
    /// How long a wrong password is left without an answer.
    pub wrong_password_pause: Duration,
    /// How long requests in work may take to end when the server stops.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MOST_CONNECTIONS,
            requests: 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            wrong_password_pause: Duration::from_millis(250),
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// Whom a server hands calls to.
pub trait Callee: Send + Sync + 'static {
    /// Carries a call out.
    fn call(&self, call: Call) -> impl Future<Output = CallResult> + Send;
}

impl Callee for Methods {
    fn call(&self, call: Call) -> impl Future<Output = CallResult> + Send {
        self.call(call)
    }
}

/// Where callers come in.
#[derive(Debug)]
pub struct Doors {
    /// Those who know a password.
    pub tcp: Option<TcpListener>,
    /// This user and root, by the word of the system. They have as many connections of their own, so that others at the
    /// port don't keep them out.
    pub local: Option<LocalListener>,
}

impl From<TcpListener> for Doors {
    fn from(tcp: TcpListener) -> Self {
        Self {
            tcp: Some(tcp),
            local: None,
        }
    }
}

/// Serves calls until `stop` is ready, then ends what is in work and returns.
pub async fn serve(
    doors: impl Into<Doors>,
    guard: Guard,
    limits: Limits,
    callee: impl Callee,
    stop: impl Future<Output = ()>,
) {
    let doors = doors.into();
    let mut stop = pin!(stop);
    let (stopping, stopped) = watch::channel(false);
    let gate = Arc::new(Gate {
        guard,
        limits,
        requests: Semaphore::new(limits.requests),
        callee,
    });
    let room = Room::new(limits.connections);
    let local_room = Room::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            Some((stream, place)) = accept(doors.tcp.as_ref(), &room) => {
                let Ok(local) = stream.local_addr() else { continue };
                // Replies are written whole: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, Some(local.ip()), place, Arc::clone(&gate), stopped.clone()));
            }
            Some((stream, place)) = accept(doors.local.as_ref(), &local_room) => {
                connections.spawn(connection(stream, None, place, Arc::clone(&gate), stopped.clone()));
            }
        }
    }
    drop(doors);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Whoever takes longer is cut off when the set is dropped.
    let _ = timeout(limits.stop_grace, ended).await;
}

/// Accepts the next connection; never, where there is no such door.
async fn accept<D: Door>(door: Option<&D>, room: &Arc<Room>) -> Option<(D::Stream, Place)> {
    match door {
        Some(listener) => room.accept(listener).await.map(|(stream, _, place)| (stream, place)),
        None => std::future::pending().await,
    }
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

/// Serves a connection. `local` is the address that it came to; none where the system has vouched for the caller.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    local: Option<IpAddr>,
    place: Place,
    gate: Arc<Gate<impl Callee>>,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = gate.limits;
    let notice = place.notice();
    let caller = Arc::new(Mutex::new(Caller {
        place,
        is_answered: false,
    }));
    let written = Arc::clone(&caller);
    let service = service_fn(move |request| {
        let (gate, caller) = (Arc::clone(&gate), Arc::clone(&caller));
        async move {
            Caller::lock(&caller).asks();
            let response = gate.respond(request, local).await;
            Caller::lock(&caller).is_answered = true;
            Ok::<_, Infallible>(response)
        }
    });
    let has_written = move || Caller::lock(&written).has_written();
    let stream = TokioIo::new(Patient::new(stream, limits.write_timeout, has_written));
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(stream, service)
    );
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = notice.given() => return,
        // Its value changes once, from false to true; it is not looked at, as its lock may not be held further on.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a caller's connection ended: {error}");
    }
}

/// Most bytes that are buffered of a request, hence of its headers.
const MAX_HEADERS: usize = 16 << 10;

/// What all connections share.
struct Gate<C> {
    guard: Guard,
    limits: Limits,
    requests: Semaphore,
    callee: C,
}

impl<C: Callee> Gate<C> {
    async fn respond(&self, request: Request<Incoming>, local: Option<IpAddr>) -> Response<Full<Bytes>> {
        let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let verdict = match local {
            None if authorization.is_none() => Verdict::Allowed,
            _ => self.guard.judge(authorization),
        };
        let local = local.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let checked = check_origin(request.uri(), request.headers(), local, verdict)
            .and_then(|()| check_target(request.method(), request.uri()));
        if let Err(refusal) = checked {
            if refusal.0 == StatusCode::FORBIDDEN {
                tracing::warn!("a caller was refused: {}", refusal.1);
            }
            return refusal.into();
        }
        match verdict {
            Verdict::Allowed => {}
            Verdict::Missing => return unauthorized(),
            Verdict::Wrong => {
                tracing::warn!("a caller gave a wrong user or password");
                sleep(self.limits.wrong_password_pause).await;
                return unauthorized();
            }
        }
        let Ok(_permit) = self.requests.try_acquire() else {
            return Refusal(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded").into();
        };
        match read_body(request.into_body(), self.limits.body_timeout).await {
            Ok(body) => {
                let parsed = Body::parse(&body);
                // Not needed any more, and the answer may take long.
                drop(body);
                json(answer(parsed, &self.callee).await)
            }
            Err(refusal) => refusal.into(),
        }
    }
}

/// Answers a body: has its calls carried out one after the other, in order. Those of a batch whose reply is full are not
/// made.
pub(super) async fn answer(body: Body, callee: &impl Callee) -> Reply {
    match body {
        Body::Refused(error) => Reply::to_none(error),
        Body::Single(RpcRequest { envelope, call }) => {
            let is_malformed = call.is_err();
            let result = match call {
                Ok(call) => callee.call(call).await,
                Err(error) => Err(error),
            };
            if envelope.is_notification() && !is_malformed {
                return Reply::to_nobody();
            }
            Reply::to_one(&envelope, &result)
        }
        Body::Batch(members) if members.is_empty() => BatchReply::empty(),
        Body::Batch(members) => answer_batch(members, callee).await,
    }
}

async fn answer_batch(members: Vec<Member>, callee: &impl Callee) -> Reply {
    let mut reply = BatchReply::default();
    for member in members {
        let RpcRequest { envelope, call } = member.into_request();
        let is_wanted = !envelope.is_notification();
        let result = match call {
            Ok(_) if reply.is_full() && is_wanted => BatchReply::no_room(),
            Ok(call) => callee.call(call).await,
            Err(error) => Err(error),
        };
        if is_wanted {
            reply.push(&envelope, &result);
        }
    }
    reply.end()
}

/// A request that is not read: status and text.
struct Refusal(StatusCode, &'static str);

impl From<Refusal> for Response<Full<Bytes>> {
    fn from(Refusal(status, text): Refusal) -> Self {
        let mut response = empty(status);
        *response.body_mut() = Full::from(text);
        response
    }
}

/// Keeps web sites out: those whose name resolves to us, and those whose pages post to us.
///
/// Whoever knows the password may call us by any name, as by that of a container. Pages are kept out even so: a browser adds
/// a password that it remembers to what they send.
fn check_origin(uri: &Uri, headers: &HeaderMap, local: IpAddr, verdict: Verdict) -> Result<(), Refusal> {
    let refused = |text| Err(Refusal(StatusCode::FORBIDDEN, text));
    if headers.contains_key(ORIGIN) {
        return refused("web pages may not call this server (the request has an Origin header)");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return refused("the request names two hosts");
    }
    // Browsers always send a host; programs of HTTP/1.0 need not.
    let is_ours = host.is_none_or(|host| host.to_str().is_ok_and(|host| is_our_host(host, local)))
        && uri
            .authority()
            .is_none_or(|authority| is_our_host(authority.as_str(), local));
    if !is_ours && verdict != Verdict::Allowed {
        return refused("the request is for another host; under that name user and password are needed");
    }
    Ok(())
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), Refusal> {
    let known = [Method::GET, Method::POST, Method::HEAD, Method::PUT].contains(method);
    if !known {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, ""));
    }
    if uri.path() != "/" && !uri.path().starts_with("/wallet/") {
        return Err(Refusal(StatusCode::NOT_FOUND, ""));
    }
    if method != Method::POST {
        let message = "JSONRPC server handles only POST requests";
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    Ok(())
}

async fn read_body(body: Incoming, limit: Duration) -> Result<Bytes, Refusal> {
    let too_large = || Refusal(StatusCode::PAYLOAD_TOO_LARGE, "");
    // What is announced as too large is not read at all.
    if body.size_hint().lower() > u64::try_from(MAX_BODY).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    match timeout(limit, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal(StatusCode::BAD_REQUEST, "")),
        Err(_) => Err(Refusal(StatusCode::REQUEST_TIMEOUT, "")),
    }
}

fn json(reply: Reply) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = empty(status);
    if let Some(body) = reply.body {
        *response.body_mut() = Full::from(body);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::UNAUTHORIZED);
    let basic = HeaderValue::from_static(r#"Basic realm="jsonrpc""#);
    response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
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
