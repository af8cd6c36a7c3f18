//! Settings as values: the effects of the options.
//!
//! What options there are, their defaults, and which source wins, is `options`' business.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use isonym::chain::{Anchor, Network};
use isonym::dns;
use isonym::dns::resolver::Anonymous;
use isonym::dns::zones::Zones;
use isonym::isolation::IsolationId;
use isonym::jsonrpc::Credentials;
use isonym::jsonrpc::client::{Dialect, Login};
use isonym::jsonrpc::cookie::CookieReaders;
use isonym::name::Encoding;
use isonym::net::pool::PoolSettings;
use isonym::net::{Proxy, ServerAddr};
use isonym::node::NamesConfig;
use isonym::service::DaemonSettings;
use isonym::socks::identity::IsolationFlags;
use isonym::tor;
use isonym::tor::driver::{ControlPlace, ControllerSettings};
use isonym::tor::suffixes::SuffixPlugin;

use crate::options::{
    CommandName, Declared, Discover, Effective, LogLevel, OPTIONS, Origin, PartialConfig, ProxyChoice, load, table,
};

/// Everything the program needs to know before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) network: Network,
    /// The network's own folder in the data folder.
    pub(crate) folder: PathBuf,
    /// Whom to become once the ports are open.
    pub(crate) user: Option<String>,
    /// The configuration file, if there can be one.
    pub(crate) file: Option<PathBuf>,
    /// Whether a command that stays up keeps rights that it has no need of.
    pub(crate) no_sandbox: bool,
    /// What is logged where the command line has no flag for it.
    pub(crate) log_level: LogLevel,
    pub(crate) anchor: Anchor,
    pub(crate) servers: Vec<ServerAddr>,
    /// Whether other servers are learned of.
    pub(crate) discover: bool,
    pub(crate) proxy: ProxyChoice,
    /// What that has come to, once that was decided.
    pub(crate) way_out: Arc<OnceLock<Proxy>>,
    /// Settings of the embedded Tor.
    pub(crate) tor_config: Option<PathBuf>,
    pub(crate) name_encoding: Encoding,
    pub(crate) value_encoding: Encoding,
    pub(crate) quorum: u8,
    /// The longest ago that what is answered may have been asked for.
    pub(crate) max_age: Option<Duration>,
    /// Who asks, where a command looks names up for its user.
    pub(crate) isolation_id: IsolationId,
    /// Where a daemon listens for JSON-RPC, and is called, beside the data folder's socket.
    pub(crate) rpc_listen: Option<SocketAddr>,
    /// Where a daemon tells how it stands.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Where the daemon shows a page to browsers.
    pub(crate) web_listen: Option<SocketAddr>,
    /// Who may read the daemon's cookie file.
    pub(crate) cookie_readers: CookieReaders,
    /// Who may call a daemon, instead of who can read its cookie file.
    pub(crate) rpc_credentials: Option<Credentials>,
    pub(crate) daemon: DaemonSettings,
    /// Where names are looked up, and how they are kept.
    pub(crate) names: NamesConfig,
    /// Another `name_show` than that of our own node or daemon.
    pub(crate) backend: Option<BackendSettings>,
    pub(crate) dns: DnsSettings,
    /// How long a name is looked up for a stream.
    pub(crate) name_patience: Duration,
    pub(crate) tor: TorSettings,
    pub(crate) socks: SocksSettings,
    /// What the settings were made of.
    options: Effective,
    /// What of it the command line said, which stays as it is.
    command_line: PartialConfig,
}

/// How a Tor is taken care of.
#[derive(Clone, Debug)]
pub(crate) struct TorSettings {
    /// Where it is, if that is said.
    pub(crate) control: Option<ControlPlace>,
    pub(crate) login: tor::auth::ControlLogin,
    pub(crate) plugins: Vec<SuffixPlugin>,
}

impl TorSettings {
    /// Returns where its control port is, and how to log in there; `None` where nothing is said.
    pub(crate) fn controller(&self) -> Option<ControllerSettings> {
        Some(ControllerSettings {
            address: self.control.clone()?,
            login: self.login.clone(),
        })
    }
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
    /// Tor's SOCKS port, where it is another than the proxy.
    pub(crate) tor: Option<SocketAddr>,
    pub(crate) isolate: IsolationFlags,
}

impl Settings {
    /// Joins what the command line says with the other sources, for a command.
    pub(crate) fn load(command_line: &PartialConfig, command: CommandName) -> Result<Self> {
        let loaded = load(command_line, command)?;
        for variable in &loaded.unknown_variables {
            tracing::warn!("{variable}");
        }
        let settings = Self::of(loaded.sound()?)?;
        Ok(Self {
            command_line: command_line.clone(),
            ..settings
        })
    }

    /// Joins the sources as they are by now: the file may say something else than when the program began.
    pub(crate) fn reloaded(&self) -> Result<Self> {
        Self::load(&self.command_line, self.options.command())
    }

    /// Returns the options that have other values in `newer`, each with where that stands.
    pub(crate) fn changed(&self, newer: &Self) -> Vec<(&'static str, Origin)> {
        let is_used = |option: &&&dyn Declared| option.spec().is_used_by(self.options.command());
        let changed = OPTIONS.iter().filter(is_used).filter(|option| {
            // What is no value, the command has no use for.
            self.options.texts(**option).ok() != newer.options.texts(**option).ok()
        });
        changed
            .map(|option| (option.spec().name, newer.options.origin(*option)))
            .collect()
    }

    /// Gives the options their effects.
    pub(crate) fn of(options: Effective) -> Result<Self> {
        let network = options.get(&table::NETWORK)?;
        let datadir = options.get(&table::DATADIR)?;
        let datadir = datadir.context("no home folder is known to keep headers in; name one with --datadir DIR")?;
        let anchor = match options.get(&table::ANCHOR)? {
            Some(anchor) => anchor,
            None => Anchor::shipped(network)?,
        };
        let servers = options.get(&table::SERVER)?;
        // Who names servers wants these and no others.
        let is_on = options.get(&table::DISCOVER)? == Discover::On;
        let discover = is_on && options.origin(&table::SERVER) == Origin::Default;
        let proxy = if options.get(&table::DIRECT)? {
            ProxyChoice::Named(Proxy::Direct)
        } else {
            options.get(&table::PROXY)?
        };
        let user = options.get(&table::RPC_USER)?;
        let password = options.get(&table::RPC_PASSWORD)?;
        let rpc_credentials = user
            .zip(password)
            .and_then(|(user, password)| Credentials::new(&user.0, &password));
        Ok(Self {
            rpc_listen: options.get(&table::RPC_LISTEN)?.0,
            metrics_listen: options.get(&table::METRICS_LISTEN)?,
            web_listen: options.get(&table::WEB_LISTEN)?,
            cookie_readers: options.get(&table::RPC_COOKIE_PERMS)?,
            daemon: daemon_settings(&options)?,
            names: NamesConfig {
                mode: options.get(&table::NAMES)?,
                peers: options.get(&table::PEER)?,
                rate: options.get(&table::NAMES_RATE)?,
            },
            backend: backend_settings(&options, rpc_credentials.as_ref())?,
            dns: dns_settings(&options)?,
            name_patience: options.get(&table::NAME_PATIENCE)?,
            tor: tor_settings(&options)?,
            socks: socks_settings(&options)?,
            rpc_credentials,
            network,
            folder: datadir.join(network.as_str()),
            user: options.get(&table::USER)?.map(|user| user.0),
            file: options.get(&table::CONFIG)?,
            no_sandbox: options.get(&table::NO_SANDBOX)?,
            log_level: options.get(&table::LOG_LEVEL)?,
            anchor,
            servers,
            discover,
            proxy,
            way_out: Arc::default(),
            tor_config: options.get(&table::TOR_CONFIG)?,
            name_encoding: options.get(&table::NAME_ENCODING)?,
            value_encoding: options.get(&table::VALUE_ENCODING)?,
            quorum: options.get(&table::QUORUM)?,
            max_age: options.get(&table::MAX_AGE)?,
            isolation_id: options.get(&table::ISOLATION_ID)?.unwrap_or_default(),
            options,
            command_line: PartialConfig::default(),
        })
    }

    /// Returns where an option was given, or `None` where its default holds because nobody said anything.
    pub(crate) fn explicit(&self, name: &str) -> Option<Origin> {
        let origin = self.options.origin(declared(name)?);
        (origin != Origin::Default).then_some(origin)
    }

    /// Returns what holds of each option that is no secret, and where it comes from.
    pub(crate) fn effective(&self) -> Vec<(&'static str, String, Origin)> {
        let options = OPTIONS.iter().filter_map(|option| {
            let text = self.text(*option)?;
            Some((option.spec().name, text, self.options.origin(*option)))
        });
        options.collect()
    }

    /// Returns what was given, and where: every option that is no secret and that somebody said something of.
    pub(crate) fn explicit_options(&self) -> impl Iterator<Item = (&'static str, String, Origin)> {
        let all = self.effective().into_iter();
        all.filter(|(_, _, origin)| *origin != Origin::Default)
    }

    fn text(&self, option: &dyn Declared) -> Option<String> {
        let spec = option.spec();
        // A value that is none was either reported or belongs to an option that the command does not use.
        let texts = self.options.texts(option).ok().filter(|_| !spec.is_secret)?;
        Some(texts.join(&spec.separator.to_string()))
    }
}

fn declared(name: &str) -> Option<&'static dyn Declared> {
    OPTIONS.iter().copied().find(|option| option.spec().name == name)
}

fn daemon_settings(options: &Effective) -> Result<DaemonSettings> {
    let mut settings = DaemonSettings::default();
    settings.lookup.quorum = options.get(&table::QUORUM)?;
    settings.sync.verification = options.get(&table::VERIFICATION)?;
    settings.sync.connections = options.get(&table::SYNC_CONNECTIONS)?;
    settings.isolate_anonymous = options.get(&table::ISOLATE_ANONYMOUS)?;
    settings.cache.positive = options.get(&table::CACHE_POSITIVE)?;
    settings.cache.negative = options.get(&table::CACHE_NEGATIVE)?;
    settings.pool = PoolSettings::with_pace(options.get(&table::POOL)?.0);
    settings.pool.id_ttl = options.get(&table::ISOLATION_TTL)?;
    settings.pool.max_ids = options.get(&table::MAX_IDS)?;
    Ok(settings)
}

fn backend_settings(options: &Effective, credentials: Option<&Credentials>) -> Result<Option<BackendSettings>> {
    let Some(url) = options.get(&table::RPC_URL)? else {
        return Ok(None);
    };
    let cookie = options.get(&table::RPC_COOKIE)?;
    let login = match (cookie, credentials) {
        (Some(path), _) => Login::Cookie(path),
        (None, Some(credentials)) => Login::Password(credentials.clone()),
        (None, None) => Login::None,
    };
    Ok(Some(BackendSettings {
        url: url.0,
        login,
        dialect: options.get(&table::RPC_STYLE)?,
    }))
}

fn socks_settings(options: &Effective) -> Result<SocksSettings> {
    let apart = options.get(&table::SOCKS_ISOLATE)?;
    Ok(SocksSettings {
        listen: options.get(&table::SOCKS_LISTEN)?,
        tor: options.get(&table::SOCKS_TOR)?,
        isolate: IsolationFlags(apart.into_iter().filter_map(|word| word.0).collect()),
    })
}

fn dns_settings(options: &Effective) -> Result<DnsSettings> {
    let default = dns::engine::Settings::default();
    let suffixes = options.get(&table::DNS_SUFFIX)?;
    let suffixes = suffixes.iter().map(|suffix| suffix.0.as_str());
    let engine = dns::engine::Settings {
        zones: Zones::new(suffixes, options.get(&table::DNS_ANY_SUFFIX)?)?,
        nameservers: options.get(&table::DNS_NAMESERVER)?,
        hostmaster: match options.get(&table::DNS_HOSTMASTER)? {
            Some(mailbox) => mailbox.0,
            None => default.hostmaster,
        },
        vanity: options.get(&table::DNS_ADDRESS)?,
        self_ip: options.get(&table::DNS_SELF_IP)?,
        version: options.get(&table::DNS_VERSION)?,
        dnskeys: default.dnskeys,
    };
    let limits = dns::resolver::Limits {
        patience: options.get(&table::DNS_PATIENCE)?,
        ..dns::resolver::Limits::default()
    };
    let anonymous = match options.get(&table::DNS_ISOLATE)? {
        Some(anonymous) => anonymous,
        None if options.get(&table::ISOLATE_ANONYMOUS)? => Anonymous::Apart,
        None => Anonymous::default(),
    };
    Ok(DnsSettings {
        listen: options.get(&table::DNS_LISTEN)?,
        engine,
        limits,
        anonymous,
        echo_id: options.get(&table::DNS_ECHO_ID)?,
        keys: options.get(&table::DNSSEC)?,
    })
}

fn tor_settings(options: &Effective) -> Result<TorSettings> {
    let mut plugins = options.get(&table::PLUGIN)?;
    let without_id = options.get(&table::PLUGIN_WITHOUT_ID)?;
    plugins.extend(without_id.into_iter().map(|plugin| SuffixPlugin {
        takes_id: false,
        ..plugin
    }));
    Ok(TorSettings {
        control: match options.get(&table::TOR_CONTROL_FILE)? {
            Some(file) => Some(ControlPlace::File(file)),
            None => options.get(&table::TOR_CONTROL)?.map(ControlPlace::At),
        },
        login: tor::auth::ControlLogin {
            cookie: options.get(&table::CONTROL_COOKIE)?,
            password: options.get(&table::CONTROL_PASSWORD)?.map(Into::into),
            proves_only: false,
        },
        plugins,
    })
}
