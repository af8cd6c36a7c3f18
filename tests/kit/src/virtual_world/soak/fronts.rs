//! The same question through JSON-RPC and DNS.

use isonym::dns::engine;
use isonym::dns::message::{self, ISOLATION_OPTION, Incoming};
use isonym::dns::resolver::{Anonymous, Limits, Resolver, Settings};
use isonym::dns::sign::Signers;
use isonym::name::Outcome;
use isonym::rpc::{Body, Defaults, Methods, RunningSettings};
use isonym::service::{Caller, Daemon};
use serde_json::Value;

use super::super::name;
use super::world::SoakWorld;

/// Holds what JSON-RPC and DNS say against what another front said a moment ago, under the same ID, unless something
/// happened meanwhile that may change it.
pub(super) async fn compare(world: &SoakWorld, daemon: &Daemon, id: u32, number: usize, outcome: &Outcome) {
    let Outcome::Found(status) = outcome else { return };
    let value = String::from_utf8_lossy(status.name.value().as_bytes()).into_owned();
    let before = daemon.names.validity();
    world.begin_question(number, id);
    let by_rpc = ask_by_rpc(daemon, id, number).await;
    let by_dns = match text_of(&value) {
        Some(text) => ask_by_dns(daemon, id, number).await.map(|records| (text, records)),
        None => None,
    };
    world.end_question(number, id);
    if daemon.names.validity() != before {
        return;
    }
    world.counts(|counts| {
        counts.compared += u64::from(by_rpc.is_some()) + u64::from(by_dns.is_some());
    });
    if let Some(said) = by_rpc.filter(|said| *said != value) {
        world.fail(&format!("name {number} is {value}, but by JSON-RPC {said}"));
    }
    if let Some((text, records)) = by_dns.filter(|(text, records)| !records.ends_with(&format!(" TXT {text}"))) {
        world.fail(&format!("name {number} says {text}, but by DNS {records}"));
    }
}

/// Returns the text that a value has for DNS.
fn text_of(value: &str) -> Option<String> {
    let value: Value = serde_json::from_str(value).ok()?;
    Some(value["txt"].as_str()?.to_owned())
}

async fn ask_by_rpc(daemon: &Daemon, id: u32, number: usize) -> Option<String> {
    let params = format!(r#"["{}", {{"streamID": "user {id}"}}]"#, name(number));
    let body = format!(r#"{{"method": "name_show", "params": {params}}}"#);
    let Body::Single(request) = Body::parse(body.as_bytes()) else {
        panic!("one call is one call")
    };
    let methods = Methods::new(daemon, Defaults::default(), RunningSettings::default());
    let result = methods.call(request.call.unwrap()).await.ok()?;
    let shown: Value = serde_json::from_str(result.get()).unwrap();
    Some(shown["value"].as_str()?.to_owned())
}

async fn ask_by_dns(daemon: &Daemon, id: u32, number: usize) -> Option<String> {
    let settings = Settings {
        engine: engine::Settings::default(),
        signers: Signers::new(Vec::new()),
        limits: Limits::default(),
        anonymous: Anonymous::Together,
    };
    let names = daemon.names.for_caller(Caller::Dns, settings.limits.caller);
    let Incoming::Query(query) = message::read(&query(number, id)) else {
        panic!("it is a query")
    };
    let resolver = Resolver::new(names, settings);
    let who = resolver.identity(&query, "127.0.0.1:1".parse().unwrap());
    let reply = resolver.answer(&query, &who).await;
    let records: Vec<String> = reply.answers.iter().map(ToString::to_string).collect();
    (!records.is_empty()).then(|| records.join("; "))
}

/// A query for the texts of a name, under an ID.
fn query(number: usize, id: u32) -> Vec<u8> {
    let (label, id) = (name(number).split_off(2), format!("user {id}"));
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in [label.as_str(), "bit", ""] {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    // TXT, IN; then OPT with one option.
    message.extend([0, 16, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0]);
    let len = u16::try_from(id.len()).unwrap();
    for number in [len + 4, ISOLATION_OPTION, len] {
        message.extend(number.to_be_bytes());
    }
    message.extend(id.as_bytes());
    message
}
