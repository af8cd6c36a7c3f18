//! What is configured, and how to configure it.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::show::{print, print_json};
use crate::options::{self, CommandName, Declared, Effective, Loaded, OPTIONS, Origin, PartialConfig, as_toml};

/// Prints a configuration file with every option in it.
pub(super) fn example() -> Result<ExitCode> {
    print(options::example().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints each option's value and its origin, and what is wrong. The exit status says whether anything is.
pub(super) fn show(given: &PartialConfig, as_json: bool) -> Result<ExitCode> {
    let loaded = options::load(given, CommandName::ConfigShow)?;
    let rows: Vec<Row> = OPTIONS
        .iter()
        .map(|option| Row::of(*option, &loaded.effective))
        .collect();
    let problems = problems(&loaded);
    let warnings = loaded
        .unknown_variables
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    if as_json {
        print_json(&json!({
            "options": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "problems": problems,
            "warnings": warnings,
        }))?;
    } else {
        let width = rows
            .iter()
            .map(|row| row.setting().len())
            .filter(|width| *width <= COLUMN)
            .max();
        let mut lines: Vec<String> = rows.iter().map(|row| row.line(width.unwrap_or(COLUMN))).collect();
        lines.extend(problems.iter().map(|problem| format!("# problem: {problem}")));
        lines.extend(warnings.iter().map(|warning| format!("# warning: {warning}")));
        print(&lines.join("\n"))?;
    }
    let is_sound = problems.is_empty() && rows.iter().all(|row| row.problem.is_none());
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Column in which origins stand at the latest, but behind values that are longer.
const COLUMN: usize = 48;

/// What is wrong with more than one value.
fn problems(loaded: &Loaded) -> Vec<String> {
    let of_file = loaded.file_errors.iter().map(ToString::to_string);
    let relations = loaded.effective.relation_errors();
    of_file.chain(relations.iter().map(ToString::to_string)).collect()
}

/// What is shown of one option.
struct Row {
    option: &'static dyn Declared,
    /// `None` for a secret that was given, and for what is no value.
    texts: Option<Vec<String>>,
    origin: Origin,
    problem: Option<String>,
    gave_way: Option<Origin>,
}

impl Row {
    fn of(option: &'static dyn Declared, effective: &Effective) -> Self {
        let origin = effective.origin(option);
        let (texts, problem) = match effective.texts(option) {
            Ok(texts) if option.spec().is_secret && !texts.is_empty() => (None, None),
            Ok(texts) => (Some(texts), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            option,
            texts,
            origin,
            problem,
            gave_way: effective.gave_way(option).cloned(),
        }
    }

    /// Returns the option as it would stand in a file, where it has a value that can be shown.
    fn setting(&self) -> String {
        let name = self.option.spec().name;
        match &self.texts {
            Some(texts) if texts.is_empty() && !self.option.is_many() => format!("# {name}"),
            Some(texts) => format!("{name} = {}", as_toml(self.option, texts)),
            None if self.problem.is_some() => format!("# {name}"),
            None => format!("# {name} = (secret)"),
        }
    }

    fn line(&self, width: usize) -> String {
        let has_value = self.texts.as_ref().is_none_or(|texts| !texts.is_empty());
        let words = self.option.spec().default_words.filter(|_| !has_value);
        let notes = [
            Some(self.origin.to_string()),
            words.map(str::to_owned),
            self.problem.as_ref().map(|problem| format!("problem: {problem}")),
            self.gave_way
                .as_ref()
                .map(|origin| format!("{origin} gave way to another option")),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        format!("{:width$}  # {}", self.setting(), notes.join("; "))
    }

    fn to_json(&self) -> Value {
        let spec = self.option.spec();
        let value = match &self.texts {
            None => Value::Null,
            Some(texts) if texts.is_empty() && !self.option.is_many() => Value::Null,
            // An option's TOML value has no dates and no numbers that JSON lacks.
            Some(texts) => serde_json::to_value(as_toml(self.option, texts)).unwrap_or_default(),
        };
        let mut row = json!({
            "name": spec.name,
            "value": value,
            "origin": origin(&self.origin),
            "variable": spec.variable(),
            "allowed": self.option.allowed(),
            "secret": spec.is_secret,
        });
        if let Some(row) = row.as_object_mut() {
            if let Some(problem) = &self.problem {
                row.insert("problem".to_owned(), json!(problem));
            }
            if let Some(gave_way) = &self.gave_way {
                row.insert("gave_way".to_owned(), origin(gave_way));
            }
        }
        row
    }
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Default => json!({ "source": "default" }),
        Origin::File { path, line } => json!({ "source": "file", "path": path.to_string_lossy(), "line": line }),
        Origin::Variable(name) => json!({ "source": "environment", "variable": name }),
        Origin::CommandLine(name) => json!({ "source": "command line", "option": format!("--{name}") }),
    }
}
