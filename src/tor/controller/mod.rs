//! Decides what becomes of each stream of a Tor, as a machine without I/O: Tor's messages and the results of lookups go in,
//! commands to Tor and lookups come out.
//!
//! A stream that waits is attached at once unless its name is one that we resolve. Such a name never reaches an exit: its
//! stream is attached only after Tor has confirmed that it goes somewhere else now, and is closed in all other cases.
//!
//! # Phases of the connection to Tor
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | disconnected | [`Connected`](ControllerEvent::Connected) | connected | [`Send`](ControllerEffect::Send): `SETEVENTS`, `GETCONF`, `GETINFO` |
//! | connected | the reply to `GETINFO` | connected | as for each stream that waits already, [`Notify`](ControllerEffect::Notify) of [`Notice::Ready`] |
//! | connected | `SIGNAL NEWNYM` | connected | [`Forget`](ControllerEffect::Forget), `Notify` |
//! | connected | `CONF_CHANGED`, by which Tor attaches streams itself | connected | `Send`: `SETCONF` |
//! | connected | the reply to `SETCONF` | connected | `Notify` |
//! | connected | [`Stopping`](ControllerEvent::Stopping) | connected | `Send`: `CLOSESTREAM` for each stream that is resolving or redirecting, and `QUIT`; `Abort`; nothing if none is |
//! | connected | a reply by which Tor is of no use, or none for [`SILENCE`] | disconnected | [`Abort`](ControllerEffect::Abort) of all lookups, `Forget`, [`Disconnect`](ControllerEffect::Disconnect) |
//! | connected | [`Disconnected`](ControllerEvent::Disconnected) | disconnected | `Abort` of all lookups, `Forget` |
//!
//! While Tor owes a reply, [`ControllerEffect::WakeAt`] says after each event when it will have been silent for too long.
//!
//! # Phases of a stream
//!
//! | phase | what happens | next phase | effects |
//! | --- | --- | --- | --- |
//! | unknown | `NEW` or `NEWRESOLVE` | announced | |
//! | unknown or announced | `CONTROLLER_WAIT`, with a name that is not ours | attached | `Send`: `ATTACHSTREAM` |
//! | unknown or announced | `CONTROLLER_WAIT`, with a name of ours | resolving | [`Resolve`](ControllerEffect::Resolve) |
//! | unknown or announced | `CONTROLLER_WAIT`, with a name of ours that cannot be looked up | unknown | `Send`: `CLOSESTREAM` |
//! | resolving | a target that may be handed to Tor | redirecting | `Send`: `REDIRECTSTREAM` |
//! | resolving | no target | unknown | `Send`: `CLOSESTREAM` |
//! | redirecting | Tor confirms it | attached | `Send`: `ATTACHSTREAM` |
//! | redirecting | Tor refuses it | unknown | `Send`: `CLOSESTREAM` |
//! | attached | Tor does not attach it, though it is there and waits | attached | `Send`: `CLOSESTREAM` |
//! | attached | `CONTROLLER_WAIT`, as another controller has attached it too | attached | |
//! | resolving or redirecting | `NEW` or `NEWRESOLVE`, as it is another stream of that number | announced | `Abort` if it was resolving |
//! | any but attached | it was sent on its way by another controller | unknown | `Abort` if it was resolving |
//! | any | it came back from its way, or has ended | unknown | `Abort` if it was resolving |
//!
//! Source: Tor, control-spec; StemNS, whose weak points the tests go through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::event::{EventFields, StreamEvent, StreamId, StreamStatus};
use super::isolation::IsolationGroups;
use super::reply::{ControlMessage, ReplyLine};
use crate::isolation::IsolationId;
use crate::naming::name::{folded, is_below, onion_only};
use crate::naming::target::{Failure, Target, TargetKind};
use crate::time::Moment;

/// The option of Tor without which it attaches streams itself, whatever their names are.
pub const OPTION: &str = "__LeaveStreamsUnattached";

/// How long Tor may say nothing at all while it owes a reply.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Most streams that are looked up at a time; further ones are closed.
pub const MAX_LOOKUPS: usize = 4096;

/// Most streams of which something is kept.
const MAX_STREAMS: usize = 32_768;

/// Most commands without a reply.
const MAX_PENDING: usize = 1 << 17;

/// The reason that streams are closed for. Source: tor-spec, "Closing streams", `REASON_RESOLVEFAILED`.
const RESOLVE_FAILED: u8 = 2;

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum ControllerEvent {
    /// A Tor has been connected to and logged in at.
    Connected,
    /// The connection has ended, and all streams of that Tor with it.
    Disconnected,
    /// Tor said something.
    Message(ControlMessage),
    /// A part of a message arrived, which shows that Tor is not silent.
    PartialMessage,
    /// A lookup that was asked for by [`ControllerEffect::Resolve`] has ended.
    Resolved {
        /// Its number.
        lookup: u64,
        /// What the name stands for.
        result: Result<Target, Failure>,
    },
    /// The moment of the latest [`ControllerEffect::WakeAt`] has come.
    Wake,
    /// The program is about to end: what it says now is the last of it.
    Stopping,
}

/// What the caller of the machine has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerEffect {
    /// Send a command; the end of the line is not in it.
    Send(String),
    /// Find out what a name stands for, and report it by [`ControllerEvent::Resolved`].
    Resolve(StreamLookup),
    /// Give the lookup of this number up: nobody waits for it any more.
    Abort(u64),
    /// Forget what was looked up under these isolation IDs: nobody will ask under them any more.
    Forget(Vec<IsolationId>),
    /// Tell the user.
    Notify(Notice),
    /// Hand in [`ControllerEvent::Wake`] at this moment. It takes the place of the one that was asked for before.
    WakeAt(Moment),
    /// Close the connection: it is no use to go on. Commands that came with it need not be sent.
    Disconnect(ControlError),
}

/// A name to look up for a stream. `Debug` hides the name.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamLookup {
    /// Its number, which one machine uses once.
    pub number: u64,
    /// The place, among the machine's suffixes, of the one that the name lies under.
    pub suffix: usize,
    /// The name, folded.
    pub name: String,
    /// What the stream can use.
    pub target_kind: TargetKind,
    /// The isolation ID to look it up under.
    pub id: IsolationId,
}

impl std::fmt::Debug for StreamLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = (self.number, self.suffix, self.target_kind);
        f.debug_tuple("StreamLookup").field(&shown).finish()
    }
}

/// What the user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Streams are taken care of from now on.
    Ready,
    /// Tor was told to attach streams itself, and has been told otherwise: names may have leaked in between.
    OptionRestored,
    /// Tor has a new identity.
    NewIdentity,
}

/// Why the machine can't go on with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Tor attaches streams itself, so that names go to exits.
    #[error(
        "Tor is not safe for name lookups: it attaches streams by itself, so .bit names would go to exits. Add the line \
         `{OPTION} 1` to torrc and restart Tor; from then on Tor needs this controller to connect to anything"
    )]
    Unsafe,
    /// Tor does not carry out a command without which there is no controlling it.
    #[error("Tor refused {command}: {code} {reply}")]
    Refused {
        /// The command's keyword.
        command: &'static str,
        /// The reply's code.
        code: u16,
        /// The reply's text.
        reply: String,
    },
    /// A reply came to no command, or there were too many commands without one.
    #[error("what answers on the control port breaks Tor's control protocol")]
    Protocol,
    /// Tor said nothing for too long while it owed a reply.
    #[error("Tor does not answer on its control port")]
    Silent,
}

/// A command whose reply has not arrived.
#[derive(Debug)]
enum PendingCommand {
    SetEvents,
    GetOption,
    GetStreams,
    RestoreOption,
    Attach(StreamId),
    Redirect(StreamId),
    Close,
    Quit,
}

/// How far a stream is that is not yet on its way.
#[derive(Debug)]
enum StreamPhase {
    /// Tor has announced it. It may come to wait for a controller.
    Announced {
        source: Option<Vec<u8>>,
        /// Whether its application wants an address, and no connection.
        resolves: bool,
    },
    /// Its name is being looked up, perhaps under an ID that no other stream shares.
    Resolving { lookup: u64, alone: Option<IsolationId> },
    /// Tor was told where it goes, and has not confirmed it.
    Redirecting,
}

#[derive(Debug)]
enum Phase {
    Disconnected,
    Connected(Session),
}

/// What is known of a Tor as long as one connection to it holds.
#[derive(Debug, Default)]
struct Session {
    streams: HashMap<StreamId, StreamPhase>,
    /// Streams that Tor was told to attach, until it says that they came back or have ended.
    attached: HashSet<StreamId>,
    /// Streams by the numbers of their lookups, and what each can use.
    lookups: HashMap<u64, (StreamId, TargetKind)>,
    /// Commands in the order in which they were sent, which is the order of their replies.
    pending: VecDeque<PendingCommand>,
    /// When Tor will have been silent for too long; `None` as long as it owes nothing.
    silent_at: Option<Moment>,
}

/// Takes care of the streams of one Tor.
#[derive(Debug)]
pub struct Controller {
    suffixes: Vec<String>,
    groups: IsolationGroups,
    /// How many lookups were started.
    started: u64,
    phase: Phase,
}

impl Controller {
    /// Makes a controller that is not connected to a Tor. A name belongs to the first of the suffixes that it lies under;
    /// they are folded. `secret` is random.
    pub fn new(suffixes: Vec<String>, secret: [u8; 64]) -> Self {
        Self {
            suffixes,
            groups: IsolationGroups::new(secret),
            started: 0,
            phase: Phase::Disconnected,
        }
    }

    /// Says whether Tor owes a reply.
    pub fn awaits_reply(&self) -> bool {
        self.session().is_some_and(|session| !session.pending.is_empty())
    }

    /// Returns how many streams are being looked up.
    pub fn lookups(&self) -> usize {
        self.session().map_or(0, |session| session.lookups.len())
    }

    fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Disconnected => None,
            Phase::Connected(session) => Some(session),
        }
    }

    /// Takes in an event. Time must not go back.
    pub fn on_event(&mut self, now: Moment, event: ControllerEvent) -> Vec<ControllerEffect> {
        match event {
            ControllerEvent::Connected => {
                let mut effects = self.disconnect();
                self.phase = Phase::Connected(Session::default());
                effects.extend(self.in_session(now, event));
                effects
            }
            ControllerEvent::Disconnected => self.disconnect(),
            event => self.in_session(now, event),
        }
    }

    fn in_session(&mut self, now: Moment, event: ControllerEvent) -> Vec<ControllerEffect> {
        let Phase::Connected(session) = &mut self.phase else {
            return Vec::new();
        };
        let mut turn = Turn {
            suffixes: &self.suffixes,
            groups: &mut self.groups,
            started: &mut self.started,
            session,
            effects: Vec::new(),
        };
        let result = turn.on_event(now, event);
        let mut effects = turn.effects;
        match result {
            Ok(()) => effects.extend(session.silent_at.map(ControllerEffect::WakeAt)),
            Err(error) => {
                effects.extend(self.disconnect());
                effects.push(ControllerEffect::Disconnect(error));
            }
        }
        effects
    }

    fn disconnect(&mut self) -> Vec<ControllerEffect> {
        let mut effects = Vec::new();
        if let Phase::Connected(session) = std::mem::replace(&mut self.phase, Phase::Disconnected) {
            effects.extend(session.lookups.into_keys().map(ControllerEffect::Abort));
            effects.extend(forget(self.groups.forget()));
        }
        effects
    }
}

/// Handles one event while there is a connection.
struct Turn<'a> {
    suffixes: &'a [String],
    groups: &'a mut IsolationGroups,
    started: &'a mut u64,
    session: &'a mut Session,
    effects: Vec<ControllerEffect>,
}

impl Turn<'_> {
    fn on_event(&mut self, now: Moment, event: ControllerEvent) -> Result<(), ControlError> {
        let heard = match event {
            ControllerEvent::Connected => {
                self.start();
                false
            }
            ControllerEvent::Message(message) => {
                self.on_message(&message)?;
                true
            }
            ControllerEvent::PartialMessage => true,
            ControllerEvent::Resolved { lookup, result } => {
                self.on_resolved(lookup, result);
                false
            }
            ControllerEvent::Stopping => {
                self.stop();
                false
            }
            ControllerEvent::Wake if self.session.silent_at.is_some_and(|at| at <= now) => {
                return Err(ControlError::Silent);
            }
            ControllerEvent::Wake | ControllerEvent::Disconnected => false,
        };
        if self.session.pending.is_empty() {
            self.session.silent_at = None;
        } else if heard || self.session.silent_at.is_none() {
            self.session.silent_at = Some(now + SILENCE);
        }
        Ok(())
    }

    fn start(&mut self) {
        // Events first, so that a change of the option after it was read is heard of.
        let events = "SETEVENTS STREAM SIGNAL CONF_CHANGED".to_owned();
        self.send(PendingCommand::SetEvents, events);
        self.send(PendingCommand::GetOption, format!("GETCONF {OPTION}"));
        self.send(PendingCommand::GetStreams, "GETINFO stream-status".to_owned());
    }

    /// Ends the streams that wait for us: Tor would let each wait for two minutes.
    fn stop(&mut self) {
        let all = self.session.streams.iter();
        let waiting = all.filter(|(_, phase)| !matches!(phase, StreamPhase::Announced { .. }));
        let mut waiting: Vec<StreamId> = waiting.map(|(id, _)| id.clone()).collect();
        if waiting.is_empty() {
            return;
        }
        waiting.sort();
        for id in waiting {
            if let Some(phase) = self.session.streams.remove(&id) {
                self.abort_lookup(phase);
            }
            self.close(&id);
        }
        // Tor closes the connection once it has read all before.
        self.send(PendingCommand::Quit, "QUIT".to_owned());
    }

    fn on_message(&mut self, message: &ControlMessage) -> Result<(), ControlError> {
        if self.session.pending.len() > MAX_PENDING {
            return Err(ControlError::Protocol);
        }
        if !message.is_event() {
            let command = self.session.pending.pop_front().ok_or(ControlError::Protocol)?;
            return self.on_reply(command, message);
        }
        if let Some(event) = message.text().strip_prefix("STREAM ").and_then(StreamEvent::parse) {
            self.on_stream_event(event);
        } else if message.text() == "SIGNAL NEWNYM" {
            let ids = self.groups.forget();
            self.effects.extend(forget(ids));
            self.notify(Notice::NewIdentity);
        } else if message.text() == "CONF_CHANGED" && attaches_itself(&message.lines) {
            self.send(PendingCommand::RestoreOption, format!("SETCONF {OPTION}=1"));
        }
        Ok(())
    }

    fn on_reply(&mut self, command: PendingCommand, message: &ControlMessage) -> Result<(), ControlError> {
        let refused = |command| ControlError::Refused {
            command,
            code: message.code,
            reply: message.text().to_owned(),
        };
        match (command, message.code) {
            // A stream may have ended, or another controller has attached it.
            (PendingCommand::SetEvents, 250)
            | (PendingCommand::Close | PendingCommand::Quit, _)
            | (PendingCommand::Attach(_), 250 | 552 | 555) => {}
            (PendingCommand::SetEvents, _) => return Err(refused("SETEVENTS")),
            (PendingCommand::GetOption, 250) if message.text() == format!("{OPTION}=1") => {}
            (PendingCommand::GetOption, 250) => return Err(ControlError::Unsafe),
            (PendingCommand::GetOption, _) => return Err(refused("GETCONF")),
            (PendingCommand::GetStreams, 250) => {
                self.on_streams(&message.lines);
                self.notify(Notice::Ready);
            }
            (PendingCommand::GetStreams, _) => return Err(refused("GETINFO")),
            (PendingCommand::RestoreOption, 250) => self.notify(Notice::OptionRestored),
            (PendingCommand::RestoreOption, _) => return Err(refused("SETCONF")),
            (PendingCommand::Attach(id), _) => self.close(&id),
            (PendingCommand::Redirect(id), code) => {
                let waits = matches!(self.session.streams.get(&id), Some(StreamPhase::Redirecting));
                if waits {
                    self.session.streams.remove(&id);
                }
                match code {
                    // It has ended, or another controller has attached it.
                    _ if !waits => {}
                    250 => self.attach(id),
                    // It would go out under its own name.
                    _ => self.close(&id),
                }
            }
        }
        Ok(())
    }

    /// Takes care of streams that came to wait before we listened. Tor says less of them than an event would, so that
    /// each has an isolation ID of its own.
    fn on_streams(&mut self, lines: &[ReplyLine]) {
        let texts = |line: &ReplyLine| {
            let first = line.text.strip_prefix("stream-status=").map(str::to_owned);
            first.into_iter().chain(line.data.clone()).collect::<Vec<_>>()
        };
        for text in lines.iter().flat_map(texts) {
            match StreamEvent::parse(&text) {
                Some(event) if !self.session.streams.contains_key(&event.id) => {
                    if let status @ (StreamStatus::New | StreamStatus::NewResolve) = event.status {
                        self.on_waiting(event, status == StreamStatus::NewResolve, None);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_stream_event(&mut self, event: StreamEvent) {
        match event.status {
            StreamStatus::New | StreamStatus::NewResolve => {
                if self.session.streams.len() < MAX_STREAMS {
                    let source = event.fields.get("SOURCE_ADDR").map(<[u8]>::to_vec);
                    let resolves = event.status == StreamStatus::NewResolve;
                    let phase = StreamPhase::Announced { source, resolves };
                    if let Some(old) = self.session.streams.insert(event.id, phase) {
                        self.abort_lookup(old);
                    }
                }
            }
            // Another controller has attached it once more, which begins it anew. If we attached it again for that, and the
            // other did the same, it would never get anywhere.
            StreamStatus::ControllerWait if self.session.attached.contains(&event.id) => {}
            StreamStatus::ControllerWait => match self.session.streams.get_mut(&event.id) {
                Some(StreamPhase::Announced { source, resolves }) => {
                    let (source, resolves) = (source.take(), *resolves);
                    self.on_waiting(event, resolves, source.as_deref());
                }
                // Tor tells of it twice.
                Some(StreamPhase::Resolving { .. } | StreamPhase::Redirecting) => {}
                None => {
                    let resolves = event.port == "0";
                    self.on_waiting(event, resolves, None);
                }
            },
            // Either the target is ours, or a mapped address: then the stream comes to wait under that, if at all.
            StreamStatus::Remap => {}
            StreamStatus::Sent | StreamStatus::Gone => {
                if event.status == StreamStatus::Gone {
                    self.session.attached.remove(&event.id);
                }
                if let Some(stream) = self.session.streams.remove(&event.id) {
                    self.abort_lookup(stream);
                }
            }
        }
    }

    /// Takes care of a stream that waits. One that an exit could not serve waits again, with the target that it was given.
    fn on_waiting(&mut self, event: StreamEvent, resolves: bool, source: Option<&[u8]>) {
        let name = folded(&event.host);
        let Some(suffix) = self.suffixes.iter().position(|suffix| is_below(&name, suffix)) else {
            self.session.streams.remove(&event.id);
            return self.attach(event.id);
        };
        if self.session.lookups.len() >= MAX_LOOKUPS {
            self.session.streams.remove(&event.id);
            return self.close(&event.id);
        }
        let target_kind = match (onion_only(&name).is_some(), resolves) {
            // An onion service has no address.
            (true, true) => {
                self.session.streams.remove(&event.id);
                return self.close(&event.id);
            }
            (true, false) => TargetKind::Onion,
            (false, true) => TargetKind::Address,
            (false, false) => TargetKind::Any,
        };
        let assigned = self.groups.assign(&isolation_fields(&event, source));
        self.effects.extend(forget(assigned.forgotten));
        *self.started += 1;
        let lookup = *self.started;
        self.session.lookups.insert(lookup, (event.id.clone(), target_kind));
        let alone = assigned.alone.then(|| assigned.id.clone());
        let phase = StreamPhase::Resolving { lookup, alone };
        self.session.streams.insert(event.id, phase);
        self.effects.push(ControllerEffect::Resolve(StreamLookup {
            number: lookup,
            suffix,
            name,
            target_kind,
            id: assigned.id,
        }));
    }

    fn on_resolved(&mut self, lookup: u64, result: Result<Target, Failure>) {
        let Some((id, target_kind)) = self.session.lookups.remove(&lookup) else {
            return;
        };
        let Some(phase) = self.session.streams.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(phase, StreamPhase::Redirecting);
        if let StreamPhase::Resolving { alone: Some(alone), .. } = before {
            self.effects.push(ControllerEffect::Forget(vec![alone]));
        }
        match result {
            Ok(target) if self.may_go_to(&target, target_kind) => {
                let command = format!("REDIRECTSTREAM {id} {}", written(&target, target_kind));
                self.send(PendingCommand::Redirect(id), command);
            }
            _ => {
                self.session.streams.remove(&id);
                self.close(&id);
            }
        }
    }

    /// Says whether a stream may be sent to a target, wherever that comes from.
    fn may_go_to(&self, target: &Target, target_kind: TargetKind) -> bool {
        let text = target.to_string();
        let suffixes = self.suffixes.iter().map(String::as_str);
        target_kind.takes(target) && Target::parse(&text, suffixes).as_ref() == Some(target)
    }

    fn abort_lookup(&mut self, phase: StreamPhase) {
        if let StreamPhase::Resolving { lookup, alone } = phase {
            self.session.lookups.remove(&lookup);
            self.effects.push(ControllerEffect::Abort(lookup));
            self.effects.extend(forget(alone.into_iter().collect()));
        }
    }

    fn attach(&mut self, id: StreamId) {
        let command = format!("ATTACHSTREAM {id} 0");
        if self.session.attached.len() < MAX_STREAMS {
            self.session.attached.insert(id.clone());
        }
        self.send(PendingCommand::Attach(id), command);
    }

    fn close(&mut self, id: &StreamId) {
        self.send(PendingCommand::Close, format!("CLOSESTREAM {id} {RESOLVE_FAILED}"));
    }

    fn send(&mut self, pending: PendingCommand, command: String) {
        self.session.pending.push_back(pending);
        self.effects.push(ControllerEffect::Send(command));
    }

    fn notify(&mut self, notice: Notice) {
        self.effects.push(ControllerEffect::Notify(notice));
    }
}

fn forget(ids: Vec<IsolationId>) -> Option<ControllerEffect> {
    (!ids.is_empty()).then_some(ControllerEffect::Forget(ids))
}

/// Writes a target as Tor takes it. What it asks of an exit to connect to has the brackets of IPv6 (tor-spec, "Opening
/// streams"); what it answers a question with has none.
fn written(target: &Target, target_kind: TargetKind) -> String {
    match target {
        Target::Address(IpAddr::V6(address)) if target_kind != TargetKind::Address => format!("[{address}]"),
        target => target.to_string(),
    }
}

/// Says whether changed options are such that Tor attaches streams itself: the option has another value, or none any more.
fn attaches_itself(lines: &[ReplyLine]) -> bool {
    lines.iter().any(|line| {
        let (option, value) = line.text.split_once('=').unwrap_or((&line.text, ""));
        option.eq_ignore_ascii_case(OPTION) && value != "1"
    })
}

/// Returns all fields that a stream may be isolated by: those of the event that says it waits, and four that the list in
/// `ISO_FIELDS` has names for though they are no fields of events. The client's address stands in an earlier event.
fn isolation_fields(event: &StreamEvent, source: Option<&[u8]>) -> EventFields {
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
