//! A site that speaks TLS, and tells how its visitors went away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitcoin::hashes::{Hash as _, sha256, sha512};
use isonym_fixtures::certificates::Holder;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::harness::until;
use crate::loopback::own_address;

/// What a visitor did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It finished the handshake and asked for nothing.
    Shook,
    /// It asked for this path.
    Asked(String),
    /// It broke the handshake off, or went away in it.
    Refused,
}

/// What a site does with whoever connects.
#[derive(Clone)]
pub enum Manner {
    /// It shows these certificates, holds this key, and serves a page.
    Serves(Arc<ServerConfig>),
    /// It says nothing.
    Stalls,
    /// It says this, whatever it is asked.
    Says(Vec<u8>),
    /// It goes away.
    Hangs,
}

/// It listens on the loopback interface until it is dropped.
pub struct Site {
    pub address: SocketAddr,
    visits: Arc<Mutex<Vec<Visit>>>,
    task: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The page that it serves.
pub const PAGE: &str = "<!doctype html><title>a page</title><p>marker of the page";

impl Site {
    /// Shows the certificate of the first, with its key, and those of the others.
    pub async fn start(chain: &[&Holder]) -> Self {
        let certificates = chain.iter().map(|it| it.der().into()).collect();
        Self::with(Manner::Serves(config(
            certificates,
            &chain[0].key.serialize_der(),
            true,
        )))
        .await
    }

    /// Shows a certificate that is made for its address.
    pub async fn with_address(make: impl FnOnce(&str) -> Holder) -> Self {
        let address = own_address();
        let holder = make(&address.to_string());
        let shown = config(vec![holder.der().into()], &holder.key.serialize_der(), true);
        Self::at(address, Manner::Serves(shown)).await
    }

    pub async fn with(manner: Manner) -> Self {
        Self::at(own_address(), manner).await
    }

    async fn at(address: Ipv4Addr, manner: Manner) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&visits);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, noted) = (manner.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let visit = receive(stream, manner).await;
                    noted.lock().unwrap().push(visit);
                });
            }
        });
        Self { address, visits, task }
    }

    /// Returns what visitors did so far, in the order in which they went away.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap().clone()
    }

    /// Returns what the first visitors did, once there were so many of them.
    pub async fn visits_of(&self, count: usize) -> Vec<Visit> {
        let visits = || async { Some(self.visits()).filter(|visits| visits.len() >= count) };
        until("so many visits", visits).await
    }

    /// Returns a value by which a host is at this site, and has these records for its port.
    pub fn value(&self, records: &[Value]) -> String {
        let port = format!("_{}", self.address.port());
        json!({
            "ip": self.address.ip().to_string(),
            "map": { "_tcp": { "map": { port: { "tls": records } } } },
        })
        .to_string()
    }
}

/// Makes what a server shows, whether or not it holds the key.
pub fn config(certificates: Vec<CertificateDer<'static>>, key: &[u8], speaks_tls13: bool) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.to_vec()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shown: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, key)));
    let version = if speaks_tls13 {
        &rustls::version::TLS13
    } else {
        &rustls::version::TLS12
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shown);
    Arc::new(config)
}

async fn receive(mut stream: TcpStream, manner: Manner) -> Visit {
    let config = match manner {
        Manner::Serves(config) => config,
        Manner::Says(bytes) => {
            let _ = stream.write_all(&bytes).await;
            wait_for_end(stream).await;
            return Visit::Refused;
        }
        Manner::Stalls => {
            wait_for_end(stream).await;
            return Visit::Refused;
        }
        Manner::Hangs => return Visit::Refused,
    };
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
        return Visit::Refused;
    };
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            // In TLS 1.3 a client refuses what it was shown after the server is done.
            Err(_) => return Visit::Refused,
            Ok(0) => return Visit::Shook,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{PAGE}",
        PAGE.len()
    );
    let _ = stream.write_all(page.as_bytes()).await;
    let _ = stream.shutdown().await;
    Visit::Asked(path)
}

async fn wait_for_end(mut stream: TcpStream) {
    let mut chunk = [0; 1024];
    while stream.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
}

/// Returns an entry of a `tls` item about these bytes of a certificate or key.
pub fn entry(usage: u8, selector: u8, matching: u8, bytes: &[u8]) -> Value {
    let data = match matching {
        1 => sha256::Hash::hash(bytes).as_byte_array().to_vec(),
        2 => sha512::Hash::hash(bytes).as_byte_array().to_vec(),
        _ => bytes.to_vec(),
    };
    json!([usage, selector, matching, STANDARD.encode(data)])
}
