//! The edge: bytes between a client and a server, counted, and over a link if there is one.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::host::origin;
use super::link::{Direction, Link};

/// Most bytes that are read at a time.
const PIECE: usize = 16 * 1024;

/// Most bytes of one direction that are on their way: as much as Tor lets into a stream. With them the sender of
/// much notices how slow the link is.
const WINDOW: usize = 250_000;

/// Carries bytes both ways until both sides are through, or one fails. Calls `count` with the numbers of bytes that
/// went to the server and to the client.
pub(super) async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    link: Option<Link>,
    count: impl Fn(usize, usize),
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = carry(from_client, to_server, link, |bytes| count(bytes, 0));
    let down = carry(from_server, to_client, link, |bytes| count(0, bytes));
    tokio::try_join!(up, down).map(drop)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: Option<Link>,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut way = link.map(Link::direction);
    let mut under_way = UnderWay::default();
    let mut buffer = vec![0; PIECE];
    let mut open = true;
    while open || !under_way.pieces.is_empty() {
        let next = under_way.pieces.front().map(|(arrival, _)| *arrival);
        let piece = tokio::select! {
            read = from.read(&mut buffer), if open && under_way.bytes < WINDOW => {
                let piece = buffer.get(..read?).unwrap_or_default().to_vec();
                open = !piece.is_empty();
                match &mut way {
                    Some(way) => {
                        under_way.put(way, piece);
                        continue;
                    }
                    None => piece,
                }
            }
            Some(()) = arrival(next) => under_way.take(),
        };
        to.write_all(&piece).await?;
        count(piece.len());
    }
    to.shutdown().await
}

/// The pieces between one end and the other, each with its arrival. The end of the stream is an empty one.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl UnderWay {
    fn put(&mut self, way: &mut Direction, piece: Vec<u8>) {
        let arrival = way.send(origin().elapsed(), piece.len());
        self.bytes += piece.len();
        self.pieces.push_back((origin() + arrival, piece));
    }

    fn take(&mut self) -> Vec<u8> {
        let (_, piece) = self.pieces.pop_front().unwrap_or_else(|| (origin(), Vec::new()));
        self.bytes -= piece.len();
        piece
    }
}

/// Waits until a moment; for ever when there is none.
async fn arrival(at: Option<Instant>) -> Option<()> {
    tokio::time::sleep_until(at?).await;
    Some(())
}
