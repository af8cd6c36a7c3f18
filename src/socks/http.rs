//! The front's HTTP side: CONNECT alone, as at Tor's `HTTPTunnelPort`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::identity::SocksCaller;
use super::relay::{RelaySide, relay};
use super::reply::{RequestError, http};
use super::request::{IsolationHeaders, ProxyRequest};
use super::server::{Front, RequestOutcome};
use crate::net::accept::Place;
use crate::net::dialer::Duplex;

/// Most bytes that are buffered of a request, hence of its headers.
const MAX_HEADERS: usize = 16 << 10;

/// Returns the page for who comes with anything but CONNECT: a browser that takes this for a web server, or a program
/// that was given it as `http_proxy`. Such programs send whole requests, of which Tor's port takes none either.
fn explanation(here: SocketAddr) -> String {
    format!(
        "This is Isonym's way into Tor, which knows .bit names. It speaks SOCKS, and of HTTP the method CONNECT alone;\n\
         plain requests for http:// pages, as programs send them to an http_proxy, it does not take.\n\
         \n\
         What to do:\n\
         \n\
         * curl:         curl --socks5-hostname {here} http://example.bit/\n\
         * Environment:  all_proxy=socks5h://{here} in place of http_proxy\n\
         * git:          git config --global http.proxy socks5h://{here}\n\
         * Firefox:      SOCKS v5 host {host}, port {port}, with \"Proxy DNS when using SOCKS v5\"; no HTTP proxy\n\
         * Chromium:     chromium --proxy-server=socks5://{here}\n",
        host = here.ip(),
        port = here.port(),
    )
}

/// A connection to the other side, until the application's is ready to be joined with it.
type Opened = Arc<Mutex<Option<(OnUpgrade, RelaySide<Box<dyn Duplex>>)>>>;

/// Serves one connection until it ends.
pub(super) async fn serve(front: &Front, stream: TcpStream, caller: SocksCaller, place: &mut Place) {
    let opened = Opened::default();
    let place = Mutex::new(place);
    // The listener's own may stand for all addresses of this machine.
    let here = stream.local_addr().unwrap_or(caller.listener);
    let service = service_fn(|request| {
        let (opened, place) = (Arc::clone(&opened), &place);
        async move {
            place.lock().unwrap_or_else(PoisonError::into_inner).speaks();
            let response = respond(front, &caller, here, request, &opened).await;
            if opened.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                place.lock().unwrap_or_else(PoisonError::into_inner).falls_silent();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let ended = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(front.patience())
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if ended.is_err() {
        return;
    }
    let opened = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((upgrade, tor)) = opened else { return };
    if let Ok(stream) = upgrade.await {
        let stream = TokioIo::new(stream);
        // What it sent too early comes first of itself.
        let sent = Vec::new();
        relay(RelaySide { stream, sent }, tor).await;
    }
}

async fn respond(
    front: &Front,
    caller: &SocksCaller,
    here: SocketAddr,
    mut request: HttpRequest<Incoming>,
    opened: &Opened,
) -> Response<Full<Bytes>> {
    if request.method() != Method::CONNECT {
        let mut response = told(405, explanation(here));
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("CONNECT"));
        return response;
    }
    let headers = isolation_headers(request.headers());
    let target = request.uri().authority().map_or("", |authority| authority.as_str());
    let Some(proxy_request) = ProxyRequest::of_http(target, &headers) else {
        return told(400, "CONNECT takes HOST:PORT\n");
    };
    let (code, connected) = match front.carry_out(caller, &proxy_request).await {
        Ok(RequestOutcome::Replied(reply, stream)) => {
            let sent = reply.rest;
            (reply.code, Some(RelaySide { stream, sent }))
        }
        // Of HTTP there is nothing but connections.
        Ok(_) => (RequestError::General.code(), None),
        Err(error) => (error.code(), None),
    };
    let (status, text) = http(code);
    match connected {
        Some(tor) if status == 200 => {
            let upgrade = hyper::upgrade::on(&mut request);
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, tor));
            Response::new(Full::default())
        }
        _ => told(status, text),
    }
}

fn isolation_headers(headers: &HeaderMap) -> IsolationHeaders<'_> {
    IsolationHeaders {
        authorization: headers.get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes),
        tor: headers.get("tor-stream-isolation").map(HeaderValue::as_bytes),
        x_tor: headers.get("x-tor-stream-isolation").map(HeaderValue::as_bytes),
    }
}

/// Answers with a text, and no more on this connection: what follows may be meant for the other side.
fn told(status: u16, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
