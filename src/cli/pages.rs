//! What is written down of the command line: completions for shells, and manual pages.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_complete::Shell;

use super::args::program;
use super::show::print;
use crate::options::Purpose;

/// Prints a completion script.
pub(super) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program(Purpose::Pages), "isonym", &mut script);
    let script = String::from_utf8(script).context("the completion script is no text")?;
    print(script.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a manual page for each command into a folder.
pub(super) fn man(folder: &Path) -> Result<ExitCode> {
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(program(Purpose::Pages), folder));
    written.with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
