//! The daemon, and how other commands call one.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sd_notify::NotifyState;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use isonym::node::{Handle, NodeError, run_daemon};
use isonym::rpc::client::{Client, ClientError, Dialect, Login};
use isonym::rpc::cookie::Cookie;
use isonym::rpc::{self, Defaults, Encodings, Guard, Methods, server};

use super::args::{NameArgs, RpcArgs};
use super::say;
use super::show::{ABSENT, open, print, print_json};
use crate::config::Settings;

/// The cookie's file in the data folder, as Namecoin Core calls it.
const COOKIE_FILE: &str = ".cookie";

/// The file that says where the daemon of a data folder listens.
const ADDRESS_FILE: &str = ".rpc-address";

/// How long a call of ours may take: the daemon's own bounds are shorter.
const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// Files that say how to call a running daemon; gone when it stops cleanly.
struct Signs {
    cookie: Option<Cookie>,
    address: PathBuf,
}

impl Signs {
    fn put_up(settings: &Settings, address: SocketAddr) -> Result<Self> {
        let cookie = match settings.rpc_credentials {
            Some(_) => None,
            None => {
                let path = settings.folder.join(COOKIE_FILE);
                Some(Cookie::create(&path).with_context(|| format!("cannot write {}", path.display()))?)
            }
        };
        let path = settings.folder.join(ADDRESS_FILE);
        fs::write(&path, address.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { cookie, address: path })
    }

    fn take_down(self) -> Result<()> {
        if let Some(cookie) = self.cookie {
            cookie.remove().context("cannot remove the cookie file")?;
        }
        fs::remove_file(&self.address).with_context(|| format!("cannot remove {}", self.address.display()))
    }
}

/// Runs the daemon until a signal or the method `stop` ends it.
pub(super) async fn run(settings: &Settings, quiet: bool) -> Result<ExitCode> {
    let node = open(settings)?;
    let network = settings.network;
    ensure!(
        !node.servers().is_empty(),
        "no server is known for {network}; name one with --server HOST:PORT"
    );
    let listen = settings.rpc_listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; another program may use the port: choose one with --rpc-listen ADDR:PORT")
    })?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!("JSON-RPC listens on {address}, beyond this machine, without encryption");
    }
    let signs = Signs::put_up(settings, address)?;
    let allowed = settings
        .rpc_credentials
        .as_ref()
        .or(signs.cookie.as_ref().map(Cookie::credentials));
    let guard = Guard::new(allowed);
    let encodings = Encodings {
        name: settings.name_encoding,
        value: settings.value_encoding,
    };
    let defaults = Defaults {
        encodings,
        ..Defaults::default()
    };
    if !quiet {
        say(format_args!("listening on http://{address}/"));
    }
    // Nobody but systemd hears this, and without it nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let ended = run_daemon(node, settings.daemon, |handle| serve(handle, listener, guard, defaults)).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    signs.take_down()?;
    ended?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(handle: Handle, listener: TcpListener, guard: Guard, defaults: Defaults) -> Result<(), NodeError> {
    let methods = Methods::new(handle.clone(), defaults);
    let service = move |call| {
        let methods = methods.clone();
        async move { methods.call(call).await }
    };
    let stopped = handle.clone();
    let signals = async {
        end_signal().await;
        handle.stop();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = server::serve(listener, guard, server::Limits::default(), service, async move { stopped.stopped().await }) => {}
        () = signals => {}
    }
    Ok(())
}

/// Waits for a signal that asks for a clean end.
async fn end_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals can't be waited for; end with the method stop");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Calls a daemon, as namecoin-cli does.
pub(super) async fn call(settings: &Settings, args: &RpcArgs) -> Result<ExitCode> {
    let params: Vec<Value> = args
        .args
        .iter()
        .map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
        .collect();
    let result = client(settings)?
        .call::<Value>(&args.method, &Value::Array(params))
        .await;
    finish(result)
}

/// Looks a name up with the daemon that holds the data folder.
pub(super) async fn name_method(settings: &Settings, args: &NameArgs, method: &str) -> Result<ExitCode> {
    let mut options = json!({
        "nameEncoding": settings.name_encoding.as_str(),
        "valueEncoding": settings.value_encoding.as_str(),
    });
    if !args.isolation_id.is_empty()
        && let Some(options) = options.as_object_mut()
    {
        options.insert("isolation_id".to_owned(), json!(args.isolation_id));
    }
    let result = client(settings)?
        .call::<Value>(method, &json!([args.name, options]))
        .await;
    finish(result)
}

fn finish(result: Result<Value, ClientError>) -> Result<ExitCode> {
    match result {
        Ok(Value::String(text)) => {
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(value) => {
            print_json(&value)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ClientError::Rpc(error)) if error.code == rpc::code::NAME => {
            say(format_args!("{}", error.message));
            Ok(ExitCode::from(ABSENT))
        }
        Err(error) => bail!(error),
    }
}

fn client(settings: &Settings) -> Result<Client> {
    let file = settings.folder.join(ADDRESS_FILE);
    let running = fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let address = running.unwrap_or(settings.rpc_listen);
    let login = match &settings.rpc_credentials {
        Some(credentials) => Login::Password(credentials.clone()),
        None => Login::Cookie(settings.folder.join(COOKIE_FILE)),
    };
    let settings = rpc::client::Settings {
        url: format!("http://{address}"),
        login,
        dialect: Dialect::Core,
        timeout: CALL_TIMEOUT,
    };
    Ok(Client::new(settings)?)
}
