//! Somebody between resolver and server who changes what passes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, RecordType};

/// What is changed in answers to questions for addresses. All else passes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// The address is another.
    Address,
    /// The last bit of the signature is another.
    Signature,
    /// There are no signatures.
    NoSignature,
    /// It is said without proof that there is nothing.
    Nonexistence,
}

/// Stands before a server, over UDP alone, until all tests end.
pub fn relay(server: SocketAddr, change: Change) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            onward.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            onward.send_to(&buffer[..length], server).unwrap();
            if let Ok(length) = onward.recv(&mut buffer) {
                let changed = changed(&buffer[..length], change);
                socket.send_to(&changed, client).unwrap();
            }
        }
    });
    address
}

fn changed(bytes: &[u8], change: Change) -> Vec<u8> {
    let mut message = Message::from_vec(bytes).unwrap();
    let mut bytes = bytes.to_vec();
    if message.queries[0].query_type != RecordType::A || message.answers.is_empty() {
        return bytes;
    }
    match change {
        Change::Nothing => return bytes,
        Change::Signature => {
            // It is the last of all but OPT, which has eleven bytes.
            let last = bytes.len() - 12;
            bytes[last] ^= 1;
            return bytes;
        }
        Change::Address => {
            for record in &mut message.answers {
                if let RData::A(address) = &mut record.data {
                    *address = A(Ipv4Addr::new(203, 0, 113, 66));
                }
            }
        }
        Change::NoSignature => message
            .answers
            .retain(|record| record.record_type() != RecordType::RRSIG),
        Change::Nonexistence => message.answers.clear(),
    }
    message.to_vec().unwrap()
}
