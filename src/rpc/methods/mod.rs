//! The methods: each call to the question that it asks the node, and the answer to JSON.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use bitcoin::BlockHash;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::task::yield_now;

use super::args::{self, Defaults, NameArgs};
use super::blocks;
use super::help;
use super::json::Json;
use super::network;
use super::params::{Wanted, check, integer, positional};
use super::reply::{CallResult, result as write};
use super::request::{Call, Params};
use super::result::{self, Basis, Encodings, Style};
use super::scan::{self, ScanArgs};
use crate::chain::{self, Height, PureHeader};
use crate::jsonrpc::{ClientError, RpcError, code};
use crate::name::Outcome;
use crate::name::encoding::quoted;
use crate::name::lookup::LookupError;
use crate::net::ServerAddr;
use crate::net::address::AddressError;
use crate::node::{self, Handle, LivingName, NodeError, Proved, Standing};
use crate::service::{Answer, Caller, Daemon, NameService, ServiceError};

/// Carries a call out that asks servers.
type Asking = for<'a> fn(&'a Methods, Params) -> Pin<Box<dyn Future<Output = CallResult> + Send + 'a>>;

/// How a method is carried out.
#[derive(Clone, Copy)]
enum Handler {
    /// From how the node stands; there are no parameters.
    Report(fn(&Methods, &Standing) -> CallResult),
    /// At once.
    AtOnce(fn(&Methods, Params) -> CallResult),
    /// By asking servers.
    Asks(Asking),
}

/// A method: dispatch, `help` and its test go by this table alone.
struct Method {
    name: &'static str,
    help: &'static str,
    handler: Handler,
}

const fn report(name: &'static str, help: &'static str, report: fn(&Methods, &Standing) -> CallResult) -> Method {
    let handler = Handler::Report(report);
    Method { name, help, handler }
}

const fn at_once(name: &'static str, help: &'static str, handler: fn(&Methods, Params) -> CallResult) -> Method {
    let handler = Handler::AtOnce(handler);
    Method { name, help, handler }
}

const fn asks(name: &'static str, help: &'static str, handler: Asking) -> Method {
    let handler = Handler::Asks(handler);
    Method { name, help, handler }
}

/// All methods, by name.
const METHODS: [Method; 31] = [
    asks("anchor_check", help::ANCHOR_CHECK, |methods, params| {
        Box::pin(methods.anchor_check(params))
    }),
    at_once("anchor_export", help::ANCHOR_EXPORT, Methods::anchor_export),
    report("getaddrmaninfo", help::GETADDRMANINFO, |_, _| network::addresses()),
    report("getbestblockhash", help::GETBESTBLOCKHASH, |_, standing| {
        write(&standing.tip.hash.to_string())
    }),
    report("getblockchaininfo", help::GETBLOCKCHAININFO, |methods, standing| {
        blocks::chain_info(&methods.node, standing)
    }),
    report("getblockcount", help::GETBLOCKCOUNT, |_, standing| {
        write(&standing.tip.height)
    }),
    at_once("getblockhash", help::GETBLOCKHASH, Methods::block_hash),
    at_once("getblockheader", help::GETBLOCKHEADER, Methods::block_header),
    report("getconnectioncount", help::GETCONNECTIONCOUNT, |_, standing| {
        write(&network::connections(standing))
    }),
    report("getdifficulty", help::GETDIFFICULTY, |methods, standing| {
        write(&blocks::difficulty(&methods.node, standing))
    }),
    report("getinfo", help::GETINFO, |methods, standing| {
        info(&methods.node, standing)
    }),
    report("getnetworkinfo", help::GETNETWORKINFO, |_, standing| {
        network::info(standing)
    }),
    report("getpeerinfo", help::GETPEERINFO, |_, standing| network::peers(standing)),
    at_once("help", help::HELP, |_, params| help_call(params)),
    asks("isolation_forget", help::ISOLATION_FORGET, |methods, params| {
        Box::pin(async move {
            let id = args::isolation_forget(params)?;
            methods.names.forget(id.as_ref()).await;
            write(&())
        })
    }),
    report("isolation_info", help::ISOLATION_INFO, |_, standing| {
        isolation_info(standing)
    }),
    report("listwallets", help::LISTWALLETS, |_, _| write(&[(); 0])),
    asks("name_filter", help::NAME_FILTER, |methods, params| {
        Box::pin(async move { methods.name_scan(scan::name_filter(params, methods.defaults)?).await })
    }),
    asks("name_history", help::NAME_HISTORY, |methods, params| {
        Box::pin(async move {
            methods
                .name_history(args::name_history(params, methods.defaults)?)
                .await
        })
    }),
    asks("name_proof", help::NAME_PROOF, |methods, params| {
        Box::pin(async move {
            let mut args = args::name_proof(params, methods.defaults)?;
            // That it has expired is the answer, by whatever default.
            args.question.allow_expired = false;
            let explained = methods.names.explain(&args.question).await;
            write(&explained.map_err(|error| service_error(&error, args.style))?)
        })
    }),
    asks("name_scan", help::NAME_SCAN, |methods, params| {
        Box::pin(async move { methods.name_scan(scan::name_scan(params, methods.defaults)?).await })
    }),
    asks("name_show", help::NAME_SHOW, |methods, params| {
        Box::pin(async move { methods.name_show(args::name_show(params, methods.defaults)?).await })
    }),
    report("ping", help::PING, |_, _| write(&())),
    at_once("server_accept", help::SERVER_ACCEPT, |methods, params| {
        let address = server_address(params, help::SERVER_ACCEPT)?;
        let accepted = methods.node.accept_server(&address);
        write(&accepted.map_err(|error| RpcError::new(code::MISC, error.to_string()))?)
    }),
    at_once("server_forget", help::SERVER_FORGET, |methods, params| {
        let address = server_address(params, help::SERVER_FORGET)?;
        let forgotten = methods.node.forget_server(&address);
        write(&forgotten.map_err(|error| RpcError::new(code::MISC, error.to_string()))?)
    }),
    report("server_list", help::SERVER_LIST, |methods, _| {
        write(&methods.node.server_list())
    }),
    report("servers", help::SERVERS, |_, standing| write(&standing.servers)),
    report("settings", help::SETTINGS, |methods, _| write(&methods.settings.all())),
    report("status", help::STATUS, |methods, _| write(&methods.node.status())),
    at_once("stop", help::STOP, |methods, params| {
        let [_] = take(params, [Wanted::optional("wait", "number")], help::STOP)?;
        methods.node.stop();
        write(&"Isonym stopping")
    }),
    report("uptime", help::UPTIME, |_, standing| write(&standing.uptime.as_secs())),
];

/// Reads the one parameter of methods that are about a server.
fn server_address(params: Params, help: &'static str) -> Result<ServerAddr, RpcError> {
    let [address] = take(params, [Wanted::required("server", "string")], help)?;
    let address = match &address {
        Json::String(address) => address.parse(),
        _ => "".parse(),
    };
    address.map_err(|error: AddressError| RpcError::new(code::PARAMETER, error.to_string()))
}

/// Lists the methods, or tells about one. Source: Namecoin Core `rpc/server.cpp`, `CRPCTable::help`.
fn help_call(params: Params) -> CallResult {
    let [wanted] = take(params, [Wanted::optional("command", "string")], help::HELP)?;
    let wanted = match &wanted {
        Json::String(wanted) => wanted,
        _ => "",
    };
    write(&help_text(wanted))
}

/// Tells about a method; about none by name, lists all.
fn help_text(wanted: &str) -> String {
    if wanted.is_empty() {
        let usages = METHODS
            .iter()
            .map(|method| method.help.lines().next().unwrap_or_default());
        return usages.collect::<Vec<_>>().join("\n");
    }
    let method = METHODS.iter().find(|method| method.name == wanted);
    method.map_or_else(
        || format!("help: unknown command: {wanted}"),
        |method| method.help.to_owned(),
    )
}

/// All methods, over a node.
#[derive(Clone, Debug)]
pub struct Methods {
    names: NameService,
    node: Handle,
    defaults: Defaults,
    settings: RunningSettings,
}

/// What a daemon runs with, by the names of the options, without those that are secret; clones have the same.
#[derive(Clone, Debug, Default)]
pub struct RunningSettings(Arc<RwLock<BTreeMap<String, String>>>);

impl RunningSettings {
    /// Takes down what it runs with from the start.
    pub fn new(settings: BTreeMap<String, String>) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }

    /// Takes down that it runs with other values of some options.
    pub fn update(&self, settings: impl IntoIterator<Item = (String, String)>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(settings);
    }

    fn all(&self) -> BTreeMap<String, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Methods {
    /// Serves what a daemon knows, under the names' share of JSON-RPC.
    pub fn new(daemon: &Daemon, defaults: Defaults, settings: RunningSettings) -> Self {
        let Daemon { names, node } = daemon;
        Self {
            names: names.for_caller(Caller::Rpc, names.limits()),
            node: node.clone(),
            defaults,
            settings,
        }
    }

    /// Carries a call out.
    ///
    /// # Errors
    ///
    /// Core's codes; see [`code`].
    pub async fn call(&self, call: Call) -> CallResult {
        let Call { method, params } = call;
        let Some(method) = METHODS.iter().find(|known| known.name == method) else {
            return Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found"));
        };
        match method.handler {
            Handler::Report(report) => {
                let [] = take(params, [], method.help)?;
                report(self, &self.node.standing())
            }
            Handler::AtOnce(handler) => handler(self, params),
            Handler::Asks(handler) => handler(self, params).await,
        }
    }

    async fn anchor_check(&self, params: Params) -> CallResult {
        let [height] = take(params, [Wanted::optional("height", "number")], help::ANCHOR_CHECK)?;
        let height = number(&height, "height")?.unwrap_or(self.node.standing().anchor.height);
        write(&self.node.ask_all(height).await)
    }

    fn anchor_export(&self, params: Params) -> CallResult {
        let [depth] = take(params, [Wanted::optional("depth", "number")], help::ANCHOR_EXPORT)?;
        let depth = number(&depth, "depth")?.unwrap_or(node::EXPORT_DEPTH);
        let exported = self.node.export_anchor(depth);
        write(&exported.map_err(|error| RpcError::new(code::MISC, error.to_string()))?)
    }

    async fn name_show(&self, args: NameArgs) -> CallResult {
        let answer = self.names.name_show(&args.question).await;
        let proved = answer.and_then(Answer::into_proved);
        let proved = proved.map_err(|error| service_error(&error, args.style))?;
        name_show_result(&args, &proved, self.node.params())
    }

    async fn name_history(&self, args: NameArgs) -> CallResult {
        let answer = self.names.name_history(&args.question).await;
        let (entries, tip, left_out) = answer.map_err(|error| service_error(&error, args.style))?;
        if entries.is_empty() {
            let name = &args.question.name;
            let message = if args.explain && left_out == 0 {
                result::explanation(&Outcome::NeverExisted, name)
            } else {
                format!("name not found: {}", quoted(name.as_bytes()))
            };
            return Err(RpcError::new(code::NAME, message));
        }
        let params = self.node.params();
        let entries = entries
            .iter()
            .map(|entry| result::entry(entry, &tip, params, args.encodings));
        write(&entries.collect::<Vec<_>>())
    }

    /// Lists or counts names that are kept here.
    async fn name_scan(&self, args: ScanArgs) -> CallResult {
        let ScanArgs {
            wanted,
            encodings,
            is_bounded,
        } = args;
        let refused = |error: &NodeError| node_error(error, Style::Core);
        let are_counted = wanted.are_counted;
        let scanned = self.node.scan_names(wanted).await.map_err(|error| refused(&error))?;
        if are_counted {
            return write(&json!({ "blocks": scanned.tip.height, "count": scanned.count }));
        }
        if scanned.count > scan::MOST_NAMES && !is_bounded {
            return Err(scan::too_many());
        }
        let basis = Basis {
            tip: scanned.tip,
            unproved: scanned.unproved,
            read_from: Some(scanned.read_from),
        };
        if scanned.is_cut {
            return Err(scan::too_long());
        }
        self.names_list(&scanned.names, &basis, encodings).await
    }

    /// Writes names one after the other: what they are made of is many times as large.
    async fn names_list(&self, names: &[LivingName], basis: &Basis, encodings: Encodings) -> CallResult {
        let mut list = String::from("[");
        for (number, living) in names.iter().enumerate() {
            if number % scan::AT_A_TIME == 0 {
                // Others are served by the same thread.
                yield_now().await;
            }
            let name = result::living_name(living, basis, self.node.params(), encodings);
            let name = name.map_err(|error| node_error(&error, Style::Core))??;
            if number > 0 {
                list.push(',');
            }
            list.push_str(name.get());
            if list.len() > scan::MOST_BYTES {
                return Err(scan::too_long());
            }
        }
        list.push(']');
        RawValue::from_string(list).map_err(|error| RpcError::new(code::INTERNAL, error.to_string()))
    }

    fn block_hash(&self, params: Params) -> CallResult {
        let [height] = take(params, [Wanted::required("height", "number")], help::GETBLOCKHASH)?;
        let tip = self.node.standing().tip.height;
        let height = match &height {
            Json::Number(number) => Height::try_from(integer(number)?).ok(),
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
        let (header, position) = self.position(&hash).ok_or_else(not_found)?;
        if verbose == Json::Bool(false) {
            return write(&bitcoin::hex::DisplayHex::to_lower_hex_string(
                header.as_bytes().as_slice(),
            ));
        }
        write(&blocks::header(&header, &position))
    }

    /// Finds a header, on the best chain or beside it.
    fn position(&self, hash: &BlockHash) -> Option<(PureHeader, blocks::Position)> {
        if let Some((height, header, work)) = self.node.branch_header(hash) {
            let position = blocks::Position {
                height,
                confirmations: -1,
                chainwork: Some(work),
                median_time: None,
                next: None,
            };
            return Some((header, position));
        }
        let height = self.node.height_of(hash)?;
        let tip = self.node.standing().tip.height;
        let next = height.checked_add(1).and_then(|next| self.node.header_at(next));
        let position = blocks::Position {
            height,
            confirmations: i64::from(tip) - i64::from(height) + 1,
            chainwork: self.node.chainwork_at(height),
            median_time: blocks::median_time(height, |height| self.node.header_at(height)),
            next: next.map(|next| next.hash()),
        };
        Some((self.node.header_at(height)?, position))
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
        return refused(format!("hash must be of length 64 (not {length}, for '{text}')"));
    }
    BlockHash::from_str(text).or_else(|_| refused(format!("hash must be hexadecimal string (not '{text}')")))
}

/// Reads an optional number of blocks.
fn number(value: &Json, name: &str) -> Result<Option<Height>, RpcError> {
    match value {
        Json::Number(number) => {
            let refused = |_| RpcError::new(code::PARAMETER, format!("{name} out of range"));
            Height::try_from(integer(number)?).map(Some).map_err(refused)
        }
        _ => Ok(None),
    }
}

/// Writes what a lookup came to.
fn name_show_result(args: &NameArgs, proved: &Proved, params: &chain::Params) -> CallResult {
    let name = &args.question.name;
    let Proved { outcome, tip, .. } = proved;
    let basis = Basis::from(proved);
    let error = match (outcome, args.style) {
        (Outcome::Found(status), Style::Core) => return write(&result::name(status, &basis, params, args.encodings)),
        (Outcome::Found(status), Style::Electrum) => {
            return write(&result::electrum_name(status, &basis, params, args.encodings)?);
        }
        _ if args.explain => RpcError::new(code::NAME, result::explanation(outcome, name)),
        _ => result::absence(outcome, name, tip, args.style),
    };
    Err(match result::absence_data(proved) {
        Some(data) => error.with_data(data),
        None => error,
    })
}

/// Chooses the code of an error of a lookup.
fn service_error(error: &ServiceError, style: Style) -> RpcError {
    let error = match error {
        ServiceError::Node(error) => return node_error(error, style),
        ServiceError::Client(ClientError::Rpc(error)) => error.clone(),
        error => RpcError::new(code::MISC, error.to_string()),
    };
    match style {
        Style::Core => error,
        Style::Electrum => RpcError::new(code::ELECTRUM, error.message),
    }
}

/// Chooses the code of an error of the node: the one place where that is done.
fn node_error(error: &NodeError, style: Style) -> RpcError {
    let (code, message) = match error {
        NodeError::Syncing { done, total, trouble } => {
            let mut message = match style {
                Style::Core => format!("Synchronising headers: {done} of {total}"),
                Style::Electrum => format!("The blockchain is still syncing ({done} of {total} headers)"),
            };
            if let Some(trouble) = trouble {
                message.push_str("; ");
                message.push_str(trouble);
            }
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
        NodeError::NamesIncomplete { .. } => (code::WARMUP, error.to_string()),
        NodeError::NamesBehind { .. } => (code::INITIAL_DOWNLOAD, error.to_string()),
        NodeError::Stopped
        | NodeError::NoNamesKept
        | NodeError::NoServerIsAsked
        | NodeError::NameRefused { .. }
        | NodeError::Names { .. }
        | NodeError::Lookup(_)
        | NodeError::History { .. }
        | NodeError::Folder { .. }
        | NodeError::FolderInUse { .. }
        | NodeError::FolderOfOther { .. }
        | NodeError::FolderOpen { .. }
        | NodeError::Clock
        | NodeError::KnownServers { .. }
        | NodeError::Store { .. } => (code::MISC, error.to_string()),
    };
    match style {
        Style::Core => RpcError::new(code, message),
        Style::Electrum => RpcError::new(code::ELECTRUM, message),
    }
}

fn info(node: &Handle, standing: &Standing) -> CallResult {
    write(&json!({
        "version": network::version(),
        "blocks": standing.tip.height,
        "synchronized": standing.synchronized,
        "headers_done": standing.progress.done,
        "headers_total": standing.progress.total,
        "headers_unproved": standing.unproved,
        "connections": network::connections(standing),
        "testnet": node.params().network == chain::Network::Testnet,
        "errors": standing.warnings().join("; "),
    }))
}

/// Tells counts only, rounded and late: IDs themselves are nobody's business, nor is when one of them is used.
fn isolation_info(standing: &Standing) -> CallResult {
    let pool = &standing.pool_told;
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
