//! Requests that the embedded Tor carries out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::timeout;

use super::handshake::ProxyReply;
use super::reply::{RequestError, SUCCEEDED, resolved};
use super::request::{ProxyCommand, ProxyHost, ProxyProtocol, ProxyRequest};
use super::server::RequestOutcome;
use crate::net::Host;
use crate::net::embedded_tor::{EmbeddedTor, EmbeddedTorError, StreamGroup, TorRefusal};

/// How long it may take; it waits less long itself, but where it has just begun.
const REPLY: Duration = Duration::from_secs(180);

/// Has a request carried out, for a host that may be another than the one that was asked for.
///
/// No name of ours passes here, whatever went before.
pub(super) async fn ask(
    tor: &EmbeddedTor,
    request: &ProxyRequest,
    host: &ProxyHost,
    group: StreamGroup,
) -> Result<RequestOutcome, RequestError> {
    if host.handled().is_some() {
        return Err(RequestError::General);
    }
    let host = parsed(host).ok_or(RequestError::HostUnreachable)?;
    let asked = async {
        match (request.command, host) {
            (ProxyCommand::Connect, host) => {
                let stream = tor.connect(&host, request.port, group).await?;
                Ok(RequestOutcome::Replied(connected(request.protocol), stream))
            }
            (ProxyCommand::Resolve, Host::Ip(address)) => Ok(RequestOutcome::Resolved(address)),
            (ProxyCommand::Resolve, host) if host.is_onion() => Err(RequestError::HostUnreachable),
            (ProxyCommand::Resolve, Host::Name(name)) => {
                let found = tor.resolve(&name, group).await?;
                chosen(&found)
                    .map(RequestOutcome::Resolved)
                    .ok_or(RequestError::HostUnreachable)
            }
            (ProxyCommand::ResolvePtr, Host::Ip(address)) => {
                let found = tor.resolve_address(address, group).await?.into_iter().next();
                found.map(RequestOutcome::Host).ok_or(RequestError::HostUnreachable)
            }
            (ProxyCommand::ResolvePtr, Host::Name(_)) => Err(RequestError::HostUnreachable),
        }
    };
    timeout(REPLY, asked).await.unwrap_or(Err(RequestError::Timeout))
}

/// Takes a host in the form in which the rest of the program has hosts; `None` for what no exit could find either.
fn parsed(host: &ProxyHost) -> Option<Host> {
    match host {
        ProxyHost::Address(address) => Some(Host::Ip(*address)),
        ProxyHost::Name(name) => match name.parse() {
            Ok(address) => Some(Host::Ip(address)),
            Err(_) => name.parse().ok(),
        },
    }
}

/// The addresses of IPv4 go first, as they do with Tor: there are more exits to them, and SOCKS4 knows no others.
fn chosen(found: &[IpAddr]) -> Option<IpAddr> {
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
}

/// What an application is told that has its connection.
fn connected(protocol: ProxyProtocol) -> ProxyReply {
    ProxyReply {
        code: SUCCEEDED,
        message: resolved(protocol, Ipv4Addr::UNSPECIFIED.into()),
        rest: Vec::new(),
    }
}

impl From<EmbeddedTorError> for RequestError {
    fn from(error: EmbeddedTorError) -> Self {
        let refusal = match error {
            EmbeddedTorError::Refused(refusal) => refusal,
            EmbeddedTorError::NotReady(_) => return Self::Timeout,
            EmbeddedTorError::Config { .. } | EmbeddedTorError::Failed { .. } => return Self::General,
        };
        match refusal {
            TorRefusal::Address | TorRefusal::UnknownHost | TorRefusal::OnionService => Self::HostUnreachable,
            TorRefusal::Forbidden | TorRefusal::ExitPolicy => Self::Forbidden,
            TorRefusal::ClosedPort => Self::Refused,
            TorRefusal::Timeout => Self::Timeout,
            TorRefusal::OnTheWay => Self::General,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_in_all_their_forms() {
        let parsed = |text: &str| parsed(&ProxyHost::name(text).unwrap()).map(|host| host.to_string());
        for (text, host) in [
            ("Example.COM.", "example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(host), "{text}");
        }
        for text in ["a..b", ".a", "192.0.2"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_of_ipv4_go_first() {
        let (four, six): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(chosen(&[six, four]), Some(four));
        assert_eq!(chosen(&[six]), Some(six));
        assert_eq!(chosen(&[]), None);
    }
}
