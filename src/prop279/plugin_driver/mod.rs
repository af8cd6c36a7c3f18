//! Runs the side that resolves names: on standard input and output, or on any other pair of streams.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::timeout;

use super::line::OutgoingReply;
use super::line_decoder::LineDecoder;
use super::plugin::{LookupKey, PluginEffect, PluginEvent, PluginMachine};
use super::write_buffer::WriteBuffer;
use crate::isolation::IsolationId;
use crate::naming::target::{Failure, Target};

/// How many bytes are read at a time.
const CHUNK: usize = 4 << 10;

/// How long it may take to write the last replies: a caller that has closed the input may not read the output any more.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Announces that the plugin is ready and answers queries, until the input has ended and all are answered, or `stop` is
/// ready. Names are looked up by `resolve`, each in a task that is aborted when its query is cancelled.
///
/// Nothing more is read while the output does not take what has been written, so that a caller which only asks makes
/// nothing grow.
///
/// # Errors
///
/// As the streams say, also where the caller just went away: then the output is a broken pipe.
pub async fn run<L>(
    input: impl AsyncRead,
    output: impl AsyncWrite,
    resolve: impl Fn(String, Option<IsolationId>) -> L,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    L: Future<Output = Result<Target, Failure>> + Send + 'static,
{
    let (mut input, mut output, mut stop) = (pin!(input), pin!(output), pin!(stop));
    let mut state = State::default();
    let mut chunk = [0; CHUNK];
    // What was read before the output was known to be blocked, and waits for it.
    let mut held = 0..0;
    let mut input_ended = false;
    state.out.push(&OutgoingReply::Ready);
    while !state.finished {
        if state.out.is_done() && !held.is_empty() {
            state.take(chunk.get(held).unwrap_or_default(), &resolve);
            held = 0..0;
            continue;
        }
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            written = state.out.write_to(&mut output), if !state.out.is_done() => written?,
            Some(ended) = state.tasks.join_next() => state.on_end(ended, &resolve),
            // Also while the output is blocked, to learn of the end.
            read = input.read(&mut chunk), if !input_ended && held.is_empty() => {
                held = 0..read?;
                if held.is_empty() {
                    input_ended = true;
                    state.on_event(PluginEvent::EndOfInput, &resolve);
                }
            }
        }
    }
    tokio::select! {
        () = &mut stop => Ok(()),
        written = timeout(FLUSH_PATIENCE, state.out.write_to(&mut output)) => written?,
    }
}

/// Announces that the plugin can't start. The message must tell nothing of names.
///
/// # Errors
///
/// As the output says.
pub async fn fail(output: impl AsyncWrite, message: &str) -> io::Result<()> {
    let mut out = WriteBuffer::default();
    out.push(&OutgoingReply::Unready(message.to_owned()));
    out.write_to(&mut pin!(output)).await
}

#[derive(Default)]
struct State {
    plugin: PluginMachine,
    decoder: LineDecoder,
    out: WriteBuffer,
    tasks: JoinSet<(LookupKey, Result<Target, Failure>)>,
    handles: BTreeMap<LookupKey, AbortHandle>,
    finished: bool,
}

impl State {
    fn take<L>(&mut self, bytes: &[u8], resolve: &impl Fn(String, Option<IsolationId>) -> L)
    where
        L: Future<Output = Result<Target, Failure>> + Send + 'static,
    {
        for line in self.decoder.decode(bytes) {
            self.on_event(PluginEvent::Line(line), resolve);
        }
    }

    fn on_end<L>(
        &mut self,
        ended: Result<(LookupKey, Result<Target, Failure>), JoinError>,
        resolve: &impl Fn(String, Option<IsolationId>) -> L,
    ) where
        L: Future<Output = Result<Target, Failure>> + Send + 'static,
    {
        let (key, result) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // One that panicked is still owed an answer; one that was aborted is not among them.
                let mut handles = self.handles.iter();
                let Some((key, _)) = handles.find(|(_, handle)| handle.id() == error.id()) else {
                    return;
                };
                (*key, Err(Failure::Unavailable))
            }
        };
        self.handles.remove(&key);
        self.on_event(PluginEvent::LookupEnded(key, result), resolve);
    }

    fn on_event<L>(&mut self, event: PluginEvent, resolve: &impl Fn(String, Option<IsolationId>) -> L)
    where
        L: Future<Output = Result<Target, Failure>> + Send + 'static,
    {
        for effect in self.plugin.on_event(event) {
            match effect {
                PluginEffect::Write(reply) => self.out.push(&reply),
                PluginEffect::StartLookup { key, name, id } => {
                    let lookup = resolve(name.into(), id);
                    let handle = self.tasks.spawn(async move { (key, lookup.await) });
                    self.handles.insert(key, handle);
                }
                PluginEffect::AbortLookup(key) => {
                    if let Some(handle) = self.handles.remove(&key) {
                        handle.abort();
                    }
                }
                PluginEffect::Warn(fault) => tracing::warn!("{fault}"),
                PluginEffect::Finish => self.finished = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
