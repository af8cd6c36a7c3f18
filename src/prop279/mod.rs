//! Naming plugins of Tor: their line protocol, spoken from both sides. Source: torspec, Proposal 279.
//!
//! [`splitter`] and [`mod@line`] read and write it. [`plugin`] is the side that resolves names and [`host`] the side that
//! asks, both machines; [`plugin_driver`] and [`host_driver`] run them. A plugin is started with an [`environment`].
//!
//! Names, isolation IDs and results pass through here: nothing here logs them, and their `Debug` hides them.

pub mod environment;
pub mod host;
pub mod host_driver;
pub mod line;
mod outgoing;
pub mod plugin;
pub mod plugin_driver;
pub mod splitter;
