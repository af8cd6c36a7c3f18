//! A short soak; `./do soak` runs longer ones.

use isonym_testkit::virtual_world::soak::{SoakSettings, soak};

#[test]
fn what_is_promised_holds_through_days_of_misfortune() {
    let _turn = crate::blocking_turn();
    for seed in [2, 4] {
        let settings = SoakSettings {
            seed,
            days: 2.0,
            users_a_day: 80.0,
            with_floods: false,
            tells_all: false,
        };
        let counts = soak(&settings).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(counts.questions > 100 && counts.blocks > 100, "{counts:?}");
        assert!(counts.known_requests > 100, "{counts:?}");
    }
}

#[test]
fn what_is_remembered_is_served_while_thousands_of_others_ask() {
    let _turn = crate::blocking_turn();
    isonym_testkit::virtual_world::soak::flood(1, false).unwrap_or_else(|failure| panic!("{failure}"));
}
