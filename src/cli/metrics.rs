//! How the daemon stands, for Prometheus and for health checks: counts alone, of nobody's lookups (see
//! [`isonym::service::tally`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use isonym::http::{self, Manners, Site};
use isonym::net::pool::PoolCounts;
use isonym::node::{Handle, ServerStanding, Status};
use isonym::service::tally::{Tally, in_steps};

use super::eprint_line;
use super::show::unready;

/// How often the counts of lookups, of DNS responses and of the pool are brought up to date.
const TELL_EVERY: Duration = Duration::from_secs(3600);

/// How large the steps are in which the pool's connections are told.
const POOL_STEP: u64 = 8;

const MANNERS: Manners = Manners {
    connections: 8,
    header_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
};

/// What Prometheus takes the text for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server of metrics that has its port, but serves nobody yet.
pub(super) struct MetricsServer(TcpListener);

impl MetricsServer {
    /// Opens the port; `None` when there is nowhere to listen.
    pub(super) async fn open(listen: Option<SocketAddr>) -> Result<Option<Self>> {
        let Some(listen) = listen else { return Ok(None) };
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: another program may use the port; choose one with --metrics-listen ADDR:PORT")
        })?;
        Ok(Some(Self(listener)))
    }

    /// Says where it listens.
    pub(super) fn announce(server: Option<Self>, quiet: bool) -> Result<Option<Self>> {
        let Some(Self(listener)) = &server else { return Ok(None) };
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!("metrics are told on {address}, beyond this machine, to whoever asks");
        }
        if !quiet {
            eprint_line(format_args!(
                "listening on {address} for Prometheus (/metrics) and health checks (/ready)"
            ));
        }
        Ok(server)
    }

    /// Serves whoever asks; never returns.
    pub(super) async fn serve(self, node: Handle, tally: Arc<Tally>) {
        let page = Arc::new(Page {
            node,
            tally,
            pool: Mutex::default(),
        });
        let (_running, stopped) = watch::channel(false);
        tokio::join!(
            http::serve(self.0, MANNERS, Arc::clone(&page), stopped),
            page.tell_now_and_then(),
        );
    }
}

/// Words for kinds of things, with how many there are.
type Counts = Vec<(&'static str, u64)>;

struct Page {
    node: Handle,
    tally: Arc<Tally>,
    /// The pool's connections, as they were when they were told of last.
    pool: Mutex<Counts>,
}

impl Page {
    async fn tell_now_and_then(&self) {
        // Not as long after each start: the moment would tell when that was.
        sleep(TELL_EVERY.mul_f64(rand::random())).await;
        loop {
            self.tally.tell(rand::random);
            *self.pool() = pool_counts(&self.node.standing().pool, rand::random);
            sleep(TELL_EVERY).await;
        }
    }

    /// Nothing panics while it is changed.
    fn pool(&self) -> MutexGuard<'_, Counts> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let pool = self.pool().clone();
        text(&self.node.status(), &pool, &self.tally)
    }
}

/// Counts the pool's connections, as they are told of.
fn pool_counts(pool: &PoolCounts, mut draw: impl FnMut() -> u64) -> Counts {
    [
        ("clean", pool.clean),
        ("dirty", pool.dirty),
        ("parting", pool.parting),
        ("opening", pool.opening),
    ]
    .map(|(word, count)| (word, in_steps(wide(count), POOL_STEP, draw())))
    .into()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Site for Page {
    async fn respond(&self, request: Request<Incoming>, local: Option<IpAddr>) -> Response<Full<Bytes>> {
        let local = local.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let headers = request.headers();
        if headers.contains_key(ORIGIN) || !http::is_for_us(request.uri(), headers, local) {
            return plain(
                StatusCode::FORBIDDEN,
                "web pages may not read this, nor is it there under that name\n",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET alone\n");
        }
        match request.uri().path() {
            "/metrics" => match self.text() {
                Ok(text) => {
                    let mut response = plain(StatusCode::OK, text);
                    let kind = HeaderValue::from_static(OPEN_METRICS);
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                    response
                }
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can not be written\n"),
            },
            "/ready" => match unready(&self.node.status()) {
                None => plain(StatusCode::OK, "ready\n"),
                Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /ready\n"),
        }
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Metrics that are filled with values once, and written.
struct Text(Registry);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn gauges(&mut self, name: &str, help: &str, label: &'static str, rows: &Counts) {
        let family = Family::<[(&str, &str); 1], Gauge>::default();
        for (word, count) in rows {
            let gauge = family.get_or_create_owned(&[(label, *word)]);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.0.register(name, help, family);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        rows: impl Iterator<Item = (&'static str, u64)>,
    ) {
        let family = Family::<[(&str, &str); 1], Counter>::default();
        for (word, count) in rows {
            family.get_or_create_owned(&[(label, word)]).inc_by(count);
        }
        self.0.register(name, help, family);
    }
}

/// Writes the metrics in the text format of `OpenMetrics`.
fn text(status: &Status, pool: &Counts, tally: &Tally) -> Result<String, fmt::Error> {
    let mut text = Text(Registry::with_prefix("isonym"));
    let build = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("network", status.network.clone()),
    ];
    text.0
        .register("build", "The program, and its network", Info::new(build));
    text.gauge("headers_height", "Height of the best header", status.height.into());
    if let Some(age) = status.tip_age {
        text.gauge(
            "tip_age_seconds",
            "Seconds since the time of the best header's block",
            age,
        );
    }
    let help = "Whether headers are up to date, so that names can be looked up";
    text.gauge("synchronized", help, status.synchronized.into());
    let help = "Headers taken on the strength of a sample, whose own proofs are still to come";
    text.gauge("headers_unproved", help, wide(status.headers_unproved));
    let help = "Whether the disk takes nothing, so that what is learnt is kept in memory alone";
    text.gauge("disk_failing", help, status.unwritten.is_some().into());
    let connections = status.sync.as_ref().map_or(0, |sync| sync.connections);
    text.gauge(
        "header_sync_connections",
        "Connections of header sync",
        wide(connections),
    );
    let servers = [
        ("good", ServerStanding::Good),
        ("not_asked", ServerStanding::NotAsked),
        ("not_reached", ServerStanding::NotReached),
        ("closed", ServerStanding::Closed),
        ("faulty", ServerStanding::Faulty),
    ];
    let servers = servers.map(|(word, standing)| {
        let such = status.servers.iter().filter(|server| server.state == standing);
        (word, wide(such.count()))
    });
    text.gauges(
        "servers",
        "Servers, by how they stand in header sync",
        "state",
        &servers.into(),
    );
    let help = "Connections of lookups, told once an hour, rounded by chance to a multiple of 8";
    text.gauges("pool_connections", help, "state", pool);
    let help = "Lookups that were not answered from memory, told once an hour, rounded by chance to a multiple of 100";
    text.counters("lookups", help, "outcome", tally.lookups());
    let responses = tally
        .dns_responses()
        .filter_map(|(code, count)| Some((rcode(code)?, count)));
    let help = "DNS responses, told once an hour, rounded by chance to a multiple of 100";
    text.counters("dns_responses", help, "rcode", responses);
    let mut written = String::new();
    encode(&mut written, &text.0)?;
    Ok(written)
}

/// Returns the word for a response code of DNS that we give.
fn rcode(code: u8) -> Option<&'static str> {
    let words = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused"];
    words.get(usize::from(code)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isonym::service::tally::{Came, STEP};

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "network": "mainnet",
            "anchor": { "height": 5, "hash": "00" },
            "height": 820_000,
            "tip_hash": "00",
            "tip_age": 61,
            "synchronized": true,
            "headers_unproved": 3,
            "skeleton_height": null,
            "chainwork": "0",
            "servers": [
                { "address": "marker.example:1:t", "state": "good", "result": "ok", "claimed_height": 1, "headers": 1 },
                { "address": "other.example:1:t", "state": "closed", "result": "marker", "claimed_height": 1, "headers": 1 },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn all_that_is_told() {
        let tally = Tally::default();
        for _ in 0..=STEP {
            tally.lookup(Came::Found);
            tally.dns_response(&[0, 0, 0, 3]);
        }
        tally.tell(|| 0);
        let pool = PoolCounts {
            clean: 15,
            dirty: 1,
            ids: 1,
            ..PoolCounts::default()
        };
        let text = text(&status(), &pool_counts(&pool, || 0), &tally).unwrap();
        for line in [
            "isonym_headers_height 820000",
            "isonym_tip_age_seconds 61",
            "isonym_synchronized 1",
            "isonym_headers_unproved 3",
            "isonym_disk_failing 0",
            r#"isonym_servers{state="good"} 1"#,
            r#"isonym_servers{state="faulty"} 0"#,
            r#"isonym_pool_connections{state="clean"} 8"#,
            r#"isonym_pool_connections{state="dirty"} 0"#,
            r#"isonym_lookups_total{outcome="found"} 100"#,
            r#"isonym_lookups_total{outcome="failed"} 0"#,
            r#"isonym_dns_responses_total{rcode="nxdomain"} 100"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.contains(r#"network="mainnet""#) && text.ends_with("# EOF\n"));
        assert!(!text.contains("marker"), "servers are nobody's business\n{text}");
    }
}
