//! Peers that are known from the beginning, and what is to be said of an address by itself.

use std::net::IpAddr;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::p2p::address::AddrV2;

use crate::chain::Network;
use crate::net::onion::OnionName;
use crate::net::{Host, PeerAddr, is_public};

/// Names behind which peers are found: whoever resolves one, which behind a proxy is the proxy, gets the address of some peer.
///
/// Source: Namecoin Core `kernel/chainparams.cpp`, `vSeeds`.
const MAINNET: [&str; 6] = [
    "nmc.seed.quisquis.de",
    "seed.nmc.markasoftware.com",
    "dnsseed1.nmc.dotbit.zone",
    "dnsseed2.nmc.dotbit.zone",
    "dnsseed.nmc.testls.space",
    "namecoin.seed.cypherstack.com",
];
const TESTNET: [&str; 1] = ["dnsseed.test.namecoin.webbtc.com"];

/// Returns the peers of a network that come with the program.
pub(super) fn seeds(network: Network) -> Vec<PeerAddr> {
    let seeds: &[&str] = match network {
        Network::Mainnet => &MAINNET,
        Network::Testnet => &TESTNET,
        Network::Regtest => &[],
    };
    seeds.iter().filter_map(|seed| seed.parse().ok()).collect()
}

/// Returns what an address shares with others that may be the same person's: the first 16 bits of an IPv4 address, the first 32
/// of an IPv6 address, as Namecoin Core groups them (`netgroup.cpp`). Onion services and names each stand alone: anybody has
/// as many of them as they like, so that nothing would be gained.
pub(super) fn group(host: &Host) -> Option<u64> {
    let bytes = match host {
        Host::Name(_) => return None,
        Host::Ip(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            vec![4, a, b]
        }
        Host::Ip(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.octets();
            vec![6, a, b, c, d]
        }
    };
    let hash = sha256::Hash::hash(&bytes).to_byte_array();
    hash.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Returns the host of an address that a peer told of, where it can be on the Internet.
pub(super) fn public_host(address: &AddrV2) -> Option<Host> {
    let host = match address {
        AddrV2::Ipv4(ip) => Host::Ip((*ip).into()),
        AddrV2::Ipv6(ip) => Host::Ip((*ip).into()),
        AddrV2::TorV3(key) => Host::Name(OnionName::of_key(key).as_str().to_owned()),
        _ => return None,
    };
    is_public(&host).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_seeds_are_addresses() {
        assert_eq!(seeds(Network::Mainnet).len(), MAINNET.len());
        assert_eq!(seeds(Network::Testnet).len(), TESTNET.len());
    }

    #[test]
    fn addresses_of_one_network_are_of_one_group() {
        let group = |text: &str| group(&text.parse().unwrap());
        assert_eq!(group("192.0.2.1"), group("192.0.77.9"));
        assert_ne!(group("192.0.2.1"), group("192.1.2.1"));
        assert_eq!(group("[2001:db8::1]"), group("[2001:db8:1::1]"));
        assert_ne!(group("[2001:db8::1]"), group("[2001:db9::1]"));
        assert_eq!(group("peer.example"), None);
    }

    #[test]
    fn what_is_not_on_the_internet_is_not_dialed() {
        let v4 = |text: &str| public_host(&AddrV2::Ipv4(text.parse().unwrap()));
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            assert_eq!(v4(text), None, "{text}");
        }
        assert!(v4("8.8.4.4").is_some());
        assert_eq!(public_host(&AddrV2::Ipv6("::1".parse().unwrap())), None);
        assert_eq!(public_host(&AddrV2::TorV2([0; 10])), None);
        assert!(public_host(&AddrV2::TorV3([7; 32])).unwrap().is_onion());
    }
}
