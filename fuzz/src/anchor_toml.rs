//! Anchors, as files and as on the command line: whatever is taken is written back and taken again.

use isonym::chain::Anchor;

use crate::input;

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some(text) = input::<&str>(bytes) else { return };
    for anchor in [Anchor::parse_toml(text), text.parse()].into_iter().flatten() {
        assert!(anchor.height <= Anchor::MAX_HEIGHT);
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
    }
}
