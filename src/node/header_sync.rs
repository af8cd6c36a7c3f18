//! Carries out the effects of the sync machine: dials, asks, writes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::NodeError;
use super::clock::Clock;
use super::header_link::{self, Dial, Word};
use super::report::ServerResult;
use super::run::Node;
use crate::chain::Height;
use crate::chain::sync::{Ask, AskId, Effect, Event, Limits, Progress, ServerIndex, Sync};
use crate::isolation::ConnId;
use crate::time::Moment;

/// Words that may wait for the driver. Links wait when it is busy, and their servers with them.
const QUEUE: usize = 64;

/// How much longer than the machine a link waits for a reply: the machine decides what that means.
const LINK_GRACE: Duration = Duration::from_secs(30);

/// How a sync ended.
pub(super) enum End {
    Synced,
    Exhausted,
}

pub(super) struct HeaderSync<'a> {
    node: &'a mut Node,
    clock: Clock,
    machine: Sync,
    limits: Limits,
    links: BTreeMap<ConnId, mpsc::Sender<(AskId, Ask)>>,
    words: mpsc::Sender<Word>,
    wake_at: Option<Moment>,
    end: Option<End>,
}

impl<'a> HeaderSync<'a> {
    /// Brings the node's headers up to date. Returns how it ended, how it went with each server, and the greatest
    /// height that a server still claims.
    pub(super) async fn run(
        node: &'a mut Node,
        limits: Limits,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<(End, Vec<ServerResult>, Option<Height>), NodeError> {
        let (words, mut inbox) = mpsc::channel(QUEUE);
        let machine = Sync::new(node.servers().len(), limits);
        let clock = node.clock();
        let mut sync = Self {
            node,
            clock,
            machine,
            limits,
            links: BTreeMap::new(),
            words,
            wake_at: None,
            end: None,
        };
        sync.step(Event::Tick)?;
        loop {
            on_progress(sync.machine.progress(sync.node.tree()));
            if let Some(end) = sync.end.take() {
                return Ok((end, sync.results(), sync.machine.claimed_height()));
            }
            let wake = sync.wake_at.unwrap_or(sync.clock.now().steady + limits.ask_timeout);
            let word = tokio::select! {
                word = inbox.recv() => word,
                () = sleep_until(sync.clock.instant(wake)) => None,
            };
            match word {
                Some(Word::Pin(index, pin)) => {
                    if let Some(server) = sync.node.servers().get(index.0).cloned() {
                        sync.node.learn_pin(&server, pin)?;
                    }
                }
                Some(Word::Event(event)) => {
                    if let Event::Closed { conn, .. } = &event {
                        sync.links.remove(conn);
                    }
                    sync.step(event)?;
                }
                None => sync.step(Event::Tick)?,
            }
        }
    }

    fn results(&self) -> Vec<ServerResult> {
        let reports = self.machine.reports();
        self.node
            .servers()
            .iter()
            .zip(reports)
            .map(|(server, report)| ServerResult::new(server, &report))
            .collect()
    }

    fn step(&mut self, event: Event) -> Result<(), NodeError> {
        let now = self.clock.now();
        let lowest = self.node.tree().lowest();
        let effects = self.machine.on_event(self.node.tree_mut(), now, event);
        self.wake_at = None;
        for effect in effects {
            match effect {
                Effect::Dial(server) => self.dial(server),
                Effect::Ask { conn, id, ask } => {
                    // A link that is gone, or so slow that its queue is full, shows as a reply that never comes.
                    if let Some(link) = self.links.get(&conn) {
                        let _ = link.try_send((id, ask));
                    }
                }
                Effect::Close(conn) => drop(self.links.remove(&conn)),
                Effect::StoreForward { from } => self.node.store_headers(from, Height::MAX)?,
                Effect::StoreBackward { from } => {
                    let anchor = self.node.tree().anchor().height;
                    let to = lowest.map_or(anchor, |lowest| lowest.saturating_sub(1));
                    self.node.store_headers(from, to)?;
                }
                Effect::WakeAt(at) => self.wake_at = Some(at),
                Effect::Synced => self.end = Some(End::Synced),
                Effect::Exhausted => self.end = Some(End::Exhausted),
            }
        }
        Ok(())
    }

    fn dial(&mut self, index: ServerIndex) {
        let Some(server) = self.node.servers().get(index.0).cloned() else {
            return;
        };
        let conn = self.node.next_conn();
        let dial = Dial {
            dialer: self.node.dialer(),
            network: self.node.tree().params().network,
            index,
            pin: self.node.pin(&server),
            server,
            conn,
            timeout: self.limits.ask_timeout + LINK_GRACE,
            known_servers: self.node.known_servers_file(),
        };
        let link = header_link::open(dial, self.words.clone());
        self.links.insert(conn, link);
    }
}
