//! The plugin for whoever speaks the protocol of Tor's proposal 279.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{stdin, stdout};
use tokio::time::{Instant, sleep};

use isonym::isolation::IsolationId;
use isonym::jsonrpc::client::{Client, ClientError};
use isonym::naming::name_resolver::NameResolver;
use isonym::naming::target::TargetKind;
use isonym::prop279::environment::PluginEnvironment;
use isonym::prop279::plugin_driver;

use super::daemon::{Signals, raise_open_files};
use super::dns::{name_client, remote};
use crate::config::Settings;

/// How long a backend that does not answer yet may take to start beside us.
const WARM_UP: Duration = Duration::from_secs(10);

/// How long to wait before it is called again.
const PAUSE: Duration = Duration::from_millis(250);

/// Answers queries on standard input until that ends, or a signal comes.
pub(super) async fn run(settings: &Settings, onion_only: bool) -> Result<ExitCode> {
    // Each lookup is a connection to the backend.
    raise_open_files();
    let signals = Signals::catch().context("cannot wait for signals")?;
    let (environment, client) = match prepare(settings).await {
        Ok(ready) => ready,
        Err(error) => {
            // The caller is told as well as whoever reads standard error.
            plugin_driver::fail(stdout(), &format!("{error:#}")).await?;
            return Err(error);
        }
    };
    let names = remote(settings, client);
    let resolver = NameResolver::new(&names, settings.name_patience);
    let target_kind = if onion_only || environment.onion_only == Some(true) {
        TargetKind::Onion
    } else {
        TargetKind::Any
    };
    let resolve = |name: String, id: Option<IsolationId>| {
        let resolver = resolver.clone();
        async move { resolver.resolve(&name, target_kind, id.as_ref()).await }
    };
    let end = signals.until_end(async || names.forget(None).await);
    match plugin_driver::run(stdin(), stdout(), resolve, end).await {
        // The caller has gone, and may do so at any time.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Reads what the caller says in the environment, and makes sure that there is somebody to ask.
async fn prepare(settings: &Settings) -> Result<(PluginEnvironment, Client)> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let [versions, state, options] =
        ["TOR_NS_PROTO_VERSION", "TOR_NS_STATE_LOCATION", "TOR_NS_PLUGIN_OPTIONS"].map(variable);
    let environment = PluginEnvironment::parse(versions.as_deref(), state.as_deref(), options.as_deref())?;
    let client = name_client(settings, None)?;
    let deadline = Instant::now() + WARM_UP;
    loop {
        // Whatever it thinks of this method, it is there.
        match client.call::<Value>("getblockcount", &json!([])).await {
            Ok(_) | Err(ClientError::Rpc(_) | ClientError::Malformed { .. }) => return Ok((environment, client)),
            Err(ClientError::Connection { .. } | ClientError::Cookie { .. }) if Instant::now() < deadline => {
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error).context("cannot reach the name_show backend"),
        }
    }
}
