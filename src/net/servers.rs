//! The shipped list of public servers.

use super::address::{Host, ServerAddr};
use super::pins::{Pin, Pins};
use crate::chain::Network;

/// A shipped server: its address, who runs it, and, where it is known, the SHA-256 of its certificate.
struct Shipped {
    address: &'static str,
    operator: &'static str,
    fingerprint: Option<&'static str>,
}

const fn shipped(address: &'static str, operator: &'static str) -> Shipped {
    Shipped {
        address,
        operator,
        fingerprint: None,
    }
}

/// Mainnet servers that were alive in March to May 2026, best known first.
///
/// Sources: electrum-nmc issue 389 and pull request 390; the last one from an `ElectrumX` pull request of 2024.
/// `relay.testls.bit` stands here by its address, since its name needs what this program gives.
/// Servers that were down in March 2026 are left out.
const MAINNET: [Shipped; 7] = [
    shipped("nmc2.bitcoins.sk:57002:s", "bitcoins.sk"),
    shipped("electrumx.testls.space:50002:s", "testls.space"),
    shipped(
        "i665jpwsq46zlsdbnj4axgzd3s56uzey5uhotsnxzsknzbn36jaddsid.onion:50002:s",
        "testls.space",
    ),
    Shipped {
        address: "23.158.233.10:50002:s",
        operator: "relay.testls.bit",
        fingerprint: Some("bb0b35e64235a794e157b69acd72da4ccc16a4d81d0ff6b1d8f7fdfc6cca6cba"),
    },
    shipped(
        "6cbn4rskfdr647otej7gpqlmpqcmj723vg2eoeuu7ljbwu6cpdebozyd.onion:50001:t",
        "relay.testls.bit",
    ),
    shipped("electrum.nmc.ethicnology.com:50002:s", "ethicnology.com"),
    shipped("namecoin.stackwallet.com:57002:s", "stackwallet.com"),
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

/// Other words for the hosts of shipped servers, each with its operator. Source: as above.
const ALIASES: [(&str, &str); 3] = [
    ("46.229.238.187", "bitcoins.sk"),
    ("162.212.154.52", "testls.space"),
    ("relay.testls.bit", "relay.testls.bit"),
];

/// Returns who runs a host, where the list knows it.
pub(super) fn operator(host: &Host) -> Option<&'static str> {
    let aliases = ALIASES.iter().map(|(host, operator)| (host.parse().ok(), *operator));
    let shipped = MAINNET.iter().map(|server| {
        let address: Option<ServerAddr> = server.address.parse().ok();
        (address.map(|it| it.host), server.operator)
    });
    let mut known = shipped.chain(aliases);
    known
        .find(|(known, _)| known.as_ref() == Some(host))
        .map(|(_, operator)| operator)
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
