//! A UDP port that answers from the address that was asked, though it may listen on all there are.
//!
//! A client takes no reply from another address than it asked, and on a machine with several the system would choose the
//! one that leads to the client. So each datagram is read with where it went to, and answered from there.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Longest datagram that is taken, in bytes: the longest isolation ID and name fit in several times.
const MAX_QUERY: usize = 4096;

/// Bytes that the system may hand over at once: it joins datagrams of one client, of the same size.
const MAX_JOINED: usize = 65_536;

/// How many of those are read in one call.
const BATCH: usize = 8;

/// Where a datagram came from, and the address here that it went to, where the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    local: Option<IpAddr>,
}

/// An open port.
#[derive(Debug)]
pub(super) struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// What datagrams are read into; used again and again.
pub(super) struct Buffers {
    bytes: [Box<[u8]>; BATCH],
    metas: [RecvMeta; BATCH],
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            bytes: std::array::from_fn(|_| vec![0; MAX_JOINED].into_boxed_slice()),
            metas: [RecvMeta::default(); BATCH],
        }
    }
}

impl UdpPort {
    /// Opens a port.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::of(UdpSocket::bind(address).await?)
    }

    /// Takes a port that is open already.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub(super) fn of(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }

    /// Returns where it listens.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Reads what is there, some hundred datagrams at most, and hands each over; says how many that were. Longer ones than
    /// [`MAX_QUERY`] are passed over.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when there is nothing, else as the system says.
    pub(super) fn receive(&self, buffers: &mut Buffers, mut take: impl FnMut(&[u8], Route)) -> io::Result<usize> {
        let Buffers { bytes, metas } = buffers;
        let mut slices = bytes.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let count = self.socket.try_io(Interest::READABLE, || {
            self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas)
        })?;
        let mut datagrams = 0;
        for (meta, joined) in metas.iter().zip(bytes.iter()).take(count) {
            let route = Route {
                peer: meta.addr,
                local: meta.dst_ip,
            };
            let joined = joined.get(..meta.len).unwrap_or_default();
            for datagram in joined.chunks(meta.stride.max(1)) {
                datagrams += 1;
                if datagram.len() <= MAX_QUERY {
                    take(datagram, route);
                }
            }
        }
        Ok(datagrams)
    }

    /// Sends a reply if the system has room for it; else it is lost, as any datagram may be.
    pub(super) fn send(&self, bytes: &[u8], route: Route) {
        let transmit = Transmit {
            destination: route.peer,
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: route.local,
        };
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
        });
        if let Err(error) = sent {
            tracing::debug!("a reply could not be sent: {}", error.kind());
        }
    }
}
