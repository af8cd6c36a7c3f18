//! A control port that says what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// How long a command may take to come where none should.
const A_MOMENT: Duration = Duration::from_millis(300);

/// What a stream of an ordinary port is isolated by.
pub const FIELDS: &str = "SOCKS_USERNAME=\"marker-of-the-user\" SOCKS_PASSWORD=\"p\" CLIENT_PROTOCOL=SOCKS5 NYM_EPOCH=0 \
                          SESSION_GROUP=-4 ISO_FIELDS=SOCKS_USERNAME,SOCKS_PASSWORD,CLIENTADDR,SESSION_GROUP,NYM_EPOCH";

/// Where controllers come to.
pub struct Port(TcpListener);

impl Port {
    pub async fn open() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Waits for a controller, which has said nothing yet.
    pub async fn accept(&self) -> Control {
        let (stream, _) = timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        Control::of(stream)
    }

    /// Waits for a controller, and lets it do all it wants to begin with; so many streams wait already.
    pub async fn accept_kindly(&self, waiting: &[&str]) -> Control {
        let mut control = self.accept().await;
        control.expect("PROTOCOLINFO 1").await;
        control
            .say("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK")
            .await;
        control.expect("AUTHENTICATE").await;
        control.say("250 OK").await;
        control.expect("SETEVENTS STREAM SIGNAL CONF_CHANGED").await;
        control.expect("GETCONF __LeaveStreamsUnattached").await;
        control.expect("GETINFO stream-status").await;
        control.say("250 OK\r\n250 __LeaveStreamsUnattached=1").await;
        let lines = [waiting, &[""]].concat().join("\r\n");
        control.say(&format!("250+stream-status=\r\n{lines}.\r\n250 OK")).await;
        control
    }
}

/// A controller that has come.
pub struct Control {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Control {
    fn of(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    pub async fn say(&mut self, text: &str) {
        self.writer.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
    }

    /// Says as much as the controller will take; returns whether it took all.
    pub async fn try_say(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.writer.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Returns the next command; `None` where the controller has gone.
    pub async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        match timeout(PATIENCE, self.reader.read_line(&mut line)).await.unwrap() {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.strip_suffix("\r\n").unwrap().to_owned()),
        }
    }

    pub async fn expect(&mut self, command: &str) {
        assert_eq!(self.hear().await.as_deref(), Some(command));
    }

    pub async fn hears_nothing(&mut self) {
        let heard = timeout(A_MOMENT, self.hear()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Lets a stream come and wait.
    pub async fn wait(&mut self, id: usize, target: &str) {
        self.say(&format!(
            "650 STREAM {id} NEW 0 {target} SOURCE_ADDR=127.0.0.1:52000 PURPOSE=USER {FIELDS}\r\n\
             650 STREAM {id} CONTROLLER_WAIT 0 {target} {FIELDS}"
        ))
        .await;
    }
}
