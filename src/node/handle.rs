//! What the fronts may ask of a running node.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;

use super::NodeError;
use super::report::ServerResult;
use crate::chain::sync::Progress;
use crate::chain::{Anchor, Height, Params, PureHeader, Tip};
use crate::isolation::IsolationId;
use crate::name::proof::ProvenEntry;
use crate::name::{NameId, Outcome};
use crate::net::pool::Counts;

/// A question for a name.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name.
    pub name: NameId,
    /// Who asks; `None` when the caller gave no ID.
    pub isolation_id: Option<IsolationId>,
    /// Whether an expired value is wanted too, flagged as such.
    pub allow_expired: bool,
}

/// An outcome, and the tip that its ages were counted from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was found out.
    pub outcome: Outcome,
    /// Our tip at that time.
    pub tip: Tip,
}

/// How a running node stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The trust anchor.
    pub anchor: Anchor,
    /// Our tip.
    pub tip: Tip,
    /// Whether the headers are up to date, so that names can be looked up.
    pub synchronized: bool,
    /// How far header sync is.
    pub progress: Progress,
    /// How it goes with each server in header sync.
    pub servers: Vec<ServerResult>,
    /// Connections of the lookups' pool.
    pub pool: Counts,
    /// Since the start.
    pub uptime: Duration,
}

/// A way to a running node; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Handle(Arc<()>);

impl Handle {
    /// Returns the network's constants.
    pub fn params(&self) -> &'static Params {
        todo!()
    }

    /// Looks a name up under the caller's isolation ID.
    ///
    /// # Errors
    ///
    /// [`NodeError::NotSynchronized`] or [`NodeError::Syncing`] while headers are not up to date, [`NodeError::Lookup`].
    pub async fn name_show(&self, _question: Question) -> Result<Answer, NodeError> {
        todo!()
    }

    /// Returns all operations of a name that can be proved, oldest first.
    ///
    /// # Errors
    ///
    /// As [`Self::name_show`], and those of a history.
    pub async fn name_history(&self, _question: Question) -> Result<(Vec<ProvenEntry>, Tip), NodeError> {
        todo!()
    }

    /// Returns how the node stands.
    pub fn standing(&self) -> Standing {
        todo!()
    }

    /// Returns the best chain's header at a height, if known.
    pub fn header_at(&self, _height: Height) -> Option<PureHeader> {
        todo!()
    }

    /// Returns the height of a header on the best chain.
    pub fn height_of(&self, _hash: &BlockHash) -> Option<Height> {
        todo!()
    }

    /// Returns the total work up to a height of the best chain, as far as it can be known: `None` below the anchor.
    pub fn chainwork_at(&self, _height: Height) -> Option<bitcoin::pow::Work> {
        todo!()
    }

    /// Forgets an isolation ID: its connections are closed, what is cached for it is dropped. `None` forgets all.
    pub fn forget(&self, _id: Option<IsolationId>) {
        todo!()
    }

    /// Asks the node to stop.
    pub fn stop(&self) {
        todo!()
    }
}
