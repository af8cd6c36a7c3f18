//! A private Tor network on this machine, and who uses it: daemons, and programs of others. The tests of a program share it.

pub mod arti;
pub mod authority;
pub mod cable;
pub mod circuits;
pub mod client;
pub mod control;
pub mod daemon;
pub mod name_server;
pub mod names;
pub mod network;
pub mod process;
pub mod raw;
pub mod record;
pub mod site;
pub mod users;
