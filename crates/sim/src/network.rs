//! A whole network to try a client on: a chain with names in every state that a lookup can find, three Electrum servers, and
//! a recording SOCKS5 proxy that alone knows the way to them.

use std::io;

use isonym_core::chain::Height;
use isonym_core::time::Timestamp;

use crate::host::HostError;
use crate::wallet::Signer;
use crate::{AddressKind, Host, Ledger, Proxy, Release, Server, SharedWorld, Transport, World, WorldError, proxy};

/// Blocks of the world before the first name.
const BLOCKS: u32 = 2000;

/// Seconds between two blocks.
const SPACING: u64 = 600;

/// What the servers are called: names that nobody could resolve but the proxy.
const HOSTS: [(&str, Transport, Release); 3] = [
    ("one.sim", Transport::Tcp, Release::V1_16),
    ("two.sim", Transport::Tls, Release::V1_17),
    ("three.sim", Transport::Tcp, Release::V1_20),
];

const PORT: u16 = 50001;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimNetworkError {
    /// The chain can't be made.
    #[error("the simulated chain can't be made")]
    World(#[from] WorldError),
    /// A server can't begin.
    #[error("a simulated server can't begin")]
    Host(#[from] HostError),
    /// The proxy can't listen.
    #[error("the simulated proxy can't listen")]
    Proxy(#[from] io::Error),
}

/// A network that runs. It ends when this is dropped.
pub struct SimNetwork {
    /// The chain.
    pub world: SharedWorld,
    /// Who saw what.
    pub ledger: Ledger,
    /// The servers.
    pub hosts: Vec<Host>,
    /// The way to them.
    pub proxy: Proxy,
}

impl SimNetwork {
    /// Makes the chain and starts the servers and the proxy on free ports of the loopback interface. The chain's last block
    /// is about as old as `now`, since verifiers take none from the future and trust no old tip.
    ///
    /// It has the names `d/alice` and `d/bob`, `d/forgotten`, which has expired, and no `d/nobody`.
    ///
    /// # Errors
    ///
    /// [`SimNetworkError`].
    pub async fn start(seed: u64, now: Timestamp) -> Result<Self, SimNetworkError> {
        let world = SharedWorld::new(populate(seed, now)?);
        let ledger = Ledger::new();
        let proxy = Proxy::start(proxy::Mode::Open, ledger.clone()).await?;
        let mut hosts = Vec::with_capacity(HOSTS.len());
        for (name, transport, release) in HOSTS {
            let server = Server::new(release, None);
            let host = Host::start(name, transport, server, world.clone(), ledger.clone()).await?;
            proxy.route(name, host.addr);
            hosts.push(host);
        }
        Ok(Self {
            world,
            ledger,
            hosts,
            proxy,
        })
    }

    /// Lets the world go on by a block that is made `now`. Its names are renewed as owners do, for on regtest a name lives for
    /// 30 blocks.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when a name can't be renewed.
    pub fn go_on(&self, now: Timestamp) -> Result<(), WorldError> {
        self.world.change(|world| go_on(world, now))
    }

    /// Returns the servers' addresses as clients are given them: `HOST:PORT:t` for plain TCP, `HOST:PORT:s` for TLS.
    pub fn servers() -> [String; HOSTS.len()] {
        HOSTS.map(|(name, transport, _)| {
            let letter = if transport == Transport::Tls { 's' } else { 't' };
            format!("{name}:{PORT}:{letter}")
        })
    }

    /// Returns which ElectrumX each server passes for, and whether it speaks TLS.
    pub fn releases() -> [(&'static str, Transport, Release); HOSTS.len()] {
        HOSTS
    }
}

/// The values that the names have in the end.
const ALICE: &str = r#"{"ip":"192.0.2.10"}"#;
const BOB: &str = r#"{"ip":"192.0.2.2"}"#;

/// After how many blocks the names are renewed: long before they are about to expire.
const RENEWED_AFTER: Height = 10;

fn go_on(world: &mut World, now: Timestamp) -> Result<(), WorldError> {
    if world.chain().height().is_multiple_of(RENEWED_AFTER) {
        world.queue_update("d/alice", ALICE, AddressKind::P2wpkh, Signer::Owner)?;
        world.queue_update("d/bob", BOB, AddressKind::P2sh, Signer::Owner)?;
    }
    world.mine_by(now);
    Ok(())
}

fn populate(seed: u64, now: Timestamp) -> Result<World, WorldError> {
    let start = Timestamp(now.0.saturating_sub(u64::from(BLOCKS + 200) * SPACING));
    let mut world = World::new(seed, start);
    world.mine(BLOCKS);
    world.register("d/forgotten", r#"{"ip":"192.0.2.9"}"#, AddressKind::P2pkh)?;
    world.mine(30);
    world.register_all(&[
        ("d/alice", r#"{"ip":"192.0.2.1"}"#, AddressKind::P2wpkh),
        ("d/bob", BOB, AddressKind::P2sh),
    ])?;
    world.mine(12);
    world.update("d/alice", ALICE, AddressKind::P2shP2wpkh)?;
    world.mine(2);
    Ok(world)
}

#[cfg(test)]
mod tests {
    use isonym_core::name::policy::expires_in;

    use super::*;

    #[test]
    fn the_world_goes_on_for_hours_with_its_names_and_the_clock() {
        let mut now = Timestamp(1_800_000_000);
        let mut world = populate(1, now).unwrap();
        let mut renewed = world.chain().height();
        for _ in 0..500 {
            now.0 += 30;
            let height = world.chain().height();
            if height.is_multiple_of(RENEWED_AFTER) {
                renewed = height + 1;
            }
            go_on(&mut world, now).unwrap();
            assert_eq!(world.time(), now, "no block is from the future");
            let left = expires_in(renewed, world.chain().height(), world.params());
            let margin = i64::from(world.params().semi_expiration_margin());
            assert!(left > margin, "{left} blocks are left");
        }
    }
}
