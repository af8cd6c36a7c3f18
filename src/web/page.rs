//! The pages but for proofs: their frame, the form, how the daemon stands, and what is said where there is nothing to show.
//!
//! No script, no image, no font, and nothing of another host. Titles name nothing that is looked up, since browsers keep them
//! in their history; nor is a browser to keep what is typed, or to send it anywhere to have its spelling looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitcoin::hashes::{Hash as _, sha256};

use super::html::{Html, is_plain};
use super::request::{Refused, path};
use crate::net::pool::PoolCounts;
use crate::node::{ServerStanding, Status, SyncStage};
use crate::time::Span;

/// The style of all pages, which stands in each of them.
pub const STYLE: &str = include_str!("style.css");

/// How often a page that waits is loaded anew, in seconds.
const LOAD_ANEW: u8 = 2;

/// Where the page's text begins.
const MAIN: &str = "main";

/// A reply but for the headers that all have.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The page; none with a redirection.
    pub html: Html,
    /// Where to go instead.
    pub location: Option<String>,
    /// A cookie that is set.
    pub cookie: Option<String>,
    /// After how many seconds it is to be loaded anew.
    pub refresh: Option<u8>,
}

impl Reply {
    /// Shows a page.
    pub fn page(status: u16, html: Html) -> Self {
        Self {
            status,
            html,
            location: None,
            cookie: None,
            refresh: None,
        }
    }

    /// Sends the browser to another page, by GET.
    pub fn see(location: String) -> Self {
        Self {
            location: Some(location),
            ..Self::page(303, Html::default())
        }
    }
}

/// Returns what every reply has, beside its kind and length: what a browser may do with it, which is to show it and to send
/// its forms back.
pub fn headers() -> [(&'static str, String); 8] {
    let style = STANDARD.encode(sha256::Hash::hash(STYLE.as_bytes()).as_byte_array());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    [
        ("Content-Security-Policy", policy),
        ("Cache-Control", "no-store".to_owned()),
        // Others are told nothing. Our own pages are told where a form comes from, which `no-referrer` would take away.
        ("Referrer-Policy", "same-origin".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("X-Frame-Options", "DENY".to_owned()),
        ("X-DNS-Prefetch-Control", "off".to_owned()),
        ("Cross-Origin-Opener-Policy", "same-origin".to_owned()),
        ("Cross-Origin-Resource-Policy", "same-origin".to_owned()),
    ]
}

/// How the daemon stands, as far as it is told to whoever uses the page: counts, and none of anybody's lookups.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The headers.
    pub status: Status,
    /// Connections of lookups, some seconds late and rounded.
    pub pool: PoolCounts,
    /// How lookups leave this machine.
    pub way: Way,
}

/// How lookups leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a SOCKS proxy, which should be Tor.
    Proxy,
    /// By the Tor within the program.
    Embedded,
    /// By themselves.
    Direct,
}

/// A lookup of the session, for the list of them.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Its number.
    pub number: u64,
    /// What was typed.
    pub typed: String,
    /// What it came to, in a word or two.
    pub came_to: &'static str,
}

/// The page that a session begins with.
pub fn start(session: &str, standing: &Standing, earlier: &[Earlier]) -> Reply {
    let mut main = form(session, "");
    if !earlier.is_empty() {
        main.push(Html::element("h2", "Looked up under this identity"));
        let items = earlier.iter().map(|lookup| {
            let link = Html::with(
                "a",
                &[("href", &path(session, Some(lookup.number)))],
                shown(&lookup.typed),
            );
            Html::element("li", [link, Html::of(format_args!(": {}", lookup.came_to))])
        });
        main.push(Html::element("ul", items.collect::<Html>()));
    }
    main.push(Html::element("h2", "How the daemon stands"));
    main.push(state(standing));
    if !standing.status.synchronized {
        main.push(progress(&standing.status));
    }
    main.push(identity(session));
    Reply::page(200, frame("Isonym", Some(session), main))
}

/// What a page waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A lookup.
    Lookup,
    /// A site that is being checked.
    Check,
}

/// The page of a lookup, or of a check, that goes on.
pub fn waiting(session: &str, awaited: Awaited, typed: &str, seconds: u64, standing: &Standing) -> Reply {
    let (doing, title) = match awaited {
        Awaited::Lookup => ("Looking up ", "Isonym: looking up"),
        Awaited::Check => ("Checking ", "Isonym: checking"),
    };
    let mut main = Html::element("h2", [Html::text(doing), shown(typed)]);
    let so_far = Html::with(
        "p",
        &[("role", "status")],
        Html::of(format_args!(
            "Not there yet after {}. This page loads itself anew until it is.",
            Span(seconds.max(1))
        )),
    );
    main.push(so_far);
    if !standing.status.synchronized {
        main.push(Html::element(
            "p",
            "Headers are fetched first: without them nothing can be proved.",
        ));
        main.push(progress(&standing.status));
    }
    main.push(Html::element("p", Html::with("a", &[("href", "")], "Load it anew now")));
    main.push(Html::element("h2", "How the daemon stands"));
    main.push(state(standing));
    Reply {
        refresh: Some(LOAD_ANEW),
        ..Reply::page(200, frame(title, Some(session), main))
    }
}

/// The page of a name that was not looked up, since it is hardly meant; `instead` is what was meant, if that is known.
pub fn mistyped(session: &str, typed: &str, reason: &str, instead: Option<&str>) -> Reply {
    let mut main = Html::element("h2", [shown(typed), Html::text(" was not looked up")]);
    main.push(Html::with("p", &[("role", "alert")], reason));
    if let Some(instead) = instead {
        main.push(ready_form(session, instead, &format!("Look {instead} up")));
    }
    main.push(form(session, typed));
    Reply::page(200, frame("Isonym: not looked up", Some(session), main))
}

/// The page in the place of one that there is not.
pub fn refused(reason: Refused) -> Reply {
    let mut main = Html::element("h2", "Not shown");
    main.push(Html::with(
        "p",
        &[("role", "alert")],
        Html::of(format_args!("{reason}.")),
    ));
    Reply::page(reason.status(), frame("Isonym: not shown", None, main))
}

/// Puts a page's text into what is around it.
pub(super) fn frame(title: &'static str, session: Option<&str>, main: Html) -> Html {
    let head = Html::element(
        "head",
        [
            Html::open("meta", &[("charset", "utf-8")]),
            Html::open(
                "meta",
                &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")],
            ),
            Html::element("title", title),
            Html::element("style", Html::fixed(STYLE)),
        ],
    );
    let mut body = Html::with("a", &[("class", "skip"), ("href", "#main")], "Skip to the text");
    let mut header = Html::element("h1", "Isonym");
    if let Some(session) = session {
        let link = Html::with("a", &[("href", &path(session, None))], "Look up a name");
        let list = Html::element("ul", Html::element("li", link));
        header.push(Html::with("nav", &[("aria-label", "Pages")], list));
    }
    body.push(Html::element("header", header));
    body.push(Html::with("main", &[("id", MAIN), ("tabindex", "-1")], main));
    body.push(Html::element(
        "footer",
        Html::with(
            "p",
            &[("class", "quiet")],
            concat!(
                "Isonym ",
                env!("CARGO_PKG_VERSION"),
                ". This page has no script and asks no other host for anything."
            ),
        ),
    ));
    let attributes = [("lang", "en"), ("translate", "no")];
    [
        Html::fixed("<!DOCTYPE html>"),
        Html::with("html", &attributes, [head, Html::element("body", body)]),
    ]
    .into()
}

/// Shows what strangers wrote: in the order of its characters, whatever direction they have.
pub(super) fn shown(text: &str) -> Html {
    Html::with("bdo", &[("dir", "ltr")], text)
}

/// Shows bytes that strangers wrote: as text where they are, else as digits.
pub(super) fn shown_bytes(bytes: &[u8]) -> Html {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return shown(text);
    }
    let digits = bitcoin::hex::DisplayHex::to_lower_hex_string(bytes);
    Html::element("code", format!("0x{digits}"))
}

fn look(session: &str) -> String {
    format!("{}look", path(session, None))
}

/// A button that looks a name up, as if it was typed.
pub(super) fn ready_form(session: &str, typed: &str, words: &str) -> Html {
    let name = [("type", "hidden"), ("name", "name"), ("value", typed)];
    let button = Html::with("button", &[("type", "submit")], words);
    Html::with(
        "form",
        &[("method", "post"), ("action", &look(session))],
        [Html::open("input", &name), button],
    )
}

/// A button that has a site checked: the one at this place among those of a lookup. The form names no host, so that none but
/// those of the lookup can be connected to by it.
pub(super) fn check_form(session: &str, lookup: u64, place: usize, words: &str) -> Html {
    let place = place.to_string();
    let site = [("type", "hidden"), ("name", "site"), ("value", &*place)];
    let button = Html::with("button", &[("type", "submit")], words);
    let action = format!("{}/check", path(session, Some(lookup)));
    Html::with(
        "form",
        &[("method", "post"), ("action", &action)],
        [Html::open("input", &site), button],
    )
}

/// The form for a name. What was typed stands in it where it is all plain: else it would come back as something else.
fn form(session: &str, typed: &str) -> Html {
    let typed = if typed.chars().all(is_plain) { typed } else { "" };
    let input = [
        ("id", "name"),
        ("name", "name"),
        ("type", "text"),
        ("value", typed),
        ("required", ""),
        ("autocomplete", "off"),
        ("autocapitalize", "none"),
        ("spellcheck", "false"),
        ("aria-describedby", "hint"),
    ];
    let content = [
        Html::with("label", &[("for", "name")], "Name or domain"),
        Html::open("input", &input),
        Html::with(
            "p",
            &[("id", "hint"), ("class", "quiet")],
            "Such as d/example, id/alice or example.bit",
        ),
        Html::with("button", &[("type", "submit")], "Look it up and show the proof"),
    ];
    let attributes = [
        ("method", "post"),
        ("action", &*look(session)),
        ("autocomplete", "off"),
        ("role", "search"),
    ];
    Html::with("form", &attributes, content)
}

fn identity(session: &str) -> Html {
    let action = format!("{}new", path(session, None));
    [
        Html::element("h2", "This identity"),
        Html::element(
            "p",
            "What you look up here goes over connections of its own, which nothing else shares: no other browser, no \
             program. Servers may see that it is one person who looks these names up, and not who. A new identity has \
             nothing to do with this one, of which all is forgotten here.",
        ),
        Html::with(
            "form",
            &[("method", "post"), ("action", &action)],
            Html::with("button", &[("type", "submit")], "New identity"),
        ),
    ]
    .into()
}

/// Shows how far the headers are.
fn progress(status: &Status) -> Html {
    let Some(sync) = &status.sync else {
        return Html::default();
    };
    let (done, total) = (sync.headers_done, sync.headers_total);
    let [value, most] = [done, total].map(|count| count.to_string());
    let (words, known) = if done < total {
        (
            format!("{done} of {total} headers"),
            vec![("value", &*value), ("max", &*most)],
        )
    } else {
        ("No server has said yet how many there are".to_owned(), Vec::new())
    };
    let attributes: Vec<_> = known.into_iter().chain([("aria-label", "Headers")]).collect();
    let left = sync
        .seconds_left
        .map_or(String::new(), |left| format!(", about {} left", Span(left)));
    [
        Html::element("p", Html::with("progress", &attributes, &*words)),
        Html::element("p", format!("{words}{left}")),
    ]
    .into()
}

/// The frame that says what an answer is worth. `sign` is beside the words for those who see it.
pub(super) fn verdict(class: &'static str, sign: &'static str, heading: &'static str, content: Html) -> Html {
    let sign = Html::with("span", &[("aria-hidden", "true")], Html::fixed(sign));
    let heading = [sign, Html::text(" "), Html::text(heading)];
    let attributes = [("id", "verdict")];
    Html::with(
        "section",
        &[("class", &*format!("verdict {class}")), ("aria-labelledby", "verdict")],
        [Html::with("h2", &attributes, heading), content],
    )
}

/// A list of terms, each with what is said of it.
pub(super) fn terms(rows: impl IntoIterator<Item = (&'static str, Html)>) -> Html {
    let rows = rows
        .into_iter()
        .map(|(term, said)| Html::from([Html::element("dt", term), Html::element("dd", said)]));
    Html::element("dl", rows.collect::<Html>())
}

fn state(standing: &Standing) -> Html {
    let status = &standing.status;
    let sync = status.sync.as_ref();
    let headers = match sync.map(|sync| sync.stage) {
        _ if status.synchronized => "up to date",
        Some(SyncStage::Running) | None => "being fetched: no name can be looked up yet",
        Some(SyncStage::Synced | SyncStage::Exhausted) => "not up to date: no name can be looked up",
    };
    let tip = match status.tip_age {
        Some(age) => format!("block {}, {} old", status.height, Span(age)),
        None => "none yet".to_owned(),
    };
    let way = match standing.way {
        Way::Proxy => "by the proxy",
        Way::Embedded => "by the Tor within the program",
        Way::Direct => "directly, without Tor: servers learn this machine's address, and can link all lookups",
    };
    let count = |standing: ServerStanding| status.servers.iter().filter(|server| server.state == standing).count();
    let [good, faulty] = [ServerStanding::Good, ServerStanding::Faulty].map(count);
    let servers = format!(
        "{good} in use, {faulty} left for a fault, {} known",
        status.servers.len()
    );
    let pool = format!("about {} ready, {} in use", standing.pool.clean, standing.pool.dirty);
    let connections = sync.map_or(0, |sync| sync.connections);
    let mut rows = vec![
        ("Network", Html::text(&status.network)),
        ("Headers", Html::text(headers)),
        ("Newest block", Html::text(&tip)),
        ("Trusted block", Html::of(status.anchor.height)),
        ("Servers of headers", Html::text(&servers)),
        ("Their connections", Html::of(connections)),
        ("Connections of lookups", Html::text(&pool)),
        ("Lookups go out", Html::text(way)),
    ];
    if status.headers_unproved > 0 {
        let unproved = format!("{} were taken on the strength of a sample", status.headers_unproved);
        rows.push(("Unproved headers", Html::text(&unproved)));
    }
    for (term, said) in [
        ("Warning", status.warning.clone()),
        ("Trouble", status.waits_for()),
        ("Disk", status.unwritten.clone()),
    ] {
        rows.extend(said.map(|said| (term, Html::text(&said))));
    }
    terms(rows)
}

/// Makes a sentence of a reason.
pub(super) fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    let first = letters
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    let end = if reason.ends_with(['.', ':']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}
