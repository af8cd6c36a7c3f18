//! Who runs which servers, as far as addresses tell. Two servers of one operator are one voice: they count as one for a
//! quorum, and for a second opinion on a name that is said not to exist.
//!
//! | servers with | have one operator |
//! |---|---|
//! | one label in the shipped list, such as a host and its onion service | always |
//! | one host, whatever the port | always, but on this machine and in private networks, where each port is one of its own |
//! | one registrable domain | always. Without a list of public suffixes: the last two labels, three where the last but one is one such as `co` in `co.uk` |
//! | one IPv4 /16 or IPv6 /32 | where the address is an IP. No name is resolved for that |
//!
//! Nothing of it proves that two operators are two: one person can have many names. It keeps what is known to be one from
//! counting as two.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address::{Host, ServerAddr};
use super::servers;

/// Labels before a country's, below which anybody can have a domain.
const PUBLIC_LABELS: [&str; 7] = ["co", "com", "net", "org", "ac", "gov", "edu"];

/// What tells one operator from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Label(&'static str),
    Domain(String),
    Network(Vec<u8>),
    Own(ServerAddr),
}

/// Returns the operator of each server as a number; equal numbers are one operator.
pub(crate) fn operators(servers: &[ServerAddr]) -> Vec<usize> {
    let mut numbers = BTreeMap::new();
    let number = |server| {
        let next = numbers.len();
        *numbers.entry(operator(server)).or_insert(next)
    };
    servers.iter().map(number).collect()
}

fn operator(server: &ServerAddr) -> Operator {
    if let Some(label) = servers::operator(&server.host) {
        return Operator::Label(label);
    }
    if is_local(&server.host) {
        return Operator::Own(server.clone());
    }
    match &server.host {
        Host::Name(name) => Operator::Domain(registrable(name).to_owned()),
        Host::Ip(IpAddr::V4(ip)) => Operator::Network(ip.octets().into_iter().take(2).collect()),
        Host::Ip(IpAddr::V6(ip)) => Operator::Network(ip.octets().into_iter().take(4).collect()),
    }
}

fn is_local(host: &Host) -> bool {
    host.is_loopback()
        || match host {
            Host::Ip(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local(),
            Host::Ip(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
            Host::Name(name) => !name.contains('.'),
        }
}

/// Returns the part of a name that somebody had to register.
fn registrable(name: &str) -> &str {
    let mut labels = name.rsplit('.');
    let (last, before) = (labels.next().unwrap_or(name), labels.next().unwrap_or_default());
    let kept = if last.len() == 2 && PUBLIC_LABELS.contains(&before) {
        3
    } else {
        2
    };
    let dots = name.rmatch_indices('.').map(|(at, _)| at + 1);
    dots.take(kept)
        .nth(kept - 1)
        .and_then(|at| name.get(at..))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Network;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    const OTHER: &str = "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd.onion";

    fn count(servers: &[&str]) -> usize {
        let servers: Vec<ServerAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        operators(&servers).into_iter().max().map_or(0, |most| most + 1)
    }

    #[test]
    fn the_seven_shipped_servers_are_of_five_operators() {
        let shipped = servers::servers(Network::Mainnet);
        assert_eq!(operators(&shipped), [0, 1, 1, 2, 2, 3, 4]);
        let by_address = [
            "162.212.154.52:50002",
            "i665jpwsq46zlsdbnj4axgzd3s56uzey5uhotsnxzsknzbn36jaddsid.onion:50002",
        ];
        assert_eq!(count(&by_address), 1);
    }

    #[test]
    fn what_is_near_is_one_operator() {
        for (servers, operators) in [
            (["a.example.org:1", "b.example.org:2"], 1),
            (["a.example.org:1", "example.org:1"], 1),
            (["a.example.org:1", "a.example.net:1"], 2),
            (["a.one.co.uk:1", "a.two.co.uk:1"], 2),
            (["a.one.co.uk:1", "b.one.co.uk:1"], 1),
            (["8.8.8.8:1", "8.8.200.1:2"], 1),
            (["8.8.8.8:1", "8.9.8.8:1"], 2),
            (["[2001:db8:1::1]:1", "[2001:db8:2::1]:1"], 1),
            (["[2001:db8:1::1]:1", "[2001:db9::1]:1"], 2),
            (["127.0.0.1:1", "127.0.0.1:2"], 2),
            (["10.0.0.1:1", "10.0.0.2:1"], 2),
            (["localhost:1", "localhost:2"], 2),
            ([&format!("{ONION}:1"), &format!("{OTHER}:1")], 2),
            ([&format!("x.{ONION}:1"), &format!("{ONION}:1")], 1),
        ] {
            assert_eq!(count(&servers), operators, "{servers:?}");
        }
    }
}
