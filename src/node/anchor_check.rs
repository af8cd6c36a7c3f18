//! What servers say of a trust anchor.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::task::JoinSet;

use super::Node;
use super::lookup_link::Dial;
use crate::chain::{Height, PureHeader};
use crate::electrum::{ElectrumReply, ElectrumRequest};
use crate::net::{Connection, Pin, Purpose, ServerAddr};

/// How long a server may take to send one header.
const TIMEOUT: Duration = Duration::from_secs(45);

/// What one server has at a height.
#[derive(Clone, Debug)]
pub struct Opinion {
    /// Which server.
    pub server: ServerAddr,
    /// The hash of its block there, or why it told none.
    pub hash: Result<BlockHash, String>,
}

impl Node {
    /// Asks every server for the block that it has at a height, each over a connection of its own.
    pub async fn ask_all(&mut self, height: Height) -> Vec<Opinion> {
        let servers: Vec<ServerAddr> = self.servers().to_vec();
        let mut asked = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let dial = Arc::new(self.lookup_dial(index, server));
            asked.spawn(async move { (index, ask(&dial, height).await) });
        }
        let mut opinions = Vec::with_capacity(servers.len());
        while let Some(answered) = asked.join_next().await {
            let Ok((index, answer)) = answered else { continue };
            let Some(server) = servers.get(index).cloned() else {
                continue;
            };
            let hash = match answer {
                Ok((hash, pin)) => {
                    if let Some(pin) = pin {
                        self.learn_pin(&server, pin);
                    }
                    Ok(hash)
                }
                Err(reason) => Err(reason),
            };
            opinions.push(Opinion { server, hash });
        }
        opinions.sort_by(|one, other| one.server.cmp(&other.server));
        opinions
    }
}

async fn ask(dial: &Dial, height: Height) -> Result<(BlockHash, Option<Pin>), String> {
    let opened = Connection::open(
        &dial.dialer,
        &dial.server,
        dial.pin,
        dial.network,
        Purpose::Lookup,
        dial.limits,
    );
    let connection = opened.await.map_err(|error| error.to_string())?;
    let answers = connection.call(vec![ElectrumRequest::Header(height)], TIMEOUT).await;
    match answers.map_err(|error| error.to_string())?.into_iter().next() {
        Some(Ok(ElectrumReply::Header(header))) => {
            let header = PureHeader::decode(&header).ok_or("server gave no header")?;
            Ok((header.hash(), connection.identity().pin()))
        }
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(_)) | None => Err("server gave no header".to_owned()),
    }
}
