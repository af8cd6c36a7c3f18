//! The owner of state: header tree, header store, known servers. Clock, entropy and files enter here.
//!
//! [`Node`] opens a data folder; [`run()`] keeps its headers up to date and its connections ready, and hands the fronts a
//! [`Handle`]. The decisions are made by the machines [`crate::chain::sync::HeaderSync`], [`crate::net::pool::Pool`] and
//! [`crate::name::lookup::Lookup`]; this folder carries their effects out.

mod anchor_check;
mod candidate;
mod clock;
mod connections;
mod daemon;
mod disk;
mod error;
mod explanation;
mod folder;
mod handle;
mod header_link;
mod header_sync;
mod known_servers;
mod learned_servers;
mod local_names;
mod lookup_link;
mod lookups;
mod report;
mod run;
mod server_list;
mod server_operators;
mod server_ways;
mod status;
mod store;
mod trouble_log;

pub use anchor_check::{Opinion, OpinionError};
pub use clock::Clock;
#[doc(hidden)]
pub use clock::VirtualTime;
pub use connections::NoLease;
pub use daemon::run;
pub use error::{HistoryFailure, NodeError};
pub use explanation::{
    AuxPowEvidence, BlockEvidence, Bytes, Caveat, Explanation, Operation, ReachedWord, Said, ServerAccount, Term,
    TipEvidence, Verdict, WorkEvidence,
};
pub use folder::{create_private, takes_nothing};
pub use handle::{Handle, NodeSettings, Standing};
pub use header_sync::SyncStage;
pub use local_names::{
    LivingName, MOST_BYTES, NamesConfig, NamesFilter, NamesMode, NamesScanned, NamesStatus, NamesWanted,
};
pub use lookup_link::LookupLinkError;
pub use lookups::{NameRequest, Proved};
pub use report::{ServerResult, ServerStanding, SyncReport, digest};
#[doc(hidden)]
pub use run::Surroundings;
pub use run::{Node, NodeConfig};
pub use server_list::{ListedServer, ServerClass, ServerListError, ServerUse};
pub use status::{AnchorExportError, AnchorStatus, DiscoveryStatus, EXPORT_DEPTH, Status, SyncStatus};
pub use store::{
    BatchEnd, DiskGate, HeaderBatch, HeaderChange, HeaderStore, Rebuilt, StoreError, UnwrittenHeaders, panic_is_guarded,
};
