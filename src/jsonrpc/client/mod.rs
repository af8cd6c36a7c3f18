//! A JSON-RPC client for Isonym, Namecoin Core and Electrum-NMC.
//!
//! HTTP without TLS, so meant for the loopback interface. Everything a server sends is bounded in size and time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::cookie;
use super::credentials::Credentials;
use super::error::{RpcError, code};
use super::listener;
use super::local::{LocalConnector, LocalError};
use crate::isolation::IsolationId;
use crate::name::{Encoding, NameId, NameValue};

/// Longest reply that is read, in bytes: what a daemon of ours gives at most for a batch.
pub const MAX_REPLY: usize = 16 << 20;

/// How the server wants name lookups to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Isonym's and Namecoin Core's; Core ignores isolation IDs.
    #[default]
    Core,
    /// Electrum-NMC's, which Isonym understands too.
    Electrum,
}

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum Login {
    /// None are sent.
    None,
    /// These.
    Password(Credentials),
    /// A cookie file, read for each call: a server that starts anew writes a new one.
    Cookie(PathBuf),
}

/// Whom to call and how.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `http://HOST:PORT`, with a path where the server wants one.
    pub url: String,
    /// With which credentials.
    pub login: Login,
    /// In which dialect.
    pub dialect: Dialect,
    /// How long a call may take, from the connection to the end of the reply.
    pub timeout: Duration,
}

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not of the form that is understood.
    #[error("`{url}` is no address of the form http://HOST:PORT")]
    Url {
        /// What was given, without what may be a password in it.
        url: String,
    },
    /// The cookie file can't be read: no server runs, or it belongs to somebody else.
    #[error("cannot read the cookie file {}: {error}", .path.display())]
    Cookie {
        /// Where.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// Another user listens there than the one whose cookie it is.
    #[error("user number {user} listens at {address}, who does not own the cookie file {}: nothing is told there", .cookie.display())]
    Stranger {
        /// Where.
        address: SocketAddr,
        /// Who.
        user: u32,
        /// The cookie that was to be told.
        cookie: PathBuf,
    },
    /// Another user than this one and root listens at the socket of a data folder.
    #[error("user number {user} listens at {}: nothing is told there", .socket.display())]
    StrangerInFolder {
        /// Where.
        socket: PathBuf,
        /// Who.
        user: u32,
    },
    /// No daemon runs on the data folder whose daemon is to be asked.
    #[error("no daemon runs on {}", .folder.display())]
    NoDaemon {
        /// The data folder.
        folder: PathBuf,
    },
    /// No connection, or it broke.
    #[error("no connection to the server: {reason}")]
    Connection {
        /// Why.
        reason: String,
    },
    /// The connection broke before the reply was there, as one does that the server had closed meanwhile.
    #[error("the server closed the connection before it replied: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// The call took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server wants other credentials.
    #[error("the server refused the credentials (HTTP status {status})")]
    Refused {
        /// 401, or 403.
        status: u16,
    },
    /// The server answered, but not with a reply of JSON-RPC.
    #[error("HTTP status {status} without a reply")]
    Status {
        /// Which status.
        status: u16,
    },
    /// The reply is longer than [`MAX_REPLY`].
    #[error("the reply is longer than {MAX_REPLY} bytes")]
    TooLong,
    /// The result is not of the form that the method has.
    #[error("malformed result of {method}")]
    Malformed {
        /// Which method.
        method: String,
    },
    /// The method's error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl ClientError {
    /// Says whether the server states that the name has no value: never existed, expired, or is not final.
    pub fn is_absent_name(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.code == code::NAME)
    }

    /// Says whether nobody is there to be called, so that no question has reached anybody.
    pub fn is_nobody_there(&self) -> bool {
        matches!(
            self,
            Self::NoDaemon { .. } | Self::Connection { .. } | Self::Cookie { .. }
        )
    }
}

/// A name as a server states it: nothing of it was verified here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// The name.
    pub name: NameId,
    /// Its value.
    pub value: NameValue,
    /// Whether it has expired.
    pub expired: bool,
    /// In how many blocks it expires, if that is said.
    pub expires_in: Option<i64>,
}

/// The fields of `name_show` that [`NameRecord`] is made of. Source: Namecoin Core, names/main.cpp, `getNameInfo`.
#[derive(Deserialize)]
struct NameFields {
    name: Option<String>,
    name_encoding: Option<String>,
    /// Missing, beside `value_error`, when the value can't be written in its encoding.
    value: Option<String>,
    value_encoding: Option<String>,
    expires_in: Option<i64>,
    /// Missing in Core before 0.17.
    expired: Option<bool>,
}

impl NameFields {
    /// Says whether it is about this name.
    fn is_of(&self, name: &NameId) -> bool {
        let found = self.name.as_ref();
        let found = found.and_then(|found| Self::bytes(found, self.name_encoding.as_ref()));
        found.is_some_and(|found| found == name.as_bytes())
    }

    /// Returns the bytes of a text in its encoding. Servers that name none have but one, in which text is itself.
    fn bytes(text: &str, encoding: Option<&String>) -> Option<Vec<u8>> {
        match encoding.map(String::as_str) {
            Some("hex") => Encoding::Hex.decode(text).ok(),
            _ => Some(text.as_bytes().to_vec()),
        }
    }
}

/// How a lookup is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The name as it is, and only what needs an option: all servers take that.
    Plain,
    /// Name and value in hex.
    Hex,
}

/// A reply of any version.
#[derive(Deserialize)]
struct ReplyFields<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<ErrorFields<'a>>,
}

#[derive(Deserialize)]
struct ErrorFields<'a> {
    code: i32,
    message: String,
    /// Whatever it is, the error counts without it.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl From<ErrorFields<'_>> for RpcError {
    fn from(fields: ErrorFields<'_>) -> Self {
        let data = fields.data.and_then(|data| serde_json::from_str(data.get()).ok());
        Self {
            code: fields.code,
            message: fields.message,
            data,
        }
    }
}

/// Calls methods of one server. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    uri: Uri,
    /// Whom it calls, as the user is told.
    address: String,
    login: Login,
    dialect: Dialect,
    timeout: Duration,
}

/// By which way calls go.
#[derive(Clone, Debug)]
enum Http {
    Tcp(HttpClient<HttpConnector, Full<Bytes>>),
    Local(HttpClient<LocalConnector, Full<Bytes>>),
}

/// What all clients have of HTTP.
fn http_builder() -> hyper_util::client::legacy::Builder {
    let mut builder = HttpClient::builder(TokioExecutor::new());
    // Servers close after half a minute: better not to find out with a call.
    builder.pool_timer(TokioTimer::new());
    builder.pool_idle_timeout(Duration::from_secs(20));
    builder
}

impl Client {
    /// Makes a client of the daemon that listens at the socket of a data folder; nothing is sent yet. Who listens there is
    /// told nothing unless it is this user or root.
    pub fn local(socket: &Path, login: Login, timeout: Duration) -> Self {
        Self {
            http: Http::Local(http_builder().build(LocalConnector::new(socket))),
            uri: Uri::from_static("http://localhost/"),
            address: socket.display().to_string(),
            login,
            dialect: Dialect::Core,
            timeout,
        }
    }

    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`].
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let ClientSettings {
            url,
            login,
            dialect,
            timeout,
        } = settings;
        let Some(uri) = server_uri(&url) else {
            let url = without_login(&url);
            return Err(ClientError::Url { url });
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        Ok(Self {
            http: Http::Tcp(http_builder().build(connector)),
            address: uri.to_string(),
            uri,
            login,
            dialect,
            timeout,
        })
    }

    /// Returns the server's address, or the path of its socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Calls a method; `params` is an array, or an object for named ones.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Malformed`] when the result is no `T`.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, ClientError> {
        let work = self.exchange(method, params);
        let (status, body) = timeout(self.timeout, work)
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))??;
        // A reply counts whatever the status: older versions put errors into both.
        let Ok(reply) = serde_json::from_slice::<ReplyFields<'_>>(&body) else {
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::Refused {
                    status: status.as_u16(),
                },
                _ => ClientError::Status {
                    status: status.as_u16(),
                },
            });
        };
        if let Some(error) = reply.error {
            return Err(RpcError::from(error).into());
        }
        let result = reply.result.map_or("null", RawValue::get);
        serde_json::from_str(result).map_err(|_| ClientError::Malformed {
            method: method.to_owned(),
        })
    }

    async fn exchange(&self, method: &str, params: &Value) -> Result<(StatusCode, Bytes), ClientError> {
        // Each call has its own HTTP exchange, so the ID tells nothing apart. It is the same for all, as anything
        // else would count calls.
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
        let mut request = Request::new(Full::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(credentials) = self.credentials()? {
            let failed = |_| ClientError::Connection {
                reason: "the credentials do not fit into a header".to_owned(),
            };
            let mut value = HeaderValue::try_from(credentials.to_header().as_str()).map_err(failed)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let replied = match &self.http {
            Http::Tcp(http) => http.request(request).await,
            Http::Local(http) => http.request(request).await,
        };
        let reply = replied.map_err(|error| {
            if let Some(stranger) = stranger_in_folder(&error) {
                return stranger;
            }
            let reason = chain(&error);
            if error.is_connect() {
                ClientError::Connection { reason }
            } else {
                ClientError::Broken { reason }
            }
        })?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => ClientError::Broken {
                reason: error.to_string(),
            },
            Err(_) => ClientError::TooLong,
        })?;
        Ok((status, body.to_bytes()))
    }

    fn credentials(&self) -> Result<Option<Credentials>, ClientError> {
        match &self.login {
            Login::None => Ok(None),
            Login::Password(credentials) => Ok(Some(credentials.clone())),
            Login::Cookie(path) => {
                let failed = |error: io::Error| ClientError::Cookie {
                    path: path.clone(),
                    error: error.into(),
                };
                let credentials = cookie::read(path).map_err(failed)?;
                self.check_listener(path).map_err(failed)??;
                Ok(Some(credentials))
            }
        }
    }

    /// Refuses to talk to another user than the cookie's owner, root, or ourselves, where the system tells who listens.
    #[cfg(unix)]
    fn check_listener(&self, cookie: &Path) -> io::Result<Result<(), ClientError>> {
        use std::os::unix::fs::MetadataExt as _;
        let owner = std::fs::metadata(cookie)?.uid();
        let known = [0, rustix::process::geteuid().as_raw(), owner];
        let Some(address) = self
            .uri
            .authority()
            .and_then(|authority| authority.as_str().parse().ok())
        else {
            return Ok(Ok(()));
        };
        Ok(match listener::stranger(address, &known) {
            None => Ok(()),
            Some(user) => Err(ClientError::Stranger {
                address,
                user,
                cookie: cookie.to_owned(),
            }),
        })
    }

    #[cfg(not(unix))]
    fn check_listener(&self, _: &Path) -> io::Result<Result<(), ClientError>> {
        Ok(Ok(()))
    }

    /// Looks a name up under an isolation ID; `None` is the default identity.
    ///
    /// A name of printable ASCII is sent as it is, so that servers without encodings take it too; where the server then can't
    /// write the value, and for other names, both travel in hex. With a quorum above 1 the server is to ask so many others,
    /// which Isonym does and nobody else. A connection that broke is tried once more: the server may have closed it meanwhile.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; see [`ClientError::is_absent_name`].
    pub async fn name_show(
        &self,
        name: &NameId,
        id: Option<&IsolationId>,
        quorum: u8,
    ) -> Result<NameRecord, ClientError> {
        let is_plain = name.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
        let mut form = match self.dialect {
            Dialect::Core if is_plain => Form::Plain,
            _ => Form::Hex,
        };
        loop {
            let params = self.name_params(name, id, quorum, form);
            let fields: NameFields = match self.call(NAME_SHOW, &params).await {
                Err(ClientError::Broken { .. }) => self.call(NAME_SHOW, &params).await?,
                result => result?,
            };
            if form == Form::Plain && fields.value.is_none() && fields.is_of(name) {
                form = Form::Hex;
                continue;
            }
            return record(name, &fields).ok_or_else(|| ClientError::Malformed {
                method: NAME_SHOW.to_owned(),
            });
        }
    }

    /// Has the other side forget an isolation ID, with its connections and all that is cached for it. Isonym has this
    /// method, others have none like it.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub async fn isolation_forget(&self, id: &IsolationId) -> Result<(), ClientError> {
        self.call("isolation_forget", &json!([id_text(id)])).await
    }

    fn name_params(&self, name: &NameId, id: Option<&IsolationId>, quorum: u8, form: Form) -> Value {
        let id = id.map(id_text).filter(|id| !id.is_empty());
        let name = match form {
            Form::Plain => String::from_utf8_lossy(name.as_bytes()).into_owned(),
            Form::Hex => bitcoin::hex::DisplayHex::to_lower_hex_string(name.as_bytes()),
        };
        match self.dialect {
            Dialect::Core => {
                let mut options = serde_json::Map::new();
                if form == Form::Hex {
                    for key in ["nameEncoding", "valueEncoding"] {
                        options.insert(key.to_owned(), "hex".into());
                    }
                }
                if let Some(id) = id {
                    options.insert("streamID".to_owned(), Value::String(id));
                }
                if quorum > 1 {
                    options.insert("quorum".to_owned(), json!(quorum));
                }
                if options.is_empty() {
                    json!([name])
                } else {
                    json!([name, options])
                }
            }
            Dialect::Electrum => {
                let mut params = json!({ "identifier": name, "name_encoding": "hex", "value_encoding": "hex" });
                if let Some(params) = params.as_object_mut() {
                    if let Some(id) = id {
                        params.insert("stream_id".to_owned(), Value::String(id));
                    }
                    if quorum > 1 {
                        params.insert("options".to_owned(), json!({ "quorum": quorum }));
                    }
                }
                params
            }
        }
    }
}

const NAME_SHOW: &str = "name_show";

/// Reads a result of `name_show`; `None` when it is malformed, or of another name than was asked for.
fn record(name: &NameId, fields: &NameFields) -> Option<NameRecord> {
    let value = NameFields::bytes(fields.value.as_ref()?, fields.value_encoding.as_ref())?;
    let expired = fields.expired.or(fields.expires_in.map(|blocks| blocks <= 0));
    fields.is_of(name).then_some(NameRecord {
        name: name.clone(),
        value: NameValue::new(&value)?,
        expired: expired?,
        expires_in: fields.expires_in,
    })
}

/// The mark of IDs that are written in hex.
const HEX_ID: &str = "hex:";

/// Writes an ID as the text that JSON needs: itself where it is UTF-8, else `hex:` and hex digits, and so where it
/// begins with that mark itself. No two IDs have the same text.
fn id_text(id: &IsolationId) -> String {
    match std::str::from_utf8(id.as_bytes()) {
        Ok(text) if !text.starts_with(HEX_ID) => text.to_owned(),
        _ => {
            let hex = bitcoin::hex::DisplayHex::to_lower_hex_string(id.as_bytes());
            format!("{HEX_ID}{hex}")
        }
    }
}

/// Returns an address without what stands before the host in it, which may be a password. An address that is not well
/// formed, for which it is called above all, has one before an `@` all the same.
pub fn without_login(address: &str) -> String {
    let Some((login, host)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    match login.split_once("//") {
        Some((scheme, _)) => format!("{scheme}//...@{host}"),
        // Else it is an address of mail, or a text that has an `@` by chance.
        None if !login.contains(':') => address.to_owned(),
        None => format!("...@{host}"),
    }
}

/// Reads `http://HOST:PORT`. `localhost` is taken as its address: the system is not asked.
fn server_uri(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let (host, port) = (authority.host(), authority.port_u16()?);
    if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
        return None;
    }
    let host = if host.eq_ignore_ascii_case("localhost") {
        IpAddr::from([127, 0, 0, 1]).to_string()
    } else {
        host.to_owned()
    };
    let path = match uri.path() {
        "" => "/",
        path => path,
    };
    format!("http://{host}:{port}{path}").parse().ok()
}

/// Returns what an error says of another user at a socket, if that is its cause.
fn stranger_in_folder(error: &dyn std::error::Error) -> Option<ClientError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(LocalError::Stranger { socket, user }) = error.downcast_ref() {
            let (socket, user) = (socket.clone(), *user);
            return Some(ClientError::StrangerInFolder { socket, user });
        }
        cause = error.source();
    }
    None
}

/// Returns an error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
