//! AuxPoW against the easiest target: no bytes make the check panic, and evidence for one header is none for another.

use isonym::chain::{AuxPow, Network, PureHeader};

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((pure, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Ok((auxpow, rest)) = AuxPow::decode(rest) else {
        return;
    };
    assert!(rest.len() < bytes.len());
    let _ = (auxpow.coinbase.txid(), auxpow.coinbase.script());
    let header = PureHeader::new(*pure);
    let mut other = *pure;
    other[79] ^= 1;
    let other = PureHeader::new(other);
    for network in Network::ALL {
        let params = network.params();
        let target = Network::Regtest.params().pow_limit.target();
        if auxpow.check(&header, &header.hash(), &target, params).is_ok() {
            assert!(auxpow.check(&other, &other.hash(), &target, params).is_err());
        }
    }
}
