//! Who does a command's work: the daemon that holds the data folder, or a node of the command's own.
//!
//! A command without a daemon runs the daemon's own path, without listeners and with no connection opened ahead. With a
//! daemon it is a client of it. What the user says with the command is carried to the daemon where a call can carry it;
//! the rest is compared with what the daemon runs with, and refused where it differs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use isonym::jsonrpc::{Client, ClientError, RpcError, code};
use isonym::net::pool::PoolSettings;
use isonym::net::{self, Proxy};
use isonym::node::{Node, NodeConfig, NodeError};
use isonym::rpc::{Call, Defaults, Encodings, Methods, Params, RunningSettings};
use isonym::service::{Daemon, DaemonSettings, run_daemon};
use isonym::tor::bootstrap_driver;

use super::daemon::{announced, callable, running};
use super::eprint_line;
use super::progress::Meter;
use super::show::follow;
use super::way_out::{self, way_out};
use crate::config::Settings;
use crate::options::ProxyChoice;

/// How long a command waits for another one that works in the same data folder: a first sync may take minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long to wait before it is looked again whether the folder is free, or a daemon of it answers.
const PAUSE: Duration = Duration::from_millis(100);

/// Who does a command's work.
pub(super) enum Session {
    /// A node of its own, which has the data folder to itself.
    Own(Box<Node>),
    /// The daemon that holds the data folder.
    Daemon(Box<Client>),
}

impl Session {
    /// Opens the data folder, or finds the daemon that holds it. Waits for other commands that work in it.
    pub(super) async fn open(settings: &Settings, quiet: bool) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        let mut was_told = false;
        loop {
            let held = match open(settings).await {
                Ok(node) => return Ok(Self::Own(Box::new(node))),
                Err(error) if matches!(error.downcast_ref(), Some(NodeError::FolderInUse { .. })) => error,
                Err(error) => return Err(error),
            };
            if let Some(daemon) = find_daemon(settings).await? {
                return Ok(Self::Daemon(Box::new(daemon)));
            }
            if Instant::now() >= end {
                return Err(held);
            }
            if !was_told && !quiet {
                let folder = settings.folder.display();
                eprint_line(format_args!("waiting for another isonym that works in {folder}"));
                was_told = true;
            }
            sleep(PAUSE).await;
        }
    }

    /// Carries out a method of JSON-RPC: over it with a daemon, in this process without one, where the headers are
    /// brought up to date first.
    pub(super) async fn call(
        self,
        settings: &Settings,
        quiet: bool,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, RpcError>> {
        match self {
            Self::Daemon(client) => loop {
                match ask(&client, method, &params).await? {
                    Err(error) if error.code == code::WARMUP => drop(follow(&client, quiet).await?),
                    result => return Ok(result),
                }
            },
            Self::Own(node) => {
                // What is asked for a name depends on no headers, so that it need not wait for them.
                let when = if method == "name_show" {
                    When::Beside
                } else {
                    When::Synced
                };
                with_node(*node, settings, quiet, when, async |daemon| {
                    let encodings = Encodings {
                        name: settings.name_encoding,
                        value: settings.value_encoding,
                    };
                    let defaults = Defaults {
                        encodings,
                        ..Defaults::default()
                    };
                    let methods = Methods::new(&daemon, defaults, RunningSettings::new(effective(settings)));
                    let call = Call {
                        method: method.to_owned(),
                        params: Params::Positional(serde_json::from_value(params)?),
                    };
                    let result = methods.call(call).await;
                    Ok(result.map(|json| parsed(&json)))
                })
                .await
            }
        }
    }
}

fn parsed(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// Calls a daemon. What the method itself says is one thing, that it can't be called another.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    method: &str,
    params: &Value,
) -> Result<Result<T, RpcError>> {
    match client.call(method, params).await {
        Ok(result) => Ok(Ok(result)),
        Err(ClientError::Rpc(error)) => Ok(Err(error)),
        Err(error) => Err(error).with_context(|| format!("cannot call the daemon at {}", client.address())),
    }
}

/// Opens the node; says so when headers on disk could not be trusted.
pub(super) async fn open(settings: &Settings) -> Result<Node> {
    let config = NodeConfig {
        network: settings.network,
        folder: settings.folder.clone(),
        anchor: settings.anchor,
        servers: settings.servers.clone(),
        discover: settings.discover,
        proxy: way_out(settings).await?,
        connection_limits: net::ConnectionLimits::default(),
    };
    let (mut node, rebuilt) = Node::open(config)?;
    node.keep_names(settings.names.clone())?;
    if let Some(reason) = rebuilt {
        tracing::warn!("the headers on disk are not used: {reason}; they are fetched anew");
    }
    Ok(node)
}

/// Runs a node for as long as `work` takes, once its headers are up to date; progress goes to standard error.
pub(super) async fn with_synced<T>(
    node: Node,
    settings: &Settings,
    quiet: bool,
    work: impl AsyncFnOnce(Daemon) -> Result<T>,
) -> Result<T> {
    with_node(node, settings, quiet, When::Synced, work).await
}

/// The same for work that begins at once, and that waits for the headers by itself where it needs them.
pub(super) async fn with_beside<T>(
    node: Node,
    settings: &Settings,
    quiet: bool,
    work: impl AsyncFnOnce(Daemon) -> Result<T>,
) -> Result<T> {
    with_node(node, settings, quiet, When::Beside, work).await
}

/// When a command's work begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At once: what of it needs headers waits for them itself.
    Beside,
    /// Once the headers are up to date.
    Synced,
}

async fn with_node<T>(
    node: Node,
    settings: &Settings,
    quiet: bool,
    when: When,
    work: impl AsyncFnOnce(Daemon) -> Result<T>,
) -> Result<T> {
    ensure!(
        !node.servers().is_empty(),
        "no server is known for {}; name one with --server HOST:PORT",
        settings.network
    );
    way_out::tell(settings, quiet);
    let mut one_shot: DaemonSettings = settings.daemon;
    // Nobody else will ask.
    one_shot.pool = PoolSettings::with_pace(0);
    one_shot.asks_beside_sync = when == When::Beside;
    let mut worked = None;
    let control = settings.tor.controller();
    let running = run_daemon(node, &one_shot, async |daemon| {
        let node = daemon.node.clone();
        let mut meter = Meter::new(quiet);
        let synced = async {
            let synced = node
                .synced(|progress| {
                    let standing = node.standing();
                    meter.show(progress, standing.waits_for());
                })
                .await;
            meter.finish();
            synced
        };
        let working = async {
            if when == When::Synced {
                synced.await?;
                return Ok::<_, NodeError>(work(daemon).await);
            }
            let mut working = pin!(async {
                // The time that a lookup has is for servers. Who can't be reached is told by header sync.
                #[cfg(feature = "embedded-tor")]
                let _ = node.proxy().ready().await;
                work(daemon).await
            });
            tokio::select! {
                // Why there are no headers is told as if the work had waited for them.
                biased;
                synced = synced => {
                    synced?;
                    Ok(working.await)
                }
                early = &mut working => Ok(early),
            }
        };
        tokio::select! {
            worked_out = working => worked = Some(worked_out?),
            never = bootstrap_driver::watch(&node, control) => match never {},
        }
        Ok(())
    });
    Box::pin(running).await?;
    worked.context("the node ended before its work was done")?
}

/// Returns a client of the daemon that holds the data folder, if one answers, and refuses to ask one that was told
/// otherwise than this command.
async fn find_daemon(settings: &Settings) -> Result<Option<Client>> {
    let Some(client) = running(settings)? else {
        return Ok(None);
    };
    match ask::<BTreeMap<String, String>>(&client, "settings", &Value::Array(Vec::new())).await {
        Ok(theirs) => {
            refuse_differences(settings, &theirs?)?;
            Ok(Some(client))
        }
        Err(error) => match error.downcast_ref() {
            // It is starting or stopping, or what it left lies there still.
            Some(ClientError::Connection { .. }) => Ok(None),
            // While one listens its cookie is there, if it has any.
            Some(ClientError::Cookie { .. }) if !listens(announced(settings)).await => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whose the embedded Tor of a data folder is, which a daemon holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderTor {
    /// Nobody's: the daemon goes out by a proxy that was named, or by none.
    Free,
    /// The daemon's, which listens for applications there, if it does.
    Daemons(Option<SocketAddr>),
}

/// Asks a daemon whether the embedded Tor is its.
pub(super) async fn folder_tor(client: &Client) -> Result<FolderTor> {
    let theirs = ask::<BTreeMap<String, String>>(client, "settings", &Value::Array(Vec::new())).await??;
    Ok(folder_tor_of(&theirs))
}

fn folder_tor_of(theirs: &BTreeMap<String, String>) -> FolderTor {
    let is_left_open = |proxy: &String| ["auto", "embedded"].contains(&proxy.as_str());
    if !theirs.get("proxy").is_some_and(is_left_open) {
        return FolderTor::Free;
    }
    FolderTor::Daemons(theirs.get("socks-listen").and_then(|text| first_place(text)))
}

/// Returns the first of some addresses that can be connected to.
fn first_place(text: &str) -> Option<SocketAddr> {
    let places = text
        .split(',')
        .filter_map(|place| place.trim().parse::<SocketAddr>().ok());
    places.map(callable).find(|place| place.port() != 0)
}

/// Says whether anybody listens at an address.
async fn listens(address: Option<SocketAddr>) -> bool {
    match address {
        Some(address) => TcpStream::connect(address).await.is_ok(),
        None => false,
    }
}

/// Returns the settings that a node runs with, by option: what the daemon tells of itself, and what is compared.
pub(super) fn effective(settings: &Settings) -> BTreeMap<String, String> {
    let options = settings.effective().into_iter();
    let mut effective: BTreeMap<String, String> = options.map(|(name, text, _)| (name.to_owned(), text)).collect();
    effective.extend(of_node(settings));
    effective
}

/// Returns what decides how a node verifies and whom it reaches how, each with its default in place.
fn of_node(settings: &Settings) -> [(String, String); 5] {
    let mut servers: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
    servers.sort();
    let anchor = &settings.anchor;
    [
        ("network", settings.network.to_string()),
        ("anchor", format!("{}:{}", anchor.height, anchor.hash)),
        ("server", servers.join(",")),
        ("proxy", settings.proxy.to_string()),
        (
            "direct",
            (settings.proxy == ProxyChoice::Named(Proxy::Direct)).to_string(),
        ),
    ]
    .map(|(name, text)| (name.to_owned(), text))
}

/// The options that a daemon has for all its callers, so that a command can only agree with it.
const OF_THE_DAEMON: [&str; 10] = [
    "network",
    "anchor",
    "server",
    "proxy",
    "direct",
    "verification",
    "sync-connections",
    "names",
    "peer",
    "names-rate",
];

/// Compares what the user said with this command with what the daemon runs with.
fn refuse_differences(settings: &Settings, theirs: &BTreeMap<String, String>) -> Result<()> {
    let ours = effective(settings);
    for name in OF_THE_DAEMON {
        let (Some(origin), Some(our), Some(their)) = (settings.explicit(name), ours.get(name), theirs.get(name)) else {
            continue;
        };
        if our == their {
            continue;
        }
        let folder = settings.folder.display();
        // The daemon may have read the same file, and was told otherwise at its start.
        if origin.is_file() {
            tracing::warn!("the daemon that holds {folder} is asked, with {name} {their}, though {origin} says {our}");
            continue;
        }
        bail!(
            "{origin} says {our}, but the daemon that holds {folder} runs with {name} {their}: leave it out, stop the \
             daemon (isonym rpc stop), or name another data folder with --datadir DIR"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_listens_where_it_can_be_connected_to() {
        for (text, place) in [
            ("127.0.0.1:9052", Some("127.0.0.1:9052")),
            ("127.0.0.1:0,127.0.0.2:9052, [::1]:9053", Some("127.0.0.2:9052")),
            ("0.0.0.0:9052", Some("127.0.0.1:9052")),
            ("[::1]:9052", Some("[::1]:9052")),
            ("127.0.0.1:0", None),
            ("", None),
        ] {
            assert_eq!(first_place(text).map(|it| it.to_string()).as_deref(), place, "{text}");
        }
    }

    #[test]
    fn the_tor_of_a_folder_is_the_daemons_unless_that_goes_out_otherwise() {
        let place = "127.0.0.1:9052".parse().unwrap();
        for (theirs, tor) in [
            (
                &[("proxy", "embedded"), ("socks-listen", "127.0.0.1:9052")][..],
                FolderTor::Daemons(Some(place)),
            ),
            (&[("proxy", "auto"), ("socks-listen", "")], FolderTor::Daemons(None)),
            (&[("proxy", "embedded")], FolderTor::Daemons(None)),
            (&[("proxy", "socks5://127.0.0.1:9050")], FolderTor::Free),
            (
                &[("proxy", "direct"), ("socks-listen", "127.0.0.1:9052")],
                FolderTor::Free,
            ),
        ] {
            let theirs = theirs
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            assert_eq!(folder_tor_of(&theirs.collect()), tor);
        }
    }
}
