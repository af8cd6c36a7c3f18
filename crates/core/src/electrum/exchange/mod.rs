//! Questions and answers on one connection: a machine that pairs them by id and says what to do next.
//!
//! Requests go out as one line each, all of a flight together, never as a JSON-RPC batch: a server answers a
//! batch only when its slowest part is ready, and the whole of it must fit into what a server sends at most.
//! Arrays of replies are understood all the same.
//!
//! Every flight ends with [`ElectrumRequest::COMPANION`], so that no small reply is held back by the server. When the
//! companion's reply comes while others are still open, another companion follows a little later, up to
//! [`COMPANIONS_PER_FLIGHT`]; a late small reply would be held back again otherwise. The pauses double, so that a
//! reply waits about as long again as its server took to find it, at most; they depend on the server alone.
//!
//! The companions of the latest flight go this way; all else that the machine knows is which requests are open:
//!
//! | phase | event | next phase, and what is told |
//! |---|---|---|
//! | any | [`ExchangeEvent::Send`] | `Out`, the first: [`ExchangeEffect::Sent`], [`ExchangeEffect::Write`] |
//! | any | [`ExchangeEvent::Send`], too many would be open | the same: [`ExchangeEffect::Refuse`] |
//! | `Out` | its reply, while others wait and it was not the last allowed | `Pausing` |
//! | `Out` | its reply, else | `Resting` |
//! | `Pausing` | its moment comes while others wait | `Out`, the next: [`ExchangeEffect::Write`] |
//! | `Pausing` | its moment comes and none waits | `Resting` |
//! | any | a reply to a request | the same: [`ExchangeEffect::Answer`] |
//! | any | a companion is refused | the same: [`ExchangeEffect::Refused`] |
//! | any | a tip, which was subscribed to | the same: [`ExchangeEffect::Tip`] |
//! | any | a line against the protocol, or a deadline passes | [`ExchangeEffect::Leave`] |

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::framing;
use super::reply::{self, ElectrumReply, HeaderTip, ReplyError};
use super::request::ElectrumRequest;
use super::wire;
use crate::backoff::Backoff;
use crate::line::LineTooLong;
use crate::time::Moment;

/// Most requests that may wait for their answers at a time. A name with 280 operations needs 560.
pub const MAX_OPEN: usize = 1024;

/// Most companions of one flight, the first one included. The pauses before the others sum to a second, after which
/// a server holds nothing back anyway.
pub const COMPANIONS_PER_FLIGHT: u8 = 10;

/// The pauses before a flight's second companion and those after it.
const COMPANION_PAUSES: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_secs(2));

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
    /// The server has not what was asked for, such as a transaction in that block (code 1).
    Refused,
    /// Anything else: something is wrong on the server's side, or with the request.
    Other,
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
            1 => ServerErrorKind::Refused,
            2 => ServerErrorKind::Daemon,
            _ => ServerErrorKind::Other,
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
    ElectrumReply(#[from] ReplyError),
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

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeEnd {
    /// Its peer doesn't keep to the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Its peer did not answer in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum ExchangeEvent<'a> {
    /// Requests are to go out together, each to be answered within `timeout`.
    Send {
        /// The requests.
        requests: Vec<ElectrumRequest>,
        /// How long each may take.
        timeout: Duration,
    },
    /// A line came from the server, here without its newline.
    Line(&'a [u8]),
    /// A moment asked for by [`ExchangeEffect::WakeAt`] is reached; too early is fine.
    Tick,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeEffect {
    /// The requests of [`ExchangeEvent::Send`] were taken: their answers come under these ids, in their order.
    Sent(Range<u64>),
    /// The requests of [`ExchangeEvent::Send`] were not taken.
    Refuse(TooManyOpen),
    /// Write these lines.
    Write(String),
    /// A request is answered.
    Answer {
        /// Its id.
        id: u64,
        /// The answer, or why there is none.
        outcome: Result<ElectrumReply, AnswerError>,
    },
    /// The server refuses the companion of a flight: if it hangs up, that is why.
    Refused(ServerError),
    /// The server says that it has a new tip.
    Tip(HeaderTip),
    /// Hand in [`ExchangeEvent::Tick`] at this moment at the latest; without it there is nothing to wait for.
    WakeAt(Moment),
    /// Leave the connection.
    Leave(ExchangeEnd),
}

#[derive(Debug)]
struct Open {
    request: ElectrumRequest,
    deadline: Moment,
    companion: bool,
}

/// Where the companions of the latest flight are.
#[derive(Clone, Copy, Debug)]
enum Companions {
    /// None is needed, or no more of them.
    Resting,
    /// The latest of so many is on its way, under this id.
    Out { id: u64, count: u8 },
    /// So many were answered; the next one goes out at `at`, counted as the flight is.
    Pausing { at: Moment, count: u8, keep_alive: bool },
}

/// The machine. Ids count from 0 on every connection; those of flights of nothing but [`ElectrumRequest::Ping`] apart.
#[derive(Debug)]
pub struct Exchange {
    next_id: u64,
    next_keep_alive: u64,
    open: BTreeMap<u64, Open>,
    companions: Companions,
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
            companions: Companions::Resting,
            subscribed: false,
            tips: 0,
            tips_since: Moment::default(),
        }
    }

    /// Advances by one event.
    pub fn on_event(&mut self, now: Moment, event: ExchangeEvent<'_>) -> Vec<ExchangeEffect> {
        let effects = match event {
            ExchangeEvent::Send { requests, timeout } => Ok(self.on_send(now, requests, timeout)),
            ExchangeEvent::Line(line) => self.on_line(now, line).map_err(ExchangeEnd::from),
            ExchangeEvent::Tick => self.on_tick(now).map_err(ExchangeEnd::from),
        };
        let mut effects = effects.unwrap_or_else(|end| vec![ExchangeEffect::Leave(end)]);
        effects.extend(self.wake_at().map(ExchangeEffect::WakeAt));
        effects
    }

    /// [`ElectrumRequest::Version`] has a companion too: 1.18.0 holds even the first reply back, and 2.0.0, which answers
    /// nothing before it, lets what comes behind it wait (`session.py`, `sv_negotiated`).
    fn on_send(&mut self, now: Moment, requests: Vec<ElectrumRequest>, timeout: Duration) -> Vec<ExchangeEffect> {
        let open = self.open.len().saturating_add(requests.len());
        if open > MAX_OPEN {
            return vec![ExchangeEffect::Refuse(TooManyOpen { open })];
        }
        let deadline = now + timeout;
        let keep_alive = !requests.is_empty() && requests.iter().all(|request| *request == ElectrumRequest::Ping);
        let first = *self.counter(keep_alive);
        let mut lines = String::new();
        for request in requests {
            self.subscribed |= request == ElectrumRequest::SubscribeHeaders;
            lines.push_str(&self.enter(request, deadline, keep_alive, false));
        }
        let ids = first..*self.counter(keep_alive);
        if ids.is_empty() {
            return vec![ExchangeEffect::Sent(ids)];
        }
        lines.push_str(&self.send_companion(deadline, keep_alive, 1));
        vec![ExchangeEffect::Sent(ids), ExchangeEffect::Write(lines)]
    }

    fn on_line(&mut self, now: Moment, line: &[u8]) -> Result<Vec<ExchangeEffect>, Violation> {
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

    /// Returns the moment at which time alone has something to do; `None` when nothing is open.
    fn wake_at(&self) -> Option<Moment> {
        let companion = match self.companions {
            Companions::Pausing { at, .. } => Some(at),
            Companions::Resting | Companions::Out { .. } => None,
        };
        self.deadline().into_iter().chain(companion).min()
    }

    fn on_tick(&mut self, now: Moment) -> Result<Vec<ExchangeEffect>, Overdue> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(Overdue);
        }
        let Companions::Pausing { at, count, keep_alive } = self.companions else {
            return Ok(Vec::new());
        };
        if now < at {
            return Ok(Vec::new());
        }
        self.companions = Companions::Resting;
        let waits = self.open.values().filter(|open| !open.companion);
        let Some(deadline) = waits.map(|open| open.deadline).max() else {
            return Ok(Vec::new());
        };
        let line = self.send_companion(deadline, keep_alive, count.saturating_add(1));
        Ok(vec![ExchangeEffect::Write(line)])
    }

    /// Enters a companion, the one with this number in its flight, and returns its line.
    fn send_companion(&mut self, deadline: Moment, keep_alive: bool, count: u8) -> String {
        let id = *self.counter(keep_alive);
        self.companions = Companions::Out { id, count };
        self.enter(ElectrumRequest::COMPANION, deadline, keep_alive, true)
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

    fn enter(&mut self, request: ElectrumRequest, deadline: Moment, keep_alive: bool, companion: bool) -> String {
        let counter = self.counter(keep_alive);
        let id = *counter;
        *counter = id.saturating_add(1);
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
        effects: &mut Vec<ExchangeEffect>,
    ) -> Result<(), Violation> {
        match (envelope.id, envelope.method) {
            (Some(_), Some(_)) => Err(Violation::UnaskedNotification),
            (None, Some(method)) => {
                effects.push(ExchangeEffect::Tip(self.on_notification(now, method, envelope)?));
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
        if !self.subscribed || method != ElectrumRequest::SubscribeHeaders.method() {
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
        ElectrumReply::parse_tip(params.get()).map_err(|_| Violation::Malformed)
    }

    fn on_response(
        &mut self,
        now: Moment,
        id: u64,
        envelope: &wire::Envelope<'_>,
        effects: &mut Vec<ExchangeEffect>,
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
                ElectrumReply::parse(&open.request, result.map_or("null", |raw| raw.get())).map_err(AnswerError::from)
            }
            (Some(_), Some(_)) => return Err(Violation::Malformed),
        };
        if !open.companion {
            effects.push(ExchangeEffect::Answer { id, outcome });
            return Ok(());
        }
        match outcome {
            Err(AnswerError::ElectrumReply(fault)) => return Err(Violation::Companion(fault)),
            Err(AnswerError::Server(error)) => effects.push(ExchangeEffect::Refused(error)),
            Ok(_) => {}
        }
        // An earlier flight's companion may come late; the latest flight has its own.
        let Companions::Out { id: latest, count } = self.companions else {
            return Ok(());
        };
        if id != latest {
            return Ok(());
        }
        let others_wait = self.open.values().any(|open| !open.companion);
        self.companions = if others_wait && count < COMPANIONS_PER_FLIGHT {
            Companions::Pausing {
                at: now + COMPANION_PAUSES.pause(u32::from(count).saturating_sub(1)),
                count,
                keep_alive: id >= FIRST_KEEP_ALIVE,
            }
        } else {
            Companions::Resting
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
