//! What servers a node knows, and what its user says of those that it learned of.

use serde::{Deserialize, Serialize};

use super::Handle;
use super::run::Node;
use crate::net::discovery::{Discovery, DiscoveryEvent, LearnedBy};
use crate::net::{ServerAddr, shipped_servers};
use crate::reputation::ServerIndex;

/// How a server came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerClass {
    /// It was configured.
    Configured,
    /// It is shipped with the program.
    Shipped,
    /// The user accepted it.
    Accepted,
    /// Two operators of those above named it within a week.
    Corroborated,
    /// One operator named it. It is never dialed.
    Suggested,
}

/// What a server is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerUse {
    /// Header sync and lookups.
    All,
    /// Header sync alone, until it has served well for a week.
    HeaderSync,
    /// Nothing before it was checked.
    Unchecked,
    /// Nothing.
    None,
}

/// A server that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedServer {
    /// Its address.
    pub address: String,
    /// How it came to be known.
    pub class: ServerClass,
    /// What it is used for.
    pub used_for: ServerUse,
    /// On how many days it was of good service, where it was learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_days: Option<u32>,
    /// How many days ago it was so last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_days_ago: Option<u64>,
}

/// Why what the user says of a server can't be heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerListError {
    /// The node does not learn of servers.
    #[error("no servers are learned of: they were configured, or --discover is off")]
    Off,
    /// It is configured or shipped, or learned already; or there are as many as there may be.
    #[error("server is known already, or too many were learned")]
    NotAccepted,
    /// It is neither learned nor suggested.
    #[error("server is neither learned nor suggested")]
    NotKnown,
}

impl Node {
    /// Lists the servers that are known: those that were configured or shipped, those that were learned, and those that were
    /// suggested.
    pub fn server_list(&self) -> Vec<ListedServer> {
        let shipped = shipped_servers(self.tree().params().network);
        let learned: Vec<_> = self.discovery().into_iter().flat_map(Discovery::learned).collect();
        let trusted = self.trusted_servers().into_iter().map(|address| ListedServer {
            address: address.to_string(),
            class: if shipped.contains(&address) {
                ServerClass::Shipped
            } else {
                ServerClass::Configured
            },
            used_for: ServerUse::All,
            good_days: None,
            last_good_days_ago: None,
        });
        let today = self.time().0 / (24 * 3600);
        let learned = learned.into_iter().map(|it| ListedServer {
            address: it.address.to_string(),
            class: match it.by {
                LearnedBy::Accepted => ServerClass::Accepted,
                LearnedBy::Corroborated => ServerClass::Corroborated,
            },
            used_for: self.use_of(&it.address),
            good_days: Some(it.good_days),
            last_good_days_ago: it.last_good.map(|day| today.saturating_sub(day)),
        });
        let suggested = self.discovery().into_iter().flat_map(Discovery::suggested);
        let suggested = suggested.map(|address| ListedServer {
            address: address.to_string(),
            class: ServerClass::Suggested,
            used_for: ServerUse::None,
            good_days: None,
            last_good_days_ago: None,
        });
        trusted.chain(learned).chain(suggested).collect()
    }

    fn use_of(&self, address: &ServerAddr) -> ServerUse {
        match self.index_of(address) {
            Some(ServerIndex(at)) if self.reputation().is_admitted(ServerIndex(at)) => ServerUse::All,
            Some(_) => ServerUse::HeaderSync,
            None => ServerUse::Unchecked,
        }
    }

    /// Has a server used as one that was learned, once it was checked.
    ///
    /// # Errors
    ///
    /// [`ServerListError::Off`] and [`ServerListError::NotAccepted`].
    pub fn accept_server(&mut self, address: &ServerAddr) -> Result<(), ServerListError> {
        let learned = |node: &Self| node.discovery().map(|it| it.learned().count());
        let before = learned(self).ok_or(ServerListError::Off)?;
        self.discover(DiscoveryEvent::Accept(address.clone()));
        if learned(self) == Some(before) {
            return Err(ServerListError::NotAccepted);
        }
        Ok(())
    }

    /// Forgets a server that was learned or suggested.
    ///
    /// # Errors
    ///
    /// [`ServerListError::Off`] and [`ServerListError::NotKnown`].
    pub fn forget_server(&mut self, address: &ServerAddr) -> Result<(), ServerListError> {
        let discovery = self.discovery().ok_or(ServerListError::Off)?;
        let is_learned = discovery.learned().any(|it| it.address == *address);
        if !is_learned && !discovery.suggested().any(|it| it == address) {
            return Err(ServerListError::NotKnown);
        }
        self.discover(DiscoveryEvent::Forget(address.clone()));
        Ok(())
    }
}

impl Handle {
    /// As [`Node::server_list`].
    pub fn server_list(&self) -> Vec<ListedServer> {
        self.with(|node| node.server_list())
    }

    /// Has these servers trusted from now on and no others, and others learned of from them or not. Header sync begins anew
    /// with them; connections of lookups to others are left to end as they would have, and asked nothing more. Says whether
    /// that is anything new.
    pub fn set_servers(&self, servers: &[ServerAddr], discover: bool) -> bool {
        let is_new = self.with(|node| node.set_servers(servers, discover));
        if is_new {
            self.begin_sync_anew();
        }
        is_new
    }

    /// As [`Node::accept_server`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn accept_server(&self, address: &ServerAddr) -> Result<(), ServerListError> {
        self.with(|node| node.accept_server(address))
    }

    /// As [`Node::forget_server`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn forget_server(&self, address: &ServerAddr) -> Result<(), ServerListError> {
        self.with(|node| node.forget_server(address))
    }
}
