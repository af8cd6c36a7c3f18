//! Real ElectrumX servers over a chain that Namecoin Core recorded, and what the program must say of its names.

pub mod blocks;
pub mod client;
pub mod core_rpc;
pub mod recorded;
pub mod scene;
pub mod server;
pub mod trips;
