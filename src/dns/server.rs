//! Listens for queries over UDP and TCP.
//!
//! hickory-net frames TCP and hickory-proto reads and writes messages. hickory-server's own loop is not used: it has no
//! bound on connections or on queries that wait, starts a task for each query, and logs the names that are asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hickory_net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_net::tcp::TcpStream as DnsStream;
use hickory_net::{BufDnsStreamHandle, DnsStreamHandle as _};
use hickory_proto::op::{ResponseCode, SerialMessage};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::engine::{ExtendedError, Reply};
use super::message::{self, Incoming, Query, Transport};
use super::resolver::Resolver;
use super::udp::{Buffers, Route, UdpPort};
use crate::net::accept::{Place, Room};
use crate::service::places::Places;
use crate::service::tally::Tally;

/// Bounds and waits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queries over UDP that wait for lookups at once; more get SERVFAIL. A client that is told from others by its address
    /// has a quarter of them at most, and likewise of the connections.
    pub waiting: usize,
    /// TCP connections open at once; one more takes the place of the one that has asked nothing for longest.
    pub connections: usize,
    /// Queries over one TCP connection that wait for lookups at once; more get SERVFAIL.
    pub waiting_of_connection: usize,
    /// How long a TCP connection may take for its next whole query.
    pub idle: Duration,
    /// Whether isolation IDs are given back in answers, as ncdns does.
    pub echo_id: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 2048,
            connections: 256,
            waiting_of_connection: 32,
            idle: Duration::from_secs(10),
            echo_id: false,
        }
    }
}

/// Queries that are read from a socket before others have their turn.
const BURST: usize = 64;

/// The share of one client: so many of them may ask for all that they can get before a further one feels it.
const PARTS: usize = 4;

/// Where to listen for queries.
#[derive(Debug)]
pub struct Socket {
    udp: Option<UdpPort>,
    tcp: Option<TcpListener>,
}

impl Socket {
    /// Opens a UDP and a TCP port of the same number.
    ///
    /// # Errors
    ///
    /// As the system says. Port 0 is any that is free for both.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        /// Tries to find a port that is free for both, where any will do.
        const TRIES: usize = 16;
        let mut tries = if address.port() == 0 { TRIES } else { 1 };
        loop {
            let udp = UdpPort::bind(address).await?;
            tries -= 1;
            match TcpListener::bind(udp.address()?).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                tcp => {
                    return Ok(Self {
                        udp: Some(udp),
                        tcp: Some(tcp?),
                    });
                }
            }
        }
    }

    /// Takes a UDP port that is open already.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn of_udp(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            udp: Some(UdpPort::of(UdpSocket::from_std(socket)?)?),
            tcp: None,
        })
    }

    /// Takes a TCP port that is open already.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn of_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            udp: None,
            tcp: Some(TcpListener::from_std(listener)?),
        })
    }

    /// Returns where it listens.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match (&self.udp, &self.tcp) {
            (Some(udp), _) => udp.address(),
            (None, Some(tcp)) => tcp.local_addr(),
            (None, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

/// Serves queries until `stop` is ready.
pub async fn serve(sockets: Vec<Socket>, resolver: Arc<Resolver>, limits: Limits, stop: impl Future<Output = ()>) {
    let front = Front {
        tally: resolver.tally(),
        resolver,
        limits,
        waiting: Places::new(limits.waiting, limits.waiting.div_ceil(PARTS)),
        places: Room::new(limits.connections),
        connected: Places::new(limits.connections.saturating_add(1), limits.connections.div_ceil(PARTS)),
    };
    let mut listening = JoinSet::new();
    for Socket { udp, tcp } in sockets {
        if let Some(udp) = udp {
            listening.spawn(front.clone().datagrams(Arc::new(udp)));
        }
        if let Some(tcp) = tcp {
            listening.spawn(front.clone().connections(tcp));
        }
    }
    // What they started ends with them: dropping a set ends its tasks.
    stop.await;
}

/// What all sockets share.
#[derive(Clone)]
struct Front {
    tally: Arc<Tally>,
    resolver: Arc<Resolver>,
    limits: Limits,
    /// Places for queries over UDP that wait.
    waiting: Arc<Places>,
    /// Places for TCP connections.
    places: Arc<Room>,
    /// Whose they are; one more than there are may be on its way out.
    connected: Arc<Places>,
}

impl Front {
    async fn datagrams(self, port: Arc<UdpPort>) {
        let mut buffers = Buffers::new();
        let mut waiting = JoinSet::new();
        loop {
            if let Err(error) = port.readable().await {
                tracing::warn!("cannot receive queries: {error}");
                sleep(Duration::from_millis(100)).await;
            }
            let mut burst = 0;
            while burst < BURST {
                let take = |bytes: &[u8], route| self.datagram(&port, bytes, route, &mut waiting);
                match port.receive(&mut buffers, take) {
                    Ok(count) => burst += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        tracing::debug!("a query could not be received: {error}");
                        break;
                    }
                }
            }
            while waiting.try_join_next().is_some() {}
            if burst >= BURST {
                yield_now().await;
            }
        }
    }

    fn datagram(&self, port: &Arc<UdpPort>, bytes: &[u8], route: Route, waiting: &mut JoinSet<()>) {
        let peer = route.peer;
        // Nobody can be there: it was made up to make us send.
        if peer.port() == 0 {
            return;
        }
        let send = |bytes: &[u8]| {
            self.tally.dns_response(bytes);
            port.send(bytes, route);
        };
        if let Some(reply) = self.resolver.repeated(bytes, peer) {
            return send(&reply);
        }
        let query = match message::read(bytes) {
            Incoming::Ignored => return,
            Incoming::Refused(reply) => return send(&reply),
            Incoming::Query(query) => query,
        };
        let identity = self.resolver.identity(&query, peer);
        if let Some(reply) = self.resolver.answer_at_once(&query, &identity) {
            let reply = self.written(&query, &reply, Transport::Udp);
            self.resolver.note_reply(bytes, peer, &reply);
            return send(&reply);
        }
        let Ok(place) = self.waiting.take(identity.client()) else {
            return send(&self.written(&query, &busy(), Transport::Udp));
        };
        let (front, port) = (self.clone(), Arc::clone(port));
        waiting.spawn(async move {
            let reply = front.resolver.answer(&query, &identity).await;
            drop(place);
            let reply = front.written(&query, &reply, Transport::Udp);
            front.tally.dns_response(&reply);
            port.send(&reply, route);
        });
    }

    async fn connections(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Some((stream, peer, place)) = self.places.accept(&listener).await {
            while connections.try_join_next().is_some() {}
            let Ok(share) = self.connected.take(self.resolver.client(peer)) else {
                continue;
            };
            let front = self.clone();
            connections.spawn(async move {
                front.connection(stream, peer, place).await;
                drop(share);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, mut place: Place) {
        let notice = place.notice();
        let _ = stream.set_nodelay(true);
        let places = self.limits.waiting_of_connection.saturating_mul(2);
        let (stream, mut replies) = DnsStream::from_stream_with_buffer_size(AsyncIoTokioAsStd(stream), peer, places);
        let mut stream = pin!(stream);
        let mut waiting = JoinSet::new();
        loop {
            // Polled for replies to go out as well as for queries to come in.
            let next = tokio::select! {
                biased;
                next = timeout(self.limits.idle, stream.next()) => next,
                Some(_) = waiting.join_next() => {
                    if waiting.is_empty() {
                        place.falls_silent();
                    }
                    continue;
                }
                () = notice.given() => return,
            };
            match next {
                Ok(Some(Ok(query))) => {
                    place.falls_silent();
                    self.segment(query.bytes(), peer, &mut replies, &mut waiting);
                    if !waiting.is_empty() {
                        place.speaks();
                    }
                }
                Ok(Some(Err(_))) => return,
                Ok(None) => break,
                Err(_) if waiting.is_empty() => return,
                // It waits for us.
                Err(_) => {}
            }
        }
        // Nothing more is asked, but answers may still be waited for.
        while waiting.join_next().await.is_some() {
            let Ok(None) = timeout(self.limits.idle, stream.next()).await else {
                return;
            };
        }
    }

    fn segment(&self, bytes: &[u8], peer: SocketAddr, replies: &mut BufDnsStreamHandle, waiting: &mut JoinSet<()>) {
        let tally = Arc::clone(&self.tally);
        let send = move |replies: &mut BufDnsStreamHandle, bytes: Vec<u8>| {
            tally.dns_response(&bytes);
            // Who asks for more than he reads loses replies.
            let _ = replies.send(SerialMessage::new(bytes, peer));
        };
        let query = match message::read(bytes) {
            Incoming::Ignored => return,
            Incoming::Refused(reply) => return send(replies, reply),
            Incoming::Query(query) => query,
        };
        let identity = self.resolver.identity(&query, peer);
        if let Some(reply) = self.resolver.answer_at_once(&query, &identity) {
            return send(replies, self.written(&query, &reply, Transport::Tcp));
        }
        if waiting.len() >= self.limits.waiting_of_connection {
            return send(replies, self.written(&query, &busy(), Transport::Tcp));
        }
        let (front, mut replies) = (self.clone(), replies.clone());
        waiting.spawn(async move {
            let reply = front.resolver.answer(&query, &identity).await;
            send(&mut replies, front.written(&query, &reply, Transport::Tcp));
        });
    }

    fn written(&self, query: &Query, reply: &Reply, transport: Transport) -> Vec<u8> {
        message::write(query, reply, transport, self.limits.echo_id)
    }
}

fn busy() -> Reply {
    Reply::noted(ResponseCode::ServFail, ExtendedError::Busy)
}
