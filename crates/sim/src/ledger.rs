//! The ledger: who saw what.
//!
//! Servers and proxy write into one, and tests ask it what somebody who ran them all could have put together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use isonym_core::chain::Height;
use isonym_core::isolation::ConnId;
use isonym_core::time::Moment;

/// How a proxy was told where to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// By host name (ATYP 3).
    Name(String),
    /// By an IP address (ATYP 1 or 4), as text.
    Address(String),
}

/// User and password of a SOCKS5 handshake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// One request to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// When it came.
    pub at: Moment,
    /// The credentials; `None` when the client used no authentication.
    pub credentials: Option<Credentials>,
    /// The host.
    pub target: Target,
    /// The port.
    pub port: u16,
    /// The local port from which the proxy went on to the server; `None` when it refused.
    pub onward: Option<u16>,
    /// What went over it so far.
    pub traffic: Traffic,
}

/// Bytes between clients and servers, as they left the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To servers.
    pub up: u64,
    /// To clients.
    pub down: u64,
}

impl Traffic {
    fn add(&mut self, up: u64, down: u64) {
        self.up = self.up.saturating_add(up);
        self.down = self.down.saturating_add(down);
    }
}

/// One connection to a server, or to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its number, counted over all servers of the ledger.
    pub conn: ConnId,
    /// The name of the server or peer.
    pub server: String,
    /// When it was opened.
    pub opened: Moment,
    /// The port that it came from.
    pub peer: u16,
    /// What was asked over it, in order.
    pub requests: Vec<Request>,
    /// Whether it has ended.
    pub closed: bool,
    /// Why the server cut it off, if it did.
    pub cut: Option<Cut>,
}

/// Why a server that keeps accounts cut a connection off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It owed too much (error −101).
    Debt,
    /// A reply waited too long for the client to read the one before it.
    Stall,
}

/// One request line, or one message to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub at: Moment,
    /// The methods in it: one, or those of a batch. Of a message, what it is called.
    pub methods: Vec<String>,
    /// The line itself. Of a message, what is in it, in words.
    pub line: String,
    /// The heights of the blocks that a message asks for (`getdata`), or of the block above which it asks for headers
    /// (`getheaders`).
    pub heights: Vec<Height>,
}

#[derive(Debug, Default)]
struct Entries {
    proxied: Vec<Proxied>,
    connections: Vec<Connection>,
}

/// A record that servers and proxies share; clones write into the same one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

impl Ledger {
    /// Starts an empty record.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a request to a proxy; returns its place in [`Self::proxied`].
    pub fn record_proxied(&self, proxied: Proxied) -> usize {
        let mut entries = self.entries();
        entries.proxied.push(proxied);
        entries.proxied.len() - 1
    }

    /// Writes down that so many bytes went to the server, and to the client, of a request to a proxy.
    pub fn record_traffic(&self, way: usize, up: usize, down: usize) {
        let [up, down] = [up, down].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some(proxied) = self.entries().proxied.get_mut(way) {
            proxied.traffic.add(up, down);
        }
    }

    /// Writes down a new connection to a server and numbers it.
    pub fn record_connection(&self, server: &str, peer: u16, at: Moment) -> ConnId {
        let mut entries = self.entries();
        let conn = ConnId(u64::try_from(entries.connections.len()).unwrap_or(u64::MAX));
        entries.connections.push(Connection {
            conn,
            server: server.to_owned(),
            opened: at,
            peer,
            requests: Vec::new(),
            closed: false,
            cut: None,
        });
        conn
    }

    /// Writes down a request line.
    pub fn record_request(&self, conn: ConnId, line: &[u8], at: Moment) {
        let request = Request {
            at,
            methods: methods(line),
            line: String::from_utf8_lossy(line).into_owned(),
            heights: Vec::new(),
        };
        self.with_connection(conn, |connection| connection.requests.push(request));
    }

    /// Writes down a message to a peer: what it is called, what is in it, which heights it asks for.
    pub fn record_message(&self, conn: ConnId, command: &str, content: String, heights: Vec<Height>, at: Moment) {
        let request = Request {
            at,
            methods: vec![command.to_owned()],
            line: content,
            heights,
        };
        self.with_connection(conn, |connection| connection.requests.push(request));
    }

    /// Writes down that a connection has ended.
    pub fn record_end(&self, conn: ConnId) {
        self.with_connection(conn, |connection| connection.closed = true);
    }

    /// Writes down that the server cut a connection off.
    pub fn record_cut(&self, conn: ConnId, cut: Cut) {
        self.with_connection(conn, |connection| connection.cut = Some(cut));
    }

    fn with_connection(&self, conn: ConnId, change: impl FnOnce(&mut Connection)) {
        let mut entries = self.entries();
        let index = usize::try_from(conn.0).unwrap_or(usize::MAX);
        if let Some(connection) = entries.connections.get_mut(index) {
            change(connection);
        }
    }

    /// Returns all requests to the proxy, in order.
    pub fn proxied(&self) -> Vec<Proxied> {
        self.entries().proxied.clone()
    }

    /// Returns what went through all proxies together.
    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        for Proxied { traffic, .. } in &self.entries().proxied {
            sum.add(traffic.up, traffic.down);
        }
        sum
    }

    /// Returns all connections to servers, in order.
    pub fn connections(&self) -> Vec<Connection> {
        self.entries().connections.clone()
    }

    /// Returns the connections to servers, each with the proxy request that it came by; `None` for one that came
    /// past the proxy.
    ///
    /// They are matched by the port that the proxy went on from; a port that was used again, in the order of use.
    pub fn circuits(&self) -> Vec<(Connection, Option<Proxied>)> {
        let entries = self.entries();
        let mut taken = vec![false; entries.proxied.len()];
        entries
            .connections
            .iter()
            .map(|connection| {
                let mut candidates = entries.proxied.iter().zip(&mut taken);
                let way = candidates.find(|(way, taken)| !**taken && way.onward == Some(connection.peer));
                let way = way.map(|(way, taken)| {
                    *taken = true;
                    way.clone()
                });
                (connection.clone(), way)
            })
            .collect()
    }

    /// Returns the connections over which a line with `text` in it was sent.
    pub fn connections_that_asked(&self, text: &str) -> Vec<Connection> {
        let entries = self.entries();
        let asked = |connection: &&Connection| connection.requests.iter().any(|request| request.line.contains(text));
        entries.connections.iter().filter(asked).cloned().collect()
    }

    /// Returns which heights were asked for over each connection in messages of this name, in order.
    pub fn heights_asked(&self, command: &str) -> Vec<(ConnId, Vec<Height>)> {
        let entries = self.entries();
        let asked = entries.connections.iter().map(|connection| {
            let requests = connection.requests.iter();
            let requests = requests.filter(|request| request.methods.iter().any(|known| known == command));
            let heights = requests.flat_map(|request| request.heights.iter().copied());
            (connection.conn, heights.collect::<Vec<_>>())
        });
        asked.filter(|(_, heights)| !heights.is_empty()).collect()
    }

    /// Returns all request lines with this method, with their connection.
    pub fn requests_of(&self, method: &str) -> Vec<(ConnId, Request)> {
        let entries = self.entries();
        let requests = entries
            .connections
            .iter()
            .flat_map(|connection| connection.requests.iter().map(|request| (connection.conn, request)));
        requests
            .filter(|(_, request)| request.methods.iter().any(|known| known == method))
            .map(|(conn, request)| (conn, request.clone()))
            .collect()
    }
}

fn methods(line: &[u8]) -> Vec<String> {
    let method = |request: &Value| Some(request.get("method")?.as_str()?.to_owned());
    match serde_json::from_slice(line) {
        Ok(Value::Array(batch)) => batch.iter().filter_map(method).collect(),
        Ok(single) => method(&single).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}
