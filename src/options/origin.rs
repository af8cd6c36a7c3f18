//! Where a value comes from, and what is wrong with one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use isonym::jsonrpc::client::without_login;

/// Most characters of a wrong value that an error repeats.
const SHOWN: usize = 80;

/// Where the value of an option comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File {
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// This environment variable.
    Variable(String),
    /// This option of the command line, without its dashes.
    CommandLine(&'static str),
}

impl Origin {
    /// Which of two sources wins: the one with the higher rank.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::CommandLine(_) => 3,
        }
    }

    /// Says whether it is the configuration file.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Names the option `key` as it stands in this source, so that the user finds it.
    pub(super) fn of_key(&self, key: &str) -> String {
        match self {
            Self::File { .. } => format!("{self}: {key}"),
            Self::Default | Self::Variable(_) | Self::CommandLine(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine(name) => write!(f, "--{name}"),
        }
    }
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is not among what the option allows.
    NotAllowed,
    /// Its type has words of its own for it, which say what would be allowed.
    Refused(String),
}

/// A value that an option cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueError {
    /// The option.
    pub(crate) option: &'static str,
    /// Who gave the value.
    pub(crate) origin: Origin,
    /// The value, unless it is a secret.
    pub(crate) value: Option<String>,
    /// Why it can't be.
    pub(crate) problem: Problem,
    /// What could be, as words that follow "give".
    pub(crate) allowed: String,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().map(shown);
        match (&self.origin, value) {
            (Origin::CommandLine(_), Some(value)) => write!(f, "{} {value}", self.origin)?,
            (Origin::Variable(_), Some(value)) => write!(f, "{}={value}", self.origin)?,
            (Origin::File { .. } | Origin::Default, Some(value)) => {
                write!(f, "{}: {} = {value}", self.origin, self.option)?;
            }
            (_, None) => f.write_str(&self.origin.of_key(self.option))?,
        }
        match &self.problem {
            Problem::NotAllowed => write!(f, ": give {}", self.allowed),
            Problem::Refused(words) => write!(f, ": {words}"),
        }
    }
}

impl std::error::Error for ValueError {}

/// Returns a value as an error repeats it: in one line, not too long, and without what may be a password in an address.
fn shown(value: &str) -> String {
    let value = without_login(value);
    let length = value.chars().count();
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if length > SHOWN {
        shown.push_str("...");
    }
    shown
}

/// An option of the command line that the command does not use. The environment and the file may speak to all commands at
/// once, but who gives an option with a command believes that it does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnusedOption {
    /// The option, as it stands on the command line.
    pub(super) given: Origin,
    /// The words that name the command.
    pub(super) command: &'static [&'static str],
}

impl fmt::Display for UnusedOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command.join(" ");
        write!(f, "{} has no effect on `isonym {command}`: leave it out", self.given)
    }
}

impl std::error::Error for UnusedOption {}

/// Options that don't go with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelationError {
    /// Two that exclude each other were given in one source.
    Exclusive(String, String),
    /// One was given without the other that belongs to it.
    Apart {
        /// What was given, as it stands in its source.
        given: String,
        /// The option that is missing.
        missing: &'static str,
    },
    /// One says something of another that isn't there.
    Needs {
        /// What was given, as it stands in its source.
        given: String,
        /// The option that is missing.
        missing: &'static str,
    },
}

impl fmt::Display for RelationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclusive(one, other) => write!(f, "{one} and {other} exclude each other; give one of them"),
            Self::Apart { given, missing } => {
                write!(f, "{given} and --{missing} go together; give both or none")
            }
            Self::Needs { given, missing } => write!(f, "{given} goes with --{missing}, which is not given"),
        }
    }
}

impl std::error::Error for RelationError {}
