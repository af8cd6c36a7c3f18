//! What servers say of a trust anchor.

use std::time::Duration;

use bitcoin::BlockHash;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use tokio::task::JoinSet;

use super::connections::Dial;
use super::{Handle, Node};
use crate::chain::{Height, PureHeader};
use crate::electrum::{AnswerError, ElectrumReply, ElectrumRequest};
use crate::net::{Connection, ConnectionError, Pin, Purpose, ServerAddr};

/// How long a server may take to send one header.
const TIMEOUT: Duration = Duration::from_secs(45);

/// What one server has at a height. In JSON `hash` is what it told, or `error` says why it told nothing.
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

impl Serialize for Opinion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(2))?;
        members.serialize_entry("server", &self.server.to_string())?;
        match &self.hash {
            Ok(hash) => members.serialize_entry("hash", &hash.to_string())?,
            Err(error) => members.serialize_entry("error", &error.to_string())?,
        }
        members.end()
    }
}

impl Node {
    /// Asks every server for the block that it has at a height, each over a connection of its own.
    pub async fn ask_all(&mut self, height: Height) -> Vec<Opinion> {
        let answers = ask_each(self.dials(), height).await;
        answers.into_iter().map(|answer| self.opinion(answer)).collect()
    }

    fn dials(&self) -> Vec<Dial> {
        let servers = self.servers().iter();
        servers.map(|server| self.lookup_dial(server)).collect()
    }

    fn opinion(&mut self, (server, answer): Answered) -> Opinion {
        if let Ok((_, Some(pin))) = &answer {
            self.learn_pin(&server, *pin);
        }
        let hash = answer.map(|(hash, _)| hash);
        Opinion { server, hash }
    }
}

impl Handle {
    /// As [`Node::ask_all`], while the node runs.
    pub async fn ask_all(&self, height: Height) -> Vec<Opinion> {
        let answers = ask_each(self.with(|node| node.dials()), height).await;
        self.with(|node| answers.into_iter().map(|answer| node.opinion(answer)).collect())
    }
}

/// What a server answered, with what is to be remembered of its certificate.
type Answered = (ServerAddr, Result<(BlockHash, Option<Pin>), OpinionError>);

async fn ask_each(dials: Vec<Dial>, height: Height) -> Vec<Answered> {
    let mut asked = JoinSet::new();
    for dial in dials {
        asked.spawn(async move {
            let answer = ask(&dial, height).await;
            (dial.server, answer)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answers
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
    let answers = connection.call(vec![ElectrumRequest::Header(height)], TIMEOUT).await?;
    // Only now: who is asked must not see that its certificate is another than before.
    let identity = connection
        .identity()
        .map_err(|error| ConnectionError::Dial(error.into()))?;
    match answers.into_iter().next() {
        Some(Ok(ElectrumReply::Header(header))) => {
            let header = PureHeader::decode(&header).ok_or(OpinionError::NoHeader)?;
            Ok((header.hash(), identity.pin()))
        }
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) | None => Err(OpinionError::NoHeader),
    }
}
