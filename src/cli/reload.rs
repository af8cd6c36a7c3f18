//! What SIGHUP has taken anew: settings that can change while a command runs, and files that they name.

use anyhow::Result;
use sd_notify::NotifyState;

use super::log;
use crate::config::Settings;
use crate::options::Origin;

/// The options that every command takes anew.
const ALWAYS: [&str; 1] = ["log-level"];

/// The settings of a running command.
pub(super) struct Running {
    settings: Settings,
    /// The options that the command takes anew.
    takes: &'static [&'static str],
}

impl Running {
    /// Takes the settings that a command began with. With `takes` come those options that it can take anew beside those
    /// that every command does.
    pub(super) fn new(settings: &Settings, takes: &'static [&'static str]) -> Self {
        Self {
            settings: settings.clone(),
            takes,
        }
    }

    /// Takes anew what the sources say by now; `apply` has what belongs to the command alone. What is wrong changes nothing,
    /// what takes a restart is told of, and the service manager hears that it goes on.
    pub(super) async fn reload(&mut self, apply: impl AsyncFnOnce(&Settings) -> Result<()>) {
        // Nobody but systemd hears this; from version 253 on it wants the time along.
        let now = NotifyState::monotonic_usec_now();
        let began: Vec<_> = std::iter::once(NotifyState::Reloading).chain(now.ok()).collect();
        let _ = sd_notify::notify(&began);
        if let Err(error) = self.take_anew(apply).await {
            tracing::error!("SIGHUP: not all was taken anew, and what was not is as before: {error:#}");
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    async fn take_anew(&mut self, apply: impl AsyncFnOnce(&Settings) -> Result<()>) -> Result<()> {
        let newer = self.settings.reloaded()?;
        let changed = self.settings.changed(&newer);
        log::set_level(newer.log_level);
        for (name, origin) in &changed {
            self.tell(name, origin);
        }
        let applied = apply(&newer).await;
        // What takes a restart is told of once.
        self.settings = newer;
        applied?;
        tracing::info!("SIGHUP: settings and files are taken anew");
        Ok(())
    }

    fn tell(&self, name: &str, origin: &Origin) {
        if ALWAYS.contains(&name) || self.takes.contains(&name) {
            tracing::info!("SIGHUP: {name} is taken anew, by {origin}");
        } else {
            tracing::warn!("SIGHUP: {name} is another one by now ({origin}), which takes a restart");
        }
    }
}
