//! The first question of an own connection goes out along with the greeting, before anybody knows what the server is: each
//! release answers it all the same, no later than the greeting.

use std::time::Duration;

use isonym_sim::tape::Stream;

use super::requests::{Requests, asks_both_ways, given, went_out};
use isonym_testkit::electrumx::blocks;
use isonym_testkit::electrumx::client::Expected;
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::recorded::recorded;
use isonym_testkit::electrumx::scene::{Scene, ask, settings};
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};
use isonym_testkit::electrumx::trips::trips;

/// How long each way through the proxy takes: longer than a client takes to say what it has to say.
const ONE_WAY: Duration = Duration::from_millis(150);

/// IDs that ask. The quickest one counts, as 2.0.0 may put replies off to even out its packets.
const IDS: usize = 4;

fn the_first_answer_comes_with_the_greetings(release: Release) {
    let blocks = blocks::recorded();
    let core = CoreRpc::start(&blocks);
    let server = ElectrumX::start(release, &core, blocks.len() - 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        for transport in [Transport::Tcp, Transport::Tls] {
            assert_first_answers_come_with_the_greetings(&server, release, transport).await;
        }
    });
}

async fn assert_first_answers_come_with_the_greetings(server: &ElectrumX, release: Release, transport: Transport) {
    let has_proofs = release != Release::V1_16;
    let scene = Scene::new(server, transport).await;
    let all = recorded().into_iter();
    let mut found = all.filter(|name| matches!(name.show, Expected::Found(_)));
    let mut took = Vec::new();
    scene
        .run(&settings(0, Duration::ZERO), async |daemon| {
            scene.proxy.set_delay(ONE_WAY);
            let before = scene.tape.read(<[Stream]>::len);
            for at in 0..IDS {
                let id = format!("id-{at}");
                let [first, next] = [found.next().unwrap(), found.next().unwrap()];
                let from = scene.tape.mark();
                for (name, is_first) in [(first, true), (next, false)] {
                    let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(&name.hex).unwrap();
                    assert_eq!(ask(&daemon, &bytes, &id).await, name.show, "{}", name.hex);
                    if is_first {
                        let by = scene.tape.mark();
                        took.push(scene.tape.read(|streams| trips(&streams[before + at..], from, by)));
                    }
                }
                let opened = scene.tape.read(<[Stream]>::len) - before;
                assert_eq!(opened, at + 1, "each ID has one connection of its own");
            }
            let streams = scene.tape.read(|streams| streams[before..].to_vec());
            if transport == Transport::Tcp {
                for stream in &streams {
                    assert_asks_at_once(stream, has_proofs);
                }
            }
        })
        .await;
    scene.proxy.set_delay(Duration::ZERO);
    // To the server; TLS; the greeting with the question. Where there are no proofs, the transactions.
    let due = 1 + usize::from(transport == Transport::Tls) + 1 + usize::from(!has_proofs);
    assert_eq!(took.iter().min(), Some(&due), "{release:?}, {transport:?}: {took:?}");
}

/// The first question is put in both ways, without waiting for anything; the next one in the way that the server can.
fn assert_asks_at_once(stream: &Stream, has_proofs: bool) {
    let requests = Requests::of(stream);
    let first = &requests.flights[0];
    assert!(asks_both_ways(first), "{first:?}");
    let heard = given(stream, went_out(stream, first));
    assert!(heard.is_empty(), "waited for {}", String::from_utf8_lossy(&heard));
    let of_names = |method: &&str| !method.starts_with("blockchain.transaction");
    let later = requests.flights[1..]
        .iter()
        .flatten()
        .map(|asked| asked.method.as_str());
    let later: Vec<_> = later.filter(of_names).collect();
    let due = if has_proofs {
        "blockchain.name.get_value_proof"
    } else {
        "blockchain.scripthash.get_history"
    };
    assert_eq!(later, [due]);
}

#[test]
fn the_first_answer_of_1_16_0_comes_with_the_greetings() {
    the_first_answer_comes_with_the_greetings(Release::V1_16);
}

#[test]
fn the_first_answer_of_1_17_0_comes_with_the_greetings() {
    the_first_answer_comes_with_the_greetings(Release::V1_17);
}

#[test]
fn the_first_answer_of_1_18_0_comes_with_the_greetings() {
    the_first_answer_comes_with_the_greetings(Release::V1_18);
}

#[test]
fn the_first_answer_of_2_0_0_comes_with_the_greetings() {
    the_first_answer_comes_with_the_greetings(Release::V2_0);
}
