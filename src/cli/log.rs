//! What is logged, which may change while the program runs.

use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{Registry, layer};

use super::args::Cli;
use crate::options::LogLevel;

/// The one log of this program.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    filter: Handle<Targets, Registry>,
    /// Whether flags of the command line say what is logged, so that no setting does.
    is_flagged: bool,
}

/// Returns what says which lines are logged: by the flags alone, until [`set_level`] is called.
pub(crate) fn filter(cli: &Cli) -> impl layer::Filter<Registry> + use<> {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let (filter, handle) = reload::Layer::new(targets(level));
    let is_flagged = cli.quiet || cli.verbose > 0;
    // Only the first one is that of the program.
    let _ = LOG.set(Log {
        filter: handle,
        is_flagged,
    });
    filter
}

/// Has that much logged from now on, unless flags of the command line say how much.
pub(super) fn set_level(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    if let Some(log) = LOG.get().filter(|log| !log.is_flagged) {
        // It fails where nothing is logged any more.
        let _ = log.filter.reload(targets(level));
    }
}

/// What the DNS library says of messages is for strangers to make it say, and quotes them. The embedded Tor warns at length of
/// each relay that it can't reach, and beyond INFO it tells of single streams, so when somebody looks something up: it is
/// heard one level less.
fn targets(level: LevelFilter) -> Targets {
    let of_tor = match level {
        LevelFilter::DEBUG => LevelFilter::INFO,
        LevelFilter::INFO => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    };
    Targets::new()
        .with_default(level)
        .with_targets(["hickory_proto", "hickory_net"].map(|target| (target, LevelFilter::ERROR)))
        .with_targets(["arti_client", "tor_"].map(|target| (target, of_tor)))
}
