//! DNS records of a name, printed.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use serde_json::json;

use isonym::dns::backend::{Backend, of_node_error, of_outcome};
use isonym::dns::book::{Book, CacheSettings, Held, Instant, Known};
use isonym::dns::engine::{self, Found, Note, Question, Reply, Step};
use isonym::dns::presentation::{data_text, parse_type, type_text};
use isonym::dns::zone::{self, Domain, Node as Entry};
use isonym::dns::zones::Place;
use isonym::isolation::IsolationId;
use isonym::name::NameId;
use isonym::name::lookup::LookupSettings;
use isonym::node::{Node, NodeError};

use super::args::ResolveArgs;
use super::daemon::{announced, client};
use super::dns::named;
use super::say;
use super::show::{ABSENT, bring_up_to_date, open, print, print_json};
use crate::config::Settings;

/// Resolves a name and prints its records.
pub(super) async fn run(settings: &Settings, args: &ResolveArgs, quiet: bool) -> Result<ExitCode> {
    let question = question(args)?;
    let mut source = Source::open(settings, settings.isolation_id.clone(), quiet).await?;
    let mut names = Names::new(&settings.dns.engine);
    let reply = names.answer(&question, &mut source).await;
    let domain = names.domain(&question);
    let everything = domain
        .as_ref()
        .filter(|_| args.kind.is_none())
        .and_then(|domain| names.below(&question, domain));
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
            say(format_args!("{name} has no such record{why}"));
            Ok(ExitCode::from(ABSENT))
        }
        ResponseCode::NXDomain => {
            say(format_args!("{name} does not exist{why}"));
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

/// Who is asked for names.
enum Source {
    Other(Backend, IsolationId),
    // A process of its own has connections of its own: all that an ID could ask for.
    Own(Box<Node>, LookupSettings),
}

impl Source {
    async fn open(settings: &Settings, id: IsolationId, quiet: bool) -> Result<Self> {
        if let Some(backend) = &settings.backend {
            return Ok(Self::Other(named(backend)?.into(), id));
        }
        let mut node = match open(settings) {
            Ok(node) => node,
            Err(error) => match (error.downcast_ref(), announced(settings)) {
                (Some(NodeError::FolderInUse { .. }), Some(address)) => {
                    return Ok(Self::Other(client(settings, address)?.into(), id));
                }
                _ => return Err(error),
            },
        };
        let report = bring_up_to_date(settings, &mut node, quiet).await?;
        node.check_fresh(&report)?;
        let lookup = LookupSettings {
            quorum: settings.quorum,
            ..LookupSettings::default()
        };
        Ok(Self::Own(Box::new(node), lookup))
    }

    async fn look_up(&mut self, name: &NameId) -> Known {
        match self {
            Self::Other(backend, id) => {
                let id = Some(&*id).filter(|id| !id.as_bytes().is_empty());
                backend.look_up(name, id).await
            }
            Self::Own(node, settings) => match node.name_show(name, *settings).await {
                Ok(outcome) => of_outcome(outcome),
                Err(error) => Known::Failed(of_node_error(&error)),
            },
        }
    }
}

/// What is known of names.
struct Names<'a> {
    engine: &'a engine::Settings,
    book: Book,
    held: Held,
}

impl<'a> Names<'a> {
    fn new(engine: &'a engine::Settings) -> Self {
        Self {
            engine,
            book: Book::new(CacheSettings::default()),
            held: Held::new(),
        }
    }

    fn find(&mut self, name: &NameId, apex: &Name) -> Found {
        let id = IsolationId::default().blinded(&[0; 32]);
        self.book.find(&id, name, apex, &self.held, Instant::default())
    }

    /// Answers as the server does, one lookup after the other.
    async fn answer(&mut self, question: &Question, source: &mut Source) -> Reply {
        /// Most lookups: as many as the server makes for one query.
        const MAX_LOOKUPS: usize = 64;
        loop {
            let engine = self.engine;
            let needed: BTreeSet<NameId> = match engine::answer(engine, question, |name, apex| self.find(name, apex)) {
                Step::Reply(reply) => return *reply,
                Step::Need(names) => names,
            };
            for name in needed {
                let known = if self.held.len() < MAX_LOOKUPS {
                    source.look_up(&name).await
                } else {
                    Known::Failed(Note::Busy)
                };
                self.held.insert(name, known);
            }
        }
    }

    fn place<'q>(&self, question: &'q Question) -> Option<Place<'q>> {
        self.engine.zones.find(&question.lower)
    }

    /// Returns the domain that the question is about.
    fn domain(&mut self, question: &Question) -> Option<Arc<Domain>> {
        let place = self.place(question)?;
        let name = zone::name_id(place.below().next()?)?;
        match self.find(&name, &place.at(1)) {
            Found::Domain(domain, _) => Some(domain),
            _ => None,
        }
    }

    /// Returns all records of the name and of those below it, if it is written in the domain's value.
    fn below(&self, question: &Question, domain: &Domain) -> Option<Vec<Record>> {
        let place = self.place(question)?;
        let mut entry = domain.root();
        for label in place.below().skip(1) {
            entry = entry.child(label)?;
        }
        let mut records = Vec::new();
        collect(entry, &question.lower, &mut records);
        Some(records)
    }
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
