//! Shows what stream isolation means: two readers look the same names up, and no connection has to do with both. `cargo run
//! --example isolation`.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use isonym::{IsolationId, LightClient, Network, Proxy, Timestamp};
use isonym_sim::SimNetwork;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a program is the edge")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let network = SimNetwork::start(1, Timestamp(now)).await?;
    let folder = tempfile::tempdir()?;
    let client = LightClient::builder(Network::Regtest, folder.path())
        .proxy(Proxy::Socks5(vec![network.proxy.addr]))
        .servers(SimNetwork::servers())
        // Nothing is opened ahead, so that every connection below is one of a lookup or of header sync.
        .openings_ahead(0)
        .start()
        .await?;
    client.synced(|_| ()).await?;

    for reader in ["a reader", "another reader"] {
        let id = IsolationId::new(reader.as_bytes()).ok_or("an isolation ID has at most 1024 bytes")?;
        for name in ["d/alice", "d/bob"] {
            client.lookup(name, &id).await?;
            println!("{reader} looked {name} up");
        }
        let lookups = |methods: &[String]| {
            methods
                .iter()
                .any(|method| method.contains("name") || method.contains("scripthash"))
        };
        let connections = network.ledger.circuits();
        let theirs = connections
            .iter()
            .filter(|(connection, _)| connection.requests.iter().any(|request| lookups(&request.methods)));
        println!("connections that carried lookups until now:");
        for (connection, circuit) in theirs {
            let credentials = circuit.as_ref().and_then(|circuit| circuit.credentials.as_ref());
            let user = credentials.map_or("none", |credentials| credentials.user.get(..8).unwrap_or("short"));
            println!("  to {} as SOCKS user {user}..", connection.server);
        }
    }
    client.stop().await?;
    Ok(())
}
