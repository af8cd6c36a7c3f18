//! Which circuits streams are on, as the Tor sees them that connects to where they lead: an exit, or that of an onion service.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::control::Control;

/// How long a Tor may take to say what it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the end of that says.
const END: &str = "Average bandwidth";

/// Returns the circuit of each stream to a port of this machine. A Tor tells that in its log alone.
pub fn circuits_of_streams_to(control: &mut Control, folder: &Path, port: u16) -> Vec<String> {
    let log = folder.join("log");
    let before = fs::read(&log).unwrap().len();
    control.command("SIGNAL DUMP").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()[before..]).into_owned();
        if text.contains(END) {
            break text;
        }
        assert!(Instant::now() < deadline, "no end: {text}");
        thread::sleep(Duration::from_millis(20));
    };
    read(&text, port)
}

/// Reads lines such as `Conn 12 (socket 25) is a Exit connection (open) to 127.0.0.1:42581, ...` and `Conn 12 has Exit-ward
/// circuit: circID 0 (other side 2853401605), state 3 (open), born 1700000000:`.
fn read(text: &str, port: u16) -> Vec<String> {
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once("Conn ")?.1.split_once(' '))
        .collect();
    let to = format!("127.0.0.1:{port}");
    let leads_there = |what: &str| {
        let rest = what.contains("Exit connection").then(|| what.split_once(&to));
        rest.flatten()
            .is_some_and(|(_, rest)| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let streams = lines.iter().filter(|(_, what)| leads_there(what));
    let circuits = streams.map(|(number, _)| {
        let mut of_it = lines.iter().filter(|(other, _)| other == number);
        let circuit = of_it.find_map(|(_, what)| what.split_once("circID "));
        let (_, circuit) = circuit.unwrap_or_else(|| panic!("no circuit of {number}: {text}"));
        circuit.split(", state").next().unwrap().to_owned()
    });
    circuits.collect()
}
