//! What a command that stays up gives away before it hears from anybody: the files that it has no need of, every port
//! but those of its proxy, its Tor and the server that it asks, other processes, and system calls that it never makes. The kernel
//! keeps to it (Landlock, seccomp), so that no fault of ours, or of what we are made of, reads a user's keys or gets past the
//! proxy.
//!
//! Source: Linux `Documentation/userspace-api/landlock.rst`.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use isonym::jsonrpc::client::Login;
use isonym::net::Proxy;
use isonym::node::create_private;
use isonym::tor::bootstrap_driver;
use isonym::tor::driver::{ControlAddr, ControlPlace};

use crate::config::{BackendSettings, Settings};
use crate::options::CommandName;

/// What every program of a Linux system may have to read once it runs: how names of this machine are found, who listens
/// where, the clock's zone.
const SYSTEM: [&str; 10] = [
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run/systemd",
    // The cookie of a Tor that says how far it is.
    "/run/tor",
    // How many processors there are, and how much memory.
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr",
];

/// Where a store is copied to that stands on a disk which takes nothing.
const MEMORY: &str = "/dev/shm";

/// What a command still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needs {
    /// Folders and files that it reads; `None` where they can't be known.
    read: Option<BTreeSet<PathBuf>>,
    /// The folder that it writes to.
    write: PathBuf,
    /// Ports that it connects to over TCP, wherever they are; `None` for all.
    connect: Option<BTreeSet<u16>>,
    /// Whether it may open sockets for UDP: to have the system find a host.
    datagrams: bool,
}

/// What a command is confined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confined {
    /// To all that it was to be confined to.
    Wholly,
    /// The kernel knows a part of it alone.
    Partly,
    /// To files and ports, of which the kernel may know a part alone. It takes no filter of system calls.
    Files,
    /// To system calls: the kernel knows nothing of files and ports.
    Calls,
    /// To nothing: the kernel does not know how.
    Unsupported,
    /// To nothing: plugins run programs of the user's, which would be confined too.
    Plugins,
    /// To nothing, as the user wishes.
    Unwanted,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wholly => "on",
            Self::Partly => "on, as far as this kernel can",
            Self::Files => "on for files and ports alone: no filter of system calls is taken",
            Self::Calls => "on for system calls alone: there is no Landlock",
            Self::Unsupported => "off: there is no Landlock, and no filter of system calls is taken",
            Self::Plugins => "off: plugins run programs of their own",
            Self::Unwanted => "off: --no-sandbox",
        })
    }
}

/// Gives up what a command that stays up has no need of, before it hears from anybody and before it has a second thread.
/// `way_out` is how it reaches others than this machine, if it does.
pub(super) fn enter(settings: &Settings, way_out: Option<&Proxy>, command: CommandName) -> Confined {
    let confined = if settings.no_sandbox {
        Confined::Unwanted
    } else if settings.tor.plugins.is_empty() {
        // What is not there yet can't be left to us later. Where it can't be made, that is told by whoever needs it.
        if settings.backend.is_none() {
            let _ = create_private(&settings.folder);
        }
        confine(&Needs::of(settings, way_out, command != CommandName::Daemon))
    } else {
        Confined::Plugins
    };
    tracing::info!("the sandbox is {confined}");
    confined
}

impl Needs {
    /// Returns what a command needs with these settings; `asks` where it asks a daemon, or another server, for names.
    fn of(settings: &Settings, way_out: Option<&Proxy>, asks: bool) -> Self {
        let mut read: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        // What is replaced is another file, or another folder: where it lies counts.
        let folder = |path: &Path| {
            let parent = path.parent()?;
            let is_here = parent.as_os_str().is_empty();
            Some(if is_here { PathBuf::from(".") } else { parent.to_owned() })
        };
        read.extend(settings.file.as_deref().and_then(folder));
        read.extend(settings.dns.keys.as_deref().and_then(folder));
        if let Some(BackendSettings {
            login: Login::Cookie(path),
            ..
        }) = &settings.backend
        {
            read.extend(folder(path));
        }
        read.extend(settings.tor.login.cookie.as_deref().and_then(folder));
        if let Some(ControlPlace::At(ControlAddr::Unix(path)) | ControlPlace::File(path)) = &settings.tor.control {
            read.extend(folder(path));
        }
        // A Tor says by itself where its cookie is.
        let is_told_later = settings.tor.control.is_some()
            && settings.tor.login.cookie.is_none()
            && settings.tor.login.password.is_none();
        Self {
            read: (!is_told_later).then_some(read),
            write: settings.folder.clone(),
            connect: connect(settings, way_out, asks),
            datagrams: datagrams(settings, way_out),
        }
    }
}

/// Returns the ports that may be connected to.
fn connect(settings: &Settings, way_out: Option<&Proxy>, asks: bool) -> Option<BTreeSet<u16>> {
    let proxies = match way_out {
        None => &[][..],
        Some(Proxy::Socks5(proxies)) => proxies,
        // Relays and servers are anywhere.
        Some(_) => return None,
    };
    let backend = match (&settings.backend, asks) {
        (Some(backend), _) => Some(port_of(&backend.url)?),
        // A daemon that comes up later says where it listens then.
        (None, true) => return None,
        (None, false) => None,
    };
    let mut ports: BTreeSet<u16> = proxies
        .iter()
        .chain(&settings.socks.tor)
        .map(SocketAddr::port)
        .collect();
    // Those where a Tor is looked for that says how far it is.
    let controls = match &settings.tor.control {
        Some(ControlPlace::At(control)) => vec![control.clone()],
        // Tor says so later, and another one each time that it starts.
        Some(ControlPlace::File(_)) => return None,
        None => bootstrap_driver::usual_places().into(),
    };
    ports.extend(controls.iter().filter_map(|control| match control {
        ControlAddr::Tcp(address) => Some(address.port()),
        ControlAddr::Unix(_) => None,
    }));
    ports.extend(backend);
    Some(ports)
}

/// Returns whether hosts are to be found by the system: behind a proxy, that one finds them.
fn datagrams(settings: &Settings, way_out: Option<&Proxy>) -> bool {
    let is_found = |backend: &BackendSettings| !is_address(&backend.url);
    matches!(way_out, Some(Proxy::Direct)) || settings.backend.as_ref().is_some_and(is_found)
}

/// Returns whether a URL names an address, and no host.
fn is_address(url: &str) -> bool {
    let url: Option<hyper::Uri> = url.parse().ok();
    let host = url.as_ref().and_then(hyper::Uri::host);
    host.is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().is_ok()
    })
}

/// Returns the port of a URL of HTTP, 80 if it names none.
fn port_of(url: &str) -> Option<u16> {
    let url: hyper::Uri = url.parse().ok()?;
    Some(url.port_u16().unwrap_or(80))
}

/// Gives up all that is not needed, for this thread and all that it starts from now on: to be called before there are
/// others.
fn confine(needs: &Needs) -> Confined {
    // Files first, for which they have to be opened.
    let files = confine_files(needs);
    let calls = confine_calls(needs.datagrams);
    match (files, calls) {
        (Some(Enforced::Wholly), true) => Confined::Wholly,
        (Some(Enforced::Partly), true) => Confined::Partly,
        (Some(_), false) => Confined::Files,
        (None, true) => Confined::Calls,
        (None, false) => Confined::Unsupported,
    }
}

/// How much the kernel knows of files and ports.
enum Enforced {
    Wholly,
    Partly,
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn confine_calls(datagrams: bool) -> bool {
    let given_up = calls::give_up(datagrams);
    given_up
        .inspect_err(|error| tracing::warn!("the sandbox has a gap: {error}"))
        .is_ok()
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn confine_calls(_: bool) -> bool {
    false
}

/// Confines this thread to its files and ports, and keeps it from other processes; returns nothing where it can't be done.
#[cfg(target_os = "linux")]
fn confine_files(needs: &Needs) -> Option<Enforced> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
    };

    /// What kernels of 2024 and later know.
    const KNOWN: ABI = ABI::V6;

    let confined = || -> Result<RulesetStatus, landlock::RulesetError> {
        let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        // What may be executed is nothing in any case.
        let reads = AccessFs::from_read(KNOWN) & !AccessFs::Execute;
        let all = AccessFs::from_all(KNOWN);
        let confined = if needs.read.is_some() { all } else { all & !reads };
        rules = rules.handle_access(confined)?;
        if needs.connect.is_some() {
            rules = rules.handle_access(AccessNet::ConnectTcp)?;
        }
        // Of processes it has to do with none but the service manager, which may be told at an abstract address.
        rules = rules.scope(Scope::Signal)?;
        let manager = std::env::var_os("NOTIFY_SOCKET");
        if !manager.is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@")) {
            rules = rules.scope(Scope::AbstractUnixSocket)?;
        }
        let mut rules = rules.create()?;
        // Paths that are not there are left out.
        if let Some(read) = &needs.read {
            rules = rules.add_rules(path_beneath_rules(read, reads))?;
        }
        let writes = (all & !AccessFs::Execute) & confined;
        let null = (AccessFs::WriteFile | AccessFs::ReadFile) & confined;
        rules = rules.add_rules(path_beneath_rules(["/dev/null"], null))?;
        rules = rules.add_rules(path_beneath_rules([needs.write.as_path(), Path::new(MEMORY)], writes))?;
        for port in needs.connect.iter().flatten() {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    match confined() {
        Ok(RulesetStatus::FullyEnforced) => Some(Enforced::Wholly),
        Ok(RulesetStatus::PartiallyEnforced) => Some(Enforced::Partly),
        Ok(RulesetStatus::NotEnforced) => None,
        Err(error) => {
            tracing::warn!("the sandbox has a gap: {error}");
            None
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn confine_files(_: &Needs) -> Option<Enforced> {
    None
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
