//! The plugin for whoever speaks the protocol of Tor's proposal 279.

use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::io::{stdin, stdout};

use isonym::isolation::IsolationId;
use isonym::naming::name_resolver::NameResolver;
use isonym::naming::target::TargetKind;
use isonym::prop279::environment::PluginEnvironment;
use isonym::prop279::plugin_driver;
use isonym::service::NameService;

use super::daemon::{Signals, raise_open_files};
use super::dns::name_service;
use super::reload::Running;
use super::sandbox;
use crate::config::Settings;
use crate::options::CommandName;

/// Answers queries on standard input until that ends, or a signal comes.
pub(super) async fn run(settings: &Settings, onion_only: bool) -> Result<ExitCode> {
    // Each lookup is a connection to the backend.
    raise_open_files();
    sandbox::enter(settings, None, CommandName::Prop279);
    let signals = Signals::catch().context("cannot wait for signals")?;
    let (environment, names) = match prepare(settings) {
        Ok(ready) => ready,
        Err(error) => {
            // The caller is told as well as whoever reads standard error.
            plugin_driver::fail(stdout(), &format!("{error:#}")).await?;
            return Err(error);
        }
    };
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
    let mut running = Running::new(settings, &[]);
    let reload = async || running.reload(async |_| Ok(())).await;
    let end = signals.until_end(async || names.forget(None).await, reload);
    match plugin_driver::run(stdin(), stdout(), resolve, end).await {
        // The caller has gone, and may do so at any time.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Reads what the caller says in the environment, and whom to ask. Nobody is called for that: a caller may start a plugin
/// once and never again, so that only what the user has to mend may end one.
fn prepare(settings: &Settings) -> Result<(PluginEnvironment, NameService)> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let [versions, state, options] =
        ["TOR_NS_PROTO_VERSION", "TOR_NS_STATE_LOCATION", "TOR_NS_PLUGIN_OPTIONS"].map(variable);
    let environment = PluginEnvironment::parse(versions.as_deref(), state.as_deref(), options.as_deref())?;
    Ok((environment, name_service(settings, None)?))
}
