//! An Electrum server over a simulated chain, as a function from request lines to reply lines.

mod reply;

use std::time::Duration;

use bitcoin::BlockHash;
use serde_json::{Value, json};

pub(super) use self::reply::turned_down;
use self::reply::{Reply, notification};
use super::arguments::{Arguments, RpcError};
use super::chain::SimChain;
use super::cost::{self, Cost};
use super::fault::Fault;
use super::methods::Answerer;
use super::release::{Release, Version};
use super::skeleton::Denial;

/// Longest request line that is read, in bytes.
pub const MAX_LINE: usize = 1_000_000;

/// So many bytes are never held back.
pub const HOLD_BELOW: usize = 1024;

/// What a driver has to do for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Lines to send, without their newlines.
    pub lines: Vec<Vec<u8>>,
    /// How long to wait before they are sent.
    pub delay: Duration,
    /// How long to hold them back since something was last sent, unless [`HOLD_BELOW`] bytes wait.
    pub hold: Duration,
    /// What to do after they are sent.
    pub then: Then,
    /// What a server that keeps accounts charges for the request, beside the bytes.
    pub cost: Cost,
}

impl Output {
    fn closing(lines: Vec<Vec<u8>>) -> Self {
        Self {
            lines,
            then: Then::Close,
            ..Self::default()
        }
    }
}

/// What follows the reply lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    #[default]
    GoOn,
    /// The end of the connection.
    Close,
    /// These bytes again and again, until the client hangs up.
    Forever(Vec<u8>),
}

/// What a server remembers of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    version: Option<Version>,
    /// The tip that a subscriber was told last.
    told: Option<BlockHash>,
    replies: usize,
    bytes: usize,
}

/// A server: a release of ElectrumX with at most one fault.
#[derive(Clone, Debug)]
pub struct Server {
    release: Release,
    fault: Option<Fault>,
    limits: Option<cost::Limits>,
    /// The hosts that it says it is reached at.
    hosts: Vec<String>,
    /// What it says of other servers, in the shape of `server.peers.subscribe`, or any other.
    peers: Value,
    /// The chain that it claims instead of the true one with this tip.
    doctored: Option<(BlockHash, SimChain)>,
}

impl Server {
    /// Makes a server.
    pub fn new(release: Release, fault: Option<Fault>) -> Self {
        Self {
            release,
            fault,
            limits: None,
            hosts: Vec::new(),
            peers: Value::Array(Vec::new()),
            doctored: None,
        }
    }

    /// Makes it keep accounts of what its clients use.
    #[must_use]
    pub fn limited(mut self, limits: cost::Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Makes it say that it is reached at a host, among those that it said before.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// Makes it answer with this when it is asked for other servers.
    #[must_use]
    pub fn telling_of(mut self, peers: Value) -> Self {
        self.peers = peers;
        self
    }

    /// Returns what it lets its clients use; `None`: what they like.
    pub fn limits(&self) -> Option<&cost::Limits> {
        self.limits.as_ref()
    }

    /// Returns what it does wrong.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Changes what it does wrong, for what comes next on every connection.
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.doctored = None;
    }

    /// Answers one line of a connection; `chain` is the true chain at the moment.
    pub fn on_line(&mut self, session: &mut Session, chain: &SimChain, line: &[u8]) -> Output {
        if self.fault == Some(Fault::Silent) {
            return Output::default();
        }
        if line.len() > MAX_LINE {
            return Output::closing(Vec::new());
        }
        let replies = match serde_json::from_slice::<Value>(line) {
            Err(_) => vec![Reply {
                cost: cost::BAD_JSON,
                ..Reply::refusal(&Value::Null, RpcError::new(-32700, "invalid JSON"))
            }],
            Ok(Value::Array(requests)) => self.batch(session, chain, &requests).into_iter().collect(),
            Ok(request) => self.single(session, chain, &request).into_iter().collect(),
        };
        let mut output = Output::default();
        for reply in replies {
            self.send(session, chain, reply, &mut output);
        }
        output
    }

    /// Tells a subscriber of the tip of `chain`, if it is new to it.
    pub fn on_block(&mut self, session: &mut Session, chain: &SimChain) -> Output {
        let mut output = Output::default();
        let Some(told) = session.told else { return output };
        if matches!(self.fault, Some(Fault::Silent | Fault::SilentAfterHandshake)) {
            return output;
        }
        let answerer = self.answerer(session, chain);
        let tip = answerer.chain.tip_hash();
        if tip != told {
            let line = notification(&answerer);
            session.told = Some(tip);
            session.bytes = session.bytes.saturating_add(line.len());
            output.delay = self.delay();
            output.lines.push(line);
        }
        output
    }

    fn delay(&self) -> Duration {
        match self.fault {
            Some(Fault::Slow { delay }) => delay,
            _ => Duration::ZERO,
        }
    }

    /// Returns what answers are made of, after the chain is doctored for the fault.
    fn answerer<'a>(&'a mut self, session: &Session, chain: &'a SimChain) -> Answerer<'a> {
        let tip = chain.tip_hash();
        if self.doctored.as_ref().is_none_or(|(of, _)| *of != tip) {
            let doctored = self.fault.as_ref().and_then(|fault| fault.doctored(chain));
            self.doctored = doctored.map(|doctored| (tip, doctored));
        }
        Answerer {
            chain: self.doctored.as_ref().map_or(chain, |(_, doctored)| doctored),
            release: self.release,
            version: session.version.unwrap_or(Version::OLDEST),
            fault: self.fault.as_ref(),
            hosts: &self.hosts,
            peers: &self.peers,
        }
    }

    /// Answers a batch as one array, last request first: the order is free, and a client must not lean on it.
    fn batch(&mut self, session: &mut Session, chain: &SimChain, requests: &[Value]) -> Option<Reply> {
        if requests.is_empty() {
            let error = RpcError::new(-32600, "batch is empty");
            return Some(Reply::refusal(&Value::Null, error));
        }
        let replies: Vec<Reply> = requests
            .iter()
            .filter_map(|request| self.single(session, chain, request))
            .collect();
        (!replies.is_empty()).then(|| Reply {
            close: replies.iter().any(|reply| reply.close),
            handshake: false,
            cost: replies.iter().map(|reply| reply.cost).sum(),
            value: replies.into_iter().rev().map(|reply| reply.value).collect(),
        })
    }

    /// Answers one request; a request without id or method gets no answer.
    fn single(&mut self, session: &mut Session, chain: &SimChain, request: &Value) -> Option<Reply> {
        let id = request.get("id").filter(|id| !id.is_null())?;
        let method = request.get("method").and_then(Value::as_str)?;
        if request.get("jsonrpc").is_none_or(|version| version != "2.0") {
            let error = RpcError::new(-32600, "\"jsonrpc\" is not \"2.0\"");
            return Some(Reply::refusal(id, error));
        }
        let arguments = Arguments(request.get("params"));
        if method == "server.version" {
            return Some(self.handshake(session, id, &arguments));
        }
        if session.version.is_none() && self.release.insists_on_handshake() {
            let error = RpcError::new(1, "use server.version to identify client");
            return Some(Reply {
                close: true,
                ..Reply::refusal(id, error)
            });
        }
        session.version.get_or_insert(Version::OLDEST);
        if self.fault == Some(Fault::Errors) {
            let error = RpcError::new(-32603, "internal server error");
            return Some(Reply::refusal(id, error));
        }
        let answerer = self.answerer(session, chain);
        let answer = answerer.answer(method, &arguments);
        if method == "blockchain.headers.subscribe" {
            session.told = Some(answerer.chain.tip_hash());
        }
        let answer = match answer {
            Ok(result) => Ok(result),
            Err(Denial::Error(error)) => Err(error),
            Err(Denial::Silence) => return None,
        };
        let cost = cost::price(method, &arguments, answer.as_ref());
        let reply = match answer {
            Ok(result) => Reply::result(id, result),
            Err(error) => Reply::refusal(id, error),
        };
        Some(Reply { cost, ..reply })
    }

    fn handshake(&self, session: &mut Session, id: &Value, arguments: &Arguments<'_>) -> Reply {
        let handshake = |reply: Reply, close| Reply {
            close,
            handshake: true,
            ..reply
        };
        if session.version.is_some() {
            let error = RpcError::new(1, "server.version already sent");
            return handshake(Reply::refusal(id, error), false);
        }
        let asked = arguments.at(1, "protocol_version");
        let range = match asked {
            None => Some(("1.4", "1.4")),
            Some(Value::String(version)) => Some((version.as_str(), version.as_str())),
            Some(Value::Array(range)) => match range.as_slice() {
                [Value::String(oldest), Value::String(newest)] => Some((oldest.as_str(), newest.as_str())),
                _ => None,
            },
            Some(_) => None,
        };
        let parsed = range.and_then(|(oldest, newest)| {
            let parsed: (Version, Version) = (oldest.parse().ok()?, newest.parse().ok()?);
            Some((parsed, newest))
        });
        let agreed = parsed.and_then(|((oldest, newest), text)| {
            let agreed = self.release.negotiate(oldest, newest)?;
            let text = if agreed == newest {
                text.to_owned()
            } else {
                agreed.to_string()
            };
            Some((agreed, text))
        });
        if let Some((agreed, text)) = agreed {
            session.version = Some(agreed);
            let result = json!([self.release.software(), text]);
            let cost = cost::price("server.version", arguments, Ok(&result));
            let reply = Reply::result(id, result);
            handshake(Reply { cost, ..reply }, false)
        } else {
            let asked = asked.map(ToString::to_string).unwrap_or_default();
            let error = RpcError::new(1, format!("unsupported protocol version: {asked}"));
            handshake(Reply::refusal(id, error), true)
        }
    }

    /// Puts a reply into the output, after the faults that spoil whole replies have had it.
    fn send(&mut self, session: &mut Session, chain: &SimChain, mut reply: Reply, output: &mut Output) {
        let fault = if reply.handshake { None } else { self.fault.clone() };
        let mut line = reply.to_line();
        match fault {
            Some(Fault::SilentAfterHandshake) => return,
            Some(Fault::FloodOfNotifications) => {
                let mut line = notification(&self.answerer(session, chain));
                line.push(b'\n');
                output.then = Then::Forever(line);
                return;
            }
            Some(Fault::FloodInOneLine) => {
                output.then = Then::Forever(vec![b'['; 4096]);
                return;
            }
            Some(Fault::TruncatedReplies) => line.truncate(line.len() / 2),
            Some(Fault::WrongIds) => {
                reply.spoil_ids();
                line = reply.to_line();
            }
            Some(Fault::GarbageJson) => line = b"\xff\xfe{\"jsonrpc\": not at all]".to_vec(),
            Some(Fault::DeepNesting { depth }) => {
                let id = reply.value.get("id").unwrap_or(&Value::Null).to_string();
                let (open, shut) = ("[".repeat(depth), "]".repeat(depth));
                line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{open}{shut}}}"#).into_bytes();
            }
            Some(Fault::ExcessiveResources { after_bytes })
                if session.bytes.saturating_add(line.len()) > after_bytes =>
            {
                let id = reply.value.get("id").unwrap_or(&Value::Null);
                reply = Reply {
                    close: true,
                    ..Reply::refusal(id, RpcError::new(-101, "excessive resource usage"))
                };
                line = reply.to_line();
            }
            _ => {}
        }
        output.cost += reply.cost;
        session.bytes = session.bytes.saturating_add(line.len());
        session.replies = session.replies.saturating_add(1);
        output.lines.push(line);
        output.delay = self.delay();
        if let Some(Fault::HoldsSmallReplies { delay }) = self.fault
            && session.bytes > HOLD_BELOW
        {
            output.hold = delay;
        }
        let dropped =
            matches!(self.fault, Some(Fault::DropsConnection { after_replies }) if session.replies >= after_replies);
        if reply.close || dropped {
            output.then = Then::Close;
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
