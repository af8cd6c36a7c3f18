//! Questions and answers on one connection: a machine that pairs them by id and says what to do next.
//!
//! Requests go out as one line each, all of a flight together, never as a JSON-RPC batch: a server answers a
//! batch only when its slowest part is ready, and the whole of it must fit into what a server sends at most.
//! Arrays of replies are understood all the same.
//!
//! Every flight ends with [`Request::COMPANION`], so that no small reply is held back by the server. When the
//! companion's reply comes while others are still open, another companion follows a little later, up to
//! [`COMPANIONS_PER_FLIGHT`]; a late small reply would be held back again otherwise. The pauses double, so that a
//! reply waits about as long again as its server took to find it, at most; they depend on the server alone.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::framing::{self, LineTooLong};
use super::reply::{self, HeaderTip, Reply, ReplyError};
use super::request::Request;
use super::wire;
use crate::time::Moment;

/// Most requests that may wait for their answers at a time. A name with 280 operations needs 560.
pub const MAX_OPEN: usize = 1024;

/// Most companions of one flight, the first one included. The pauses before the others sum to a second, after which
/// a server holds nothing back anyway.
pub const COMPANIONS_PER_FLIGHT: u8 = 10;

/// The pause before a flight's second companion; it doubles from then on.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The id of a connection's first sign of life. They count apart from all other requests, so that these have the same ids
/// however long a connection waited for its use.
const FIRST_KEEP_ALIVE: u64 = 1 << 32;

/// Longest error text that is kept, in characters.
pub const MAX_ERROR_TEXT: usize = 200;

/// Most notifications within [`TIP_WINDOW`]; real servers send one per block, some seconds apart.
const MAX_TIPS: u32 = 1000;

/// What notifications are counted over.
const TIP_WINDOW: Duration = Duration::from_secs(60);

/// What a server said instead of an answer. Its text is untrusted and may tell what was asked, so `Debug`
/// hides it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("server error {code}: {message}")]
pub struct ServerError {
    /// The JSON-RPC error code.
    pub code: i64,
    /// At most [`MAX_ERROR_TEXT`] printable characters.
    pub message: String,
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerError")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// What a [`ServerError`] means for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerErrorKind {
    /// The server has had enough of us (code −101) and closes: leave it alone for a while.
    ExcessiveUsage,
    /// The server is too busy to answer now (code −102).
    Busy,
    /// The server doesn't know the method (code −32601).
    UnknownMethod,
    /// No protocol version in common.
    UnsupportedVersion,
    /// The server's own node refused, as for an unknown transaction (code 2).
    Daemon,
    /// Anything else: the request was refused.
    Refused,
}

impl ServerError {
    /// Says what the error means. Codes as `aiorpcX` and `ElectrumX` use them.
    pub fn kind(&self) -> ServerErrorKind {
        let says = |text| self.message.contains(text);
        match self.code {
            -101 => ServerErrorKind::ExcessiveUsage,
            _ if says("excessive resource usage") => ServerErrorKind::ExcessiveUsage,
            -102 => ServerErrorKind::Busy,
            -32601 => ServerErrorKind::UnknownMethod,
            1 if says("unsupported protocol version") => ServerErrorKind::UnsupportedVersion,
            2 => ServerErrorKind::Daemon,
            _ => ServerErrorKind::Refused,
        }
    }

    fn parse(json: &str) -> Result<Self, Violation> {
        let wire: wire::ErrorObject = serde_json::from_str(json).map_err(|_| Violation::Malformed)?;
        Ok(Self {
            code: wire.code,
            message: reply::printable(&wire.message, MAX_ERROR_TEXT),
        })
    }
}

/// Why one request has no usable answer; the connection itself is fine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The server said no.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server's answer is none.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// Why a connection must be left: its peer doesn't keep to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A line is too long.
    #[error(transparent)]
    LineTooLong(#[from] LineTooLong),
    /// A line is no JSON-RPC response or notification.
    #[error("server sent a malformed line")]
    Malformed,
    /// A line nests arrays and objects deeper than the protocol does.
    #[error("server sent a line nested deeper than {}", framing::MAX_DEPTH)]
    TooDeep,
    /// A response to a request that was never made.
    #[error("server answered request {id}, which was never made")]
    NeverAsked {
        /// The id in the response.
        id: u64,
    },
    /// A second response to one request.
    #[error("server answered request {id} twice")]
    AnsweredTwice {
        /// The id in the response.
        id: u64,
    },
    /// An error that belongs to no request.
    #[error("server reports an error without saying to which request: {0}")]
    ErrorWithoutId(ServerError),
    /// A notification that was not subscribed to.
    #[error("server sent a notification that nobody asked for")]
    UnaskedNotification,
    /// More notifications than blocks can account for.
    #[error("server floods notifications")]
    TooManyNotifications,
    /// The reply to a companion request is nonsense.
    #[error("server does not know its own first headers: {0}")]
    Companion(ReplyError),
}

/// More requests at a time than allowed; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests at a time: {open} of {} would be open", MAX_OPEN)]
pub struct TooManyOpen {
    /// How many requests would wait for answers.
    pub open: usize,
}

/// The server has not answered a request in time: the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server did not answer in time")]
pub struct Overdue;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write these lines.
    Write(String),
    /// A request is answered.
    Answer {
        /// Its id.
        id: u64,
        /// The answer, or why there is none.
        outcome: Result<Reply, AnswerError>,
    },
    /// The server says that it has a new tip.
    Tip(HeaderTip),
}

/// Requests that go out together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Their ids, in the order of the requests.
    pub ids: Range<u64>,
    /// The lines to write, a companion's at the end.
    pub lines: String,
}

#[derive(Debug)]
struct Open {
    request: Request,
    deadline: Moment,
    companion: bool,
}

/// The machine. Ids count from 0 on every connection; those of flights of nothing but [`Request::Ping`] apart.
#[derive(Debug)]
pub struct Exchange {
    next_id: u64,
    next_keep_alive: u64,
    open: BTreeMap<u64, Open>,
    /// How many companions of the latest flight have gone out.
    companions: u8,
    next_companion: Option<Moment>,
    latest_companion: u64,
    subscribed: bool,
    tips: u32,
    tips_since: Moment,
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// Makes the machine of a fresh connection.
    pub fn new() -> Self {
        Self {
            next_id: 0,
            next_keep_alive: FIRST_KEEP_ALIVE,
            open: BTreeMap::new(),
            companions: 0,
            next_companion: None,
            latest_companion: 0,
            subscribed: false,
            tips: 0,
            tips_since: Moment::default(),
        }
    }

    /// Takes requests that are to go out together, each to be answered within `timeout`.
    ///
    /// [`Request::Version`] has a companion too: 1.18.0 holds even the first reply back, and 2.0.0, which answers
    /// nothing before it, lets what comes behind it wait (`session.py`, `sv_negotiated`).
    ///
    /// # Errors
    ///
    /// [`TooManyOpen`] when more than [`MAX_OPEN`] requests would wait.
    pub fn send(&mut self, now: Moment, requests: Vec<Request>, timeout: Duration) -> Result<Flight, TooManyOpen> {
        let open = self.open.len().saturating_add(requests.len());
        if open > MAX_OPEN {
            return Err(TooManyOpen { open });
        }
        let deadline = now + timeout;
        let keep_alive = !requests.is_empty() && requests.iter().all(|request| *request == Request::Ping);
        let first = *self.counter(keep_alive);
        let mut lines = String::new();
        for request in requests {
            self.subscribed |= request == Request::SubscribeHeaders;
            lines.push_str(&self.enter(request, deadline, keep_alive, false));
        }
        let ids = first..*self.counter(keep_alive);
        if !ids.is_empty() {
            self.companions = 1;
            self.next_companion = None;
            lines.push_str(&self.enter(Request::COMPANION, deadline, keep_alive, true));
        }
        Ok(Flight { ids, lines })
    }

    /// Takes one line from the server, without its newline.
    ///
    /// # Errors
    ///
    /// See [`Violation`]: the connection is to be closed.
    pub fn on_line(&mut self, now: Moment, line: &[u8]) -> Result<Vec<Effect>, Violation> {
        if !framing::is_shallow(line) {
            return Err(Violation::TooDeep);
        }
        let line = std::str::from_utf8(line).map_err(|_| Violation::Malformed)?;
        let mut effects = Vec::new();
        if line.trim_start().starts_with('[') {
            let wire::AtMost::<wire::Envelope<'_>, MAX_OPEN>(batch) =
                serde_json::from_str(line).map_err(|_| Violation::Malformed)?;
            for envelope in &batch {
                self.on_envelope(now, envelope, &mut effects)?;
            }
        } else {
            let envelope = serde_json::from_str(line).map_err(|_| Violation::Malformed)?;
            self.on_envelope(now, &envelope, &mut effects)?;
        }
        Ok(effects)
    }

    /// Returns the moment at which [`Self::on_time`] has something to do; `None` when nothing is open.
    pub fn wake_at(&self) -> Option<Moment> {
        self.deadline().into_iter().chain(self.next_companion).min()
    }

    /// Takes the time; too early is fine.
    ///
    /// # Errors
    ///
    /// [`Overdue`] when a request has not been answered by its deadline.
    pub fn on_time(&mut self, now: Moment) -> Result<Vec<Effect>, Overdue> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(Overdue);
        }
        if self.next_companion.is_none_or(|at| now < at) {
            return Ok(Vec::new());
        }
        self.next_companion = None;
        let waits = self.open.values().filter(|open| !open.companion);
        let Some(deadline) = waits.map(|open| open.deadline).max() else {
            return Ok(Vec::new());
        };
        self.companions = self.companions.saturating_add(1);
        let keep_alive = self.latest_companion >= FIRST_KEEP_ALIVE;
        Ok(vec![Effect::Write(self.enter(
            Request::COMPANION,
            deadline,
            keep_alive,
            true,
        ))])
    }

    fn deadline(&self) -> Option<Moment> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// Returns how many requests wait for their answers, companions included.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Returns where the ids of a flight are counted.
    fn counter(&mut self, keep_alive: bool) -> &mut u64 {
        if keep_alive {
            &mut self.next_keep_alive
        } else {
            &mut self.next_id
        }
    }

    fn enter(&mut self, request: Request, deadline: Moment, keep_alive: bool, companion: bool) -> String {
        let counter = self.counter(keep_alive);
        let id = *counter;
        *counter = id.saturating_add(1);
        if companion {
            self.latest_companion = id;
        }
        let line = request.encode(id);
        self.open.insert(
            id,
            Open {
                request,
                deadline,
                companion,
            },
        );
        line
    }

    fn on_envelope(
        &mut self,
        now: Moment,
        envelope: &wire::Envelope<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Violation> {
        match (envelope.id, envelope.method) {
            (Some(_), Some(_)) => Err(Violation::UnaskedNotification),
            (None, Some(method)) => {
                effects.push(Effect::Tip(self.on_notification(now, method, envelope)?));
                Ok(())
            }
            (None, None) => Err(match envelope.error {
                Some(error) => Violation::ErrorWithoutId(ServerError::parse(error.get())?),
                None => Violation::Malformed,
            }),
            (Some(id), None) => {
                let id = id.get().parse().map_err(|_| Violation::Malformed)?;
                self.on_response(now, id, envelope, effects)
            }
        }
    }

    fn on_notification(
        &mut self,
        now: Moment,
        method: &str,
        envelope: &wire::Envelope<'_>,
    ) -> Result<HeaderTip, Violation> {
        if !self.subscribed || method != Request::SubscribeHeaders.method() {
            return Err(Violation::UnaskedNotification);
        }
        if now.since(self.tips_since) > TIP_WINDOW {
            self.tips_since = now;
            self.tips = 0;
        }
        self.tips = self.tips.saturating_add(1);
        if self.tips > MAX_TIPS {
            return Err(Violation::TooManyNotifications);
        }
        let params = envelope.params.ok_or(Violation::Malformed)?;
        Reply::parse_tip(params.get()).map_err(|_| Violation::Malformed)
    }

    fn on_response(
        &mut self,
        now: Moment,
        id: u64,
        envelope: &wire::Envelope<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Violation> {
        let was_made = id < self.next_id || (FIRST_KEEP_ALIVE..self.next_keep_alive).contains(&id);
        let open = self.open.remove(&id).ok_or(if was_made {
            Violation::AnsweredTwice { id }
        } else {
            Violation::NeverAsked { id }
        })?;
        let outcome = match (envelope.error, envelope.result) {
            (Some(error), None) => Err(ServerError::parse(error.get())?.into()),
            (None, result) => {
                Reply::parse(&open.request, result.map_or("null", |raw| raw.get())).map_err(AnswerError::from)
            }
            (Some(_), Some(_)) => return Err(Violation::Malformed),
        };
        if !open.companion {
            effects.push(Effect::Answer { id, outcome });
            return Ok(());
        }
        if let Err(AnswerError::Reply(fault)) = outcome {
            return Err(Violation::Companion(fault));
        }
        // An earlier flight's companion may come late; the latest flight has its own.
        if id != self.latest_companion {
            return Ok(());
        }
        let doublings = u32::from(self.companions).saturating_sub(1);
        let others_wait = self.open.values().any(|open| !open.companion);
        self.next_companion = (others_wait && self.companions < COMPANIONS_PER_FLIGHT)
            .then(|| now + FIRST_PAUSE.saturating_mul(1 << doublings.min(10)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
