//! What a sync came to, for people to read.

use serde::{Deserialize, Serialize};

use crate::chain::sync::{ServerReport, ServerState};
use crate::chain::{Height, Tip};
use crate::net::ServerAddr;

/// How it went with one server when headers were last synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerResult {
    /// `HOST:PORT:t` or `HOST:PORT:s`.
    pub address: String,
    /// In words.
    pub result: String,
    /// The height of the tip that it claimed.
    pub claimed_height: Option<Height>,
    /// How many headers were taken from it.
    pub headers: u64,
}

/// The result of a server that there is nothing to say against.
const GOOD: &str = "ok";

impl ServerResult {
    /// Says whether the server could be used and broke no rule.
    pub fn is_good(&self) -> bool {
        self.result == GOOD
    }

    pub(super) fn new(address: &ServerAddr, report: &ServerReport) -> Self {
        let result = match &report.state {
            ServerState::Unused => "not asked".to_owned(),
            ServerState::Dialing => "not reached in time".to_owned(),
            ServerState::Connected | ServerState::Rested => GOOD.to_owned(),
            ServerState::Closed(reason) => reason.clone(),
            ServerState::Faulty(fault) => format!("left: {fault}"),
        };
        Self {
            address: address.to_string(),
            result,
            claimed_height: report.claimed.map(|tip| tip.height),
            headers: report.headers,
        }
    }
}

/// What a sync came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// Our tip.
    pub tip: Tip,
    /// How it went with each server.
    pub servers: Vec<ServerResult>,
}
