//! Runs of full headers into a regtest tree: no bytes make it panic, and its work never falls.

use isonym::chain::{Anchor, FullHeader, HeaderTree, Network};
use isonym::time::Timestamp;

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Ok(anchor) = Anchor::shipped(Network::Regtest) else {
        return;
    };
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    let mut rest = bytes;
    while let Ok((full, behind)) = FullHeader::decode(rest) {
        assert!(behind.len() < rest.len());
        assert_eq!(full.auxpow.is_some(), full.pure.has_auxpow());
        let before = tree.tip();
        let accepted = tree.accept(&full, Timestamp(u64::from(u32::MAX)));
        let after = tree.tip();
        assert!(after.chainwork >= before.chainwork);
        assert_eq!(tree.height_of(&full.pure.hash()).is_some(), accepted.is_ok());
        assert_eq!(tree.hash_at(after.height), Some(after.hash));
        rest = behind;
    }
}
