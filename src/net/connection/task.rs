//! The task that owns a connection's stream.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::{Answers, ConnectionError, Meter};
use crate::electrum::exchange::ServerErrorKind;
use crate::electrum::{
    AnswerError, ElectrumReply, ElectrumRequest, Exchange, ExchangeEffect, ExchangeEnd, ExchangeEvent, HeaderTip,
    ServerError, Violation,
};
use crate::line::{LineBuffer, LineTooLong};
use crate::net::dialer::Duplex;
use crate::time::Moment;

/// What a call comes to.
pub(super) type Outcome = Result<Answers, ConnectionError>;

/// Requests that are to go out together, and where their answers go.
pub(super) struct Call {
    pub(super) requests: Vec<ElectrumRequest>,
    pub(super) timeout: Duration,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

/// A call whose answers are coming in.
struct Waiting {
    slots: Vec<Option<Result<ElectrumReply, AnswerError>>>,
    missing: usize,
    outcome: oneshot::Sender<Outcome>,
}

/// The owner of a connection's stream.
pub(super) struct Task {
    reader: ReadHalf<Box<dyn Duplex>>,
    writer: WriteHalf<Box<dyn Duplex>>,
    lines: LineBuffer,
    /// Bytes that are read at a time.
    chunk: usize,
    state: State,
    plain: bool,
}

/// All that the task knows; the stream's halves are kept apart from it so that both can be waited for.
struct State {
    exchange: Exchange,
    meter: Arc<Meter>,
    to_write: WriteBuffer,
    /// Calls by the id of their first request.
    waiting: BTreeMap<u64, Waiting>,
    tips: watch::Sender<Option<HeaderTip>>,
    /// What the server said last of having had enough.
    refusal: Option<ServerError>,
    started: Instant,
    wake_at: Option<Moment>,
    /// The longest that a line may get while no answer is awaited, in bytes.
    longest_unasked: usize,
}

/// Bytes on their way out.
#[derive(Default)]
struct WriteBuffer {
    bytes: Vec<u8>,
    written: usize,
    flushed: bool,
}

impl WriteBuffer {
    fn push(&mut self, lines: &str) {
        self.bytes.drain(..self.written);
        self.written = 0;
        self.bytes.extend_from_slice(lines.as_bytes());
        self.flushed = false;
    }

    fn is_done(&self) -> bool {
        self.flushed || self.bytes.is_empty()
    }

    /// Writes and flushes what is left. May be dropped at any await and called again.
    async fn write_to(&mut self, writer: &mut WriteHalf<Box<dyn Duplex>>) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match writer.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.written = self.written.saturating_add(n),
            }
        }
        writer.flush().await?;
        self.flushed = true;
        Ok(())
    }
}

impl Task {
    /// Makes the task of a fresh stream.
    pub(super) fn new(
        stream: Box<dyn Duplex>,
        longest_line: usize,
        chunk: usize,
        plain: bool,
        tips: watch::Sender<Option<HeaderTip>>,
        meter: Arc<Meter>,
    ) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            lines: LineBuffer::new(longest_line),
            chunk,
            state: State {
                exchange: Exchange::new(),
                meter,
                to_write: WriteBuffer::default(),
                waiting: BTreeMap::new(),
                tips,
                refusal: None,
                started: Instant::now(),
                wake_at: None,
                longest_unasked: chunk,
            },
            plain,
        }
    }

    /// Serves calls until the connection is of no more use and returns why. Whoever waits for an answer then
    /// learns it from the closed channel.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Call>) -> ConnectionError {
        let end = self.serve(&mut queue).await;
        match (end, self.state.refusal) {
            (ConnectionError::Closed | ConnectionError::Io(_), Some(refusal)) => ConnectionError::ClosedAfter(refusal),
            (end, _) => end,
        }
    }

    async fn serve(&mut self, queue: &mut mpsc::Receiver<Call>) -> ConnectionError {
        let mut chunk = vec![0; self.chunk];
        let mut silent = true;
        loop {
            let state = &mut self.state;
            let wake = state.wake_at();
            let sleep_end = wake.unwrap_or(state.started);
            tokio::select! {
                call = queue.recv() => match call {
                    Some(call) => {
                        if let Err(error) = state.on_call(call) {
                            return error;
                        }
                    }
                    None => return ConnectionError::Closed,
                },
                read = self.reader.read(&mut chunk) => {
                    let read = match read {
                        Ok(0) if silent => return ConnectionError::ClosedAtOnce { plain: self.plain },
                        Ok(0) => return ConnectionError::Closed,
                        Ok(read) => chunk.get(..read).unwrap_or_default(),
                        Err(error) => return read_error(&error, silent, self.plain),
                    };
                    if silent && self.plain && is_tls_record(read) {
                        return ConnectionError::SpeaksTls;
                    }
                    silent = false;
                    if let Err(error) = state.on_bytes(&mut self.lines, read) {
                        return error;
                    }
                }
                written = state.to_write.write_to(&mut self.writer), if !state.to_write.is_done() => {
                    if let Err(error) = written {
                        return ConnectionError::Io(error.kind());
                    }
                }
                () = sleep_until(sleep_end), if wake.is_some() => {
                    if let Err(error) = state.on_time() {
                        return error;
                    }
                }
            }
        }
    }
}

fn read_error(error: &io::Error, silent: bool, plain: bool) -> ConnectionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset if silent => {
            ConnectionError::ClosedAtOnce { plain }
        }
        // TLS without a last word: many servers close so.
        io::ErrorKind::UnexpectedEof => ConnectionError::Closed,
        kind => ConnectionError::Io(kind),
    }
}

/// Says whether bytes begin a TLS alert or handshake record. Source: RFC 8446, 5.1.
fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

impl State {
    fn now(&self) -> Moment {
        Moment::default() + self.started.elapsed()
    }

    fn wake_at(&self) -> Option<Instant> {
        let Moment(milliseconds) = self.wake_at?;
        self.started.checked_add(Duration::from_millis(milliseconds))
    }

    fn on_time(&mut self) -> Result<(), ConnectionError> {
        self.step(ExchangeEvent::Tick, &mut None)
    }

    fn on_call(&mut self, call: Call) -> Result<(), ConnectionError> {
        let Call {
            requests,
            timeout,
            outcome,
        } = call;
        self.step(ExchangeEvent::Send { requests, timeout }, &mut Some(outcome))
    }

    fn on_bytes(&mut self, lines: &mut LineBuffer, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.meter.count(bytes.len());
        lines.extend(bytes).map_err(Violation::from)?;
        while let Some(line) = lines.next_line().map_err(Violation::from)? {
            if line.ends_with(b" ") {
                self.meter.note_padding();
            }
            self.step(ExchangeEvent::Line(line), &mut None)?;
        }
        // Who owes no answer has nothing long to say: else it could fill the memory, over all connections that rest.
        if self.exchange.open() == 0 && lines.unfinished().len() > self.longest_unasked {
            return Err(Violation::from(LineTooLong {
                limit: self.longest_unasked,
            })
            .into());
        }
        Ok(())
    }

    /// Hands an event in, and carries out what follows; `caller` is who waits for the answers of a call.
    fn step(
        &mut self,
        event: ExchangeEvent<'_>,
        caller: &mut Option<oneshot::Sender<Outcome>>,
    ) -> Result<(), ConnectionError> {
        let effects = self.exchange.on_event(self.now(), event);
        self.wake_at = None;
        for effect in effects {
            match effect {
                ExchangeEffect::Sent(ids) => {
                    let missing = usize::try_from(ids.end - ids.start).unwrap_or(usize::MAX);
                    if let Some(outcome) = caller.take() {
                        let waiting = Waiting {
                            slots: vec![None; missing],
                            missing,
                            outcome,
                        };
                        self.waiting.insert(ids.start, waiting);
                    }
                }
                ExchangeEffect::Refuse(error) => {
                    if let Some(outcome) = caller.take() {
                        // The caller may have gone.
                        let _ = outcome.send(Err(error.into()));
                    }
                }
                ExchangeEffect::Write(lines) => self.to_write.push(&lines),
                ExchangeEffect::Answer { id, outcome } => {
                    if let Err(AnswerError::Server(error)) = &outcome
                        && error.kind() == ServerErrorKind::ExcessiveUsage
                    {
                        self.refusal = Some(error.clone());
                    }
                    if let Ok(ElectrumReply::Tip(tip)) = &outcome {
                        self.tips.send_replace(Some(tip.clone()));
                    }
                    settle(&mut self.waiting, id, outcome);
                }
                ExchangeEffect::Refused(error) => self.refusal = Some(error),
                ExchangeEffect::Tip(tip) => {
                    self.tips.send_replace(Some(tip));
                }
                ExchangeEffect::WakeAt(at) => self.wake_at = Some(at),
                ExchangeEffect::Leave(end) => {
                    return Err(match end {
                        ExchangeEnd::Overdue(overdue) => overdue.into(),
                        ExchangeEnd::Violation(violation) => violation.into(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Puts an answer into its place; the last one of a call ends it.
fn settle(waiting: &mut BTreeMap<u64, Waiting>, id: u64, outcome: Result<ElectrumReply, AnswerError>) {
    let Some((first, call)) = waiting.range_mut(..=id).next_back() else {
        return;
    };
    let first = *first;
    let slot = usize::try_from(id - first).ok().and_then(|at| call.slots.get_mut(at));
    if let Some(slot @ None) = slot {
        *slot = Some(outcome);
        call.missing -= 1;
    }
    if call.missing == 0
        && let Some(call) = waiting.remove(&first)
    {
        // The caller may have gone.
        let _ = call.outcome.send(Ok(call.slots.into_iter().flatten().collect()));
    }
}
