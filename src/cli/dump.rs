//! All names that a daemon keeps: listed, or written as a zone file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::rr::Name;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use isonym::dns::zone::{self, Built, Domain, Imported};
use isonym::dns::zone_file::ZoneFile;
use isonym::jsonrpc::{Client, ClientError};
use isonym::name::{Encoding, NameId, NameValue};
use isonym::node::Status;

use super::args::{DumpArgs, DumpFormat, ScanArgs};
use super::daemon::running;
use super::eprint_line;
use super::session::ask;
use super::show::print_result;
use crate::config::Settings;

/// How many names are asked for at a time.
const PAGE: usize = 1000;

/// How often it begins anew when a block comes meanwhile: it takes seconds, and they come every ten minutes.
const TRIES: usize = 5;

/// Most bytes of names and values that are held. There can be some 400,000 names.
const MOST_BYTES: usize = 1 << 30;

/// Most names that values import and that are not among those that were listed.
const MOST_LOOKUPS: usize = 20_000;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What all names of domains begin with, and so in hex.
const DOMAINS: &str = "d/";
const DOMAINS_HEX: &str = "642f";

/// Lists names.
pub(super) async fn scan(settings: &Settings, args: &ScanArgs) -> Result<ExitCode> {
    let mut options = Map::new();
    let encodings = [
        ("nameEncoding", settings.name_encoding),
        ("valueEncoding", settings.value_encoding),
    ];
    options.extend(encodings.map(|(key, encoding)| (key.to_owned(), json!(encoding.as_str()))));
    let numbers = [("minConf", args.min_conf), ("maxConf", args.max_conf)];
    let texts = [("prefix", &args.prefix), ("regexp", &args.regexp)];
    options.extend(
        numbers
            .into_iter()
            .filter_map(|(key, number)| Some((key.to_owned(), json!(number?)))),
    );
    options.extend(
        texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?)))),
    );
    let params = json!([args.start, args.count, options]);
    print_result(ask(&daemon(settings)?, "name_scan", &params).await?)
}

/// Returns a client of the daemon that keeps the names. Fetching them all takes long, so that no command does it by itself.
fn daemon(settings: &Settings) -> Result<Client> {
    let folder = settings.folder.clone();
    let client = running(settings)?.ok_or(ClientError::NoDaemon { folder });
    client.context("this takes a daemon that keeps all names: isonym daemon --names local")
}

/// Writes all domains.
pub(super) async fn run(settings: &Settings, args: &DumpArgs, quiet: bool) -> Result<ExitCode> {
    let client = daemon(settings)?;
    let listed = list(&client, quiet).await?;
    match args.format {
        DumpFormat::Json => {
            let encodings = (settings.name_encoding, settings.value_encoding);
            let lines = listed.names.iter().map(|name| encoded(name, encodings).to_string());
            write_lines(lines)?;
            if !quiet {
                eprint_line(format_args!("{} names of block {}", listed.names.len(), listed.tip));
            }
        }
        DumpFormat::Zone => write_zone(settings, &client, listed, quiet).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// All domains by one block.
struct Listed {
    /// Objects of `name_scan`, with names and values in hex.
    names: Vec<Value>,
    tip: TipText,
}

/// A block, as it is told.
#[derive(Clone, PartialEq, Eq)]
struct TipText {
    height: u32,
    hash: String,
}

impl std::fmt::Display for TipText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.height, self.hash)
    }
}

/// Asks for all domains, page after page, until all pages are of one block.
async fn list(client: &Client, quiet: bool) -> Result<Listed> {
    for _ in 0..TRIES {
        let status: Status = ask(client, "status", &json!([])).await??;
        let tip = TipText {
            height: status.height,
            hash: status.tip_hash,
        };
        if let Some(names) = list_at(client, &tip, quiet).await? {
            return Ok(Listed { names, tip });
        }
        if !quiet {
            eprint_line(format_args!("a block came meanwhile: all names are asked for anew"));
        }
    }
    bail!("blocks came faster than names could be listed, {TRIES} times")
}

/// Asks for all domains; `None` where a page is not of that block.
async fn list_at(client: &Client, tip: &TipText, quiet: bool) -> Result<Option<Vec<Value>>> {
    let options = json!({ "prefix": DOMAINS_HEX, "nameEncoding": "hex", "valueEncoding": "hex" });
    let mut names: Vec<Value> = Vec::new();
    let mut last: Option<NameId> = None;
    let (mut bytes, mut told) = (0, Instant::now());
    loop {
        let start = last.as_ref().map_or(String::new(), |name| hex(name.as_bytes()));
        let params = json!([start, PAGE, options]);
        let page: Vec<Value> = ask(client, "name_scan", &params).await??;
        let is_last = page.len() < PAGE;
        for value in page {
            let name = name_of(&value).context("the daemon lists what is no name")?;
            if last.as_ref() == Some(&name) {
                continue;
            }
            let is_next = last.as_ref().is_none_or(|last| key(last) < key(&name));
            ensure!(is_next, "the daemon lists names in another order than Namecoin Core's");
            if tip_of(&value).is_some_and(|hash| hash != tip.hash) {
                return Ok(None);
            }
            bytes += value.to_string().len();
            ensure!(bytes <= MOST_BYTES, "the names have more than {MOST_BYTES} bytes");
            last = Some(name);
            names.push(value);
        }
        if is_last {
            break;
        }
        if !quiet && told.elapsed() >= TELL_EVERY {
            eprint_line(format_args!("{} names so far", names.len()));
            told = Instant::now();
        }
    }
    // Pages without any proved name don't say of which block they are.
    let status: Status = ask(client, "status", &json!([])).await??;
    Ok((status.tip_hash == tip.hash).then_some(names))
}

/// Returns what names are in the order of.
fn key(name: &NameId) -> (usize, &[u8]) {
    (name.as_bytes().len(), name.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(bytes)
}

fn bytes_of(value: &Value, field: &str) -> Option<Vec<u8>> {
    Encoding::Hex.decode(value.get(field)?.as_str()?).ok()
}

fn name_of(value: &Value) -> Option<NameId> {
    NameId::new(&bytes_of(value, "name")?)
}

fn tip_of(value: &Value) -> Option<&str> {
    value.get("verified")?.get("tip_hash")?.as_str()
}

/// Writes an object's name and value in other encodings, as the daemon would.
fn encoded(value: &Value, (name_encoding, value_encoding): (Encoding, Encoding)) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let mut written = Map::new();
    for (key, member) in members {
        let encoding = match key.as_str() {
            "name" | "name_encoding" => name_encoding,
            "value" | "value_encoding" => value_encoding,
            _ => {
                written.insert(key.clone(), member.clone());
                continue;
            }
        };
        if key.ends_with("_encoding") {
            written.insert(key.clone(), json!(encoding.as_str()));
            continue;
        }
        let bytes = bytes_of(value, key).unwrap_or_default();
        match encoding.encode(&bytes) {
            Ok(text) => written.insert(key.clone(), json!(text)),
            Err(_) => written.insert(format!("{key}_error"), json!(format!("invalid data for {encoding}"))),
        };
    }
    Value::Object(written)
}

/// How many names are what in a zone file.
#[derive(Default)]
struct Counts {
    with_records: usize,
    without: usize,
    /// Their values can't be read.
    unreadable: usize,
    /// Name lookups would not give their values.
    withheld: usize,
    /// They are names of no domain.
    no_domains: usize,
    /// What they import could not be found out.
    unresolved: usize,
}

async fn write_zone(settings: &Settings, client: &Client, listed: Listed, quiet: bool) -> Result<()> {
    let engine = &settings.dns.engine;
    let apex = engine.zones.apexes().first().context("no zone is configured")?;
    let Listed { names, tip } = listed;
    let total = names.len();
    let mut counts = Counts::default();
    let mut values = BTreeMap::new();
    // In their order, which a map by the bytes does not have.
    let mut order = Vec::new();
    for value in names {
        let Some(name) = name_of(&value) else { continue };
        let given = bytes_of(&value, "value").and_then(|bytes| NameValue::new(&bytes));
        match given.filter(|_| value.get("withheld").is_none()) {
            Some(given) => {
                order.push(name.clone());
                values.insert(name, given);
            }
            None => counts.withheld += 1,
        }
    }
    let mut imports = Imports {
        client,
        values: &values,
        found: BTreeMap::new(),
    };
    let mut file = ZoneFile::new(engine, apex, tip.height);
    for name in &order {
        let label = name.as_bytes().strip_prefix(DOMAINS.as_bytes()).unwrap_or_default();
        let (Some(value), Ok(owner)) = (values.get(name), apex.prepend_label(label)) else {
            counts.no_domains += 1;
            continue;
        };
        if zone::name_id(label).as_ref() != Some(name) {
            counts.no_domains += 1;
            continue;
        }
        match imports.domain(name, value, &owner).await {
            Made::Domain(domain) if file.add(label, &domain) => counts.with_records += 1,
            Made::Domain(_) => counts.without += 1,
            Made::Unreadable => counts.unreadable += 1,
            Made::Unresolved => counts.unresolved += 1,
        }
    }
    let (lines, nowhere) = file.finish();
    let Counts {
        with_records,
        without,
        unreadable,
        withheld,
        no_domains,
        unresolved,
    } = counts;
    let summary = format!(
        "{total} names of block {tip}: {with_records} with records, {without} without, {unreadable} with a value that can't be read, \
         {no_domains} that are no domain, {withheld} that a lookup would not give either, {unresolved} whose imports failed; \
         {nowhere} delegations to nameservers without an address left out"
    );
    let head = [format!("; {summary}")];
    write_lines(head.into_iter().chain(lines))?;
    if !quiet {
        eprint_line(format_args!("{summary}"));
    }
    Ok(())
}

/// What a value gives.
enum Made {
    Domain(Domain),
    Unreadable,
    Unresolved,
}

/// Finds what values import: among those that were listed, else at the daemon, which asks nobody either.
struct Imports<'a> {
    client: &'a Client,
    values: &'a BTreeMap<NameId, NameValue>,
    /// What the daemon said; `None` where it failed.
    found: BTreeMap<NameId, Option<Imported>>,
}

impl Imports<'_> {
    async fn domain(&mut self, name: &NameId, value: &NameValue, owner: &Name) -> Made {
        let mut imports = BTreeMap::new();
        loop {
            let needed: BTreeSet<NameId> = match zone::build(name, value, owner, &imports) {
                Ok(Built::Domain(domain)) => return Made::Domain(domain),
                Ok(Built::Needs(needed)) => needed,
                Err(_) => return Made::Unreadable,
            };
            for name in needed {
                match self.find(&name).await {
                    Some(imported) => imports.insert(name, imported),
                    None => return Made::Unresolved,
                };
            }
        }
    }

    async fn find(&mut self, name: &NameId) -> Option<Imported> {
        if let Some(value) = self.values.get(name) {
            return Some(Imported::Value(value.clone()));
        }
        if let Some(found) = self.found.get(name) {
            return found.clone();
        }
        if self.found.len() >= MOST_LOOKUPS {
            return None;
        }
        let found = match self.client.name_show(name, None, 1).await {
            Ok(record) if record.expired => Some(Imported::Absent),
            Ok(record) => Some(Imported::Value(record.value)),
            Err(error) if error.is_absent_name() => Some(Imported::Absent),
            Err(_) => None,
        };
        self.found.insert(name.clone(), found.clone());
        found
    }
}

/// Writes lines to standard output. A reader that has gone away is no reason to complain.
fn write_lines(lines: impl Iterator<Item = String>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let write = || {
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_in_other_encodings() {
        let object =
            json!({ "name": "642f78", "name_encoding": "hex", "value": "c3a9", "value_encoding": "hex", "vout": 1 });
        let written = |name, value| encoded(&object, (name, value)).to_string();
        assert_eq!(written(Encoding::Hex, Encoding::Hex), object.to_string());
        assert_eq!(
            written(Encoding::Ascii, Encoding::Utf8),
            r#"{"name":"d/x","name_encoding":"ascii","value":"é","value_encoding":"utf8","vout":1}"#
        );
        assert_eq!(
            written(Encoding::Ascii, Encoding::Ascii),
            r#"{"name":"d/x","name_encoding":"ascii","value_error":"invalid data for ascii","value_encoding":"ascii","vout":1}"#
        );
    }

    #[test]
    fn shorter_names_come_first() {
        let name = |text: &str| NameId::new(text.as_bytes()).unwrap();
        let (long, short) = (name("d/aa"), name("d/b"));
        assert!(key(&short) < key(&long) && short > long);
    }
}
