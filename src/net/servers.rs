//! The shipped list of public servers.

use super::address::ServerAddr;
use super::pins::{Pin, Pins};
use crate::chain::Network;

/// A shipped server: its address and, where it is known, the SHA-256 of its certificate.
struct Shipped {
    address: &'static str,
    fingerprint: Option<&'static str>,
}

const fn shipped(address: &'static str) -> Shipped {
    Shipped {
        address,
        fingerprint: None,
    }
}

/// Mainnet servers that were alive in March to May 2026, best known first.
///
/// Sources: electrum-nmc issue 389 and pull request 390; the last one from an `ElectrumX` pull request of 2024.
/// `relay.testls.bit` stands here by its address, since its name needs what this program gives.
/// Servers that were down in March 2026 are left out.
const MAINNET: [Shipped; 7] = [
    shipped("nmc2.bitcoins.sk:57002:s"),
    shipped("electrumx.testls.space:50002:s"),
    shipped("i665jpwsq46zlsdbnj4axgzd3s56uzey5uhotsnxzsknzbn36jaddsid.onion:50002:s"),
    Shipped {
        address: "23.158.233.10:50002:s",
        fingerprint: Some("bb0b35e64235a794e157b69acd72da4ccc16a4d81d0ff6b1d8f7fdfc6cca6cba"),
    },
    shipped("6cbn4rskfdr647otej7gpqlmpqcmj723vg2eoeuu7ljbwu6cpdebozyd.onion:50001:t"),
    shipped("electrum.nmc.ethicnology.com:50002:s"),
    shipped("namecoin.stackwallet.com:57002:s"),
];

const fn list(network: Network) -> &'static [Shipped] {
    match network {
        Network::Mainnet => &MAINNET,
        Network::Testnet | Network::Regtest => &[],
    }
}

/// Returns the shipped servers of a network, best known first. There are none but for mainnet.
pub fn servers(network: Network) -> Vec<ServerAddr> {
    list(network)
        .iter()
        .filter_map(|server| server.address.parse().ok())
        .collect()
}

/// Returns the pins that are shipped; what the user's own store says goes on top of them.
pub fn pins(network: Network) -> Pins {
    list(network)
        .iter()
        .filter_map(|server| {
            let fingerprint = server.fingerprint?.parse().ok()?;
            Some((server.address.parse().ok()?, Pin::Certificate(fingerprint)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_line_parses_and_is_its_own_spelling() {
        for network in Network::ALL {
            let shown: Vec<String> = servers(network).iter().map(ToString::to_string).collect();
            let listed: Vec<&str> = list(network).iter().map(|server| server.address).collect();
            assert_eq!(shown, listed);
            let fingerprints = list(network)
                .iter()
                .filter(|server| server.fingerprint.is_some())
                .count();
            assert_eq!(pins(network).iter().count(), fingerprints);
        }
    }
}
