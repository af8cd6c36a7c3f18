//! What the operator of all servers sees, and, kept apart from it, what is true.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a message is, as far as a server cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `server.version` and `server.features`.
    Greeting,
    /// A sign of life.
    Ping,
    /// For other servers, which only header sync's connections are to carry.
    Peers,
    /// To be told of new blocks, which only header sync wants.
    Subscription,
    /// For headers: by sync, and by whoever wants small replies not to be held back.
    Header,
    /// Everything that has to do with names.
    Lookup,
    /// An answer.
    Reply,
    /// Word of a new block.
    Notice,
}

/// So much of a line tells what it is, in bytes.
const BEGINNING: usize = 256;

impl What {
    pub(super) fn of(from: Side, line: &[u8]) -> Self {
        // What matters is in the beginning, and answers may be long.
        let line = String::from_utf8_lossy(&line[..line.len().min(BEGINNING)]);
        let has = |word: &str| line.contains(word);
        match from {
            Side::Server if has("\"method\"") => Self::Notice,
            Side::Server => Self::Reply,
            Side::Client if has("\"server.ping\"") => Self::Ping,
            Side::Client if has("\"server.peers.subscribe\"") => Self::Peers,
            Side::Client if has("\"server.") => Self::Greeting,
            Side::Client if has("\"blockchain.headers.subscribe\"") => Self::Subscription,
            Side::Client if has("\"blockchain.block.") => Self::Header,
            Side::Client => Self::Lookup,
        }
    }
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Seconds since the world began.
    pub at: f64,
    pub from: Side,
    pub what: What,
    pub bytes: usize,
    /// Which name a lookup is about: the beginning of its scripthash.
    pub name: Option<u64>,
    /// Equal for requests that ask the same, but for the name and the request's number.
    pub words: u64,
}

impl Message {
    /// Reads a line.
    pub fn of(at: f64, from: Side, line: &[u8]) -> Self {
        let what = What::of(from, line);
        Self {
            at,
            from,
            what,
            bytes: line.len(),
            name: if what == What::Lookup { name_of(line) } else { None },
            words: if from == Side::Client { words_of(line) } else { 0 },
        }
    }
}

fn words_of(line: &[u8]) -> u64 {
    let request: Value = serde_json::from_slice(line).unwrap_or_default();
    let params = request["params"].to_string();
    let mut hasher = DefaultHasher::new();
    request["method"].as_str().hash(&mut hasher);
    let words = params.split(|c: char| !c.is_alphanumeric() && c != '.');
    words
        .filter(|word| word.len() != 64)
        .for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}

/// Returns the beginning of the first 32 bytes in hex that a line has, where it is no transaction that is asked for.
fn name_of(line: &[u8]) -> Option<u64> {
    let beginning = &line[..line.len().min(BEGINNING)];
    if String::from_utf8_lossy(beginning).contains("\"blockchain.transaction.") {
        return None;
    }
    let mut words = line.split(|byte| !byte.is_ascii_hexdigit());
    let hash = words.find(|word| word.len() == 64)?;
    u64::from_str_radix(&String::from_utf8_lossy(&hash[..16]), 16).ok()
}

/// One connection as the operator sees it: each comes from another exit.
#[derive(Clone, Debug)]
pub struct Seen {
    pub server: usize,
    pub opened: f64,
    pub messages: Vec<Message>,
    /// When, and who closed first.
    pub closed: Option<(f64, Side)>,
}

impl Seen {
    pub fn times(&self, what: What) -> impl Iterator<Item = f64> {
        self.messages.iter().filter(move |it| it.what == what).map(|it| it.at)
    }

    /// Whether it is one of header sync.
    pub fn is_sync(&self) -> bool {
        self.times(What::Subscription).next().is_some()
    }

    /// When it was first used for a name.
    pub fn first_use(&self) -> Option<f64> {
        self.times(What::Lookup).next()
    }

    pub fn closed_at(&self) -> Option<f64> {
        self.closed.map(|(at, _)| at)
    }
}

/// What no operator is told of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// The daemon whose it is.
    pub owner: usize,
    /// When the daemon began to open it.
    pub dialed: f64,
}

/// All connections, and what is true of each.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub seen: Vec<Seen>,
    pub truth: Vec<Truth>,
}

/// Takes a record down.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Arc<Mutex<Record>>);

impl Recorder {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.record())
    }

    pub(super) fn open(&self, truth: Truth, server: usize, opened: f64) -> usize {
        let mut record = self.record();
        record.truth.push(truth);
        record.seen.push(Seen {
            server,
            opened,
            messages: Vec::new(),
            closed: None,
        });
        record.seen.len() - 1
    }

    pub(super) fn line(&self, connection: usize, at: f64, from: Side, line: &[u8]) {
        let message = Message::of(at, from, line);
        self.record().seen[connection].messages.push(message);
    }

    /// Takes the messages of a connection out.
    pub(super) fn take(&self, connection: usize) -> Vec<Message> {
        std::mem::take(&mut self.record().seen[connection].messages)
    }

    pub(super) fn close(&self, connection: usize, at: f64, by: Side) {
        self.record().seen[connection].closed.get_or_insert((at, by));
    }
}
