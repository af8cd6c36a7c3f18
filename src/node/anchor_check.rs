//! What servers say of a trust anchor.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::task::JoinSet;

use super::Node;
use super::lookup_link::Dial;
use crate::chain::{Height, PureHeader};
use crate::electrum::{AnswerError, Reply, Request};
use crate::net::{Connection, ConnectionError, Pin, Purpose, ServerAddr};

/// How long a server may take to send one header.
const TIMEOUT: Duration = Duration::from_secs(45);

/// What one server has at a height.
#[derive(Clone, Debug)]
pub struct Opinion {
    /// Which server.
    pub server: ServerAddr,
    /// The hash of its block there, or why it told none.
    pub hash: Result<BlockHash, OpinionError>,
}

/// Why a server didn't tell its block at a height.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpinionError {
    /// It was not reached, or its connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It refused to tell, or answered nonsense.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// What it answered is no header.
    #[error("server gave no header")]
    NoHeader,
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
            if let Ok((_, Some(pin))) = &answer {
                self.learn_pin(&server, *pin);
            }
            let hash = answer.map(|(hash, _)| hash);
            opinions.push(Opinion { server, hash });
        }
        opinions.sort_by(|one, other| one.server.cmp(&other.server));
        opinions
    }
}

async fn ask(dial: &Dial, height: Height) -> Result<(BlockHash, Option<Pin>), OpinionError> {
    let opened = Connection::open(
        &dial.dialer,
        &dial.server,
        dial.pin,
        dial.network,
        Purpose::Lookup,
        dial.limits,
    );
    let connection = opened.await?;
    let answers = connection.call(vec![Request::Header(height)], TIMEOUT).await?;
    match answers.into_iter().next() {
        Some(Ok(Reply::Header(header))) => {
            let header = PureHeader::decode(&header).ok_or(OpinionError::NoHeader)?;
            Ok((header.hash(), connection.identity().pin()))
        }
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) | None => Err(OpinionError::NoHeader),
    }
}
