//! Anchors that a user makes from the own chain, and what servers say of one.

use isonym::chain::Anchor;

use super::{closed_port, world};
use isonym_testkit::program::{End, Program, Stage};

#[test]
fn an_exported_anchor_is_where_the_next_sync_starts() {
    let stage = Stage::honest(world());
    let server = stage.server('t');
    let program = Program::new();
    End::of(&mut program.direct(), ["sync", &server]).assert_succeeded();
    let end = End::of(&mut program.direct(), ["anchor", "export", "--depth=50"]);
    end.assert_succeeded();
    let anchor = Anchor::parse_toml(&end.out).unwrap();
    let tip = world().chain().height();
    assert_eq!(anchor.height, tip - 50);
    assert_eq!(anchor.hash, world().chain().header(tip - 50).unwrap().hash());
    let status = End::of(&mut program.direct(), ["status", "--json"]).json();
    let work = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let at_tip = work(status["chainwork"].as_str().unwrap());
    let text = anchor.to_string();
    let at_anchor = work(text.rsplit(':').next().unwrap());
    // Each regtest block has the work of two hashes.
    assert_eq!(at_tip - at_anchor, 100);

    let fresh = Program::new();
    let anchored = format!("--anchor={anchor}");
    let end = End::of(&mut fresh.direct(), ["name_show", "d/here", &server, &anchored]);
    end.assert_succeeded();
    assert_eq!(end.json()["value"], "value");
    let status = End::of(&mut fresh.direct(), ["status", "--json", &anchored]).json();
    assert_eq!(
        (&status["anchor"]["height"], &status["height"]),
        (&(tip - 50).into(), &tip.into())
    );
}

#[test]
fn no_anchor_is_exported_that_is_not_there() {
    let program = Program::new();
    let export = |program: &Program, depth: &str| End::of(&mut program.direct(), ["anchor", "export", depth]);
    export(&program, "--depth=1").assert_failed(&["isonym sync"]);
    let stage = Stage::honest(world());
    End::of(&mut program.direct(), ["sync", &stage.server('t')]).assert_succeeded();
    for depth in ["--depth=100000", &format!("--depth={}", world().chain().height())] {
        export(&program, depth).assert_failed(&["--depth"]);
    }
}

#[test]
fn servers_agree_with_an_anchor_or_not() {
    let stages = [Stage::honest(world()), Stage::honest(world())];
    let mut other = world().fork_at(60, 7);
    other.mine(200);
    let other = Stage::honest(other);
    let program = Program::new();
    let check = |anchor: &str, servers: &[String]| {
        let mut command = program.direct();
        command.args(["anchor", "check", anchor]).args(servers);
        End::from(command.output().unwrap())
    };
    let hash = world().chain().header(100).unwrap().hash();
    let anchor = format!("100:{hash}");
    let servers = stages.each_ref().map(|stage| stage.server('t'));
    let end = check(&anchor, &servers);
    end.assert_succeeded();
    assert_eq!(end.out.matches("has this block").count(), 2, "{end:?}");
    check(&anchor, &servers[..1]).assert_succeeded();

    let dead = format!("--server={}:t", closed_port());
    let end = check(&anchor, &[servers[0].clone(), dead.clone()]);
    assert_eq!(end.status, Some(1), "one is not enough where there are two: {end:?}");
    assert!(
        end.out.contains("did not tell") && end.err.contains("too few"),
        "{end:?}"
    );
    check(&anchor, &[&servers[..], &[dead]].concat()).assert_succeeded();

    let end = check(&anchor, &[&servers[..], &[other.server('t')]].concat());
    assert_eq!(end.status, Some(1), "{end:?}");
    assert!(
        end.out.contains("has another block") && end.err.contains("do not trust"),
        "{end:?}"
    );
    // Below the fork all agree; genesis is what is in use when nothing is said.
    let below = format!("50:{}", world().chain().header(50).unwrap().hash());
    check(&below, &[&servers[..], &[other.server('t')]].concat()).assert_succeeded();
    let mut command = program.direct();
    command.args(["anchor", "check"]).args(&servers);
    End::from(command.output().unwrap()).assert_succeeded();
    let file = program.home().join("anchor.toml");
    std::fs::write(&file, anchor.parse::<Anchor>().unwrap().to_toml("a test").unwrap()).unwrap();
    check(file.to_str().unwrap(), &servers).assert_succeeded();
    check("nowhere.toml", &servers).assert_failed(&["nowhere.toml"]);
    check("100:abc", &servers).assert_failed(&["anchor 100:abc"]);
}
