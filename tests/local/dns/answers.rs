//! The cases of `tests/vectors/dns/answers.json`, over UDP and TCP, before a stand-in backend and before the light
//! client itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt as _;
use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::rdata::opt::EdnsOption;
use isonym::dns::message::ISOLATION_OPTION;
use isonym::time::Timestamp;
use isonym_sim::{AddressKind, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::{Dns, listens};
use isonym_testkit::dns::wire::{Datagrams, Line, Reply, query, texts};
use isonym_testkit::harness::{Daemon, Stop, honest};
use isonym_testkit::program::Program;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about, and what it says.
    rule: String,
    /// Values; a string is the text itself.
    #[serde(default)]
    names: BTreeMap<String, Value>,
    /// Names that have expired, with the values that they had.
    #[serde(default)]
    expired: BTreeMap<String, Value>,
    /// Names for which the backend has but an error, by its code.
    #[serde(default)]
    errors: BTreeMap<String, i32>,
    /// Arguments of the program.
    #[serde(default)]
    args: Vec<String>,
    /// The sizes of a message count, so its names must stay as long as they are.
    #[serde(default)]
    same_name: bool,
    query: Asked,
    expect: Expected,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    r#type: String,
    class: Option<String>,
    opcode: Option<String>,
    /// The payload size.
    edns: Option<u16>,
    version: Option<u8>,
    r#do: Option<bool>,
    id: Option<String>,
    /// The transport, if it is to be but one.
    over: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    rcode: String,
    #[serde(default)]
    aa: bool,
    #[serde(default)]
    tc: bool,
    /// Owner, type, data; without data any will do.
    #[serde(default)]
    answers: Vec<String>,
    #[serde(default)]
    authorities: Vec<String>,
    #[serde(default)]
    additionals: Vec<String>,
    /// The extended error's code.
    ede: Option<u16>,
    /// The TTL when all is fresh.
    ttl: Option<u32>,
    /// The isolation ID that comes back.
    echo: Option<String>,
    /// How many names the backend is asked for.
    asks: Option<usize>,
    /// Whether the question comes back.
    question: Option<bool>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../vectors/dns/answers.json");
    serde_json::from_str::<Vectors>(text).unwrap().cases
}

fn value(json: &Value) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

impl Asked {
    fn message(&self) -> Message {
        let mut message = query(&self.name, &self.r#type);
        message.metadata.recursion_desired = rand::random();
        message.metadata.op_code = match self.opcode.as_deref() {
            None => OpCode::Query,
            Some("NOTIFY") => OpCode::Notify,
            Some("UPDATE") => OpCode::Update,
            Some("STATUS") => OpCode::Status,
            Some(other) => panic!("{other}"),
        };
        let class = match self.class.as_deref() {
            None => DNSClass::IN,
            Some("ANY") => DNSClass::ANY,
            Some("CH") => DNSClass::CH,
            Some("HS") => DNSClass::HS,
            Some(other) => panic!("{other}"),
        };
        message.queries[0].set_query_class(class);
        if let Some(payload) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns.set_dnssec_ok(self.r#do.unwrap_or(false));
            edns.set_version(self.version.unwrap_or(0));
            if let Some(id) = &self.id {
                let option = EdnsOption::Unknown(ISOLATION_OPTION, id.as_bytes().to_vec());
                edns.options_mut().insert(option);
            }
            message.set_edns(edns);
        }
        message
    }

    fn goes_over(&self, transport: &str) -> bool {
        self.over.as_deref().is_none_or(|over| over == transport)
    }
}

impl Case {
    /// The same under other names, so that it can stand beside others in one world.
    fn renamed(&self, number: usize) -> Self {
        let text = serde_json::to_string(self).unwrap();
        let again = |word: &str, text: &str| text.replace(word, &format!("{word}{number}"));
        serde_json::from_str(&again("example", &again("ExAmPlE", &text))).unwrap()
    }

    /// Says what holds of every reply, and what this one should be.
    #[track_caller]
    fn check(&self, asked: &Message, reply: &Reply, over_udp: bool) {
        let Reply { message, length } = reply;
        let (rule, expect) = (&self.rule, &self.expect);
        let (header, asked_header) = (&message.metadata, &asked.metadata);
        assert_eq!(header.id, asked_header.id, "{rule}");
        assert_eq!(header.message_type, MessageType::Response, "{rule}");
        assert_eq!(header.op_code, asked_header.op_code, "{rule}");
        let is_query = header.op_code == OpCode::Query;
        let desired = is_query && asked_header.recursion_desired;
        assert_eq!(header.recursion_desired, desired, "{rule}");
        assert!(!header.recursion_available && !header.authentic_data, "{rule}");
        if expect.question.unwrap_or(true) {
            assert_eq!(message.queries.len(), 1, "{rule}");
            let (here, there) = (&message.queries[0], &asked.queries[0]);
            assert_eq!(here, there, "{rule}");
            assert!(here.name().eq_case(there.name()), "{rule}");
        }
        if over_udp {
            let payload = self.query.edns.unwrap_or(512).clamp(512, 1232);
            assert!(*length <= payload.into(), "{rule}: {length} bytes");
        }
        assert_eq!(message.edns.is_some(), self.query.edns.is_some(), "{rule}");
        if let Some(edns) = &message.edns {
            assert_eq!((edns.version(), edns.max_payload()), (0, 1232), "{rule}");
            assert_eq!(edns.flags().dnssec_ok, self.query.r#do.unwrap_or(false), "{rule}");
        }
        let echo = expect.echo.as_ref().map(|echo| echo.as_bytes().to_vec());
        assert_eq!(reply.isolation_id(), echo, "{rule}");
        let got = (reply.code(), header.authoritative, header.truncation);
        assert_eq!(got, (expect.rcode.clone(), expect.aa, expect.tc), "{rule}: {reply:?}");
        if self.query.edns.is_some() {
            assert_eq!(reply.extended_error(), expect.ede, "{rule}");
        }
        for (section, records, expected) in [
            ("answers", &message.answers, &expect.answers),
            ("authorities", &message.authorities, &expect.authorities),
            ("additionals", &message.additionals, &expect.additionals),
        ] {
            let found = texts(records);
            let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| fits(a, b));
            assert!(same, "{rule}: {section}: {found:#?}, not {expected:#?}");
            for record in records {
                assert_eq!(
                    record.dns_class == DNSClass::CH,
                    self.query.class.as_deref() == Some("CH")
                );
            }
        }
        let ttl = expect.ttl.unwrap_or(600);
        for record in message.answers.iter().chain(&message.authorities) {
            // What is remembered lives for at least half of its time.
            let range = (ttl / 2).saturating_sub(60).max(ttl.min(1))..=ttl;
            assert!(range.contains(&record.ttl), "{rule}: {} is no TTL of {ttl}", record.ttl);
        }
    }
}

fn fits(found: &str, expected: &str) -> bool {
    let any_data = expected.split(' ').count() == 2;
    found == expected || (any_data && found.starts_with(&format!("{expected} ")))
}

/// The addresses from which the questions of one case come: none else has it, and so none its identity.
fn client(number: usize) -> IpAddr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 9, high, low).into()
}

/// Asks twice over one transport and twice over the other, in an order that changes.
async fn ask_all(case: &Case, number: usize, server: SocketAddr) {
    let asked = case.query.message();
    let mut transports = ["udp", "tcp"];
    if number % 2 == 1 {
        transports.reverse();
    }
    for transport in transports.into_iter().filter(|one| case.query.goes_over(one)) {
        for _ in 0..2 {
            let reply = match transport {
                "udp" => Datagrams::open_from(client(number), server).await.ask(&asked).await,
                _ => Line::open_from(client(number), server).await.ask(&asked).await,
            };
            case.check(&asked, &reply, transport == "udp");
        }
    }
}

/// Runs all cases in turn, so that one that fails hides no other.
async fn run_all(cases: &[(usize, Case)], server: SocketAddr, mut prepare: impl FnMut(&Case), check: impl Fn(&Case)) {
    let mut failed = Vec::new();
    for (number, case) in cases {
        prepare(case);
        let asked = AssertUnwindSafe(ask_all(case, *number, server)).catch_unwind().await;
        if asked.is_err() || catch_unwind(AssertUnwindSafe(|| check(case))).is_err() {
            failed.push(&case.rule);
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
}

#[tokio::test]
async fn every_rule_before_a_stand_in() {
    let mut groups: BTreeMap<Vec<String>, Vec<(usize, Case)>> = BTreeMap::new();
    for (number, case) in cases().into_iter().enumerate() {
        groups.entry(case.args.clone()).or_default().push((number, case));
    }
    let backend = Backend::start().await;
    for (arguments, cases) in groups {
        let mut line = vec!["--dns-isolate=address"];
        line.extend(arguments.iter().map(String::as_str));
        let dns = Dns::start(&backend, &line).await;
        let prepare = |case: &Case| {
            backend.clear();
            for (name, json) in &case.names {
                backend.say(name, Says::Value(value(json)));
            }
            for (name, json) in &case.expired {
                backend.say(name, Says::Expired(value(json)));
            }
            for (name, code) in &case.errors {
                backend.say(name, Says::Code(*code));
            }
        };
        // All but the first were answered from memory, imports and glue and what failed included.
        let check = |case: &Case| {
            if let Some(asks) = case.expect.asks {
                assert_eq!(backend.count(), asks, "{}: {:?}", case.rule, backend.calls());
            }
        };
        run_all(&cases, dns.address, prepare, check).await;
        dns.stop().await;
    }
}

#[tokio::test]
async fn every_rule_before_the_light_client() {
    let fits =
        |case: &Case| case.args.is_empty() && case.errors.is_empty() && case.expired.is_empty() && !case.same_name;
    let cases = cases().into_iter().enumerate().filter(|(_, case)| fits(case));
    let cases: Vec<_> = cases.map(|(number, case)| (number, case.renamed(number))).collect();
    let mut world = World::new(1, Timestamp(1_700_000_000));
    // A coinbase pays for one name, and must be a hundred blocks old.
    world.mine(100);
    let names: BTreeMap<&str, String> = cases
        .iter()
        .flat_map(|(_, case)| case.names.iter().map(|(name, json)| (name.as_str(), value(json))))
        .collect();
    world.mine(2 * u32::try_from(names.len()).unwrap());
    let names: Vec<_> = names
        .into_iter()
        .map(|(name, value)| (name, value, AddressKind::P2wpkh))
        .collect();
    world.register_all(&names).unwrap();
    world.mine(20);
    let (stage, _) = honest(world, 1).await;
    let program = Program::new();
    let arguments = ["--dns-listen=127.0.0.1:0", "--dns-isolate=address"];
    let daemon = Daemon::ready(&program, &stage, &arguments).await;
    let server = listens(&daemon.log()).unwrap();
    run_all(&cases, server, |_| {}, |_| {}).await;
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}
