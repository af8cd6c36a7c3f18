//! The Electrum methods, answered from a simulated chain.
//!
//! Source of shapes and messages: ElectrumX for Namecoin (`e-x`), observed on running servers.

use std::borrow::Cow;

use bitcoin::Txid;
use bitcoin::consensus::serialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, RpcError};
use super::chain::{HistoryEntry, SimChain};
use super::fault::{Fault, with_forged_value};
use super::merkle::Node;
use super::release::{Release, Version};
use super::skeleton::{Denial, Reply};
use isonym_core::chain::{Height, Network, PureHeader};
use isonym_core::name::id::ScriptHash;

/// Most headers in one reply.
const MAX_HEADERS: u64 = 2016;

/// Everything that an answer depends on.
pub(super) struct Answerer<'a> {
    /// The chain as the server tells it.
    pub(super) chain: &'a SimChain,
    pub(super) release: Release,
    pub(super) version: Version,
    pub(super) fault: Option<&'a Fault>,
    /// The hosts that the server says it is reached at.
    pub(super) hosts: &'a [String],
    /// What it says of other servers.
    pub(super) peers: &'a Value,
}

impl Answerer<'_> {
    /// Answers one request; `server.version` is the session's.
    pub(super) fn answer(&self, method: &str, arguments: &Arguments<'_>) -> Result<Value, Denial> {
        arguments.check_count(method)?;
        let answer = match method {
            "server.ping" => Ok(Value::Null),
            "server.features" => Ok(self.features()),
            "server.peers.subscribe" => Ok(self.peers.clone()),
            "blockchain.headers.subscribe" => Ok(self.tip()),
            "blockchain.block.header" => return self.header(arguments),
            "blockchain.block.headers" => return self.headers(arguments),
            "blockchain.scripthash.get_history" => self.history(arguments),
            "blockchain.transaction.get" => self.transaction(arguments),
            "blockchain.transaction.get_merkle" => self.merkle(arguments),
            "blockchain.name.get_value_proof" if self.version >= Version::NAME_PROOFS => self.value_proof(arguments),
            _ => Err(RpcError::new(-32601, format!("unknown method \"{method}\""))),
        };
        answer.map_err(Denial::Error)
    }

    /// Returns the newest header, as `headers.subscribe` and its notifications tell it.
    pub(super) fn tip(&self) -> Value {
        let height = self.chain.height();
        let full = match self.fault {
            Some(Fault::Skeleton(skeleton)) => skeleton.tip(self.chain),
            _ => Cow::Borrowed(self.chain.full_header(height).unwrap_or_default()),
        };
        json!({"hex": hex(&full), "height": height})
    }

    /// Returns a header, cut or as it is shown in full.
    fn header_at(&self, height: Height, cuts: bool) -> Reply<'_> {
        let full = self.chain.full_header(height).unwrap_or_default();
        match self.fault {
            _ if cuts => Ok(Cow::Borrowed(cut(full))),
            Some(Fault::Skeleton(skeleton)) => skeleton.full_header(self.chain, height),
            _ => Ok(Cow::Borrowed(full)),
        }
    }

    fn features(&self) -> Value {
        let genesis = self.chain.header(0).map(|header| header.hash());
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|host| (host.clone(), json!({"tcp_port": 50001, "ssl_port": 50002})));
        json!({
            "hosts": hosts.collect::<Map<_, _>>(),
            "pruning": null,
            "server_version": self.release.software(),
            "protocol_min": "1.4",
            "protocol_max": self.release.newest().to_string(),
            "genesis_hash": genesis.map(|hash| hash.to_string()),
            "hash_function": "sha256",
            "services": [],
        })
    }

    fn height(&self, height: u64) -> Result<Height, RpcError> {
        Height::try_from(height)
            .ok()
            .filter(|height| *height <= self.chain.height())
            .ok_or_else(|| RpcError::bad_request(format!("height {} out of range", thousands(height))))
    }

    fn header_proof(&self, height: u64, cp_height: u64) -> Result<(Value, Value), RpcError> {
        let proof = Height::try_from(height)
            .ok()
            .zip(Height::try_from(cp_height).ok())
            .and_then(|(height, cp_height)| self.chain.header_branch(height, cp_height));
        let (branch, root) = proof.ok_or_else(|| {
            RpcError::bad_request(format!(
                "require header height {} <= cp_height {} <= chain height {}",
                thousands(height),
                thousands(cp_height),
                thousands(self.chain.height().into())
            ))
        })?;
        Ok((hashes(&branch), json!(reversed_hex(&root))))
    }

    fn header(&self, arguments: &Arguments<'_>) -> Result<Value, Denial> {
        let asked = arguments.natural(0, "height")?;
        let cp_height = arguments.natural_or_zero(1, "cp_height")?;
        let height = self.height(asked)?;
        let cuts = cp_height > 0 && self.version >= Version::CUT_HEADERS;
        let header = self.header_at(height, cuts)?;
        if cp_height == 0 {
            return Ok(json!(hex(&header)));
        }
        let (branch, root) = self.header_proof(asked, cp_height)?;
        Ok(json!({"header": hex(&header), "branch": branch, "root": root}))
    }

    fn headers(&self, arguments: &Arguments<'_>) -> Result<Value, Denial> {
        let start = arguments.natural(0, "start_height")?;
        let count = arguments.natural(1, "count")?.min(MAX_HEADERS);
        let cp_height = arguments.natural_or_zero(2, "cp_height")?;
        let last = start.saturating_add(count).min(u64::from(self.chain.height()) + 1);
        let count = last.saturating_sub(start);
        let cuts = cp_height > 0 && self.version >= Version::CUT_HEADERS;

        let first = Height::try_from(start).unwrap_or(Height::MAX);
        let end = Height::try_from(last).unwrap_or(Height::MAX);
        let in_pieces = self.version >= Version::HEADER_ARRAYS;
        // Who lies about headers takes care to cut them right.
        let lies = cuts && matches!(self.fault, Some(Fault::Skeleton(_)));
        let wrongly = self.release.cuts_headers_wrongly() && (cuts || in_pieces) && !lies;
        let headers = (first..end).map(|height| self.header_at(height, cuts && !wrongly));
        let headers: Vec<Cow<'_, [u8]>> = headers.collect::<Result<_, _>>()?;
        let mut pieces: Vec<String> = if wrongly {
            let joined = headers.concat();
            let pieces = self.wrongly_cut(&joined).into_iter();
            pieces.map(|piece| hex(if cuts { cut(piece) } else { piece })).collect()
        } else {
            headers.iter().map(|header| hex(header)).collect()
        };
        if self.fault == Some(&Fault::TruncatedHeaders)
            && let Some(last) = pieces.last_mut()
        {
            last.truncate(last.len().saturating_sub(PureHeader::SIZE));
        }

        let mut reply = Map::new();
        if in_pieces {
            reply.insert("headers".to_owned(), json!(pieces));
        } else {
            reply.insert("hex".to_owned(), json!(pieces.concat()));
        }
        reply.insert("count".to_owned(), json!(count));
        reply.insert("max".to_owned(), json!(MAX_HEADERS));
        if cp_height > 0 && count > 0 {
            let (branch, root) = self.header_proof(last.saturating_sub(1), cp_height)?;
            reply.insert("branch".to_owned(), branch);
            reply.insert("root".to_owned(), root);
        }
        Ok(Value::Object(reply))
    }

    /// Cuts joined headers as 1.19.0, 1.20.0 and 2.0.0 do: by the sizes of the headers from height 0 on.
    fn wrongly_cut<'b>(&self, joined: &'b [u8]) -> Vec<&'b [u8]> {
        let mut rest = joined;
        let mut pieces = Vec::new();
        for height in 0..=self.chain.height() {
            if rest.is_empty() {
                break;
            }
            let size = self.chain.full_header(height).map_or(PureHeader::SIZE, <[u8]>::len);
            let (piece, behind) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    /// Returns a name's operations, oldest first, as far as the fault lets it.
    fn operations(&self, name: &ScriptHash) -> &[HistoryEntry] {
        let history = self.chain.history(name);
        match self.fault {
            Some(Fault::DeniesNames) => &[],
            Some(Fault::HiddenUpdates { newest }) => {
                let shown = history.len().saturating_sub(*newest);
                history.get(..shown).unwrap_or_default()
            }
            Some(Fault::InventsNames) if history.is_empty() => {
                let other = self.chain.names().next();
                other.map_or(&[], |other| self.chain.history(&other))
            }
            _ => history,
        }
    }

    fn history(&self, arguments: &Arguments<'_>) -> Result<Value, RpcError> {
        let name = arguments.scripthash()?;
        let entries = self.operations(&name).iter();
        Ok(entries
            .map(|entry| json!({"tx_hash": entry.txid.to_string(), "height": entry.height}))
            .collect())
    }

    /// Returns a transaction in hex, as far as the fault lets it.
    fn raw(&self, txid: &Txid) -> Option<String> {
        let known = self.chain.transaction(txid)?;
        Some(match self.fault {
            Some(Fault::ForgedValue) => hex(&serialize(&with_forged_value(&known.transaction))),
            _ => hex(&known.bytes),
        })
    }

    fn transaction(&self, arguments: &Arguments<'_>) -> Result<Value, RpcError> {
        let txid = arguments.txid()?;
        let verbose = arguments.at(1, "verbose").and_then(Value::as_bool).unwrap_or(false);
        let raw = self.raw(&txid).ok_or_else(|| {
            RpcError::new(
                2,
                "daemon error: DaemonError({'code': -5, 'message': 'No such mempool or blockchain transaction. \
                 Use gettransaction for wallet transactions.'})",
            )
        })?;
        if verbose {
            return Ok(json!({"txid": txid.to_string(), "hex": raw}));
        }
        Ok(json!(raw))
    }

    fn branch(&self, txid: &Txid) -> Option<(Value, usize)> {
        let position = self.chain.position(txid)?;
        let mut branch = self.chain.merkle_branch(position)?;
        if self.fault == Some(&Fault::ForgedMerkleBranch) {
            match branch.first_mut().and_then(|node| node.first_mut()) {
                Some(byte) => *byte ^= 1,
                None => branch.push([0x5a; 32]),
            }
        }
        Some((hashes(&branch), position.pos))
    }

    fn merkle(&self, arguments: &Arguments<'_>) -> Result<Value, RpcError> {
        let txid = arguments.txid()?;
        let asked = arguments.natural(1, "height")?;
        let height = self.height(asked).map_err(|error| {
            if self.release >= Release::V1_20 {
                return error;
            }
            let (asked, tip) = (thousands(asked), thousands(self.chain.height().into()));
            RpcError::bad_request(format!("db error: DBError('block {asked} not on disk (>{tip})')"))
        })?;
        let there = self.chain.position(&txid).filter(|position| position.height == height);
        let (merkle, pos) = there
            .and_then(|_| self.branch(&txid))
            .ok_or_else(|| RpcError::bad_request(format!("tx {txid} not in block at height {}", thousands(asked))))?;
        Ok(json!({"block_height": height, "merkle": merkle, "pos": pos}))
    }

    fn value_proof(&self, arguments: &Arguments<'_>) -> Result<Value, RpcError> {
        let name = arguments.scripthash()?;
        let cp_height = arguments.natural_or_zero(1, "cp_height")?;
        let depth = Network::Regtest.params().expiration_depth(self.chain.height());
        let mut items = Vec::new();
        let mut newer: Option<Height> = None;
        for entry in self.operations(&name).iter().rev() {
            if newer.is_some_and(|newer| newer.saturating_sub(entry.height) > depth) {
                break;
            }
            newer = Some(entry.height);
            let Some((raw, (merkle, pos))) = self.raw(&entry.txid).zip(self.branch(&entry.txid)) else {
                continue;
            };
            let mut item = json!({
                "height": entry.height,
                "tx": raw,
                "tx_merkle": {"merkle": merkle, "pos": pos},
            });
            let below = u64::from(entry.height) <= cp_height;
            if below && let Some(item) = item.as_object_mut() {
                let (branch, root) = self.header_proof(entry.height.into(), cp_height)?;
                let header = cut(self.chain.full_header(entry.height).unwrap_or_default());
                item.insert(
                    "header".to_owned(),
                    json!({"header": hex(header), "branch": branch, "root": root}),
                );
            }
            items.push(item);
            if below {
                break;
            }
        }
        let mut reply = Map::new();
        reply.insert(name.to_string(), Value::Array(items));
        Ok(Value::Object(reply))
    }
}

/// Returns the first 80 bytes, or all when there are fewer.
fn cut(header: &[u8]) -> &[u8] {
    header.get(..PureHeader::SIZE).unwrap_or(header)
}

fn hex(bytes: &[u8]) -> String {
    use bitcoin::hex::DisplayHex;
    bytes.to_lower_hex_string()
}

fn reversed_hex(node: &Node) -> String {
    ScriptHash(*node).to_string()
}

fn hashes(nodes: &[Node]) -> Value {
    nodes.iter().map(reversed_hex).collect()
}

/// Writes a number with a comma before every third digit from the end, as Python's `{:,}` does.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let length = digits.len();
    let mut text = String::with_capacity(length + length / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (length - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
