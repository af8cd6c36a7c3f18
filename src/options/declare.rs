//! What a declaration of an option consists of.

use std::ffi::{OsStr, OsString};
use std::fmt;

use isonym::chain::Network;

use super::item::{Bounds, Item, Shape};
use super::origin::{Origin, Problem, ValueError};

/// What stands before an option's name in the environment.
pub(crate) const PREFIX: &str = "ISONYM_";

/// A command that has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandName {
    NameShow,
    NameHistory,
    Sync,
    Status,
    AnchorExport,
    AnchorCheck,
    Daemon,
    Rpc,
    Dns,
    Tor,
    Prop279,
    Socks,
    Resolve,
    TlsVerify,
    TlsPin,
    ConfigShow,
    Servers,
    NameScan,
    Dump,
}

impl CommandName {
    /// All of them.
    pub(crate) const ALL: [Self; 19] = [
        Self::NameShow,
        Self::NameHistory,
        Self::Sync,
        Self::Status,
        Self::AnchorExport,
        Self::AnchorCheck,
        Self::Daemon,
        Self::Rpc,
        Self::Dns,
        Self::Tor,
        Self::Prop279,
        Self::Socks,
        Self::Resolve,
        Self::TlsVerify,
        Self::TlsPin,
        Self::ConfigShow,
        Self::Servers,
        Self::NameScan,
        Self::Dump,
    ];

    /// Returns the words of the command line that name the command.
    pub(crate) const fn path(self) -> &'static [&'static str] {
        match self {
            Self::NameShow => &["name_show"],
            Self::NameHistory => &["name_history"],
            Self::Sync => &["sync"],
            Self::Status => &["status"],
            Self::AnchorExport => &["anchor", "export"],
            Self::AnchorCheck => &["anchor", "check"],
            Self::Daemon => &["daemon"],
            Self::Rpc => &["rpc"],
            Self::Dns => &["dns"],
            Self::Tor => &["tor"],
            Self::Prop279 => &["prop279"],
            Self::Socks => &["socks"],
            Self::Resolve => &["resolve"],
            Self::TlsVerify => &["tls", "verify"],
            Self::TlsPin => &["tls", "pin"],
            Self::ConfigShow => &["config", "show"],
            Self::Servers => &["servers"],
            Self::NameScan => &["name_scan"],
            Self::Dump => &["dump"],
        }
    }
}

/// Where help and the example file show an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Every command knows it, before its name and behind; one that does not use it refuses it.
    Every,
    Own,
    Dns,
    Tor,
    Socks,
}

impl Section {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 5] = [Self::Every, Self::Own, Self::Dns, Self::Tor, Self::Socks];

    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Every => "Options of every command",
            Self::Own => "Options",
            Self::Dns => "DNS options",
            Self::Tor => "Tor options",
            Self::Socks => "SOCKS options",
        }
    }
}

/// What a default may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis {
    pub(crate) network: Network,
    pub(crate) command: CommandName,
}

/// What is declared of an option beside the types of its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// Its name on the command line, without dashes, and its key in the configuration file.
    pub(crate) name: &'static str,
    /// What its value is called in help texts.
    pub(crate) value_name: &'static str,
    /// One line for `-h`, `--help`, the manual and the example file, without the default.
    pub(crate) help: &'static str,
    /// What `--help`, the manual and the example file say beyond it, or nothing.
    pub(crate) more: &'static str,
    /// The default in words, where the value itself would say nothing or differs from machine to machine.
    pub(crate) default_words: Option<&'static str>,
    pub(crate) section: Section,
    /// The commands that use it. They accept it, and are stopped by a bad value; others are not.
    pub(crate) commands: &'static [CommandName],
    /// Other names that it has on the command line of a command.
    pub(crate) aliases: &'static [(CommandName, &'static str)],
    pub(crate) bounds: Bounds,
    /// What stands between several values that are given in one text.
    pub(crate) separator: char,
    /// Whether its value is never shown.
    pub(crate) is_secret: bool,
    /// Whether the configuration file may have it.
    pub(crate) in_file: bool,
}

impl Spec {
    /// Returns the environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Says whether a command uses the option.
    pub(crate) fn is_used_by(&self, command: CommandName) -> bool {
        command == CommandName::ConfigShow || self.commands.contains(&command)
    }
}

/// How many values an option has.
pub(crate) trait Arity: 'static {
    type Item: Item;
    /// What the program gets.
    type Value;
    /// Whether there may be several.
    const MANY: bool;

    /// Makes the value of what was given; `None` where that is too little, and the default holds.
    fn gather(items: Vec<Self::Item>) -> Option<Self::Value>;

    /// Writes the value, one text for each item.
    fn texts(value: &Self::Value) -> Vec<String>;
}

/// One value, which there always is.
pub(crate) struct Required<T>(T);

/// One value or none.
pub(crate) struct Optional<T>(T);

/// Any number of values.
pub(crate) struct Many<T>(T);

impl<T: Item> Arity for Required<T> {
    type Item = T;
    type Value = T;
    const MANY: bool = false;

    fn gather(items: Vec<T>) -> Option<T> {
        items.into_iter().next_back()
    }

    fn texts(value: &T) -> Vec<String> {
        vec![value.text()]
    }
}

impl<T: Item> Arity for Optional<T> {
    type Item = T;
    type Value = Option<T>;
    const MANY: bool = false;

    fn gather(items: Vec<T>) -> Option<Option<T>> {
        items.into_iter().next_back().map(Some)
    }

    fn texts(value: &Option<T>) -> Vec<String> {
        value.iter().map(Item::text).collect()
    }
}

impl<T: Item> Arity for Many<T> {
    type Item = T;
    type Value = Vec<T>;
    const MANY: bool = true;

    fn gather(items: Vec<T>) -> Option<Vec<T>> {
        Some(items).filter(|items| !items.is_empty())
    }

    fn texts(value: &Vec<T>) -> Vec<String> {
        value.iter().map(Item::text).collect()
    }
}

/// The declaration of an option.
pub(crate) struct Opt<A: Arity> {
    pub(crate) spec: Spec,
    default: fn(Basis) -> A::Value,
    /// What one value at a time can't show to be wrong.
    check: fn(&A::Value) -> Result<(), String>,
}

impl<A: Arity> Opt<A> {
    /// Declares an option: its name, what its value is called, a line of help, its default.
    pub(super) const fn new(
        name: &'static str,
        value_name: &'static str,
        help: &'static str,
        default: fn(Basis) -> A::Value,
    ) -> Self {
        Self {
            spec: Spec {
                name,
                value_name,
                help,
                more: "",
                default_words: None,
                section: Section::Own,
                commands: &[],
                aliases: &[],
                bounds: A::Item::BOUNDS,
                separator: ',',
                is_secret: false,
                in_file: true,
            },
            default,
            check: |_| Ok(()),
        }
    }

    /// Names the commands that use the option.
    pub(super) const fn used_by(mut self, commands: &'static [CommandName]) -> Self {
        self.spec.commands = commands;
        self
    }

    /// Says where the option is shown.
    pub(super) const fn section(mut self, section: Section) -> Self {
        self.spec.section = section;
        self
    }

    /// Bounds a number's value, or a text's length in bytes.
    pub(super) const fn between(mut self, least: u64, most: u64) -> Self {
        self.spec.bounds = (least, most);
        self
    }

    /// Adds what only the long help says.
    pub(super) const fn more(mut self, more: &'static str) -> Self {
        self.spec.more = more;
        self
    }

    /// Says in words what the default is.
    pub(super) const fn default_words(mut self, words: &'static str) -> Self {
        self.spec.default_words = Some(words);
        self
    }

    /// Gives the option other names on the command lines of some commands.
    pub(super) const fn aliases(mut self, aliases: &'static [(CommandName, &'static str)]) -> Self {
        self.spec.aliases = aliases;
        self
    }

    /// Takes several values in one text to stand on lines of their own, since they may hold commas.
    pub(super) const fn one_a_line(mut self) -> Self {
        self.spec.separator = '\n';
        self
    }

    /// Has the value never shown.
    pub(super) const fn secret(mut self) -> Self {
        self.spec.is_secret = true;
        self
    }

    /// Keeps the option out of the configuration file.
    pub(super) const fn not_in_file(mut self) -> Self {
        self.spec.in_file = false;
        self
    }

    /// Looks at all values together.
    pub(super) const fn checked(mut self, check: fn(&A::Value) -> Result<(), String>) -> Self {
        self.check = check;
        self
    }

    /// Returns the default.
    pub(super) fn default(&self, basis: Basis) -> A::Value {
        (self.default)(basis)
    }

    /// Reads what was given; `None` where nothing was, and the default holds.
    ///
    /// # Errors
    ///
    /// [`ValueError`] for the first value that the option can't have.
    pub(super) fn read(&self, given: &Given) -> Result<Option<A::Value>, ValueError> {
        let error = |value: Option<String>, problem| ValueError {
            option: self.spec.name,
            origin: given.origin.clone(),
            value: value.filter(|_| !self.spec.is_secret),
            problem,
            allowed: self.allowed(),
        };
        let texts = match &given.values {
            Ok(texts) => texts,
            Err(source) => return Err(error(Some(source.clone()), Problem::NotAllowed)),
        };
        let mut items = Vec::new();
        for text in texts {
            let item = A::Item::parse_os(text, self.spec.bounds);
            items.push(item.map_err(|problem| error(Some(text.to_string_lossy().into_owned()), problem))?);
        }
        let Some(value) = A::gather(items) else {
            return Ok(None);
        };
        (self.check)(&value).map_err(|words| error(None, Problem::Refused(words)))?;
        Ok(Some(value))
    }
}

/// What one source says of an option. `Debug` hides the values, among which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) origin: Origin,
    /// The values as texts, none where the option is cleared; or what stands in a file in place of a value of the
    /// option's shape.
    pub(crate) values: Result<Vec<OsString>, String>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// An option, whatever the type of its values.
pub(crate) trait Declared: Sync {
    fn spec(&self) -> &Spec;

    /// How each of its values is written in a configuration file.
    fn shape(&self) -> Shape;

    /// Whether it may have several values.
    fn is_many(&self) -> bool;

    /// Returns what is allowed, as words that follow "give".
    fn allowed(&self) -> String;

    /// Returns the default's values as texts.
    fn default_texts(&self, basis: Basis) -> Vec<String>;

    /// Reads what was given, and returns its values each in the one way that equal values are written in; `None`
    /// where nothing was given, and the default holds.
    ///
    /// # Errors
    ///
    /// [`ValueError`] for the first value that the option can't have.
    fn canonical(&self, given: &Given) -> Result<Option<Vec<String>>, ValueError>;

    /// Returns at least two values that are allowed and differ, as texts. The first is a good example.
    fn samples(&self) -> Vec<String>;

    /// Returns all values as texts, where they are few words.
    fn words(&self) -> Vec<&'static str>;

    /// Says to a shell what kind of value to complete.
    fn hint(&self) -> clap::ValueHint;

    /// Returns a text that is no value of it.
    #[cfg(test)]
    fn bad(&self) -> String;
}

impl<A: Arity> Declared for Opt<A> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn shape(&self) -> Shape {
        A::Item::SHAPE
    }

    fn is_many(&self) -> bool {
        A::MANY
    }

    fn allowed(&self) -> String {
        A::Item::allowed(self.spec.bounds)
    }

    fn default_texts(&self, basis: Basis) -> Vec<String> {
        A::texts(&self.default(basis))
    }

    fn canonical(&self, given: &Given) -> Result<Option<Vec<String>>, ValueError> {
        Ok(self.read(given)?.as_ref().map(A::texts))
    }

    fn samples(&self) -> Vec<String> {
        A::Item::samples(self.spec.bounds)
    }

    fn words(&self) -> Vec<&'static str> {
        A::Item::all_words()
    }

    fn hint(&self) -> clap::ValueHint {
        A::Item::HINT
    }

    #[cfg(test)]
    fn bad(&self) -> String {
        A::Item::bad(self.spec.bounds)
    }
}

/// Splits a text that may hold several values; an empty one holds none, but where the option is written without
/// quotes it is no value.
pub(super) fn split(option: &dyn Declared, text: &OsStr) -> Vec<OsString> {
    if text.is_empty() && option.shape() == Shape::Text {
        return Vec::new();
    }
    match text.to_str() {
        Some(text) if option.is_many() => text
            .split(option.spec().separator)
            .map(|text| text.trim().into())
            .collect(),
        _ => vec![text.to_owned()],
    }
}
