//! Naming plugins of Tor: their line protocol, spoken from both sides. Source: torspec, Proposal 279.
//!
//! [`line_decoder`] cuts lines and [`mod@line`] reads and writes them. [`plugin`] is the side that resolves names and [`host`] the side that
//! asks, both machines; [`plugin_driver`] and [`host_driver`] run them. A plugin is started with an [`environment`].
//!
//! Names, isolation IDs and results pass through here: nothing here logs them, and their `Debug` hides them.

pub mod environment;
pub mod host;
pub mod host_driver;
pub mod line;
pub mod line_decoder;
pub mod plugin;
pub mod plugin_driver;
mod write_buffer;
