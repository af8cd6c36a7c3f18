//! What one source says, and which of them wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use isonym::chain::Network;

use super::declare::{Arity, Basis, CommandName, Declared, Given, Opt, PREFIX, split};
use super::nearest::nearest;
use super::origin::{Origin, RelationError, UnusedOption, ValueError};
use super::table::{NETWORK, OPTIONS, RELATIONS, Relation};

/// What one source says: the options it names, and nothing of the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartialConfig(BTreeMap<&'static str, Given>);

impl PartialConfig {
    /// Notes what was given for an option.
    pub(super) fn insert(&mut self, option: &dyn Declared, given: Given) {
        self.0.insert(option.spec().name, given);
    }

    /// Returns what was given for an option, if anything.
    pub(super) fn get(&self, option: &dyn Declared) -> Option<&Given> {
        self.0.get(option.spec().name)
    }

    /// Returns where the options are given that it names.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.0.values().map(|given| &given.origin)
    }

    /// Checks that a command uses all options that are named.
    ///
    /// # Errors
    ///
    /// [`UnusedOption`] for the first that it does not.
    pub(super) fn check_used(&self, command: CommandName) -> Result<(), UnusedOption> {
        let is_unused = |option: &&&dyn Declared| !option.spec().is_used_by(command);
        let unused = OPTIONS.iter().filter(is_unused).find_map(|option| self.get(*option));
        unused.map_or(Ok(()), |given| {
            Err(UnusedOption {
                given: given.origin.clone(),
                command: command.path(),
            })
        })
    }

    /// Reads the environment, and returns the variables that look like options but are none, with the nearest one.
    pub(super) fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> (Self, Vec<UnknownVariable>) {
        let known: BTreeMap<String, &dyn Declared> = OPTIONS
            .iter()
            .map(|option| (option.spec().variable(), *option))
            .collect();
        let (mut config, mut unknown) = (Self::default(), Vec::new());
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let Some(option) = known.get(name) else {
                unknown.push(UnknownVariable {
                    name: name.to_owned(),
                    nearest: nearest(name, known.keys().map(String::as_str)).map(str::to_owned),
                });
                continue;
            };
            let values = if value.is_empty() {
                // Every option can be cleared so, even one whose values have no empty text.
                Vec::new()
            } else {
                split(*option, &value)
            };
            let given = Given {
                origin: Origin::Variable(name.to_owned()),
                values: Ok(values),
            };
            config.insert(*option, given);
        }
        (config, unknown)
    }
}

/// A variable that begins as those of options do, but belongs to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownVariable {
    pub(crate) name: String,
    pub(crate) nearest: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no variable of an option, and not heard",
            self.name.escape_debug()
        )?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}?"),
            None => Ok(()),
        }
    }
}

/// What holds of an option.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// What was given by the highest source that says anything; `None` where the default holds.
    given: Option<Given>,
    /// What was given, but gave way to another option of a higher source.
    gave_way: Option<Given>,
}

/// What all sources together say.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    basis: Basis,
    choices: BTreeMap<&'static str, Choice>,
}

impl Effective {
    /// Joins what the sources say, the one that wins first, for a command.
    pub(super) fn join(sources: &[&PartialConfig], command: CommandName) -> Self {
        let choices = OPTIONS.iter().map(|option| {
            let given = sources.iter().find_map(|source| source.get(*option)).cloned();
            (option.spec().name, Choice { given, gave_way: None })
        });
        let mut joined = Self {
            basis: Basis {
                network: Network::default(),
                command,
            },
            choices: choices.collect(),
        };
        for relation in RELATIONS {
            joined.let_give_way(relation);
        }
        // A network that is none is reported when it is asked for.
        if let Ok(network) = joined.get(&NETWORK) {
            joined.basis.network = network;
        }
        joined
    }

    /// Returns the command that they are for.
    pub(crate) fn command(&self) -> CommandName {
        self.basis.command
    }

    fn given(&self, option: &dyn Declared) -> Option<&Given> {
        self.choices.get(option.spec().name)?.given.as_ref()
    }

    /// Returns what was given for an option, unless that comes to the same as nothing: no value, or no for a switch.
    fn positive(&self, option: &dyn Declared) -> Option<&Given> {
        let given = self.given(option)?;
        match option.canonical(given) {
            Ok(None) => None,
            Ok(Some(values)) if values == ["false"] => None,
            _ => Some(given),
        }
    }

    /// Says whether something was given for an option that doesn't come to the same as nothing.
    pub(super) fn is_positive(&self, option: &dyn Declared) -> bool {
        self.positive(option).is_some()
    }

    fn is_used(&self, option: &dyn Declared) -> bool {
        option.spec().is_used_by(self.basis.command)
    }

    fn drop_given(&mut self, option: &dyn Declared) {
        if let Some(choice) = self.choices.get_mut(option.spec().name) {
            choice.gave_way = choice.given.take();
        }
    }

    /// Drops what a rival of a higher source excludes.
    fn let_give_way(&mut self, relation: &Relation) {
        match relation {
            Relation::Exclusive(one, other) => {
                if !one.iter().chain(*other).all(|option| self.is_used(*option)) {
                    return;
                }
                let rank = |effective: &Self, group: &[&'static dyn Declared]| {
                    let given = group.iter().filter_map(|option| effective.positive(*option));
                    given.map(|given| given.origin.rank()).max()
                };
                let (Some(first), Some(second)) = (rank(self, one), rank(self, other)) else {
                    return;
                };
                let loser = match first.cmp(&second) {
                    std::cmp::Ordering::Less => one,
                    std::cmp::Ordering::Greater => other,
                    std::cmp::Ordering::Equal => return,
                };
                for option in *loser {
                    self.drop_given(*option);
                }
            }
            Relation::Together(one, other) => {
                let in_file = |option: &dyn Declared| self.positive(option).map(|given| given.origin.is_file());
                match (in_file(*one), in_file(*other)) {
                    (Some(true), Some(false)) => self.drop_given(*one),
                    (Some(false), Some(true)) => self.drop_given(*other),
                    _ => {}
                }
            }
            Relation::Needs(..) => {}
        }
    }

    /// Checks what options have to do with each other, where the command uses them.
    ///
    /// # Errors
    ///
    /// [`RelationError`] for the first two that don't go with each other.
    pub(super) fn check_relations(&self) -> Result<(), RelationError> {
        RELATIONS.iter().try_for_each(|relation| self.check_relation(relation))
    }

    /// Returns all that [`Self::check_relations`] may find.
    pub(crate) fn relation_errors(&self) -> Vec<RelationError> {
        RELATIONS
            .iter()
            .filter_map(|relation| self.check_relation(relation).err())
            .collect()
    }

    fn check_relation(&self, relation: &Relation) -> Result<(), RelationError> {
        let named = |option: &dyn Declared, given: &Given| given.origin.of_key(option.spec().name);
        match relation {
            Relation::Exclusive(one, other) => {
                let first = |group: &[&'static dyn Declared]| {
                    let mut given = group.iter().filter(|option| self.is_used(**option));
                    given.find_map(|option| self.positive(*option).map(|given| named(*option, given)))
                };
                match (first(one), first(other)) {
                    (Some(one), Some(other)) => Err(RelationError::Exclusive(one, other)),
                    _ => Ok(()),
                }
            }
            Relation::Together(one, other) if self.is_used(*one) && self.is_used(*other) => {
                let apart = |option: &dyn Declared, given, missing: &dyn Declared| RelationError::Apart {
                    given: named(option, given),
                    missing: missing.spec().name,
                };
                match (self.positive(*one), self.positive(*other)) {
                    (Some(given), None) => Err(apart(*one, given, *other)),
                    (None, Some(given)) => Err(apart(*other, given, *one)),
                    _ => Ok(()),
                }
            }
            Relation::Needs(option, needed) if self.is_used(*option) && self.is_used(*needed) => {
                let given = self.positive(*option);
                match given.filter(|_| self.texts(*needed).is_ok_and(|texts| texts.is_empty())) {
                    Some(given) => Err(RelationError::Needs {
                        given: named(*option, given),
                        missing: needed.spec().name,
                    }),
                    None => Ok(()),
                }
            }
            Relation::Together(..) | Relation::Needs(..) => Ok(()),
        }
    }

    /// Returns the value of an option.
    ///
    /// # Errors
    ///
    /// [`ValueError`] when what was given is no value of it and the command uses it. Else the default stands in, which
    /// nobody will look at.
    pub(crate) fn get<A: Arity>(&self, option: &Opt<A>) -> Result<A::Value, ValueError> {
        let read = self.given(option).map_or(Ok(None), |given| option.read(given));
        match read {
            Ok(Some(value)) => Ok(value),
            Err(error) if self.is_used(option) => Err(error),
            Ok(None) | Err(_) => Ok(option.default(self.basis)),
        }
    }

    /// Returns the values of an option, as texts in the one way that equal values are written in.
    ///
    /// # Errors
    ///
    /// [`ValueError`] when what was given is no value of it, even if the command does not use it.
    pub(crate) fn texts(&self, option: &dyn Declared) -> Result<Vec<String>, ValueError> {
        let read = self.given(option).map_or(Ok(None), |given| option.canonical(given));
        Ok(read?.unwrap_or_else(|| option.default_texts(self.basis)))
    }

    /// Returns where the value of an option comes from.
    pub(crate) fn origin(&self, option: &dyn Declared) -> Origin {
        self.given(option).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// Returns where the value of an option came from that gave way to another option.
    pub(crate) fn gave_way(&self, option: &dyn Declared) -> Option<&Origin> {
        let choice = self.choices.get(option.spec().name)?;
        choice.gave_way.as_ref().map(|given| &given.origin)
    }
}
