//! Tor's control port: commands.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bitcoin::hex::DisplayHex;

/// How long a reply may take, and how long nothing may happen while an event is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a control port.
pub struct Control(BufReader<TcpStream>);

impl Control {
    /// Connects to the port of the Tor that keeps its cookie in this file.
    pub fn open(port: u16, cookie: &Path) -> Result<Self, String> {
        let cookie = std::fs::read(cookie).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut control = Self(BufReader::new(stream));
        control.command(&format!("AUTHENTICATE {}", cookie.to_lower_hex_string()))?;
        Ok(control)
    }

    /// Gives a command; returns the lines of the reply, those of data without the dot that ends them.
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
            let (last, data) = (line.starts_with("250 "), line.starts_with("250+"));
            lines.push(line);
            if last {
                return Ok(lines);
            }
            if data {
                while let line = self.line()?
                    && line != "."
                {
                    lines.push(line);
                }
            }
        }
    }

    /// Reads one line; none may be an event but after `SETEVENTS`.
    pub fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            // One that was killed may not have come to the end of its line.
            Ok(_) if !line.ends_with('\n') => Err("closed the control port".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for lines without an end: nothing may happen for long.
    pub fn wait_for_ever(&self) {
        self.0.get_ref().set_read_timeout(None).unwrap();
    }
}
