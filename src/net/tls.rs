//! TLS to Electrum servers: who they are, and nothing that they could recognise us by.
//!
//! The handshake is the same for every connection to a server: no session is resumed (a ticket would link two
//! connections), no early data, no client certificate, no ALPN. The server name is sent where the
//! host is a name, since servers behind a front door need it, and depends on the server alone; none is sent for
//! literal addresses (RFC 6066, 3, forbids it) nor for onion services, whose certificates are made for other names
//! and whose software may refuse one that it doesn't know. The order of extensions is random, as always with `rustls`.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Host;
use super::certificate::PublicKey;
use super::pins::{Fingerprint, Identity, Pin};

/// Why a TLS connection came to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's certificate is another than the pinned one, and no authority vouches for it.
    #[error(
        "server shows another certificate than before: expected {expected}, got {got}. Either it was renewed or \
         somebody intercepts; when its operator confirms the new one, remove the old pin"
    )]
    PinChanged {
        /// The pinned certificate.
        expected: Fingerprint,
        /// The certificate that came.
        got: Fingerprint,
    },
    /// The server had a certificate of a public authority before and has none now.
    #[error(
        "server had a certificate of a public authority before and now shows {got}, which has none. Either it \
         expired or somebody intercepts; when its operator confirms the new one, remove the pin"
    )]
    AuthorityLost {
        /// The certificate that came.
        got: Fingerprint,
    },
    /// What the server sends is no TLS.
    #[error("server does not speak TLS on this port; if it speaks plain TCP, use HOST:PORT:t")]
    NotTls,
    /// The server closed in the middle of the handshake.
    #[error("server closed the connection during the TLS handshake; if it speaks plain TCP, use HOST:PORT:t")]
    Closed,
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(Error),
    /// The stream below failed.
    #[error("connection failed during the TLS handshake: {0}")]
    Io(io::ErrorKind),
    /// The TLS library can't be set up.
    #[error("TLS can't be set up: no usable root certificates")]
    Setup,
}

impl TlsError {
    /// Says whether another try, over another circuit, would end the same way. A changed certificate might be one
    /// exit's doing.
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::NotTls | Self::Setup)
    }
}

/// Makes TLS connections.
#[derive(Clone, Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    authority: Arc<WebPkiServerVerifier>,
}

impl Tls {
    /// Trusts the authorities in `roots`.
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`] when there are none.
    pub fn new(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|_| TlsError::Setup)?;
        Ok(Self { provider, authority })
    }

    /// Trusts the public authorities that Mozilla's browsers trust.
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`] when there are none.
    pub fn with_public_authorities() -> Result<Self, TlsError> {
        Self::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// Does the handshake over `stream`.
    ///
    /// A certificate that contradicts the pin ends no handshake: that we know another one would show, and tell the server
    /// that two of its connections are one client's. It is for the caller not to use such a stream.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub async fn connect<S>(&self, stream: S, host: &Host, pin: Option<Pin>) -> Result<Handshaken<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = Arc::new(Verifier {
            authority: Arc::clone(&self.authority),
            signatures: HandshakeSignatures::of(&self.provider),
            onion: host.is_onion(),
            pin,
            verdict: OnceLock::new(),
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Handshake)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = !host.is_onion();
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| TlsError::Handshake(Error::General("host name".to_owned())))?,
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        };
        let outcome = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        match (outcome, verifier.verdict.get()) {
            (Ok(stream), Some((identity, key))) => Ok(Handshaken {
                stream,
                identity: identity.clone(),
                key: *key,
            }),
            (Err(error), _) => Err(TlsError::from_io(&error)),
            (Ok(_), None) => Err(TlsError::Handshake(Error::NoCertificatesPresented)),
        }
    }
}

impl TlsError {
    fn from_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(error) => Self::Handshake(error.clone()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error.kind()),
        }
    }
}

/// A stream after its handshake.
#[derive(Debug)]
pub struct Handshaken<S> {
    /// The stream.
    pub stream: TlsStream<S>,
    /// What proves the peer's identity, or what speaks against it.
    pub identity: Result<Identity, TlsError>,
    /// The SHA-256 of its public key, which it has proved to hold the other half of; `None` where it can't be read.
    pub key: Option<Fingerprint>,
}

/// Decides on one connection's certificate. Only the building of chains is replaced: that the peer owns the
/// certificate's key is always checked.
#[derive(Debug)]
struct Verifier {
    authority: Arc<WebPkiServerVerifier>,
    signatures: HandshakeSignatures,
    onion: bool,
    pin: Option<Pin>,
    verdict: OnceLock<(Result<Identity, TlsError>, Option<Fingerprint>)>,
}

impl Verifier {
    fn judge(&self, got: Fingerprint, vouched: impl FnOnce() -> bool) -> Result<Identity, TlsError> {
        match self.pin {
            _ if self.onion => Ok(Identity::Onion),
            Some(Pin::Certificate(expected)) if expected == got => Ok(Identity::Pinned),
            _ if vouched() => Ok(Identity::Authority),
            Some(Pin::Certificate(expected)) => Err(TlsError::PinChanged { expected, got }),
            Some(Pin::Authority) => Err(TlsError::AuthorityLost { got }),
            None => Ok(Identity::FirstUse(got)),
        }
    }
}

/// Checks that the peer holds the key of the certificate that it shows, whatever else is thought of that certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeSignatures {
    algorithms: WebPkiSupportedAlgorithms,
}

impl HandshakeSignatures {
    pub(crate) fn of(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Checks a signature of TLS 1.2.
    pub(crate) fn check_tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls12_signature(message, cert, signed, &self.algorithms);
        }
        self.check_tls12_of_old(message, cert, signed)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Checks a signature of TLS 1.3.
    pub(crate) fn check_tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls13_signature(message, cert, signed, &self.algorithms);
        }
        let key = PublicKey::of_certificate(cert).ok_or(CertificateError::BadEncoding)?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.info),
            signed,
            &self.algorithms,
        )
    }

    /// Returns the schemes of signatures that can be checked.
    pub(crate) fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    /// The schemes of TLS 1.2 are not bound to a curve, so every algorithm of the scheme that fits the
    /// key is tried.
    fn check_tls12_of_old(&self, message: &[u8], der: &[u8], signed: &DigitallySignedStruct) -> Result<(), Error> {
        let key = PublicKey::of_certificate(der).ok_or(CertificateError::BadEncoding)?;
        let scheme = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        algorithms
            .iter()
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .any(|algorithm| algorithm.verify_signature(key.key, message, signed.signature()).is_ok())
            .then_some(())
            .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge(Fingerprint::of(end_entity), || {
            self.authority
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .is_ok()
        });
        let key = PublicKey::of_certificate(end_entity).map(|key| Fingerprint::of(key.info));
        if self.verdict.set((verdict, key)).is_ok() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.check_tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.check_tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
