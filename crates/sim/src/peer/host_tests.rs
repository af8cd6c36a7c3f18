//! Peers on real sockets of the loopback interface.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::p2p::message_blockdata::Inventory;
use isonym_core::chain::{Height, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::tests::{full, full_headers, getheaders, version, world};
use super::wire::{self, Frame};
use super::{Peer, PeerDesk, PeerFault, PeerHost};
use crate::window::{Plan, WindowFile};
use crate::{Ledger, SharedWorld, SimChain};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { timeout(Duration::from_secs(60), test).await.expect("a test ends") });
}

struct Client(TcpStream);

impl Client {
    async fn open(host: &PeerHost) -> Self {
        let mut client = Self(TcpStream::connect(host.addr).await.unwrap());
        client.say("version", &version(70016)).await;
        client.say("sendheaders", &[]).await;
        client.say("verack", &[]).await;
        while client.hear().await.unwrap().command != "feefilter" {}
        client
    }

    async fn say(&mut self, command: &str, payload: &[u8]) {
        let bytes = wire::message(wire::magic(Network::Regtest), command, payload);
        self.0.write_all(&bytes).await.unwrap();
    }

    /// Returns the next message; `None` at the end.
    async fn hear(&mut self) -> Option<Frame> {
        let mut head = [0; wire::HEAD];
        self.0.read_exact(&mut head).await.ok()?;
        let size = u32::from_le_bytes(*head[16..].first_chunk().unwrap());
        let mut payload = vec![0; size.try_into().unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let command = head[4..16].split(|byte| *byte == 0).next().unwrap();
        Some(Frame {
            command: String::from_utf8(command.to_vec()).unwrap(),
            payload,
        })
    }
}

#[test]
fn a_client_syncs_hears_of_new_blocks_and_is_in_the_ledger() {
    run(async {
        let (shared, ledger) = (SharedWorld::new(world()), Ledger::new());
        let host = PeerHost::start("peer.sim", Peer::default(), shared.clone(), ledger.clone())
            .await
            .unwrap();
        let mut client = Client::open(&host).await;
        let chain = shared.read(Clone::clone);
        let tip = chain.height();
        let genesis = chain.header(0).unwrap().hash();
        client
            .say("getheaders", &getheaders(&[genesis], bitcoin::BlockHash::all_zeros()))
            .await;
        assert_eq!(full_headers(&client.hear().await.unwrap()), full(&chain, 1..=tip));
        let items: Vec<_> = (0..=tip)
            .map(|height| Inventory::WitnessBlock(chain.header(height).unwrap().hash()))
            .collect();
        client.say("getdata", &wire::list(&items)).await;
        for height in 0..=tip {
            assert_eq!(
                client.hear().await.unwrap().payload,
                chain.block(height).unwrap().to_bytes()
            );
        }
        shared.change(|world| world.mine(2));
        let grown = shared.read(Clone::clone);
        assert_eq!(
            full_headers(&client.hear().await.unwrap()),
            full(&grown, tip + 1..=tip + 2)
        );
        shared.change(|world| {
            *world = world.fork_at(tip, 9);
            world.mine(4);
        });
        let forked = shared.read(Clone::clone);
        assert_eq!(
            full_headers(&client.hear().await.unwrap()),
            full(&forked, tip + 1..=tip + 4)
        );

        let [connection] = ledger.connections().try_into().unwrap();
        assert_eq!((connection.server.as_str(), connection.closed), ("peer.sim", false));
        assert_eq!(
            ledger.heights_asked("getdata"),
            [(connection.conn, (0..=tip).collect::<Vec<_>>())]
        );
        assert_eq!(ledger.heights_asked("getheaders"), [(connection.conn, vec![0])]);
        drop(client);
        while !ledger.connections()[0].closed {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_window_is_served_from_its_file() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::short(5, 30);
        let window = Arc::new(WindowFile::open_or_make(&folder.path().join("window"), plan).unwrap());
        let desk = PeerDesk::of_blocks("peer.sim", Peer::default(), window.clone(), Ledger::new());
        let host = PeerHost::open(desk).await.unwrap();
        let mut client = Client::open(&host).await;
        let hash = |height: Height| window.hash(height).unwrap();
        client
            .say("getheaders", &getheaders(&[hash(200)], bitcoin::BlockHash::all_zeros()))
            .await;
        let headers: Vec<_> = (201..=230).map(|height| window.full_header(height).unwrap()).collect();
        assert_eq!(full_headers(&client.hear().await.unwrap()), headers);
        let items: Vec<_> = (201..=230)
            .map(|height| Inventory::WitnessBlock(hash(height)))
            .collect();
        client.say("getdata", &wire::list(&items)).await;
        for height in 201..=230 {
            assert_eq!(client.hear().await.unwrap().payload, window.block(height).unwrap());
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_not_looked_up_everything_for() {
    run(async {
        let (shared, ledger) = (SharedWorld::new(world()), Ledger::new());
        let host = PeerHost::start("peer.sim", Peer::default(), shared.clone(), ledger.clone())
            .await
            .unwrap();
        let mut client = Client::open(&host).await;
        let chain = shared.read(Clone::clone);
        // Some 60 MB in all, of which it must not hold much.
        let largest = (0..=chain.height())
            .max_by_key(|height| chain.block(*height).unwrap().to_bytes().len())
            .unwrap();
        let item = Inventory::WitnessBlock(chain.header(largest).unwrap().hash());
        client.say("getdata", &wire::list(&vec![item; 50_000])).await;
        client.say("ping", &[5; 8]).await;
        let mut count = 0;
        while client.hear().await.unwrap().command == "block" {
            count += 1;
        }
        assert_eq!(count, 50_000);
    });
}

#[test]
fn faults_of_the_way_are_carried_out() {
    run(async {
        let (shared, ledger) = (SharedWorld::new(world()), Ledger::new());
        let host = PeerHost::start("peer.sim", Peer::default(), shared.clone(), ledger.clone())
            .await
            .unwrap();
        let mut client = Client::open(&host).await;
        host.set_fault(Some(PeerFault::HugeMessage));
        let hash = shared.read(SimChain::tip_hash);
        let question = getheaders(&[hash], bitcoin::BlockHash::all_zeros());
        client.say("getheaders", &question).await;
        let mut bytes = vec![0; 10_000_000];
        client.0.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[16..20], [0xff; 4]);
        drop(client);

        host.set_fault(Some(PeerFault::Stalls { after: 1 }));
        let mut client = Client::open(&host).await;
        let item = wire::list(&[Inventory::WitnessBlock(hash)]);
        client.say("getdata", &item).await;
        assert_eq!(client.hear().await.unwrap().command, "block");
        client.say("ping", &[5; 8]).await;
        assert!(timeout(Duration::from_millis(50), client.hear()).await.is_err());
        host.set_fault(None);
        assert_eq!(client.hear().await.unwrap().command, "pong", "what waited is answered");

        client.say("mempool", &[]).await;
        assert_eq!(client.hear().await, None);
    });
}

/// In virtual time, over a stream that is no socket.
#[test]
fn a_slow_peer_sends_as_slowly_as_it_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let shared = SharedWorld::new(world());
        let slow = Peer::default().with_fault(PeerFault::Slow { bytes_per_second: 1000 });
        let desk = PeerDesk::new("peer.sim", slow, shared.clone(), Ledger::new());
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let serving = tokio::spawn(async move { desk.serve(theirs, 1).await });
        let (mut reader, mut writer) = tokio::io::split(ours);
        let magic = wire::magic(Network::Regtest);
        let items: Vec<_> = shared.read(|chain| {
            let hashes = (1..=100).map(|height| chain.header(height).unwrap().hash());
            hashes.map(Inventory::WitnessBlock).collect()
        });
        let bytes = shared.read(|chain| {
            (1..=100)
                .map(|height| 24 + chain.block(height).unwrap().to_bytes().len())
                .sum::<usize>()
        });
        for (command, payload) in [
            ("version", version(70016)),
            ("verack", Vec::new()),
            ("getdata", wire::list(&items)),
        ] {
            writer
                .write_all(&wire::message(magic, command, &payload))
                .await
                .unwrap();
        }
        let begun = tokio::time::Instant::now();
        let mut received = vec![0; bytes];
        reader.read_exact(&mut received).await.unwrap();
        let seconds = begun.elapsed().as_secs();
        let expected = u64::try_from(bytes / 1000).unwrap();
        assert!(
            (expected - 3..=expected + 3).contains(&seconds),
            "{seconds} seconds for {bytes} bytes"
        );
        drop((reader, writer));
        serving.await.unwrap();
    });
}
