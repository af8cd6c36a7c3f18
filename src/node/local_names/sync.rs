//! Carries out the effects of the machine that fetches headers and blocks from peers, and has the index read the blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;

use super::peer_link::{self, PeerDial, PeerLinkEvent};
use super::seeds;
use super::{LocalNames, NamesStanding, is_complete, window_low};
use crate::backoff::Backoff;
use crate::chain::Height;
use crate::isolation::ConnId;
use crate::name_index::{Covered, IndexError, NextBlock, UNDO_DEPTH};
use crate::net::{PeerAddr, ServerAddr};
use crate::node::handle::PeerNews;
use crate::node::{Handle, Node};
use crate::p2p::codec::default_port;
use crate::p2p::peer_sync::{KnownPeer, PeerIndex, PeerKind};
use crate::p2p::{Message, PeerSync, PeerSyncEffect, PeerSyncEvent, PeerSyncSettings};
use crate::time::Moment;

/// Events that may wait for the driver. Links wait when it is busy, and their peers with them.
const QUEUE: usize = 16;

/// Most blocks that the index reads in one go.
const BATCH: usize = 64;

/// How many blocks are read between two times that all is brought to the disk, while many are missing.
const LASTING_EVERY: Height = 1_000;

/// The pauses before the disk is tried again.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Most peers that are learned of.
const MAX_LEARNED: usize = 1_000;

/// What the index was told to do: to read blocks, to take them back, or to forget all of them.
type Job = JoinHandle<Result<(), IndexError>>;

/// Keeps all living names up to date for ever, where they are kept.
pub(in crate::node) async fn keep_names(node: Handle) -> Infallible {
    let Some(names) = node.local_names().cloned() else {
        return std::future::pending().await;
    };
    let (events, mut inbox) = mpsc::channel(QUEUE);
    let seed = node.with(Node::draw_seed);
    let settings = PeerSyncSettings {
        rate: names.config.rate,
        ..PeerSyncSettings::default()
    };
    let mut driver = Driver {
        machine: PeerSync::new(node.params(), settings, seed),
        addresses: Vec::new(),
        known: BTreeSet::new(),
        links: BTreeMap::new(),
        queue: VecDeque::new(),
        job: None,
        since_lasting: 0,
        failures: 0,
        retry_at: Moment::default(),
        wake_at: Moment::default(),
        told: None,
        reading: false,
        node,
        names,
        events,
    };
    driver.begin();
    let mut headers = driver.node.header_changes();
    loop {
        driver.follow_chain();
        driver.tell();
        let wake = driver.node.clock().instant(driver.wake_at);
        tokio::select! {
            event = inbox.recv() => if let Some(event) = event { driver.take(event) },
            ended = ended(&mut driver.job) => driver.job_ended(ended),
            _ = headers.changed() => driver.step(PeerSyncEvent::Tick),
            () = sleep_until(wake) => driver.step(PeerSyncEvent::Tick),
        }
    }
}

/// Waits for the end of what the index does, if it does anything.
async fn ended(job: &mut Option<Job>) -> Result<(), IndexError> {
    let Some(task) = job else {
        return std::future::pending().await;
    };
    let ended = task.await;
    ended.unwrap_or_else(|_| Err(IndexError::Database("reading a block failed".to_owned())))
}

struct Driver {
    node: Handle,
    names: LocalNames,
    machine: PeerSync,
    /// Where each peer is.
    addresses: Vec<ServerAddr>,
    known: BTreeSet<ServerAddr>,
    links: BTreeMap<ConnId, mpsc::Sender<Message>>,
    events: mpsc::Sender<PeerLinkEvent>,
    /// Blocks that wait for the index.
    queue: VecDeque<NextBlock>,
    job: Option<Job>,
    /// Blocks that were read since all was brought to the disk.
    since_lasting: Height,
    failures: u32,
    retry_at: Moment,
    wake_at: Moment,
    /// What header sync was told last.
    told: Option<(BlockHash, usize)>,
    /// Whether blocks are asked for.
    reading: bool,
}

impl Driver {
    /// Makes the peers known that are there from the beginning.
    fn begin(&mut self) {
        let named = self.names.config.peers.clone();
        self.add(PeerKind::Named, None, named);
        // Who names peers of a network without others wants these alone.
        self.add(PeerKind::Shipped, None, seeds::seeds(self.node.params().network));
        self.step(PeerSyncEvent::Tick);
    }

    fn add(&mut self, kind: PeerKind, told_by: Option<PeerIndex>, peers: Vec<PeerAddr>) {
        let port = default_port(self.node.params().network);
        let mut known = Vec::new();
        for peer in peers {
            let address = peer.target(port);
            if self.known.insert(address.clone()) {
                known.push(KnownPeer {
                    kind,
                    group: seeds::group(&address.host),
                    told_by,
                });
                self.addresses.push(address);
            }
        }
        if !known.is_empty() {
            self.step(PeerSyncEvent::Known(known));
        }
    }

    /// Makes peers known that a peer told of.
    fn learn(&mut self, teller: PeerIndex, told: &[AddrV2Message]) {
        let room = MAX_LEARNED.saturating_sub(self.addresses.len());
        let peers = told.iter().filter_map(|it| learned(&it.addr, it.port)).take(room);
        let peers = peers.collect();
        self.add(PeerKind::Learned, Some(teller), peers);
    }

    fn take(&mut self, event: PeerLinkEvent) {
        match event {
            PeerLinkEvent::Sync(event) => {
                if let PeerSyncEvent::Closed { conn } | PeerSyncEvent::Garbled { conn, .. } = &event {
                    self.links.remove(conn);
                }
                self.step(event);
            }
            PeerLinkEvent::DialFailed { peer, conn, error } => {
                tracing::debug!("no connection to a peer: {error}");
                self.links.remove(&conn);
                self.step(PeerSyncEvent::DialFailed { peer });
            }
        }
    }

    fn step(&mut self, event: PeerSyncEvent) {
        let now = self.node.clock().now();
        let machine = &mut self.machine;
        let effects = self
            .node
            .with(|node| machine.on_event(now, node.header_tree_mut(), event));
        for effect in effects {
            match effect {
                PeerSyncEffect::Dial(peer) => self.dial(peer),
                PeerSyncEffect::Send { conn, message } => {
                    // A link that is so slow that its queue is full shows as a peer that says nothing.
                    if let Some(link) = self.links.get(&conn) {
                        let _ = link.try_send(message);
                    }
                }
                PeerSyncEffect::Close(conn) => drop(self.links.remove(&conn)),
                PeerSyncEffect::BestChanged { from } => self.node.note_peers(PeerNews {
                    brought_from: Some(from),
                    agreeing: None,
                }),
                PeerSyncEffect::Block { height, block, .. } => self.queue.push_back(NextBlock { height, block }),
                PeerSyncEffect::Report { peer, fault } => {
                    let address = self.addresses.get(peer.0).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(peer = address, "a peer is left: {fault}");
                }
                PeerSyncEffect::Told { peer, addresses } => self.learn(peer, &addresses),
                PeerSyncEffect::WakeAt(at) => self.wake_at = at,
            }
        }
    }

    fn dial(&mut self, peer: PeerIndex) {
        let Some(address) = self.addresses.get(peer.0).cloned() else {
            return;
        };
        let dial = self.node.with(|node| PeerDial {
            dialer: node.dialer(),
            network: node.tree().params().network,
            peer,
            address,
            conn: node.next_conn(),
            limit: node.connection_limits().dial,
        });
        let conn = dial.conn;
        let link = peer_link::open(dial, self.events.clone());
        self.links.insert(conn, link);
    }

    /// Has the index follow the best chain: blocks taken back that are no part of it, and others read.
    fn follow_chain(&mut self) {
        let now = self.node.clock().now().steady;
        if self.job.is_some() || self.retry_at > now {
            return;
        }
        let covered = match self.names.index.covered() {
            Ok(covered) => covered,
            Err(error) => return self.failed(&error),
        };
        match self.next_step(covered) {
            NextStep::Wait => {
                if self.reading {
                    self.reading = false;
                    self.queue.clear();
                    self.step(PeerSyncEvent::Begin { next: None });
                }
            }
            NextStep::Read(next) => {
                if !self.reading || self.queue.front().is_some_and(|block| block.height != next) {
                    self.reading = true;
                    self.queue.clear();
                    self.step(PeerSyncEvent::Begin { next: Some(next) });
                } else {
                    self.step(PeerSyncEvent::Read { next });
                }
                self.read_some();
            }
            NextStep::TakeBack(to) => {
                self.reading = false;
                self.queue.clear();
                let index = Arc::clone(&self.names.index);
                self.job = Some(spawn_blocking(move || match index.take_back(to) {
                    Err(IndexError::TooDeep { .. }) => index.clear(),
                    ended => ended,
                }));
            }
            NextStep::Forget => {
                self.reading = false;
                self.queue.clear();
                let index = Arc::clone(&self.names.index);
                self.job = Some(spawn_blocking(move || index.clear()));
            }
        }
    }

    /// Decides what is next for an index that has read these blocks.
    fn next_step(&self, covered: Option<Covered>) -> NextStep {
        let is_synchronized = self.node.is_synchronized();
        let (tip, lowest, params) = self.node.with(|node| {
            let tree = node.tree();
            (tree.tip().height, tree.lowest(), tree.params())
        });
        let hash_at = |height| self.node.with(|node| node.tree().hash_at(height));
        let low = window_low(tip, params);
        // Some more, so that a shorter chain with more work does not need what was not read.
        let from = low.saturating_sub(UNDO_DEPTH);
        let Some(covered) = covered else {
            return match lowest.map(|lowest| lowest.max(1)) {
                Some(lowest) if lowest <= low && is_synchronized => NextStep::Read(from.max(lowest)),
                _ => NextStep::Wait,
            };
        };
        if hash_at(covered.tip) == Some(covered.hash) {
            // Where that is far below all that are needed, it is less to begin anew.
            return match (covered.tip.saturating_add(UNDO_DEPTH) < from, is_synchronized) {
                (false, _) => NextStep::Read(covered.tip.saturating_add(1)),
                (true, true) => NextStep::Forget,
                (true, false) => NextStep::Wait,
            };
        }
        // Headers of blocks that were read may be on their way, where they are fetched anew.
        if covered.tip > tip && !is_synchronized {
            return NextStep::Wait;
        }
        let is_shared = |height: &Height| {
            let read = self.names.index.hash_at(*height).ok().flatten();
            read.is_some() && read == hash_at(*height)
        };
        let deepest = covered.tip.saturating_sub(UNDO_DEPTH).max(covered.from);
        let fork = (deepest..covered.tip).rev().find(is_shared);
        fork.map_or(NextStep::Forget, |fork| NextStep::TakeBack(fork.saturating_add(1)))
    }

    /// Has the index read what waits.
    fn read_some(&mut self) {
        if self.queue.is_empty() || self.job.is_some() {
            return;
        }
        let count = self.queue.len().min(BATCH);
        let blocks: Vec<NextBlock> = self.queue.drain(..count).collect();
        let target = self.node.with(|node| node.tree().tip().height);
        let last = blocks.last().map_or(0, |block| block.height);
        let read = Height::try_from(blocks.len()).unwrap_or(Height::MAX);
        self.since_lasting = self.since_lasting.saturating_add(read);
        let is_lasting = last >= target || self.since_lasting >= LASTING_EVERY;
        if is_lasting {
            self.since_lasting = 0;
        }
        let index = Arc::clone(&self.names.index);
        self.job = Some(spawn_blocking(move || index.read(&blocks, target, is_lasting)));
    }

    fn job_ended(&mut self, ended: Result<(), IndexError>) {
        self.job = None;
        match ended {
            Ok(()) => self.failures = 0,
            Err(error) => self.failed(&error),
        }
    }

    /// Takes down that the disk gave an error: it is tried again after a while, from what it has then.
    fn failed(&mut self, error: &IndexError) {
        tracing::warn!("{error}");
        let now = self.node.clock().now().steady;
        self.retry_at = now + PAUSES.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.reading = false;
        self.queue.clear();
        self.wake_at = self.wake_at.min(self.retry_at);
        let trouble = Some(error.to_string());
        self.names.standing.send_modify(|standing| standing.trouble = trouble);
    }

    /// Tells lookups, header sync and people how it stands.
    fn tell(&mut self) {
        let Ok(covered) = self.names.index.covered() else {
            return;
        };
        let (progress, tip, params) = self.node.with(|node| {
            let tree = node.tree();
            (self.machine.progress(tree), tree.tip(), tree.params())
        });
        let news = PeerNews {
            brought_from: None,
            agreeing: Some(progress.agreeing),
        };
        if self.told.replace((tip.hash, progress.agreeing)) != Some((tip.hash, progress.agreeing)) {
            self.node.note_peers(news);
        }
        let low = window_low(tip.height, params);
        let total = u64::from(tip.height.saturating_sub(low)).saturating_add(1);
        let missing = covered.map_or(total, |covered| {
            u64::from(tip.height.saturating_sub(covered.tip.max(low - 1)))
        });
        let is_complete = is_complete(covered.as_ref(), &tip, params);
        let failing = self.failures > 0;
        self.names.standing.send_if_modified(|standing| {
            let trouble = match (failing, progress.peers) {
                (true, _) => standing.trouble.clone(),
                (false, 0) if missing > 0 => Some("no connection to a peer".to_owned()),
                (false, _) => None,
            };
            let new = NamesStanding {
                covered,
                was_complete: standing.was_complete || is_complete,
                done: total.saturating_sub(missing),
                total,
                peers: progress.peers,
                received: progress.received,
                rate: progress.rate,
                left: missing.saturating_mul(progress.block_size),
                trouble,
            };
            let is_news = *standing != new;
            *standing = new;
            is_news
        });
    }
}

/// What is next for the index.
enum NextStep {
    /// Nothing, until the headers are there.
    Wait,
    /// Blocks from this height on.
    Read(Height),
    /// Blocks are taken back, down to this height.
    TakeBack(Height),
    /// All of it is of no use.
    Forget,
}

/// Returns where a peer is that another one told of, where that can be on the Internet.
fn learned(address: &AddrV2, port: u16) -> Option<PeerAddr> {
    let host = seeds::public_host(address)?;
    (port != 0).then_some(PeerAddr { host, port: Some(port) })
}
