//! The DNS server: by itself, or beside the daemon.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use sd_notify::NotifyState;

use isonym::dns::dnssec::{Signer, folder};
use isonym::dns::resolver::{Resolver, Settings as ResolverSettings};
use isonym::dns::server::{self, Limits, Socket};
use isonym::dns::sign::Signers;
use isonym::jsonrpc::client::{Client, ClientError, ClientSettings};
use isonym::net::accept::OpenTo;
use isonym::service::{Backend, CacheSettings, Caller, NameService};

use super::daemon::{CALL_TIMEOUT, Signals, raise_open_files, running};
use super::eprint_line;
use super::handed::{Front, Handed};
use super::reload::Running;
use super::{sandbox, user};
use crate::config::{BackendSettings, DnsSettings, Settings};
use crate::options::CommandName;

/// A DNS server that has its ports, but answers nothing yet.
pub(super) struct DnsServer {
    sockets: Vec<Socket>,
    settings: ResolverSettings,
    limits: Limits,
}

impl DnsServer {
    /// Makes one that listens there, for so many connections at a time, and reads the keys; `None` when there is nowhere to
    /// listen.
    pub(super) fn new(
        sockets: Vec<Socket>,
        settings: &DnsSettings,
        connections: usize,
        quiet: bool,
    ) -> Result<Option<Self>> {
        if sockets.is_empty() {
            return Ok(None);
        }
        let signers = read_keys(settings)?;
        let mut engine = settings.engine.clone();
        engine.dnskeys = signers.dnskeys();
        for socket in &sockets {
            let address = socket.address()?;
            warn_of_others(address);
            if !quiet {
                eprint_line(format_args!("listening on {address} for DNS"));
            }
        }
        Ok(Some(Self {
            sockets,
            settings: ResolverSettings {
                engine,
                signers,
                limits: settings.limits,
                anonymous: settings.anonymous,
            },
            limits: Limits {
                connections: connections.min(Limits::default().connections),
                echo_id: settings.echo_id,
                ..Limits::default()
            },
        }))
    }

    /// Makes it one that has its names looked up by `names`.
    pub(super) fn before(self, names: &NameService) -> DnsFront {
        let names = names.for_caller(Caller::Dns, self.settings.limits.caller);
        DnsFront {
            sockets: self.sockets,
            resolver: Arc::new(Resolver::new(names, self.settings)),
            limits: self.limits,
        }
    }
}

/// A DNS server that can answer.
pub(super) struct DnsFront {
    sockets: Vec<Socket>,
    resolver: Arc<Resolver>,
    limits: Limits,
}

impl DnsFront {
    /// Returns what finds its answers.
    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Answers until `stop` is ready.
    pub(super) async fn serve(self, stop: impl Future<Output = ()>) {
        server::serve(self.sockets, self.resolver, self.limits, stop).await;
    }
}

/// Returns the sockets that were handed over; where there are none, opens ports at these addresses.
pub(super) async fn open(handed: Vec<Socket>, addresses: &[SocketAddr]) -> Result<Vec<Socket>> {
    let mut sockets = handed;
    if !sockets.is_empty() {
        return Ok(sockets);
    }
    for address in addresses {
        let socket = Socket::bind(*address).await.with_context(|| {
            format!("cannot listen on {address}: another program may use the port, or it is for root alone; choose one with --dns-listen ADDR:PORT")
        })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Reads the keys that zones are signed with, if any are.
fn read_keys(settings: &DnsSettings) -> Result<Signers> {
    let mut signers = Vec::new();
    if let Some(keys) = &settings.keys {
        for apex in settings.engine.zones.apexes() {
            let keys = folder::read(keys, apex).context("--dnssec")?;
            signers.push(Signer::new(keys));
        }
    }
    Ok(Signers::new(signers))
}

/// Has zones signed with the keys that are there by now. Where one can't be read all are left as they are.
pub(super) fn reload_keys(settings: &DnsSettings, resolver: &Resolver) -> Result<()> {
    // Whose zones are others by now takes a restart.
    let zones = resolver.engine().zones.clone();
    let engine = isonym::dns::engine::Settings {
        zones,
        ..settings.engine.clone()
    };
    let settings = DnsSettings {
        engine,
        ..settings.clone()
    };
    resolver.set_signers(read_keys(&settings)?);
    Ok(())
}

fn warn_of_others(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!("DNS listens on {address}, beyond this machine: whoever reaches it can have names looked up");
    }
}

/// Runs the server by itself until a signal ends it.
pub(super) async fn run(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let handed = Handed::take(Some(Front::Dns))?;
    // Each lookup is a connection to the backend.
    let open_to = OpenTo {
        dns: true,
        ..OpenTo::default()
    };
    let connections = open_to.connections_within(raise_open_files());
    let sockets = open(handed.dns, &settings.dns.listen).await?;
    user::settle(settings.user.as_deref(), quiet)?;
    sandbox::enter(settings, None, CommandName::Dns);
    let names = name_service(settings, Some("--dns-listen"))?;
    let Some(server) = DnsServer::new(sockets, &settings.dns, connections, quiet)? else {
        return Ok(ExitCode::FAILURE);
    };
    let signals = Signals::catch().context("cannot wait for signals")?;
    // Nobody but systemd hears this, and without it nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let server = server.before(&names);
    let resolver = server.resolver();
    let mut running = Running::new(settings, &["dnssec"]);
    let reload = async || {
        let apply = async |newer: &Settings| reload_keys(&newer.dns, &resolver);
        running.reload(apply).await;
    };
    let end = signals.until_end(async || names.forget(None).await, reload);
    server.serve(end).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(ExitCode::SUCCESS)
}

/// Returns the service over the `name_show` to ask: the one that is named, else that of the data folder's daemon, which need
/// not be there yet, and may come and go. Where it is not there, the user is told of the daemon's option that makes it do
/// the same itself.
pub(super) fn name_service(settings: &Settings, option: Option<&str>) -> Result<NameService> {
    if let Some(backend) = &settings.backend {
        return service_for(settings, backend);
    }
    let is_absent = running(settings)?.is_none();
    if is_absent {
        let itself = option.map_or(String::new(), |option| {
            format!(", which does this itself with {option}")
        });
        tracing::warn!(
            "no daemon runs on {} yet, and names are looked up once it does: start `isonym daemon`{itself}, or name \
             another server with --rpc-url",
            settings.folder.display()
        );
    }
    let asker = settings.clone();
    let backend = Backend::found_by(move || {
        // What cannot be made a client of tells nobody where the daemon is.
        running(&asker).ok().flatten().ok_or_else(|| ClientError::NoDaemon {
            folder: asker.folder.clone(),
        })
    });
    if is_absent {
        backend.note_absence_told();
    }
    Ok(NameService::remote(backend, CacheSettings::default(), settings.quorum))
}

/// Returns the service over a `name_show` that the user named.
pub(super) fn service_for(settings: &Settings, backend: &BackendSettings) -> Result<NameService> {
    Ok(remote(settings, client_for(backend)?))
}

/// Returns a client of the `name_show` that the user named.
fn client_for(backend: &BackendSettings) -> Result<Client> {
    Ok(Client::new(ClientSettings {
        url: backend.url.clone(),
        login: backend.login.clone(),
        dialect: backend.dialect,
        timeout: CALL_TIMEOUT,
    })?)
}

/// Returns the service over a server behind JSON-RPC.
pub(super) fn remote(settings: &Settings, client: Client) -> NameService {
    NameService::remote(client, CacheSettings::default(), settings.quorum)
}
