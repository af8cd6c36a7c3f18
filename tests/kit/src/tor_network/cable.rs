//! The cable between a client and the relays that it begins with, which can be pulled out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::loopback::own_address;

/// Where relays are reached while it is in. While it is out nobody can connect, and nothing passes on what is open.
pub struct Cable {
    address: IpAddr,
    is_in: Arc<watch::Sender<bool>>,
    _lines: JoinSet<()>,
}

impl Cable {
    /// Lays one to each of these ports of this machine, at the same port of an address of its own. It falls out by itself once
    /// it has carried so many bytes from the relays.
    pub fn lay(ports: &[u16], carries: u64) -> Self {
        let address = IpAddr::from(own_address());
        let is_in = Arc::new(watch::Sender::new(carries > 0));
        let left = Arc::new(AtomicU64::new(carries));
        let lines = ports.iter().map(|port| {
            let at = SocketAddr::new(address, *port);
            line(at, *port, Arc::clone(&is_in), Arc::clone(&left))
        });
        Self {
            address,
            _lines: lines.collect(),
            is_in,
        }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn is_in(&self) -> bool {
        *self.is_in.borrow()
    }

    /// Puts it in again, where it stays.
    pub fn plug(&self) {
        self.is_in.send_replace(true);
    }
}

/// Carries what comes for one relay.
async fn line(at: SocketAddr, port: u16, is_in: Arc<watch::Sender<bool>>, left: Arc<AtomicU64>) {
    let mut watched = is_in.subscribe();
    let mut streams = JoinSet::new();
    loop {
        watched.wait_for(|is_in| *is_in).await.unwrap();
        let listener = TcpListener::bind(at).await.unwrap();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                _ = watched.wait_for(|is_in| !*is_in) => break,
            };
            let relay = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            let ((from_client, to_client), (from_relay, to_relay)) = (stream.into_split(), relay.into_split());
            streams.spawn(carry(from_client, to_relay, is_in.subscribe(), |_| {}));
            let (left, is_in) = (Arc::clone(&left), Arc::clone(&is_in));
            let watched = is_in.subscribe();
            streams.spawn(carry(from_relay, to_client, watched, move |bytes| {
                let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    Some(left.saturating_sub(bytes))
                });
                if before.is_ok_and(|before| before > 0 && before <= bytes) {
                    is_in.send_replace(false);
                }
            }));
        }
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_in: watch::Receiver<bool>,
    carried: impl Fn(u64),
) {
    let mut bytes = [0; 512];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let passes = is_in.wait_for(|is_in| *is_in).await.is_ok();
        if !passes || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
        carried(u64::try_from(length).unwrap());
    }
}
