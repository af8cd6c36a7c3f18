//! Queries and replies on the wire, by hickory-proto's decoder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, Record};
use isonym::dns::message::ISOLATION_OPTION;
use isonym::dns::presentation::{data_text, parse_type, type_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// The EDNS option for extended errors (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// A query for a name and a type, with a random ID, and no EDNS.
pub fn query(name: &str, kind: &str) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let labels = name.split('.').filter(|label| !label.is_empty());
    let name = Name::from_labels(labels.map(str::as_bytes)).unwrap();
    message.add_query(Query::query(name, parse_type(kind).unwrap()));
    message
}

/// The same with EDNS.
pub fn edns_query(name: &str, kind: &str) -> Message {
    let mut message = query(name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message
}

/// The same under an isolation ID.
pub fn query_as(id: impl AsRef<[u8]>, name: &str, kind: &str) -> Message {
    let mut message = edns_query(name, kind);
    let option = EdnsOption::Unknown(ISOLATION_OPTION, id.as_ref().to_vec());
    message.edns.as_mut().unwrap().options_mut().insert(option);
    message
}

/// A reply, and how long it was.
#[derive(Clone, Debug)]
pub struct Reply {
    pub message: Message,
    pub length: usize,
}

impl Reply {
    pub fn read(bytes: &[u8]) -> Self {
        let message = Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        Self {
            message,
            length: bytes.len(),
        }
    }

    /// The response code as people write it.
    pub fn code(&self) -> String {
        use hickory_proto::op::ResponseCode as Code;
        let code = match self.message.metadata.response_code {
            Code::NoError => "NOERROR",
            Code::FormErr => "FORMERR",
            Code::ServFail => "SERVFAIL",
            Code::NXDomain => "NXDOMAIN",
            Code::NotImp => "NOTIMP",
            Code::Refused => "REFUSED",
            Code::YXDomain => "YXDOMAIN",
            // They have one number.
            Code::BADVERS | Code::BADSIG => "BADVERS",
            other => return format!("{other:?}"),
        };
        code.to_owned()
    }

    /// The answers, each as owner, type and data.
    pub fn answers(&self) -> Vec<String> {
        texts(&self.message.answers)
    }

    fn option(&self, code: u16) -> Option<Vec<u8>> {
        let options = self.message.edns.as_ref()?.options();
        let mut options = options.as_ref().iter();
        options.find_map(|(found, option)| match option {
            EdnsOption::Unknown(_, bytes) if *found == EdnsCode::from(code) => Some(bytes.clone()),
            _ => None,
        })
    }

    /// The code of the extended error.
    pub fn extended_error(&self) -> Option<u16> {
        let data = self.option(EXTENDED_ERROR)?;
        Some(u16::from_be_bytes([data[0], data[1]]))
    }

    /// The text of the extended error.
    pub fn extended_text(&self) -> Option<String> {
        let data = self.option(EXTENDED_ERROR)?;
        Some(String::from_utf8(data[2..].to_vec()).unwrap())
    }

    /// The isolation ID, if it came back.
    pub fn isolation_id(&self) -> Option<Vec<u8>> {
        self.option(ISOLATION_OPTION)
    }
}

/// Records as text: owner, type, data.
pub fn texts(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| {
        let (kind, data) = (type_text(record.record_type()), data_text(&record.data));
        format!("{} {kind} {data}", record.name.to_ascii())
    };
    records.iter().map(text).collect()
}

/// Returns what a future gives, if it gives it in due time.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.unwrap()
}

/// A UDP socket of an address of its own.
pub struct Datagrams {
    socket: UdpSocket,
}

impl Datagrams {
    pub async fn open(server: SocketAddr) -> Self {
        let here = match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self::open_from(here, server).await
    }

    pub async fn open_from(address: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        Self { socket }
    }

    pub async fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).await.unwrap();
    }

    pub async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = soon(self.socket.recv(&mut buffer)).await.unwrap();
        buffer.truncate(length);
        buffer
    }

    pub async fn ask(&self, query: &Message) -> Reply {
        self.send(&query.to_vec().unwrap()).await;
        loop {
            let reply = Reply::read(&self.receive().await);
            // An earlier one may come late.
            if reply.message.metadata.id == query.metadata.id {
                return reply;
            }
        }
    }
}

/// Asks over UDP, from a socket of its own.
pub async fn udp(server: SocketAddr, query: &Message) -> Reply {
    Datagrams::open(server).await.ask(query).await
}

/// A TCP connection.
pub struct Line {
    pub stream: TcpStream,
}

impl Line {
    pub async fn open(server: SocketAddr) -> Self {
        Self::open_from(Ipv4Addr::LOCALHOST.into(), server).await
    }

    pub async fn open_from(address: IpAddr, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let stream = soon(socket.connect(server)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub async fn send(&mut self, query: &Message) {
        self.stream.write_all(&framed(&query.to_vec().unwrap())).await.unwrap();
    }

    pub async fn receive(&mut self) -> Reply {
        let reply = async {
            let length = self.stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            self.stream.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        Reply::read(&soon(reply).await)
    }

    pub async fn ask(&mut self, query: &Message) -> Reply {
        self.send(query).await;
        let reply = self.receive().await;
        assert_eq!(reply.message.metadata.id, query.metadata.id);
        reply
    }

    /// Waits until the server hangs up, whatever it says before.
    pub async fn end(&mut self) {
        let mut rest = Vec::new();
        // A reset ends it as well.
        let _ = soon(self.stream.read_to_end(&mut rest)).await;
    }
}

/// Asks over TCP, over a connection of its own.
pub async fn tcp(server: SocketAddr, query: &Message) -> Reply {
    Line::open(server).await.ask(query).await
}

/// A message with its length in front (RFC 1035 section 4.2.2).
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// Asserts that a server lives: it answers for its own zone over UDP and TCP.
pub async fn assert_lives(server: SocketAddr) {
    for reply in [
        udp(server, &query("bit", "NS")).await,
        tcp(server, &query("bit", "NS")).await,
    ] {
        assert_eq!(reply.answers(), ["bit. NS this.x--nmc.bit."]);
    }
}
