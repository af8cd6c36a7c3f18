//! Any script can be taken apart, and what can be written again reads back the same.

use bitcoin::Script;
use isonym::chain::Network;
use isonym::name::address::address;
use isonym::name::script::{NameScript, index_script};

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let script = Script::from_bytes(bytes);
    let _ = address(script, Network::Mainnet.params());
    let Some(parsed) = NameScript::parse(script) else {
        return;
    };
    assert!(bytes.ends_with(parsed.address.as_bytes()));
    assert!(parsed.address.len() < bytes.len());
    let _ = address(parsed.address, Network::Mainnet.params());
    let plain = Script::from_bytes(&[0x51]);
    let written = parsed.op.to_script(plain);
    let again = NameScript::parse(&written).expect("what was written is a name script");
    assert!(again.op == parsed.op && again.address == plain);
    if let Some((name, _)) = parsed.op.any_update() {
        let index = index_script(name);
        let indexed = NameScript::parse(&index).expect("an index script is a name script");
        assert!(
            indexed
                .op
                .any_update()
                .is_some_and(|(again, value)| again == name && value.as_bytes().is_empty())
        );
    }
}
