//! The commands.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::json;

use isonym::chain::tree::UnverifiedChain;
use isonym::name::encoding::quoted;
use isonym::name::lookup::LookupSettings;
use isonym::name::policy::Basis;
use isonym::name::{NameId, Outcome};
use isonym::net;
use isonym::node::{Node, NodeConfig, NodeError, SyncReport};
use isonym::rpc::{self, Encodings};

use super::args::{Cli, Command, ConfigCommand, NameArgs};
use super::daemon::{self, NameMethod};
#[cfg(feature = "playground")]
use super::playground;
use super::progress::Meter;
use super::{anchor, config, dns, dnssec, pages, prop279, resolve, say, socks, tor};
use crate::config::Settings;

/// Exit status when a name has no value.
pub(super) const ABSENT: u8 = 2;

/// Runs a command and returns the process's exit status.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let quiet = cli.quiet;
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
    match &cli.command {
        Command::NameShow(args) => match name_show(&settings, args, quiet).await {
            Err(error) => ask_daemon(&settings, args, NameMethod::Show, error).await,
            shown => shown,
        },
        Command::NameHistory(args) => match name_history(&settings, args, quiet).await {
            Err(error) => ask_daemon(&settings, args, NameMethod::History, error).await,
            shown => shown,
        },
        Command::Anchor(command) => anchor::run(&settings, command).await,
        Command::Daemon => Box::pin(daemon::run(&settings, quiet)).await,
        Command::Dns => dns::run(&settings, quiet).await,
        Command::Tor => tor::run(&settings, quiet).await,
        Command::Prop279(args) => prop279::run(&settings, args.onion_only).await,
        Command::Socks => socks::run(&settings, quiet).await,
        Command::Resolve(args) => resolve::run(&settings, args, quiet).await,
        Command::Rpc(args) => daemon::call(&settings, args).await,
        Command::Sync => sync(&settings, quiet).await,
        Command::Status { json } => status(&settings, *json),
        Command::Config(_) | Command::Dnssec(_) | Command::Completions { .. } | Command::Man { .. } => {
            Ok(ExitCode::FAILURE)
        }
        #[cfg(feature = "playground")]
        Command::Playground { .. } => Ok(ExitCode::FAILURE),
    }
}

/// Asks the daemon if it was for its sake that a command failed: it holds the data folder, and says where it listens.
async fn ask_daemon(
    settings: &Settings,
    args: &NameArgs,
    method: NameMethod,
    error: anyhow::Error,
) -> Result<ExitCode> {
    match (error.downcast_ref(), daemon::announced(settings)) {
        (Some(NodeError::FolderInUse { .. }), Some(address)) => {
            daemon::name_method(settings, address, args, method).await
        }
        _ => Err(error),
    }
}

/// Opens the node; says so when headers on disk could not be trusted.
pub(super) fn open(settings: &Settings) -> Result<Node> {
    let config = NodeConfig {
        network: settings.network,
        folder: settings.folder.clone(),
        anchor: settings.anchor,
        servers: settings.servers.clone(),
        proxy: settings.proxy.clone(),
        connection_limits: net::Limits::default(),
    };
    let (node, rebuilt) = Node::open(config)?;
    if let Some(reason) = rebuilt {
        tracing::warn!("the headers on disk are not used: {reason}; they are fetched anew");
    }
    Ok(node)
}

/// Brings the headers up to date, with progress on standard error.
pub(super) async fn bring_up_to_date(settings: &Settings, node: &mut Node, quiet: bool) -> Result<SyncReport> {
    let network = node.tree().params().network;
    ensure!(
        !node.servers().is_empty(),
        "no server is known for {network}; name one with --server HOST:PORT"
    );
    let mut meter = Meter::new(quiet);
    let report = node.sync(settings.daemon.sync, |progress| meter.show(progress)).await;
    meter.finish();
    Ok(report?)
}

async fn sync(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let mut node = open(settings)?;
    let report = bring_up_to_date(settings, &mut node, quiet).await?;
    node.check_fresh(&report)?;
    if !quiet {
        say(format_args!(
            "synchronised to height {}, block {}",
            report.tip.height, report.tip.hash
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn name_id(args: &NameArgs, settings: &Settings) -> Result<NameId> {
    let bytes = settings
        .name_encoding
        .decode(&args.name)
        .context("the name can't be looked up")?;
    NameId::new(&bytes).ok_or_else(|| {
        anyhow!(
            "the name has {} bytes; names have at most {}",
            bytes.len(),
            NameId::MAX_LEN
        )
    })
}

fn encodings(settings: &Settings) -> Encodings {
    Encodings {
        name: settings.name_encoding,
        value: settings.value_encoding,
    }
}

async fn name_show(settings: &Settings, args: &NameArgs, quiet: bool) -> Result<ExitCode> {
    let name = name_id(args, settings)?;
    // A process of its own has connections of its own: all that an isolation ID could ask for.
    let mut node = open(settings)?;
    let report = bring_up_to_date(settings, &mut node, quiet).await?;
    node.check_fresh(&report)?;
    let lookup = LookupSettings {
        quorum: settings.quorum,
        ..LookupSettings::default()
    };
    let outcome = node.name_show(&name, lookup).await?;
    if let Outcome::Found(status) = &outcome {
        let tree = node.tree();
        print_json(&rpc::name(
            status,
            &tree.tip(),
            tree.unproved(),
            tree.params(),
            encodings(settings),
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{}", absence(&outcome, &name)));
    Ok(ExitCode::from(ABSENT))
}

async fn name_history(settings: &Settings, args: &NameArgs, quiet: bool) -> Result<ExitCode> {
    let name = name_id(args, settings)?;
    let mut node = open(settings)?;
    let report = bring_up_to_date(settings, &mut node, quiet).await?;
    node.check_fresh(&report)?;
    let (entries, left_out) = node.name_history(&name, LookupSettings::default()).await?;
    if left_out > 0 {
        tracing::warn!("{left_out} older operations lie below all headers kept and are left out");
    }
    if entries.is_empty() && left_out == 0 {
        say(format_args!("{}", absence(&Outcome::NeverExisted, &name)));
        return Ok(ExitCode::from(ABSENT));
    }
    let tree = node.tree();
    let entries = entries
        .iter()
        .map(|entry| rpc::entry(entry, &tree.tip(), tree.params(), encodings(settings)));
    print_json(&entries.collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

fn status(settings: &Settings, as_json: bool) -> Result<ExitCode> {
    let node = open(settings)?;
    let tip = node.tree().tip();
    let anchor = node.tree().anchor();
    let known = node.tree().lowest().is_some();
    let age = known.then(|| node.time().seconds_since(tip.time));
    let last = node.last_sync()?;
    if as_json {
        print_json(&json!({
            "network": settings.network.as_str(),
            "anchor": { "height": anchor.height, "hash": anchor.hash.to_string() },
            "height": tip.height,
            "tip_hash": tip.hash.to_string(),
            "tip_age": age,
            "headers_unproved": node.tree().unproved(),
            "skeleton_height": node.tree().skeleton().map(UnverifiedChain::top_height),
            "chainwork": format!("{:064x}", tip.chainwork),
            "servers": last,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let age = age.map_or("no headers yet; run `isonym sync`".to_owned(), |age| {
        format!("{age} seconds")
    });
    let mut lines = vec![
        format!("network  {}", settings.network),
        format!("anchor   {} {}", anchor.height, anchor.hash),
        format!("tip      {} {}", tip.height, tip.hash),
        format!("age      {age}"),
    ];
    let unproved = node.tree().unproved();
    if let Some(skeleton) = node.tree().skeleton() {
        let top = skeleton.top_height();
        lines.push(format!(
            "         headers up to height {top} are there, but not proved yet"
        ));
    }
    if unproved > 0 {
        lines.push(format!(
            "headers  {unproved} of those above the anchor were taken on the strength of a sample"
        ));
    }
    if last.is_empty() {
        lines.push("servers  none asked yet".to_owned());
    }
    lines.extend(last.iter().map(|server| {
        let claimed = server
            .claimed_height
            .map_or(String::new(), |height| format!(", claims height {height}"));
        format!(
            "server   {}: {}{claimed}, {} headers taken",
            server.address, server.result, server.headers
        )
    }));
    print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
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
