//! Runs a plugin as a child process and asks it.

mod child;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::child::Child;
use super::host::{HostEffect, HostEvent, HostMachine, QueryKey};
use super::line::Word;
use super::line_decoder::PluginLine;
use crate::isolation::IsolationId;
use crate::naming::target::Failure;
use crate::time::Moment;

/// A message from callers to the task that owns the plugin.
#[derive(Debug)]
enum Command {
    Resolve {
        key: QueryKey,
        name: Word,
        id: Option<Word>,
        answer: AnswerSender,
    },
    Cancel(QueryKey),
}

type AnswerSender = oneshot::Sender<Result<Word, Failure>>;

/// Asks a plugin, whose process is started when it is first needed, and again when it has ended.
///
/// Dropping it ends the plugin as [`PluginHost::close`] does, but nobody waits for it.
pub struct PluginHost {
    /// Unbounded, since the task takes commands as soon as they come: each stands for a caller that waits.
    commands: mpsc::UnboundedSender<Command>,
    keys: AtomicU64,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginHost(..)")
    }
}

impl PluginHost {
    /// Makes one for the names under a suffix, of a program with its arguments, and a folder in which it may keep its state. It must be made within a
    /// runtime.
    pub fn new(suffix: &str, argv: Vec<String>, state_dir: Option<PathBuf>) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        // Only a NUL can't be quoted, and no argument of a program holds one.
        let command = shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_default();
        let task = Task {
            label: format!("the naming plugin for .{suffix} ({command})"),
            argv,
            state_dir,
            host: HostMachine::default(),
            child: None,
            runs: 0,
            answers: HashMap::new(),
            wake: None,
            started: Instant::now(),
        };
        Self {
            commands,
            keys: AtomicU64::new(0),
            task: tokio::spawn(task.run(queue)),
        }
    }

    /// Asks what a name stands for, under an isolation ID; `None` and the empty one are the default identity. What the
    /// plugin says is returned as it is: the caller checks it.
    ///
    /// A name or an ID that is not one word of printable text is [`Failure::Invalid`]. Dropping the future cancels
    /// the query.
    pub async fn resolve(&self, name: &str, id: Option<&IsolationId>) -> Result<String, Failure> {
        let name = Word::new(name).ok_or(Failure::Invalid)?;
        let id = match id.map(IsolationId::as_bytes) {
            None | Some([]) => None,
            Some(bytes) => Some(Word::from_bytes(bytes).ok_or(Failure::Invalid)?),
        };
        let key = QueryKey(self.keys.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        let _cancel = CancelOnDrop {
            key,
            commands: self.commands.clone(),
        };
        // A task that is gone shows as an answer that never comes.
        let _ = self.commands.send(Command::Resolve {
            key,
            name,
            id,
            answer: sender,
        });
        let result = answer.await.unwrap_or(Err(Failure::Unavailable));
        result.map(String::from)
    }

    /// Ends the plugin: its input is closed, and it is killed when it has not ended soon after.
    pub async fn close(self) {
        drop(self.commands);
        let _ = self.task.await;
    }
}

/// Cancels a query when nobody waits for it any more. One that has been answered is not open, so that does nothing.
struct CancelOnDrop {
    key: QueryKey,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Cancel(self.key));
    }
}

/// The task that owns the plugin's process, and runs the [`HostMachine`].
struct Task {
    /// What it is called in warnings.
    label: String,
    argv: Vec<String>,
    state_dir: Option<PathBuf>,
    host: HostMachine,
    child: Option<Child>,
    /// Counts the processes that have been ended.
    runs: u64,
    answers: HashMap<QueryKey, AnswerSender>,
    /// When the machine wants to be woken up.
    wake: Option<Instant>,
    started: Instant,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                lines = child::next_lines(&mut self.child) => match lines {
                    Ok(lines) => self.on_lines(lines),
                    Err(error) => {
                        tracing::warn!("{} has ended: {error}", self.label);
                        self.end_child();
                        self.on_event(HostEvent::Exited);
                    }
                },
                () = sleep_until(self.wake.unwrap_or(self.started)), if self.wake.is_some() => {
                    self.wake = None;
                    self.on_event(HostEvent::Wake);
                }
            }
        }
        if let Some(child) = self.child {
            child.end().await;
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Resolve { key, name, id, answer } => {
                self.answers.insert(key, answer);
                self.on_event(HostEvent::Resolve { key, name, id });
            }
            Command::Cancel(key) => {
                self.answers.remove(&key);
                self.on_event(HostEvent::Cancel(key));
            }
        }
    }

    fn on_lines(&mut self, lines: Vec<PluginLine>) {
        let run = self.runs;
        for line in lines {
            if self.runs != run {
                return;
            }
            self.on_event(HostEvent::Line(line));
        }
    }

    fn on_event(&mut self, event: HostEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let now = Moment::default() + self.started.elapsed();
            for effect in self.host.on_event(now, event) {
                next = next.or(self.follow(effect));
            }
        }
    }

    /// Carries an effect out, and returns what happened by that.
    fn follow(&mut self, effect: HostEffect) -> Option<HostEvent> {
        match effect {
            HostEffect::Start => match Child::start(&self.argv, self.state_dir.as_deref()) {
                Ok(child) => self.child = Some(child),
                Err(error) => {
                    tracing::warn!("{} cannot be started: {error}", self.label);
                    return Some(HostEvent::Exited);
                }
            },
            HostEffect::Complain => {
                tracing::warn!("{} writes lines that make no sense; they are ignored", self.label);
            }
            HostEffect::Kill => {
                tracing::warn!("{} is ended: it did not get ready, or made no sense", self.label);
                self.end_child();
            }
            HostEffect::Write(request) => {
                if self.child.as_mut().is_some_and(|child| !child.write(&request)) {
                    tracing::warn!("{} is ended: it does not read", self.label);
                    self.end_child();
                    return Some(HostEvent::Exited);
                }
            }
            HostEffect::Answer { key, result } => {
                if let Some(answer) = self.answers.remove(&key) {
                    // Nobody may wait for it any more.
                    let _ = answer.send(result);
                }
            }
            HostEffect::WakeAt(Moment(milliseconds)) => {
                let wait = Duration::from_millis(milliseconds);
                self.wake = self.started.checked_add(wait);
            }
        }
        None
    }

    fn end_child(&mut self) {
        self.child = None;
        self.runs = self.runs.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
