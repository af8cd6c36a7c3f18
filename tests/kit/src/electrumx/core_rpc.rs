//! A stand-in for Namecoin Core's JSON-RPC, as far as ElectrumX asks for it, over a chain of raw blocks.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::DisplayHex as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::blocks;

/// Serves a chain on a free port of the loopback interface until it is dropped. What it serves may be replaced
/// while it runs; any user and password are let in.
pub struct CoreRpc {
    address: SocketAddr,
    chain: Arc<RwLock<Chain>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl CoreRpc {
    /// Starts serving `blocks`, genesis first.
    pub fn start(blocks: &[Vec<u8>]) -> Self {
        let chain = Arc::new(RwLock::new(Chain::new(blocks)));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let (stop, stopped) = oneshot::channel();
        let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&chain));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener is good");
                // Else every answer waits for the acknowledgement of its head.
                let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("the option is known"));
                tokio::select! {
                    served = async { axum::serve(listener, app).await } => served.expect("serving does not fail"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            chain,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Returns the URL to give to ElectrumX.
    pub fn url(&self) -> String {
        format!("http://user:password@{}/", self.address)
    }

    /// Serves `blocks` from now on: the old chain grown, or another branch.
    pub fn replace(&self, blocks: &[Vec<u8>]) {
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = Chain::new(blocks);
    }
}

impl Drop for CoreRpc {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _result_of_a_thread_that_may_have_panicked = thread.join();
        }
    }
}

struct Chain {
    blocks: Vec<ServedBlock>,
    heights: HashMap<String, usize>,
    transactions: HashMap<String, String>,
}

struct ServedBlock {
    hash: String,
    hex: String,
    txids: Vec<String>,
}

/// Core's error code and message.
type RpcError = (i32, &'static str);

impl Chain {
    fn new(raw: &[Vec<u8>]) -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            heights: HashMap::new(),
            transactions: HashMap::new(),
        };
        for (height, block) in raw.iter().enumerate() {
            let hash = blocks::hash(block).to_string();
            let mut txids = Vec::new();
            for transaction in blocks::transactions(block) {
                let txid = transaction.compute_txid().to_string();
                chain.transactions.insert(txid.clone(), serialize_hex(&transaction));
                txids.push(txid);
            }
            chain.heights.insert(hash.clone(), height);
            chain.blocks.push(ServedBlock {
                hash,
                hex: block.to_lower_hex_string(),
                txids,
            });
        }
        chain
    }

    fn tip(&self) -> usize {
        self.blocks.len() - 1
    }

    fn by_hash(&self, hash: &Value) -> Result<(usize, &ServedBlock), RpcError> {
        let height = *hash
            .as_str()
            .and_then(|hash| self.heights.get(hash))
            .ok_or((-5, "Block not found"))?;
        Ok((height, &self.blocks[height]))
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        Ok(match method {
            "getblockcount" => json!(self.tip()),
            "getblockhash" => {
                let height = params[0].as_u64().and_then(|height| usize::try_from(height).ok());
                let block = height.and_then(|height| self.blocks.get(height));
                json!(block.ok_or((-8, "Block height out of range"))?.hash)
            }
            "getblock" => {
                let (height, block) = self.by_hash(&params[0])?;
                match &params[1] {
                    Value::Bool(false) => json!(block.hex),
                    Value::Number(verbosity) if verbosity.as_u64() == Some(0) => json!(block.hex),
                    _ => json!({
                        "hash": block.hash,
                        "height": height,
                        "tx": block.txids,
                        "confirmations": self.tip() - height + 1,
                    }),
                }
            }
            "getblockheader" => json!(self.by_hash(&params[0])?.1.hex.get(..160)),
            "getrawtransaction" => {
                let transaction = params[0].as_str().and_then(|txid| self.transactions.get(txid));
                json!(transaction.ok_or((-5, "No such mempool or blockchain transaction"))?)
            }
            "getrawmempool" => json!([]),
            "getmempoolinfo" => json!({
                "loaded": true, "size": 0, "bytes": 0, "usage": 0,
                "mempoolminfee": 0.00001, "minrelaytxfee": 0.00001, "incrementalrelayfee": 0.00001,
            }),
            "getnetworkinfo" => json!({
                "version": 310_000, "subversion": "/Namecoin Core:31.0.0/", "relayfee": 0.00001, "incrementalfee": 0.00001,
            }),
            "getindexinfo" => {
                let index = json!({ "synced": true, "best_block_height": self.tip() });
                json!({ "txindex": index, "txospenderindex": index })
            }
            "getblockchaininfo" => json!({
                "chain": "regtest", "blocks": self.tip(), "headers": self.tip(),
                "bestblockhash": self.blocks[self.tip()].hash, "initialblockdownload": false,
            }),
            "estimatesmartfee" => json!({ "feerate": 0.001, "blocks": 2 }),
            "gettxspendingprevout" => params[0].clone(),
            _ => return Err((-32601, "Method not found")),
        })
    }

    fn reply(&self, request: &Value) -> Value {
        let method = request["method"].as_str().unwrap_or_default();
        match self.call(method, &request["params"]) {
            Ok(result) => json!({ "result": result, "error": null, "id": request["id"] }),
            Err((code, message)) => {
                json!({ "result": null, "error": { "code": code, "message": message }, "id": request["id"] })
            }
        }
    }
}

/// ElectrumX sends no content type that axum's JSON extractor would take, so the body is read as text.
async fn answer(State(chain): State<Arc<RwLock<Chain>>>, body: String) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let chain = chain.read().unwrap_or_else(PoisonError::into_inner);
    match request {
        Value::Array(requests) => {
            Json(requests.iter().map(|request| chain.reply(request)).collect::<Vec<_>>()).into_response()
        }
        request => Json(chain.reply(&request)).into_response(),
    }
}
