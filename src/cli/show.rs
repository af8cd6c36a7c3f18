//! The commands.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use isonym::chain::Height;
use isonym::jsonrpc::{Client, RpcError, code};
use isonym::node::{
    DiscoveryStatus, Explanation, NamesMode, NamesStatus, NodeError, ServerResult, Status, SyncStage, SyncStatus,
    Verdict, digest,
};
use isonym::time::{Span, Timestamp};

use super::args::{Cli, Command, ConfigCommand, NameArgs};
use super::explain::explanation_text;
#[cfg(feature = "playground")]
use super::playground;
use super::progress::{Meter, how_far, unconnected};
use super::session::{Session, ask, with_synced};
use super::{
    anchor, config, daemon, dns, dnssec, dump, eprint_line, log, pages, prop279, resolve, servers, socks, tls, tor,
    typed,
};
use crate::config::Settings;

/// How often a daemon's progress is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Exit status when a name has no value.
pub(super) const ABSENT: u8 = 2;

/// Runs a command and returns the process's exit status.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let quiet = cli.quiet;
    // Who means all of this program by it, as `pkill -USR1 isonym` does, ends none that has no identity to renew.
    let _unless_caught = signal(SignalKind::user_defined1());
    if cli.command.name().is_none()
        && let Some(option) = cli.given.origins().next()
    {
        bail!("{option} has no effect here: the command has no settings");
    }
    // These need no network, configuration or data folder.
    match &cli.command {
        #[cfg(feature = "playground")]
        Command::Playground { once, seed } => return playground::run(*once, *seed).await,
        Command::Dnssec(command) => return dnssec::run(command, quiet),
        Command::Completions { shell } => return pages::completions(*shell),
        Command::Man { dir } => return pages::man(dir),
        Command::Config(ConfigCommand::Example) => return config::example(),
        Command::Config(ConfigCommand::Show { json }) => return config::show(&cli.given, *json),
        _ => {}
    }
    let Some(name) = cli.command.name() else {
        return Ok(ExitCode::FAILURE);
    };
    let settings = Settings::load(&cli.given, name)?;
    log::set_level(settings.log_level);
    for (name, text, origin) in settings.explicit_options() {
        tracing::debug!("{name} is {text:?}, by {origin}");
    }
    match &cli.command {
        Command::NameShow(args) if args.explain => name_method(&settings, &args.name, NameMethod::Proof, quiet).await,
        Command::NameShow(args) => name_method(&settings, &args.name, NameMethod::Show, quiet).await,
        Command::NameHistory(args) => name_method(&settings, args, NameMethod::History, quiet).await,
        Command::NameScan(args) => dump::scan(&settings, args).await,
        Command::Dump(args) => dump::run(&settings, args, quiet).await,
        Command::Anchor(command) => anchor::run(&settings, command, quiet).await,
        Command::Servers(args) => servers::run(&settings, args, quiet).await,
        Command::Daemon => Box::pin(daemon::run(&settings, quiet)).await,
        Command::Dns => dns::run(&settings, quiet).await,
        Command::Tor => Box::pin(tor::run(&settings, quiet)).await,
        Command::Prop279(args) => prop279::run(&settings, args.onion_only).await,
        Command::Socks => socks::run(&settings, quiet).await,
        Command::Resolve(args) => resolve::run(&settings, args, quiet).await,
        Command::Tls(command) => tls::run(&settings, command, quiet).await,
        Command::Rpc(args) => daemon::call(&settings, args).await,
        Command::Sync => sync(&settings, quiet).await,
        Command::Status { json, check } => status(&settings, *json, *check, quiet).await,
        Command::Config(_) | Command::Dnssec(_) | Command::Completions { .. } | Command::Man { .. } => {
            Ok(ExitCode::FAILURE)
        }
        #[cfg(feature = "playground")]
        Command::Playground { .. } => Ok(ExitCode::FAILURE),
    }
}

/// A method that is about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameMethod {
    Show,
    History,
    Proof,
}

/// Looks a name up and prints what it comes to.
async fn name_method(settings: &Settings, args: &NameArgs, method: NameMethod, quiet: bool) -> Result<ExitCode> {
    let name = typed::given(&args.name)?;
    typed::name(&name, settings.name_encoding, &settings.dns.engine.zones)?;
    let mut options = json!({ "nameEncoding": settings.name_encoding.as_str() });
    if let Some(options) = options.as_object_mut() {
        if method != NameMethod::Proof {
            options.insert("valueEncoding".to_owned(), json!(settings.value_encoding.as_str()));
            options.insert("explain".to_owned(), json!(true));
        }
        if let Ok(id) = std::str::from_utf8(settings.isolation_id.as_bytes())
            && !id.is_empty()
        {
            options.insert("isolation_id".to_owned(), json!(id));
        }
        // A history is what one server gives.
        if method != NameMethod::History && settings.quorum > 1 {
            options.insert("quorum".to_owned(), json!(settings.quorum));
        }
        if method == NameMethod::Show
            && let Some(max_age) = settings.max_age
        {
            options.insert("maxAge".to_owned(), json!(max_age.as_secs()));
        }
    }
    let word = match method {
        NameMethod::Show => "name_show",
        NameMethod::History => "name_history",
        NameMethod::Proof => "name_proof",
    };
    let session = Session::open(settings, quiet).await?;
    let result = session.call(settings, quiet, word, json!([name, options])).await?;
    match result {
        Ok(explanation) if method == NameMethod::Proof => {
            let explanation: Result<Explanation, _> = serde_json::from_value(explanation);
            let explanation = explanation.context("the daemon explains in a way that this program does not know")?;
            print(&explanation_text(&explanation, &settings.dns.engine.zones))?;
            Ok(match explanation.verdict {
                Verdict::Found => ExitCode::SUCCESS,
                Verdict::Refused { .. } => ExitCode::FAILURE,
                _ => ExitCode::from(ABSENT),
            })
        }
        result => print_result(result),
    }
}

/// Prints what a method of JSON-RPC came to, and returns the exit status.
pub(super) fn print_result(result: Result<Value, RpcError>) -> Result<ExitCode> {
    match result {
        Ok(Value::String(text)) => print(&text)?,
        Ok(value) => print_json(&value)?,
        Err(error) if error.code == code::NAME => {
            eprint_line(format_args!("{}", error.message));
            return Ok(ExitCode::from(ABSENT));
        }
        Err(error) => bail!(error),
    }
    Ok(ExitCode::SUCCESS)
}

async fn sync(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let (height, hash) = match Session::open(settings, quiet).await? {
        Session::Own(node) => {
            with_synced(*node, settings, quiet, async |daemon| {
                // It is there for what it leaves on the disk: all that names may ever refer to.
                let mut meter = Meter::new(quiet);
                let completed = daemon
                    .node
                    .completed(|progress| {
                        let standing = daemon.node.standing();
                        meter.show(progress, standing.waits_for());
                    })
                    .await;
                meter.finish();
                completed?;
                daemon.node.written().await?;
                let tip = daemon.node.standing().tip;
                Ok((tip.height, tip.hash.to_string()))
            })
            .await?
        }
        Session::Daemon(client) => follow(&client, quiet).await?,
    };
    if !quiet {
        eprint_line(format_args!("synchronised to height {height}, block {hash}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how far a daemon's sync is, until it is over.
pub(super) async fn follow(client: &Client, quiet: bool) -> Result<(Height, String)> {
    let mut meter = Meter::new(quiet);
    loop {
        let status: Status = ask(client, "status", &json!([])).await??;
        let Some(sync) = status.sync else {
            bail!("the daemon does not say how far its sync is");
        };
        meter.show(sync.progress(), status.waits_for());
        match sync.stage {
            SyncStage::Synced => {
                meter.finish();
                return Ok((status.height, status.tip_hash));
            }
            SyncStage::Exhausted => {
                meter.finish();
                return Err(NodeError::NoServer {
                    servers: status.servers,
                    tor: status.tor,
                }
                .into());
            }
            SyncStage::Running => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

async fn status(settings: &Settings, as_json: bool, check: bool, quiet: bool) -> Result<ExitCode> {
    let status: Status = match Session::open(settings, quiet).await? {
        Session::Own(node) => node.status()?,
        Session::Daemon(client) => ask(&client, "status", &json!([])).await??,
    };
    if as_json {
        print_json(&status)?;
    } else if !check {
        print(&lines(&status).join("\n"))?;
    }
    match unready(&status).filter(|_| check) {
        Some(reason) => bail!("{reason}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Says how far a sync is, or why it does not get on.
pub(super) fn describe(status: &Status, sync: &SyncStatus) -> String {
    if let Some(trouble) = &status.trouble {
        return format!("{trouble}; trying again");
    }
    if let Some(waits_for) = status.waits_for() {
        return waits_for;
    }
    let alone = sync.seconds_unconnected.map(Duration::from_secs);
    match sync.stage {
        SyncStage::Running => alone.and_then(unconnected).unwrap_or_else(|| {
            let (done, total) = (sync.headers_done, sync.headers_total);
            format!("{done} of {total} headers, {}", how_far(sync.progress()))
        }),
        SyncStage::Synced => status.warning.clone().unwrap_or_else(|| "up to date".to_owned()),
        SyncStage::Exhausted => "no server gives headers; trying again".to_owned(),
    }
}

/// Says how the names stand that are kept.
fn describe_names(names: &NamesStatus) -> String {
    let peers = names.peers;
    let place = match names.mode {
        NamesMode::LocalOrServers => "here, or at servers until all of them are",
        NamesMode::Local | NamesMode::Servers => "here",
    };
    if names.complete {
        let (count, height) = (names.names, names.height.unwrap_or_default());
        let megabytes = names.disk_bytes / 1_000_000;
        return format!("{count} living ones are {place}, up to block {height}, in {megabytes} MB; {peers} peers");
    }
    let (done, total) = (names.blocks_done, names.blocks_total);
    let left = names.seconds_left().filter(|_| names.bytes_left > 0);
    let left = left.map_or(String::new(), |seconds| format!(", {} left", Span(seconds)));
    let rate = names.bytes_per_second / 1_000;
    let trouble = names
        .trouble
        .iter()
        .fold(String::new(), |_, trouble| format!("; {trouble}"));
    format!("{done} of {total} blocks, {rate} kB/s by {peers} peers{left}{trouble}")
}

/// Says why no daemon can look names up, if so: the one rule of health checks, whoever asks. A tip that is new is not enough:
/// where no server gives headers, none answers lookups either, long before the tip is too old.
pub(super) fn unready(status: &Status) -> Option<String> {
    let Some(sync) = &status.sync else {
        return Some("no daemon runs in this data folder".to_owned());
    };
    let is_ready = status.synchronized && status.trouble.is_none();
    (!is_ready).then(|| describe(status, sync))
}

fn lines(status: &Status) -> Vec<String> {
    let age = status
        .tip_age
        .map_or("no headers yet; run `isonym sync`".to_owned(), |age| {
            let made = Timestamp(now().0.saturating_sub(age));
            format!("{}, since {made}", Span(age))
        });
    let mut lines = vec![
        format!("network  {}", status.network),
        format!("anchor   {} {}", status.anchor.height, status.anchor.hash),
        format!("tip      {} {}", status.height, status.tip_hash),
        format!("age      {age}"),
    ];
    lines.extend(status.sandbox.iter().map(|sandbox| format!("sandbox  {sandbox}")));
    lines.extend(status.unwritten.iter().map(|reason| format!("warning  {reason}")));
    lines.extend(status.warning.iter().map(|warning| format!("warning  {warning}")));
    lines.extend(status.tor.iter().map(|tor| format!("tor      {tor}")));
    if let Some(sync) = &status.sync {
        lines.push(format!("sync     {}", describe(status, sync)));
    }
    if let Some(top) = status.skeleton_height {
        lines.push(format!(
            "         headers up to height {top} are there, but not proved yet"
        ));
    }
    if status.headers_unproved > 0 {
        lines.push(format!(
            "headers  {} of those above the anchor were taken on the strength of a sample",
            status.headers_unproved
        ));
    }
    lines.extend(
        status
            .names
            .iter()
            .map(|names| format!("names    {}", describe_names(names))),
    );
    if let Some(discovery) = status.discovery.filter(|it| it.learned + it.suggested > 0) {
        let DiscoveryStatus { learned, suggested } = discovery;
        lines.push(format!(
            "learned  {learned} servers, {suggested} more suggested; see `isonym servers`"
        ));
    }
    if status.servers.is_empty() {
        lines.push("servers  none asked yet".to_owned());
    }
    let is_mute = |server: &ServerResult| server.claimed_height.is_none() && server.headers == 0;
    if status.servers.iter().all(is_mute) {
        lines.extend(
            digest(&status.servers)
                .iter()
                .map(|(who, result)| format!("server   {who}: {result}")),
        );
        return lines;
    }
    lines.extend(status.servers.iter().map(|server| {
        let claimed = server
            .claimed_height
            .map_or(String::new(), |height| format!(", claims height {height}"));
        format!(
            "server   {}: {}{claimed}, {} headers taken",
            server.address, server.result, server.headers
        )
    }));
    lines
}

/// Reads the wall clock.
#[expect(clippy::disallowed_methods, reason = "the command line is the edge")]
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.unwrap_or_default().as_secs())
}

/// Prints a result as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints a result. A reader that has gone away is no reason to complain.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(with: &Value) -> Status {
        let mut status = json!({
            "network": "mainnet",
            "anchor": { "height": 5, "hash": "00" },
            "height": 820_000,
            "tip_hash": "00",
            "tip_age": 61,
            "synchronized": true,
            "headers_unproved": 0,
            "skeleton_height": null,
            "chainwork": "0",
            "sync": { "stage": "synced", "headers_done": 0, "headers_total": 7, "connections": 1 },
            "servers": [],
        });
        let members = with.as_object().unwrap().clone();
        status.as_object_mut().unwrap().extend(members);
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn one_rule_says_who_can_look_names_up() {
        let running = json!({ "stage": "running", "headers_done": 0, "headers_total": 7, "connections": 0 });
        for (with, reason) in [
            (json!({}), None),
            // Header sync may rest meanwhile.
            (json!({ "sync": running }), None),
            (json!({ "sync": null, "synchronized": false }), Some("no daemon runs")),
            (
                json!({ "synchronized": false, "sync": running }),
                Some("0 of 7 headers"),
            ),
            (json!({ "synchronized": false, "warning": "too old" }), Some("too old")),
            // Its tip is new, and nobody is there to ask.
            (
                json!({ "trouble": "no proxy", "warning": "too old" }),
                Some("no proxy; trying again"),
            ),
            (
                json!({ "synchronized": false, "trouble": "no proxy" }),
                Some("no proxy; trying again"),
            ),
        ] {
            let told = unready(&status(&with));
            let is_told = told
                .as_deref()
                .zip(reason)
                .is_some_and(|(told, reason)| told.contains(reason));
            assert!(is_told || told.is_none() && reason.is_none(), "{with}: {told:?}");
        }
    }
}
