//! Who listens on a port of this machine, so that nobody else is told what is meant for a daemon: after its end any user
//! may take its port.
//!
//! Source: Linux's `proc_net(5)`; other systems don't tell.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens.
const LISTENS: &str = "0A";

/// Returns a user who listens at an address of this machine and is none of those that are known.
pub(super) fn stranger(address: SocketAddr, known: &[u32]) -> Option<u32> {
    if !address.ip().is_loopback() {
        return None;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let mut users = tables.iter().flat_map(|table| listeners(table, address));
    users.find(|user| !known.contains(user))
}

/// Returns the users that listen at an address, by their numbers.
fn listeners(table: &str, address: SocketAddr) -> impl Iterator<Item = u32> {
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace();
        let local = parse(columns.nth(1)?)?;
        let state = columns.nth(1)?;
        let user = columns.nth(3)?.parse().ok()?;
        let is_there = local.ip() == address.ip() || local.ip().is_unspecified();
        (state == LISTENS && local.port() == address.port() && is_there).then_some(user)
    })
}

/// Reads an address as the tables have it: words of 32 bits in the machine's own order, in hex.
fn parse(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut bytes = [0; 16];
        for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(at)?);
        }
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(all(test, target_os = "linux", target_endian = "little"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2090 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1
   1: 00000000:2091 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 12 1
   2: 0100007F:2092 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1002        0 13 1";
    const TABLE6: &str = "  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 00000000000000000000000001000000:2090 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1003        0 14 1";

    #[test]
    fn who_listens_is_found_by_address_and_port() {
        for (table, address, users) in [
            (TABLE, "127.0.0.1:8336", &[1000][..]),
            (TABLE, "127.0.0.2:8336", &[]),
            (TABLE, "127.0.0.2:8337", &[1001]),
            (TABLE, "127.0.0.1:8338", &[]),
            (TABLE6, "[::1]:8336", &[1003]),
            (TABLE6, "127.0.0.1:8336", &[]),
        ] {
            let found: Vec<u32> = listeners(table, address.parse().unwrap()).collect();
            assert_eq!(found, users, "{address}");
        }
    }

    #[test]
    fn a_listener_of_this_machine_is_known_by_its_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(stranger(address, &[user]), None);
        assert_eq!(stranger(address, &[user.wrapping_add(1)]), Some(user));
    }
}
