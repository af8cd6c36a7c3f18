//! Serves a simulated chain with the name `d/bench` (value `value`) from three servers over TLS, behind a SOCKS5 proxy
//! that alone knows the way to them: `sim_world [SECONDS]`. Prints the proxy's address and those of the servers on one
//! line, then serves until it is killed. Meanwhile a block is mined every so many seconds, in which the name is renewed;
//! none without that argument.

use std::error::Error;
use std::time::Duration;

use isonym_core::time::Timestamp;
use isonym_sim::{AddressKind, Host, Ledger, Proxy, Release, Server, SharedWorld, Transport, World, proxy::Mode};

/// A time long before any clock's, so that no block lies in the future.
const START: Timestamp = Timestamp(1_500_000_000);

const SERVERS: [(&str, Release); 3] = [
    ("one.sim", Release::V1_16),
    ("two.sim", Release::V1_17),
    ("three.sim", Release::V1_20),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let pause: Option<f64> = std::env::args().nth(1).map(|word| word.parse()).transpose()?;
    let mut world = World::new(1, START);
    world.register("d/bench", "value", AddressKind::P2wpkh)?;
    // A registration is served from twelve confirmations on.
    world.mine(12);
    let world = SharedWorld::new(world);
    let ledger = Ledger::new();
    let proxy = Proxy::start(Mode::Open, ledger.clone()).await?;
    let mut hosts = Vec::new();
    let mut line = vec![proxy.addr.to_string()];
    for (name, release) in SERVERS {
        let server = Server::new(release, None);
        let host = Host::start(name, Transport::Tls, server, world.clone(), ledger.clone()).await?;
        proxy.route(name, host.addr);
        hosts.push(host);
        line.push(format!("{name}:50002:s"));
    }
    println!("{}", line.join(" "));
    if let Some(seconds) = pause {
        loop {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            world.change(|world| world.update("d/bench", "value", AddressKind::P2wpkh))?;
        }
    }
    std::future::pending::<()>().await;
    Ok(())
}
