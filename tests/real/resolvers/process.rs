//! Programs that run beside a test and end with it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a program may take to be ready: so long that no load of the machine reaches it.
const PATIENCE: Duration = Duration::from_secs(100);

/// A running program; killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program and waits until a line on its standard error has these words in it. Returns that line.
    ///
    /// # Errors
    ///
    /// All that it said when it ends before.
    pub fn start(command: &mut Command, words: &'static str) -> Result<(Self, String), String> {
        let program = command.get_program().display().to_string();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = child.spawn();
        let mut process = Self(child.unwrap_or_else(|error| panic!("{program}: {error}; tests/install installs it")));
        let lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        let said = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&said);
        // Reads on to the end, or the program would wait for it.
        thread::spawn(move || {
            let mut tell = Some(tell);
            for line in lines.map_while(Result::ok) {
                if line.contains(words)
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(line);
                } else if tell.is_some() {
                    all.lock().unwrap().extend([&line, "\n"]);
                }
            }
        });
        match told.recv_timeout(PATIENCE) {
            Ok(line) => Ok((process, line)),
            Err(_) => Err(format!("{program}: {}", said.lock().unwrap())),
        }
    }

    /// Starts a program that must be told a port, on one that is free. Another may take the port before it does, so that
    /// it is tried several times.
    pub fn start_at_free_port(command: impl Fn(u16) -> Command, words: &'static str) -> (Self, u16) {
        let mut said = String::new();
        for _ in 0..5 {
            let port = free_port();
            match Self::start(&mut command(port), words) {
                Ok((process, _)) => return (process, port),
                Err(error) => said = error,
            }
        }
        panic!("{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that is free for UDP and TCP on 127.0.0.1.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
