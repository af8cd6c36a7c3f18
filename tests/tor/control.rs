//! Tor's control port: commands, and a record of what becomes of streams.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::hex::DisplayHex;

/// How long a reply may take, and how long nothing may happen while an event is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a control port.
pub struct Control(BufReader<TcpStream>);

impl Control {
    /// Connects to the port of the Tor that keeps its files in this folder.
    pub fn open(port: u16, folder: &Path) -> Result<Self, String> {
        let cookie = std::fs::read(folder.join("control_auth_cookie")).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut control = Self(BufReader::new(stream));
        control.command(&format!("AUTHENTICATE {}", cookie.to_lower_hex_string()))?;
        Ok(control)
    }

    /// Gives a command whose reply has no lines of data; returns the lines of the reply.
    pub fn command(&mut self, command: &str) -> Result<Vec<String>, String> {
        let line = format!("{command}\r\n");
        let sent = self.0.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if !line.starts_with("250") {
                return Err(format!("{line}, to {command}"));
            }
            let last = line.starts_with("250 ");
            lines.push(line);
            if last {
                return Ok(lines);
            }
        }
    }

    /// Reads one line; none may be an event but after `SETEVENTS`.
    pub fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => Err("closed the control port".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What became of one stream of a user.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub target: String,
    pub credentials: Option<(String, String)>,
    /// All circuits that it was put on.
    pub circuits: BTreeSet<u64>,
    pub succeeded: bool,
    pub closed: bool,
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
        // Nothing may happen for long.
        control.0.get_ref().set_read_timeout(None).unwrap();
        let record = Self::default();
        let seen = Arc::clone(&record.0);
        std::thread::spawn(move || {
            while let Ok(line) = control.line() {
                seen.lock().unwrap().take(&line);
            }
            seen.lock().unwrap().ended = true;
        });
        record
    }

    /// Returns the streams of users, in the order in which they came.
    pub fn streams(&self) -> Vec<Stream> {
        self.0.lock().unwrap().streams.values().cloned().collect()
    }

    /// Returns how many streams reached their target.
    pub fn succeeded(&self) -> usize {
        self.streams().iter().filter(|stream| stream.succeeded).count()
    }

    /// Returns what Tor was asked to resolve without a stream.
    pub fn resolved(&self) -> Vec<String> {
        self.0.lock().unwrap().resolved.clone()
    }

    /// Says whether the Tor has gone.
    pub fn ended(&self) -> bool {
        self.0.lock().unwrap().ended
    }
}

impl Seen {
    /// Reads a line such as `650 STREAM 55 SUCCEEDED 4 127.0.0.1:42581 SOCKS_USERNAME="alice" ...`.
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let ["650", "STREAM", stream, status, circuit, target, ..] = words[..] else {
            panic!("no stream event: {line}")
        };
        let (stream, circuit): (u64, u64) = (stream.parse().unwrap(), circuit.parse().unwrap());
        match status {
            "NEWRESOLVE" => self.resolved.push(target.to_owned()),
            // Tor's own have another purpose; later lines don't tell it.
            "NEW" if line.contains(" PURPOSE=USER ") => {
                let stream = self.streams.entry(stream).or_default();
                target.clone_into(&mut stream.target);
                stream.credentials = quoted(line, " SOCKS_USERNAME=").zip(quoted(line, " SOCKS_PASSWORD="));
            }
            _ => {}
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.circuits.extend((circuit != 0).then_some(circuit));
            stream.succeeded |= status == "SUCCEEDED";
            stream.closed |= status == "CLOSED";
        }
    }
}

/// Returns the text behind a key. Ours has nothing in it that Tor would escape.
fn quoted(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(key)?;
    rest.strip_prefix('"')?.split('"').next().map(str::to_owned)
}
