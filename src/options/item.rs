//! The types that options have: how each is read, written, bounded and shown as an example.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueHint;
use hickory_proto::rr::Name;
use isonym::chain::sync::Verification;
use isonym::chain::{Anchor, Network};
use isonym::dns::resolver::Anonymous;
use isonym::dns::zones::Zones;
use isonym::isolation::IsolationId;
use isonym::jsonrpc::Credentials;
use isonym::jsonrpc::client::{Client, ClientSettings, Dialect, Login};
use isonym::jsonrpc::cookie::CookieReaders;
use isonym::name::Encoding;
use isonym::net::pool::MAX_OPENINGS_AN_HOUR;
use isonym::net::{PeerAddr, Proxy, ServerAddr};
use isonym::node::NamesMode;
use isonym::socks::identity::IsolateBy;
use isonym::tor::driver::ControlAddr;
use isonym::tor::suffixes::SuffixPlugin;

use super::origin::Problem;
use super::path::expand;

/// How a value is written in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Switch,
    /// An integer.
    Number,
    /// A string.
    Text,
}

/// Least and most that an option allows: of a number its value, of a text its length in bytes.
pub(crate) type Bounds = (u64, u64);

/// Why there is no embedded Tor, where there is none.
pub(crate) const NO_EMBEDDED_TOR: &str = "this isonym was built without a Tor of its own: take one of a package, or build it \
     with `--features embedded-tor`; with a Tor beside it give socks5://HOST:PORT";

/// A type that one value of an option can have.
pub(crate) trait Item: Clone + 'static {
    /// How it is written in a configuration file.
    const SHAPE: Shape = Shape::Text;

    /// The bounds of an option that declares none.
    const BOUNDS: Bounds = (1, 1024);

    /// What a shell completes it with.
    const HINT: ValueHint = ValueHint::Other;

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem>;

    /// Reads a value that need be no UTF-8.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn parse_os(text: &OsStr, bounds: Bounds) -> Result<Self, Problem> {
        match text.to_str() {
            Some(text) => Self::parse(text, bounds),
            None => Err(Problem::NotAllowed),
        }
    }

    /// Writes the value in the one way that every equal value is written in.
    fn text(&self) -> String;

    /// Returns what is allowed, as words that follow "give".
    fn allowed(bounds: Bounds) -> String;

    /// Returns at least two values that are allowed and differ, as texts. The first is a good example.
    fn samples(bounds: Bounds) -> Vec<String>;

    /// Returns all values as texts, where they are few words.
    fn all_words() -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns a text that is no value.
    #[cfg(test)]
    fn bad(_bounds: Bounds) -> String {
        "\u{1}".to_owned()
    }
}

/// Reads a value by what its type says of texts. The type's own error says what would be allowed.
fn parse_by_type<T>(text: &str) -> Result<T, Problem>
where
    T: FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error: T::Err| refused(&error))
}

fn refused(error: &dyn std::fmt::Display) -> Problem {
    Problem::Refused(error.to_string())
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

impl Item for bool {
    const SHAPE: Shape = Shape::Switch;

    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "t" | "y" => Ok(true),
            "false" | "no" | "off" | "0" | "f" | "n" => Ok(false),
            _ => Err(Problem::NotAllowed),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        "true or false".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["true", "false"])
    }
}

/// A number within the bounds.
fn number(text: &str, (least, most): Bounds) -> Result<u64, Problem> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Problem::NotAllowed),
    }
}

macro_rules! numbers {
    ($($type:ty: $unit:literal, $most:expr, $of:expr, $from:expr;)*) => {$(
        impl Item for $type {
            const SHAPE: Shape = Shape::Number;
            const BOUNDS: Bounds = (0, $most);

            fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
                number(text, bounds).and_then($of)
            }

            fn text(&self) -> String {
                $from(self).to_string()
            }

            fn allowed((least, most): Bounds) -> String {
                format!("a number{} from {least} to {most}", $unit)
            }

            fn samples((least, most): Bounds) -> Vec<String> {
                vec![most.to_string(), least.to_string()]
            }

            #[cfg(test)]
            fn bad((_, most): Bounds) -> String {
                // Every bound is far below the type's own.
                (u128::from(most) + 1).to_string()
            }
        }
    )*};
}

/// A year: no time of ours is longer.
const MAX_SECONDS: u64 = 365 * 24 * 60 * 60;

numbers! {
    u8: "", 255, |number| u8::try_from(number).map_err(|_| Problem::NotAllowed), |number: &u8| *number;
    u64: "", 1_000_000_000_000, |number| Ok(number), |number: &u64| *number;
    usize: "", 1_000_000, |number| usize::try_from(number).map_err(|_| Problem::NotAllowed), |number: &usize| *number;
    Duration: " of seconds", MAX_SECONDS, |seconds| Ok(Duration::from_secs(seconds)), Duration::as_secs;
}

/// One of a few words.
trait Choice: Copy + PartialEq + 'static {
    fn words() -> Vec<(&'static str, Self)>;
}

macro_rules! choices {
    ($($type:ty),*) => {$(
        impl Item for $type {
            fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
                let words = Self::words().into_iter();
                let mut known = words.filter(|(word, _)| *word == text);
                known.next().map(|(_, value)| value).ok_or(Problem::NotAllowed)
            }

            fn text(&self) -> String {
                let words = Self::words().into_iter();
                let mut own = words.filter(|(_, value)| value == self);
                own.next().map(|(word, _)| word.to_owned()).unwrap_or_default()
            }

            fn allowed(_: Bounds) -> String {
                let words: Vec<&str> = Self::words().into_iter().map(|(word, _)| word).collect();
                match words.split_last() {
                    Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
                    _ => words.concat(),
                }
            }

            fn samples(_: Bounds) -> Vec<String> {
                Self::words().into_iter().map(|(word, _)| word.to_owned()).collect()
            }

            fn all_words() -> Vec<&'static str> {
                Self::words().into_iter().map(|(word, _)| word).collect()
            }
        }
    )*};
}

choices!(
    Network,
    Encoding,
    Verification,
    Discover,
    NamesMode,
    LogLevel,
    Dialect,
    CookieReaders,
    Anonymous,
    CallersApart
);

impl Choice for Network {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|network| (network.as_str(), network)).to_vec()
    }
}

impl Choice for Encoding {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|encoding| (encoding.as_str(), encoding)).to_vec()
    }
}

impl Choice for Verification {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("sampled", Self::default()), ("full", Self::Full)]
    }
}

/// Whether other servers are learned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discover {
    On,
    Off,
}

impl Choice for Discover {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("on", Self::On), ("off", Self::Off)]
    }
}

impl Choice for NamesMode {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|mode| (mode.as_str(), mode)).to_vec()
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl Choice for LogLevel {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("warn", Self::Warn),
            ("error", Self::Error),
            ("info", Self::Info),
            ("debug", Self::Debug),
        ]
    }
}

impl Choice for Dialect {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("core", Self::Core), ("electrum", Self::Electrum)]
    }
}

impl Choice for CookieReaders {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("owner", Self::Owner), ("group", Self::Group), ("all", Self::All)]
    }
}

impl Choice for Anonymous {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("none", Self::Together),
            ("address", Self::ByAddress),
            ("port", Self::ByPort),
            ("query", Self::Apart),
        ]
    }
}

/// What keeps lookups of applications apart; `None` where nothing is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallersApart(pub(crate) Option<IsolateBy>);

impl Choice for CallersApart {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("auth", Self(Some(IsolateBy::Auth))),
            ("address", Self(Some(IsolateBy::Address))),
            ("port", Self(Some(IsolateBy::Port))),
            ("destination", Self(Some(IsolateBy::Destination))),
            ("none", Self(None)),
        ]
    }
}

impl Item for String {
    fn parse(text: &str, (least, most): Bounds) -> Result<Self, Problem> {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if (least..=most).contains(&length) && !text.contains(char::is_control) {
            return Ok(text.to_owned());
        }
        Err(Problem::NotAllowed)
    }

    fn text(&self) -> String {
        self.clone()
    }

    fn allowed((_, most): Bounds) -> String {
        format!("at most {most} bytes without control characters")
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["text", "other text"])
    }
}

/// Where callers of JSON-RPC come in; `None` where by the data folder's socket alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RpcPort(pub(crate) Option<SocketAddr>);

impl Item for RpcPort {
    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
        match text {
            "none" => Ok(Self(None)),
            text => Ok(Self(Some(SocketAddr::parse(text, bounds)?))),
        }
    }

    fn text(&self) -> String {
        self.0.map_or_else(|| "none".to_owned(), |address| Item::text(&address))
    }

    fn allowed(bounds: Bounds) -> String {
        format!("{}, or none", SocketAddr::allowed(bounds))
    }

    fn samples(bounds: Bounds) -> Vec<String> {
        let mut samples = SocketAddr::samples(bounds);
        samples.push("none".to_owned());
        samples
    }
}

/// The name of a user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalUser(pub(crate) String);

impl Item for LocalUser {
    const BOUNDS: Bounds = (1, 256);
    const HINT: ValueHint = ValueHint::Username;

    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
        let name = String::parse(text, bounds)?;
        if name.contains([':', '/', ' ']) {
            return Err(Problem::NotAllowed);
        }
        Ok(Self(name))
    }

    fn text(&self) -> String {
        self.0.clone()
    }

    fn allowed(_: Bounds) -> String {
        "the name of a user of this machine".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["isonym", "nobody"])
    }
}

/// A user name of HTTP's basic authentication, which ends at the first colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserName(pub(crate) String);

impl Item for UserName {
    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
        let name = String::parse(text, bounds)?;
        match Credentials::new(&name, "") {
            Some(_) => Ok(Self(name)),
            None => Err(Problem::NotAllowed),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }

    fn allowed((_, most): Bounds) -> String {
        format!("at most {most} bytes without a colon")
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["user", "other-user"])
    }

    #[cfg(test)]
    fn bad(_: Bounds) -> String {
        "user:name".to_owned()
    }
}

impl Item for IsolationId {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        Self::new(text.as_bytes()).ok_or_else(|| {
            Problem::Refused(format!(
                "it has {} bytes; at most {} are allowed",
                text.len(),
                Self::MAX_LEN
            ))
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }

    fn allowed(_: Bounds) -> String {
        format!("at most {} bytes", Self::MAX_LEN)
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["me", "somebody else"])
    }

    #[cfg(test)]
    fn bad(_: Bounds) -> String {
        "i".repeat(Self::MAX_LEN + 1)
    }
}

impl Item for PathBuf {
    const BOUNDS: Bounds = (1, 4096);
    const HINT: ValueHint = ValueHint::AnyPath;

    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
        Self::parse_os(OsStr::new(text), bounds)
    }

    fn parse_os(text: &OsStr, (least, most): Bounds) -> Result<Self, Problem> {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if !(least..=most).contains(&length) {
            return Err(Problem::NotAllowed);
        }
        expand(text, dirs::home_dir().as_deref()).map_err(Problem::Refused)
    }

    fn text(&self) -> String {
        self.display().to_string()
    }

    fn allowed((_, most): Bounds) -> String {
        format!("a path of at most {most} bytes")
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["/var/lib/isonym", "/srv/isonym"])
    }

    #[cfg(test)]
    fn bad(_: Bounds) -> String {
        "~nobody/isonym".to_owned()
    }
}

impl Item for Anchor {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        parse_by_type(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        "HEIGHT:HASH or HEIGHT:HASH:WORK".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        // Shipped anchors always parse.
        let shipped = [Network::Mainnet, Network::Regtest].map(Self::shipped);
        shipped.into_iter().flatten().map(|anchor| anchor.to_string()).collect()
    }
}

impl Item for ServerAddr {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        parse_by_type(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        "HOST:PORT, HOST:PORT:t or HOST:PORT:s".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["electrumx.example:50002:s", "127.0.0.1:50001:t"])
    }
}

impl Item for PeerAddr {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        parse_by_type(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        "HOST or HOST:PORT".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["namecoind.example", "127.0.0.1:8334"])
    }
}

/// What a user says of the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "embedded-tor", derive(Default))]
pub(crate) enum ProxyChoice {
    /// A Tor of this machine, where one answers, else the embedded one.
    #[cfg(feature = "embedded-tor")]
    #[default]
    Auto,
    /// The embedded Tor.
    #[cfg(feature = "embedded-tor")]
    Embedded,
    /// This one.
    Named(Proxy),
}

impl ProxyChoice {
    /// How it is written, for people.
    pub(super) const FORM: &str = if cfg!(feature = "embedded-tor") {
        "auto|embedded|socks5://HOST:PORT"
    } else {
        "socks5://HOST:PORT"
    };

    /// The same in short, for help that has a line for each option.
    pub(super) const SHORT_FORM: &str = if cfg!(feature = "embedded-tor") {
        "auto|embedded|URL"
    } else {
        Self::FORM
    };

    /// The default, for people.
    pub(super) const DEFAULT: &str = if cfg!(feature = "embedded-tor") {
        "auto"
    } else {
        "socks5://127.0.0.1:9050, then 9150"
    };

    /// The words that stand for a Tor of the program's own.
    const WORDS: [&str; 2] = ["auto", "embedded"];
}

#[cfg(not(feature = "embedded-tor"))]
impl Default for ProxyChoice {
    fn default() -> Self {
        Self::Named(Proxy::tor())
    }
}

impl fmt::Display for ProxyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "embedded-tor")]
            Self::Auto => f.write_str("auto"),
            #[cfg(feature = "embedded-tor")]
            Self::Embedded => f.write_str("embedded"),
            Self::Named(proxy) => proxy.fmt(f),
        }
    }
}

impl Item for ProxyChoice {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        match text {
            #[cfg(feature = "embedded-tor")]
            "auto" => Ok(Self::Auto),
            #[cfg(feature = "embedded-tor")]
            "embedded" => Ok(Self::Embedded),
            word if Self::WORDS.contains(&word) => Err(Problem::Refused(NO_EMBEDDED_TOR.to_owned())),
            _ => parse_by_type(text).map(Self::Named),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        Self::FORM.replace('|', ", ")
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["socks5://127.0.0.1:9050", "socks5://[::1]:1080"])
    }
}

macro_rules! addresses {
    ($($type:ty: $allowed:literal, $first:literal, $second:literal;)*) => {$(
        impl Item for $type {
            fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
                text.parse().map_err(|_| Problem::NotAllowed)
            }

            fn text(&self) -> String {
                self.to_string()
            }

            fn allowed(_: Bounds) -> String {
                $allowed.to_owned()
            }

            fn samples(_: Bounds) -> Vec<String> {
                texts([$first, $second])
            }
        }
    )*};
}

addresses! {
    SocketAddr: "ADDR:PORT, such as 127.0.0.1:5300 or [::1]:5300", "127.0.0.1:5300", "[::1]:5301";
    IpAddr: "an IPv4 or IPv6 address", "192.0.2.1", "2001:db8::1";
    Ipv4Addr: "an IPv4 address", "127.127.127.127", "192.0.2.1";
}

/// The address of a server that speaks JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcUrl(pub(crate) String);

impl Item for RpcUrl {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        let settings = ClientSettings {
            url: text.to_owned(),
            login: Login::None,
            dialect: Dialect::default(),
            timeout: Duration::ZERO,
        };
        match Client::new(settings) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) if text.contains('@') => Err(Problem::Refused(
                "give user name and password with rpc-user and rpc-password, and an address of the form http://HOST:PORT"
                    .to_owned(),
            )),
            Err(_) => Err(Problem::NotAllowed),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }

    fn allowed(_: Bounds) -> String {
        "an address of the form http://HOST:PORT".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["http://127.0.0.1:8336", "http://127.0.0.1:8337/wallet"])
    }
}

/// A zone below which names are served, in lower case and without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suffix(pub(crate) String);

impl Item for Suffix {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        let zones = Zones::new([text], false).map_err(|error| refused(&error))?;
        let apex = zones.apexes().first().map(Name::to_ascii).unwrap_or_default();
        Ok(Self(apex.trim_end_matches('.').to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }

    fn allowed(_: Bounds) -> String {
        "a domain name".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["bit", "bit.example.org"])
    }
}

/// How many connections are opened ahead of lookups in an hour, on average; 0: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolPace(pub(crate) u32);

impl Item for PoolPace {
    const BOUNDS: Bounds = (0, MAX_OPENINGS_AN_HOUR as u64);

    fn parse(text: &str, bounds: Bounds) -> Result<Self, Problem> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(0));
        }
        let pace = number(text, bounds)?;
        u32::try_from(pace).map(Self).map_err(|_| Problem::NotAllowed)
    }

    fn text(&self) -> String {
        match self.0 {
            0 => "none".to_owned(),
            pace => pace.to_string(),
        }
    }

    fn allowed((_, most): Bounds) -> String {
        format!("none, or a number up to {most}")
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["none", "30"])
    }
}

/// A domain name, in lower case and fully qualified.
fn domain(text: &str) -> Result<Name, Problem> {
    let mut name = Name::from_str(text).map_err(|_| Problem::NotAllowed)?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

impl Item for Name {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        domain(text)
    }

    fn text(&self) -> String {
        self.to_ascii()
    }

    fn allowed(_: Bounds) -> String {
        "a domain name".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["ns1.example.org.", "ns2.example.org."])
    }

    #[cfg(test)]
    fn bad(_: Bounds) -> String {
        "a..b".to_owned()
    }
}

/// A mailbox in its form in DNS.
///
/// Source: RFC 1035 section 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox(pub(crate) Name);

impl Item for Mailbox {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        // A mail address, as people have it, or its form in DNS.
        let name = match text.split_once('@') {
            Some((user, host)) => domain(&format!("{}.{host}", user.replace('.', "\\."))),
            None => domain(text),
        };
        name.map(Self)
    }

    fn text(&self) -> String {
        self.0.to_ascii()
    }

    fn allowed(_: Bounds) -> String {
        "USER@HOST".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["hostmaster@example.org", "somebody@example.org"])
    }

    #[cfg(test)]
    fn bad(_: Bounds) -> String {
        "user@".to_owned() + &"x".repeat(64)
    }
}

impl Item for ControlAddr {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        match parse_by_type(text)? {
            Self::Unix(path) => {
                let path = expand(path.as_os_str(), dirs::home_dir().as_deref());
                path.map(Self::Unix).map_err(Problem::Refused)
            }
            tcp @ Self::Tcp(_) => Ok(tcp),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn allowed(_: Bounds) -> String {
        "IP:PORT or the path of a Unix socket".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["127.0.0.1:9051", "/run/tor/control"])
    }
}

impl Item for SuffixPlugin {
    fn parse(text: &str, _: Bounds) -> Result<Self, Problem> {
        let mut plugin = Self::parse(text).map_err(|error| refused(&error))?;
        if let Some(program) = plugin.command.first_mut() {
            let path = expand(OsStr::new(program.as_str()), dirs::home_dir().as_deref()).map_err(Problem::Refused)?;
            *program = path.to_string_lossy().into_owned();
        }
        Ok(plugin)
    }

    fn text(&self) -> String {
        let words = self.command.iter().map(String::as_str);
        // Only a NUL can't be quoted, and no argument of a program holds one.
        format!("{}={}", self.suffix, shlex::try_join(words).unwrap_or_default())
    }

    fn allowed(_: Bounds) -> String {
        "SUFFIX=COMMAND".to_owned()
    }

    fn samples(_: Bounds) -> Vec<String> {
        texts(["i2p=/usr/bin/i2p-names --strict", "test=/usr/bin/names"])
    }
}

/// The user's own folder of a kind, below which is ours.
pub(super) fn own_folder(parent: Option<PathBuf>) -> Option<PathBuf> {
    parent.map(|folder| folder.join("isonym"))
}
