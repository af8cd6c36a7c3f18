//! How the headers stand, and what can be made of them: for people, and for `status` and `anchor_export` over JSON-RPC.

use serde::{Deserialize, Serialize};

use super::handle::waits_for;
use super::header_sync::SyncStage;
use super::local_names::NamesStatus;
use super::report::ServerResult;
use super::{Handle, Node};
use crate::chain::sync::Progress;
use crate::chain::tree::UnverifiedChain;
use crate::chain::{Anchor, Height};
use crate::net::TorStanding;

/// How deep a block is that is made an anchor where nothing else is said: no reorganisation will reach it.
pub const EXPORT_DEPTH: Height = 4032;

/// How the headers stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The network.
    pub network: String,
    /// The trust anchor.
    pub anchor: AnchorStatus,
    /// The height of our tip.
    pub height: Height,
    /// Its hash in hex.
    pub tip_hash: String,
    /// Seconds since the time of its block; `None` while no header is known.
    pub tip_age: Option<u64>,
    /// Why the headers are not taken for the newest ones, if so: then no name is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Whether names can be looked up, as far as the headers go; of a daemon alone.
    #[serde(default)]
    pub synchronized: bool,
    /// Why header sync does not get on, if so: it can use none of the servers, or reaches none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What is known of the Tor that is the way out, while no connection comes through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<TorStanding>,
    /// How many headers were taken on the strength of a sample, and not proved yet themselves.
    pub headers_unproved: usize,
    /// Up to which height headers are there that are not proved yet at all.
    pub skeleton_height: Option<Height>,
    /// The total work up to our tip, in hex.
    pub chainwork: String,
    /// How far header sync is, where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// Why what is learnt is kept in memory alone, where the disk does not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten: Option<String>,
    /// What the process is confined to; of a daemon alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// How the names stand that are kept, where any are; of a daemon alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NamesStatus>,
    /// How many servers were learned of, where that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryStatus>,
    /// How it goes with each server in header sync, or went when headers were last synced.
    pub servers: Vec<ServerResult>,
}

/// How far header sync is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Where it stands.
    pub stage: SyncStage,
    /// Headers known, of those wanted.
    pub headers_done: u64,
    /// Headers wanted, by what servers claim.
    pub headers_total: u64,
    /// Its connections.
    pub connections: usize,
    /// Bytes a second that these bring together, as far as that is known. Earlier daemons don't say.
    #[serde(default)]
    pub bytes_per_second: u64,
    /// Bytes that came so far.
    #[serde(default)]
    pub bytes_received: u64,
    /// Bytes that are left to come, as far as can be told.
    #[serde(default)]
    pub bytes_left: u64,
    /// Seconds that the rest takes at the present rate, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// For how many seconds it has had no connection at all, where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_unconnected: Option<u64>,
}

impl Status {
    /// Returns what header sync waits for, for people: why it does not get on, or a Tor that is on its way.
    pub fn waits_for(&self) -> Option<String> {
        waits_for(self.trouble.as_ref(), self.tor.as_ref())
    }
}

impl SyncStatus {
    /// Returns how far it is, as the node itself tells it.
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.headers_done,
            total: self.headers_total,
            connections: self.connections,
            rate: self.bytes_per_second,
            received: self.bytes_received,
            left: self.bytes_left,
        }
    }
}

/// How many servers were learned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryStatus {
    /// Learned: used, or to be used once they were checked.
    pub learned: usize,
    /// Suggested, and never dialed.
    pub suggested: usize,
}

/// The trust anchor, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorStatus {
    /// Its height.
    pub height: Height,
    /// Its hash in hex.
    pub hash: String,
}

/// Why no anchor can be made of the headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorExportError {
    /// There are none above the anchor.
    #[error("no headers above the anchor are known")]
    NoHeaders,
    /// Others would take on trust what a sample is enough for oneself only.
    #[error("{unproved} headers were taken on the strength of a sample")]
    Unproved {
        /// How many.
        unproved: usize,
    },
    /// The block would not be above the anchor in use.
    #[error("a block {depth} deep is not above the anchor at height {anchor}")]
    TooDeep {
        /// How deep.
        depth: Height,
        /// The anchor's height.
        anchor: Height,
    },
    /// The anchor can't be written down.
    #[error("the anchor can't be written: {0}")]
    Format(String),
}

impl Node {
    /// Says how the headers stand; of the servers how the last sync of this data folder went.
    ///
    /// # Errors
    ///
    /// [`NodeError::Folder`](super::NodeError::Folder) when the file with that can't be read.
    pub fn status(&self) -> Result<Status, super::NodeError> {
        Ok(self.status_with(None, self.last_sync()?))
    }

    fn status_with(&self, sync: Option<SyncStatus>, servers: Vec<ServerResult>) -> Status {
        let tree = self.tree();
        let (tip, anchor) = (tree.tip(), tree.anchor());
        Status {
            network: tree.params().network.as_str().to_owned(),
            anchor: AnchorStatus {
                height: anchor.height,
                hash: anchor.hash.to_string(),
            },
            height: tip.height,
            tip_hash: tip.hash.to_string(),
            tip_age: tree.lowest().map(|_| self.time().seconds_since(tip.time)),
            warning: self.not_fresh().map(|reason| reason.to_string()),
            synchronized: false,
            trouble: None,
            tor: None,
            headers_unproved: tree.unproved(),
            skeleton_height: tree.skeleton().map(UnverifiedChain::top_height),
            chainwork: format!("{:064x}", tip.chainwork),
            sync,
            unwritten: self
                .unwritten()
                .map(|error| format!("nothing is written to the disk: {error}")),
            sandbox: None,
            names: None,
            discovery: self.discovery().map(|it| DiscoveryStatus {
                learned: it.learned().count(),
                suggested: it.suggested().count(),
            }),
            servers,
        }
    }

    /// Makes an anchor file of the block `depth` below the tip, if every header up to the tip was verified in full.
    ///
    /// # Errors
    ///
    /// [`AnchorExportError`].
    pub fn export_anchor(&self, depth: Height) -> Result<String, AnchorExportError> {
        let tree = self.tree();
        let (tip, anchor) = (tree.tip(), tree.anchor());
        if tree.lowest().is_none() || tip.height <= anchor.height {
            return Err(AnchorExportError::NoHeaders);
        }
        if tree.unproved() > 0 {
            let unproved = tree.unproved();
            return Err(AnchorExportError::Unproved { unproved });
        }
        let too_deep = AnchorExportError::TooDeep {
            depth,
            anchor: anchor.height,
        };
        let height = tip.height.checked_sub(depth).filter(|height| *height > anchor.height);
        let Some((height, hash)) = height.and_then(|height| Some((height, tree.hash_at(height)?))) else {
            return Err(too_deep);
        };
        let exported = Anchor {
            height,
            hash,
            chainwork: tree.chainwork_at(height).filter(|_| anchor.chainwork.is_some()),
        };
        let source = format!(
            "isonym {}, every header verified from block {} on, when the tip was at {}",
            env!("CARGO_PKG_VERSION"),
            anchor.height,
            tip.height
        );
        exported
            .to_toml(&source)
            .map_err(|error| AnchorExportError::Format(error.to_string()))
    }
}

impl Handle {
    /// As [`Node::status`], with how it goes with each server now.
    pub fn status(&self) -> Status {
        let (stage, progress) = self.sync_stage();
        let sync = SyncStatus {
            stage,
            headers_done: progress.done,
            headers_total: progress.total,
            connections: progress.connections,
            bytes_per_second: progress.rate,
            bytes_received: progress.received,
            bytes_left: progress.left,
            seconds_left: progress.seconds_left(),
            seconds_unconnected: self.alone_for().map(|alone| alone.as_secs()),
        };
        let standing = self.standing();
        let status = self.with(|node| node.status_with(Some(sync), standing.servers));
        Status {
            synchronized: standing.synchronized && standing.not_fresh.is_none(),
            sandbox: self.sandbox(),
            names: self.names_status(),
            trouble: standing.trouble,
            tor: standing.tor,
            ..status
        }
    }

    /// As [`Node::export_anchor`].
    ///
    /// # Errors
    ///
    /// [`AnchorExportError`].
    pub fn export_anchor(&self, depth: Height) -> Result<String, AnchorExportError> {
        self.with(|node| node.export_anchor(depth))
    }
}
