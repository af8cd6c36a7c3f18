//! Chains of our own simulator behind real servers, compared with what the simulator did. Needs no recorded chain.

use isonym::time::Timestamp;
use isonym_sim::{AddressKind, AuxPowKind, Work, World};

use super::story::{LIFE, Story};
use isonym_testkit::electrumx::client::{Client, Expected, in_two_parts};
use isonym_testkit::electrumx::core_rpc::CoreRpc;
use isonym_testkit::electrumx::server::{ElectrumX, Release, Transport};

/// Names that move through all address kinds, several in a block and one twice in a block; names that expire, are
/// registered anew, are about to expire, are young.
fn tell() -> Story {
    let mut story = Story::in_world(World::new(11, Timestamp(1_700_000_000)));
    let named = |name: &[u8], value: &[u8], kind| (name.to_vec(), value.to_vec(), kind);
    let kinds = AddressKind::ALL;
    let moving = |kind| format!("d/moving-{kind:?}").into_bytes();
    let mut first: Vec<_> = kinds.map(|kind| (moving(kind), b"{}".to_vec(), kind)).to_vec();
    first.push(named(b"d/expired", b"gone", AddressKind::P2pkh));
    first.push(named(b"d/again", b"before", AddressKind::P2wsh));
    first.push(named(b"", b"", AddressKind::P2pkh));
    first.push(named(&[0xff, 0x00, 0x80], &[0x00, 0xfe], AddressKind::P2wpkh));
    story.register(&first);
    for (turn, work) in (0..kinds.len()).zip(AuxPowKind::ALL.into_iter().cycle()) {
        for (at, kind) in kinds.into_iter().enumerate() {
            let to = kinds[(at + turn + 1) % kinds.len()];
            story.queue_update(&moving(kind), format!("turn {turn}").as_bytes(), to);
        }
        story.world.mine_with(Work::AuxPow(work));
    }
    story.world.mine(LIFE);
    let again: Vec<_> = kinds.map(|kind| (moving(kind), b"anew".to_vec(), kind)).to_vec();
    story.register(&again);
    story.register(&[
        named(b"d/again", b"after", AddressKind::P2shP2wpkh),
        named(&[b'n'; 255], &[b'v'; 520], AddressKind::P2sh),
        named(b"d/semi-expired", b"soon", AddressKind::P2pkh),
        named(b"d/late", b"renewed", AddressKind::P2pkh),
    ]);
    story.register(&[named(b"d/stays", b"as it is", AddressKind::P2wsh)]);
    for (turn, kind) in kinds.into_iter().enumerate() {
        for held in kinds {
            story.queue_update(&moving(held), format!("anew {turn}").as_bytes(), kind);
        }
        story.queue_update(b"d/again", b"first in the block", AddressKind::P2wpkh);
        story.queue_update(b"d/again", b"last in the block", kind);
        story.queue_update(b"d/late", b"renewed again", kind);
        if turn == 0 {
            story.queue_update(b"d/semi-expired", b"soon", kind);
        }
        story.world.mine_with(Work::AuxPow(AuxPowKind::Witness));
    }
    story.world.mine(8);
    story.register(&[named(b"d/young", b"not final", AddressKind::P2pkh)]);
    story.queue_update(b"d/stays", b"as it was", AddressKind::P2pkh);
    story.queue_update(b"d/again", b"last of the story", AddressKind::P2sh);
    story.world.mine(1);
    story
}

#[test]
fn the_story_has_every_outcome() {
    let story = tell();
    for (name, word) in [
        (&b"d/expired"[..], Some("expired")),
        (b"d/semi-expired", Some("semi-expired")),
        (b"d/young", Some("unconfirmed")),
        (b"d/never", Some("never existed")),
        (b"d/again", None),
        (b"d/late", None),
        (b"d/moving-P2pkh", None),
    ] {
        let expected = story.expected_show(name);
        match word {
            Some(word) => assert_eq!(expected, Expected::Absent(word)),
            None => assert!(matches!(expected, Expected::Found(_)), "{expected:?}"),
        }
    }
}

fn every_answer_is_what_was_done(release: Release) {
    let story = tell();
    let core = CoreRpc::start(&story.blocks());
    let server = ElectrumX::start(release, &core, story.tip());
    in_two_parts(&story.names(), |names| {
        let client = Client::new([server.server(Transport::Tcp)]);
        for name in names {
            story.check(&client, name);
        }
    });
    let client = Client::new([server.server(Transport::Tls)]);
    for name in story.names().iter().filter(|name| name.starts_with(b"d/moving")) {
        story.check(&client, name);
    }
}

#[test]
fn answers_of_1_16_0_are_what_was_done() {
    every_answer_is_what_was_done(Release::V1_16);
}

#[test]
fn answers_of_2_0_0_are_what_was_done() {
    every_answer_is_what_was_done(Release::V2_0);
}

/// The chain grows, goes another way below its tip, and grows there.
#[test]
fn answers_follow_growth_and_a_reorganisation() {
    let mut story = tell();
    let core = CoreRpc::start(&story.blocks());
    let mut servers = [Release::V1_16, Release::V2_0].map(|release| ElectrumX::start(release, &core, story.tip()));
    let clients = servers
        .each_ref()
        .map(|server| Client::new([server.server(Transport::Tcp)]));
    let names: [&[u8]; 4] = [b"d/moving-P2sh", b"d/stays", b"d/again", b"d/never"];
    let mut follow = |story: &Story, names: &[&[u8]]| {
        core.replace(&story.blocks());
        for (server, client) in servers.iter_mut().zip(&clients) {
            server.wait_for(story.tip());
            for name in names {
                story.check(client, name);
            }
        }
    };
    follow(&story, &names);

    let fork = story.world.chain().height();
    story.queue_update(b"d/again", b"grown", AddressKind::P2pkh);
    story.world.mine(2);
    follow(&story, &names);

    let mut branch = story.branch(fork);
    branch.queue_update(b"d/moving-P2sh", b"the other way", AddressKind::P2wsh);
    branch.world.mine(4);
    assert!(!branch.book.iter().any(|done| done.value == b"grown"));
    follow(&branch, &names);

    branch.queue_update(b"d/stays", b"no more", AddressKind::P2pkh);
    branch.world.mine(3);
    follow(&branch, &names);
}
