//! Every option, declared once.
//!
//! From a declaration come the argument of the command line, the environment variable, the key of the configuration
//! file, help, manual, completions, the example file, and what is said of a wrong value. Its effect is in `config`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::Name;
use isonym::chain::sync::Verification;
use isonym::chain::{Anchor, Network};
use isonym::dns;
use isonym::dns::resolver::Anonymous;
use isonym::dns::zones::Zones;
use isonym::isolation::IsolationId;
use isonym::jsonrpc::client::Dialect;
use isonym::jsonrpc::cookie::CookieReaders;
use isonym::name::Encoding;
use isonym::name::lookup::{LookupSettings, MAX_QUORUM};
use isonym::naming;
use isonym::net::{PeerAddr, ServerAddr, pool, servers};
use isonym::node::NamesMode;
use isonym::rpc;
use isonym::service::DaemonSettings;
use isonym::socks::identity::IsolationFlags;
use isonym::tor::driver::ControlAddr;
use isonym::tor::suffixes::SuffixPlugin;

use super::declare::CommandName::{
    AnchorCheck, AnchorExport, Daemon, Dns, Dump, NameHistory, NameScan, NameShow, Prop279, Resolve, Rpc, Servers,
    Socks, Status, Sync, TlsPin, TlsVerify, Tor,
};
use super::declare::{CommandName, Declared, Many, Opt, Optional, Required, Section};
use super::item::{
    CallersApart, Discover, LocalUser, LogLevel, Mailbox, PoolPace, ProxyChoice, RpcPort, RpcUrl, Suffix, UserName,
    own_folder,
};

/// Commands that read settings: all but those that need none at all.
const ALL: &[CommandName] = &CommandName::ALL;

/// Commands that open the node in the data folder.
const NODE: &[CommandName] = &[
    NameShow,
    NameHistory,
    Sync,
    Status,
    AnchorExport,
    AnchorCheck,
    Daemon,
    Resolve,
    TlsVerify,
    TlsPin,
    Servers,
];

/// Commands that fetch headers.
const SYNC: &[CommandName] = &[NameShow, NameHistory, Sync, Daemon, Resolve, TlsVerify, TlsPin];

/// Commands that call a `name_show` which the user may name.
const BACKEND: &[CommandName] = &[Dns, Tor, Prop279, Socks, Resolve, TlsVerify, TlsPin];

/// Commands that log in at a daemon, or are one.
const LOGIN: &[CommandName] = &[
    NameShow,
    NameHistory,
    Daemon,
    Rpc,
    Dns,
    Tor,
    Prop279,
    Socks,
    Resolve,
    TlsVerify,
    TlsPin,
    Servers,
    NameScan,
    Dump,
];

/// Commands that look names up for streams.
const STREAMS: &[CommandName] = &[Daemon, Tor, Prop279, Socks];

/// Commands that stay up, and hear from others what to do.
const SERVERS: &[CommandName] = &[Daemon, Dns, Tor, Prop279, Socks];

/// Commands that connect through the proxy: those with a node, and the SOCKS front, which looks for Tor there.
const PROXIED: &[CommandName] = &[
    NameShow,
    NameHistory,
    Sync,
    Status,
    AnchorExport,
    AnchorCheck,
    Daemon,
    Resolve,
    TlsVerify,
    TlsPin,
    Socks,
];

macro_rules! options {
    ($($name:ident: $arity:ty = $declaration:expr;)*) => {
        $(pub(crate) static $name: Opt<$arity> = $declaration;)*

        /// Every option, in the order in which they are shown.
        pub(crate) static OPTIONS: &[&dyn Declared] = &[$(&$name),*];
    };
}

options! {
    NETWORK: Required<Network> = Opt::new("network", "NETWORK", "Network: mainnet, testnet or regtest", |_| {
        Network::default()
    })
    .used_by(ALL)
    .section(Section::Every);

    DATADIR: Optional<PathBuf> = Opt::new("datadir", "DIR", "Folder for headers and known servers", |_| {
        own_folder(dirs::data_dir())
    })
    .default_words("isonym in the user's folder for data")
    .used_by(ALL)
    .section(Section::Every);

    CONFIG: Optional<PathBuf> = Opt::new("config", "FILE", "Configuration file in TOML", |_| {
        own_folder(dirs::config_dir()).map(|folder| folder.join("isonym.toml"))
    })
    .default_words("isonym/isonym.toml in the user's folder for configuration")
    .more("`isonym config example` prints one that has every option.")
    .not_in_file()
    .used_by(ALL)
    .section(Section::Every);

    LOG_LEVEL: Required<LogLevel> = Opt::new(
        "log-level",
        "LEVEL",
        "What is logged: error, warn, info or debug",
        |_| LogLevel::Warn,
    )
    .more("-q, -v and -vv say so as well, and win. No level has names, values or isolation IDs in it.")
    .used_by(ALL)
    .section(Section::Every);

    ANCHOR: Optional<Anchor> = Opt::new(
        "anchor",
        "BLOCK",
        "Block to trust, in place of the shipped one",
        |basis| Anchor::shipped(basis.network).ok(),
    )
    .default_words("the shipped one")
    .more("HEIGHT:HASH or HEIGHT:HASH:WORK, where WORK is its total chain work in hexadecimal.")
    .used_by(NODE)
    .section(Section::Every);

    SERVER: Many<ServerAddr> = Opt::new(
        "server",
        "HOST:PORT[:t|:s]",
        "Electrum server to use, in place of those shipped",
        |basis| servers::servers(basis.network),
    )
    .default_words("the shipped list")
    .more("HOST:PORT:t for plain TCP, HOST:PORT:s for TLS, which is the default.")
    .used_by(NODE)
    .section(Section::Every);

    DISCOVER: Required<Discover> = Opt::new(
        "discover",
        "on|off",
        "Learn of other servers from those shipped",
        |_| Discover::On,
    )
    .more("It is off where --server is given. What one operator alone names is never dialed; see `isonym servers`.")
    .used_by(NODE)
    .section(Section::Every);

    PROXY: Required<ProxyChoice> = Opt::new(
        "proxy",
        ProxyChoice::SHORT_FORM,
        "SOCKS5 proxy, which should be Tor",
        |_| ProxyChoice::default(),
    )
    .default_words(ProxyChoice::DEFAULT)
    .more(
        "A proxy is socks5://HOST:PORT. Where isonym was built with a Tor of its own: embedded is that one; auto is a Tor at \
         127.0.0.1, port 9050 or 9150, if one answers there at the start, else the embedded one.",
    )
    .used_by(PROXIED)
    .section(Section::Every);

    TOR_CONFIG: Optional<PathBuf> = Opt::new("tor-config", "FILE", "Settings of the embedded Tor, in TOML", |_| None)
        .default_words("none")
        .more("They are Arti's own, such as bridges and rules for paths; where it keeps its files is decided here.")
        .used_by(PROXIED)
        .section(Section::Every);

    DIRECT: Required<bool> = Opt::new(
        "direct",
        "BOOL",
        "Use no proxy: servers learn your address and link lookups",
        |_| false,
    )
    .more("All your lookups can be linked with each other then.")
    .used_by(PROXIED)
    .section(Section::Every);

    VERIFICATION: Required<Verification> = Opt::new(
        "verification",
        "HOW",
        "How headers are verified: sampled or full",
        |_| Verification::default(),
    )
    .more("It is about headers that are missing in great number: of those a secret random sample is verified, or each.")
    .used_by(SYNC)
    .section(Section::Every);

    SYNC_CONNECTIONS: Required<usize> = Opt::new(
        "sync-connections",
        "NUMBER",
        "Connections that header sync may have at once",
        |_| DaemonSettings::default().sync.connections,
    )
    .more("One that soon will have cost its server enough has its successor opened beside it.")
    .between(1, 16)
    .used_by(SYNC)
    .section(Section::Every);

    NAMES: Required<NamesMode> = Opt::new(
        "names",
        "WHERE",
        "Where names are looked up: servers, local-or-servers or local",
        |_| NamesMode::default(),
    )
    .more(
        "local keeps all living names in the data folder, and asks nobody: some 300 MB are fetched from Namecoin's peers \
         before the first answer. With local-or-servers, servers are asked until these are here.",
    )
    .used_by(SYNC)
    .section(Section::Every);

    PEER: Many<PeerAddr> = Opt::new("peer", "HOST[:PORT]", "Namecoin peer to fetch blocks from first", |_| Vec::new())
        .default_words("the network's seeds")
        .more("It is for names that are kept locally. Others are learned of from it, and from the network's seeds.")
        .used_by(SYNC)
        .section(Section::Every);

    NAMES_RATE: Optional<u64> = Opt::new(
        "names-rate",
        "BYTES",
        "Most bytes a second that blocks are fetched with",
        |_| None,
    )
    .default_words("no limit")
    .between(1_000, 1_000_000_000)
    .used_by(SYNC)
    .section(Section::Every);

    NAME_ENCODING: Required<Encoding> = Opt::new(
        "name-encoding",
        "ENCODING",
        "How names are written: ascii, utf8 or hex",
        |_| Encoding::default(),
    )
    .more("For the daemon: where a call does not say it.")
    .used_by(&[NameShow, NameHistory, NameScan, Dump, Daemon]);

    VALUE_ENCODING: Required<Encoding> = Opt::new(
        "value-encoding",
        "ENCODING",
        "How values are written: ascii, utf8 or hex",
        |_| Encoding::default(),
    )
    .more("For the daemon: where a call does not say it.")
    .used_by(&[NameShow, NameHistory, NameScan, Dump, Daemon]);

    ISOLATION_ID: Optional<IsolationId> = Opt::new(
        "isolation-id",
        "ID",
        "Who asks: lookups with equal IDs may be linked",
        |_| None,
    )
    .default_words("the one that all share who give none")
    .secret()
    .used_by(&[NameShow, NameHistory, Resolve, TlsVerify, TlsPin]);

    QUORUM: Required<u8> = Opt::new("quorum", "NUMBER", "How many servers must answer", |_| {
        LookupSettings::default().quorum
    })
    .more("Each is asked over its own circuit, so that one alone can't hide an update; the newest proved value wins.")
    .between(1, MAX_QUORUM as u64)
    .used_by(&[NameShow, Resolve, TlsVerify, TlsPin, Daemon]);

    MAX_AGE: Optional<Duration> = Opt::new(
        "max-age",
        "SECONDS",
        "Ask anew for what a daemon asked for more seconds ago; 0: always",
        |_| None,
    )
    .between(0, 365 * 24 * 60 * 60)
    .used_by(&[NameShow]);

    RPC_LISTEN: Required<RpcPort> = Opt::new(
        "rpc-listen",
        "ADDR:PORT",
        "Where the daemon listens for JSON-RPC, or none",
        |basis| {
            let port = rpc::default_port(basis.network);
            RpcPort(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        },
    )
    .default_words("127.0.0.1 at Namecoin Core's port")
    .more(
        "With none it can be called by the socket in the data folder alone, by its own user and root. `isonym rpc` calls the \
         daemon by that socket, or wherever that listens, unless this is given.",
    )
    .used_by(&[Daemon, Rpc]);

    USER: Optional<LocalUser> = Opt::new(
        "user",
        "NAME",
        "Become this user once the ports are open",
        |_| None,
    )
    .default_words("whoever starts it")
    .more(
        "For whoever starts it as root. It is that user for good, with that user's groups and without capabilities; the data \
         folder, keys and cookies must be for that user to use.",
    )
    .used_by(&[Daemon, Dns, Tor, Socks]);

    RPC_COOKIE_PERMS: Required<CookieReaders> = Opt::new(
        "rpc-cookie-perms",
        "WHO",
        "Who may read the cookie: owner, group, all",
        |_| CookieReaders::default(),
    )
    .more("The data folder must let them through as well: chmod 710, or 711.")
    .used_by(&[Daemon]);

    RPC_USER: Optional<UserName> = Opt::new(
        "rpc-user",
        "USER",
        "Who may call the daemon, instead of who reads its cookie",
        |_| None,
    )
    .more(
        "It goes with --rpc-password. Without them, who can read the cookie file in the data folder may call. With \
         --rpc-url it is the user name there.",
    )
    .used_by(LOGIN);

    RPC_PASSWORD: Optional<String> = Opt::new(
        "rpc-password",
        "PASSWORD",
        "The password for it; prefer the environment or the file",
        |_| None,
    )
    .more("Other users of the machine may see it on the command line.")
    .secret()
    .used_by(LOGIN);

    RPC_URL: Optional<RpcUrl> = Opt::new(
        "rpc-url",
        "http://HOST:PORT",
        "Ask this server for names, not the daemon of the data folder",
        |_| None,
    )
    .more("Isonym, Namecoin Core or Electrum-NMC.")
    .used_by(BACKEND);

    RPC_COOKIE: Optional<PathBuf> =
        Opt::new("rpc-cookie", "FILE", "The cookie file of that server", |_| None).used_by(BACKEND);

    RPC_STYLE: Required<Dialect> =
        Opt::new("rpc-style", "STYLE", "How it takes name_show: core or electrum", |_| {
            Dialect::default()
        })
        .more("Isonym takes either.")
        .used_by(BACKEND);

    POOL: Required<PoolPace> = Opt::new(
        "pool",
        "NUMBER",
        "Connections opened ahead in an hour, or none",
        |_| PoolPace(pool::MAX_OPENINGS_AN_HOUR),
    )
    .more(
        "So many on average. They make first lookups faster, and are opened at random moments, which nothing that is looked up has a part in; \
         with none, servers can't even see that somebody opens connections ahead.",
    )
    .used_by(&[Daemon]);

    ISOLATION_TTL: Required<Duration> = Opt::new(
        "isolation-ttl",
        "SECONDS",
        "Seconds until an unused isolation ID is forgotten",
        |_| pool::PoolSettings::default().id_ttl,
    )
    .between(1, 365 * 24 * 60 * 60)
    .used_by(&[Daemon]);

    MAX_IDS: Required<usize> = Opt::new("max-ids", "NUMBER", "Most isolation IDs to keep state for", |_| {
        pool::PoolSettings::default().max_ids
    })
    .more("Their connections and results, that is.")
    .between(1, 100_000)
    .used_by(&[Daemon]);

    METRICS_LISTEN: Optional<SocketAddr> = Opt::new(
        "metrics-listen",
        "ADDR:PORT",
        "Where the daemon tells Prometheus how it stands",
        |_| None,
    )
    .default_words("nowhere")
    .more("There are /metrics, and /ready for health checks: 200 or 503. No password is asked for.")
    .used_by(&[Daemon]);

    WEB_LISTEN: Optional<SocketAddr> = Opt::new(
        "web-listen",
        "ADDR:PORT",
        "Where the daemon shows names and proofs to browsers",
        |_| None,
    )
    .default_words("nowhere")
    .more("The address to open, which has a token, is printed at the start and stands in .web-address in the data folder.")
    .used_by(&[Daemon]);

    NO_SANDBOX: Required<bool> = Opt::new(
        "no-sandbox",
        "BOOL",
        "Keep the right to read all files and to connect anywhere",
        |_| false,
    )
    .more(
        "Else it gives up, before it hears from anybody, all files but its own, and all ports but those of proxy, Tor and server, \
         as far as the kernel has Landlock; with plugins it does not.",
    )
    .used_by(SERVERS);

    CACHE_POSITIVE: Required<Duration> = Opt::new(
        "cache-positive",
        "SECONDS",
        "Seconds for which a value is remembered; 0: not",
        |_| DaemonSettings::default().cache.positive,
    )
    .more("At most, and for its caller alone. A new block changes its age, and does not end it.")
    .used_by(&[Daemon]);

    CACHE_NEGATIVE: Required<Duration> = Opt::new(
        "cache-negative",
        "SECONDS",
        "Seconds for which absence is remembered; 0: not",
        |_| DaemonSettings::default().cache.negative,
    )
    .more("For its caller alone.")
    .used_by(&[Daemon]);

    ISOLATE_ANONYMOUS: Required<bool> = Opt::new(
        "isolate-anonymous",
        "BOOL",
        "Make each request without an isolation ID its own identity",
        |_| DaemonSettings::default().isolate_anonymous,
    )
    .more("Otherwise they are all of one. DNS queries have --dns-isolate beside it.")
    .used_by(&[Daemon, Dns]);

    NAME_PATIENCE: Required<Duration> = Opt::new(
        "name-patience",
        "SECONDS",
        "Seconds for which a stream's name is looked up",
        |_| naming::name_resolver::PATIENCE,
    )
    .more("Again and again where that can help.")
    .between(1, 300)
    .used_by(STREAMS);

    DNS_LISTEN: Many<SocketAddr> = Opt::new("dns-listen", "ADDR:PORT", "Where to listen for DNS", |basis| {
        match basis.command {
            // No port that needs root.
            Dns => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5300))],
            _ => Vec::new(),
        }
    })
    .more("Over UDP and TCP.")
    .used_by(&[Daemon, Dns])
    .aliases(&[(Daemon, "listen"), (Dns, "listen")])
    .section(Section::Dns);

    DNS_SUFFIX: Many<Suffix> = Opt::new("dns-suffix", "NAME", "Zone to serve names under", |_| {
        let zones = Zones::default();
        let apexes = zones.apexes().iter().map(Name::to_ascii);
        apexes
            .map(|apex| Suffix(apex.trim_end_matches('.').to_owned()))
            .collect()
    })
    .checked(|suffixes: &Vec<Suffix>| {
        let suffixes = suffixes.iter().map(|suffix| suffix.0.as_str());
        Zones::new(suffixes, false).map(drop).map_err(|error| error.to_string())
    })
    .used_by(&[Daemon, Dns, Dump, Resolve, TlsVerify, TlsPin])
    .aliases(&[(Daemon, "suffix"), (Dns, "suffix")])
    .section(Section::Dns);

    DNS_ANY_SUFFIX: Required<bool> = Opt::new(
        "dns-any-suffix",
        "BOOL",
        "Take the rightmost label bit of any name for the zone",
        |_| false,
    )
    .more("Whatever follows it, as ncdns does.")
    .used_by(&[Daemon, Dns, Resolve, TlsVerify, TlsPin])
    .section(Section::Dns);

    DNS_NAMESERVER: Many<Name> = Opt::new("dns-nameserver", "NAME", "Name of a nameserver of the zones", |_| {
        dns::engine::Settings::default().nameservers
    })
    .default_words("this.x--nmc below each zone")
    .used_by(&[Daemon, Dns, Dump, Resolve])
    .section(Section::Dns);

    DNS_HOSTMASTER: Optional<Mailbox> = Opt::new(
        "dns-hostmaster",
        "USER@HOST",
        "Mailbox of who answers for the zones",
        |_| None,
    )
    .default_words("none")
    .used_by(&[Daemon, Dns, Dump, Resolve])
    .section(Section::Dns);

    DNS_ADDRESS: Many<std::net::IpAddr> =
        Opt::new("dns-address", "IP", "Address of the zone's own name", |_| {
            dns::engine::Settings::default().vanity
        })
        .used_by(&[Daemon, Dns, Dump, Resolve])
        .section(Section::Dns);

    DNS_SELF_IP: Required<Ipv4Addr> = Opt::new("dns-self-ip", "IPV4", "Address of this.x--nmc", |_| {
        dns::engine::Settings::default().self_ip
    })
    .used_by(&[Daemon, Dns, Dump, Resolve])
    .section(Section::Dns);

    DNS_VERSION: Optional<String> = Opt::new("dns-version", "TEXT", "Answer to version.bind", |_| {
        dns::engine::Settings::default().version
    })
    .default_words("none is given")
    // That of one string of a TXT record.
    .between(1, 255)
    .used_by(&[Daemon, Dns, Resolve])
    .section(Section::Dns);

    DNS_ISOLATE: Optional<Anonymous> = Opt::new(
        "dns-isolate",
        "HOW",
        "How queries without an isolation ID are told apart",
        |_| None,
    )
    .default_words("none; query with --isolate-anonymous")
    .more("none: not at all; address, port: by where they come from; query: each from all others.")
    .used_by(&[Daemon, Dns])
    .section(Section::Dns);

    DNS_PATIENCE: Required<Duration> = Opt::new(
        "dns-patience",
        "SECONDS",
        "Seconds that a query waits for its lookups",
        |_| dns::resolver::Limits::default().patience,
    )
    .more("They go on without it.")
    .between(1, 300)
    .used_by(&[Daemon, Dns])
    .section(Section::Dns);

    DNS_ECHO_ID: Required<bool> = Opt::new(
        "dns-echo-id",
        "BOOL",
        "Give isolation IDs back in answers, as ncdns does",
        |_| dns::server::Limits::default().echo_id,
    )
    .used_by(&[Daemon, Dns])
    .section(Section::Dns);

    DNSSEC: Optional<PathBuf> =
        Opt::new("dnssec", "DIR", "Sign the zones with the keys in this folder", |_| None)
            .more("`isonym dnssec keygen` makes them.")
            .used_by(&[Daemon, Dns])
            .section(Section::Dns);

    TOR_CONTROL: Optional<ControlAddr> = Opt::new(
        "tor-control",
        "ADDR:PORT|PATH",
        "Where Tor's control port is",
        |basis| (basis.command == Tor).then_some(ControlAddr::DEFAULT),
    )
    .more("Or the path of its Unix socket.")
    .used_by(&[Daemon, Tor])
    .aliases(&[(Tor, "control")])
    .section(Section::Tor);

    TOR_CONTROL_FILE: Optional<PathBuf> = Opt::new(
        "tor-control-file",
        "FILE",
        "The file in which Tor says where its control port is",
        |_| None,
    )
    .more("As it writes it by `ControlPortWriteToFile`. It is waited for.")
    .used_by(&[Daemon, Tor])
    .aliases(&[(Tor, "control-file")])
    .section(Section::Tor);

    CONTROL_COOKIE: Optional<PathBuf> =
        Opt::new("control-cookie", "FILE", "The control port's cookie file", |_| None)
            .default_words("the one that Tor names")
            .used_by(&[Daemon, Tor])
            .section(Section::Tor);

    CONTROL_PASSWORD: Optional<String> = Opt::new(
        "control-password",
        "PASSWORD",
        "The control port's password; prefer the environment or file",
        |_| None,
    )
    .more("Other users of the machine may see it on the command line.")
    .secret()
    .used_by(&[Daemon, Tor])
    .section(Section::Tor);

    PLUGIN: Many<SuffixPlugin> = Opt::new(
        "plugin",
        "SUFFIX=COMMAND",
        "A program that resolves names of another suffix",
        |_| Vec::new(),
    )
    .more("It speaks the protocol of Tor's proposal 279. In the environment each stands on a line of its own.")
    .one_a_line()
    .used_by(&[Daemon, Tor])
    .section(Section::Tor);

    PLUGIN_WITHOUT_ID: Many<SuffixPlugin> = Opt::new(
        "plugin-without-id",
        "PLUGIN",
        "The same (SUFFIX=COMMAND), for one that takes no isolation ID",
        |_| Vec::new(),
    )
    .more("As proposal 279 has it, and TorNS's plugins: without isolation IDs, it can link all that is asked.")
    .one_a_line()
    .used_by(&[Daemon, Tor])
    .section(Section::Tor);

    SOCKS_LISTEN: Many<SocketAddr> = Opt::new(
        "socks-listen",
        "ADDR:PORT",
        "Where to listen for applications",
        |basis| {
            match basis.command {
                // Beside Tor's own ports.
                Socks => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9052))],
                _ => Vec::new(),
            }
        },
    )
    .more("They may speak SOCKS4, SOCKS4a, SOCKS5 or HTTP CONNECT.")
    .used_by(&[Daemon, Socks])
    .aliases(&[(Socks, "listen")])
    .section(Section::Socks);

    SOCKS_TOR: Optional<SocketAddr> = Opt::new("socks-tor", "ADDR:PORT", "Tor's SOCKS port", |_| None)
        .default_words("what --proxy says")
        .used_by(&[Daemon, Socks])
        .aliases(&[(Socks, "tor")])
        .section(Section::Socks);

    SOCKS_ISOLATE: Many<CallersApart> = Opt::new("socks-isolate", "WHAT", "What keeps lookups apart", |_| {
        IsolationFlags::default()
            .0
            .into_iter()
            .map(|by| CallersApart(Some(by)))
            .collect()
    })
    .more("auth, address, port, destination or none; several stand with commas between them.")
    .checked(|apart: &Vec<CallersApart>| match apart.as_slice() {
        [_, _, ..] if apart.contains(&CallersApart(None)) => Err("none stands alone".to_owned()),
        _ => Ok(()),
    })
    .used_by(&[Daemon, Socks])
    .aliases(&[(Socks, "isolate")])
    .section(Section::Socks);
}

/// What options have to do with each other. It matters to commands that use all that are named.
pub(crate) enum Relation {
    /// Two groups of which one may be given. That of the higher source wins; of one source neither does.
    Exclusive(&'static [&'static dyn Declared], &'static [&'static dyn Declared]),
    /// Two that are given both or not at all. Where the command line or the environment has one, that in the file
    /// belongs to another pair.
    Together(&'static dyn Declared, &'static dyn Declared),
    /// The first says something of the second.
    Needs(&'static dyn Declared, &'static dyn Declared),
}

pub(crate) static RELATIONS: &[Relation] = &[
    Relation::Exclusive(&[&DIRECT], &[&PROXY]),
    Relation::Exclusive(&[&TOR_CONTROL], &[&TOR_CONTROL_FILE]),
    Relation::Together(&RPC_USER, &RPC_PASSWORD),
    Relation::Exclusive(&[&RPC_COOKIE], &[&RPC_USER, &RPC_PASSWORD]),
    Relation::Needs(&RPC_COOKIE, &RPC_URL),
    Relation::Needs(&RPC_STYLE, &RPC_URL),
    Relation::Needs(&DNSSEC, &DNS_LISTEN),
    Relation::Needs(&PEER, &NAMES),
    Relation::Needs(&NAMES_RATE, &NAMES),
];
