//! Resolved settings as values, and the only home of defaults.
//!
//! Precedence: command line, environment (`ISONYM_*`), configuration file, default. The first two are one to this
//! file: the argument parser joins them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use hickory_proto::rr::Name;
use isonym::chain::sync::Verification;
use isonym::chain::{Anchor, Network};
use isonym::dns;
use isonym::dns::resolver::Anonymous;
use isonym::dns::zones::Zones;
use isonym::jsonrpc::Credentials;
use isonym::jsonrpc::client::{Dialect, Login};
use isonym::name::Encoding;
use isonym::name::lookup::MAX_QUORUM;
use isonym::net::{Proxy, ServerAddr, servers};
use isonym::node::DaemonSettings;
use isonym::rpc;
use isonym::socks::identity::IsolationFlags;
use isonym::tor::driver::ControlAddr;
use isonym::tor::suffixes::SuffixPlugin;
use isonym::{naming, tor};

/// Largest configuration file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Name of the configuration file in the user's configuration folder.
const FILE_NAME: &str = "isonym.toml";

/// What the user said, on the command line, in the environment or in the file: `None` where silent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Wishes {
    pub(crate) network: Option<String>,
    pub(crate) datadir: Option<PathBuf>,
    pub(crate) anchor: Option<String>,
    #[serde(default)]
    pub(crate) server: Vec<String>,
    pub(crate) proxy: Option<String>,
    pub(crate) direct: Option<bool>,
    pub(crate) verification: Option<String>,
    pub(crate) sync_connections: Option<usize>,
    pub(crate) name_encoding: Option<String>,
    pub(crate) value_encoding: Option<String>,
    pub(crate) quorum: Option<u8>,
    pub(crate) rpc_listen: Option<SocketAddr>,
    pub(crate) rpc_user: Option<String>,
    pub(crate) rpc_password: Option<String>,
    pub(crate) pool_clean: Option<usize>,
    pub(crate) isolation_ttl: Option<u64>,
    pub(crate) max_ids: Option<usize>,
    pub(crate) cache_positive: Option<u64>,
    pub(crate) cache_negative: Option<u64>,
    pub(crate) isolate_anonymous: Option<bool>,
    pub(crate) rpc_url: Option<String>,
    pub(crate) rpc_cookie: Option<PathBuf>,
    pub(crate) rpc_style: Option<String>,
    #[serde(default)]
    pub(crate) dns_listen: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) dns_suffix: Vec<String>,
    pub(crate) dns_any_suffix: Option<bool>,
    #[serde(default)]
    pub(crate) dns_nameserver: Vec<String>,
    pub(crate) dns_hostmaster: Option<String>,
    #[serde(default)]
    pub(crate) dns_address: Vec<IpAddr>,
    pub(crate) dns_self_ip: Option<Ipv4Addr>,
    pub(crate) dns_version: Option<String>,
    pub(crate) dns_isolate: Option<String>,
    pub(crate) dns_patience: Option<u64>,
    pub(crate) dns_echo_id: Option<bool>,
    pub(crate) dnssec: Option<PathBuf>,
    pub(crate) name_patience: Option<u64>,
    pub(crate) tor_control: Option<String>,
    pub(crate) control_cookie: Option<PathBuf>,
    pub(crate) control_password: Option<String>,
    #[serde(default)]
    pub(crate) plugin: Vec<String>,
    #[serde(default)]
    pub(crate) socks_listen: Vec<SocketAddr>,
    pub(crate) socks_tor: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) socks_isolate: Vec<String>,
}

/// Takes the list that somebody gave: the first one's, unless it is empty.
fn given<T>(first: Vec<T>, other: Vec<T>) -> Vec<T> {
    if first.is_empty() { other } else { first }
}

impl Wishes {
    /// Reads a configuration file: the one named, else the user's own where there is one.
    fn from_file(path: Option<&Path>) -> Result<Self> {
        let own = dirs::config_dir().map(|folder| folder.join("isonym").join(FILE_NAME));
        let path = match (path, own) {
            (Some(path), _) => path.to_owned(),
            (None, Some(own)) if own.exists() => own,
            (None, _) => return Ok(Self::default()),
        };
        let context = || format!("cannot read the configuration file {}", path.display());
        let mut text = String::new();
        let file = File::open(&path).with_context(context)?;
        // Not by its stated size: a device has none, and no end either.
        file.take(MAX_FILE_SIZE + 1)
            .read_to_string(&mut text)
            .with_context(context)?;
        ensure!(
            text.len() as u64 <= MAX_FILE_SIZE,
            "{} is no configuration file: it has more than {MAX_FILE_SIZE} bytes",
            path.display()
        );
        toml::from_str(&text).with_context(|| format!("in the configuration file {}", path.display()))
    }

    /// Fills what is silent here with what `other` says. Proxy and direct mode are one choice: whoever is heard
    /// first on either decides both.
    fn or(self, other: Self) -> Self {
        let (proxy, direct) = match (self.proxy, self.direct) {
            (None, None) => (other.proxy, other.direct),
            (None, Some(false)) => (other.proxy, Some(false)),
            said => said,
        };
        let (rpc_user, rpc_password) = match (self.rpc_user, self.rpc_password) {
            (None, None) => (other.rpc_user, other.rpc_password),
            said => said,
        };
        Self {
            network: self.network.or(other.network),
            datadir: self.datadir.or(other.datadir),
            anchor: self.anchor.or(other.anchor),
            server: given(self.server, other.server),
            proxy,
            direct,
            verification: self.verification.or(other.verification),
            sync_connections: self.sync_connections.or(other.sync_connections),
            name_encoding: self.name_encoding.or(other.name_encoding),
            value_encoding: self.value_encoding.or(other.value_encoding),
            quorum: self.quorum.or(other.quorum),
            rpc_listen: self.rpc_listen.or(other.rpc_listen),
            rpc_user,
            rpc_password,
            pool_clean: self.pool_clean.or(other.pool_clean),
            isolation_ttl: self.isolation_ttl.or(other.isolation_ttl),
            max_ids: self.max_ids.or(other.max_ids),
            cache_positive: self.cache_positive.or(other.cache_positive),
            cache_negative: self.cache_negative.or(other.cache_negative),
            isolate_anonymous: self.isolate_anonymous.or(other.isolate_anonymous),
            rpc_url: self.rpc_url.or(other.rpc_url),
            rpc_cookie: self.rpc_cookie.or(other.rpc_cookie),
            rpc_style: self.rpc_style.or(other.rpc_style),
            dns_listen: given(self.dns_listen, other.dns_listen),
            dns_suffix: given(self.dns_suffix, other.dns_suffix),
            dns_any_suffix: self.dns_any_suffix.or(other.dns_any_suffix),
            dns_nameserver: given(self.dns_nameserver, other.dns_nameserver),
            dns_hostmaster: self.dns_hostmaster.or(other.dns_hostmaster),
            dns_address: given(self.dns_address, other.dns_address),
            dns_self_ip: self.dns_self_ip.or(other.dns_self_ip),
            dns_version: self.dns_version.or(other.dns_version),
            dns_isolate: self.dns_isolate.or(other.dns_isolate),
            dns_patience: self.dns_patience.or(other.dns_patience),
            dns_echo_id: self.dns_echo_id.or(other.dns_echo_id),
            dnssec: self.dnssec.or(other.dnssec),
            name_patience: self.name_patience.or(other.name_patience),
            tor_control: self.tor_control.or(other.tor_control),
            control_cookie: self.control_cookie.or(other.control_cookie),
            control_password: self.control_password.or(other.control_password),
            plugin: given(self.plugin, other.plugin),
            socks_listen: given(self.socks_listen, other.socks_listen),
            socks_tor: self.socks_tor.or(other.socks_tor),
            socks_isolate: given(self.socks_isolate, other.socks_isolate),
        }
    }
}

/// Everything the program needs to know before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) network: Network,
    /// The network's own folder in the data folder.
    pub(crate) folder: PathBuf,
    pub(crate) anchor: Anchor,
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) proxy: Proxy,
    pub(crate) name_encoding: Encoding,
    pub(crate) value_encoding: Encoding,
    pub(crate) quorum: u8,
    /// Where a daemon listens for JSON-RPC, and is called.
    pub(crate) rpc_listen: SocketAddr,
    /// Who may call a daemon, instead of who can read its cookie file.
    pub(crate) rpc_credentials: Option<Credentials>,
    pub(crate) daemon: DaemonSettings,
    /// Another `name_show` than that of our own node or daemon.
    pub(crate) backend: Option<BackendSettings>,
    pub(crate) dns: DnsSettings,
    /// How long a name is looked up for a stream.
    pub(crate) name_patience: Duration,
    pub(crate) tor: TorSettings,
    pub(crate) socks: SocksSettings,
}

/// How a Tor is taken care of.
#[derive(Clone, Debug)]
pub(crate) struct TorSettings {
    /// Where it is, if that is said.
    pub(crate) control: Option<ControlAddr>,
    pub(crate) login: tor::auth::ControlLogin,
    pub(crate) plugins: Vec<SuffixPlugin>,
}

/// A `name_show` over JSON-RPC.
#[derive(Clone, Debug)]
pub(crate) struct BackendSettings {
    pub(crate) url: String,
    pub(crate) login: Login,
    pub(crate) dialect: Dialect,
}

/// How the DNS server goes about it.
#[derive(Clone, Debug)]
pub(crate) struct DnsSettings {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) engine: dns::engine::Settings,
    pub(crate) limits: dns::resolver::Limits,
    pub(crate) anonymous: Anonymous,
    pub(crate) echo_id: bool,
    /// Folder of the keys to sign with.
    pub(crate) keys: Option<PathBuf>,
}

/// How applications are served that speak SOCKS.
#[derive(Clone, Debug)]
pub(crate) struct SocksSettings {
    pub(crate) listen: Vec<SocketAddr>,
    /// Tor's SOCKS port, by its addresses in the order in which they are tried; none where the user wants no proxy.
    pub(crate) tor: Vec<SocketAddr>,
    pub(crate) isolate: IsolationFlags,
}

impl Settings {
    /// Joins what the user said with the configuration file and the defaults.
    pub(crate) fn resolve(wishes: Wishes, file: Option<&Path>) -> Result<Self> {
        let wishes = wishes.or(Wishes::from_file(file)?);
        let network: Network = wishes.network.as_deref().map_or(Ok(Network::default()), str::parse)?;
        let own = || dirs::data_dir().map(|folder| folder.join("isonym"));
        let Some(datadir) = wishes.datadir.clone().or_else(own) else {
            bail!("no home folder is known to keep headers in; name one with --datadir DIR");
        };
        let anchor = match &wishes.anchor {
            Some(text) => text.parse().with_context(|| format!("--anchor {text}"))?,
            None => Anchor::shipped(network)?,
        };
        let named = wishes
            .server
            .iter()
            .map(|text| text.parse().with_context(|| format!("--server {text}")))
            .collect::<Result<Vec<ServerAddr>>>()?;
        let servers = if named.is_empty() {
            servers::servers(network)
        } else {
            named
        };
        let proxy = match (wishes.direct, &wishes.proxy) {
            (Some(true), Some(_)) => bail!("--direct and --proxy exclude each other; give one of them"),
            (Some(true), None) => Proxy::Direct,
            (_, Some(text)) => text.parse().with_context(|| format!("--proxy {text}"))?,
            (_, None) => Proxy::tor(),
        };
        let encoding = |word: Option<String>, option: &str| -> Result<Encoding> {
            word.map_or(Ok(Encoding::default()), |word| {
                word.parse().with_context(|| format!("--{option} {word}"))
            })
        };
        let quorum = wishes.quorum.unwrap_or(1);
        ensure!(
            (1..=MAX_QUORUM).contains(&quorum),
            "--quorum {quorum}: give a number from 1 to {MAX_QUORUM}"
        );
        let daemon = daemon_settings(&wishes, quorum)?;
        let rpc_credentials = match (&wishes.rpc_user, &wishes.rpc_password) {
            (Some(user), Some(password)) => {
                Some(Credentials::new(user, password).context("--rpc-user: a user name has no colon")?)
            }
            (None, None) => None,
            _ => bail!("--rpc-user and --rpc-password go together; give both or none"),
        };
        Ok(Self {
            rpc_listen: wishes
                .rpc_listen
                .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, rpc::default_port(network)))),
            daemon,
            backend: backend_settings(&wishes, rpc_credentials.as_ref())?,
            dns: dns_settings(&wishes)?,
            name_patience: name_patience(&wishes)?,
            tor: tor_settings(&wishes)?,
            socks: socks_settings(&wishes, &proxy)?,
            rpc_credentials,
            network,
            folder: datadir.join(network.as_str()),
            anchor,
            servers,
            proxy,
            name_encoding: encoding(wishes.name_encoding, "name-encoding")?,
            value_encoding: encoding(wishes.value_encoding, "value-encoding")?,
            quorum,
        })
    }
}

fn daemon_settings(wishes: &Wishes, quorum: u8) -> Result<DaemonSettings> {
    let mut settings = DaemonSettings::default();
    settings.lookup.quorum = quorum;
    settings.sync.verification = match wishes.verification.as_deref() {
        None | Some("sampled") => Verification::default(),
        Some("full") => Verification::Full,
        Some(other) => bail!("--verification {other}: give sampled or full"),
    };
    settings.sync.connections = wishes.sync_connections.unwrap_or(settings.sync.connections);
    ensure!(
        (1..=16).contains(&settings.sync.connections),
        "--sync-connections {}: give a number from 1 to 16",
        settings.sync.connections
    );
    settings.anonymous_apart = wishes.isolate_anonymous.unwrap_or(false);
    let seconds = |wish: Option<u64>, default: Duration| wish.map_or(default, Duration::from_secs);
    settings.cache.positive = seconds(wishes.cache_positive, settings.cache.positive);
    settings.cache.negative = seconds(wishes.cache_negative, settings.cache.negative);
    settings.pool.id_ttl = seconds(wishes.isolation_ttl, settings.pool.id_ttl);
    settings.pool.clean = wishes.pool_clean.unwrap_or(settings.pool.clean);
    settings.pool.max_ids = wishes.max_ids.unwrap_or(settings.pool.max_ids);
    ensure!(
        settings.pool.clean <= 256,
        "--pool-clean {}: give at most 256",
        settings.pool.clean
    );
    ensure!(
        (1..=100_000).contains(&settings.pool.max_ids),
        "--max-ids: give a number from 1 to 100000"
    );
    ensure!(
        !settings.pool.id_ttl.is_zero(),
        "--isolation-ttl: give at least one second"
    );
    Ok(settings)
}

fn backend_settings(wishes: &Wishes, credentials: Option<&Credentials>) -> Result<Option<BackendSettings>> {
    let dialect = match wishes.rpc_style.as_deref() {
        None | Some("core") => Dialect::Core,
        Some("electrum") => Dialect::Electrum,
        Some(other) => bail!("--rpc-style {other}: give core or electrum"),
    };
    let Some(url) = wishes.rpc_url.clone() else {
        ensure!(
            wishes.rpc_cookie.is_none() && wishes.rpc_style.is_none(),
            "--rpc-cookie and --rpc-style go with --rpc-url"
        );
        return Ok(None);
    };
    let login = match (credentials, &wishes.rpc_cookie) {
        (Some(_), Some(_)) => bail!("--rpc-cookie and --rpc-user exclude each other; give one of them"),
        (Some(credentials), None) => Login::Password(credentials.clone()),
        (None, Some(path)) => Login::Cookie(path.clone()),
        (None, None) => Login::None,
    };
    Ok(Some(BackendSettings { url, login, dialect }))
}

fn socks_settings(wishes: &Wishes, proxy: &Proxy) -> Result<SocksSettings> {
    let isolate = match wishes.socks_isolate.as_slice() {
        [] => IsolationFlags::default(),
        [none] if none == "none" => IsolationFlags(BTreeSet::new()),
        words => {
            let by = words
                .iter()
                .map(|word| word.parse().with_context(|| format!("--socks-isolate {word}")));
            IsolationFlags(by.collect::<Result<_>>()?)
        }
    };
    let tor = match (wishes.socks_tor, proxy) {
        (Some(tor), _) => vec![tor],
        (None, Proxy::Socks5(candidates)) => candidates.clone(),
        (None, Proxy::Direct) => Vec::new(),
    };
    Ok(SocksSettings {
        listen: wishes.socks_listen.clone(),
        tor,
        isolate,
    })
}

/// Longest text that `version.bind` may be answered with, in bytes: that of one string of a TXT record.
const MAX_VERSION: usize = 255;

fn dns_settings(wishes: &Wishes) -> Result<DnsSettings> {
    let domain = |option: &str, text: &str| -> Result<Name> {
        let mut name = Name::from_str(text).with_context(|| format!("--{option} {text}: no domain name"))?;
        name.set_fqdn(true);
        Ok(name.to_lowercase())
    };
    let mut engine = dns::engine::Settings::default();
    let suffixes = wishes.dns_suffix.iter().map(String::as_str);
    engine.zones = Zones::new(suffixes, wishes.dns_any_suffix.unwrap_or(false)).context("--dns-suffix")?;
    for server in &wishes.dns_nameserver {
        engine.nameservers.push(domain("dns-nameserver", server)?);
    }
    if let Some(mailbox) = &wishes.dns_hostmaster {
        // A mail address, as people have it, or its form in DNS (RFC 1035 section 8).
        engine.hostmaster = match mailbox.split_once('@') {
            Some((user, host)) => domain("dns-hostmaster", &format!("{}.{host}", user.replace('.', "\\.")))?,
            None => domain("dns-hostmaster", mailbox)?,
        };
    }
    engine.vanity.clone_from(&wishes.dns_address);
    engine.self_ip = wishes.dns_self_ip.unwrap_or(engine.self_ip);
    engine.version.clone_from(&wishes.dns_version);
    ensure!(
        engine.version.as_ref().is_none_or(|text| text.len() <= MAX_VERSION),
        "--dns-version: give at most {MAX_VERSION} bytes"
    );
    let mut limits = dns::resolver::Limits::default();
    if let Some(seconds) = wishes.dns_patience {
        ensure!(
            (1..=300).contains(&seconds),
            "--dns-patience {seconds}: give 1 to 300 seconds"
        );
        limits.patience = Duration::from_secs(seconds);
    }
    let apart = wishes.isolate_anonymous.unwrap_or(false);
    let anonymous = match wishes.dns_isolate.as_deref() {
        None if apart => Anonymous::Apart,
        None | Some("none") => Anonymous::Together,
        Some("address") => Anonymous::ByAddress,
        Some("port") => Anonymous::ByPort,
        Some("query") => Anonymous::Apart,
        Some(other) => bail!("--dns-isolate {other}: give none, address, port or query"),
    };
    Ok(DnsSettings {
        listen: wishes.dns_listen.clone(),
        engine,
        limits,
        anonymous,
        echo_id: wishes.dns_echo_id.unwrap_or(false),
        keys: wishes.dnssec.clone(),
    })
}

fn name_patience(wishes: &Wishes) -> Result<Duration> {
    let Some(seconds) = wishes.name_patience else {
        return Ok(naming::namer::PATIENCE);
    };
    ensure!(
        (1..=300).contains(&seconds),
        "--name-patience {seconds}: give 1 to 300 seconds"
    );
    Ok(Duration::from_secs(seconds))
}

fn tor_settings(wishes: &Wishes) -> Result<TorSettings> {
    let control = wishes.tor_control.as_deref().map(str::parse);
    let plugin = |text: &String| SuffixPlugin::parse(text).context("--plugin");
    Ok(TorSettings {
        control: control.transpose().context("--tor-control")?,
        login: tor::auth::ControlLogin {
            cookie: wishes.control_cookie.clone(),
            password: wishes.control_password.clone(),
        },
        plugins: wishes.plugin.iter().map(plugin).collect::<Result<_>>()?,
    })
}
