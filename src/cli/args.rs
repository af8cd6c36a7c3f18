//! Arguments and help texts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::options::{self, CommandName, PartialConfig, Purpose};

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

Every option with a variable can be given in the environment, and under the
same name in the configuration file. The command line wins over the
environment, and that over the file. Switches take =true, =false and --no-
in front. An empty variable is as if the option were not given at all.
`isonym config show` says what holds and where it comes from.";

/// What stands at the end of the program's short help text.
const MORE: &str = "--help says more of these. The options of a command are in its own: isonym COMMAND -h";

/// What stands at the end of a command's short help text.
const MORE_OF_COMMAND: &str = "--help says more of these, and has the options that every command accepts.";

/// A Namecoin light client: proves what names are worth, and keeps who asks apart.
#[derive(Debug, Parser)]
#[command(name = "isonym", version, about, long_about = None, after_long_help = EXAMPLES, max_term_width = 110)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a name's value, proved, as JSON
    #[command(
        name = "name_show",
        visible_alias = "name-show",
        after_long_help = "\
Examples:
  isonym name_show d/example
  isonym name_show 642f6578616d706c65 --name-encoding hex --value-encoding utf8
  isonym name_show d/example --quorum 2        Ask two servers, so that one alone can't hide an update
  isonym name_show d/example --explain         Why that is true: operations, block, work, servers, what nobody proved
  isonym name_show - < FILE                    The name stays off the command line, which other users can see

What can hardly be meant as a name, such as example.bit, is not looked up: a server would learn of it for nothing. The
message says what to type for that very name.

Where a daemon holds the data folder, that is asked; without one this brings the headers up to date first."
    )]
    NameShow(ShowArgs),
    /// Show all operations of a name, oldest first, as JSON
    #[command(name = "name_history", visible_alias = "name-history")]
    NameHistory(NameArgs),
    /// List names that a daemon keeps (--names local), as JSON
    #[command(
        name = "name_scan",
        visible_alias = "name-scan",
        after_long_help = "\
Examples:
  isonym name_scan                             The first 500: shorter names first
  isonym name_scan d/example 10                From d/example on
  isonym name_scan '' 100 --prefix id/ --min-conf 12

The next ones begin with the last name of those before. Names that have expired are not kept."
    )]
    NameScan(ScanArgs),
    /// Write all domains that a daemon keeps (--names local) as a zone file
    #[command(after_long_help = "\
Examples:
  isonym dump > bit.zone && named-checkzone -i local -k ignore bit bit.zone
  isonym dump --dns-nameserver ns1.example.org > bit.zone
  isonym dump --format json | jq -r .name

The zone has the records that `isonym resolve` would print for each name, and those of the zone itself, with the height of the
newest block for its serial number. Names are left out that have no records, or whose value a lookup would not give. So is what
would keep a server from loading the zone: what lies below delegations, but for glue, and nameservers within the zone that
have no address there. All names are those of one block; what values import from outside of d/ may be newer.

The daemon of the data folder is asked, and asks nobody. Standard error says how many names are what.")]
    Dump(DumpArgs),
    /// Bring the headers up to the tip, then exit
    Sync,
    /// Say how things stand: anchor, tip, servers with their last result
    #[command(after_long_help = "\
Examples:
  isonym status
  isonym status --check || systemctl restart isonym")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Exit with 0 if a daemon runs here that can look names up, else with 1, and say why
        #[arg(long)]
        check: bool,
    },
    /// Show what is configured, or an example of a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a trust anchor from the own chain, or compare one with what servers have
    #[command(subcommand)]
    Anchor(AnchorCommand),
    /// List the servers that are known, and say which of those that were learned of are to be used
    #[command(after_long_help = "\
Examples:
  isonym servers
  isonym servers accept electrum.example.org:50002
  isonym servers forget electrum.example.org:50002

A server that one operator alone names is suggested, and never dialed. It is used once it was accepted here or named by a
second operator within a week, and was checked: by header sync at once, by lookups after a week of good service.")]
    Servers(ServersArgs),
    /// Stay up: keep headers and connections ready, answer name lookups over JSON-RPC
    #[command(after_long_help = "\
Examples:
  isonym daemon                                Cookie in the data folder, port 8336 on 127.0.0.1
  isonym daemon --rpc-user u --rpc-password p --pool none
  curl --user u:p --data '{\"method\":\"name_show\",\"params\":[\"d/example\"]}' http://127.0.0.1:8336/

It ends on SIGTERM, SIGINT and the RPC method stop. SIGHUP has the configuration file read anew, SIGUSR1 is a New Identity.")]
    Daemon,
    /// Call a running daemon, as namecoin-cli does
    ///
    /// ARGS are JSON where they parse as JSON, else text.
    #[command(after_long_help = "\
Examples:
  isonym rpc getblockcount
  isonym rpc --wait getblockcount              Once the daemon is there
  isonym rpc --stdin name_show < FILE          What stands in FILE stays off the command line
  isonym rpc name_show d/example '{\"streamID\":\"me\",\"valueEncoding\":\"hex\"}'")]
    Rpc(RpcArgs),
    /// Make the keys that .bit answers are signed with over DNS
    ///
    /// Or print what a validator is to know of them.
    #[command(subcommand)]
    Dnssec(DnssecCommand),
    /// Serve .bit over DNS
    ///
    /// Values come from the running daemon, or from any `name_show` over JSON-RPC.
    #[command(after_long_help = "\
Examples:
  isonym dns --listen 127.0.0.1:5300                    Ask the daemon of the data folder
  isonym dns --listen 127.0.0.1:5300 --rpc-url http://127.0.0.1:8336 --rpc-cookie ~/.namecoin/.cookie
  dig @127.0.0.1 -p 5300 example.bit
  dig @127.0.0.1 -p 5300 +ednsopt=65312:6d65 example.bit    Under the isolation ID \"me\"

To have it in one process with the light client: isonym daemon --dns-listen 127.0.0.1:5300")]
    Dns,
    /// Resolve .bit for a Tor
    ///
    /// It finds what names stand for while their streams wait, and sends the streams there.
    #[command(after_long_help = "\
Examples:
  isonym tor                                   Tor at 127.0.0.1:9051, values from the daemon of the data folder
  isonym tor --control /run/tor/control --control-cookie /run/tor/control.authcookie
  isonym tor --control 127.0.0.1:9151 --control-password PASSWORD
  isonym tor --control-file FILE               Where Tor says by ControlPortWriteToFile where its port is
  isonym tor --plugin 'i2p=/usr/bin/i2p-names --strict'
  curl --socks5-hostname me:x@127.0.0.1:9050 http://example.bit/

Tor needs the line `__LeaveStreamsUnattached 1` in torrc. From then on it connects to nothing while this does not run:
that is what keeps .bit names from exits. To have it in one process with the light client: isonym daemon --tor-control
127.0.0.1:9051")]
    Tor,
    /// Resolve .bit as a plugin of Tor's proposal 279
    ///
    /// It speaks the proposal's protocol on standard input and output.
    #[command(after_long_help = "\
Examples:
  isonym prop279                               Values from the daemon of the data folder
  isonym prop279 --rpc-url http://127.0.0.1:8336 --rpc-cookie ~/.namecoin/.cookie
  echo 'RESOLVE 1 example.bit me' | isonym prop279

It starts whether or not there is a daemon yet, and answers once there is. RESOLVE takes an isolation ID as its third argument,
as StemNS gives it. The environment variables TOR_NS_PROTO_VERSION and
TOR_NS_PLUGIN_OPTIONS (onlyonion=1) are heeded. It ends on SIGTERM, and when standard input has ended and all is answered.")]
    Prop279(Prop279Args),
    /// Take the place of Tor's SOCKS port for applications, and know .bit names
    #[command(after_long_help = "\
Examples:
  isonym socks                                 On 127.0.0.1:9052, before Tor on 127.0.0.1:9050 or 9150
  isonym socks --listen 127.0.0.1:9052 --tor 127.0.0.1:9050 --rpc-url http://127.0.0.1:8336
  curl --socks5-hostname user:password@127.0.0.1:9052 http://example.bit/
  curl --proxytunnel --proxy http://127.0.0.1:9052 http://example.bit/

It takes SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT. Streams reach Tor with the user name and password that applications
give, so that Tor keeps them apart; lookups are kept apart by the same. Clients on other machines look to Tor like
this one: they are given names of their own there. On SIGUSR1 all callers are taken for new ones.

Where Tor's control port can be used, the naming controller does the same for all applications at once.")]
    Socks,
    /// Print the DNS records of a .bit name
    #[command(after_long_help = "\
Examples:
  isonym resolve example.bit                   All records of the name and of those below it
  isonym resolve www.example.bit AAAA
  isonym resolve example.bit --explain         And what of its value gives none, and why
  isonym resolve example.bit --json --isolation-id me
  isonym resolve --value @value.json example.bit
                                               What a value would give, before it is published

Records that the value has but DNS does not serve, such as those below a delegation, are printed as comments. With --value
nothing is looked up but what the value imports. Else values come from --rpc-url if that is given, else from the daemon that holds the data folder; without one this brings
the headers up to date first. It exits with 2 when there is no such record.")]
    Resolve(ResolveArgs),
    /// Hold the certificate of a .bit site against what its name publishes, or have browsers do so
    #[command(subcommand)]
    Tls(TlsCommand),
    #[cfg(feature = "playground")]
    /// Try everything in a simulated world
    ///
    /// It has a chain with names, three Electrum servers and a recording SOCKS5 proxy.
    Playground {
        /// Exit when done instead of staying up for your own tries
        #[arg(long)]
        once: bool,
        /// Seed of the simulated world
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        seed: u64,
    },
    /// Print a completion script for a shell
    #[command(after_long_help = "\
Examples:
  isonym completions bash > ~/.local/share/bash-completion/completions/isonym
  isonym completions zsh > _isonym               In a folder of $fpath
  isonym completions fish > ~/.config/fish/completions/isonym.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write manual pages, one for each command
    #[command(after_long_help = "\
Examples:
  isonym man ~/.local/share/man/man1 && man isonym-daemon")]
    Man {
        /// The folder; it is made if missing
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a configuration file with every option in it, commented out
    #[command(after_long_help = "\
Examples:
  isonym config example > ~/.config/isonym/isonym.toml")]
    Example,
    /// Print each option's value and where it comes from
    ///
    /// It takes the options of every command.
    #[command(after_long_help = "\
Examples:
  isonym config show
  isonym config show --json --quorum 2

What is wrong with a value stands beside it, and the exit status is 1 then. Secrets are not shown.")]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<ServersCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServersCommand {
    /// Use a server, suggested or any other
    Accept {
        /// The server
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
    /// Forget a server that was learned or suggested
    Forget {
        /// The server
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnchorCommand {
    /// Print a block of the own chain as an anchor file, if every header up to the tip was verified in full
    #[command(after_long_help = "\
Examples:
  isonym sync --datadir DIR --verification full && isonym anchor export --datadir DIR > headers/mainnet.toml")]
    Export {
        /// How many blocks below the tip
        ///
        /// Deep enough that no reorganisation will reach it.
        #[arg(long, value_name = "BLOCKS", default_value_t = 4032)]
        depth: u32,
    },
    /// Ask all servers for the block at an anchor's height; exit 0 if two have it (or the only one) and none has another
    #[command(after_long_help = "\
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
    #[command(after_long_help = "\
Examples:
  isonym dnssec keygen ~/bit-keys              Kbit.+013+TAG.key and .private, two of each
  isonym dnssec keygen --algorithm ed25519 DIR
  isonym dnssec keygen --zone bit.example.org DIR

It prints the names of the files. The private ones are readable by you alone.")]
    Keygen {
        /// The zone that the keys are for
        #[arg(long, value_name = "ZONE", default_value = "bit")]
        zone: String,
        /// ecdsap256sha256 or ed25519
        ///
        /// Every validator has ecdsap256sha256 (13); ed25519 (15) needs no randomness to sign.
        #[arg(long, value_name = "ALGORITHM", value_parser = ["ecdsap256sha256", "ed25519"], ignore_case = true, hide_possible_values = true, default_value = "ecdsap256sha256")]
        algorithm: String,
        /// The folder; it is made if missing
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the DS record of a zone's key-signing key, and how unbound, BIND and delv take it as a trust anchor
    #[command(after_long_help = "\
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
    /// The name, such as d/example; - reads it from standard input
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Ask anew, and say in words what the answer stands on
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The first name that comes into question
    #[arg(value_name = "START", default_value = "")]
    pub(crate) start: String,
    /// How many; 10000 at most
    #[arg(value_name = "COUNT", default_value_t = 500)]
    pub(crate) count: u32,
    /// Those alone that begin so
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Those alone that match this
    #[arg(long, value_name = "REGEXP")]
    pub(crate) regexp: Option<String>,
    /// Those alone whose newest operation has so many confirmations
    #[arg(long, value_name = "NUMBER")]
    pub(crate) min_conf: Option<u32>,
    /// Those alone whose newest operation has no more confirmations
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_conf: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// zone, or json: a name on each line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = DumpFormat::Zone, hide_possible_values = true)]
    pub(crate) format: DumpFormat,
}

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DumpFormat {
    Zone,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Prop279Args {
    /// Answer with onion services alone, whatever else names have
    #[arg(long)]
    pub(crate) onion_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The name, such as example.bit; - reads it from standard input
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The type, such as A, or TYPE65 [default: all, of the names below as well]
    #[arg(value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Say what gives no records and why, and what may surprise
    #[arg(long)]
    pub(crate) explain: bool,
    /// Check this value, as if it were the name's
    ///
    /// Before it is published, say. @FILE reads a file, @- standard input.
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Connect to a site and judge its certificate by the TLSA records of its name
    #[command(after_long_help = "\
Examples:
  isonym tls verify example.bit
  isonym tls verify www.example.bit:8443 --isolation-id me

The name is proved, the site is connected to through the same proxy under credentials of its own, and its certificate is
judged as RFC 6698 and RFC 7671 say: usages 2 and 3 count, and where none can be used nothing is authenticated. The handshake
is finished, and nothing is sent over it. Values come from where `isonym resolve` takes them.

It exits with 0 when the site is authenticated and with nothing else, with 2 when the name has no value, no TLSA record or no
address, with 1 for everything else.")]
    Verify(TlsArgs),
    /// Print a certificate by which browsers trust the key that a name publishes, for that name alone
    #[command(after_long_help = "\
Examples:
  isonym tls pin example.bit > example.bit.pem
  curl --cacert example.bit.pem https://example.bit/

What it prints is in no store until you put it there; standard error says how that is done, and undone, with curl, Chromium
and Firefox. It is good for names below the host as well, for TLS servers alone, for no address, and for 30 days at most, never
past the name's expiry. The key that signed it is gone: it makes nobody an authority but the site's owner, for that site.

The site is verified first, as by `isonym tls verify`. Not for Tor Browser: what is in its stores tells users apart.")]
    Pin {
        #[command(flatten)]
        site: TlsSite,
        /// Take the site's own certificate if that is all there is
        ///
        /// It is limited to no date of ours, and its own may be years away: take it out of your stores yourself.
        #[arg(long)]
        leaf: bool,
    },
}

impl TlsCommand {
    /// Returns the site that it is about.
    pub(crate) fn site(&self) -> &TlsSite {
        match self {
            Self::Verify(args) => &args.site,
            Self::Pin { site, .. } => site,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    #[command(flatten)]
    pub(crate) site: TlsSite,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TlsSite {
    /// The site, at port 443 unless another is named; - reads it from standard input
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
}

#[derive(Debug, Args)]
pub(crate) struct RpcArgs {
    /// Wait for a daemon that is not there yet, or has no headers yet
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait for no longer than this; 0: for ever
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) wait_timeout: Option<u64>,
    /// Read more arguments from standard input, one on each line
    ///
    /// Other users can see those of the command line.
    #[arg(long)]
    pub(crate) stdin: bool,
    /// The method, such as getblockcount
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct Cli {
    pub(crate) command: Command,
    /// What it says of options.
    pub(crate) given: PartialConfig,
    pub(crate) verbose: u8,
    pub(crate) quiet: bool,
}

/// Parses the process's arguments. Help and version texts and errors are printed by the parser.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    parse_from(std::env::args_os())
}

pub(crate) fn parse_from<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<Cli, clap::Error> {
    let mut program = program(Purpose::Parsing);
    let matches = program.try_get_matches_from_mut(arguments)?;
    let (verbose, quiet) = talkativeness(&matches);
    if verbose > 0 && quiet {
        let words = "the argument '--verbose' cannot be used with '--quiet'";
        return Err(program.error(ErrorKind::ArgumentConflict, words));
    }
    Ok(Cli {
        command: Words::from_arg_matches(&matches)?.command,
        given: options::given(&matches),
        verbose,
        quiet,
    })
}

/// Returns the program's command line with the arguments of all options.
pub(super) fn program(purpose: Purpose) -> clap::Command {
    let program = options::with_arguments(with_talkativeness(Words::command(), true), purpose);
    with_note(program, MORE)
}

/// Adds the options that every command accepts and that are of the command line alone.
fn with_talkativeness(command: clap::Command, is_root: bool) -> clap::Command {
    let flag = |name: &'static str, short, help: &'static str| {
        Arg::new(name)
            .short(short)
            .long(name)
            .help(help)
            .help_heading(options::EVERY_COMMAND)
            .hide_short_help(!is_root)
    };
    let verbose = flag("verbose", 'v', "Say more on standard error; twice for still more").action(ArgAction::Count);
    let quiet = flag("quiet", 'q', "Say nothing on standard error but errors").action(ArgAction::SetTrue);
    command
        .arg(verbose)
        .arg(quiet)
        .mut_subcommands(|command| with_talkativeness(command, false))
}

/// Says at the end of each short help text where the rest is.
fn with_note(command: clap::Command, note: &'static str) -> clap::Command {
    let long = command.get_after_long_help().cloned().unwrap_or_default();
    command
        .after_help(note)
        .after_long_help(long)
        .mut_subcommands(|command| with_note(command, MORE_OF_COMMAND))
}

/// Returns how much is to be said, and whether nothing: the flags may stand before the command and behind it.
fn talkativeness(matches: &ArgMatches) -> (u8, bool) {
    let (verbose, quiet) = matches
        .subcommand()
        .map_or((0, false), |(_, inner)| talkativeness(inner));
    (
        verbose.saturating_add(matches.get_count("verbose")),
        quiet || matches.get_flag("quiet"),
    )
}

impl Command {
    /// Returns the name under which options know the command; `None` for one that has no settings.
    pub(crate) const fn name(&self) -> Option<CommandName> {
        Some(match self {
            Self::NameShow(_) => CommandName::NameShow,
            Self::NameHistory(_) => CommandName::NameHistory,
            Self::NameScan(_) => CommandName::NameScan,
            Self::Dump(_) => CommandName::Dump,
            Self::Sync => CommandName::Sync,
            Self::Status { .. } => CommandName::Status,
            Self::Anchor(AnchorCommand::Export { .. }) => CommandName::AnchorExport,
            Self::Anchor(AnchorCommand::Check { .. }) => CommandName::AnchorCheck,
            Self::Servers(_) => CommandName::Servers,
            Self::Daemon => CommandName::Daemon,
            Self::Rpc(_) => CommandName::Rpc,
            Self::Dns => CommandName::Dns,
            Self::Tor => CommandName::Tor,
            Self::Prop279(_) => CommandName::Prop279,
            Self::Socks => CommandName::Socks,
            Self::Resolve(_) => CommandName::Resolve,
            Self::Tls(TlsCommand::Verify(_)) => CommandName::TlsVerify,
            Self::Tls(TlsCommand::Pin { .. }) => CommandName::TlsPin,
            Self::Config(ConfigCommand::Show { .. }) => CommandName::ConfigShow,
            Self::Config(ConfigCommand::Example) | Self::Dnssec(_) | Self::Completions { .. } | Self::Man { .. } => {
                return None;
            }
            #[cfg(feature = "playground")]
            Self::Playground { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        for purpose in [Purpose::Parsing, Purpose::Pages] {
            program(purpose).debug_assert();
        }
    }

    #[test]
    fn every_command_with_settings_is_there() {
        let program = program(Purpose::Parsing);
        for name in CommandName::ALL {
            let mut command = Some(&program);
            for word in name.path() {
                command = command.and_then(|command| command.find_subcommand(word));
            }
            assert!(command.is_some(), "{name:?}");
        }
    }

    /// Asserts it for a command and those below it.
    fn assert_short(command: &mut clap::Command) {
        let name = command.get_name().to_owned();
        let short = command.clone().term_width(100).render_help().to_string();
        let options = short.lines().skip_while(|line| !line.starts_with("Options"));
        for line in options.filter(|line| line.starts_with(' ')) {
            assert!(
                line.starts_with("  -") || line.starts_with("      --"),
                "{name}: {line}"
            );
        }
        assert!(short.contains("--help says more"), "{name}");
        for command in command.get_subcommands_mut() {
            assert_short(command);
        }
    }

    #[test]
    fn short_help_has_a_line_for_each_option_of_the_command_alone() {
        let mut program = program(Purpose::Parsing);
        assert_short(&mut program);
        program.build();
        let sync = program.find_subcommand_mut("sync").unwrap();
        let (short, long) = (sync.render_help().to_string(), sync.render_long_help().to_string());
        for option in ["--network", "--proxy", "--verbose"] {
            assert!(!short.contains(option) && long.contains(option), "{option}");
        }
    }

    #[test]
    fn flags_may_stand_before_and_behind_the_command() {
        let cli = parse_from("isonym -v status -v".split(' ')).unwrap();
        assert_eq!((cli.verbose, cli.quiet), (2, false));
        for line in ["isonym -q status", "isonym anchor -q check", "isonym anchor check -q"] {
            assert!(parse_from(line.split(' ')).unwrap().quiet, "{line}");
        }
        let error = parse_from("isonym -v status -q".split(' ')).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }
}
