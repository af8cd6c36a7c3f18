//! Looks a name up on a simulated network: `cargo run --example lookup [NAME]`.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use isonym::{IsolationId, LightClient, Network, Outcome, Proxy, Timestamp};
use isonym_sim::SimNetwork;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "d/alice".to_owned());
    // On the real network neither this nor `proxy` and `servers` below are needed: a Tor on this machine is found, and
    // servers are shipped.
    #[expect(clippy::disallowed_methods, reason = "a program is the edge")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let network = SimNetwork::start(1, Timestamp(now)).await?;

    let folder = tempfile::tempdir()?;
    let client = LightClient::builder(Network::Regtest, folder.path())
        .proxy(Proxy::Socks5(vec![network.proxy.addr]))
        .servers(SimNetwork::servers())
        .start()
        .await?;
    client
        .synced(|progress| println!("headers: {} of {}", progress.done, progress.total))
        .await?;

    match client.lookup(&name, &IsolationId::default()).await? {
        Outcome::Found(status) => {
            let value = String::from_utf8_lossy(status.name.value().as_bytes()).into_owned();
            println!("{name} = {value}");
            println!(
                "{} confirmations, expires in {} blocks",
                status.confirmations, status.expires_in
            );
        }
        Outcome::NeverExisted => println!("{name} never existed, or so the servers say"),
        _ => println!("{name} has no value that counts today"),
    }
    client.stop().await?;
    Ok(())
}
