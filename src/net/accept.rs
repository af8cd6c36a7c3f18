//! Accepts connections, no more than there is room for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Most connections of one kind, however many files may be open.
pub const MOST_CONNECTIONS: usize = 1024;

/// Connections that there is room for even where there is none to spare.
pub const LEAST_CONNECTIONS: usize = 8;

/// Open files that are left to the rest of the process at least: its store, and connections to as many servers as one
/// lookup may need while headers are synchronised.
const OTHER_FILES: u64 = 128;

/// Where strangers' connections come in, all doors of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenTo {
    /// JSON-RPC: a port, and a socket in the data folder.
    pub rpc: bool,
    /// DNS over TCP.
    pub dns: bool,
    /// SOCKS: a connection may need one more to Tor.
    pub socks: bool,
}

impl OpenTo {
    /// Returns how many files one more connection at every door takes.
    fn files(self) -> u64 {
        2 * u64::from(self.rpc) + u64::from(self.dns) + 2 * u64::from(self.socks)
    }

    /// Returns how many connections there may be at each door, in a process that may have `files` open at once. Together
    /// they get half of them at most: without the others no answer could be found for anybody.
    pub fn connections_within(self, files: u64) -> usize {
        let spare = files.saturating_sub(OTHER_FILES.max(files / 2)) / self.files().max(1);
        let spare = usize::try_from(spare).unwrap_or(usize::MAX);
        // One more than there is room for waits at each door for somebody to leave.
        spare.saturating_sub(1).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
    }
}

/// How long to wait after a connection could not be accepted: out of file descriptors, most likely, and trying again at
/// once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub trait Door: Sync {
    /// A connection.
    type Stream: Send;
    /// Whom it is from.
    type Peer: Send;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Accepts the next connection, whoever it is from; `None` where that failed, which may pass.
pub async fn accept<D: Door>(listener: &D) -> Option<(D::Stream, D::Peer)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!("cannot accept a connection: {error}");
            sleep(PAUSE).await;
            None
        }
    }
}

/// Room for the connections of one kind. Where all places are taken, one more caller takes that of the one who has said
/// nothing for longest: whoever connects and is silent keeps nobody out.
#[derive(Debug)]
pub struct Room {
    /// One more than there are: who takes the last one shows that somebody waits.
    places: Arc<Semaphore>,
    silent: Mutex<Silent>,
}

/// Those who are silent, by the order in which they fell silent.
#[derive(Debug, Default)]
struct Silent {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

impl Silent {
    /// Tells whoever has been silent for longest to go.
    fn tell(&mut self) {
        if let Some((_, seat)) = self.seats.pop_first() {
            seat.is_told.store(true, Ordering::Relaxed);
            seat.told.notify_one();
        }
    }
}

/// What a place and the [`Notice`] of it share. Both are used by one task alone.
#[derive(Debug, Default)]
struct Seat {
    told: Notify,
    is_told: AtomicBool,
}

/// A connection's place, free again when it is dropped. At first its caller is taken for silent.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    seat: Arc<Seat>,
    /// Its number among the silent.
    silent: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

/// Tells a connection that it has to go.
#[derive(Debug)]
pub struct Notice(Arc<Seat>);

impl Notice {
    /// Waits until another caller has taken the place. To be polled after whatever reads from the connection: who has
    /// spoken by then stays, and somebody else goes instead.
    pub async fn given(&self) {
        loop {
            self.0.told.notified().await;
            if self.0.is_told.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl Room {
    /// Makes room for so many connections, at least one.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS - 1) + 1)),
            silent: Mutex::default(),
        })
    }

    /// Accepts the next connection once there is a place for it; `None` once there will be no more places.
    pub async fn accept<D: Door>(self: &Arc<Self>, listener: &D) -> Option<(D::Stream, D::Peer, Place)> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            if let Some((stream, peer)) = accept(listener).await {
                return Some((stream, peer, self.enter(permit)));
            }
        }
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        if self.places.available_permits() == 0 {
            self.silent().tell();
        }
        let mut place = Place {
            room: Arc::clone(self),
            seat: Arc::default(),
            silent: None,
            _permit: permit,
        };
        place.falls_silent();
        place
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes that the caller has said what it wants: it keeps its place, even where it was told to go a moment ago.
    pub fn speaks(&mut self) {
        let Some(number) = self.silent.take() else { return };
        let mut silent = self.room.silent();
        if silent.seats.remove(&number).is_none() {
            self.seat.is_told.store(false, Ordering::Relaxed);
            if self.room.places.available_permits() == 0 {
                silent.tell();
            }
        }
    }

    /// Notes that the caller has all that it wanted, and may go when others want its place.
    pub fn falls_silent(&mut self) {
        self.speaks();
        let mut silent = self.room.silent();
        let number = silent.next;
        silent.next += 1;
        silent.seats.insert(number, Arc::clone(&self.seat));
        drop(silent);
        self.silent = Some(number);
    }

    /// Returns what tells when another caller has taken the place.
    pub fn notice(&self) -> Notice {
        Notice(Arc::clone(&self.seat))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(number) = self.silent.take() {
            self.room.silent().seats.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: OpenTo = OpenTo {
        rpc: true,
        dns: true,
        socks: true,
    };

    #[test]
    fn strangers_get_half_of_the_files_at_most() {
        let rpc = OpenTo {
            rpc: true,
            ..OpenTo::default()
        };
        for (files, open_to, connections) in [
            (0, rpc, LEAST_CONNECTIONS),
            (64, ALL, LEAST_CONNECTIONS),
            (257, rpc, 63),
            (200, rpc, 35),
            (200, ALL, 13),
            (1024, rpc, 255),
            (1024, ALL, 101),
            (4096, rpc, 1023),
            (u64::MAX, ALL, MOST_CONNECTIONS),
        ] {
            assert_eq!(open_to.connections_within(files), connections, "{files} {open_to:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn all_open_to_together_leave_the_rest_of_the_process_its_files(
            files in 0..5000_u64,
            [rpc, dns, socks] in proptest::array::uniform3(proptest::bool::ANY),
        ) {
            let open_to = OpenTo { rpc, dns, socks };
            let connections = open_to.connections_within(files);
            // One more at each door may wait for a place.
            let taken = (u64::try_from(connections).unwrap() + 1) * open_to.files();
            let left = files.saturating_sub(taken);
            let is_least = connections == LEAST_CONNECTIONS;
            proptest::prop_assert!(is_least || left >= OTHER_FILES.max(files / 2), "{} {:?}: {}", files, open_to, left);
        }
    }

    async fn connect(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    }

    /// Says whether somebody was told to go.
    async fn was_told(place: &Place) -> bool {
        let notice = place.notice();
        tokio::time::timeout(Duration::from_millis(1), notice.given())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn who_is_silent_longest_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let room = Room::new(3);
        let (mut streams, mut places) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            streams.push(connect(&listener).await);
            places.push(room.accept(&listener).await.unwrap().2);
        }
        places[0].speaks();
        places[1].speaks();
        places[1].falls_silent();
        for place in &places {
            assert!(!was_told(place).await, "there is room");
        }
        streams.push(connect(&listener).await);
        let mut late = room.accept(&listener).await.unwrap().2;
        assert!(was_told(&places[2]).await, "it has been silent for longest");
        assert!(!was_told(&places[0]).await && !was_told(&places[1]).await);
        // Nobody else is let in before that one has gone.
        streams.push(connect(&listener).await);
        let next = room.accept(&listener);
        let next = tokio::time::timeout(Duration::from_millis(1), next).await;
        assert!(next.is_err());
        places.pop();
        let next = room.accept(&listener).await.unwrap().2;
        assert!(was_told(&places[1]).await);
        places.pop();
        // All have something to do: there is one place more, and no further one.
        late.speaks();
        drop(next);
        let mut busy = Vec::new();
        for _ in 0..2 {
            streams.push(connect(&listener).await);
            let mut place = room.accept(&listener).await.unwrap().2;
            place.speaks();
            busy.push(place);
        }
        streams.push(connect(&listener).await);
        let further = tokio::time::timeout(Duration::from_millis(1), room.accept(&listener)).await;
        assert!(further.is_err());
        assert!(!was_told(&places[0]).await && !was_told(&late).await);
    }

    #[tokio::test]
    async fn who_speaks_in_time_stays_and_another_one_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let room = Room::new(2);
        let (mut streams, mut places) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            streams.push(connect(&listener).await);
            places.push(room.accept(&listener).await.unwrap().2);
        }
        // The first one is told to go, and speaks before it hears of that.
        let notice = places[0].notice();
        places[0].speaks();
        let heard = tokio::time::timeout(Duration::from_millis(1), notice.given());
        assert!(heard.await.is_err());
        assert!(was_told(&places[1]).await, "it goes instead");
        // Silent again, it is the next one after the third.
        places[0].falls_silent();
        places.remove(1);
        streams.push(connect(&listener).await);
        places.push(room.accept(&listener).await.unwrap().2);
        assert!(was_told(&places[1]).await);
        assert!(!was_told(&places[0]).await);
    }

    proptest::proptest! {
        #[test]
        fn nobody_who_speaks_is_told_to_go(steps in proptest::collection::vec((0..4_u8, 0..12_usize), 0..120)) {
            let room = Room::new(4);
            let mut places: Vec<(Place, bool)> = Vec::new();
            for (step, at) in steps {
                match step {
                    0 => {
                        if let Ok(permit) = Arc::clone(&room.places).try_acquire_owned() {
                            places.push((room.enter(permit), false));
                        }
                    }
                    1 if at < places.len() => {
                        places.remove(at);
                    }
                    2 if at < places.len() => {
                        places[at].0.speaks();
                        places[at].1 = true;
                    }
                    3 if at < places.len() => {
                        places[at].0.falls_silent();
                        places[at].1 = false;
                    }
                    _ => {}
                }
                let is_told = |place: &Place| place.seat.is_told.load(Ordering::Relaxed);
                for (place, speaks) in &places {
                    proptest::prop_assert!(!(is_told(place) && *speaks));
                    let waits = place.silent.is_some_and(|number| room.silent().seats.contains_key(&number));
                    proptest::prop_assert_eq!(waits, !speaks && !is_told(place));
                }
            }
        }
    }
}
