//! Names without asking anybody: by the index of all living names, where one is kept.
//!
//! What is found here is proved by all blocks that a living name can be in, up to our tip, so it takes the index to be at
//! the tip and the tip to be fresh. Otherwise there is no answer: what lies between may be an update, or a theft undone.

mod peer_link;
mod seeds;
mod sync;

pub(super) use sync::keep_names;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep_until, timeout};

use super::lookups::Proved;
use super::{Handle, NameRequest, NodeError};
use crate::chain::{Height, Params, Tip};
use crate::name::policy::{self, Policy};
use crate::name::proof::{HeldName, Refusal};
use crate::name::{NameId, Outcome};
use crate::name_index::{Covered, IndexError, NameIndex};
use crate::net::PeerAddr;

/// The file of the index in the data folder.
const FILE: &str = "names.redb";

/// How long a lookup takes at least. Whether a page of the index was read a moment ago is seen by how long the next look
/// at it takes: no identity is to learn by that what another one looked up. From the system's memory it takes some ten
/// microseconds, from a solid-state disk less than a millisecond for each of three or four pages.
const LEAST: Duration = Duration::from_millis(5);

/// How long a lookup waits for the index, where a block is known and not read yet.
const GRACE: Duration = Duration::from_secs(10);

/// How many may go through all names at a time; each holds a thread meanwhile.
const SCANS: usize = 2;

/// Most bytes of names and their operations that one who goes through them holds.
pub const MOST_BYTES: usize = 8 << 20;

/// How many names are proved before others have their turn: each takes some microseconds.
const AT_A_TIME: usize = 256;

/// Where names are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamesMode {
    /// At Electrum servers.
    #[default]
    Servers,
    /// At Electrum servers until all living names are here, and here from then on.
    LocalOrServers,
    /// Here, and nowhere else.
    Local,
}

impl NamesMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Servers, Self::LocalOrServers, Self::Local];

    /// Returns its name as the command line spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::LocalOrServers => "local-or-servers",
            Self::Local => "local",
        }
    }
}

/// How names are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamesConfig {
    /// Where they are looked up.
    pub mode: NamesMode,
    /// Peers that the user named.
    pub peers: Vec<PeerAddr>,
    /// Most bytes a second that blocks may come with; `None` for no limit.
    pub rate: Option<u64>,
}

/// How the index stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NamesStanding {
    /// Which blocks were read.
    pub(super) covered: Option<Covered>,
    /// Whether all living names were there once, since the start.
    pub(super) was_complete: bool,
    /// Blocks that were read, of those wanted.
    pub(super) done: u64,
    /// Blocks wanted.
    pub(super) total: u64,
    /// Peers that are connected.
    pub(super) peers: usize,
    /// Bytes of blocks that came so far.
    pub(super) received: u64,
    /// Bytes a second of late.
    pub(super) rate: u64,
    /// Bytes that are left to come, as far as that can be told.
    pub(super) left: u64,
    /// Why it does not get on, if so.
    pub(super) trouble: Option<String>,
}

/// How the names that are kept stand, for people and for `status` over JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// Where names are looked up.
    pub mode: NamesMode,
    /// Whether all living names are here, up to the newest block.
    pub complete: bool,
    /// The lowest block that was read.
    pub from: Option<Height>,
    /// The highest block that was read.
    pub height: Option<Height>,
    /// How many names there are.
    pub names: u64,
    /// Bytes that they take on the disk.
    pub disk_bytes: u64,
    /// Blocks that were read, of those wanted.
    pub blocks_done: u64,
    /// Blocks wanted.
    pub blocks_total: u64,
    /// Peers that are connected.
    pub peers: usize,
    /// Bytes of blocks that came since the start.
    pub bytes_received: u64,
    /// Bytes a second of late.
    pub bytes_per_second: u64,
    /// Bytes that are left to come, as far as that can be told.
    pub bytes_left: u64,
    /// Why it does not get on, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl NamesStatus {
    /// Returns the seconds that the rest takes at the present rate, as far as that is known.
    pub fn seconds_left(&self) -> Option<u64> {
        self.bytes_left.checked_div(self.bytes_per_second)
    }
}

/// The index, and how it stands. Clones lead to the same one.
#[derive(Clone, Debug)]
pub(super) struct LocalNames {
    index: Arc<NameIndex>,
    config: Arc<NamesConfig>,
    standing: watch::Sender<NamesStanding>,
    scans: Arc<Semaphore>,
}

/// A name that is held, and what is proved of it.
#[derive(Clone, Debug)]
pub struct LivingName {
    /// The name.
    pub name: NameId,
    /// What it is worth to a lookup, or why its newest operation can't be believed.
    pub outcome: Result<Outcome, NodeError>,
}

/// Says whether a name is wanted whose newest operation is at this height, by a chain with a tip at that one.
pub type NamesFilter = dyn Fn(&NameId, Height, Height) -> bool + Send + Sync;

/// Which of the names that are kept are wanted.
pub struct NamesWanted {
    /// The first one that comes into question, in the order of Namecoin Core's database.
    pub start: NameId,
    /// Which ones.
    pub filter: Box<NamesFilter>,
    /// How many of these are passed over first.
    pub skip: usize,
    /// Most of them.
    pub most: usize,
    /// Whether they are counted, and no more than that.
    pub are_counted: bool,
}

/// Some of the names that are kept.
#[derive(Clone, Debug)]
pub struct NamesScanned {
    /// Them, in the order of Namecoin Core's database; none where they are only counted.
    pub names: Vec<LivingName>,
    /// How many they are.
    pub count: usize,
    /// Whether it ended before there were as many as wanted, since they have more than [`MOST_BYTES`] bytes.
    pub is_cut: bool,
    /// The lowest of the blocks by which they are so.
    pub read_from: Height,
    /// The block by which they are so: our tip.
    pub tip: Tip,
    /// How many headers were taken on the strength of a sample.
    pub unproved: usize,
}

impl LocalNames {
    /// Opens the index in a data folder, and makes a new one where it is damaged.
    pub(super) fn open(folder: &Path, params: &'static Params, config: NamesConfig) -> Result<Self, NodeError> {
        let path = folder.join(FILE);
        let index = match NameIndex::open(&path, params) {
            Err(error) if error.is_damage() => {
                tracing::warn!("{error}: all blocks are read anew");
                NameIndex::remove(&path).and_then(|()| NameIndex::open(&path, params))
            }
            opened => opened,
        };
        let index = index.map_err(|error| NodeError::Names { path, error })?;
        let covered = index.covered().ok().flatten();
        Ok(Self {
            index: Arc::new(index),
            config: Arc::new(config),
            standing: watch::Sender::new(NamesStanding {
                covered,
                ..NamesStanding::default()
            }),
            scans: Arc::new(Semaphore::new(SCANS)),
        })
    }

    fn failed(folder: PathBuf) -> impl FnOnce(IndexError) -> NodeError {
        move |error| NodeError::Names {
            path: folder.join(FILE),
            error,
        }
    }
}

/// Returns the lowest block that a living name can be in, for a chain with this tip. The genesis block has no names.
pub(super) fn window_low(tip: Height, params: &Params) -> Height {
    let depth = params.expiration_depth(tip);
    tip.saturating_add(1).saturating_sub(depth).max(1)
}

/// Says whether the index has all living names of a chain with this tip.
fn is_complete(covered: Option<&Covered>, tip: &Tip, params: &Params) -> bool {
    covered.is_some_and(|covered| covered.hash == tip.hash && covered.from <= window_low(tip.height, params))
}

/// What was taken of the names so far.
#[derive(Default)]
struct Taken {
    names: Vec<(NameId, HeldName)>,
    bytes: usize,
    skipped: usize,
    count: usize,
    is_cut: bool,
}

impl Taken {
    /// Takes a name if it is wanted, and says whether to go on.
    fn take(&mut self, wanted: &NamesWanted, tip: Height, name: NameId, held: HeldName) -> bool {
        if !(wanted.filter)(&name, held.height(), tip) {
            return true;
        }
        if self.skipped < wanted.skip {
            self.skipped += 1;
            return true;
        }
        self.count += 1;
        if !wanted.are_counted {
            self.bytes += name.as_bytes().len() + held.to_bytes().len();
            if self.bytes > MOST_BYTES {
                self.is_cut = true;
                return false;
            }
            self.names.push((name, held));
        }
        self.count < wanted.most
    }
}

/// What a look at the index came to.
enum Look<T> {
    /// It was at our tip.
    Found(T, Tip),
    /// It is at another block.
    Elsewhere,
}

impl Handle {
    /// Says where names are looked up.
    pub fn names_mode(&self) -> NamesMode {
        self.local_names().map_or(NamesMode::Servers, |names| names.config.mode)
    }

    /// Says whether a question for names that only servers can answer may be asked at all.
    ///
    /// # Errors
    ///
    /// [`NodeError::NoServerIsAsked`].
    pub(super) fn check_may_ask(&self) -> Result<(), NodeError> {
        match self.names_mode() {
            NamesMode::Local => Err(NodeError::NoServerIsAsked),
            NamesMode::Servers | NamesMode::LocalOrServers => Ok(()),
        }
    }

    /// Looks a name up without asking anybody; `None` where servers are to be asked.
    ///
    /// # Errors
    ///
    /// [`NodeError::NamesIncomplete`], [`NodeError::NamesBehind`], [`NodeError::NameRefused`], [`NodeError::Names`].
    pub(super) async fn find_locally(&self, wanted: &NameRequest) -> Result<Option<Proved>, NodeError> {
        let Some(names) = self.local_names() else {
            return Ok(None);
        };
        let until = self.clock().instant(self.clock().now().steady + LEAST);
        let name = wanted.name.clone();
        let look = move |index: &NameIndex| index.find(&name);
        let found = self.look(names, look).await;
        sleep_until(until).await;
        let Some((held, tip)) = found? else {
            return Ok(None);
        };
        let mut policy = self.settings().lookup.policy;
        policy.allow_expired = wanted.allow_expired;
        let (params, anchor) = (self.params(), self.with(|node| node.tree().anchor().height));
        let outcome = match held {
            Some(held) => {
                let judged = judge(&wanted.name, &held, &tip, anchor, params, policy);
                judged.map_err(|refusal| self.refused(refusal, held.height()))?
            }
            None => Outcome::ProvedAbsent {
                from: window_low(tip.height, params),
            },
        };
        Ok(Some(self.with(|node| Proved::local(outcome, tip, node.tree()))))
    }

    /// Goes through the names that are kept, and takes those that are wanted. It ends soon after nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// As a lookup of one of them; [`NodeError::NoNamesKept`] where none are kept.
    pub async fn scan_names(&self, wanted: NamesWanted) -> Result<NamesScanned, NodeError> {
        let names = self.local_names().ok_or(NodeError::NoNamesKept)?;
        self.check_ready()?;
        let _turn = names.scans.acquire().await.map_err(|_| NodeError::Stopped)?;
        // The thread can't be told to end but by what it looks at.
        let waiting = Arc::new(());
        let waits = Arc::downgrade(&waiting);
        let wanted = Arc::new(wanted);
        let look = move |index: &NameIndex| {
            let mut taken = Taken::default();
            let Some(covered) = index.covered()? else {
                return Ok((None, taken));
            };
            if wanted.most == 0 {
                return Ok((Some(covered), taken));
            }
            let scanned = index.scan(&wanted.start, |name, held| {
                taken.take(&wanted, covered.tip, name, held) && waits.strong_count() > 0
            })?;
            // Where a block was read meanwhile, ages were counted from another one.
            Ok((scanned.filter(|scanned| *scanned == covered), taken))
        };
        let found = self.look(names, look).await?;
        drop(waiting);
        let (found, tip) = found.ok_or_else(|| incomplete(names))?;
        let policy = self.settings().lookup.policy;
        let (anchor, unproved) = self.with(|node| (node.tree().anchor().height, node.tree().unproved()));
        let mut living = Vec::with_capacity(found.names.len());
        for (number, (name, held)) in found.names.into_iter().enumerate() {
            // Others are served by the same thread.
            if number % AT_A_TIME == 0 {
                yield_now().await;
            }
            let outcome = judge(&name, &held, &tip, anchor, self.params(), policy)
                .map_err(|refusal| self.refused(refusal, held.height()));
            living.push(LivingName { name, outcome });
        }
        Ok(NamesScanned {
            names: living,
            count: found.count,
            is_cut: found.is_cut,
            tip,
            unproved,
            read_from: window_low(tip.height, self.params()),
        })
    }

    /// Looks into the index, where it is at our tip, or is so in a moment; `None` where servers are to be asked instead.
    async fn look<T: Send + 'static>(
        &self,
        names: &LocalNames,
        look: impl Fn(&NameIndex) -> Result<(Option<Covered>, T), IndexError> + Clone + Send + 'static,
    ) -> Result<Option<(T, Tip)>, NodeError> {
        let mut standing = names.standing.subscribe();
        let waited = timeout(GRACE, async {
            loop {
                if !standing.borrow_and_update().was_complete {
                    return match names.config.mode {
                        NamesMode::Local => Err(incomplete(names)),
                        NamesMode::Servers | NamesMode::LocalOrServers => Ok(None),
                    };
                }
                match self.look_once(names, look.clone()).await? {
                    Look::Found(found, tip) => return Ok(Some((found, tip))),
                    Look::Elsewhere => {}
                }
                if standing.changed().await.is_err() {
                    return Err(NodeError::Stopped);
                }
            }
        });
        waited.await.unwrap_or_else(|_| {
            let standing = names.standing.borrow();
            Err(NodeError::NamesBehind {
                height: standing.covered.map_or(0, |covered| covered.tip),
                tip: self.with(|node| node.tree().tip().height),
                trouble: standing.trouble.clone(),
            })
        })
    }

    async fn look_once<T: Send + 'static>(
        &self,
        names: &LocalNames,
        look: impl FnOnce(&NameIndex) -> Result<(Option<Covered>, T), IndexError> + Send + 'static,
    ) -> Result<Look<T>, NodeError> {
        let index = Arc::clone(&names.index);
        // A disk may take its time.
        let looked = spawn_blocking(move || look(&index)).await;
        let looked = looked.map_err(|_| NodeError::Stopped)?;
        let (covered, found) = looked.map_err(LocalNames::failed(self.data_folder()))?;
        Ok(self.with(|node| {
            let tree = node.tree();
            let tip = tree.tip();
            if is_complete(covered.as_ref(), &tip, tree.params()) {
                Look::Found(found, tip)
            } else {
                Look::Elsewhere
            }
        }))
    }

    /// Says why a name's newest operation is not served; without a reason its row is not the name's.
    fn refused(&self, refusal: Option<Refusal>, height: Height) -> NodeError {
        match refusal {
            Some(refusal) => NodeError::NameRefused { refusal, height },
            None => NodeError::Names {
                path: self.data_folder().join(FILE),
                error: IndexError::Damaged("a row of another name".to_owned()),
            },
        }
    }

    /// Says how the names that are kept stand; `None` where none are.
    pub fn names_status(&self) -> Option<NamesStatus> {
        let names = self.local_names()?;
        let standing = names.standing.borrow().clone();
        let tip = self.with(|node| node.tree().tip());
        Some(NamesStatus {
            mode: names.config.mode,
            complete: standing.was_complete && is_complete(standing.covered.as_ref(), &tip, self.params()),
            from: standing.covered.map(|covered| covered.from),
            height: standing.covered.map(|covered| covered.tip),
            names: names.index.names().unwrap_or_default(),
            disk_bytes: names.index.file_size(),
            blocks_done: standing.done,
            blocks_total: standing.total,
            peers: standing.peers,
            bytes_received: standing.received,
            bytes_per_second: standing.rate,
            bytes_left: standing.left,
            trouble: standing.trouble,
        })
    }
}

fn incomplete(names: &LocalNames) -> NodeError {
    let standing = names.standing.borrow();
    NodeError::NamesIncomplete {
        done: standing.done,
        total: standing.total,
        trouble: standing.trouble.clone(),
    }
}

/// Decides what a name that is held is worth to a chain with this tip.
fn judge(
    name: &NameId,
    held: &HeldName,
    tip: &Tip,
    anchor: Height,
    params: &Params,
    policy: Policy,
) -> Result<Outcome, Option<Refusal>> {
    let proven = held.prove(name, anchor, params)?;
    Ok(policy::judge(proven, tip.height, params, &policy))
}
