//! The command line: arguments, help, and what each command prints.

mod advice;
mod anchor;
mod args;
mod config;
mod daemon;
mod dns;
mod dnssec;
mod dump;
mod explain;
mod handed;
mod log;
mod metrics;
mod pages;
#[cfg(feature = "playground")]
mod playground;
mod progress;
mod prop279;
mod reload;
mod resolve;
mod sandbox;
mod servers;
mod session;
mod show;
mod socks;
mod tls;
mod tor;
mod typed;
mod user;
mod way_out;
mod web;

use std::fmt;
use std::io::{self, Write};

pub(crate) use advice::advice;
pub(crate) use args::parse;
#[cfg(test)]
pub(crate) use args::parse_from;
pub(crate) use daemon::keep_memory_private;
pub(crate) use log::filter as log_filter;
pub(crate) use show::run;

/// Writes a line to standard error; where nobody reads it, it is lost, and that is no reason to panic.
pub(crate) fn eprint_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
