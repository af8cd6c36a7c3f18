//! Who resolves which names: this program those in `.bit`, and plugins those of other suffixes.

use thiserror::Error;

use crate::isolation::IsolationId;
use crate::naming::name::{folded, is_host_name};
use crate::naming::name_resolver::{NameResolver, SUFFIX};
use crate::naming::target::{Failure, Target, TargetKind};
use crate::prop279::host_driver::PluginHost;

/// The suffix of names of ours for which nothing but an onion service will do.
const ONION_SUFFIX: &str = "bit.onion";

/// Why a plugin can't be run for names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SuffixPluginError {
    /// The text has no suffix and command in it.
    #[error("`{text}` does not read SUFFIX=COMMAND")]
    Form {
        /// What was given.
        text: String,
    },
    /// The suffix is no domain name.
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

/// A plugin that resolves the names under a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuffixPlugin {
    /// The suffix, folded.
    pub suffix: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it takes an isolation ID behind the name, which proposal 279 does not have.
    pub takes_id: bool,
}

impl SuffixPlugin {
    /// Reads `SUFFIX=COMMAND`; the command is split into words as a shell does.
    ///
    /// # Errors
    ///
    /// [`SuffixPluginError`]
    pub fn parse(text: &str) -> Result<Self, SuffixPluginError> {
        let (suffix, command) = text
            .split_once('=')
            .ok_or_else(|| SuffixPluginError::Form { text: text.to_owned() })?;
        let suffix = folded(suffix.trim_start_matches('.'));
        if !is_host_name(&suffix) {
            return Err(SuffixPluginError::Suffix { suffix });
        }
        let command = shlex::split(command).filter(|words| !words.is_empty());
        match command {
            Some(command) => Ok(Self {
                suffix,
                command,
                takes_id: true,
            }),
            None => Err(SuffixPluginError::Command { suffix }),
        }
    }
}

/// Who resolves the names of one suffix.
#[derive(Debug)]
enum SuffixResolver {
    Ours,
    Plugin { host: PluginHost, takes_id: bool },
}

/// All suffixes whose names are resolved.
#[derive(Debug)]
pub struct Suffixes {
    name_resolver: NameResolver,
    /// Longest first, so that a suffix below another one is found.
    resolvers: Vec<(String, SuffixResolver)>,
}

impl Suffixes {
    /// Puts together who resolves what. A plugin for a suffix of ours resolves its names in our place.
    ///
    /// # Errors
    ///
    /// [`SuffixPluginError::Twice`]
    pub fn new(name_resolver: NameResolver, plugins: Vec<SuffixPlugin>) -> Result<Self, SuffixPluginError> {
        let mut resolvers: Vec<(String, SuffixResolver)> = Vec::new();
        for SuffixPlugin {
            suffix,
            command,
            takes_id,
        } in plugins
        {
            if resolvers.iter().any(|(other, _)| *other == suffix) {
                return Err(SuffixPluginError::Twice { suffix });
            }
            let host = PluginHost::new(&suffix, command, None);
            resolvers.push((suffix, SuffixResolver::Plugin { host, takes_id }));
        }
        for suffix in [SUFFIX, ONION_SUFFIX] {
            if resolvers.iter().all(|(other, _)| other != suffix) {
                resolvers.push((suffix.to_owned(), SuffixResolver::Ours));
            }
        }
        resolvers.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(Self {
            name_resolver,
            resolvers,
        })
    }

    /// Returns the suffixes, longest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.resolvers.iter().map(|(suffix, _)| suffix.as_str())
    }

    /// Finds what a folded name stands for that lies under the suffix at this place among [`Suffixes::names`].
    pub async fn resolve(
        &self,
        suffix: usize,
        name: &str,
        target_kind: TargetKind,
        id: &IsolationId,
    ) -> Result<Target, Failure> {
        match self.resolvers.get(suffix) {
            None => Err(Failure::NotHandled),
            Some((_, SuffixResolver::Ours)) => self.name_resolver.resolve(name, target_kind, Some(id)).await,
            Some((_, SuffixResolver::Plugin { host, takes_id })) => {
                let result = host.resolve(name, takes_id.then_some(id)).await?;
                Target::parse(&result, self.names()).ok_or(Failure::Broken)
            }
        }
    }

    /// Returns the resolver of our own names, which is to forget isolation IDs.
    pub fn name_resolver(&self) -> &NameResolver {
        &self.name_resolver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_read() {
        let plugin = SuffixPlugin::parse(".Test=/bin/a 'b c' --d").unwrap();
        assert_eq!(plugin.suffix, "test");
        assert_eq!(plugin.command, ["/bin/a", "b c", "--d"]);
        assert_eq!(SuffixPlugin::parse("a.b=c=d").unwrap().command, ["c=d"]);
        for (text, expected) in [
            ("test", SuffixPluginError::Form { text: "test".into() }),
            ("te st=a", SuffixPluginError::Suffix { suffix: "te st".into() }),
            ("=a", SuffixPluginError::Suffix { suffix: String::new() }),
            ("t=", SuffixPluginError::Command { suffix: "t".into() }),
            ("t='a", SuffixPluginError::Command { suffix: "t".into() }),
        ] {
            assert_eq!(SuffixPlugin::parse(text), Err(expected), "{text}");
        }
    }
}
