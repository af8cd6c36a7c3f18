//! A chain as long as half of mainnet's since the anchor, with headers as big, behind servers with ElectrumX's own limits:
//! a client that takes no care is cut off by them at the sixteenth request.

use std::time::{Duration, Instant};

use isonym::chain::FullHeader;
use isonym::time::Timestamp;
use isonym_sim::{AddressKind, World};

use isonym_testkit::electrumx::client::{Client, hex};
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};

const HEIGHT: u32 = 20_000;
const NAME: &str = "d/long";
const VALUE: &str = "value at the end of a long chain";

/// What a session's end for its cost looks like in the log.
const CUT: &str = "closing session over res usage";

/// Looks the name up with a fresh data folder; returns how many headers were not proved, and how long it took.
fn look_up(servers: &[&ElectrumX], options: &[&str]) -> (u64, Duration) {
    let started = Instant::now();
    let client = Client::new(servers.iter().map(|server| server.server(Transport::Tcp))).with(options);
    let shown = client.ask("name_show", &hex(NAME)).unwrap();
    assert_eq!(shown["value"], hex(VALUE));
    let took = started.elapsed();
    let status = client.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["height"], HEIGHT);
    let level = if status["headers_unproved"] == 0 {
        "full"
    } else {
        "sampled"
    };
    assert_eq!(shown["verified"]["headers"], level);
    (status["headers_unproved"].as_u64().unwrap(), took)
}

#[test]
fn a_long_chain_comes_within_the_limits_of_real_servers() {
    let world = World::long(
        1,
        HEIGHT,
        Timestamp(1_700_000_000),
        &[(NAME, VALUE, AddressKind::P2wpkh)],
    )
    .unwrap();
    let chain = world.chain();
    let bytes: usize = (0..=HEIGHT)
        .map(|height| chain.full_header(height).unwrap().len())
        .sum();
    let average = bytes / HEIGHT as usize;
    assert!(
        (1100..1600).contains(&average),
        "headers of {average} bytes are not those of mainnet"
    );
    assert!(
        FullHeader::decode(chain.full_header(HEIGHT).unwrap())
            .unwrap()
            .0
            .auxpow
            .is_some()
    );
    let blocks: Vec<Vec<u8>> = (0..=HEIGHT)
        .map(|height| chain.block(height).unwrap().to_bytes())
        .collect();
    let core = CoreRpc::start(&blocks);
    drop(world);
    let started = Instant::now();
    let right = ElectrumX::start(Release::V1_17, &core, HEIGHT as usize);
    let wrong = ElectrumX::start(Release::V2_0, &core, HEIGHT as usize);
    eprintln!(
        "indexed {HEIGHT} blocks with headers of {average} bytes in {:?}",
        started.elapsed()
    );

    let sampled = |unproved: u64| unproved > u64::from(HEIGHT) / 2;
    for (what, servers, options, is_sampled) in [
        ("1.17.0, sampled", &[&right][..], &[][..], true),
        ("1.17.0 and 2.0.0, sampled", &[&right, &wrong], &[], true),
        // It cuts arrays of headers wrongly, so all of them come full.
        ("2.0.0, sampled", &[&wrong], &[], false),
        ("1.17.0, full", &[&right], &["--verification=full"], false),
        (
            "2.0.0, full",
            &[&wrong],
            &["--verification=full", "--sync-connections=1"],
            false,
        ),
    ] {
        let (unproved, took) = look_up(servers, options);
        eprintln!("{what}: {took:?}, {unproved} headers not proved themselves");
        assert_eq!(sampled(unproved), is_sampled, "{what}: {unproved}");
        for server in servers {
            assert!(!server.logged(CUT), "{what}: {}", server.log_tail());
        }
    }
}
