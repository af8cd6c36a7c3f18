//! The naming controller of a Tor: finds what `.bit` names stand for while their streams wait, and sends the streams there.
//!
//! [`reply`] decodes what arrives over the control port and [`event`] parses what it says of streams; [`isolation`] tells
//! which streams may be linked with each other, by Tor's own rule; [`controller`] decides what becomes of each stream;
//! [`auth`] says how to log in. [`driver`] carries all of that out, and [`suffixes`] knows who resolves which names.
//!
//! [`bootstrap`] reads how far a Tor is, for which [`bootstrap_driver`] asks while nothing comes through it.

pub mod auth;
pub mod bootstrap;
pub mod bootstrap_driver;
pub mod controller;
pub mod driver;
pub mod event;
pub mod isolation;
pub mod reply;
pub mod suffixes;
