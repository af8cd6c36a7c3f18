//! The naming controller of a Tor: by itself, or beside the daemon.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Chain, Context, Result, anyhow};
use sd_notify::NotifyState;

use isonym::isolation::IsolationId;
use isonym::naming::name_resolver::NameResolver;
use isonym::tor::auth::AuthError;
use isonym::tor::driver::{self, ControllerSettings, SessionError, StatusUpdate};
use isonym::tor::suffixes::{SuffixPlugin, Suffixes};

use super::daemon::{Signals, raise_open_files};
use super::dns::name_service;
use super::eprint_line;
use super::reload::Running;
use super::{sandbox, user};
use crate::config::{Settings, TorSettings};
use crate::options::CommandName;

/// A controller that has not begun.
pub(super) struct TorController {
    settings: ControllerSettings,
    plugins: Vec<SuffixPlugin>,
    quiet: bool,
}

impl TorController {
    /// Makes a controller of the Tor that is named; `None` when none is.
    pub(super) fn open(settings: &TorSettings, quiet: bool) -> Option<Self> {
        Some(Self {
            settings: settings.controller()?,
            plugins: settings.plugins.clone(),
            quiet,
        })
    }

    /// Takes care of the Tor's streams until `stop` is ready. When it has a new identity, `renew` tells which other isolation
    /// IDs are to be forgotten along.
    pub(super) async fn serve(
        self,
        resolver: NameResolver,
        renew: impl Fn() -> Vec<IsolationId>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        for plugin in self.plugins.iter().filter(|plugin| !plugin.takes_id) {
            let suffix = &plugin.suffix;
            tracing::warn!(
                "the plugin for .{suffix} is told no isolation IDs: it can link all names that are asked for"
            );
        }
        let suffixes = Arc::new(Suffixes::new(resolver.clone(), self.plugins).context("--plugin")?);
        let address = &self.settings.address;
        let is_away = Cell::new(false);
        let report = |update: StatusUpdate<'_>| match update {
            StatusUpdate::Ready => {
                is_away.set(false);
                if !self.quiet {
                    eprint_line(format_args!("controlling Tor at {address}"));
                }
            }
            // Once, and not each time it is tried again.
            StatusUpdate::Away(error) if !is_away.replace(true) => warn_away(error),
            StatusUpdate::Away(_) => {}
            StatusUpdate::OptionRestored => tracing::warn!(
                "Tor was told to attach streams by itself (by SETCONF, or a torrc without __LeaveStreamsUnattached 1): \
                 it is set right again, but .bit names may have gone to exits in between"
            ),
            StatusUpdate::NewIdentity => {
                tracing::info!("Tor has a new identity: what was looked up before is forgotten");
                let (resolver, others) = (resolver.clone(), renew());
                tokio::spawn(async move { resolver.forget(others).await });
            }
        };
        let ended = driver::run(&self.settings, suffixes, report, stop).await;
        ended.map_err(|error| anyhow!(explained(&error)))
    }
}

fn warn_away(error: &SessionError) {
    let text = explained(error);
    tracing::warn!("{text}; trying again, and Tor's streams wait meanwhile");
}

/// Returns an error with its causes, and the options that help against it.
fn explained(error: &SessionError) -> String {
    let causes: Vec<String> = Chain::new(error).map(ToString::to_string).collect();
    let text = causes.join(": ");
    match error {
        SessionError::Auth(AuthError::PasswordWanted) => {
            format!("{text}; the password is given with --control-password")
        }
        SessionError::Cookie { .. } => format!("{text}; another cookie file is named with --control-cookie"),
        _ => text,
    }
}

/// Runs the controller by itself until a signal ends it.
pub(super) async fn run(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    user::settle(settings.user.as_deref(), quiet)?;
    // Each lookup is a connection to the backend.
    raise_open_files();
    sandbox::enter(settings, None, CommandName::Tor);
    let Some(controller) = TorController::open(&settings.tor, quiet) else {
        return Ok(ExitCode::FAILURE);
    };
    let names = name_service(settings, Some("--tor-control"))?;
    let resolver = NameResolver::new(&names, settings.name_patience);
    let signals = Signals::catch().context("cannot wait for signals")?;
    // Nobody but systemd hears this, and without it nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let mut running = Running::new(settings, &[]);
    let reload = async || running.reload(async |_| Ok(())).await;
    let end = signals.until_end(async || names.forget(None).await, reload);
    Box::pin(controller.serve(resolver, Vec::new, end)).await?;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(ExitCode::SUCCESS)
}
