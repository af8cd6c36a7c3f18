//! Floods of names and IDs that nobody will ask for again: memory stays bounded.

use std::collections::BTreeSet;

use hickory_proto::op::Message;

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::dns::wire::{Datagrams, Reply, assert_lives, query, query_as, udp};

/// Questions on their way at once, less than one ID's lookups may be.
const WINDOW: usize = 48;

/// By how many bytes the server may grow before it remembers as much as it ever will.
const GROWTH: u64 = 72 << 20;

/// By how many it may grow afterwards.
const CREEP: u64 = 12 << 20;

/// Asks all that is to be asked, so many at once.
async fn flood(client: &Datagrams, range: std::ops::Range<usize>, asked: impl Fn(usize) -> Message) {
    let mut waiting = BTreeSet::new();
    for number in range {
        let mut query = asked(number);
        // No two at once have the same ID.
        query.metadata.id = u16::try_from(number % 65_536).unwrap();
        waiting.insert(query.metadata.id);
        client.send(&query.to_vec().unwrap()).await;
        while waiting.len() >= WINDOW {
            receive(client, &mut waiting).await;
        }
    }
    while !waiting.is_empty() {
        receive(client, &mut waiting).await;
    }
}

async fn receive(client: &Datagrams, waiting: &mut BTreeSet<u16>) {
    let reply = Reply::read(&client.receive().await);
    assert!(["NOERROR", "NXDOMAIN"].contains(&reply.code().as_str()), "{reply:?}");
    assert!(waiting.remove(&reply.message.metadata.id));
}

/// Asks so many questions, half of which are more than can be remembered.
async fn stays_bounded(backend: &Backend, questions: usize, asked: impl Fn(usize) -> Message) {
    let dns = Dns::start(backend, &[]).await;
    udp(dns.address, &query("first.bit", "A")).await;
    let client = Datagrams::open(dns.address).await;
    let before = dns.resident();
    flood(&client, 0..questions / 2, &asked).await;
    let full = dns.resident();
    flood(&client, questions / 2..questions, &asked).await;
    let (grown, crept) = (full.saturating_sub(before), dns.resident().saturating_sub(full));
    eprintln!("{questions} questions: from {before} by {grown}, then by {crept} bytes");
    assert!(grown < GROWTH, "grew by {grown} bytes");
    assert!(crept < CREEP, "crept by {crept} bytes");
    assert_lives(dns.address).await;
    dns.stop().await;
}

#[tokio::test]
async fn of_names_that_do_not_exist_and_ids() {
    /// Twice as many names as are remembered at most, and a few.
    const QUESTIONS: usize = 44_000;
    let _turn = crate::turn().await;
    let backend = Backend::start().await;
    let asked = |number: usize| query_as(format!("marker-of-the-id-{number}"), &format!("n{number}.bit"), "A");
    stays_bounded(&backend, QUESTIONS, asked).await;
    assert_eq!(backend.count(), QUESTIONS + 1);
}

#[tokio::test]
async fn of_ids_that_ask_for_a_name_with_much_in_it() {
    /// More than twice as many as fit into the bytes that are remembered at most.
    const QUESTIONS: usize = 8_000;
    let _turn = crate::turn().await;
    let backend = Backend::start().await;
    let addresses: Vec<String> = (0..40).map(|number| format!("10.0.0.{number}")).collect();
    backend.say("d/x", Says::value(&serde_json::json!({ "ip": addresses })));
    let id = |number: usize| format!("{number:0>200}");
    stays_bounded(&backend, QUESTIONS, |number| query_as(id(number), "x.bit", "AAAA")).await;
    assert_eq!(backend.count(), QUESTIONS + 1);
}
