//! What the operator of all servers can tell: a short run, each figure of which is to be one that chance gives.
//! `cargo bench --bench linkability` has more of everything.

use isonym_testkit::linkability::active::{MIXED, Trick, Twitch, play, trials};
use isonym_testkit::linkability::passive::{ATTACKS, Numbers, View};
use isonym_testkit::linkability::score::{Score, score};
use isonym_testkit::linkability::users::{QUIET, Setting, observe};

/// How far from chance a figure may be, in standard deviations: there are more than a hundred of them, and some are of few.
const BAND: f64 = 6.0;

/// How far from a half AUC may be by chance.
const UNEVEN: f64 = 0.1;

fn check(what: &str, score: &Score, leaks: &mut Vec<String>) {
    // Where one daemon alone does something, owners can be dealt as one likes.
    if (score.auc.chance - 0.5).abs() > UNEVEN {
        leaks.push(format!("{what}: AUC {:.3} by chance alone", score.auc.chance));
    }
    for (name, figure) in [("AUC", score.auc), ("top-1", score.top)] {
        if figure.sigmas().abs() > BAND {
            let (got, chance, sigmas) = (figure.got, figure.chance, figure.sigmas());
            leaks.push(format!(
                "{what}: {name} {got:.3}, by chance {chance:.3}: {sigmas:+.1} sigmas"
            ));
        }
    }
}

#[test]
fn who_only_looks_can_not_tell_whose_connections_are_whose() {
    let _turn = crate::blocking_turn();
    let daemons = 8;
    let run = observe(&Setting {
        daemons,
        ..Setting::new(1, QUIET)
    });
    let mut leaks = Vec::new();
    for view in [View::Uses, View::Openings] {
        let numbers = Numbers::of(&run, daemons, view);
        assert!(numbers.pairs.len() > 200, "{} pairs", numbers.pairs.len());
        for (at, (name, _)) in ATTACKS.iter().enumerate() {
            let trial = numbers.trial(|row| row[at]);
            check(&format!("{view:?}, {name}"), &score(&[trial], 1), &mut leaks);
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// Plays tricks for hours, and returns what shows.
fn leaks_of(tricks: &[Trick], hours: f64) -> String {
    let setting = Setting {
        hours,
        ..Setting::new(1, MIXED)
    };
    let (observed, played) = play(&setting, tricks);
    let mut leaks = Vec::new();
    for trick in tricks {
        for twitch in Twitch::ALL {
            let trials = trials(&observed, *trick, &played, twitch);
            assert!(!trials.is_empty(), "{trick:?} was not played");
            check(&format!("{trick:?}, {twitch:?}"), &score(&trials, 1), &mut leaks);
        }
    }
    leaks.join("\n")
}

#[test]
fn a_fault_of_one_connection_and_what_befalls_one_daemon_show_on_no_others() {
    let _turn = crate::blocking_turn();
    let tricks = [
        Trick::Nonsense,
        Trick::KillClean,
        Trick::KillUsed,
        Trick::FalseClaim,
        Trick::ForgetAll,
        Trick::SuspendCounted,
    ];
    assert_eq!(leaks_of(&tricks, 2.5), "");
}

#[test]
fn who_takes_all_that_another_front_has_room_for_learns_nothing_of_its_people() {
    let _turn = crate::blocking_turn();
    assert_eq!(leaks_of(&[Trick::Cap], 2.5), "");
}

#[test]
fn a_block_that_is_told_to_one_daemon_has_none_of_its_identities_ask_again() {
    let _turn = crate::blocking_turn();
    assert_eq!(leaks_of(&[Trick::BlockToOne], 2.5), "");
}
