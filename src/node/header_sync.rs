//! Carries out the effects of the header sync machine: dials, sends, writes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::candidate;
use super::clock::Clock;
use super::disk::Writing;
use super::handle::Handle;
use super::header_link::{self, Dial, LinkEvent, LinkRequest};
use super::report::ServerResult;
use super::run::{Node, Wish};
use super::store::HeaderChange;
use crate::chain::sync::{HeaderSync, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, Progress};
use crate::isolation::ConnId;
use crate::net::discovery::{Discovery, DiscoveryEvent};
use crate::reputation::ServerIndex;
use crate::time::Moment;

/// Events that may wait for the driver. Links wait when it is busy, and their servers with them.
const QUEUE: usize = 64;

/// How long a link waits for a reply at most: the machine, which sees whether bytes come, decides much earlier.
const LINK_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often what is known of the ways to the servers is written down, where it changed.
const WRITE_WAYS_EVERY: Duration = Duration::from_secs(5);

/// Waits until all that a node learnt is on the disk, or it is known that it can't be brought there for now.
pub(super) async fn write_all(node: &Handle) {
    let mut ended = node.with(|node| node.writing_ended());
    while node.with(Node::advance_writing) == Writing::Busy {
        // Where the thread that writes is gone, the next turn tells so.
        let _ = ended.changed().await;
    }
}

/// Brings to the disk what a node learns, and tries again what could not be written.
pub(super) async fn keep_writing(node: &Handle) -> Infallible {
    let clock = node.clock();
    let mut ended = node.with(|node| node.writing_ended());
    loop {
        let again = match node.with(Node::advance_writing) {
            Writing::Waits(at) => Some(at),
            Writing::Done | Writing::Busy => None,
            Writing::Gone => std::future::pending().await,
        };
        tokio::select! {
            Ok(()) = ended.changed() => {}
            () = sleep_until(clock.instant(again.unwrap_or_default())), if again.is_some() => {}
            else => std::future::pending().await,
        }
    }
}

/// Where a sync stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncStage {
    /// Headers are missing.
    Running,
    /// All that the reachable servers know is known.
    Synced,
    /// No server is left to ask.
    Exhausted,
}

/// What a sync tells after each step.
pub(super) struct SyncUpdate {
    pub(super) progress: Progress,
    pub(super) stage: SyncStage,
    pub(super) servers: Vec<ServerResult>,
}

/// A connection of header sync.
struct Link {
    server: ServerIndex,
    requests: mpsc::Sender<LinkRequest>,
}

/// Drives the header sync machine: brings it what its links tell, and carries out what it decides.
pub(super) struct HeaderSyncDriver {
    node: Handle,
    clock: Clock,
    /// Boxed, so that the futures around it stay small.
    machine: Box<HeaderSync>,
    links: BTreeMap<ConnId, Link>,
    events: mpsc::Sender<LinkEvent>,
    wake_at: Option<Moment>,
    /// When what is known of the ways to the servers was last looked at, to write it down.
    ways_written: Moment,
    stage: SyncStage,
}

impl HeaderSyncDriver {
    /// Brings the node's headers up to date and keeps them so, until the watcher, which is told after each step, breaks
    /// off.
    pub(super) async fn run(
        node: Handle,
        limits: HeaderSyncLimits,
        mut watch: impl FnMut(SyncUpdate) -> ControlFlow<()>,
    ) {
        let (events, mut inbox) = mpsc::channel(QUEUE);
        let (servers, clock, seed) = node.with(|node| {
            node.reputation_mut().header_sync_mut().begin();
            (node.servers().len(), node.clock(), node.draw_seed())
        });
        let mut sync = Self {
            node,
            clock,
            machine: Box::new(HeaderSync::new(servers, limits, seed)),
            links: BTreeMap::new(),
            events,
            wake_at: None,
            ways_written: Moment::default(),
            stage: SyncStage::Running,
        };
        sync.step(HeaderSyncEvent::Tick);
        loop {
            if watch(sync.status()).is_break() {
                return;
            }
            sync.discover(DiscoveryEvent::Tick);
            let wake = sync.wake_at.unwrap_or(sync.clock.now().steady + limits.request_timeout);
            let others = sync.node.with(|node| {
                node.regroup_if_due();
                [node.discovery().and_then(Discovery::wake_at), node.kinship().wake_at()]
            });
            let wake = others.into_iter().flatten().fold(wake, Moment::min);
            let told = tokio::select! {
                told = inbox.recv() => told,
                () = sync.node.peers_told() => {
                    sync.hear_of_peers();
                    continue;
                }
                () = sleep_until(sync.clock.instant(wake)) => None,
            };
            match told {
                Some(LinkEvent::Pin(index, pin)) => sync.node.with(|node| {
                    if let Some(server) = node.servers().get(index.0).cloned() {
                        node.learn_pin(&server, pin);
                    }
                }),
                Some(LinkEvent::Software(server, software)) => {
                    if sync.node.with(|node| node.learn_software(server, software)) {
                        sync.step(HeaderSyncEvent::OtherRelease { server });
                    }
                }
                Some(LinkEvent::Shown(server, shown)) => sync.node.with(|node| node.learn_operator(server, shown)),
                Some(LinkEvent::Peers(server, peers)) => sync.discover(DiscoveryEvent::Told(server, peers)),
                Some(LinkEvent::Checked(server, fits)) => sync.discover(DiscoveryEvent::Checked(server, fits)),
                Some(LinkEvent::Sync(event)) => {
                    if let HeaderSyncEvent::Closed { conn, .. } = &event {
                        sync.links.remove(conn);
                    }
                    sync.step(event);
                }
                None => sync.step(HeaderSyncEvent::Tick),
            }
        }
    }

    /// Takes up what peers did to the headers.
    fn hear_of_peers(&mut self) {
        let news = std::mem::take(&mut self.node.state().peer_news);
        if let Some(from) = news.brought_from {
            self.step(HeaderSyncEvent::BroughtByPeers { from });
        }
        if let Some(peers) = news.agreeing {
            self.step(HeaderSyncEvent::AgreedByPeers { peers });
        }
    }

    fn status(&mut self) -> SyncUpdate {
        let machine = &self.machine;
        self.node.with(|node| SyncUpdate {
            progress: machine.progress(node.tree()),
            stage: self.stage,
            servers: node
                .servers()
                .iter()
                .zip(machine.reports())
                .map(|(server, report)| ServerResult::new(server, &report))
                .collect(),
        })
    }

    fn step(&mut self, event: HeaderSyncEvent) {
        let now = self.clock.now();
        let machine = &mut self.machine;
        let (effects, lowest) = self.node.with(|node| {
            let lowest = node.tree().lowest();
            let (tree, reputation) = node.header_sync_state();
            (machine.on_event(tree, reputation, now, event), lowest)
        });
        if now.steady.since(self.ways_written) >= WRITE_WAYS_EVERY {
            self.ways_written = now.steady;
            self.node.with(Node::write_ways);
        }
        self.wake_at = None;
        for effect in effects {
            match effect {
                HeaderSyncEffect::Dial(server) => self.dial(server),
                HeaderSyncEffect::Send { conn, id, request } => {
                    // A link that is gone, or so slow that its queue is full, shows as a reply that never comes.
                    if let Some(link) = self.links.get(&conn) {
                        let _ = link.requests.try_send(LinkRequest::Headers(id, request));
                    }
                }
                HeaderSyncEffect::Close(conn) => drop(self.links.remove(&conn)),
                HeaderSyncEffect::StoreForward { from } => {
                    self.stage = SyncStage::Running;
                    self.write(HeaderChange::Forward { from });
                }
                HeaderSyncEffect::StoreProved { heights } => self.write(HeaderChange::Proved { heights }),
                HeaderSyncEffect::StoreBackward { .. } => {
                    let to = self.node.with(|node| {
                        let anchor = node.tree().anchor().height;
                        lowest.map_or(anchor, |lowest| lowest.saturating_sub(1))
                    });
                    self.write(HeaderChange::Backward { to });
                }
                HeaderSyncEffect::WakeAt(at) => self.wake_at = Some(at),
                HeaderSyncEffect::Synced => self.stage = SyncStage::Synced,
                HeaderSyncEffect::Exhausted => self.stage = SyncStage::Exhausted,
            }
        }
    }

    /// Tells discovery what happened, and does what it wants of connections. What is missing at its moment, such as a
    /// connection to ask over, is left out: there is another moment.
    fn discover(&mut self, event: DiscoveryEvent) {
        for wish in self.node.with(|node| node.discover(event)) {
            match wish {
                Wish::Ask(server) => {
                    if let Some(link) = self.links.values().find(|link| link.server == server) {
                        let _ = link.requests.try_send(LinkRequest::Peers);
                    }
                }
                Wish::Check(check) => candidate::begin(check, self.events.clone()),
            }
        }
    }

    fn write(&mut self, change: HeaderChange) {
        self.node.with(|node| node.write_headers(change));
    }

    fn dial(&mut self, index: ServerIndex) {
        let dial = self.node.with(|node| {
            let server = node.servers().get(index.0).cloned()?;
            Some(Dial {
                dialer: node.dialer(),
                network: node.tree().params().network,
                index,
                pin: node.pin(&server),
                server,
                conn: node.next_conn(),
                limits: node.connection_limits(),
                timeout: LINK_TIMEOUT,
                known_servers: node.known_servers_file(),
            })
        });
        if let Some(dial) = dial {
            let conn = dial.conn;
            // Nobody says which ones were not opened.
            self.links.retain(|_, link| !link.requests.is_closed());
            let requests = header_link::open(dial, self.events.clone());
            let server = index;
            self.links.insert(conn, Link { server, requests });
        }
    }
}
