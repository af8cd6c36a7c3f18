//! TLS to servers over loopback: pins, authorities, old certificates, and nothing to be recognised by.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use isonym::net::dial_error::Stage;
use isonym::net::tls::{Tls, TlsError};
use isonym::net::{DialError, Dialer, Fingerprint, Host, Identity, Pin, Proxy, ServerAddr};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

const LONG: Duration = Duration::from_secs(20);

/// A certificate and the key that its server signs with, which need not be its own.
#[derive(Clone)]
struct Shown {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Shown {
    fn self_signed(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: Arc::new(made.signing_key.into()),
        }
    }

    fn version_1() -> Self {
        let key = include_bytes!("../vectors/tls-v1/key.der").to_vec();
        Self {
            certificate: include_bytes!("../vectors/tls-v1/certificate.der").to_vec().into(),
            key: Arc::new(PrivateSec1KeyDer::from(key).into()),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Of the key alone, whatever certificate it is in.
    fn key_fingerprint(&self) -> Fingerprint {
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(self.key.clone_key()).unwrap();
        Fingerprint::of(&key.public_key().unwrap())
    }

    fn pin(&self) -> Pin {
        Pin::Certificate(self.fingerprint())
    }

    fn config(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(self.key.clone_key()).unwrap();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![self.certificate.clone()],
            key,
        )));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
        config.max_early_data_size = 1024;
        Arc::new(config)
    }
}

/// What the server saw of one handshake.
#[derive(Debug, PartialEq)]
struct Seen {
    name: Option<String>,
    asks_protocol: bool,
    kind: Option<HandshakeKind>,
    client_certificate: bool,
}

/// Serves TLS until the test ends; every finished handshake is reported, and gets a byte so that tickets arrive.
async fn server(shown: &Shown, version: &'static SupportedProtocolVersion) -> (SocketAddr, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = shown.config(version);
    let (report, seen) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else {
                continue;
            };
            let hello: ClientHello<'_> = start.client_hello();
            let name = hello.server_name().map(str::to_owned);
            let asks_protocol = hello.alpn().is_some();
            let Ok(mut stream) = start.into_stream(Arc::clone(&config)).await else {
                continue;
            };
            let seen = Seen {
                name,
                asks_protocol,
                kind: stream.get_ref().1.handshake_kind(),
                client_certificate: stream.get_ref().1.peer_certificates().is_some(),
            };
            stream.write_all(b"x").await.unwrap();
            report.send(seen).await.unwrap();
        }
    });
    (address, seen)
}

async fn dial(dialer: &Dialer, host: &str, port: u16, pin: Option<Pin>) -> Result<Identity, DialError> {
    let server: ServerAddr = format!("{host}:{port}:s").parse().unwrap();
    let mut open = dialer.dial(&server, pin, LONG).await?;
    assert_eq!(open.stream.read_u8().await.unwrap(), b'x');
    Ok(open.identity?)
}

fn direct() -> Dialer {
    Dialer::new(Proxy::Direct).unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_trusted_on_first_use_and_held_to() {
    let shown = Shown::self_signed("other.example");
    let (address, _seen) = server(&shown, &TLS13).await;
    let first = dial(&direct(), "127.0.0.1", address.port(), None).await;
    assert_eq!(first, Ok(Identity::FirstUse(shown.fingerprint())));
    let pin = first.unwrap().pin();
    let second = dial(&direct(), "127.0.0.1", address.port(), pin).await;
    assert_eq!(second, Ok(Identity::Pinned));
}

#[tokio::test]
async fn a_changed_certificate_ends_no_handshake_and_is_told_with_both_fingerprints() {
    let (before, after) = (Shown::self_signed("a.example"), Shown::self_signed("a.example"));
    let (address, mut seen) = server(&after, &TLS13).await;
    let error = dial(&direct(), "127.0.0.1", address.port(), Some(before.pin()))
        .await
        .unwrap_err();
    let (expected, got) = (before.fingerprint(), after.fingerprint());
    assert_eq!(error, TlsError::PinChanged { expected, got }.into());
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()) && text.contains(&got.to_string()) && text.contains("remove"));
    let error = dial(&direct(), "127.0.0.1", address.port(), Some(Pin::Authority)).await;
    assert_eq!(error, Err(TlsError::AuthorityLost { got }.into()));
    // A server that saw the handshake end would know that the client has met another certificate before.
    for _ in 0..2 {
        assert!(seen.recv().await.is_some(), "the handshake is finished all the same");
    }
}

#[tokio::test]
async fn what_an_authority_vouches_for_is_accepted_for_its_name_only() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let shown = Shown {
        certificate: params.signed_by(&key, &authority).unwrap().der().clone(),
        key: Arc::new(key.into()),
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let trusting = Dialer::with_tls(Proxy::Direct, Tls::new(roots).unwrap());
    let (address, _seen) = server(&shown, &TLS13).await;
    let other = Some(Shown::self_signed("localhost").pin());
    for pin in [None, Some(Pin::Authority), other] {
        let identity = dial(&trusting, "localhost", address.port(), pin).await;
        assert_eq!(identity, Ok(Identity::Authority));
    }
    let got = shown.fingerprint();
    let by_address = dial(&trusting, "127.0.0.1", address.port(), None).await;
    assert_eq!(by_address, Ok(Identity::FirstUse(got)));
    let by_address = dial(&trusting, "127.0.0.1", address.port(), Some(Pin::Authority)).await;
    assert_eq!(by_address, Err(TlsError::AuthorityLost { got }.into()));
    let untrusted = dial(&direct(), "localhost", address.port(), Some(Pin::Authority)).await;
    assert_eq!(untrusted, Err(TlsError::AuthorityLost { got }.into()));
}

#[tokio::test]
async fn old_and_self_signed_certificates_work_in_both_versions_of_tls() {
    let mut params = CertificateParams::new(["expired.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let key = KeyPair::generate().unwrap();
    let expired = Shown {
        certificate: params.self_signed(&key).unwrap().der().clone(),
        key: Arc::new(key.into()),
    };
    for shown in [Shown::version_1(), expired] {
        for version in [&TLS12, &TLS13] {
            let (address, _seen) = server(&shown, version).await;
            let identity = dial(&direct(), "127.0.0.1", address.port(), Some(shown.pin())).await;
            assert_eq!(identity, Ok(Identity::Pinned), "{:?}", version.version);
        }
    }
}

#[tokio::test]
async fn a_copied_certificate_is_of_no_use_without_its_key() {
    for pinned in [Shown::version_1(), Shown::self_signed("a.example")] {
        let impostor = Shown {
            certificate: pinned.certificate.clone(),
            key: Shown::self_signed("b.example").key,
        };
        for version in [&TLS12, &TLS13] {
            let (address, mut seen) = server(&impostor, version).await;
            let error = dial(&direct(), "127.0.0.1", address.port(), Some(pinned.pin()))
                .await
                .unwrap_err();
            let expected = Error::InvalidCertificate(CertificateError::BadSignature);
            assert_eq!(error, TlsError::Handshake(expected).into(), "{:?}", version.version);
            assert!(seen.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn no_two_connections_are_linked_by_their_handshakes() {
    let shown = Shown::self_signed("localhost");
    for version in [&TLS12, &TLS13] {
        let (address, mut seen) = server(&shown, version).await;
        let dialer = direct();
        for (host, name) in [("127.0.0.1", None), ("localhost", Some("localhost"))] {
            for _ in 0..3 {
                dial(&dialer, host, address.port(), Some(shown.pin())).await.unwrap();
                let seen = seen.recv().await.unwrap();
                let kind = seen.kind;
                assert!(matches!(
                    kind,
                    Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
                ));
                let expected = Seen {
                    name: name.map(str::to_owned),
                    asks_protocol: false,
                    kind,
                    client_certificate: false,
                };
                assert_eq!(seen, expected);
            }
        }
    }
}

#[tokio::test]
async fn an_onion_needs_no_authority_and_hears_no_name() {
    let shown = Shown::self_signed("other.example");
    let acceptor = TlsAcceptor::from(shown.config(&TLS13));
    let (near, far) = tokio::io::duplex(1 << 16);
    let host: Host = isonym::net::onion::OnionName::of_key(&[7; 32])
        .as_str()
        .parse()
        .unwrap();
    let tls = Tls::with_public_authorities().unwrap();
    let other = Some(Shown::self_signed("x").pin());
    let (client, server) = tokio::join!(tls.connect(near, &host, other), acceptor.accept(far));
    let client = client.unwrap();
    assert_eq!(client.identity, Ok(Identity::Onion));
    assert_eq!(
        client.key,
        Some(shown.key_fingerprint()),
        "by which its operator is told"
    );
    assert_eq!(server.unwrap().get_ref().1.server_name(), None);
}

#[tokio::test]
async fn tls_to_a_port_that_speaks_something_else_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut talking, _) = listener.accept().await.unwrap();
        talking
            .write_all(b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700}}\n")
            .await
            .unwrap();
        drop(listener.accept().await.unwrap());
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    let error = dial(&direct(), "127.0.0.1", port, None).await.unwrap_err();
    assert_eq!(error, TlsError::NotTls.into());
    assert!(error.to_string().contains("HOST:PORT:t"));
    let error = dial(&direct(), "127.0.0.1", port, None).await.unwrap_err();
    assert!(
        matches!(error, DialError::Tls(TlsError::Closed | TlsError::Io(_))),
        "{error:?}"
    );
    let server = format!("127.0.0.1:{port}:s").parse().unwrap();
    let after = Duration::from_millis(200);
    let error = direct().dial(&server, None, after).await.err();
    let expected = DialError::TimedOut {
        after,
        stage: Stage::Tls,
    };
    assert_eq!(error, Some(expected));
}
