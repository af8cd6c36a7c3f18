//! The configuration file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declare::{Declared, Given, split};
use super::item::Shape;
use super::nearest::nearest;
use super::origin::Origin;
use super::partial::PartialConfig;
use super::table::OPTIONS;

/// Largest configuration file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// What is wrong with a configuration file, apart from the values of options.
#[derive(Clone, Debug)]
pub(crate) enum FileError {
    /// It can't be read.
    Unreadable { path: Arc<Path>, source: Arc<io::Error> },
    /// It is larger than any configuration.
    TooLarge { path: Arc<Path> },
    /// It is no TOML.
    Syntax {
        path: Arc<Path>,
        line: usize,
        message: String,
    },
    /// A key belongs to no option.
    UnknownKey {
        path: Arc<Path>,
        line: usize,
        key: String,
        nearest: Option<&'static str>,
    },
    /// A key belongs to an option that cannot stand in a file.
    Misplaced {
        path: Arc<Path>,
        line: usize,
        key: &'static str,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "cannot read the configuration file {}: {source}", path.display())
            }
            Self::TooLarge { path } => write!(
                f,
                "{} is no configuration file: it has more than {MAX_SIZE} bytes",
                path.display()
            ),
            Self::Syntax { path, line, message } => write!(f, "{}:{line}: {message}", path.display()),
            Self::UnknownKey {
                path,
                line,
                key,
                nearest,
            } => {
                write!(f, "{}:{line}: unknown field `{}`", path.display(), key.escape_debug())?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None => f.write_str("; `isonym config example` prints all that there are"),
                }
            }
            Self::Misplaced { path, line, key } => write!(
                f,
                "{}:{line}: `{key}` cannot stand in the file; give --{key}, or its variable",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// A configuration file: what it says, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) config: PartialConfig,
    pub(super) errors: Vec<FileError>,
}

impl ConfigFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Self {
        let path: Arc<Path> = path.into();
        let mut text = String::new();
        // Not by its stated size: a device has none, and no end either.
        let read = File::open(&path).and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text));
        match read {
            Err(source) => Self::failed(FileError::Unreadable {
                path,
                source: source.into(),
            }),
            Ok(_) if text.len() as u64 > MAX_SIZE => Self::failed(FileError::TooLarge { path }),
            Ok(_) => Self::parse(&path, &text),
        }
    }

    fn failed(error: FileError) -> Self {
        Self {
            config: PartialConfig::default(),
            errors: vec![error],
        }
    }

    /// Reads a file's text.
    pub(super) fn parse(path: &Arc<Path>, text: &str) -> Self {
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            // Its own words show the line, which may hold a password.
            Err(error) => {
                return Self::failed(FileError::Syntax {
                    path: Arc::clone(path),
                    line: line_of(text, error.span().map_or(0, |span| span.start)),
                    message: error.message().to_owned(),
                });
            }
        };
        let mut file = Self::default();
        for (key, value) in &table {
            let line = line_of(text, key.span().start);
            let path = Arc::clone(path);
            let name = key.get_ref().as_ref();
            match OPTIONS.iter().find(|option| option.spec().name == name) {
                None => {
                    let in_file = OPTIONS.iter().map(|option| option.spec());
                    let in_file = in_file.filter(|spec| spec.in_file).map(|spec| spec.name);
                    file.errors.push(FileError::UnknownKey {
                        path,
                        line,
                        key: name.to_owned(),
                        nearest: nearest(name, in_file),
                    });
                }
                Some(option) if !option.spec().in_file => file.errors.push(FileError::Misplaced {
                    path,
                    line,
                    key: option.spec().name,
                }),
                Some(option) => {
                    let source = || text.get(value.span()).unwrap_or_default().to_owned();
                    let values = values(*option, value).ok_or_else(source);
                    let origin = Origin::File { path, line };
                    file.config.insert(*option, Given { origin, values });
                }
            }
        }
        file.errors.sort_by_key(|error| match error {
            FileError::UnknownKey { line, .. } | FileError::Misplaced { line, .. } => *line,
            _ => 0,
        });
        file
    }
}

/// Returns the values in a file as texts; `None` when they are not of the shape that the option has.
fn values(option: &dyn Declared, value: &Spanned<DeValue<'_>>) -> Option<Vec<std::ffi::OsString>> {
    let one = |value: &Spanned<DeValue<'_>>| match (value.get_ref(), option.shape()) {
        (DeValue::Boolean(value), Shape::Switch) => Some(value.to_string()),
        (DeValue::Integer(value), Shape::Number) => {
            let number = i128::from_str_radix(value.as_str(), value.radix()).ok()?;
            Some(number.to_string())
        }
        (DeValue::String(value), Shape::Text) => Some(value.to_string()),
        _ => None,
    };
    match value.get_ref() {
        DeValue::Array(values) if option.is_many() => values.iter().map(|value| one(value).map(Into::into)).collect(),
        _ => one(value).map(|text| split(option, text.as_ref())),
    }
}

/// Returns the line in which a byte stands, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
