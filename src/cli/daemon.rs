//! The daemon, and how other commands call one.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sd_notify::NotifyState;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use isonym::dns::engine;
use isonym::dns::resolver::Resolver;
use isonym::dns::server::Socket;
use isonym::jsonrpc::client::{Client, Dialect, Login};
use isonym::jsonrpc::cookie::Cookie;
use isonym::jsonrpc::local::{self, LocalListener};
use isonym::jsonrpc::{self, code};
use isonym::naming::name_resolver::NameResolver;
use isonym::net::accept::OpenTo;
use isonym::node::{Handle, Node, NodeError, takes_nothing};
use isonym::rpc::server::{self, Doors};
use isonym::rpc::{Defaults, Encodings, Guard, Methods, RunningSettings};
use isonym::service::tally::Tally;
use isonym::service::{Caller, Daemon, DaemonSettings, Fronts, NameService, run_daemon};
use isonym::socks::identity::IdentityEpoch;
use isonym::tor::bootstrap_driver;

use super::args::RpcArgs;
use super::dns::{self, DnsFront, DnsServer};
use super::eprint_line;
use super::handed::Handed;
use super::metrics::MetricsServer;
use super::reload::Running;
use super::sandbox;
use super::session::{ask, effective, open};
use super::show::{describe, print_result, unready};
use super::socks::{self, SocksServer};
use super::tor::TorController;
use super::web::WebServer;
use super::{typed, user, way_out};
use crate::config::Settings;
use crate::options::CommandName;

/// The cookie's file in the data folder, as Namecoin Core calls it.
const COOKIE_FILE: &str = ".cookie";

/// The file that says where the daemon of a data folder listens.
const ADDRESS_FILE: &str = ".rpc-address";

/// How often the service manager is told how header sync stands, and how often while it is not up to date.
const TELL_EVERY: Duration = Duration::from_secs(10);
const TELL_SOON: Duration = Duration::from_secs(2);

/// How often a daemon is called that is waited for.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How long a call of ours may take: the daemon's own bounds are shorter.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// Files by which a running daemon is called; gone when it stops cleanly.
#[derive(Default)]
struct RuntimeFiles {
    cookie: Option<Cookie>,
    address: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl RuntimeFiles {
    /// Makes them, with the listener at the data folder's socket. On a disk that takes nothing the daemon goes on with
    /// what there is, as long as anybody can call.
    async fn create(settings: &Settings, address: Option<SocketAddr>) -> Result<(Self, Option<LocalListener>)> {
        let mut files = Self::default();
        match files.fill(settings, address).await {
            Ok(listener) => Ok((files, listener)),
            Err(error) => {
                // A cookie that nobody takes is no harm, but it would look as if somebody did.
                let _ = files.remove();
                Err(error)
            }
        }
    }

    async fn fill(&mut self, settings: &Settings, address: Option<SocketAddr>) -> Result<Option<LocalListener>> {
        let bound = LocalListener::bind(&settings.folder.join(local::FILE_NAME)).await;
        let Some(address) = address else {
            let listener = bound.context("nobody could call the daemon, which has no port (--rpc-listen none)")?;
            self.socket = Some(listener.socket().to_owned());
            // One that was killed may have left them, and they lead nowhere.
            for file in [COOKIE_FILE, ADDRESS_FILE] {
                let _ = fs::remove_file(settings.folder.join(file));
            }
            return Ok(Some(listener));
        };
        let listener = bound
            .inspect_err(|error| {
                tracing::warn!("commands have to call at the port, by the cookie or a password: {error}");
            })
            .ok();
        self.socket = listener.as_ref().map(|listener| listener.socket().to_owned());
        if settings.rpc_credentials.is_none() {
            let path = settings.folder.join(COOKIE_FILE);
            match Cookie::create(&path, settings.cookie_readers) {
                Ok(cookie) => self.cookie = Some(cookie),
                Err(error) if takes_nothing(&error) && listener.is_some() => {
                    let socket = local::FILE_NAME;
                    tracing::warn!(
                        "nobody can call at {address}, for {} cannot be written: {error}; commands of this user call by \
                         {socket} beside it, others can by --rpc-user and --rpc-password",
                        path.display()
                    );
                }
                Err(error) => {
                    let advice = "mend that, or give --rpc-user and --rpc-password: then none is written";
                    return Err(error).with_context(|| format!("cannot write {} ({advice})", path.display()));
                }
            }
        }
        let path = settings.folder.join(ADDRESS_FILE);
        match write_anew(&path, &callable(address).to_string()) {
            Ok(()) => self.address = Some(path),
            Err(error) if takes_nothing(&error) => {
                tracing::warn!(
                    "nobody is told that the daemon listens at {address}, for {} cannot be written: {error}; commands \
                     that do not find it need --rpc-listen {address}",
                    path.display()
                );
                // Better none than half of one.
                let _ = fs::remove_file(path);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
        Ok(listener)
    }

    fn remove(self) -> Result<()> {
        // No daemon listens there any more, so another one replaces what is left of it.
        if let Some(Err(error)) = self.socket.map(fs::remove_file) {
            tracing::warn!("cannot remove the data folder's socket: {error}");
        }
        let cookie = self.cookie.map_or(Ok(()), Cookie::remove);
        let address = self.address.map(|path| (fs::remove_file(&path), path));
        cookie.context("cannot remove the cookie file")?;
        address.map_or(Ok(()), |(removed, path)| {
            removed.with_context(|| format!("cannot remove {}", path.display()))
        })
    }
}

/// Writes a small file in place of one that is there: through no link, for its owner alone.
pub(super) fn write_anew(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Returns the address to call who listens at `address`: one that stands for all of this machine's is none to name.
pub(super) fn callable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

/// The signals that ask for something: a clean end, or a new identity. They are caught from here on, so that none comes
/// between the first file that is to be taken away again and the wait.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    renew: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            // It would end us with the cookie and the socket left lying there.
            quit: signal(SignalKind::quit())?,
            renew: signal(SignalKind::user_defined1())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal to end. Until then each SIGUSR1 has `renew` forget who asked for what, and each SIGHUP has
    /// `reload` take settings and files anew; a terminal that hangs up so ends nothing.
    pub(super) async fn until_end(self, renew: impl AsyncFn(), mut reload: impl AsyncFnMut()) {
        let Self {
            mut terminate,
            mut interrupt,
            mut quit,
            renew: mut renewals,
            mut hang_up,
        } = self;
        let renewing = async {
            while renewals.recv().await.is_some() {
                renew().await;
                tracing::info!("all callers are taken for new ones");
            }
            std::future::pending::<()>().await;
        };
        let reloading = async {
            while hang_up.recv().await.is_some() {
                reload().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            () = renewing => {}
            () = reloading => {}
        }
    }
}

/// Raises the number of files that may be open at once, connections included, as far as the system lets us. Returns
/// the number.
///
/// Shells and services commonly start us with 1024, and allow many more to who asks.
pub(super) fn raise_open_files() -> u64 {
    /// What is taken for granted where the system doesn't tell: the least of any system's default.
    const ASSUMED: u64 = 256;
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!("cannot raise the number of files that may be open: {error}");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(ASSUMED)
    })
}

/// Has the system write no dump of this process, and let no other process of the user's look into it: there are names
/// and isolation IDs in it.
pub(crate) fn keep_memory_private() {
    // Where the system has no such thing there is nothing to be done about it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
}

/// The ports that a daemon has; each front has none, one or several.
struct Ports {
    rpc: Option<TcpListener>,
    dns: Vec<Socket>,
    socks: Vec<TcpListener>,
    metrics: Option<MetricsServer>,
    web: Option<WebServer>,
}

impl Ports {
    /// Takes those that a service manager opened, and opens the others.
    async fn open(settings: &Settings) -> Result<Self> {
        let handed = Handed::take(None)?;
        let rpc = match handed.rpc {
            Some(listener) => Some(listener),
            None => match listen(settings.rpc_listen).await {
                Ok(listener) => listener,
                Err(error) => {
                    // That another one has the folder as well says more of who has the port. What is made there is not root's.
                    if settings.user.is_none() {
                        open(settings).await?;
                    }
                    return Err(error);
                }
            },
        };
        Ok(Self {
            rpc,
            dns: dns::open(handed.dns, &settings.dns.listen).await?,
            socks: socks::open(handed.socks, &settings.socks.listen).await?,
            metrics: MetricsServer::open(settings.metrics_listen).await?,
            web: WebServer::open(settings.web_listen).await?,
        })
    }
}

/// Opens the node, as the user that the daemon is by now.
async fn open_node(settings: &Settings) -> Result<Node> {
    let node = match (open(settings).await, &settings.user) {
        (Err(error), Some(user)) if is_of_folder(&error) => {
            // Each network has a folder of its own in it.
            let folder = settings.folder.parent().unwrap_or(&settings.folder).display();
            return Err(error.context(format!(
                "{user} cannot work in the data folder, which has to be that user's (chown -R {user} {folder})"
            )));
        }
        (opened, _) => opened?,
    };
    let network = settings.network;
    ensure!(
        !node.servers().is_empty(),
        "no server is known for {network}; name one with --server HOST:PORT"
    );
    Ok(node)
}

/// Says where callers of JSON-RPC come in.
fn announce(address: Option<SocketAddr>, socket: Option<&Path>) {
    match (address, socket) {
        (Some(address), _) => eprint_line(format_args!("listening on http://{address}/")),
        (None, Some(socket)) => eprint_line(format_args!("listening at {}, and at no port", socket.display())),
        (None, None) => {}
    }
}

/// Returns what holds where a call says nothing of it.
fn defaults(settings: &Settings) -> Defaults {
    let encodings = Encodings {
        name: settings.name_encoding,
        value: settings.value_encoding,
    };
    Defaults {
        encodings,
        ..Defaults::default()
    }
}

/// Returns the fronts that run.
fn fronts(dns: bool, streams: bool) -> Fronts {
    let all = [(Caller::Rpc, true), (Caller::Dns, dns), (Caller::Streams, streams)];
    let running = all.iter().filter_map(|(front, runs)| runs.then_some(*front));
    Fronts::of(&running.collect::<Vec<_>>())
}

/// Runs the daemon until a signal or the method `stop` ends it.
pub(super) async fn run(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let ports = Ports::open(settings).await?;
    let files = raise_open_files();
    let open_to = OpenTo {
        rpc: true,
        dns: !ports.dns.is_empty(),
        socks: !ports.socks.is_empty(),
    };
    let connections = open_to.connections_within(files);
    tracing::debug!("room for {connections} callers at a time at each door");
    let limits = server::Limits {
        connections,
        ..server::Limits::default()
    };
    user::settle(settings.user.as_deref(), quiet)?;
    let way_out = way_out::way_out(settings).await?;
    let sandbox = sandbox::enter(settings, Some(&way_out), CommandName::Daemon);
    // Files are made and read by whoever it is from here on.
    let node = open_node(settings).await?;
    way_out::tell(settings, quiet);
    let address = ports.rpc.as_ref().map(TcpListener::local_addr).transpose()?;
    if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
        tracing::warn!("JSON-RPC listens on {address}, beyond this machine, without encryption");
    }
    let dns = DnsServer::new(ports.dns, &settings.dns, connections, quiet)?;
    let socks = SocksServer::new(ports.socks, settings, connections, quiet).await?;
    let metrics = MetricsServer::announce(ports.metrics, quiet)?;
    let web = WebServer::announce(ports.web, &settings.folder, quiet)?;
    let controller = TorController::open(&settings.tor, quiet);
    let control = settings.tor.controller();
    let signals = Signals::catch().context("cannot wait for signals")?;
    let (runtime_files, local) = RuntimeFiles::create(settings, address).await?;
    let doors = Doors { tcp: ports.rpc, local };
    let allowed = settings
        .rpc_credentials
        .as_ref()
        .or(runtime_files.cookie.as_ref().map(Cookie::credentials));
    let guard = Guard::new(allowed);
    let defaults = defaults(settings);
    if !quiet {
        announce(address, runtime_files.socket.as_deref());
    }
    // Nobody but systemd hears this, and without it nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let epoch = socks.as_ref().map(SocksServer::epoch);
    let mut end = Ok(());
    let daemon_settings = DaemonSettings {
        fronts: fronts(dns.is_some(), socks.is_some() || controller.is_some()),
        ..settings.daemon
    };
    let running = run_daemon(node, &daemon_settings, async |daemon| {
        let told = RunningSettings::new(effective(settings));
        let methods = Methods::new(&daemon, defaults, told.clone());
        let Daemon { names, node: handle } = daemon;
        handle.note_sandbox(sandbox.to_string());
        let resolver = NameResolver::new(&names, settings.name_patience);
        let (all, callers) = (names.clone(), epoch.clone());
        let tally = names.tally();
        let renew = async || {
            if let Some(callers) = &callers {
                callers.renew(rand::random());
            }
            all.forget(None).await;
        };
        let dns = dns.map(|dns| dns.before(&names));
        let zones = dns.as_ref().map(DnsFront::resolver);
        let mut running = Running::new(settings, &TAKEN_ANEW);
        let reload = async || {
            let apply = async |newer: &Settings| take_anew(newer, &handle, zones.as_deref(), &told).await;
            running.reload(apply).await;
        };
        // Each ends when the node is stopped, and has then said what it had to.
        let fronts = async {
            let rpc = server::serve(doors, guard, limits, methods, handle.stopped());
            let dns = serve_dns(&handle, dns);
            let socks = serve_socks(&handle, socks, resolver.clone());
            let controller = control_tor(&handle, controller, epoch, resolver.clone());
            let others = async {
                tokio::join!(rpc, dns, socks);
                Ok(())
            };
            tokio::try_join!(others, controller).map(|_| ())
        };
        tokio::select! {
            ended = fronts => end = ended,
            () = serve_metrics(handle.clone(), tally, metrics) => {}
            () = serve_web(&all, &handle, web, &settings.dns.engine) => {}
            () = stop_at(signals, &handle, renew, reload) => {}
            never = tell_standing(&handle) => match never {},
            never = handle.log_trouble() => match never {},
            never = bootstrap_driver::watch(&handle, control) => match never {},
        }
        Ok(())
    });
    let ended = Box::pin(running).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    runtime_files.remove()?;
    ended?;
    end?;
    Ok(ExitCode::SUCCESS)
}

/// The options that a daemon takes anew at SIGHUP beside those that all commands do.
const TAKEN_ANEW: [&str; 3] = ["server", "discover", "dnssec"];

/// Has a running daemon take anew what it can of its settings, and of files that may have changed since.
async fn take_anew(newer: &Settings, handle: &Handle, zones: Option<&Resolver>, told: &RunningSettings) -> Result<()> {
    // Each part is taken on its own: what is wrong with one is no reason to leave out the others.
    let servers = if newer.servers.is_empty() {
        Err(anyhow!("no server is named by now, and those from before are used on"))
    } else {
        if handle.set_servers(&newer.servers, newer.discover) {
            tracing::info!("SIGHUP: header sync begins anew, with the servers that are named by now");
        }
        let effective = effective(newer).into_iter();
        told.update(effective.filter(|(name, _)| TAKEN_ANEW.contains(&name.as_str())));
        Ok(())
    };
    let known = handle.reload_known_servers().await;
    let keys = zones.map_or(Ok(()), |zones| dns::reload_keys(&newer.dns, zones));
    servers.and(known.map_err(Into::into)).and(keys)
}

/// Opens the port for JSON-RPC, if there is to be one.
async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; another program may use the port: choose one with --rpc-listen ADDR:PORT")
    })?;
    Ok(Some(listener))
}

/// Says whether the data folder can't be used since it is somebody else's, or so it may be.
fn is_of_folder(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(NodeError::Folder { .. } | NodeError::FolderOfOther { .. } | NodeError::Store { .. })
    )
}

/// Serves DNS beside them, if that is wanted.
async fn serve_dns(handle: &Handle, dns: Option<DnsFront>) {
    if let Some(dns) = dns {
        dns.serve(handle.stopped()).await;
    }
}

/// Serves applications beside them, if that is wanted.
async fn serve_socks(handle: &Handle, socks: Option<SocksServer>, resolver: NameResolver) {
    if let Some(socks) = socks {
        socks.serve(resolver, handle.stopped()).await;
    }
}

/// Tells how the daemon stands to whoever asks, if that is wanted; never returns, so that callers still get their answers.
async fn serve_metrics(handle: Handle, tally: Arc<Tally>, metrics: Option<MetricsServer>) {
    if let Some(metrics) = metrics {
        metrics.serve(handle, tally).await;
    }
    std::future::pending::<()>().await;
}

/// Shows names with their proofs to browsers, if that is wanted; never returns, so that callers still get their answers.
async fn serve_web(names: &NameService, handle: &Handle, web: Option<WebServer>, engine: &engine::Settings) {
    if let Some(web) = web {
        web.serve(names, handle.clone(), engine.clone()).await;
    }
    std::future::pending::<()>().await;
}

/// Takes care of a Tor beside them, if that is wanted; fails with what the user has to mend. A new identity is one for
/// applications that come by SOCKS as well.
async fn control_tor(
    handle: &Handle,
    controller: Option<TorController>,
    epoch: Option<Arc<IdentityEpoch>>,
    resolver: NameResolver,
) -> Result<()> {
    let Some(controller) = controller else {
        return Ok(());
    };
    let renew = || {
        epoch
            .as_ref()
            .map(|epoch| epoch.renew(rand::random()))
            .unwrap_or_default()
    };
    controller.serve(resolver, renew, handle.stopped()).await
}

/// Has the service manager say how far header sync is, or why it does not get on.
async fn tell_standing(node: &Handle) -> Infallible {
    let mut told = String::new();
    // Who wants signs of life has them from here: nothing of the daemon runs in another thread but what writes to the disk.
    let watchdog = sd_notify::watchdog_enabled();
    loop {
        if watchdog.is_some() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let status = node.status();
        let text = status
            .sync
            .as_ref()
            .map(|sync| describe(&status, sync))
            .unwrap_or_default();
        if text != told {
            let _ = sd_notify::notify(&[NotifyState::Status(&text)]);
            told = text;
        }
        let pause = if unready(&status).is_none() {
            TELL_EVERY
        } else {
            TELL_SOON
        };
        sleep(watchdog.map_or(pause, |longest| pause.min(longest / 2))).await;
    }
}

/// Asks the node to stop when a signal comes; never returns, so that callers still get their answers.
async fn stop_at(signals: Signals, handle: &Handle, renew: impl AsyncFn(), reload: impl AsyncFnMut()) {
    signals.until_end(renew, reload).await;
    handle.stop();
    std::future::pending::<()>().await;
}

/// Calls a daemon, as namecoin-cli does.
pub(super) async fn call(settings: &Settings, args: &RpcArgs) -> Result<ExitCode> {
    let unseen = if args.stdin { typed::lines()? } else { Vec::new() };
    let params: Vec<Value> = args
        .args
        .iter()
        .chain(&unseen)
        .map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
        .collect();
    // What the file says is where a daemon would listen; one that runs may have been told otherwise.
    let is_said =
        settings.explicit("rpc-listen").is_some_and(|origin| !origin.is_file()) && settings.rpc_listen.is_some();
    let reach = || -> Result<Client> {
        let running = if is_said { None } else { running(settings)? };
        match (running, settings.rpc_listen) {
            (Some(running), _) => Ok(running),
            (None, Some(address)) => client(settings, callable(address)),
            (None, None) => Err(jsonrpc::ClientError::NoDaemon {
                folder: settings.folder.clone(),
            }
            .into()),
        }
    };
    let params = Value::Array(params);
    let end = args
        .wait_timeout
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        // It may listen elsewhere once it is there.
        let result = ask(&reach()?, &args.method, &params).await;
        let is_early = args.wait
            && match &result {
                Ok(Err(error)) => error.code == code::WARMUP,
                Ok(Ok(_)) => false,
                Err(error) => is_absent(error),
            };
        if !is_early || end.is_some_and(|end| Instant::now() >= end) {
            return print_result(result?);
        }
        sleep(TRY_AGAIN).await;
    }
}

/// Says whether a call failed since no daemon is there, or none yet.
fn is_absent(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<jsonrpc::ClientError>();
    // One that is about to end, or has just begun, may hang up.
    error.is_some_and(|error| error.is_nobody_there() || matches!(error, jsonrpc::ClientError::Broken { .. }))
}

/// Returns a client of the daemon of the data folder: by its socket, where this user may come in there, for at a port
/// that a daemon left behind anybody may listen; else where it says that it listens. `None` where there is neither.
pub(super) fn running(settings: &Settings) -> Result<Option<Client>> {
    let socket = settings.folder.join(local::FILE_NAME);
    if local::is_there(&socket) {
        let login = match &settings.rpc_credentials {
            Some(credentials) => Login::Password(credentials.clone()),
            None => Login::None,
        };
        return Ok(Some(Client::local(&socket, login, CALL_TIMEOUT)));
    }
    announced(settings).map(|address| client(settings, address)).transpose()
}

/// Returns where the daemon of the data folder says that it listens.
pub(super) fn announced(settings: &Settings) -> Option<SocketAddr> {
    let text = fs::read_to_string(settings.folder.join(ADDRESS_FILE)).ok()?;
    text.trim().parse().ok()
}

fn client(settings: &Settings, address: SocketAddr) -> Result<Client> {
    let login = match &settings.rpc_credentials {
        Some(credentials) => Login::Password(credentials.clone()),
        None => Login::Cookie(settings.folder.join(COOKIE_FILE)),
    };
    let settings = jsonrpc::client::ClientSettings {
        url: format!("http://{address}"),
        login,
        dialect: Dialect::Core,
        timeout: CALL_TIMEOUT,
    };
    Ok(Client::new(settings)?)
}
