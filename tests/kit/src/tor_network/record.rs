//! A record of what becomes of streams, as Tor tells it over its control port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::control::Control;

/// What became of one stream of a user.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Where it was to go.
    pub target: String,
    /// Where it was to go in the end, after all that was put in the place of it.
    pub last: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// How it came: SOCKS5, SOCKS4, HTTPCONNECT.
    pub protocol: String,
    /// How often a new identity had been asked for.
    pub epoch: u64,
    /// All circuits that it was put on.
    pub circuits: BTreeSet<u64>,
    /// How often it waited for a controller.
    pub waits: usize,
    pub succeeded: bool,
    /// Why it ended, once it has.
    pub closed: Option<String>,
}

impl Stream {
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.user.as_deref().zip(self.password.as_deref())
    }
}

#[derive(Debug, Default)]
struct Seen {
    streams: BTreeMap<u64, Stream>,
    resolved: Vec<String>,
    ended: bool,
}

/// Takes down what becomes of each stream of users; of Tor's own only that there are such.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Seen>>);

impl Record {
    /// Begins to take down; ends with the Tor.
    pub fn of(mut control: Control) -> Self {
        control.command("SETEVENTS STREAM").unwrap();
        control.wait_for_ever();
        let record = Self::default();
        let seen = record.clone();
        std::thread::spawn(move || {
            while let Ok(line) = control.line() {
                seen.seen().take(&line);
            }
            seen.seen().ended = true;
        });
        record
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// Returns the streams of users, in the order in which they came.
    pub fn streams(&self) -> Vec<Stream> {
        self.seen().streams.values().cloned().collect()
    }

    /// Returns those of them that were to go to this host and port.
    pub fn streams_to(&self, target: &str) -> Vec<Stream> {
        let streams = self.seen();
        let to = streams.streams.values().filter(|stream| stream.target == target);
        to.cloned().collect()
    }

    /// Returns how many streams reached their target.
    pub fn succeeded(&self) -> usize {
        self.streams().iter().filter(|stream| stream.succeeded).count()
    }

    /// Returns what Tor was asked to resolve without a stream.
    pub fn resolved(&self) -> Vec<String> {
        self.seen().resolved.clone()
    }

    /// Says whether the Tor has gone.
    pub fn ended(&self) -> bool {
        self.seen().ended
    }
}

impl Seen {
    /// Reads a line such as `650 STREAM 55 SUCCEEDED 4 127.0.0.1:42581 SOCKS_USERNAME="alice" ...`.
    fn take(&mut self, line: &str) {
        let (words, fields) = parse(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ["650", "STREAM", stream, status, circuit, target] = words[..] else {
            panic!("no stream event: {line}")
        };
        let (stream, circuit): (u64, u64) = (stream.parse().unwrap(), circuit.parse().unwrap());
        let field = |key: &str| fields.get(key).cloned();
        match status {
            "NEWRESOLVE" => self.resolved.push(target.to_owned()),
            // Tor's own have another purpose; later lines don't tell it.
            "NEW" if field("PURPOSE").is_some_and(|purpose| purpose == "USER") => {
                let new = Stream {
                    target: target.to_owned(),
                    user: field("SOCKS_USERNAME"),
                    password: field("SOCKS_PASSWORD"),
                    protocol: field("CLIENT_PROTOCOL").unwrap(),
                    epoch: field("NYM_EPOCH").unwrap().parse().unwrap(),
                    ..Stream::default()
                };
                self.streams.insert(stream, new);
            }
            _ => {}
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            target.clone_into(&mut stream.last);
            stream.circuits.extend((circuit != 0).then_some(circuit));
            stream.waits += usize::from(status == "CONTROLLER_WAIT");
            stream.succeeded |= status == "SUCCEEDED";
            if status == "CLOSED" {
                stream.closed = Some(field("REASON").unwrap_or_default());
            }
        }
    }
}

/// Takes a line apart into the words at its beginning and the fields behind them, whose values may be quoted.
fn parse(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut words, mut fields) = (Vec::new(), BTreeMap::new());
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let word = rest.split(' ').next().unwrap_or_default();
        let key = word.split_once('=').map(|(key, _)| key);
        let value = key.and_then(|key| rest.strip_prefix(key)?.strip_prefix("=\""));
        rest = match (key, value) {
            (Some(key), Some(quoted)) => {
                let (value, rest) = unquote(quoted);
                fields.insert(key.to_owned(), value);
                rest
            }
            (Some(key), None) => {
                fields.insert(key.to_owned(), word[key.len() + 1..].to_owned());
                &rest[word.len()..]
            }
            // A target has none of these; behind the fields nothing else comes, but in a reason that Tor has no word for.
            (None, _) => {
                if fields.is_empty() {
                    words.push(word.to_owned());
                }
                &rest[word.len()..]
            }
        };
        rest = rest.trim_start();
    }
    (words, fields)
}

/// Reads the rest of a quoted string with C's escapes; returns it with what follows it. Bytes that are no UTF-8 are
/// lost, which is no matter here.
fn unquote(text: &str) -> (String, &str) {
    let (mut value, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    while bytes[at] != b'"' {
        let (byte, length) = match (bytes[at], bytes[at + 1]) {
            (b'\\', b'n') => (b'\n', 2),
            (b'\\', b'r') => (b'\r', 2),
            (b'\\', b't') => (b'\t', 2),
            (b'\\', b'0'..=b'3') => (u8::from_str_radix(&text[at + 1..at + 4], 8).unwrap(), 4),
            (b'\\', other) => (other, 2),
            (byte, _) => (byte, 1),
        };
        value.push(byte);
        at += length;
    }
    (String::from_utf8_lossy(&value).into_owned(), &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_lines_are_taken_apart() {
        let line = r#"650 STREAM 55 NEW 0 [::1]:42581 PURPOSE=USER SOCKS_USERNAME="a \"b\\c\n\001\303\251 X=Y" SOCKS_PASSWORD="" NYM_EPOCH=0"#;
        let (words, fields) = parse(line);
        assert_eq!(words, ["650", "STREAM", "55", "NEW", "0", "[::1]:42581"]);
        let expected = [
            ("NYM_EPOCH", "0"),
            ("PURPOSE", "USER"),
            ("SOCKS_PASSWORD", ""),
            ("SOCKS_USERNAME", "a \"b\\c\n\u{1}é X=Y"),
        ];
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(fields, expected);
    }
}
