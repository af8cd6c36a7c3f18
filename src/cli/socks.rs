//! The SOCKS front: by itself, or beside the daemon.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use sd_notify::NotifyState;
use tokio::net::TcpListener;

use isonym::naming::name_resolver::NameResolver;
use isonym::net::Proxy;
use isonym::net::accept::OpenTo;
use isonym::socks::identity::IdentityEpoch;
use isonym::socks::server::{self, SocksLimits, SocksServerSettings, SocksTor};

use super::daemon::{Signals, raise_open_files};
use super::dns::name_service;
use super::eprint_line;
use super::handed::{Front, Handed};
use super::reload::Running;
use super::way_out::{self, way_out};
use super::{sandbox, user};
use crate::config::Settings;
use crate::options::CommandName;

/// A SOCKS front that has its ports, but serves nobody yet.
pub(super) struct SocksServer {
    listeners: Vec<TcpListener>,
    settings: SocksServerSettings,
}

impl SocksServer {
    /// Makes one that listens there, for so many connections at a time; `None` when there is nowhere to listen.
    pub(super) async fn new(
        listeners: Vec<TcpListener>,
        settings: &Settings,
        connections: usize,
        quiet: bool,
    ) -> Result<Option<Self>> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let tor = tor(settings).await?;
        let settings = &settings.socks;
        for listener in &listeners {
            let address = listener.local_addr()?;
            ensure!(
                !matches!(&tor, SocksTor::Port(ports) if ports.contains(&address)),
                "--socks-listen {address} is where Tor is looked for: choose another port, or say where Tor is with --socks-tor ADDR:PORT"
            );
            warn_of_others(address);
            if !quiet {
                eprint_line(format_args!("listening on {address} for SOCKS and HTTP CONNECT"));
            }
        }
        Ok(Some(Self {
            listeners,
            settings: SocksServerSettings {
                tor,
                flags: settings.isolate.clone(),
                epoch: Arc::new(IdentityEpoch::new(rand::random())),
                limits: SocksLimits {
                    connections,
                    ..SocksLimits::default()
                },
            },
        }))
    }

    /// Returns what makes callers' IDs, for who renews them.
    pub(super) fn epoch(&self) -> Arc<IdentityEpoch> {
        Arc::clone(&self.settings.epoch)
    }

    /// Serves applications until `stop` is ready.
    pub(super) async fn serve(self, resolver: NameResolver, stop: impl Future<Output = ()>) {
        server::serve(self.listeners, resolver, self.settings, stop).await;
    }
}

/// Returns the Tor that carries applications' streams.
async fn tor(settings: &Settings) -> Result<SocksTor> {
    if let Some(port) = settings.socks.tor {
        return Ok(SocksTor::Port(vec![port]));
    }
    match way_out(settings).await? {
        Proxy::Socks5(candidates) => Ok(SocksTor::Port(candidates)),
        #[cfg(feature = "embedded-tor")]
        Proxy::Embedded(tor) => {
            // Who asks first need not wait for it.
            tor.start();
            Ok(SocksTor::Embedded(tor))
        }
        Proxy::Direct => bail!(
            "applications are connected through Tor, and --direct names none: say where it is with --socks-tor ADDR:PORT"
        ),
    }
}

/// Returns the sockets that were handed over; where there are none, opens ports at these addresses.
pub(super) async fn open(handed: Vec<TcpListener>, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners = handed;
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    for address in addresses {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address}: another program may use the port; choose one with --socks-listen ADDR:PORT"
            )
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn warn_of_others(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!("SOCKS listens on {address}, beyond this machine: whoever reaches it can use Tor through it");
    }
}

/// Runs the server by itself until a signal ends it.
pub(super) async fn run(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let handed = Handed::take(Some(Front::Socks))?;
    let open_to = OpenTo {
        socks: true,
        ..OpenTo::default()
    };
    let connections = open_to.connections_within(raise_open_files());
    let listeners = open(handed.socks, &settings.socks.listen).await?;
    user::settle(settings.user.as_deref(), quiet)?;
    // Where Tor is named, no server is reached otherwise.
    let way_out = match settings.socks.tor {
        Some(_) => None,
        None => Some(way_out(settings).await?),
    };
    sandbox::enter(settings, way_out.as_ref(), CommandName::Socks);
    let names = name_service(settings, Some("--socks-listen"))?;
    let Some(server) = SocksServer::new(listeners, settings, connections, quiet).await? else {
        return Ok(ExitCode::FAILURE);
    };
    way_out::tell(settings, quiet);
    let signals = Signals::catch().context("cannot wait for signals")?;
    let resolver = NameResolver::new(&names, settings.name_patience);
    // Nobody but systemd hears this, and without it nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let epoch = server.epoch();
    let mut running = Running::new(settings, &[]);
    let reload = async || running.reload(async |_| Ok(())).await;
    let end = signals.until_end(async || resolver.forget(epoch.renew(rand::random())).await, reload);
    server.serve(resolver.clone(), end).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(ExitCode::SUCCESS)
}
