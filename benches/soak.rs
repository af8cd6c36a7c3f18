//! A whole daemon for days of virtual time, with everything that befalls one and its servers.
//!
//! ```sh
//! ./do soak 30 1
//! ```

#![allow(missing_docs, clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use isonym::node::panic_is_guarded;
use isonym_testkit::virtual_world::soak::{SoakSettings, soak};

#[derive(Clone, Debug, Parser)]
#[command(about = "A whole daemon for days of virtual time", long_about = None)]
struct Arguments {
    /// Days of virtual time
    days: f64,
    /// The seed; another one each time where nothing is said
    seed: Option<u64>,
    /// IDs that begin to ask on a day
    #[arg(long, default_value_t = 80.0)]
    users: f64,
    /// Tell of all events as they happen
    #[arg(long)]
    events: bool,
    /// Cargo's
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = SoakSettings {
        seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        days: arguments.days,
        users_a_day: arguments.users,
        with_floods: true,
        tells_all: arguments.events,
    };
    println!("{settings:?}");
    // On files that are damaged on purpose sled panics, which the store deals with.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !panic_is_guarded() {
            told(info);
        }
    }));
    let begun = Instant::now();
    let result = soak(&settings);
    println!("{} s", begun.elapsed().as_secs());
    match result {
        Ok(counts) => {
            println!("{counts:#?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
