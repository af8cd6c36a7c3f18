//! What a sync came to, for people to read.

use serde::{Deserialize, Serialize};

use super::header_link::HeaderLinkError;
use crate::chain::sync::{CloseReason, ServerFault, ServerReport, ServerState};
use crate::chain::{Height, Tip};
use crate::net::{DialError, ServerAddr};

/// How it went with one server when headers were last synced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerResult {
    /// `HOST:PORT:t` or `HOST:PORT:s`.
    pub address: String,
    /// What is to be thought of it. Files of earlier versions don't say.
    #[serde(default)]
    pub state: ServerStanding,
    /// The same in words, with the reason.
    pub result: String,
    /// The height of the tip that it claimed.
    pub claimed_height: Option<Height>,
    /// How many headers were taken from it.
    pub headers: u64,
    /// Why no stream to it could leave this machine, where that is the reason. It is of the moment, and not written down.
    #[serde(skip)]
    pub way_out: Option<DialError>,
}

/// What is to be thought of a server after a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerStanding {
    /// It could be used and broke no rule.
    Good,
    /// There were enough others.
    NotAsked,
    /// It was still being dialed when the sync ended.
    NotReached,
    /// It was not reached, or closed, or did not answer, which may go better the next time.
    Closed,
    /// It broke a rule, or can't be used at all.
    Faulty,
    /// It is not known, since another version wrote it down.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ServerResult {
    /// Says whether the server could be used and broke no rule.
    pub fn is_good(&self) -> bool {
        self.state == ServerStanding::Good
    }

    pub(super) fn new(address: &ServerAddr, report: &ServerReport) -> Self {
        let (state, result) = match &report.state {
            ServerState::Unused => (ServerStanding::NotAsked, "not asked".to_owned()),
            ServerState::Dialing => (ServerStanding::NotReached, "not reached in time".to_owned()),
            ServerState::Connected | ServerState::Rested => (ServerStanding::Good, "ok".to_owned()),
            ServerState::Closed(reason) => (ServerStanding::Closed, reason.to_string()),
            // Nothing is known of the server itself.
            ServerState::Faulty(fault) if way_out(&report.state).is_some() => {
                (ServerStanding::Closed, fault.to_string())
            }
            ServerState::Faulty(fault) => (ServerStanding::Faulty, format!("left: {fault}")),
        };
        Self {
            address: address.to_string(),
            state,
            result,
            claimed_height: report.claimed.map(|tip| tip.height),
            headers: report.headers,
            way_out: way_out(&report.state).cloned(),
        }
    }
}

/// Returns why no stream to any server could leave this machine, where that is how a server stands.
fn way_out(state: &ServerState) -> Option<&DialError> {
    let (ServerState::Closed(CloseReason::Link(link)) | ServerState::Faulty(ServerFault::Link(link))) = state else {
        return None;
    };
    let error = link.error().downcast_ref::<HeaderLinkError>()?.dial_error()?;
    error.is_proxys().then_some(error)
}

/// Says in few words how it went with each server: those with which it went the same are told of once. Each is who, and how
/// it went.
pub fn digest(servers: &[ServerResult]) -> Vec<(String, &str)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for server in servers {
        match groups.iter_mut().find(|(result, _)| *result == server.result) {
            Some((_, addresses)) => addresses.push(&server.address),
            None => groups.push((&server.result, vec![&server.address])),
        }
    }
    let who = |addresses: &[&str]| match addresses {
        [one] => (*one).to_owned(),
        all if all.len() == servers.len() => format!("all {} servers", all.len()),
        some if some.len() > NAMED => format!("{} of {} servers", some.len(), servers.len()),
        some => some.join(", "),
    };
    groups
        .into_iter()
        .map(|(result, addresses)| (who(&addresses), result))
        .collect()
}

/// Most servers with the same trouble that are named.
const NAMED: usize = 3;

/// What a sync came to.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncReport {
    /// Our tip.
    pub tip: Tip,
    /// How it went with each server.
    pub servers: Vec<ServerResult>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::sync::{LinkError, LinkErrorKind};

    fn result(state: ServerState) -> ServerResult {
        let report = ServerReport {
            state,
            claimed: None,
            headers: 7,
        };
        ServerResult::new(&"electrum.example:50002:s".parse().unwrap(), &report)
    }

    #[test]
    fn what_is_thought_of_a_server_hangs_on_no_word() {
        let link = |kind| LinkError::new(kind, "ok");
        let closed = ServerState::Closed(CloseReason::Link(link(LinkErrorKind::Transient)));
        let faulty = ServerState::Faulty(ServerFault::Link(link(LinkErrorKind::Permanent)));
        for (state, standing, words) in [
            (ServerState::Unused, ServerStanding::NotAsked, "not asked"),
            (ServerState::Dialing, ServerStanding::NotReached, "not reached in time"),
            (ServerState::Connected, ServerStanding::Good, "ok"),
            (ServerState::Rested, ServerStanding::Good, "ok"),
            (closed, ServerStanding::Closed, "ok"),
            (faulty, ServerStanding::Faulty, "left: ok"),
        ] {
            let result = result(state);
            assert_eq!((result.state, result.result.as_str()), (standing, words));
            assert_eq!(result.is_good(), standing == ServerStanding::Good);
            let text = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<ServerResult>(&text).unwrap(), result);
        }
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let server = |number: usize, result: &str| ServerResult {
            address: format!("s{number}:1:t"),
            state: ServerStanding::Closed,
            result: result.to_owned(),
            claimed_height: None,
            headers: 0,
            way_out: None,
        };
        let told = |results: &[&str]| {
            let servers: Vec<_> = results
                .iter()
                .enumerate()
                .map(|(n, result)| server(n, result))
                .collect();
            let digest = digest(&servers);
            let lines = digest.iter().map(|(who, result)| format!("{who}: {result}"));
            lines.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&["a"]), "s0:1:t: a");
        assert_eq!(told(&["a"; 7]), "all 7 servers: a");
        assert_eq!(told(&["a", "b", "a"]), "s0:1:t, s2:1:t: a; s1:1:t: b");
        assert_eq!(told(&["a", "a", "b", "a", "a"]), "4 of 5 servers: a; s2:1:t: b");
    }

    #[test]
    fn files_of_other_versions_are_read() {
        let older = r#"{"address":"a:1:t","result":"ok","claimed_height":5,"headers":2}"#;
        let newer = r#"{"address":"a:1:t","state":"asleep","result":"ok","claimed_height":null,"headers":2}"#;
        for text in [older, newer] {
            let result: ServerResult = serde_json::from_str(text).unwrap();
            assert_eq!((result.state, result.headers), (ServerStanding::Unknown, 2));
            assert!(!result.is_good());
        }
    }
}
