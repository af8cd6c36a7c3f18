//! The methods: each call to the question that it asks the node, and the answer to JSON.

use std::str::FromStr;

use bitcoin::BlockHash;
use serde_json::json;

use super::args::{self, Defaults, NameArgs};
use super::blocks;
use super::error::{RpcError, code};
use super::help;
use super::json::Json;
use super::params::{Wanted, check, positional};
use super::reply::{CallResult, result as write};
use super::request::{Call, Params};
use super::result::{self, Style};
use crate::chain::{self, Height};
use crate::name::Outcome;
use crate::name::encoding::quoted;
use crate::name::lookup::LookupError;
use crate::node::{Answer, Handle, NodeError, Standing};

/// All methods, over a node.
#[derive(Clone, Debug)]
pub struct Methods {
    node: Handle,
    defaults: Defaults,
}

impl Methods {
    /// Serves what `node` knows.
    pub fn new(node: Handle, defaults: Defaults) -> Self {
        Self { node, defaults }
    }

    /// Carries a call out.
    ///
    /// # Errors
    ///
    /// Core's codes; see [`code`].
    pub async fn call(&self, call: Call) -> CallResult {
        let Call { method, params } = call;
        match method.as_str() {
            "name_show" => self.name_show(args::name_show(params, self.defaults)?).await,
            "name_history" => self.name_history(args::name_history(params, self.defaults)?).await,
            "getblockhash" => self.block_hash(params),
            "getblockheader" => self.block_header(params),
            "help" => {
                let [method] = take(params, [Wanted::optional("command", "string")], help::HELP)?;
                let method = match &method {
                    Json::String(method) => Some(method.as_str()),
                    _ => None,
                };
                write(&help::text(method))
            }
            "stop" => {
                let [_] = take(params, [Wanted::optional("wait", "number")], help::STOP)?;
                self.node.stop();
                write(&"Isonym stopping")
            }
            "isolation_forget" => {
                self.node.forget(args::isolation_forget(params)?);
                write(&())
            }
            other => self.report(other, params),
        }
    }

    /// Answers the methods without parameters that say how the node stands.
    fn report(&self, method: &str, params: Params) -> CallResult {
        let (answer, help): (fn(&Handle, &Standing) -> CallResult, _) = match method {
            "getblockcount" => (|_, standing| write(&standing.tip.height), help::GETBLOCKCOUNT),
            "getbestblockhash" => (
                |_, standing| write(&standing.tip.hash.to_string()),
                help::GETBESTBLOCKHASH,
            ),
            "getblockchaininfo" => (blocks::chain_info, help::GETBLOCKCHAININFO),
            "getnetworkinfo" => (|_, standing| network_info(standing), help::GETNETWORKINFO),
            "getconnectioncount" => (|_, standing| write(&connections(standing)), help::GETCONNECTIONCOUNT),
            "getinfo" => (info, help::GETINFO),
            "uptime" => (|_, standing| write(&standing.uptime.as_secs()), help::UPTIME),
            "isolation_info" => (|_, standing| isolation_info(standing), help::ISOLATION_INFO),
            "servers" => (|_, standing| write(&standing.servers), help::SERVERS),
            _ => return Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found")),
        };
        let [] = take(params, [], help)?;
        answer(&self.node, &self.node.standing())
    }

    async fn name_show(&self, args: NameArgs) -> CallResult {
        let answer = self.node.name_show(args.question.clone()).await;
        let answer = answer.map_err(|error| node_error(&error, args.style))?;
        name_show_result(&args, &answer, self.node.params())
    }

    async fn name_history(&self, args: NameArgs) -> CallResult {
        let answer = self.node.name_history(args.question.clone()).await;
        let (entries, tip) = answer.map_err(|error| node_error(&error, args.style))?;
        if entries.is_empty() {
            let name = quoted(args.question.name.as_bytes());
            return Err(RpcError::new(code::NAME, format!("name not found: {name}")));
        }
        let params = self.node.params();
        let entries = entries
            .iter()
            .map(|entry| result::entry(entry, &tip, params, args.encodings));
        write(&entries.collect::<Vec<_>>())
    }

    fn block_hash(&self, params: Params) -> CallResult {
        let [height] = take(params, [Wanted::required("height", "number")], help::GETBLOCKHASH)?;
        let tip = self.node.standing().tip.height;
        let height = match height {
            Json::Number(number) => number.as_i64().and_then(|number| Height::try_from(number).ok()),
            _ => None,
        };
        let Some(height) = height.filter(|height| *height <= tip) else {
            return Err(RpcError::new(code::PARAMETER, "Block height out of range"));
        };
        match self.node.header_at(height) {
            Some(header) => write(&header.hash().to_string()),
            None => Err(RpcError::new(
                code::MISC,
                format!("the header at height {height} is below those that are kept"),
            )),
        }
    }

    fn block_header(&self, params: Params) -> CallResult {
        let wanted = [
            Wanted::required("blockhash", "string"),
            Wanted::optional("verbose", "bool"),
        ];
        let [hash, verbose] = take(params, wanted, help::GETBLOCKHEADER)?;
        let Json::String(hash) = hash else {
            return Err(RpcError::new(code::MISC, help::GETBLOCKHEADER));
        };
        let hash = block_hash(&hash)?;
        let not_found = || RpcError::new(code::NOT_FOUND, "Block not found");
        let height = self.node.height_of(&hash).ok_or_else(not_found)?;
        let header = self.node.header_at(height).ok_or_else(not_found)?;
        if verbose == Json::Bool(false) {
            return write(&bitcoin::hex::DisplayHex::to_lower_hex_string(
                header.as_bytes().as_slice(),
            ));
        }
        let position = blocks::Position {
            height,
            tip: self.node.standing().tip.height,
            chainwork: self.node.chainwork_at(height),
            median_time: blocks::median_time(height, |height| self.node.header_at(height)),
            next: height
                .checked_add(1)
                .and_then(|next| self.node.header_at(next))
                .map(|next| next.hash()),
        };
        write(&blocks::header(&header, &position))
    }
}

/// Takes parameters of known number and types; those left out are null.
fn take<const N: usize>(params: Params, wanted: [Wanted; N], help: &str) -> Result<[Json; N], RpcError> {
    let places = wanted.map(Wanted::name);
    let items = check(positional(params, &places)?, &wanted, help)?;
    let mut items = items.into_iter();
    Ok([(); N].map(|()| items.next().unwrap_or(Json::Null)))
}

/// Reads a block hash. Source: Namecoin Core `rpc/util.cpp`, `ParseHashV`.
fn block_hash(text: &str) -> Result<BlockHash, RpcError> {
    let refused = |message| Err(RpcError::new(code::PARAMETER, message));
    if text.len() != 64 {
        let length = text.len();
        return refused(format!("blockhash must be of length 64 (not {length}, for '{text}')"));
    }
    BlockHash::from_str(text).or_else(|_| refused(format!("blockhash must be hexadecimal string (not '{text}')")))
}

/// Writes what a lookup came to.
fn name_show_result(args: &NameArgs, answer: &Answer, params: &chain::Params) -> CallResult {
    let Answer { outcome, tip, unproved } = answer;
    let unproved = *unproved;
    match (outcome, args.style) {
        (Outcome::Found(status), Style::Core) => write(&result::name(status, tip, unproved, params, args.encodings)),
        (Outcome::Found(status), Style::Electrum) => {
            write(&result::electrum_name(status, tip, unproved, params, args.encodings)?)
        }
        _ => Err(result::absence(outcome, &args.question.name, tip, args.style)),
    }
}

/// Chooses the code of an error of the node: the one place where that is done.
fn node_error(error: &NodeError, style: Style) -> RpcError {
    let (code, message) = match error {
        NodeError::Syncing { done, total } => {
            let message = match style {
                Style::Core => format!("Synchronising headers: {done} of {total}"),
                Style::Electrum => format!("The blockchain is still syncing ({done} of {total} headers)"),
            };
            (code::WARMUP, message)
        }
        NodeError::NotSynchronized { reason, .. } => {
            let message = match style {
                Style::Core => format!("Namecoin is downloading blocks... ({reason})"),
                Style::Electrum => format!("The blockchain is still syncing ({reason})"),
            };
            (code::INITIAL_DOWNLOAD, message)
        }
        NodeError::Dial(_) | NodeError::NoServer { .. } | NodeError::Lookup(LookupError::Unreachable { .. }) => {
            (code::NOT_CONNECTED, error.to_string())
        }
        NodeError::Stopped
        | NodeError::Busy { .. }
        | NodeError::Lookup(_)
        | NodeError::History { .. }
        | NodeError::HistoryEntry { .. }
        | NodeError::Folder { .. }
        | NodeError::FolderInUse { .. }
        | NodeError::KnownServers { .. }
        | NodeError::Store { .. } => (code::MISC, error.to_string()),
    };
    match style {
        Style::Core => RpcError::new(code, message),
        Style::Electrum => RpcError::new(code::ELECTRUM, message),
    }
}

/// Counts all connections to Electrum servers.
fn connections(standing: &Standing) -> usize {
    standing.progress.connections + standing.pool.clean + standing.pool.dirty + standing.pool.parting
}

/// Returns the program's version as Core writes its own: two digits for each part but the first.
fn version() -> u64 {
    env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .fold(0, |sum: u64, part: u64| sum * 100 + part)
        * 100
}

fn network_info(standing: &Standing) -> CallResult {
    write(&json!({
        "version": version(),
        "subversion": concat!("/Isonym:", env!("CARGO_PKG_VERSION"), "/"),
        "networkactive": true,
        "connections": connections(standing),
        "warnings": [],
    }))
}

fn info(node: &Handle, standing: &Standing) -> CallResult {
    write(&json!({
        "version": version(),
        "blocks": standing.tip.height,
        "synchronized": standing.synchronized,
        "headers_done": standing.progress.done,
        "headers_total": standing.progress.total,
        "headers_unproved": standing.unproved,
        "connections": connections(standing),
        "testnet": node.params().network == chain::Network::Testnet,
        "errors": "",
    }))
}

/// Tells counts only: IDs themselves are nobody's business.
fn isolation_info(standing: &Standing) -> CallResult {
    let pool = &standing.pool;
    write(&json!({
        "ids": pool.ids,
        "clean": pool.clean,
        "dirty": pool.dirty,
        "parting": pool.parting,
        "opening": pool.opening,
        "waiting": pool.waiting,
    }))
}

#[cfg(test)]
mod tests;
