//! The name server that exits ask. It writes down what for: nothing that was to be resolved before may come here.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Bytes before the question.
const HEADER: usize = 12;

/// Type and class of a question for IPv4 addresses, and for the name of an address.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];
const POINTER: [u8; 4] = [0, 12, 0, 1];

/// The name of all addresses.
pub const HOST: &str = "host.example";

/// All names but those below these have the address 127.0.0.1.
const ABSENT: [&str; 2] = ["bit", "invalid"];

pub struct NameServer {
    pub port: u16,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl NameServer {
    /// Starts one, which goes on until the tests end.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = socket.local_addr()?.port();
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let record = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let (name, reply) = answer(&query[..length]);
                record.lock().unwrap().insert(name);
                // Who has gone needs no answer.
                let _ = socket.send_to(&reply, from);
            }
        });
        Ok(Self { port, asked })
    }

    /// Returns all names that it was asked for.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Returns the name that a query is for, in lower case, and the reply.
fn answer(query: &[u8]) -> (String, Vec<u8>) {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    let kind = &query[at + 1..at + 5];
    let absent = labels.last().is_some_and(|label| ABSENT.contains(&label.as_str()));
    let data = match kind {
        _ if absent => None,
        kind if kind == ADDRESS => Some(vec![127, 0, 0, 1]),
        kind if kind == POINTER => Some(b"\x04host\x07example\0".to_vec()),
        _ => None,
    };
    // A response, authoritative, without or with "no such name"; one question, so many answers.
    let mut reply = query[..2].to_vec();
    reply.extend([
        0x84,
        if absent { 3 } else { 0 },
        0,
        1,
        0,
        data.is_some().into(),
        0,
        0,
        0,
        0,
    ]);
    reply.extend(&query[HEADER..at + 5]);
    if let Some(data) = data {
        reply.extend([0xc0, 0x0c]);
        reply.extend(kind);
        reply.extend([0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
        reply.extend(data);
    }
    (labels.join("."), reply)
}
