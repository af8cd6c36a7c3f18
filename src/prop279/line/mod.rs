//! What the lines say. Source: Proposal 279, sections 2.4 to 2.6; the isolation ID is an extension of `StemNS`.
//!
//! | direction | line |
//! | --- | --- |
//! | plugin -> caller | `INIT <version> <status> [<message>]` |
//! | caller -> plugin | `RESOLVE <query id> <name> [<isolation id>]` |
//! | plugin -> caller | `RESOLVED <query id> <status> <result or message>` |
//! | caller -> plugin | `CANCEL <query id>` |
//! | plugin -> caller | `CANCELED <query id>` |
//!
//! Any number of spaces and tabs separate words when a line is read. What is written is made of [`Word`]s, checked
//! [`Target`]s, numbers and fixed text, so that nobody's name or value can end a line.
//!
//! | type | written by | read by |
//! | --- | --- | --- |
//! | [`OutgoingQuery`], read as [`PluginQuery`] | the host (the caller) | the plugin |
//! | [`OutgoingReply`], read as [`PluginReply`] | the plugin | the host |
//!
//! What is read is of other types than what is written, since a stranger may write anything.

mod word;

pub use word::Word;

use std::fmt;

use super::line_decoder::PluginLine;
use crate::isolation::IsolationId;
use crate::naming::name::{folded, is_host_name};
use crate::naming::target::{Failure, Target};

/// The only version of the protocol.
pub const VERSION: &str = "1";

/// Longest message of a failed start in bytes.
const MAX_MESSAGE: usize = 256;

/// The number of a query, which the caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub i64);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The outcome of a query, which is written as a number. Source: Proposal 279, section 2.5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStatus {
    /// 0: there is a result.
    Success,
    /// 1: something went wrong.
    Generic,
    /// 2: it is no name for this plugin.
    NotHandled,
    /// 3: nobody has the name, or it stands for nothing, which will be no other soon.
    NotRegistered,
    /// 4: it took too long.
    Timeout,
    /// Any other number.
    Unknown,
}

impl ReplyStatus {
    fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::Generic,
            2 => Self::NotHandled,
            3 => Self::NotRegistered,
            4 => Self::Timeout,
            _ => Self::Unknown,
        }
    }

    /// Returns the number that says why there is no result.
    fn of(failure: Failure) -> u8 {
        match failure {
            Failure::NotHandled => 2,
            // Callers ask again for a minute after 1 and 4, so these are for what may pass alone.
            Failure::NotRegistered | Failure::NoTarget | Failure::Invalid | Failure::Broken => 3,
            Failure::Timeout => 4,
            Failure::Unavailable => 1,
        }
    }
}

/// A line that a caller writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingQuery {
    /// Look a name up.
    Resolve {
        /// The number of the query.
        query: QueryId,
        /// What to look up.
        name: Word,
        /// The isolation ID to look it up under; `None` is the default identity.
        id: Option<Word>,
    },
    /// Do not look a name up any more.
    Cancel(QueryId),
}

/// Writes the line with its end.
impl fmt::Display for OutgoingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { query, name, id } => {
                write!(f, "RESOLVE {query} {}", name.as_str())?;
                if let Some(id) = id {
                    write!(f, " {}", id.as_str())?;
                }
                f.write_str("\n")
            }
            Self::Cancel(query) => writeln!(f, "CANCEL {query}"),
        }
    }
}

/// A line that a plugin writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingReply {
    /// The plugin is ready.
    Ready,
    /// The plugin can't start, and why. Of the text only the beginning is written, as far as it is printable ASCII.
    Unready(String),
    /// What a name stands for.
    Resolved {
        /// The number of the query.
        query: QueryId,
        /// What the name stands for.
        target: Target,
    },
    /// Why a name stands for nothing.
    Failed {
        /// The number of the query.
        query: QueryId,
        /// Why.
        failure: Failure,
        /// The name as it was asked for, where it could be read. It is written only when it could be a host's.
        name: Option<Word>,
    },
    /// A query is not looked up any more.
    Canceled(QueryId),
}

/// Writes the line with its end. Messages are those of ncprop279, where it has one.
impl fmt::Display for OutgoingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => writeln!(f, "INIT {VERSION} 0"),
            Self::Unready(message) => {
                let printable = |c: &char| (*c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '\\');
                let message: String = message.chars().filter(printable).take(MAX_MESSAGE).collect();
                writeln!(f, "INIT {VERSION} 1 \"{message}\"")
            }
            Self::Resolved { query, target } => match target {
                // Whoever made it ought to have checked it, but this is what an injected line would pass through.
                Target::Host(name) if !is_host_name(name) => failed(f, *query, Failure::Broken, None),
                target => writeln!(f, "RESOLVED {query} 0 {target}"),
            },
            Self::Failed { query, failure, name } => failed(f, *query, *failure, name.as_ref()),
            Self::Canceled(query) => writeln!(f, "CANCELED {query}"),
        }
    }
}

fn failed(f: &mut fmt::Formatter<'_>, query: QueryId, failure: Failure, name: Option<&Word>) -> fmt::Result {
    let name = name.map(Word::as_str);
    let name = name.filter(|name| is_host_name(&folded(name))).unwrap_or("The name");
    write!(f, "RESOLVED {query} {} ", ReplyStatus::of(failure))?;
    match failure {
        Failure::NotRegistered => writeln!(f, "\"{name} is not registered\""),
        Failure::NoTarget => writeln!(f, "\"{name} has nothing to connect to\""),
        Failure::NotHandled => writeln!(f, "\"{name} is not a Namecoin domain\""),
        Failure::Timeout => writeln!(f, "\"Timeout\""),
        Failure::Invalid => writeln!(f, "\"{name} is no valid domain name\""),
        Failure::Broken => writeln!(f, "\"{name} has a value that cannot be used\""),
        Failure::Unavailable => writeln!(f, "\"Server failure\""),
    }
}

/// A line that a plugin reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginQuery {
    /// Look a name up. What follows the isolation ID is ignored.
    Resolve {
        /// The number of the query.
        query: QueryId,
        /// What to look up.
        name: Word,
        /// The isolation ID to look it up under; `None` is the default identity.
        id: Option<IsolationId>,
    },
    /// Do not look a name up any more.
    Cancel(QueryId),
    /// A query that makes no sense, but has a number to answer under.
    Malformed(QueryId),
    /// An unknown keyword, or nothing that could be answered.
    Ignored,
}

impl PluginQuery {
    /// Parses a line.
    pub fn parse(line: &PluginLine) -> Self {
        let (mut words, whole) = words(line);
        match (words.next(), query_id(words.next())) {
            (Some(b"RESOLVE"), Some(query)) => {
                let name = words.next().filter(|_| whole).and_then(Word::from_bytes);
                let id = words.next().map(IsolationId::new);
                match (name, id) {
                    (None, _) | (_, Some(None)) => Self::Malformed(query),
                    (Some(name), id) => Self::Resolve {
                        query,
                        name,
                        id: id.flatten(),
                    },
                }
            }
            (Some(b"CANCEL"), Some(query)) if whole => Self::Cancel(query),
            _ => Self::Ignored,
        }
    }
}

/// A line that a caller reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginReply {
    /// The plugin is ready, and speaks the version that there is.
    Ready,
    /// It can't start, or speaks another version.
    Unready,
    /// What a name stands for, unchecked: the first word of the result.
    Resolved(QueryId, Word),
    /// A name stands for nothing. The status is not [`ReplyStatus::Success`].
    Failed(QueryId, ReplyStatus),
    /// A query is not looked up any more.
    Canceled(QueryId),
    /// A reply that makes no sense, but belongs to a query.
    Malformed(QueryId),
    /// An unknown keyword, or nothing that belongs to a query.
    Ignored,
}

impl PluginReply {
    /// Parses a line.
    pub fn parse(line: &PluginLine) -> Self {
        let (mut words, whole) = words(line);
        match (words.next(), words.next()) {
            (Some(b"INIT"), version) => {
                let agreed = version == Some(VERSION.as_bytes()) && number(words.next()) == Some(0);
                if whole && agreed { Self::Ready } else { Self::Unready }
            }
            (Some(b"RESOLVED"), query) => match (query_id(query), number(words.next())) {
                (None, _) => Self::Ignored,
                (Some(query), Some(status)) if whole => match ReplyStatus::from_number(status) {
                    ReplyStatus::Success => match words.next().and_then(Word::from_bytes) {
                        Some(result) => Self::Resolved(query, result),
                        None => Self::Malformed(query),
                    },
                    status => Self::Failed(query, status),
                },
                (Some(query), _) => Self::Malformed(query),
            },
            (Some(b"CANCELED"), query) if whole => query_id(query).map_or(Self::Ignored, Self::Canceled),
            _ => Self::Ignored,
        }
    }
}

/// Returns the words of a line, and whether they are the whole line. A word that may have been cut off is left out.
fn words(line: &PluginLine) -> (impl Iterator<Item = &[u8]>, bool) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (bytes, whole) = match line {
        PluginLine::Whole(bytes) => (bytes.as_slice(), true),
        PluginLine::Overlong(bytes) => {
            let cut = bytes.iter().rposition(is_space).unwrap_or_default();
            (bytes.get(..cut).unwrap_or_default(), false)
        }
    };
    (bytes.split(is_space).filter(|word| !word.is_empty()), whole)
}

fn number(word: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

fn query_id(word: Option<&[u8]>) -> Option<QueryId> {
    number(word).map(QueryId)
}

#[cfg(test)]
mod tests;
