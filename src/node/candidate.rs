//! Sees whether a server that was learned is what it should be, over a circuit of its own.

use std::time::Duration;

use bitcoin::BlockHash;
use tokio::sync::mpsc;

use super::connections::Dial;
use super::header_link::LinkEvent;
use crate::chain::{Height, PureHeader};
use crate::electrum::{ElectrumReply, ElectrumRequest, VersionRange};
use crate::net::operators::Shown;
use crate::net::{Connection, Identity, Purpose};

/// How long the answers may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A check.
pub(super) struct Check {
    pub(super) dial: Dial,
    /// Blocks that it must have: the anchor, and one of those that were verified.
    pub(super) blocks: Vec<(Height, BlockHash)>,
}

/// Begins a check in a task of its own, which tells how it ended.
pub(super) fn begin(check: Check, events: mpsc::Sender<LinkEvent>) {
    tokio::spawn(async move {
        let address = check.dial.server.clone();
        tokio::select! {
            () = events.closed() => {}
            fits = fits(&check) => {
                let _ = events.send(LinkEvent::Checked(address, fits.is_some())).await;
            }
        }
    });
}

/// Returns something if the server is one for this network (which the greeting shows), calls itself by the host that it was
/// dialed by, and has our blocks.
async fn fits(Check { dial, blocks }: &Check) -> Option<()> {
    let purpose = Purpose::Sync {
        versions: VersionRange::ALL,
    };
    let opened = Connection::open(&dial.dialer, &dial.server, dial.pin, dial.network, purpose, dial.limits).await;
    let connection = opened.ok()?;
    let headers = blocks.iter().map(|(height, _)| ElectrumRequest::Header(*height));
    let requests = std::iter::once(ElectrumRequest::Features).chain(headers).collect();
    let mut answers = connection.call(requests, TIMEOUT).await.ok()?.into_iter();
    connection.identity().map(Identity::pin).ok()?;
    let Some(Ok(ElectrumReply::Features(features))) = answers.next() else {
        return None;
    };
    let names_itself = Shown::new(None, &features.hosts).hosts.contains(&dial.server.host);
    let has_blocks = blocks.iter().zip(answers).all(|((_, hash), answer)| match answer {
        Ok(ElectrumReply::Header(header)) => PureHeader::decode(&header).is_some_and(|it| it.hash() == *hash),
        _ => false,
    });
    (names_itself && has_blocks).then_some(())
}
