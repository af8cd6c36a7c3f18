//! Listening on all addresses: replies come from the one that was asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::dns::wire::{query, udp};
use isonym_testkit::harness::until;

/// An address of this machine that the system does not choose by itself.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 8, 9, 10));

/// Where it listens.
fn listening(log: &str) -> Vec<SocketAddr> {
    let said = log.lines().filter_map(|line| line.split_once("listening on "));
    said.filter_map(|(_, rest)| rest.strip_suffix(" for DNS")?.parse().ok())
        .collect()
}

#[tokio::test]
async fn replies_come_from_the_address_that_was_asked() {
    let backend = Backend::start().await;
    backend.say("d/x", Says::value(r#"{"ip":"192.0.2.1"}"#));
    backend.say("d/y", Says::value(r#"{"ip":"192.0.2.2"}"#));
    // Some containers have no IPv6.
    let has_v6 = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let all = ["--listen=0.0.0.0:0", "--listen=[::]:0"];
    let dns = Dns::start(&backend, if has_v6 { &all } else { &all[..1] }).await;
    let expected = if has_v6 { 3 } else { 2 };
    let all = until("it listens", async || {
        Some(listening(&dns.log())).filter(|all| all.len() == expected)
    })
    .await;
    for address in all.into_iter().filter(|address| address.ip().is_unspecified()) {
        let mut asked = vec![OTHER, IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if address.is_ipv6() {
            asked.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        for ip in asked {
            let server = SocketAddr::new(ip, address.port());
            // A connected socket takes replies from nobody else. Once looked up, once remembered; and an error.
            for (name, code) in [
                ("x.bit", "NOERROR"),
                ("x.bit", "NOERROR"),
                ("y.bit", "NOERROR"),
                ("example.com", "REFUSED"),
            ] {
                let reply = udp(server, &query(name, "A")).await;
                assert_eq!(reply.code(), code, "{name} at {server}");
            }
        }
    }
    dns.stop().await;
}
