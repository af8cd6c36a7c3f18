//! Has a site show its certificates.
//!
//! The connection goes out as any other does: through the proxy with credentials that no other connection has, so that it is on
//! a circuit of its own. The handshake is done to its end, for only then is it proved that the site holds the key of the
//! certificate that it shows; then the connection is closed, and nothing was asked of the site.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::chain::{Chain, ChainError};
use crate::net::tls::HandshakeSignatures;
use crate::net::{DialError, Dialer, Host, ServerAddr, Transport};

/// How long a site may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// To be reached.
    pub dial: Duration,
    /// For its handshake, all of it.
    pub handshake: Duration,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(60),
            handshake: Duration::from_secs(30),
        }
    }
}

/// Why a site shows no certificates that can be looked at.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// It can't be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It shows what is not looked at.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What it sends is no TLS.
    #[error("the site does not speak TLS on this port")]
    NotTls,
    /// It went away before the handshake was over.
    #[error("the site closed the connection during the TLS handshake")]
    Closed,
    /// It does not hold the key of the certificate that it shows.
    #[error("the site does not hold the key of the certificate that it shows")]
    NotItsKey,
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed: {0}")]
    Handshake(Error),
    /// The connection failed.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(io::ErrorKind),
    /// The handshake took too long.
    #[error("the site did not finish the TLS handshake within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The host can't be asked for.
    #[error("the host is no name that a TLS server can be asked for")]
    Host,
}

/// Connects to a place where a host is, and returns the certificates it shows there, of which it has proved to hold the first
/// one's key.
///
/// # Errors
///
/// See [`SiteError`]. There is no second try and no second way.
pub async fn shown_chain(
    dialer: &Dialer,
    place: (Host, u16),
    host: &str,
    limits: SiteLimits,
) -> Result<Chain, SiteError> {
    let (at, port) = place;
    let place = ServerAddr {
        host: at,
        port,
        transport: Transport::Tcp,
    };
    let opened = dialer.dial(&place, None, limits.dial).await?;
    let shaken = timeout(limits.handshake, shake_hands(opened.stream, host)).await;
    shaken.unwrap_or(Err(SiteError::TimedOut(limits.handshake)))
}

/// Does a handshake over a stream.
///
/// # Errors
///
/// See [`SiteError`].
pub async fn shake_hands(stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<Chain, SiteError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let witness = Arc::new(Witness {
        signatures: HandshakeSignatures::of(&provider),
        seen: OnceLock::new(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SiteError::Handshake)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| SiteError::Host)?;
    let outcome = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    match (outcome, witness.seen.get()) {
        (_, Some(Err(error))) => Err((*error).into()),
        (Ok(mut stream), Some(Ok(chain))) => {
            // Whether the site hears of it is nothing to us.
            let _ = stream.shutdown().await;
            Ok(chain.clone())
        }
        (Ok(_), None) => Err(ChainError::Empty.into()),
        (Err(error), _) => Err(SiteError::from_io(&error)),
    }
}

impl SiteError {
    fn from_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(Error::NoCertificatesPresented) => Self::Chain(ChainError::Empty),
            Some(Error::InvalidCertificate(CertificateError::BadSignature)) => Self::NotItsKey,
            Some(error) => Self::Handshake(error.clone()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error.kind()),
        }
    }
}

/// Writes down what a site shows, and checks the signature of its handshake. What the certificates are worth is judged when
/// that is done.
#[derive(Debug)]
struct Witness {
    signatures: HandshakeSignatures,
    seen: OnceLock<Result<Chain, ChainError>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all: Vec<&[u8]> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|it| &**it)
            .collect();
        let read = Chain::read(all.into_iter());
        let is_read = read.is_ok();
        if self.seen.set(read).is_ok() && is_read {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
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
