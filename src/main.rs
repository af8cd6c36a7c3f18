//! The program: parses, runs, prints the chain of errors, sets the exit status.

mod cli;
mod config;
mod options;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Exit status of everything that goes wrong; 2 says that a name has no value.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    cli::keep_memory_private();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { FAILED } else { 0 };
            // Nothing can be said when even this fails.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let filter = cli::log_filter(&cli);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(has_colour())
        // It would panic when standard error is closed.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    keep_guarded_panics_quiet();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(cli::run(cli));
        // What still reads standard input is not waited for.
        runtime.shutdown_background();
        result
    });
    result.unwrap_or_else(|error| {
        cli::eprint_line(format_args!("isonym: {error:#}"));
        if let Some(advice) = cli::advice(&error) {
            cli::eprint_line(format_args!("isonym: {advice}"));
        }
        ExitCode::from(FAILED)
    })
}

/// Says whether lines on standard error may be coloured: on a terminal that can, whose user did not say otherwise.
///
/// Source: no-color.org.
fn has_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// The header store's database panics on damaged files: that is caught, and told as what it is.
fn keep_guarded_panics_quiet() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !isonym::node::panic_is_guarded() {
            tell(panic);
        }
    }));
}
