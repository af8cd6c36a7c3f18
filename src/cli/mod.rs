//! The command line: arguments, help, and what each command prints.

mod args;
mod playground;
mod progress;
mod show;

pub(crate) use args::parse;
pub(crate) use show::run;
