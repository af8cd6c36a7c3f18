//! A configuration file with every option, commented out.

use std::path::Path;

use isonym::chain::Network;
use toml::Value;

use super::arguments::description;
use super::declare::{Basis, CommandName, Declared, Given, Section};
use super::item::Shape;
use super::origin::Origin;
use super::table::OPTIONS;

/// How long a line of a comment gets.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Configuration of isonym, in TOML. Every option is here, commented out: with its default where it has one, else with an
# example. Options can also be given on the command line as --option, and in the environment as ISONYM_OPTION. The
# command line wins over the environment, and that over this file; what is empty is as if it were not given at all.
";

/// Returns the file's text. Lines that begin with `#` and no space are options.
pub(crate) fn example() -> String {
    let mut lines: Vec<String> = HEAD.lines().map(str::to_owned).collect();
    for section in Section::ALL {
        lines.extend([String::new(), format!("# {}", section.heading())]);
        for option in OPTIONS {
            let spec = option.spec();
            if spec.section == section && spec.in_file {
                lines.push(String::new());
                lines.extend(comment(*option));
                lines.push(format!("#{} = {}", spec.name, value(*option)));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Returns the lines above an option.
fn comment(option: &dyn Declared) -> Vec<String> {
    let default = option.spec().default_words;
    let default = default.map_or(String::new(), |words| format!(" Default: {words}."));
    let lines = wrapped(&format!("{}{default}", description(option)));
    lines.into_iter().map(|line| format!("# {line}")).collect()
}

/// Returns the value that stands in the example: the default, if it can be given, else a sample.
fn value(option: &dyn Declared) -> Value {
    let basis = Basis {
        network: Network::default(),
        command: CommandName::Daemon,
    };
    let mut texts = option.default_texts(basis);
    let given = Given {
        origin: Origin::Default,
        values: Ok(texts.iter().map(Into::into).collect()),
    };
    // Some defaults can't be given: there may be none, or only the program can choose it.
    if !matches!(option.canonical(&given), Ok(Some(_))) {
        texts = option.samples();
        texts.truncate(1);
    }
    let texts: Vec<String> = texts.into_iter().map(below_home).collect();
    as_toml(option, &texts)
}

/// Returns a path in the user's home as everybody would write it.
fn below_home(text: String) -> String {
    let home = dirs::home_dir();
    let rest = home.as_ref().and_then(|home| Path::new(&text).strip_prefix(home).ok());
    match rest {
        Some(rest) => format!("~/{}", rest.display()),
        None => text,
    }
}

/// Returns an option's values as they stand in the file.
pub(crate) fn as_toml(option: &dyn Declared, texts: &[String]) -> Value {
    let one = |text: &String| match option.shape() {
        Shape::Switch => text.parse().map(Value::Boolean).ok(),
        Shape::Number => text.parse().map(Value::Integer).ok(),
        Shape::Text => None,
    };
    let mut values = texts
        .iter()
        .map(|text| one(text).unwrap_or_else(|| Value::String(text.clone())));
    if option.is_many() {
        return Value::Array(values.collect());
    }
    values.next().unwrap_or_else(|| Value::String(String::new()))
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
