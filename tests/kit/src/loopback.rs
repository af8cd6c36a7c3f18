//! Addresses of the loopback interface that a test has to itself.

use std::net::Ipv4Addr;

use rand::Rng as _;

/// Returns an address at which nobody else listens and from which nobody calls: a port of it that was let go stays free, as
/// one of 127.0.0.1 does not while other tests run.
pub fn own_address() -> Ipv4Addr {
    let mut rng = rand::rng();
    Ipv4Addr::new(127, rng.random_range(16..240), rng.random(), rng.random_range(1..255))
}
