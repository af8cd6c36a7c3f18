//! A peer: a full node as Namecoin Core 31 is one on the peer-to-peer network, for connections that come to it.
//!
//! | file | |
//! | --- | --- |
//! | [`session`] | one connection as a function from bytes to bytes |
//! | [`fault`] | what the peer may do wrong |
//! | `wire` | messages as bytes |
//! | `body` | blocks taken apart and put together, right or wrong |
//! | [`host`] | the edge: peers on 127.0.0.1, or over any stream |
//!
//! It is what a light client meets: no transactions are relayed, nothing is asked of the client, and compact blocks are
//! blocks.

mod body;
pub mod fault;
pub mod host;
pub mod session;
mod wire;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::AddrV2Message;
use isonym_core::chain::Network;

pub use fault::PeerFault;
pub use host::{PeerDesk, PeerHost};
pub use session::{Note, PeerOutput, PeerSession, PeerThen};
pub use wire::{magic, message};

/// The protocol's version that today's nodes speak.
///
/// Source: Bitcoin Core `node/protocol_version.h`, `PROTOCOL_VERSION`.
pub const PROTOCOL_VERSION: u32 = 70016;

/// A peer: what it says of itself, and at most one fault.
#[derive(Clone, Debug)]
pub struct Peer {
    network: Network,
    user_agent: String,
    addresses: Vec<AddrV2Message>,
    fault: Option<PeerFault>,
}

impl Default for Peer {
    fn default() -> Self {
        Self::new(Network::Regtest)
    }
}

impl Peer {
    /// Makes an honest peer.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            user_agent: "/Satoshi:31.99.0/".to_owned(),
            addresses: Vec::new(),
            fault: None,
        }
    }

    /// Makes it do something wrong.
    #[must_use]
    pub fn with_fault(mut self, fault: PeerFault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Makes it tell of another peer when it is asked for addresses, among those that it was made to tell of before.
    #[must_use]
    pub fn telling_of(mut self, address: AddrV2Message) -> Self {
        self.addresses.push(address);
        self
    }

    /// Makes it call itself something else.
    #[must_use]
    pub fn called(mut self, user_agent: &str) -> Self {
        user_agent.clone_into(&mut self.user_agent);
        self
    }

    /// Returns what it does wrong.
    pub fn fault(&self) -> Option<PeerFault> {
        self.fault
    }

    /// Changes what it does wrong, for what comes next on every connection.
    pub fn set_fault(&mut self, fault: Option<PeerFault>) {
        self.fault = fault;
    }

    fn is_pruned(&self) -> bool {
        matches!(self.fault, Some(PeerFault::Pruned { .. }))
    }

    fn services(&self) -> ServiceFlags {
        let all = if self.is_pruned() {
            ServiceFlags::NONE
        } else {
            ServiceFlags::NETWORK
        };
        all | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED
    }

    fn version(&self) -> u32 {
        match self.fault {
            Some(PeerFault::Version(version)) => version,
            _ => PROTOCOL_VERSION,
        }
    }

    fn magic(&self) -> [u8; 4] {
        wire::magic(self.network)
    }
}

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod download_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod tests;
