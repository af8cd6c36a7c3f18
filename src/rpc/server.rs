//! The HTTP server that JSON-RPC rides on, as Core's: POST to `/` or below `/wallet/`, HTTP Basic.
//!
//! Everything a caller sends or holds is bounded: connections, calls at once, headers, bodies, and how long each may
//! take. A connection says nothing about who calls: each call names its own isolation ID.
//!
//! Source: Namecoin Core `httpserver.cpp` and `httprpc.cpp`.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::auth::{Guard, Verdict};
use super::methods::Methods;
use super::reply::{BatchReply, CallResult, Reply};
use super::request::{Body, Call, MAX_BODY, Member, Request as RpcRequest};
use crate::http::{self, BodyError, CallerStream, Manners, Site};
use crate::jsonrpc::local::LocalListener;
use crate::net::accept::{Door, MOST_CONNECTIONS};

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
    let (stopping, stopped) = watch::channel(false);
    let gate = Arc::new(Gate {
        guard,
        limits,
        requests: Semaphore::new(limits.requests),
        callee,
    });
    let manners = Manners {
        connections: limits.connections,
        header_timeout: limits.header_timeout,
        write_timeout: limits.write_timeout,
    };
    let Doors { tcp, local } = doors.into();
    let by_port = serve_at(tcp, manners, Arc::clone(&gate), stopped.clone());
    let by_socket = serve_at(local, manners, gate, stopped);
    let mut serving = pin!(async { tokio::join!(by_port, by_socket) });
    tokio::select! {
        _ = &mut serving => {}
        () = stop => {
            stopping.send_replace(true);
            // Whoever takes longer is cut off.
            let _ = timeout(limits.stop_grace, serving).await;
        }
    }
}

/// Serves those who come in by a door, where there is one.
async fn serve_at<D>(door: Option<D>, manners: Manners, site: Arc<impl Site>, stopped: watch::Receiver<bool>)
where
    D: Door,
    D::Stream: CallerStream,
{
    if let Some(door) = door {
        http::serve(door, manners, site, stopped).await;
    }
}

/// What all connections share.
struct Gate<C> {
    guard: Guard,
    limits: Limits,
    requests: Semaphore,
    callee: C,
}

impl<C: Callee> Site for Gate<C> {
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
        match http::read_body(request.into_body(), MAX_BODY, self.limits.body_timeout).await {
            Ok(body) => {
                let parsed = Body::parse(&body);
                // Not needed any more, and the answer may take long.
                drop(body);
                json(answer(parsed, &self.callee).await)
            }
            Err(error) => Refusal::from(error).into(),
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
    if headers.get_all(HOST).iter().count() > 1 {
        return refused("the request names two hosts");
    }
    let is_ours = http::is_for_us(uri, headers, local);
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

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        Self(status, "")
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
