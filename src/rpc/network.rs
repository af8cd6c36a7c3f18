//! The JSON of the network as Namecoin Core's clients want it, who fail where a field is missing.
//!
//! Source: Namecoin Core `rpc/net.cpp`, and `bitcoin-cli.cpp` for which fields are needed. What a light client has none of
//! is zero or empty; its peers are the Electrum servers that header sync talks to. Connections of lookups are counted, but
//! not told one by one: they are identities.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::reply::{CallResult, result as write};
use crate::net::Proxy;
use crate::node::{ServerStanding, Standing};

/// The networks that Core knows.
const NETWORKS: [&str; 5] = ["ipv4", "ipv6", "onion", "i2p", "cjdns"];

/// Counts all connections to Electrum servers.
pub(super) fn connections(standing: &Standing) -> usize {
    let pool = &standing.pool_told;
    standing.progress.connections + pool.clean + pool.dirty + pool.parting
}

/// Returns the program's version as Core writes its own: two digits for each part but the first.
pub(super) fn version() -> u64 {
    env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .fold(0, |sum: u64, part: u64| sum * 100 + part)
        * 100
}

/// Answers `getnetworkinfo`.
pub(super) fn info(standing: &Standing) -> CallResult {
    let connections = connections(standing);
    // Of several it is the first that answers; which one that is shows in the log.
    let proxy = if let Proxy::Socks5(candidates) = &standing.proxy {
        candidates.first()
    } else {
        None
    };
    let network = |name: &str| {
        let is_reachable = match name {
            "ipv4" | "ipv6" => true,
            "onion" => standing.proxy != Proxy::Direct,
            _ => false,
        };
        let proxy = proxy.filter(|_| is_reachable);
        json!({
            "name": name,
            "limited": !is_reachable,
            "reachable": is_reachable,
            "proxy": proxy.map_or_else(String::new, ToString::to_string),
            "proxy_randomize_credentials": proxy.is_some(),
        })
    };
    write(&json!({
        "version": version(),
        "subversion": concat!("/Isonym:", env!("CARGO_PKG_VERSION"), "/"),
        // That of Namecoin's peers, which it does not speak.
        "protocolversion": 0,
        "localservices": "0000000000000000",
        "localservicesnames": [],
        "localrelay": false,
        "timeoffset": 0,
        "networkactive": true,
        "connections": connections,
        "connections_in": 0,
        "connections_out": connections,
        "networks": NETWORKS.map(network),
        "relayfee": 0.0,
        "incrementalfee": 0.0,
        "localaddresses": [],
        "warnings": standing.warnings(),
    }))
}

/// Answers `getpeerinfo`: the servers that header sync has used and found good.
pub(super) fn peers(standing: &Standing) -> CallResult {
    let good = standing
        .servers
        .iter()
        .filter(|server| server.state == ServerStanding::Good);
    let peers = good.enumerate().map(|(id, server)| {
        // HOST:PORT, and how it is reached.
        let (address, _) = server.address.rsplit_once(':').unwrap_or((&server.address, ""));
        json!({
            "id": id,
            "addr": address,
            "network": network_of(address),
            "services": "0000000000000000",
            "servicesnames": [],
            "relaytxes": false,
            "lastsend": 0,
            "lastrecv": 0,
            "last_transaction": 0,
            "last_block": 0,
            "bytessent": 0,
            "bytesrecv": 0,
            "conntime": 0,
            "timeoffset": 0,
            "version": 0,
            "subver": "",
            "inbound": false,
            "bip152_hb_to": false,
            "bip152_hb_from": false,
            "startingheight": server.claimed_height,
            "synced_headers": server.claimed_height,
            "synced_blocks": -1,
            "inflight": [],
            "addr_relay_enabled": false,
            "addr_processed": 0,
            "addr_rate_limited": 0,
            "permissions": [],
            "minfeefilter": 0.0,
            "bytessent_per_msg": {},
            "bytesrecv_per_msg": {},
            "connection_type": "manual",
            "transport_protocol_type": "v1",
            "session_id": "",
        })
    });
    write(&peers.collect::<Vec<Value>>())
}

/// Returns Core's word for the network of an address. A host's name is counted as IPv4: what it stands for is known to who
/// resolves it, at the end of a circuit.
fn network_of(address: &str) -> &'static str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V6(_)) => "ipv6",
        _ if host.to_ascii_lowercase().rsplit('.').next() == Some("onion") => "onion",
        _ => "ipv4",
    }
}

/// Answers `getaddrmaninfo`: no addresses of peers are collected.
pub(super) fn addresses() -> CallResult {
    let none = json!({ "new": 0, "tried": 0, "total": 0 });
    let all = NETWORKS.into_iter().chain(["all_networks"]);
    write(
        &all.map(|network| (network.to_owned(), none.clone()))
            .collect::<serde_json::Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_servers() {
        for (address, network) in [
            ("192.0.2.1:50002", "ipv4"),
            ("[2001:db8::1]:50002", "ipv6"),
            ("example.com:50002", "ipv4"),
            (
                "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:50001",
                "onion",
            ),
        ] {
            assert_eq!(network_of(address), network, "{address}");
        }
    }

    #[test]
    fn the_version_is_written_as_core_does() {
        assert_eq!(version() % 100, 0);
        assert!(version() >= 100);
    }
}
