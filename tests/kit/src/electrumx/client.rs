//! The program as a process, and what it must print.

use std::process::{Command, Output};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::isonym;

/// The fields of Core's `name_show` without a wallet.
const CORE_FIELDS: [&str; 10] = [
    "name",
    "name_encoding",
    "value",
    "value_encoding",
    "txid",
    "vout",
    "address",
    "height",
    "expires_in",
    "expired",
];

/// What the program must answer for a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This object, and more fields; exit 0.
    Found(Value),
    /// Exit 2, with this word in the message.
    Absent(&'static str),
}

/// The program with a data folder of its own.
pub struct Client {
    datadir: TempDir,
    servers: Vec<String>,
    options: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Client {
    /// A client of these servers, as `--server` takes them.
    pub fn new<I: IntoIterator<Item = String>>(servers: I) -> Self {
        Self {
            datadir: tempfile::tempdir().unwrap(),
            servers: servers
                .into_iter()
                .flat_map(|server| ["--server".to_owned(), server])
                .collect(),
            options: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Gives further options to every command on a name: others refuse what they don't use.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Sets a variable for every command.
    pub fn with_environment(mut self, variable: &'static str, value: &'static str) -> Self {
        self.environment.push((variable, value));
        self
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(isonym())
            .args(["--network", "regtest", "--direct", "--datadir"])
            .arg(self.datadir.path())
            .args(&self.servers)
            .envs(self.environment.iter().copied())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs a command on a name in hex; returns the exit code, and the JSON or the message.
    pub fn try_ask(&self, command: &str, name: &str) -> (Option<i32>, Result<Value, String>) {
        let mut arguments = vec![command, name, "--name-encoding", "hex", "--value-encoding", "hex"];
        arguments.extend(self.options.iter().map(String::as_str));
        let output = self.run(&arguments);
        let code = output.status.code();
        let answer = if code == Some(0) {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        };
        (code, answer)
    }

    /// As [`Self::try_ask`], where nothing may go wrong.
    ///
    /// # Panics
    /// When it ends neither with the name nor by saying that there is none.
    pub fn ask(&self, command: &str, name: &str) -> Result<Value, String> {
        match self.try_ask(command, name) {
            (Some(0 | 2), answer) => answer,
            (code, answer) => panic!(
                "{command} {name} with {:?} ended with {code:?}: {answer:?}",
                self.options
            ),
        }
    }

    /// Asks, compares the answer with what is expected, and returns what was found.
    pub fn check(&self, command: &str, name: &str, expected: &Expected) -> Option<Value> {
        let answer = self.ask(command, name);
        let context = format!("{command} {name} with {:?}: {answer:?}", self.options);
        match (expected, &answer) {
            (Expected::Found(expected), Ok(found)) => assert_eq!(&core_fields(found), expected, "{context}"),
            (Expected::Absent(word), Err(message)) => {
                assert!(message.contains(word), "{context} does not say {word}");
                assert_eq!(message.contains("semi-expired"), *word == "semi-expired", "{context}");
            }
            _ => panic!("{context}, but expected {expected:?}"),
        }
        answer.ok()
    }
}

/// Leaves only the fields that Core gives, in an answer to `name_show` or `name_history`.
pub fn core_fields(answer: &Value) -> Value {
    match answer {
        Value::Array(entries) => entries.iter().map(core_fields).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(field, _)| CORE_FIELDS.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect(),
        other => other.clone(),
    }
}

/// Two clients share the work, one for each core of a small machine: a data folder serves one process at a time.
pub fn in_two_parts<T: Sync>(items: &[T], work: impl Fn(&[T]) + Sync) {
    let (left, right) = items.split_at(items.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| work(left));
        work(right);
    });
}

/// Writes a name as the tests give it to the program.
pub fn hex(name: impl AsRef<[u8]>) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(name.as_ref())
}
