//! DNS records of a name, printed.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use serde_json::json;
use tokio::time::Instant;

use isonym::dns::engine::{self, Found, Question, Reply, Step};
use isonym::dns::presentation::{data_text, parse_type, type_text};
use isonym::dns::resolver::{Anonymous, Resolver, Settings as ResolverSettings};
use isonym::dns::sign::Signers;
use isonym::dns::zone::{self, Domain, Node as Entry};
use isonym::service::{Caller, NameService};

use super::args::ResolveArgs;
use super::daemon::CALL_TIMEOUT;
use super::dns::{remote, service_for};
use super::eprint_line;
use super::session::{Session, with_synced};
use super::show::{ABSENT, print, print_json};
use crate::config::Settings;

/// Resolves a name and prints its records.
pub(super) async fn run(settings: &Settings, args: &ResolveArgs, quiet: bool) -> Result<ExitCode> {
    let question = question(args)?;
    let Resolved { reply, domain } = if let Some(backend) = &settings.backend {
        resolve(&service_for(settings, backend)?, settings, &question).await
    } else {
        match Session::open(settings, quiet).await? {
            Session::Daemon(client) => resolve(&remote(settings, *client), settings, &question).await,
            Session::Own(node) => {
                with_synced(*node, settings, quiet, async |daemon| {
                    Ok(resolve(&daemon.names, settings, &question).await)
                })
                .await?
            }
        }
    };
    let everything = domain
        .as_ref()
        .filter(|_| args.kind.is_none())
        .and_then(|domain| below(settings, &question, domain));
    let records = everything.unwrap_or_else(|| reply.shown());
    let problems = domain
        .as_ref()
        .filter(|_| args.explain)
        .map_or(&[][..], |domain| domain.problems());
    if args.json {
        print_json(&json!({
            "name": question.lower.to_ascii(),
            "status": status(reply.code),
            "note": reply.note.map(|note| note.code_and_text().1),
            "records": records.iter().map(as_json).collect::<Vec<_>>(),
            "problems": problems.iter().map(|problem| {
                json!({ "path": problem.path(), "reason": problem.reason().to_string() })
            }).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut lines: Vec<String> = records.iter().map(line).collect();
        lines.extend(
            problems
                .iter()
                .map(|problem| format!("; {}: {}", problem.path(), problem.reason())),
        );
        if !lines.is_empty() {
            print(&lines.join("\n"))?;
        }
    }
    conclude(&question, &reply, records.is_empty())
}

/// Says why there are no records, and returns the exit status.
fn conclude(question: &Question, reply: &Reply, empty: bool) -> Result<ExitCode> {
    let why = reply
        .note
        .map_or(String::new(), |note| format!(": {}", note.code_and_text().1));
    let name = &question.lower;
    match reply.code {
        ResponseCode::NoError if !empty => Ok(ExitCode::SUCCESS),
        ResponseCode::NoError => {
            eprint_line(format_args!("{name} has no such record{why}"));
            Ok(ExitCode::from(ABSENT))
        }
        ResponseCode::NXDomain => {
            eprint_line(format_args!("{name} does not exist{why}"));
            Ok(ExitCode::from(ABSENT))
        }
        code => bail!("{name} cannot be resolved ({}){why}", status(code)),
    }
}

fn question(args: &ResolveArgs) -> Result<Question> {
    let mut name = Name::from_ascii(&args.name).with_context(|| format!("`{}` is no domain name", args.name))?;
    name.set_fqdn(true);
    let kind = match &args.kind {
        None => RecordType::ANY,
        Some(text) => parse_type(text).with_context(|| format!("`{text}` is no record type"))?,
    };
    Ok(Question::new(name, kind, DNSClass::IN))
}

fn status(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        _ => "SERVFAIL",
    }
}

fn as_json(record: &Record) -> serde_json::Value {
    json!({
        "name": record.name.to_ascii(),
        "ttl": record.ttl,
        "class": "IN",
        "type": type_text(record.record_type()),
        "data": data_text(&record.data),
    })
}

fn line(record: &Record) -> String {
    let (kind, data) = (type_text(record.record_type()), data_text(&record.data));
    format!("{} {} IN {kind} {data}", record.name.to_ascii(), record.ttl)
}

/// What is to be printed of a name.
struct Resolved {
    reply: Reply,
    /// The domain that the question is about.
    domain: Option<Arc<Domain>>,
}

/// Answers as the DNS server does.
async fn resolve(names: &NameService, settings: &Settings, question: &Question) -> Resolved {
    let limits = settings.dns.limits;
    let resolver = Resolver::new(
        names.for_caller(Caller::Program, limits.caller),
        ResolverSettings {
            engine: settings.dns.engine.clone(),
            signers: Signers::new(Vec::new()),
            limits,
            anonymous: Anonymous::Together,
        },
    );
    let who = names.identity(Some(&settings.isolation_id));
    let deadline = Instant::now() + CALL_TIMEOUT;
    let engine = resolver.engine();
    let reply = resolver
        .settle(&who, deadline, |known| match engine::answer(engine, question, known) {
            Step::Reply(reply) => Ok(*reply),
            Step::Need(names) => Err(names),
        })
        .await;
    let wanted = engine.zones.find(&question.lower).and_then(|place| {
        let name = zone::name_id(place.below().next()?)?;
        Some((name, place.at(1)))
    });
    let domain = match wanted {
        None => None,
        Some((name, apex)) => {
            resolver
                .settle(&who, deadline, |known| match known(&name, &apex) {
                    Found::Needs(names) => Err(names),
                    Found::Domain(domain, _) => Ok(Some(domain)),
                    Found::Absent(..) | Found::Unreadable(_) | Found::Failed(_) => Ok(None),
                })
                .await
        }
    };
    Resolved { reply, domain }
}

/// Returns all records of the name and of those below it, if it is written in the domain's value.
fn below(settings: &Settings, question: &Question, domain: &Domain) -> Option<Vec<Record>> {
    let place = settings.dns.engine.zones.find(&question.lower)?;
    let mut entry = domain.root();
    for label in place.below().skip(1) {
        entry = entry.child(label)?;
    }
    let mut records = Vec::new();
    collect(entry, &question.lower, &mut records);
    Some(records)
}

fn collect(entry: &Entry, owner: &Name, records: &mut Vec<Record>) {
    for (_, data) in entry.rrsets() {
        let record = |data: &_| Record::from_rdata(owner.clone(), zone::TTL, Clone::clone(data));
        records.extend(data.iter().map(record));
    }
    for (label, entry) in entry.children() {
        // A label that does not fit makes a name that nobody can ask for.
        if let Ok(owner) = owner.prepend_label(label) {
            collect(entry, &owner, records);
        }
    }
}
