//! DNS records of a name, printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};
use serde_json::json;
use tokio::time::Instant;

use isonym::dns::engine::{self, ExtendedError, Found, Question, Reply, Step};
use isonym::dns::listing::{Entry, at_and_below};
use isonym::dns::lookup_result::LookupResult;
use isonym::dns::presentation::{data_text, parse_type, type_text};
use isonym::dns::records::LookedUp;
use isonym::dns::resolver::{Anonymous, Resolver, Settings as ResolverSettings};
use isonym::dns::sign::Signers;
use isonym::dns::zone::{self, Built, Domain};
use isonym::dns::zones::Zones;
use isonym::name::encoding::quoted;
use isonym::name::{NameId, NameValue, Outcome};
use isonym::rpc::explanation;
use isonym::service::{Caller, NameService, Question as Asked};

use super::args::ResolveArgs;
use super::daemon::CALL_TIMEOUT;
use super::dns::{remote, service_for};
use super::eprint_line;
use super::session::{Session, with_beside};
use super::show::{ABSENT, follow, print, print_json};
use super::typed;
use crate::config::Settings;

/// Most bytes of a value that nodes relay. Source: Namecoin Core, names/common.h, `MAX_VALUE_LENGTH_UI`.
const RELAYED_VALUE: usize = 520;

/// Resolves a name and prints its records.
pub(super) async fn run(settings: &Settings, args: &ResolveArgs, quiet: bool) -> Result<ExitCode> {
    let given = typed::given(&args.name)?;
    let question = question(&given, args, &settings.dns.engine.zones)?;
    let draft = match &args.value {
        None => None,
        Some(text) => Some(draft(settings, &question, text)?),
    };
    let alone = alone(settings, &question, draft.as_ref());
    let Resolved { reply, domain } = match alone {
        Some(resolved) => resolved,
        None => looked_up(settings, &question, draft, quiet).await?,
    };
    let entries = domain
        .as_ref()
        .filter(|_| args.kind.is_none())
        .and_then(|domain| at_and_below(&settings.dns.engine.zones, &question.lower, domain));
    let mut entries = entries.unwrap_or_default();
    // What is hidden is not all: a delegation answers for it.
    if entries.iter().all(|entry| entry.hidden_by.is_some()) {
        let shown = reply.shown().into_iter();
        entries.splice(0..0, shown.map(Entry::from));
    }
    let problems = domain
        .as_ref()
        .filter(|_| args.explain || args.value.is_some())
        .map_or(&[][..], |domain| domain.problems());
    if args.json {
        print_json(&json!({
            "name": question.lower.to_ascii(),
            "status": status(reply.code),
            "note": reply.note.map(|note| note.code_and_text().1),
            "records": entries.iter().map(as_json).collect::<Vec<_>>(),
            "problems": problems.iter().map(|problem| {
                json!({ "path": problem.path(), "reason": problem.reason().to_string() })
            }).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut lines: Vec<String> = entries.iter().map(Entry::line).collect();
        lines.extend(problems.iter().map(|problem| format!("; {problem}")));
        if !lines.is_empty() {
            print(&lines.join("\n"))?;
        }
    }
    let is_empty = entries.iter().all(|entry| entry.hidden_by.is_some());
    let absence = absence(settings, &question, &reply, domain.as_deref());
    conclude(&given, &reply, is_empty, &absence)
}

/// Has looked up what the question needs.
async fn looked_up(settings: &Settings, question: &Question, draft: Option<Draft>, quiet: bool) -> Result<Resolved> {
    if let Some(backend) = &settings.backend {
        return Ok(resolve(&service_for(settings, backend)?, settings, question, draft).await);
    }
    match Session::open(settings, quiet).await? {
        Session::Daemon(client) => {
            let resolved = resolve(&remote(settings, (*client).clone()), settings, question, draft.clone()).await;
            if resolved.reply.note != Some(ExtendedError::NotSynchronised) {
                return Ok(resolved);
            }
            follow(&client, quiet).await?;
            // By another service, which remembers nothing of the failure.
            Ok(resolve(&remote(settings, *client), settings, question, draft).await)
        }
        Session::Own(node) => {
            with_beside(*node, settings, quiet, async |daemon| {
                let names = daemon.names.for_caller(Caller::Program, settings.dns.limits.caller);
                match own_name(settings, question).filter(|_| draft.is_none()) {
                    Some(name) => {
                        let asked = Asked {
                            name,
                            isolation_id: Some(settings.isolation_id.clone()),
                            allow_expired: false,
                            quorum: None,
                            max_age: None,
                        };
                        // It waits for the headers, for which the names that the value names need not wait then. What
                        // comes of it is remembered; why nothing does is found out once more.
                        let _ = names.name_show(&asked).await;
                    }
                    None => drop(daemon.node.synced(|_| ()).await?),
                }
                Ok(resolve(&names, settings, question, draft).await)
            })
            .await
        }
    }
}

/// Returns the name whose value the question is about.
fn own_name(settings: &Settings, question: &Question) -> Option<NameId> {
    let place = settings.dns.engine.zones.find(&question.lower)?;
    zone::name_id(place.below().next()?)
}

/// A value that is taken for a name's.
#[derive(Clone)]
struct Draft {
    name: NameId,
    value: NameValue,
}

/// Reads what the user wants to have taken for the value of the name that the question is about.
fn draft(settings: &Settings, question: &Question, text: &str) -> Result<Draft> {
    let place = settings.dns.engine.zones.find(&question.lower);
    let label = place.as_ref().and_then(|place| place.below().next());
    let name = label.and_then(zone::name_id);
    let name = name.with_context(|| format!("`{}` is no name below .bit", question.lower))?;
    let bytes = match text.strip_prefix('@') {
        None => text.as_bytes().to_vec(),
        Some("-") => read(&mut std::io::stdin().lock()).context("cannot read standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path);
            let bytes = file.and_then(|mut file| read(&mut file));
            bytes.with_context(|| format!("cannot read `{path}`"))?
        }
    };
    // Editors end files with a line feed, which nobody publishes.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let value = NameValue::new(bytes);
    let value = value.with_context(|| format!("a value has at most {} bytes", NameValue::MAX_LEN))?;
    if bytes.len() > RELAYED_VALUE {
        eprint_line(format_args!(
            "the value has {} bytes: Namecoin Core relays none of more than {RELAYED_VALUE}",
            bytes.len()
        ));
    }
    Ok(Draft { name, value })
}

/// Reads a value; no more than is needed to see that it is too long.
fn read(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(NameValue::MAX_LEN).unwrap_or(u64::MAX).saturating_add(2);
    from.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Answers by the draft alone, or by no value at all; `None` where something must be looked up.
fn alone(settings: &Settings, question: &Question, draft: Option<&Draft>) -> Option<Resolved> {
    let mut domain = None;
    let step = engine::answer(&settings.dns.engine, question, |name, apex| {
        let Some(draft) = draft.filter(|draft| draft.name == *name) else {
            return Found::Needs(BTreeSet::from([name.clone()]));
        };
        match zone::build(name, &draft.value, apex, &BTreeMap::new()) {
            Ok(Built::Needs(names)) => Found::Needs(names),
            Ok(Built::Domain(built)) => {
                let built = Arc::new(built);
                domain = Some(Arc::clone(&built));
                Found::Domain(built, zone::TTL)
            }
            Err(_) => Found::Unreadable(zone::TTL),
        }
    });
    match step {
        Step::Reply(reply) => Some(Resolved { reply: *reply, domain }),
        Step::Need(_) => None,
    }
}

/// Says why there are no records of what was given, and returns the exit status.
fn conclude(given: &str, reply: &Reply, empty: bool, absence: &str) -> Result<ExitCode> {
    let why = reply
        .note
        .map_or(String::new(), |note| format!(": {}", note.code_and_text().1));
    match reply.code {
        ResponseCode::NoError if !empty => Ok(ExitCode::SUCCESS),
        ResponseCode::NoError => {
            eprint_line(format_args!("{given} has no such record{why}"));
            Ok(ExitCode::from(ABSENT))
        }
        ResponseCode::NXDomain => {
            eprint_line(format_args!("{given} has no records: {absence}"));
            Ok(ExitCode::from(ABSENT))
        }
        code => bail!("{given} cannot be resolved ({}){why}", status(code)),
    }
}

/// Says what is not there, in the words that `name_show` has for it.
fn absence(settings: &Settings, question: &Question, reply: &Reply, domain: Option<&Domain>) -> String {
    let place = settings.dns.engine.zones.find(&question.lower);
    let Some(name) = place.and_then(|place| zone::name_id(place.below().next()?)) else {
        return "no name holds such a domain".to_owned();
    };
    let quoted = quoted(name.as_bytes());
    match (domain, reply.note) {
        (Some(_), _) => format!("the value of {quoted} has nothing there"),
        (None, Some(ExtendedError::Expired)) => format!("name expired: {quoted}"),
        (None, Some(note)) => format!("{}: {quoted}", note.code_and_text().1),
        (None, None) => explanation(&Outcome::NeverExisted, &name),
    }
}

fn question(given: &str, args: &ResolveArgs, zones: &Zones) -> Result<Question> {
    let name = typed::domain(given, zones)?;
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

fn as_json(entry: &Entry) -> serde_json::Value {
    let record = &entry.record;
    let mut json = json!({
        "name": record.name.to_ascii(),
        "ttl": record.ttl,
        "class": "IN",
        "type": type_text(record.record_type()),
        "data": data_text(&record.data),
    });
    if let (Some(by), Some(members)) = (entry.hidden_by, json.as_object_mut()) {
        members.insert("hiddenBy".to_owned(), by.into());
    }
    json
}

/// What a value gives by itself.
pub(super) struct GivenRecords {
    /// The records, each as a line of a zone file.
    pub(super) records: Vec<String>,
    /// What gives none and why, and what may surprise, each as such a file's comment.
    pub(super) problems: Vec<String>,
    /// The names whose values it needs besides.
    pub(super) needs: Vec<String>,
}

/// Reads the records off the value of a name in `d/`; `None` for other names.
pub(super) fn given_records(name: &NameId, value: &[u8], zones: &Zones) -> Option<GivenRecords> {
    let apex = zones.own_domain(name)?;
    let value = NameValue::new(value)?;
    let none = BTreeMap::new();
    Some(match zone::build(name, &value, &apex, &none) {
        Ok(Built::Domain(domain)) => {
            let entries = at_and_below(zones, &apex, &domain).unwrap_or_default();
            GivenRecords {
                records: entries.iter().map(Entry::line).collect(),
                problems: domain.problems().iter().map(|problem| format!("; {problem}")).collect(),
                needs: Vec::new(),
            }
        }
        Ok(Built::Needs(names)) => GivenRecords {
            records: Vec::new(),
            problems: Vec::new(),
            needs: names.iter().map(|name| quoted(name.as_bytes())).collect(),
        },
        Err(error) => GivenRecords {
            records: Vec::new(),
            problems: vec![format!("; {error}")],
            needs: Vec::new(),
        },
    })
}

/// What is to be printed of a name.
struct Resolved {
    reply: Reply,
    /// The domain that the question is about.
    domain: Option<Arc<Domain>>,
}

/// Answers as the DNS server does.
async fn resolve(names: &NameService, settings: &Settings, question: &Question, draft: Option<Draft>) -> Resolved {
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
    let drafts = draft.map(|draft| (draft.name, LookupResult::Value(draft.value)));
    let drafts: LookedUp = drafts.into_iter().collect();
    let reply = resolver
        .settle_with(drafts.clone(), &who, deadline, |known| {
            match engine::answer(&engine, question, known) {
                Step::Reply(reply) => Ok(*reply),
                Step::Need(names) => Err(names),
            }
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
                .settle_with(drafts, &who, deadline, |known| match known(&name, &apex) {
                    Found::Needs(names) => Err(names),
                    Found::Domain(domain, _) => Ok(Some(domain)),
                    Found::Absent(..) | Found::Unreadable(_) | Found::Failed(_) => Ok(None),
                })
                .await
        }
    };
    Resolved { reply, domain }
}
