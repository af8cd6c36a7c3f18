//! A stand-in for whatever has `name_show` over JSON-RPC: says what it is told to, and writes down who asked for what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::loopback::own_address;

/// What it says of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// This value.
    Value(String),
    /// This value, which it had before it expired: Namecoin Core shows those too.
    Expired(String),
    /// An error with this code.
    Code(i32),
    /// A body of this status, whatever it is.
    Raw(u16, String),
    /// The next, but only once [`Backend::release`] was called.
    Held(Box<Says>),
}

impl Says {
    pub fn value(json: &(impl ToString + ?Sized)) -> Self {
        Self::Value(json.to_string())
    }

    pub fn held(self) -> Self {
        Self::Held(Box::new(self))
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: String,
    pub id: Option<String>,
}

#[derive(Default)]
struct Script {
    names: BTreeMap<String, Says>,
    of_ids: BTreeMap<(String, String), Says>,
    /// What it says of all others.
    others: Option<Says>,
    calls: Vec<Call>,
    forgotten: Vec<String>,
    logins: BTreeSet<String>,
}

/// It listens on the loopback interface until it is dropped.
pub struct Backend {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Backend {
    pub async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (open, gate) = watch::channel(false);
        let app = Router::new()
            .route("/", post(answer))
            .with_state((Arc::clone(&script), gate));
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            script,
            open,
            task,
        }
    }

    /// A place where nobody listens: one that did and has gone.
    pub async fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        listener.local_addr().unwrap()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn say(&self, name: &str, says: Says) {
        self.script().names.insert(name.to_owned(), says);
    }

    /// What it says of a name if this ID asks.
    pub fn say_to(&self, id: &str, name: &str, says: Says) {
        self.script().of_ids.insert((id.to_owned(), name.to_owned()), says);
    }

    pub fn say_of_others(&self, says: Says) {
        self.script().others = Some(says);
    }

    /// Forgets what it was told to say and what was asked.
    pub fn clear(&self) {
        *self.script() = Script::default();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    pub fn count(&self) -> usize {
        self.script().calls.len()
    }

    /// The isolation IDs that it was to forget.
    #[allow(dead_code, reason = "only where a Tor is controlled")]
    pub fn forgotten(&self) -> Vec<String> {
        self.script().forgotten.clone()
    }

    /// The `Authorization` headers that came.
    pub fn logins(&self) -> BTreeSet<String> {
        self.script().logins.clone()
    }

    /// Lets all go out that is held, from now on too.
    pub fn release(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State((script, mut gate)): State<(Arc<Mutex<Script>>, watch::Receiver<bool>)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let params = &request["params"];
    match request["method"].as_str() {
        Some("name_show") => {}
        Some("isolation_forget") => {
            let id = params[0].as_str().unwrap().to_owned();
            script.lock().unwrap().forgotten.push(id);
            return json!({ "result": null, "error": null, "id": request["id"] })
                .to_string()
                .into_response();
        }
        _ => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            let body = json!({ "result": null, "error": error, "id": request["id"] }).to_string();
            return (StatusCode::NOT_FOUND, body).into_response();
        }
    }
    let (name, id) = match params[0].as_str() {
        Some(name) => (name, &params[1]["streamID"]),
        None => (params["identifier"].as_str().unwrap(), &params["stream_id"]),
    };
    let options = if params.is_array() { &params[1] } else { params };
    let in_hex = options["nameEncoding"] == "hex" || options["name_encoding"] == "hex";
    let name = if in_hex {
        String::from_utf8(Vec::from_hex(name).unwrap()).unwrap()
    } else {
        name.to_owned()
    };
    let id = id.as_str().map(str::to_owned);
    let mut says = {
        let mut script = script.lock().unwrap();
        let call = Call {
            name: name.clone(),
            id: id.clone(),
        };
        script.calls.push(call);
        if let Some(login) = headers.get("authorization") {
            script.logins.insert(login.to_str().unwrap().to_owned());
        }
        let of_id = script.of_ids.get(&(id.unwrap_or_default(), name.clone()));
        let says = of_id.or(script.names.get(&name)).or(script.others.as_ref());
        says.cloned().unwrap_or(Says::Code(-4))
    };
    while let Says::Held(later) = says {
        let _ = gate.wait_for(|open| *open).await;
        says = *later;
    }
    let shown = |value: &str, expired: bool| {
        let [name, shown] = [&name, value].map(|text| {
            if in_hex {
                text.as_bytes().to_lower_hex_string()
            } else {
                text.to_owned()
            }
        });
        let encoding = if in_hex { "hex" } else { "ascii" };
        // What Core can't write in the encoding it leaves out.
        let (key, shown) = if in_hex || value.is_ascii() {
            ("value", shown)
        } else {
            ("value_error", "invalid data for ascii".to_owned())
        };
        let result = json!({
            "name": name, "name_encoding": encoding,
            key: shown, "value_encoding": encoding,
            "txid": "11".repeat(32), "vout": 0, "address": "N8dkq2DXRcGZpXm92cGkiYh2nQZdLzYCHf",
            "height": 500_000, "expires_in": if expired { -5 } else { 5000 }, "expired": expired,
        });
        json!({ "result": result, "error": null, "id": request["id"] }).to_string()
    };
    match says {
        Says::Value(value) => shown(&value, false).into_response(),
        Says::Expired(value) => shown(&value, true).into_response(),
        Says::Code(code) => {
            let error = json!({ "code": code, "message": "as the test wants it" });
            let body = json!({ "result": null, "error": error, "id": request["id"] }).to_string();
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        Says::Raw(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Says::Held(_) => unreachable!(),
    }
}
