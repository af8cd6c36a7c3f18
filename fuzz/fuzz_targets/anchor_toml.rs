//! Anchors, as files and as on the command line: whatever is taken is written back and taken again.

#![no_main]

use isonym::chain::Anchor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for anchor in [Anchor::parse_toml(text), text.parse()].into_iter().flatten() {
        assert!(anchor.height <= Anchor::MAX_HEIGHT);
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
    }
});
