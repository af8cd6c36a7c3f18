//! The options of the program, each declared once, in `table`.
//!
//! Four sources say something of an option. The first of them that does is heard:
//!
//! 1. the command line: `--option VALUE`, and for switches also `--option`, `--option=false` and `--no-option`;
//! 2. the environment: `ISONYM_OPTION`; a variable that is set but empty clears the option, which is then as if no
//!    source said anything;
//! 3. the configuration file: `option = VALUE`, with an array where there may be several;
//! 4. the declaration's default.
//!
//! Each source becomes a [`PartialConfig`] of texts and their [`Origin`]. [`load`] joins them, and texts become values
//! where a value is asked for: so whatever is wrong with one is told with its origin, and stops only a command that
//! uses the option.

mod arguments;
mod declare;
mod example;
mod file;
mod item;
mod nearest;
mod origin;
mod partial;
mod path;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(crate) use arguments::{Purpose, given, with_arguments};
pub(crate) use declare::{CommandName, Declared};
pub(crate) use example::{as_toml, example};
pub(crate) use file::FileError;
pub(crate) use item::{Discover, LogLevel, NO_EMBEDDED_TOR, ProxyChoice};
pub(crate) use origin::{Origin, RelationError, UnusedOption, ValueError};
pub(crate) use partial::{Effective, PartialConfig, UnknownVariable};
pub(crate) use table::OPTIONS;

/// The heading of options that every command accepts.
pub(crate) const EVERY_COMMAND: &str = declare::Section::Every.heading();

use self::file::ConfigFile;

/// Why a command can't begin with what the user said.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum OptionError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Relation(#[from] RelationError),
    #[error(transparent)]
    Unused(#[from] UnusedOption),
}

/// All that the sources say.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What holds.
    pub(crate) effective: Effective,
    /// What is wrong with the configuration file, apart from values.
    pub(crate) file_errors: Vec<FileError>,
    /// Variables that look like options but are none.
    pub(crate) unknown_variables: Vec<UnknownVariable>,
}

impl Loaded {
    /// Returns what holds, unless the configuration file is wrong as a whole or options don't go with each other.
    pub(crate) fn sound(self) -> Result<Effective, OptionError> {
        if let Some(error) = self.file_errors.into_iter().next() {
            return Err(error.into());
        }
        self.effective.check_relations()?;
        Ok(self.effective)
    }
}

/// Reads all sources for a command, of which the command line was read already.
///
/// # Errors
///
/// [`OptionError::Value`] when the name of the configuration file is none, [`OptionError::Unused`] when the command line
/// has an option that the command does not use.
pub(crate) fn load(command_line: &PartialConfig, command: CommandName) -> Result<Loaded, OptionError> {
    command_line.check_used(command)?;
    let (environment, unknown_variables) = PartialConfig::from_environment(std::env::vars_os());
    let file = config_file(&[command_line, &environment], command)?;
    Ok(Loaded {
        effective: Effective::join(&[command_line, &environment, &file.config], command),
        file_errors: file.errors,
        unknown_variables,
    })
}

/// Reads the configuration file: the one named, else the user's own where there is one.
fn config_file(sources: &[&PartialConfig], command: CommandName) -> Result<ConfigFile, OptionError> {
    let named = Effective::join(sources, command);
    let is_named = named.is_positive(&table::CONFIG);
    let path = match named.get(&table::CONFIG) {
        // It stands beside the option then.
        Err(_) if command == CommandName::ConfigShow => return Ok(ConfigFile::default()),
        path => path?,
    };
    Ok(path
        .filter(|path| is_named || Path::exists(path))
        .map_or_else(ConfigFile::default, |path| ConfigFile::read(&path)))
}
