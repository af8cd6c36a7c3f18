//! The JSON of headers and of the chain, as far as a light client knows them.
//!
//! Source: Namecoin Core `rpc/blockchain.cpp`, `blockheaderToJSON` and `getblockchaininfo`.

use bitcoin::BlockHash;
use bitcoin::pow::Work;
use bitcoin::{Target, TxMerkleNode};
use serde::Serialize;
use serde_json::json;

use super::reply::{CallResult, hash_text, result as write};
use crate::chain::params::MEDIAN_TIME_SPAN;
use crate::chain::{Height, Network, PureHeader};
use crate::node::{Handle, Standing};

/// Where a header stands.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) height: Height,
    /// -1 for a header that is not on the best chain.
    pub(super) confirmations: i64,
    pub(super) chainwork: Option<Work>,
    pub(super) median_time: Option<u32>,
    pub(super) next: Option<BlockHash>,
}

/// A header, with Core's fields in Core's order. The number of transactions and the AuxPoW are not kept.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HeaderJson {
    #[serde(serialize_with = "hash_text")]
    hash: BlockHash,
    confirmations: i64,
    height: Height,
    version: i32,
    #[serde(rename = "versionHex")]
    version_hex: String,
    #[serde(rename = "merkleroot", serialize_with = "hash_text")]
    merkle_root: TxMerkleNode,
    time: u32,
    #[serde(rename = "mediantime", skip_serializing_if = "Option::is_none")]
    median_time: Option<u32>,
    nonce: u32,
    bits: String,
    target: String,
    difficulty: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chainwork: Option<String>,
    #[serde(rename = "previousblockhash", skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(rename = "nextblockhash", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub(super) fn header(header: &PureHeader, position: &Position) -> HeaderJson {
    let target = Target::from(header.bits());
    HeaderJson {
        hash: header.hash(),
        confirmations: position.confirmations,
        height: position.height,
        version: header.version(),
        version_hex: format!("{:08x}", header.version()),
        merkle_root: header.merkle_root(),
        time: header.time(),
        median_time: position.median_time,
        nonce: header.nonce(),
        bits: format!("{:08x}", header.bits().to_consensus()),
        target: format!("{target:064x}"),
        difficulty: target.difficulty_float(),
        chainwork: position.chainwork.map(|work| format!("{work:064x}")),
        previous: (position.height > 0).then(|| header.prev().to_string()),
        next: position.next.map(|hash| hash.to_string()),
    }
}

/// Returns the median time of a header and the ten before it; `None` where one of them is not known.
pub(super) fn median_time(height: Height, header_at: impl Fn(Height) -> Option<PureHeader>) -> Option<u32> {
    let span = Height::try_from(MEDIAN_TIME_SPAN).ok()?;
    let lowest = height.saturating_sub(span - 1);
    let mut times = (lowest..=height)
        .map(|height| header_at(height).map(|header| header.time()))
        .collect::<Option<Vec<_>>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Returns the difficulty of the newest header, relative to the easiest on the main network; 1 while none is known.
pub(super) fn difficulty(node: &Handle, standing: &Standing) -> f64 {
    let header = node.header_at(standing.tip.height);
    header.map_or(1.0, |header| Target::from(header.bits()).difficulty_float())
}

/// Returns Core's word for a network.
fn chain_word(network: Network) -> &'static str {
    match network {
        Network::Mainnet => "main",
        Network::Testnet => "test",
        Network::Regtest => "regtest",
    }
}

/// Answers `getblockchaininfo`. What is said of blocks in Core is said of headers here.
pub(super) fn chain_info(node: &Handle, standing: &Standing) -> CallResult {
    let tip = &standing.tip;
    let progress = &standing.progress;
    let mut info = json!({
        "chain": chain_word(node.params().network),
        "blocks": tip.height,
        "headers": tip.height,
        "bestblockhash": tip.hash.to_string(),
    });
    let header = node.header_at(tip.height);
    if let (Some(header), Some(info)) = (header, info.as_object_mut()) {
        let target = Target::from(header.bits());
        info.insert(
            "bits".to_owned(),
            json!(format!("{:08x}", header.bits().to_consensus())),
        );
        info.insert("target".to_owned(), json!(format!("{target:064x}")));
        info.insert("difficulty".to_owned(), json!(target.difficulty_float()));
        info.insert("time".to_owned(), json!(header.time()));
        let median = median_time(tip.height, |height| node.header_at(height));
        info.extend(median.map(|time| ("mediantime".to_owned(), json!(time))));
    }
    if let Some(info) = info.as_object_mut() {
        let done = if standing.synchronized {
            1.0
        } else {
            share(progress.done, progress.total)
        };
        info.insert("verificationprogress".to_owned(), json!(done));
        info.insert("initialblockdownload".to_owned(), json!(!standing.synchronized));
        let work = node.chainwork_at(tip.height);
        info.extend(work.map(|work| ("chainwork".to_owned(), json!(format!("{work:064x}")))));
        // No block is kept.
        info.insert("size_on_disk".to_owned(), json!(0));
        info.insert("pruned".to_owned(), json!(true));
        info.insert("warnings".to_owned(), json!(standing.warnings()));
    }
    write(&info)
}

/// Returns `done` of `total`, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a share for people to look at")]
fn share(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    (done as f64 / total as f64).min(1.0)
}
