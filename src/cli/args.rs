//! Arguments and help texts.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Wishes;

const EXAMPLES: &str = "\
Examples:
  isonym playground --once        See it all work in a simulated world, offline
  isonym name_show d/bitcoin      Look a name up on mainnet, through Tor
  isonym sync && isonym status    Fetch headers and say how things stand
  isonym daemon                   Stay up and answer over JSON-RPC
  isonym --network regtest --direct --server 127.0.0.1:50001:t name_show d/x

Exit status: 0 when the answer was found; 2 when the name has no value (it
never existed, expired, is about to expire, or is not confirmed yet); 1 for
everything else.

Every option can be given in the environment as ISONYM_OPTION and in the
configuration file under the same name. The command line wins over the
environment, and that over the file.";

/// A Namecoin light client: proves what names are worth, and keeps who asks apart.
#[derive(Debug, Parser)]
#[command(name = "isonym", version, about, long_about = None, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Options {
    /// Namecoin network: mainnet, testnet or regtest [default: mainnet]
    #[arg(long, global = true, env = "ISONYM_NETWORK", value_name = "NETWORK", value_parser = ["mainnet", "testnet", "regtest"], hide_possible_values = true)]
    network: Option<String>,
    /// Folder for headers and known servers [default: isonym in the user's folder for data]
    #[arg(long, global = true, env = "ISONYM_DATADIR", value_name = "DIR")]
    datadir: Option<PathBuf>,
    /// Configuration file in TOML [default: isonym/isonym.toml in the user's folder for configuration]
    #[arg(long, global = true, env = "ISONYM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Block to trust, in place of the one shipped for the network; WORK is its total chain work in hex
    #[arg(long, global = true, env = "ISONYM_ANCHOR", value_name = "HEIGHT:HASH[:WORK]")]
    anchor: Option<String>,
    /// Electrum server: t for plain TCP, s for TLS, which is the default. May be given several times [default: the
    /// shipped list]
    #[arg(
        long,
        global = true,
        env = "ISONYM_SERVER",
        value_name = "HOST:PORT[:t|:s]",
        value_delimiter = ','
    )]
    server: Vec<String>,
    #[arg(
        long,
        global = true,
        env = "ISONYM_PROXY",
        value_name = "socks5://HOST:PORT",
        help = "SOCKS5 proxy, which should be Tor [default: socks5://127.0.0.1:9050, then 9150]"
    )]
    proxy: Option<String>,
    /// Use no proxy: servers learn your address, and all your lookups can be linked
    #[arg(long, global = true, env = "ISONYM_DIRECT", value_parser = BoolishValueParser::new())]
    direct: bool,
    /// How headers are verified that are missing in great number: a secret random sample of them, or each [default: sampled]
    #[arg(long, global = true, env = "ISONYM_VERIFICATION", value_name = "sampled|full", value_parser = ["sampled", "full"], hide_possible_values = true)]
    verification: Option<String>,

    /// Connections that header sync may have at once, 1 to 16 [default: 4]
    #[arg(long, global = true, env = "ISONYM_SYNC_CONNECTIONS", value_name = "NUMBER")]
    sync_connections: Option<usize>,

    /// Whether the user said so, or the contrary: the environment can.
    #[arg(skip)]
    direct_is_said: bool,
    /// Say more on standard error; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a name's value, proved, as JSON
    #[command(
        name = "name_show",
        visible_alias = "name-show",
        after_help = "\
Examples:
  isonym name_show d/example
  isonym name_show 642f6578616d706c65 --name-encoding hex --value-encoding utf8
  isonym name_show d/example --quorum 2        Ask two servers, so that one alone can't hide an update

Where a daemon holds the data folder, that is asked; without one this brings the headers up to date first."
    )]
    NameShow(NameShowArgs),
    /// Show all operations of a name, oldest first, as JSON
    #[command(name = "name_history", visible_alias = "name-history")]
    NameHistory(NameArgs),
    /// Bring the headers up to the tip, then exit
    Sync,
    /// Say how things stand: anchor, tip, servers with their last result
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a trust anchor from the own chain, or compare one with what servers have
    #[command(subcommand)]
    Anchor(AnchorCommand),
    /// Stay up: keep headers and connections ready, answer name lookups over JSON-RPC
    #[command(after_help = "\
Examples:
  isonym daemon                                Cookie in the data folder, port 8336 on 127.0.0.1
  isonym daemon --rpc-user u --rpc-password p --pool-clean 12
  curl --user u:p --data '{\"method\":\"name_show\",\"params\":[\"d/example\"]}' http://127.0.0.1:8336/

It ends on SIGTERM, SIGINT and the RPC method stop.")]
    Daemon(Box<DaemonArgs>),
    /// Call a running daemon, as namecoin-cli does; ARGS are JSON where they parse as JSON, else text
    #[command(after_help = "\
Examples:
  isonym rpc getblockcount
  isonym rpc name_show d/example '{\"streamID\":\"me\",\"valueEncoding\":\"hex\"}'")]
    Rpc(RpcArgs),
    /// Make the keys that .bit answers are signed with over DNS, or print what a validator is to know of them
    #[command(subcommand)]
    Dnssec(DnssecCommand),
    /// Serve .bit over DNS, with values from the running daemon or from any `name_show` over JSON-RPC
    #[command(after_help = "\
Examples:
  isonym dns --listen 127.0.0.1:5300                    Ask the daemon of the data folder
  isonym dns --listen 127.0.0.1:5300 --rpc-url http://127.0.0.1:8336 --rpc-cookie ~/.namecoin/.cookie
  dig @127.0.0.1 -p 5300 example.bit
  dig @127.0.0.1 -p 5300 +ednsopt=65312:6d65 example.bit    Under the isolation ID \"me\"

To have it in one process with the light client: isonym daemon --dns-listen 127.0.0.1:5300")]
    Dns(DnsCommandArgs),
    /// Resolve .bit for a Tor: find what names stand for while their streams wait, and send the streams there
    #[command(
        mut_arg("tor_control", |arg| arg.visible_alias("control")),
        after_help = "\
Examples:
  isonym tor                                   Tor at 127.0.0.1:9051, values from the daemon of the data folder
  isonym tor --control /run/tor/control --control-cookie /run/tor/control.authcookie
  isonym tor --control 127.0.0.1:9151 --control-password PASSWORD
  isonym tor --plugin 'i2p=/usr/bin/i2p-names --strict'
  curl --socks5-hostname me:x@127.0.0.1:9050 http://example.bit/

Tor needs the line `__LeaveStreamsUnattached 1` in torrc. From then on it connects to nothing while this does not run:
that is what keeps .bit names from exits. To have it in one process with the light client: isonym daemon --tor-control
127.0.0.1:9051"
    )]
    Tor(TorCommandArgs),
    /// Resolve .bit for whoever speaks the protocol of Tor's proposal 279 on standard input and output
    #[command(after_help = "\
Examples:
  isonym prop279                               Values from the daemon of the data folder
  isonym prop279 --rpc-url http://127.0.0.1:8336 --rpc-cookie ~/.namecoin/.cookie
  echo 'RESOLVE 1 example.bit me' | isonym prop279

RESOLVE takes an isolation ID as its third argument, as StemNS gives it. The environment variables TOR_NS_PROTO_VERSION and
TOR_NS_PLUGIN_OPTIONS (onlyonion=1) are heeded. It ends on SIGTERM, and when standard input has ended and all is answered.")]
    Prop279(Prop279Args),
    /// Take the place of Tor's SOCKS port for applications, and know .bit names
    #[command(
        mut_arg("socks_listen", |arg| arg.visible_alias("listen")),
        mut_arg("socks_tor", |arg| arg.visible_alias("tor")),
        mut_arg("socks_isolate", |arg| arg.visible_alias("isolate")),
        after_help = "\
Examples:
  isonym socks                                 On 127.0.0.1:9052, before Tor on 127.0.0.1:9050 or 9150
  isonym socks --listen 127.0.0.1:9052 --tor 127.0.0.1:9050 --rpc-url http://127.0.0.1:8336
  curl --socks5-hostname user:password@127.0.0.1:9052 http://example.bit/
  curl --proxytunnel --proxy http://127.0.0.1:9052 http://example.bit/

It takes SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT. Streams reach Tor with the user name and password that applications
give, so that Tor keeps them apart; lookups are kept apart by the same. Clients on other machines look to Tor like
this one: they are given names of their own there. On SIGUSR1 all callers are taken for new ones.

Where Tor's control port can be used, the naming controller does the same for all applications at once."
    )]
    Socks(SocksCommandArgs),
    /// Print the DNS records of a .bit name
    #[command(after_help = "\
Examples:
  isonym resolve example.bit                   All records of the name and of those below it
  isonym resolve www.example.bit AAAA
  isonym resolve example.bit --explain         And what of its value gives none, and why
  isonym resolve example.bit --json --isolation-id me

Values come from --rpc-url if that is given, else from the daemon that holds the data folder; without one this brings
the headers up to date first. It exits with 2 when there is no such record.")]
    Resolve(ResolveArgs),
    #[cfg(feature = "playground")]
    /// Try everything in a simulated world: a chain with names, three Electrum servers, a recording SOCKS5 proxy
    Playground {
        /// Exit when done instead of staying up for your own tries
        #[arg(long)]
        once: bool,
        /// Seed of the simulated world
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        seed: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnchorCommand {
    /// Print a block of the own chain as an anchor file, if every header up to the tip was verified in full
    #[command(after_help = "\
Examples:
  isonym sync --datadir DIR --verification full && isonym anchor export --datadir DIR > headers/mainnet.toml")]
    Export {
        /// How many blocks below the tip: deep enough that no reorganisation will reach it
        #[arg(long, value_name = "BLOCKS", default_value_t = 4032)]
        depth: u32,
    },
    /// Ask all servers for the block at an anchor's height; exit 0 if two have it (or the only one) and none has another
    #[command(after_help = "\
Examples:
  isonym anchor check                          The anchor that is in use
  isonym anchor check headers/mainnet.toml
  isonym anchor check 815000:46c38b14b25fef782cc454cac284b720f58ad414d2c323a980ede420da6affcf")]
    Check {
        /// The anchor, or the file that has it [default: the one in use]
        #[arg(value_name = "HEIGHT:HASH[:WORK]|FILE")]
        candidate: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DnssecCommand {
    /// Make a key-signing and a zone-signing key, in files as BIND's dnssec-keygen writes them; nothing is overwritten
    #[command(after_help = "\
Examples:
  isonym dnssec keygen ~/bit-keys              Kbit.+013+TAG.key and .private, two of each
  isonym dnssec keygen --algorithm ed25519 DIR
  isonym dnssec keygen --zone bit.example.org DIR

It prints the names of the files. The private ones are readable by you alone.")]
    Keygen {
        /// The zone that the keys are for
        #[arg(long, value_name = "ZONE", default_value = "bit")]
        zone: String,
        /// ecdsap256sha256 (13), which every validator has, or ed25519 (15), which needs no randomness to sign
        #[arg(long, value_name = "ALGORITHM", value_parser = ["ecdsap256sha256", "ed25519"], ignore_case = true, hide_possible_values = true, default_value = "ecdsap256sha256")]
        algorithm: String,
        /// The folder; it is made if missing
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the DS record of a zone's key-signing key, and how unbound, BIND and delv take it as a trust anchor
    #[command(after_help = "\
Examples:
  isonym dnssec ds ~/bit-keys
  isonym dnssec ds --zone bit.example.org DIR  For the parent zone of bit.example.org

The first line is a record for a zone file; the others are comments.")]
    Ds {
        /// The zone that the keys are for
        #[arg(long, value_name = "ZONE", default_value = "bit")]
        zone: String,
        /// The folder with the keys, of isonym dnssec keygen or BIND's dnssec-keygen
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The name, such as d/example
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How NAME is written, here and in the answer: ascii, utf8 or hex [default: ascii]
    #[arg(long, env = "ISONYM_NAME_ENCODING", value_name = "ENCODING")]
    name_encoding: Option<String>,
    /// How the value is to be written: ascii, utf8 or hex [default: ascii]
    #[arg(long, env = "ISONYM_VALUE_ENCODING", value_name = "ENCODING")]
    value_encoding: Option<String>,
    /// Who asks: lookups with equal IDs may be linked with each other
    #[arg(
        long,
        env = "ISONYM_ISOLATION_ID",
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) isolation_id: String,
    #[command(flatten)]
    login: RpcLogin,
}

#[derive(Debug, Args)]
pub(crate) struct NameShowArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,

    /// How many servers must answer, each over its own circuit; the newest proved value wins [default: 1]
    #[arg(long, env = "ISONYM_QUORUM", value_name = "NUMBER")]
    pub(crate) quorum: Option<u8>,
}

/// Who may call a daemon.
#[derive(Debug, Args)]
pub(crate) struct RpcLogin {
    /// Who may call the daemon, with --rpc-password, instead of who can read the cookie file in the data folder
    #[arg(long, env = "ISONYM_RPC_USER", value_name = "USER", requires = "rpc_password")]
    rpc_user: Option<String>,
    /// The password; other users of the machine may see it on the command line, so prefer the environment or the file
    #[arg(
        long,
        env = "ISONYM_RPC_PASSWORD",
        value_name = "PASSWORD",
        requires = "rpc_user",
        hide_env_values = true
    )]
    rpc_password: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Where to listen for JSON-RPC [default: 127.0.0.1 at Namecoin Core's port]
    #[arg(long, env = "ISONYM_RPC_LISTEN", value_name = "ADDR:PORT")]
    rpc_listen: Option<SocketAddr>,
    #[command(flatten)]
    login: RpcLogin,
    /// Connections to keep ready for lookups [default: 6]
    #[arg(long, env = "ISONYM_POOL_CLEAN", value_name = "NUMBER")]
    pool_clean: Option<usize>,
    /// How many servers must answer a lookup; the newest proved value wins [default: 1]
    #[arg(long, env = "ISONYM_QUORUM", value_name = "NUMBER")]
    quorum: Option<u8>,
    /// Seconds without a lookup after which an isolation ID is forgotten [default: 600]
    #[arg(long, env = "ISONYM_ISOLATION_TTL", value_name = "SECONDS")]
    isolation_ttl: Option<u64>,
    /// Most isolation IDs to keep connections and results for [default: 256]
    #[arg(long, env = "ISONYM_MAX_IDS", value_name = "NUMBER")]
    max_ids: Option<usize>,
    /// Seconds for which a value is remembered for its caller, at most until the next block; 0: not [default: 600]
    #[arg(long, env = "ISONYM_CACHE_POSITIVE", value_name = "SECONDS")]
    cache_positive: Option<u64>,
    /// Seconds for which absence is remembered for its caller; 0: not [default: 60]
    #[arg(long, env = "ISONYM_CACHE_NEGATIVE", value_name = "SECONDS")]
    cache_negative: Option<u64>,
    /// Make each request without an isolation ID an identity of its own, instead of one for all of them
    #[arg(long, env = "ISONYM_ISOLATE_ANONYMOUS", value_parser = BoolishValueParser::new())]
    isolate_anonymous: bool,
    #[command(flatten)]
    naming: NamingArgs,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    tor: TorArgs,
    #[command(flatten)]
    socks: SocksArgs,
}

/// A `name_show` to ask.
#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    /// Ask this server for names, in place of the daemon of the data folder: Isonym, Namecoin Core or Electrum-NMC
    #[arg(long, env = "ISONYM_RPC_URL", value_name = "http://HOST:PORT")]
    rpc_url: Option<String>,
    /// The cookie file of that server
    #[arg(long, env = "ISONYM_RPC_COOKIE", value_name = "FILE")]
    rpc_cookie: Option<PathBuf>,
    /// How that server wants `name_show` written: core or electrum [default: core, which Isonym takes too]
    #[arg(long, env = "ISONYM_RPC_STYLE", value_name = "STYLE", value_parser = ["core", "electrum"], hide_possible_values = true)]
    rpc_style: Option<String>,
    #[command(flatten)]
    login: RpcLogin,
}

/// How DNS is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "DNS options")]
pub(crate) struct DnsArgs {
    /// Where to listen for DNS, over UDP and TCP. May be given several times
    #[arg(
        long,
        visible_alias = "listen",
        env = "ISONYM_DNS_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    dns_listen: Vec<SocketAddr>,
    /// Zone to serve names under; may be given several times [default: bit]
    #[arg(
        long,
        visible_alias = "suffix",
        env = "ISONYM_DNS_SUFFIX",
        value_name = "NAME",
        value_delimiter = ','
    )]
    dns_suffix: Vec<String>,
    /// Take the rightmost label bit of any name for the zone, whatever follows it, as ncdns does
    #[arg(long, env = "ISONYM_DNS_ANY_SUFFIX", value_parser = BoolishValueParser::new())]
    dns_any_suffix: bool,
    /// Name of a nameserver of the zones; may be given several times [default: this.x--nmc below each zone]
    #[arg(long, env = "ISONYM_DNS_NAMESERVER", value_name = "NAME", value_delimiter = ',')]
    dns_nameserver: Vec<String>,
    /// Mailbox of who answers for the zones
    #[arg(long, env = "ISONYM_DNS_HOSTMASTER", value_name = "USER@HOST")]
    dns_hostmaster: Option<String>,
    /// Address of the zone's own name; may be given several times
    #[arg(long, env = "ISONYM_DNS_ADDRESS", value_name = "IP", value_delimiter = ',')]
    dns_address: Vec<IpAddr>,
    /// Address of this.x--nmc [default: 127.127.127.127]
    #[arg(long, env = "ISONYM_DNS_SELF_IP", value_name = "IPV4")]
    dns_self_ip: Option<Ipv4Addr>,
    /// Answer to version.bind [default: none is given]
    #[arg(long, env = "ISONYM_DNS_VERSION", value_name = "TEXT")]
    dns_version: Option<String>,
    /// How queries without an isolation ID are told apart: none, by address, by port, or each query [default: none]
    #[arg(long, env = "ISONYM_DNS_ISOLATE", value_name = "none|address|port|query", value_parser = ["none", "address", "port", "query"], hide_possible_values = true)]
    dns_isolate: Option<String>,
    /// Seconds that a query waits for lookups, which go on without it [default: 15]
    #[arg(long, env = "ISONYM_DNS_PATIENCE", value_name = "SECONDS")]
    dns_patience: Option<u64>,
    /// Give isolation IDs back in answers, as ncdns does
    #[arg(long, env = "ISONYM_DNS_ECHO_ID", value_parser = BoolishValueParser::new())]
    dns_echo_id: bool,
    /// Sign the zones with the keys in this folder, which `isonym dnssec keygen` makes
    #[arg(long, env = "ISONYM_DNSSEC", value_name = "DIR")]
    dnssec: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DnsCommandArgs {
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

/// How long names are looked up.
#[derive(Debug, Args)]
pub(crate) struct NamingArgs {
    /// Seconds for which a name is looked up for a stream, again and again where that can help [default: 60]
    #[arg(long, env = "ISONYM_NAME_PATIENCE", value_name = "SECONDS")]
    name_patience: Option<u64>,
}

/// How a Tor is taken care of.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tor options")]
pub(crate) struct TorArgs {
    /// Where Tor's control port is, or the path of its Unix socket
    #[arg(long, env = "ISONYM_TOR_CONTROL", value_name = "ADDR:PORT|PATH")]
    tor_control: Option<String>,
    /// The control port's cookie file [default: the one that Tor names]
    #[arg(long, env = "ISONYM_CONTROL_COOKIE", value_name = "FILE")]
    control_cookie: Option<PathBuf>,
    /// The control port's password; other users of the machine may see it on the command line, so prefer the environment or
    /// the file
    #[arg(
        long,
        env = "ISONYM_CONTROL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    control_password: Option<String>,
    /// A program that resolves names of another suffix by the protocol of proposal 279; may be given several times
    #[arg(long, env = "ISONYM_PLUGIN", value_name = "SUFFIX=COMMAND")]
    plugin: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TorCommandArgs {
    #[command(flatten)]
    tor: TorArgs,
    #[command(flatten)]
    naming: NamingArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Prop279Args {
    /// Answer with onion services alone, whatever else names have
    #[arg(long)]
    pub(crate) onion_only: bool,
    #[command(flatten)]
    naming: NamingArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

/// How applications are served that speak SOCKS.
#[derive(Debug, Args)]
#[command(next_help_heading = "SOCKS options")]
#[expect(clippy::struct_field_names, reason = "they are called as the options are")]
pub(crate) struct SocksArgs {
    /// Where to listen for SOCKS4, 4a and 5 and HTTP CONNECT. May be given several times
    #[arg(long, env = "ISONYM_SOCKS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    socks_listen: Vec<SocketAddr>,
    /// Tor's SOCKS port [default: what --proxy says]
    #[arg(long, env = "ISONYM_SOCKS_TOR", value_name = "ADDR:PORT")]
    socks_tor: Option<SocketAddr>,
    /// What keeps lookups apart: auth, address, port, destination, or none; several with commas [default: auth,address]
    #[arg(long, env = "ISONYM_SOCKS_ISOLATE", value_name = "WHAT", value_parser = ["auth", "address", "port", "destination", "none"], hide_possible_values = true, value_delimiter = ',')]
    socks_isolate: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SocksCommandArgs {
    #[command(flatten)]
    socks: SocksArgs,
    #[command(flatten)]
    naming: NamingArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The name, such as example.bit
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The type, such as A, or TYPE65 [default: all, of the names below as well]
    #[arg(value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Who asks: lookups with equal IDs may be linked with each other
    #[arg(
        long,
        env = "ISONYM_ISOLATION_ID",
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) isolation_id: String,
    /// Say what of the value gives no records, and why
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RpcArgs {
    /// Where the daemon listens [default: where that of the data folder does, else 127.0.0.1 at Namecoin Core's port]
    #[arg(long, env = "ISONYM_RPC_LISTEN", value_name = "ADDR:PORT")]
    pub(crate) rpc_listen: Option<SocketAddr>,
    #[command(flatten)]
    login: RpcLogin,
    /// The method, such as getblockcount
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// Parses the process's arguments. Help and version texts and errors are printed by the parser.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    parse_from(std::env::args_os())
}

fn parse_from<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let source = |option| {
        matches
            .value_source(option)
            .filter(|source| *source != ValueSource::DefaultValue)
    };
    let (proxy, direct) = (source("proxy"), source("direct"));
    cli.options.direct_is_said = direct.is_some();
    // Both are one choice, and the command line's goes over the environment's. Two of one source are refused later.
    match (proxy, direct) {
        (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => cli.options.direct_is_said = false,
        (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => cli.options.proxy = None,
        _ => {}
    }
    Ok(cli)
}

impl Cli {
    /// Returns what the user said, for the configuration.
    pub(crate) fn wishes(&self) -> Wishes {
        let Options {
            network,
            datadir,
            anchor,
            server,
            proxy,
            direct,
            direct_is_said,
            verification,
            sync_connections,
            ..
        } = &self.options;
        let (mut name, mut daemon, mut login, mut rpc_listen, mut quorum) = (None, None, None, None, None);
        let (mut dns, mut backend, mut tor, mut socks, mut naming) = (None, None, None, None, None);
        match &self.command {
            Command::NameShow(args) => {
                (name, login, quorum) = (Some(&args.name), Some(&args.name.login), args.quorum);
            }
            Command::NameHistory(args) => (name, login) = (Some(args), Some(&args.login)),
            Command::Daemon(args) => {
                (daemon, login, rpc_listen) = (Some(args), Some(&args.login), args.rpc_listen);
                (dns, tor, naming) = (Some(&args.dns), Some(&args.tor), Some(&args.naming));
                (socks, quorum) = (Some(&args.socks), args.quorum);
            }
            Command::Dns(args) => {
                (dns, backend, login) = (Some(&args.dns), Some(&args.backend), Some(&args.backend.login));
            }
            Command::Tor(args) => {
                (tor, naming) = (Some(&args.tor), Some(&args.naming));
                (backend, login) = (Some(&args.backend), Some(&args.backend.login));
            }
            Command::Prop279(args) => {
                (naming, backend, login) = (Some(&args.naming), Some(&args.backend), Some(&args.backend.login));
            }
            Command::Socks(args) => {
                (socks, naming) = (Some(&args.socks), Some(&args.naming));
                (backend, login) = (Some(&args.backend), Some(&args.backend.login));
            }
            Command::Resolve(args) => (backend, login) = (Some(&args.backend), Some(&args.backend.login)),
            Command::Rpc(args) => (login, rpc_listen) = (Some(&args.login), args.rpc_listen),
            Command::Sync | Command::Status { .. } | Command::Anchor(_) | Command::Dnssec(_) => {}
            #[cfg(feature = "playground")]
            Command::Playground { .. } => {}
        }
        Wishes {
            network: network.clone(),
            datadir: datadir.clone(),
            anchor: anchor.clone(),
            server: server.clone(),
            proxy: proxy.clone(),
            direct: direct_is_said.then_some(*direct),
            verification: verification.clone(),
            sync_connections: *sync_connections,
            name_encoding: name.and_then(|name| name.name_encoding.clone()),
            value_encoding: name.and_then(|name| name.value_encoding.clone()),
            quorum,
            rpc_listen,
            rpc_user: login.and_then(|login| login.rpc_user.clone()),
            rpc_password: login.and_then(|login| login.rpc_password.clone()),
            pool_clean: daemon.and_then(|args| args.pool_clean),
            isolation_ttl: daemon.and_then(|args| args.isolation_ttl),
            max_ids: daemon.and_then(|args| args.max_ids),
            cache_positive: daemon.and_then(|args| args.cache_positive),
            cache_negative: daemon.and_then(|args| args.cache_negative),
            isolate_anonymous: daemon.filter(|args| args.isolate_anonymous).map(|_| true),
            rpc_url: backend.and_then(|args| args.rpc_url.clone()),
            rpc_cookie: backend.and_then(|args| args.rpc_cookie.clone()),
            rpc_style: backend.and_then(|args| args.rpc_style.clone()),
            dns_listen: dns.map(|args| args.dns_listen.clone()).unwrap_or_default(),
            dns_suffix: dns.map(|args| args.dns_suffix.clone()).unwrap_or_default(),
            dns_any_suffix: dns.filter(|args| args.dns_any_suffix).map(|_| true),
            dns_nameserver: dns.map(|args| args.dns_nameserver.clone()).unwrap_or_default(),
            dns_hostmaster: dns.and_then(|args| args.dns_hostmaster.clone()),
            dns_address: dns.map(|args| args.dns_address.clone()).unwrap_or_default(),
            dns_self_ip: dns.and_then(|args| args.dns_self_ip),
            dns_version: dns.and_then(|args| args.dns_version.clone()),
            dns_isolate: dns.and_then(|args| args.dns_isolate.clone()),
            dns_patience: dns.and_then(|args| args.dns_patience),
            dns_echo_id: dns.filter(|args| args.dns_echo_id).map(|_| true),
            dnssec: dns.and_then(|args| args.dnssec.clone()),
            name_patience: naming.and_then(|args| args.name_patience),
            tor_control: tor.and_then(|args| args.tor_control.clone()),
            control_cookie: tor.and_then(|args| args.control_cookie.clone()),
            control_password: tor.and_then(|args| args.control_password.clone()),
            plugin: tor.map(|args| args.plugin.clone()).unwrap_or_default(),
            socks_listen: socks.map(|args| args.socks_listen.clone()).unwrap_or_default(),
            socks_tor: socks.and_then(|args| args.socks_tor),
            socks_isolate: socks.map(|args| args.socks_isolate.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_behind_the_command() {
        for line in [
            "isonym --network regtest --direct name_show d/x --name-encoding hex",
            "isonym name-show d/x --direct --name-encoding hex --network regtest",
        ] {
            let wishes = parse_from(line.split(' ')).unwrap().wishes();
            assert_eq!(wishes.network.as_deref(), Some("regtest"));
            assert_eq!(wishes.direct, Some(true));
            assert_eq!(wishes.name_encoding.as_deref(), Some("hex"));
        }
    }
}
