//! Who resolves which names: this program those in `.bit`, and plugins those of other suffixes.

use thiserror::Error;

use crate::isolation::IsolationId;
use crate::naming::name::{folded, is_host_name};
use crate::naming::namer::{Namer, SUFFIX};
use crate::naming::target::{Failure, Target, Want};
use crate::prop279::host_driver::PluginHost;

/// The suffix of names in ours whose users take nothing but an onion service.
const ONION_SUFFIX: &str = "bit.onion";

/// Why no plugin can be run for names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no suffix and command in it.
    #[error("`{text}` does not read SUFFIX=COMMAND")]
    Form {
        /// What was given.
        text: String,
    },
    /// The suffix is none.
    #[error("`{suffix}` is no suffix of domain names")]
    Suffix {
        /// What was given.
        suffix: String,
    },
    /// A quote has no end.
    #[error("the command for .{suffix} has a quote without end, or is empty")]
    Command {
        /// The suffix that it was given for.
        suffix: String,
    },
    /// Two plugins would resolve the same names.
    #[error("there are two plugins for .{suffix}")]
    Twice {
        /// Their suffix.
        suffix: String,
    },
}

/// A plugin for a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The suffix, folded.
    pub suffix: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl Plugin {
    /// Reads `SUFFIX=COMMAND`; the command's words are told apart as a shell does.
    ///
    /// # Errors
    ///
    /// [`PluginError`]
    pub fn parse(text: &str) -> Result<Self, PluginError> {
        let (suffix, command) = text
            .split_once('=')
            .ok_or_else(|| PluginError::Form { text: text.to_owned() })?;
        let suffix = folded(suffix.trim_start_matches('.'));
        if !is_host_name(&suffix) {
            return Err(PluginError::Suffix { suffix });
        }
        let command = shlex::split(command).filter(|words| !words.is_empty());
        match command {
            Some(command) => Ok(Self { suffix, command }),
            None => Err(PluginError::Command { suffix }),
        }
    }
}

/// Who resolves the names of one suffix.
#[derive(Debug)]
enum Source {
    Ours,
    Plugin(PluginHost),
}

/// All suffixes whose names are resolved.
#[derive(Debug)]
pub struct Suffixes {
    namer: Namer,
    /// Longest first, so that a suffix below another one is found.
    sources: Vec<(String, Source)>,
}

impl Suffixes {
    /// Puts together who resolves what. A plugin for a suffix of ours resolves its names in our place.
    ///
    /// # Errors
    ///
    /// [`PluginError::Twice`]
    pub fn new(namer: Namer, plugins: Vec<Plugin>) -> Result<Self, PluginError> {
        let mut sources: Vec<(String, Source)> = Vec::new();
        for Plugin { suffix, command } in plugins {
            if sources.iter().any(|(other, _)| *other == suffix) {
                return Err(PluginError::Twice { suffix });
            }
            sources.push((suffix, Source::Plugin(PluginHost::new(command, None))));
        }
        for suffix in [SUFFIX, ONION_SUFFIX] {
            if sources.iter().all(|(other, _)| other != suffix) {
                sources.push((suffix.to_owned(), Source::Ours));
            }
        }
        sources.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(Self { namer, sources })
    }

    /// Returns the suffixes, longest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(suffix, _)| suffix.as_str())
    }

    /// Finds what a folded name stands for that lies under the suffix of this number.
    pub async fn resolve(&self, suffix: usize, name: &str, want: Want, id: &IsolationId) -> Result<Target, Failure> {
        match self.sources.get(suffix) {
            None => Err(Failure::NotHandled),
            Some((_, Source::Ours)) => self.namer.resolve(name, want, Some(id)).await,
            Some((_, Source::Plugin(plugin))) => {
                let result = plugin.resolve(name, Some(id)).await?;
                Target::parse(&result, self.names()).ok_or(Failure::Broken)
            }
        }
    }

    /// Returns who is to forget isolation IDs.
    pub fn namer(&self) -> &Namer {
        &self.namer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_read() {
        let plugin = Plugin::parse(".Test=/bin/a 'b c' --d").unwrap();
        assert_eq!(plugin.suffix, "test");
        assert_eq!(plugin.command, ["/bin/a", "b c", "--d"]);
        assert_eq!(Plugin::parse("a.b=c=d").unwrap().command, ["c=d"]);
        for (text, expected) in [
            ("test", PluginError::Form { text: "test".into() }),
            ("te st=a", PluginError::Suffix { suffix: "te st".into() }),
            ("=a", PluginError::Suffix { suffix: String::new() }),
            ("t=", PluginError::Command { suffix: "t".into() }),
            ("t='a", PluginError::Command { suffix: "t".into() }),
        ] {
            assert_eq!(Plugin::parse(text), Err(expected), "{text}");
        }
    }
}
