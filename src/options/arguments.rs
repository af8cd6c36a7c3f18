//! The command line's part of the declarations.

use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use isonym::chain::Network;

use super::declare::{Basis, CommandName, Declared, Given, Section, split};
use super::item::Shape;
use super::origin::Origin;
use super::partial::PartialConfig;
use super::table::OPTIONS;

/// What the arguments are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be parsed: values are taken as they are, and judged where all sources are known.
    Parsing,
    /// To be written down: where there are few values, all are named.
    Pages,
}

/// Adds to a program and to its commands the arguments of their options.
pub(crate) fn with_arguments(program: Command, purpose: Purpose) -> Command {
    with_arguments_at(program, &mut Vec::new(), purpose)
}

fn with_arguments_at(mut command: Command, path: &mut Vec<String>, purpose: Purpose) -> Command {
    let name = CommandName::ALL.into_iter().find(|name| name.path() == path.as_slice());
    for option in OPTIONS {
        let spec = option.spec();
        if spec.section == Section::Every || name.is_some_and(|name| spec.is_used_by(name)) {
            for arg in arguments(*option, name, path.is_empty(), purpose) {
                command = command.arg(arg);
            }
        }
    }
    command.mut_subcommands(|command| {
        path.push(command.get_name().to_owned());
        let command = with_arguments_at(command, path, purpose);
        path.pop();
        command
    })
}

/// Returns all that is to be said of an option but its default.
pub(super) fn description(option: &dyn Declared) -> String {
    let spec = option.spec();
    let mut sentences = vec![format!("{}.", spec.help)];
    if !spec.more.is_empty() {
        sentences.push(spec.more.to_owned());
    }
    if option.shape() == Shape::Number {
        sentences.push(format!("Give {}.", option.allowed()));
    }
    if option.is_many() {
        sentences.push("May be given several times.".to_owned());
    }
    sentences.join(" ")
}

/// What is said of an option's default, if anything.
fn default_note(option: &dyn Declared, command: Option<CommandName>) -> Option<String> {
    if let Some(words) = option.spec().default_words {
        return Some(format!("[default: {words}]"));
    }
    let basis = Basis {
        network: Network::default(),
        command: command.unwrap_or(CommandName::ConfigShow),
    };
    let texts = option.default_texts(basis);
    if texts.is_empty() || option.shape() == Shape::Switch {
        return None;
    }
    Some(format!("[default: {}]", texts.join(",")))
}

/// The name that denies a switch.
fn denial(option: &dyn Declared) -> String {
    format!("no-{}", option.spec().name)
}

fn arguments(option: &dyn Declared, command: Option<CommandName>, is_root: bool, purpose: Purpose) -> Vec<Arg> {
    let spec = option.spec();
    let default = default_note(option, command);
    // Short help has a line for each option: only what a value is stands there, not what it is in words.
    let brief = default.as_deref().filter(|_| spec.default_words.is_none());
    let alias = spec.aliases.iter().find(|(of, _)| Some(*of) == command);
    let alias = alias.map(|(_, alias)| *alias);
    let variable = format!("[env: {}]", spec.variable());
    let also = alias.map(|alias| format!("[alias: --{alias}]"));
    let notes = [default.as_deref(), Some(variable.as_str()), also.as_deref()];
    let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut arg = Arg::new(spec.name)
        .long(spec.name)
        .value_name(spec.value_name)
        .help(
            [Some(spec.help), brief]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
        )
        .long_help(format!("{}\n{notes}", description(option)))
        .value_parser(values(option, purpose))
        .value_hint(option.hint())
        .aliases(alias)
        .action(if option.is_many() {
            ArgAction::Append
        } else {
            ArgAction::Set
        });
    if spec.section != Section::Own {
        arg = arg.help_heading(spec.section.heading());
    }
    if command.is_some_and(|command| !spec.is_used_by(command)) {
        arg = arg.hide(true);
    } else if spec.section == Section::Every {
        arg = arg.hide_short_help(!is_root);
    } else if command == Some(CommandName::ConfigShow) {
        // They are those of all other commands.
        arg = arg.hide(true);
    }
    if option.shape() != Shape::Switch {
        return vec![arg];
    }
    let denial = denial(option);
    let arg = arg
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .overrides_with(denial.clone());
    let denying = Arg::new(denial.clone())
        .long(denial)
        .action(ArgAction::SetTrue)
        .hide(true)
        .overrides_with(spec.name);
    vec![arg, denying]
}

fn values(option: &dyn Declared, purpose: Purpose) -> ValueParser {
    let words = option.words();
    if purpose == Purpose::Parsing || words.is_empty() {
        return value_parser!(OsString);
    }
    PossibleValuesParser::new(words).into()
}

/// Returns what the command line says of options. They may stand before the command and behind it; what stands behind
/// wins, and lists are joined.
pub(crate) fn given(matches: &ArgMatches) -> PartialConfig {
    let mut levels = vec![matches];
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        levels.push(inner);
        innermost = inner;
    }
    let mut config = PartialConfig::default();
    for option in OPTIONS {
        let name = option.spec().name;
        let mut given: Option<Vec<OsString>> = None;
        for level in &levels {
            // A level that doesn't know the option says nothing of it.
            let texts = level.try_get_many::<OsString>(name).ok().flatten();
            let texts = texts.map(|texts| texts.flat_map(|text| split(*option, text)).collect::<Vec<_>>());
            match (texts, &mut given) {
                (Some(texts), Some(given)) if option.is_many() => given.extend(texts),
                (Some(texts), given) => *given = Some(texts),
                (None, _) => {}
            }
            if option.shape() == Shape::Switch && is_said(level, &denial(*option)) {
                given = Some(vec!["false".into()]);
            }
        }
        if let Some(values) = given {
            let (origin, values) = (Origin::CommandLine(name), Ok(values));
            config.insert(*option, Given { origin, values });
        }
    }
    config
}

/// Says whether a flag stands on the command line at this level.
fn is_said(matches: &ArgMatches, flag: &str) -> bool {
    matches.try_contains_id(flag).is_ok_and(|has_it| has_it)
        && matches.value_source(flag) == Some(ValueSource::CommandLine)
}
