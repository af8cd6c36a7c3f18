//! What becomes of each stream, as a machine: messages of Tor and results of lookups go in, commands and lookups come out.
//!
//! A stream that waits is attached at once unless its name is one that we resolve. Such a name never reaches an exit: its
//! stream is attached only after Tor has confirmed that it goes somewhere else now, and closed in all other cases.
//!
//! Source: Tor, control-spec; StemNS, whose weak points the tests go through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use thiserror::Error;

use super::event::{Fields, Status, StreamEvent, StreamId};
use super::isolation::Groups;
use super::reply::{Line, Message};
use crate::isolation::IsolationId;
use crate::naming::name::{folded, is_below, onion_only};
use crate::naming::target::{Failure, Target, Want};

/// The option without which Tor attaches streams itself, whatever their names are.
pub const OPTION: &str = "__LeaveStreamsUnattached";

/// Most streams that are looked up at a time; more are closed.
pub const MAX_LOOKUPS: usize = 4096;

/// Most streams of which something is kept.
const MAX_STREAMS: usize = 32_768;

/// Most commands without a reply.
const MAX_UNANSWERED: usize = 1 << 17;

/// The reason that streams are closed for. Source: tor-spec, "Closing streams", `REASON_RESOLVEFAILED`.
const RESOLVE_FAILED: u8 = 2;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a command; the end of the line is not in it.
    Send(String),
    /// Find out what a name stands for, and tell [`Controller::resolved`].
    Resolve(Lookup),
    /// Nobody wants to know any more.
    Abort(u64),
    /// Nobody will ask under these isolation IDs any more.
    Forget(Vec<IsolationId>),
    /// Let the user know.
    Tell(Tell),
}

/// A name to find the target of. `Debug` hides the name.
#[derive(Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its number, never used twice.
    pub number: u64,
    /// Which of the suffixes it lies under.
    pub suffix: usize,
    /// The name, folded.
    pub name: String,
    /// What the stream can use.
    pub want: Want,
    /// Under which isolation ID.
    pub id: IsolationId,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = (self.number, self.suffix, self.want);
        f.debug_tuple("Lookup").field(&shown).finish()
    }
}

/// What the user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Streams are taken care of from now on.
    Ready,
    /// Tor was told to attach streams itself, and has been told otherwise: names may have leaked in between.
    OptionRestored,
    /// Tor has a new identity.
    NewIdentity,
}

/// Why it can't go on with this connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Tor attaches streams itself, so that names go to exits.
    #[error(
        "Tor is not safe for name lookups: it attaches streams by itself, so .bit names would go to exits. Add the line \
         `{OPTION} 1` to torrc and restart Tor; from then on Tor needs this controller to connect to anything"
    )]
    Unsafe,
    /// Tor does not do what is needed.
    #[error("Tor refused {command}: {code} {reply}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The reply's code.
        code: u16,
        /// The reply's text.
        reply: String,
    },
    /// It replies where nothing was asked, or not where something was.
    #[error("what answers on the control port breaks Tor's control protocol")]
    Protocol,
}

/// A command that waits for its reply.
#[derive(Debug)]
enum Sent {
    Events,
    Option,
    Waiting,
    Restore,
    Attach(StreamId),
    Redirect(StreamId),
    Close,
}

/// How far a stream is.
#[derive(Debug)]
enum Stage {
    /// It is there, and may come to wait.
    Seen {
        source: Option<Vec<u8>>,
        /// Whether an address is wanted, and no connection.
        resolves: bool,
    },
    /// Its name is being looked up.
    LookedUp { lookup: u64, alone: Option<IsolationId> },
    /// Tor was told where it goes.
    Redirected,
}

/// Takes care of the streams of one Tor.
#[derive(Debug)]
pub struct Controller {
    suffixes: Vec<String>,
    groups: Groups,
    streams: HashMap<StreamId, Stage>,
    /// Streams that Tor was told to attach, until it says that they came back or have ended.
    attached: HashSet<StreamId>,
    /// Streams by the numbers of their lookups, and whether only an onion service will do.
    lookups: HashMap<u64, (StreamId, Want)>,
    begun: u64,
    unanswered: VecDeque<Sent>,
    effects: Vec<Effect>,
}

impl Controller {
    /// Makes a controller of no Tor yet. Of the suffixes the first that fits a name is its own; they are folded. `secret` is
    /// random.
    pub fn new(suffixes: Vec<String>, secret: [u8; 64]) -> Self {
        Self {
            suffixes,
            groups: Groups::new(secret),
            streams: HashMap::new(),
            attached: HashSet::new(),
            lookups: HashMap::new(),
            begun: 0,
            unanswered: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Returns what is to be done, in this order.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Says whether Tor owes a reply.
    pub fn awaits_reply(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Returns how many streams are being looked up.
    pub fn lookups(&self) -> usize {
        self.lookups.len()
    }

    /// Begins with a Tor that we have logged in at.
    pub fn begin(&mut self) {
        // Events first: what changes after the option was read is then heard of.
        self.send(Sent::Events, "SETEVENTS STREAM SIGNAL CONF_CHANGED".to_owned());
        self.send(Sent::Option, format!("GETCONF {OPTION}"));
        self.send(Sent::Waiting, "GETINFO stream-status".to_owned());
    }

    /// Ends with a Tor: it has gone, and its streams with it.
    pub fn end(&mut self) {
        for number in self.lookups.drain().map(|(number, _)| number) {
            self.effects.push(Effect::Abort(number));
        }
        self.streams.clear();
        self.attached.clear();
        self.unanswered.clear();
        let ids = self.groups.forget();
        self.forget(ids);
    }

    /// Takes a message of Tor.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when it is no use to go on.
    pub fn take(&mut self, message: &Message) -> Result<(), ControlError> {
        if self.unanswered.len() > MAX_UNANSWERED {
            return Err(ControlError::Protocol);
        }
        if !message.is_event() {
            let sent = self.unanswered.pop_front().ok_or(ControlError::Protocol)?;
            return self.reply(sent, message);
        }
        if let Some(event) = message.text().strip_prefix("STREAM ").and_then(StreamEvent::parse) {
            self.stream_event(event);
        } else if message.text() == "SIGNAL NEWNYM" {
            let ids = self.groups.forget();
            self.forget(ids);
            self.effects.push(Effect::Tell(Tell::NewIdentity));
        } else if message.text() == "CONF_CHANGED" && attaches_itself(&message.lines) {
            self.send(Sent::Restore, format!("SETCONF {OPTION}=1"));
        }
        Ok(())
    }

    fn reply(&mut self, sent: Sent, message: &Message) -> Result<(), ControlError> {
        let refused = |command| ControlError::Refused {
            command,
            code: message.code,
            reply: message.text().to_owned(),
        };
        match (sent, message.code) {
            // Streams may have gone, or somebody else has attached them.
            (Sent::Events, 250) | (Sent::Close, _) | (Sent::Attach(_), 250 | 552 | 555) => {}
            (Sent::Events, _) => return Err(refused("SETEVENTS")),
            (Sent::Option, 250) if message.text() == format!("{OPTION}=1") => {}
            (Sent::Option, 250) => return Err(ControlError::Unsafe),
            (Sent::Option, _) => return Err(refused("GETCONF")),
            (Sent::Waiting, 250) => {
                self.waiting_already(&message.lines);
                self.effects.push(Effect::Tell(Tell::Ready));
            }
            (Sent::Waiting, _) => return Err(refused("GETINFO")),
            (Sent::Restore, 250) => self.effects.push(Effect::Tell(Tell::OptionRestored)),
            (Sent::Restore, _) => return Err(refused("SETCONF")),
            (Sent::Attach(id), _) => self.close(&id),
            (Sent::Redirect(id), code) => {
                let waits = matches!(self.streams.get(&id), Some(Stage::Redirected));
                if waits {
                    self.streams.remove(&id);
                }
                match code {
                    // It has ended, or somebody else has attached it.
                    _ if !waits => {}
                    250 => self.attach(id),
                    // It would go out under its own name.
                    _ => self.close(&id),
                }
            }
        }
        Ok(())
    }

    /// Takes care of streams that began to wait before we listened. Tor says less of them, so that each is alone.
    fn waiting_already(&mut self, lines: &[Line]) {
        let line = |line: &Line| {
            let first = line.text.strip_prefix("stream-status=").map(str::to_owned);
            first.into_iter().chain(line.data.clone()).collect::<Vec<_>>()
        };
        for text in lines.iter().flat_map(line) {
            match StreamEvent::parse(&text) {
                Some(event) if !self.streams.contains_key(&event.id) => {
                    if let resolves @ (Status::New | Status::NewResolve) = event.status {
                        self.waits(event, resolves == Status::NewResolve, None);
                    }
                }
                _ => {}
            }
        }
    }

    fn stream_event(&mut self, event: StreamEvent) {
        match event.status {
            Status::New | Status::NewResolve => {
                if self.streams.len() < MAX_STREAMS {
                    let source = event.fields.get("SOURCE_ADDR").map(<[u8]>::to_vec);
                    let resolves = event.status == Status::NewResolve;
                    if let Some(old) = self.streams.insert(event.id, Stage::Seen { source, resolves }) {
                        self.drop_lookup(old);
                    }
                }
            }
            // Somebody else attaches it once more, which begins it anew. Were it attached again for that, and again by the
            // other, it would never get anywhere.
            Status::ControllerWait if self.attached.contains(&event.id) => {}
            Status::ControllerWait => match self.streams.get_mut(&event.id) {
                Some(Stage::Seen { source, resolves }) => {
                    let (source, resolves) = (source.take(), *resolves);
                    self.waits(event, resolves, source.as_deref());
                }
                // It is told of twice.
                Some(_) => {}
                None => {
                    let resolves = event.port == "0";
                    self.waits(event, resolves, None);
                }
            },
            // The target that we have given it ourselves, or a mapped address: then it waits under that, if at all.
            Status::Remap => {}
            Status::Sent | Status::Gone => {
                if event.status == Status::Gone {
                    self.attached.remove(&event.id);
                }
                if let Some(stream) = self.streams.remove(&event.id) {
                    self.drop_lookup(stream);
                }
            }
        }
    }

    /// Takes care of a stream that waits: again, with the target that it was given, after an exit could not reach it.
    fn waits(&mut self, event: StreamEvent, resolves: bool, source: Option<&[u8]>) {
        let name = folded(&event.host);
        let Some(suffix) = self.suffixes.iter().position(|suffix| is_below(&name, suffix)) else {
            self.streams.remove(&event.id);
            return self.attach(event.id);
        };
        if self.lookups.len() >= MAX_LOOKUPS {
            self.streams.remove(&event.id);
            return self.close(&event.id);
        }
        let want = match (onion_only(&name).is_some(), resolves) {
            // No address can be had of an onion service.
            (true, true) => {
                self.streams.remove(&event.id);
                return self.close(&event.id);
            }
            (true, false) => Want::Onion,
            (false, true) => Want::Address,
            (false, false) => Want::Any,
        };
        let assigned = self.groups.assign(&isolating(&event, source));
        self.forget(assigned.forgotten);
        self.begun += 1;
        let lookup = self.begun;
        self.lookups.insert(lookup, (event.id.clone(), want));
        let alone = assigned.alone.then(|| assigned.id.clone());
        self.streams.insert(event.id, Stage::LookedUp { lookup, alone });
        self.effects.push(Effect::Resolve(Lookup {
            number: lookup,
            suffix,
            name,
            want,
            id: assigned.id,
        }));
    }

    /// Takes what came of a lookup.
    pub fn resolved(&mut self, lookup: u64, result: Result<Target, Failure>) {
        let Some((id, want)) = self.lookups.remove(&lookup) else {
            return;
        };
        let Some(stage) = self.streams.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(stage, Stage::Redirected);
        if let Stage::LookedUp { alone: Some(alone), .. } = before {
            self.effects.push(Effect::Forget(vec![alone]));
        }
        match result {
            Ok(target) if self.may_be(&target, want) => {
                let command = format!("REDIRECTSTREAM {id} {}", written(&target, want));
                self.send(Sent::Redirect(id), command);
            }
            _ => {
                self.streams.remove(&id);
                self.close(&id);
            }
        }
    }

    /// Says whether a stream may be sent there, whoever said so.
    fn may_be(&self, target: &Target, want: Want) -> bool {
        let text = target.to_string();
        want.takes(target) && Target::parse(&text, self.suffixes.iter().map(String::as_str)).as_ref() == Some(target)
    }

    fn drop_lookup(&mut self, stage: Stage) {
        if let Stage::LookedUp { lookup, alone } = stage {
            self.lookups.remove(&lookup);
            self.effects.push(Effect::Abort(lookup));
            self.forget(alone.into_iter().collect());
        }
    }

    fn attach(&mut self, id: StreamId) {
        let command = format!("ATTACHSTREAM {id} 0");
        if self.attached.len() < MAX_STREAMS {
            self.attached.insert(id.clone());
        }
        self.send(Sent::Attach(id), command);
    }

    fn close(&mut self, id: &StreamId) {
        self.send(Sent::Close, format!("CLOSESTREAM {id} {RESOLVE_FAILED}"));
    }

    fn send(&mut self, sent: Sent, command: String) {
        self.unanswered.push_back(sent);
        self.effects.push(Effect::Send(command));
    }

    fn forget(&mut self, ids: Vec<IsolationId>) {
        if !ids.is_empty() {
            self.effects.push(Effect::Forget(ids));
        }
    }
}

/// Writes a target as Tor takes it. What it asks of an exit to connect to has the brackets of IPv6 (tor-spec, "Opening
/// streams"); what it answers a question with has none.
fn written(target: &Target, want: Want) -> String {
    match target {
        Target::Address(IpAddr::V6(address)) if want != Want::Address => format!("[{address}]"),
        target => target.to_string(),
    }
}

/// Says whether changed options are such that Tor attaches streams itself: the option has another value, or none any more.
fn attaches_itself(lines: &[Line]) -> bool {
    lines.iter().any(|line| {
        let (option, value) = line.text.split_once('=').unwrap_or((&line.text, ""));
        option.eq_ignore_ascii_case(OPTION) && value != "1"
    })
}

/// Returns all that a stream may be isolated by: the fields of the line that says it waits, and the four that have names
/// of their own there. The client's address stands in an earlier line.
fn isolating(event: &StreamEvent, source: Option<&[u8]>) -> Fields {
    let mut fields = event.fields.clone();
    if let Some(source) = source {
        let colon = source.iter().rposition(|byte| *byte == b':').unwrap_or(source.len());
        let (address, port) = source.split_at_checked(colon).unwrap_or((source, b""));
        fields.add("CLIENTADDR", address);
        fields.add("CLIENTPORT", port);
    }
    fields.add("DESTADDR", event.host.as_bytes());
    fields.add("DESTPORT", event.port.as_bytes());
    fields
}

#[cfg(test)]
mod tests;
