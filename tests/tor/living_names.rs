//! Names that are kept locally, behind a real Tor: blocks come over circuits that nothing else is on, and a lookup makes no stream
//! at all.

use isonym_sim::{Host, Ledger, Peer, PeerHost};
use isonym_testkit::harness::until;
use isonym_testkit::tor_network::names::{name, value, world};
use serde_json::json;

use crate::assert_apart;
use crate::daemon::Daemon;
use crate::network::{beside_others, network};

/// How many IDs look names up.
const IDS: usize = 20;

#[tokio::test]
async fn peers_are_on_circuits_of_their_own_and_a_lookup_on_none() {
    let _beside = beside_others().await;
    let network = network();
    let tor = network.client("living-names");
    let record = tor.record();
    let (ledger, world) = (Ledger::new(), world(IDS));
    let server = Host::honest("server", world.clone(), ledger.clone()).await.unwrap();
    let mut peers = Vec::new();
    for number in 0..2 {
        let peer = Peer::default();
        let started = PeerHost::start(&format!("peer-{number}"), peer, world.clone(), ledger.clone()).await;
        peers.push(started.unwrap());
    }
    // One by an exit, one as an onion service.
    let onion = network.onion_service(18445, peers[1].addr);
    let hidden = format!("{}:18445", onion.host);
    let arguments = [
        "--names=local".to_owned(),
        format!("--peer={}", peers[0].addr),
        format!("--peer={hidden}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&tor, &[server.addr.to_string()], &arguments).await;
    until("all living names are there, by both peers", async || {
        let status = daemon.call("status", &[]).await.ok()?;
        let names = &status["names"];
        (names["complete"] == json!(true) && names["peers"] == json!(2)).then_some(())
    })
    .await;
    let met = ledger.connections().len();
    for id in 0..IDS {
        for number in 0..2 {
            let shown = daemon.shows(&name(id, number), &format!("marker-of-{id}")).await;
            assert_eq!(shown.unwrap(), value(id, number));
        }
        let absent = daemon.shows("d/never-registered", &format!("marker-of-{id}")).await;
        assert!(absent.unwrap_err().to_string().contains("proved"));
    }
    assert_eq!(ledger.connections().len(), met, "nobody was connected to for a lookup");
    assert!(ledger.requests_of("blockchain.scripthash.get_history").is_empty());
    assert_apart(&record);
    for target in [peers[0].addr.to_string(), hidden] {
        let streams = record.streams_to(&target);
        assert!(streams.iter().any(|stream| stream.succeeded), "{target}: {streams:?}");
    }
    network.assert_no_leak();
}
