//! Serves the page: carries out what [`super::request`] reads, and has looked up what is asked for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, REFRESH, SET_COOKIE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::asked::{Asked, Mistyped, read};
use super::finder::Finder;
use super::page::{self, Awaited, Earlier, Reply, Standing, Way};
use super::proof::{self, Found};
use super::request::{self, Head, MAX_CHECKS, MAX_FORM, Part, Refused, Route, Verb, path};
use super::sessions::{Draw, Secret, Session, Sessions};
use super::site::{self, CheckedSite, Judged};
use crate::dns::engine;
use crate::dns::zones::Zones;
use crate::http::{self, BodyError, Manners};
use crate::naming::site::Site;
use crate::net::Proxy;
use crate::node::Handle;
use crate::service::NameService;
use crate::time::Moment;

const MANNERS: Manners = Manners {
    connections: 32,
    header_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
};

/// How long a form may take.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a page waits for a lookup until it says that it is not there yet: no longer than one looks at a blank page.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long a wrong token is left without an answer.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_millis(250);

/// How often it is looked for sessions that are over.
const LOOK_FOR_LEFT: Duration = Duration::from_secs(60);

/// What a task finds out, once it has.
type Awaiting<T> = watch::Receiver<Option<Arc<T>>>;

/// A lookup of a session, or a check of a site. When it is dropped nobody waits for it any more.
#[derive(Debug)]
struct Lookup {
    typed: String,
    begun: Moment,
    state: State,
}

#[derive(Debug)]
enum State {
    Mistyped(Mistyped),
    Asked {
        result: Awaiting<Found>,
        _task: JoinSet<()>,
    },
    Checked {
        site: CheckedSite,
        result: Awaiting<Judged>,
        _task: JoinSet<()>,
    },
}

impl Lookup {
    fn came_to(&self) -> &'static str {
        let words = match &self.state {
            State::Mistyped(_) => Some("not looked up"),
            State::Asked { result, .. } => result.borrow().as_deref().map(proof::came_to),
            State::Checked { result, .. } => result.borrow().as_deref().map(Judged::came_to),
        };
        words.unwrap_or("not there yet")
    }

    /// Says whether a site is being checked.
    fn is_checking(&self) -> bool {
        matches!(&self.state, State::Checked { result, .. } if result.borrow().is_none())
    }

    /// Returns the site at a place among those that were found.
    fn site(&self, place: usize) -> Option<Site> {
        let State::Asked { result, .. } = &self.state else {
            return None;
        };
        let result = result.borrow();
        result.as_ref()?.records.as_ref()?.sites.get(place).cloned()
    }
}

/// Has something done until nobody wants it any more.
fn begun<T: Send + Sync + 'static>(work: impl Future<Output = T> + Send + 'static) -> (Awaiting<T>, JoinSet<()>) {
    let (found, result) = watch::channel(None);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let result = work.await;
        found.send_replace(Some(Arc::new(result)));
    });
    (result, task)
}

/// Waits a little for what is being found out.
async fn soon<T>(mut result: Awaiting<T>) -> Option<Arc<T>> {
    let found = timeout(PATIENCE, result.wait_for(Option::is_some)).await;
    found.ok().and_then(Result::ok).and_then(|found| found.clone())
}

/// What all connections share.
pub struct Web {
    node: Handle,
    finder: Arc<Finder>,
    zones: Zones,
    token: Secret,
    sessions: Mutex<Sessions<Lookup>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Web(..)")
    }
}

impl Web {
    /// Makes a page for whoever has the token.
    pub fn new(names: &NameService, node: Handle, engine: engine::Settings, token: Secret) -> Self {
        Self {
            zones: engine.zones.clone(),
            finder: Arc::new(Finder::new(names, node.clone(), engine)),
            node,
            token,
            sessions: Mutex::default(),
        }
    }

    /// Serves whoever asks; never returns.
    pub async fn serve(self, listener: TcpListener) {
        let web = Arc::new(self);
        let (_running, stopped) = watch::channel(false);
        tokio::join!(
            http::serve(listener, MANNERS, Arc::clone(&web), stopped),
            web.forget_what_is_left(),
        );
    }

    async fn forget_what_is_left(&self) {
        loop {
            sleep(LOOK_FOR_LEFT).await;
            let over = self.sessions().expire(self.now());
            for identity in over {
                self.finder.forget(&identity).await;
            }
        }
    }

    fn now(&self) -> Moment {
        self.node.clock().now().steady
    }

    /// Returns the sessions that there are by now. Nothing panics while they are changed.
    fn sessions(&self) -> MutexGuard<'_, Sessions<Lookup>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.heed(self.finder.renewals());
        sessions
    }

    fn standing(&self) -> Standing {
        Standing {
            status: self.node.status(),
            pool: self.node.standing().pool_told,
            way: match self.node.proxy() {
                Proxy::Socks5(_) => Way::Proxy,
                #[cfg(feature = "embedded-tor")]
                Proxy::Embedded(_) => Way::Embedded,
                Proxy::Direct => Way::Direct,
            },
        }
    }

    async fn answer(&self, request: Request<Incoming>, local: IpAddr) -> Result<Reply, Refused> {
        let (parts, body) = request.into_parts();
        let (session, part) = match head(&parts, local).route()? {
            Route::Enter(token) => return self.enter(token).await,
            Route::Session(session, part) => (session, part),
        };
        self.session(session, &parts.headers, |_| ())?;
        match part {
            Part::Start => {
                let earlier = self.session(session, &parts.headers, |session| {
                    let lookups = session.lookups().map(|(number, lookup)| Earlier {
                        number,
                        typed: lookup.typed.clone(),
                        came_to: lookup.came_to(),
                    });
                    lookups.collect::<Vec<_>>()
                })?;
                Ok(page::start(session, &self.standing(), &earlier))
            }
            Part::Look => {
                let form = http::read_body(body, MAX_FORM, FORM_TIMEOUT).await?;
                let typed = request::typed(&form)?;
                let number = self.session(session, &parts.headers, |session| {
                    let lookup = self.begin(session, typed);
                    session.add(lookup)
                })?;
                Ok(Reply::see(path(session, Some(number))))
            }
            Part::Check(number) => {
                let form = http::read_body(body, MAX_FORM, FORM_TIMEOUT).await?;
                let place = request::chosen(&form)?;
                let check = self.session(session, &parts.headers, |it| self.check(it, number, place))??;
                Ok(Reply::see(path(session, Some(check))))
            }
            Part::Found(number) => self.found(session, number, &parts.headers).await,
            Part::Renew => {
                let identity = self.sessions().end(session);
                if let Some(identity) = identity {
                    self.finder.forget(&identity).await;
                }
                self.begin_session().await
            }
        }
    }

    async fn enter(&self, token: Option<&str>) -> Result<Reply, Refused> {
        let token = token.ok_or(Refused::NoToken)?;
        if !self.token.is(token) {
            tracing::warn!("somebody asked for the page with a wrong token");
            sleep(WRONG_TOKEN_PAUSE).await;
            return Err(Refused::Token);
        }
        self.begin_session().await
    }

    /// Begins a session, and sends the browser to an address that has no token in it.
    async fn begin_session(&self) -> Result<Reply, Refused> {
        let draw = Draw {
            path: rand::random(),
            cookie: rand::random(),
            identity: rand::random(),
        };
        let (reply, displaced) = {
            let mut sessions = self.sessions();
            let (session, displaced) = sessions.begin(self.now(), &draw).ok_or(Refused::NoSession)?;
            let location = path(session.path().digits(), None);
            let cookie = format!(
                "{}={}; Path={location}; HttpOnly; SameSite=Strict",
                request::COOKIE,
                session.cookie().digits()
            );
            let reply = Reply {
                cookie: Some(cookie),
                ..Reply::see(location)
            };
            (reply, displaced)
        };
        if let Some(identity) = displaced {
            self.finder.forget(&identity).await;
        }
        Ok(reply)
    }

    /// Does something with a session, where the request is from the browser that has it.
    fn session<T>(
        &self,
        path: &str,
        headers: &HeaderMap,
        act: impl FnOnce(&mut Session<Lookup>) -> T,
    ) -> Result<T, Refused> {
        let cookies = headers.get_all(COOKIE).iter();
        let cookies: Vec<&str> = cookies
            .filter_map(|header| header.to_str().ok())
            .flat_map(request::cookies)
            .collect();
        let now = self.now();
        let mut sessions = self.sessions();
        let session = sessions.find(now, path, &cookies).ok_or(Refused::NoSession)?;
        Ok(act(session))
    }

    fn begin(&self, session: &Session<Lookup>, typed: String) -> Lookup {
        let state = match read(&typed, &self.zones) {
            Err(mistyped) => State::Mistyped(mistyped),
            Ok(asked) => self.ask(session, asked),
        };
        Lookup {
            typed,
            begun: self.now(),
            state,
        }
    }

    fn ask(&self, session: &Session<Lookup>, asked: Asked) -> State {
        let (finder, identity) = (Arc::clone(&self.finder), session.identity().clone());
        let (result, task) = begun(async move { finder.find(&identity, asked).await });
        State::Asked { result, _task: task }
    }

    /// Has a site of a lookup checked, unless so many are already.
    fn check(&self, session: &mut Session<Lookup>, number: u64, place: usize) -> Result<u64, Refused> {
        let lookup = session.lookup(number).ok_or(Refused::NoLookup)?;
        let site = lookup.site(place).ok_or(Refused::NoSite)?;
        if session.lookups().filter(|(_, it)| it.is_checking()).count() >= MAX_CHECKS {
            return Err(Refused::Busy);
        }
        let typed = site.to_string();
        let checked = CheckedSite {
            site: typed.clone(),
            lookup: number,
            place,
        };
        let (finder, identity) = (Arc::clone(&self.finder), session.identity().clone());
        let (result, task) = begun(async move { finder.check(&identity, &site).await });
        let begun = self.now();
        let state = State::Checked {
            site: checked,
            result,
            _task: task,
        };
        Ok(session.add(Lookup { typed, begun, state }))
    }

    async fn found(&self, session: &str, number: u64, headers: &HeaderMap) -> Result<Reply, Refused> {
        enum Shown {
            Page(Reply),
            Lookup(Awaiting<Found>),
            Check(CheckedSite, Awaiting<Judged>),
        }
        let shown = self.session(session, headers, |it| {
            let lookup = it.lookup(number)?;
            let shown = match &lookup.state {
                State::Mistyped(mistyped) => Shown::Page(mistyped.page(session, &lookup.typed)),
                State::Asked { result, .. } => Shown::Lookup(result.clone()),
                State::Checked { site, result, .. } => Shown::Check(site.clone(), result.clone()),
            };
            Some((shown, lookup.typed.clone(), lookup.begun))
        })?;
        let (shown, typed, begun) = shown.ok_or(Refused::NoLookup)?;
        let (page, awaited) = match shown {
            Shown::Page(page) => return Ok(page),
            Shown::Lookup(result) => (
                soon(result).await.map(|it| proof::page(session, number, &typed, &it)),
                Awaited::Lookup,
            ),
            Shown::Check(site, result) => (
                soon(result).await.map(|it| site::page(session, &site, &it)),
                Awaited::Check,
            ),
        };
        Ok(page.unwrap_or_else(|| {
            let seconds = self.now().since(begun).as_secs();
            page::waiting(session, awaited, &typed, seconds, &self.standing())
        }))
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Broken => Self::Form,
            BodyError::TooSlow => Self::TooSlow,
        }
    }
}

impl http::Site for Web {
    async fn respond(&self, request: Request<Incoming>, local: Option<IpAddr>) -> Response<Full<Bytes>> {
        let local = local.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let reply = self.answer(request, local).await;
        response(reply.unwrap_or_else(page::refused))
    }
}

/// Returns what a request says of itself.
fn head(parts: &Parts, local: IpAddr) -> Head<'_> {
    let headers = &parts.headers;
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let host = only(HOST).filter(|_| http::is_for_us(&parts.uri, headers, local));
    Head {
        verb: match parts.method {
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Post,
            _ => Verb::Other,
        },
        path: parts.uri.path(),
        query: parts.uri.query(),
        host,
        origin: only(ORIGIN),
        content_type: only(CONTENT_TYPE),
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reply.html.into_string()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let always = page::headers().map(|(name, value)| (HeaderName::try_from(name), value));
    let always = always.into_iter().filter_map(|(name, value)| Some((name.ok()?, value)));
    let now = [
        (LOCATION, reply.location),
        (SET_COOKIE, reply.cookie),
        (REFRESH, reply.refresh.map(|seconds| seconds.to_string())),
    ];
    let now = now.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in always.chain(now) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
