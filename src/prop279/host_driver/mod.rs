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
use super::host::{Effect, Event, Host, Key};
use super::line::Word;
use super::splitter::Line;
use crate::isolation::IsolationId;
use crate::naming::target::Failure;
use crate::time::Moment;

/// What callers tell the task that owns the plugin.
#[derive(Debug)]
enum Command {
    Resolve {
        key: Key,
        name: Word,
        id: Option<Word>,
        reply: Reply,
    },
    Cancel(Key),
}

type Reply = oneshot::Sender<Result<Word, Failure>>;

/// Asks a plugin, which is started when it is first needed, and again when it has ended.
///
/// Dropping it ends the plugin as [`PluginHost::close`] does, but nobody waits for it.
pub struct PluginHost {
    /// What waits here is taken at once: the task waits for nothing else.
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
    /// Makes one of a program with its arguments, and a folder in which it may keep its state. It must be made within a
    /// runtime.
    pub fn new(argv: Vec<String>, state_dir: Option<PathBuf>) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let task = Task {
            argv,
            state_dir,
            host: Host::default(),
            child: None,
            runs: 0,
            replies: HashMap::new(),
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
        let key = Key(self.keys.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let _hold = Hold {
            key,
            commands: self.commands.clone(),
        };
        // A task that is gone shows as an answer that never comes.
        let _ = self.commands.send(Command::Resolve { key, name, id, reply });
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
struct Hold {
    key: Key,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Cancel(self.key));
    }
}

/// The owner of the plugin.
struct Task {
    argv: Vec<String>,
    state_dir: Option<PathBuf>,
    host: Host,
    child: Option<Child>,
    /// Counts the children that have been ended.
    runs: u64,
    replies: HashMap<Key, Reply>,
    started: Instant,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        loop {
            let wake = self.host.next_wake().and_then(|Moment(milliseconds)| {
                let wait = Duration::from_millis(milliseconds);
                self.started.checked_add(wait)
            });
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                lines = child::next_lines(&mut self.child) => match lines {
                    Ok(lines) => self.on_lines(lines),
                    Err(error) => {
                        tracing::warn!("a naming plugin has ended: {error}");
                        self.end_child();
                        self.on_event(Event::Ended);
                    }
                },
                () = sleep_until(wake.unwrap_or(self.started)), if wake.is_some() => self.on_event(Event::Wake),
            }
        }
        if let Some(child) = self.child {
            child.end().await;
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Resolve { key, name, id, reply } => {
                self.replies.insert(key, reply);
                self.on_event(Event::Resolve { key, name, id });
            }
            Command::Cancel(key) => {
                self.replies.remove(&key);
                self.on_event(Event::Cancel(key));
            }
        }
    }

    fn on_lines(&mut self, lines: Vec<Line>) {
        let run = self.runs;
        for line in lines {
            if self.runs != run {
                return;
            }
            self.on_event(Event::Line(line));
        }
    }

    fn on_event(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let now = Moment::default() + self.started.elapsed();
            for effect in self.host.on_event(now, event) {
                next = next.or(self.follow(effect));
            }
        }
    }

    /// Does what is to be done, and returns what happened by that.
    fn follow(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Start => match Child::start(&self.argv, self.state_dir.as_deref()) {
                Ok(child) => self.child = Some(child),
                Err(error) => {
                    tracing::warn!("a naming plugin cannot be started: {error}");
                    return Some(Event::Ended);
                }
            },
            Effect::Kill => {
                tracing::warn!("a naming plugin is ended: it did not get ready, or made no sense");
                self.end_child();
            }
            Effect::Write(request) => {
                if self.child.as_mut().is_some_and(|child| !child.write(&request)) {
                    tracing::warn!("a naming plugin is ended: it does not read");
                    self.end_child();
                    return Some(Event::Ended);
                }
            }
            Effect::Answer { key, result } => {
                if let Some(reply) = self.replies.remove(&key) {
                    // Nobody may wait for it any more.
                    let _ = reply.send(result);
                }
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
