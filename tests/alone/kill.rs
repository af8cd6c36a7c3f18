//! `kill -9` in the middle of a sync loses at most what was not written yet.

use std::time::Duration;

use isonym::time::Timestamp;
use isonym_sim::link::Link;
use isonym_sim::{AddressKind, World};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use isonym_testkit::program::{End, Program, Stage};

const BLOCKS: u32 = 6000;

const KILLS: usize = 20;

/// Returns the height on disk and what was said on standard error.
fn height(program: &Program) -> (u64, String) {
    let status = End::of(&mut program.direct(), ["status", "--json"]);
    status.assert_succeeded();
    (status.json()["height"].as_u64().unwrap(), status.err)
}

/// Starts a sync and kills it after a while; returns whether it was still at work.
fn sync_and_kill(program: &Program, stage: &Stage, after: Duration) -> bool {
    let mut child = program
        .direct()
        .args(["-q", "sync", "--verification=full", &stage.server('t')])
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let at_work = child.try_wait().unwrap().is_none();
    // SIGKILL; an error says that it has ended already.
    let _ = child.kill();
    child.wait().unwrap();
    at_work
}

#[test]
fn fifty_kills_while_headers_come_and_while_a_sample_is_proved() {
    let _turn = crate::blocking_turn();
    let names = [("d/killed", "value", AddressKind::P2pkh)];
    let world = World::long(11, BLOCKS, Timestamp(1_700_000_000), &names).unwrap();
    let tip = world.chain().tip_hash().to_string();
    let link = Link {
        round_trip: Duration::from_millis(30),
        bytes_per_second: 2_000_000,
    };
    let stage = Stage::slow(world, link);
    let way = [stage.proxy(), "--server=server.sim:50001:t".to_owned()];
    let command = |program: &Program, command: &[&str]| {
        let mut child = program.on_regtest();
        child.args(&way).args(command);
        child
    };
    let whole = Program::new();
    let started = std::time::Instant::now();
    End::from(command(&whole, &["-q", "sync"]).output().unwrap()).assert_succeeded();
    let duration = started.elapsed();

    let mut rng = StdRng::seed_from_u64(50);
    let mut program = Program::new();
    // The last height of which anything is there, whether it is proved or not.
    let (mut kills, mut in_skeleton, mut in_sample, mut before) = (0, 0, 0, 0);
    while kills < 50 {
        let mut child = command(&program, &["-q", "sync"]).spawn().unwrap();
        std::thread::sleep(duration.mul_f64(rng.random_range(0.1..0.7)));
        let at_work = child.try_wait().unwrap().is_none();
        let _ = child.kill();
        child.wait().unwrap();
        let end = End::of(&mut program.direct(), ["status", "--json"]);
        end.assert_succeeded();
        assert_eq!(end.err, "", "kill {kills}");
        let status = end.json();
        let height = status["height"].as_u64().unwrap();
        let there = status["skeleton_height"].as_u64().unwrap_or(height);
        assert!(there >= before, "kill {kills}: from {before} to {there}");
        assert!(
            height == 0 || height == u64::from(BLOCKS),
            "a skeleton is adopted whole: {height}"
        );
        kills += u32::from(at_work);
        in_skeleton += u32::from(there < BLOCKS.into() && there > before);
        in_sample += u32::from(there == u64::from(BLOCKS) && height == 0);
        before = there;
        // A skeleton that is whole stays so: most of them make room for another try.
        if height > 0 || there == u64::from(BLOCKS) && rng.random_bool(0.7) {
            program = Program::new();
            before = 0;
        }
    }
    eprintln!("{kills} kills, {in_skeleton} in the skeleton, {in_sample} in the sample, a sync takes {duration:?}");
    assert!(in_skeleton >= 3, "{in_skeleton}");
    assert!(in_sample >= 3, "{in_sample}");

    End::from(command(&program, &["-q", "sync"]).output().unwrap()).assert_succeeded();
    let status = End::of(&mut program.direct(), ["status", "--json"]).json();
    assert_eq!(status["tip_hash"], tip.as_str());
    assert!(status["headers_unproved"].as_u64().unwrap() > 0);
    // What was there already was not fetched again.
    let new = status["servers"][0]["headers"].as_u64();
    assert_eq!(new, Some(u64::from(BLOCKS) - before));
    let shown = End::from(command(&program, &["-q", "name_show", "d/killed"]).output().unwrap());
    assert_eq!(shown.json()["value"], "value");
}

#[test]
fn twenty_kills_and_then_a_clean_sync() {
    let _turn = crate::blocking_turn();
    let mut world = World::new(9, Timestamp(1_700_000_000));
    world.mine(BLOCKS);
    let tip = world.chain().tip_hash().to_string();
    let stage = Stage::honest(world);
    let mut rng = StdRng::seed_from_u64(20);

    // How long a whole sync takes on this machine: most kills must fall into less.
    let started = std::time::Instant::now();
    let whole = Program::new();
    End::of(
        &mut whole.direct(),
        ["-q", "sync", "--verification=full", &stage.server('t')],
    )
    .assert_succeeded();
    let duration = started.elapsed();

    let mut program = Program::new();
    let (mut kills, mut in_the_middle, mut resumed, mut before) = (0, 0, 0, 0);
    while kills < KILLS {
        let after = duration.mul_f64(rng.random_range(0.05..0.7));
        if !sync_and_kill(&program, &stage, after) {
            // Through already: start over.
            program = Program::new();
            before = 0;
            continue;
        }
        kills += 1;
        let (now, err) = height(&program);
        assert_eq!(err, "", "kill {kills}");
        assert!(now >= before, "kill {kills}: from {before} to {now}");
        in_the_middle += usize::from(now > before && now < u64::from(BLOCKS));
        resumed += usize::from(before > 0);
        before = now;
        if now == u64::from(BLOCKS) {
            program = Program::new();
            before = 0;
        }
    }
    assert!(in_the_middle >= 5, "{in_the_middle} of {KILLS} kills in the middle");
    assert!(
        resumed >= 3,
        "{resumed} of {KILLS} runs began with headers of the one before"
    );

    let end = End::of(
        &mut program.direct(),
        ["sync", "--verification=full", &stage.server('t')],
    );
    end.assert_succeeded();
    assert!(
        end.err
            .lines()
            .all(|line| line.starts_with("headers: ") || line.starts_with("synchronised ")),
        "{end:?}"
    );
    let status = End::of(&mut program.direct(), ["status", "--json"]).json();
    assert_eq!(
        (status["height"].as_u64(), status["tip_hash"].as_str()),
        (Some(BLOCKS.into()), Some(tip.as_str()))
    );
}

#[test]
fn a_run_after_a_kill_asks_for_no_header_twice() {
    let _turn = crate::blocking_turn();
    let mut world = World::new(10, Timestamp(1_700_000_000));
    world.mine(BLOCKS);
    let stage = Stage::honest(world);
    let mut rng = StdRng::seed_from_u64(30);
    // Whatever the machine's speed, some try ends between the first header and the last.
    for _ in 0..200 {
        let program = Program::new();
        sync_and_kill(&program, &stage, Duration::from_millis(rng.random_range(10..2000)));
        let (kept, _) = height(&program);
        if kept == 0 || kept == u64::from(BLOCKS) {
            continue;
        }
        End::of(
            &mut program.direct(),
            ["sync", "--verification=full", &stage.server('t')],
        )
        .assert_succeeded();
        let status = End::of(&mut program.direct(), ["status", "--json"]).json();
        assert_eq!(status["servers"][0]["headers"].as_u64(), Some(u64::from(BLOCKS) - kept));
        return;
    }
    panic!("no kill fell into the middle of a sync");
}
