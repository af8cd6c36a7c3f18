//! Whether what a site shows is what its name publishes.
//!
//! Source: RFC 6698 and RFC 7671. Of the four usages, 2 and 3 are used, as RFC 7672 has it for the same reason: no public
//! authority certifies such a name. Unlike there, nothing is authenticated where no record can be used: who asks for a
//! judgement has nothing else to go by.

use std::time::Duration;

use der::Decode as _;
use der::asn1::AnyRef;
use hickory_proto::rr::rdata::TLSA;
use rustls_pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error as PathError, KeyUsage, anchor_from_trusted_cert};

use super::association::{Association, Matching, Selector, Unusable, Usage, strongest};
use super::chain::{Certificate, Chain, MAX_CERTIFICATES};
use crate::time::Timestamp;

/// Most keys that are tried as authorities: a value has no room for more.
const MAX_AUTHORITIES: usize = 3 * MAX_CERTIFICATES;

/// That a site is who its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The record that proves it.
    pub association: Association,
    /// How.
    pub by: Proof,
}

/// How a record proves a site's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is about that certificate. Its names and times are nothing that counts then. Source: RFC 7671, section 5.1.
    Leaf,
    /// It is about an authority, which certifies the site's key for this host today.
    Authority(Authority),
}

/// An authority that a name publishes.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name as the certificate has it that it signs, in DER.
    pub subject: Vec<u8>,
    /// Its `SubjectPublicKeyInfo`, in DER.
    pub key: Vec<u8>,
    /// What its own certificate forbids it, where the record is about all of that.
    constraints: Option<Vec<u8>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// Why a site is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name publishes no TLSA record.
    #[error("the name publishes no key to compare with")]
    NoRecord,
    /// None of its records can be used; this is the first one's reason.
    #[error("none of the TLSA records that the name publishes can be used: {0}")]
    NoneUsable(Unusable),
    /// The site has another certificate than those that the name publishes.
    #[error(
        "its certificate is another than the name publishes: it may have been renewed without the name, or somebody is in between"
    )]
    Other,
    /// The site's certificate fits a digest that does not count beside a stronger one that it does not fit.
    #[error(
        "its certificate fits the weaker digest that the name publishes and not the stronger one beside it, which alone counts"
    )]
    Weaker,
    /// The name publishes an authority, but this one does not certify the site.
    #[error("the authority that the name publishes does not certify it: {0}")]
    Path(Flaw),
}

/// What is wrong with the way from an authority to a site's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The authority's key signed none of the certificates.
    #[error("its key signed none of the certificates that the site shows")]
    NotSigned,
    /// The chain is made to be expensive.
    #[error("finding a way through the site's certificates takes too long")]
    Maze,
    /// A certificate breaks the rules for them.
    #[error("a certificate breaks the rules of X.509 version 3")]
    Malformed,
    /// A certificate is signed by what is no longer safe, or not known here.
    #[error("a certificate is signed in a way that is not safe or not supported")]
    Algorithm,
    /// The certificate of the site may sign others.
    #[error("the site's certificate is one for authorities")]
    IsAuthority,
    /// A certificate that signed another must not.
    #[error("a certificate signed another, and may not")]
    IsNoAuthority,
    /// A certificate is for something else.
    #[error("a certificate is not for TLS servers")]
    Purpose,
    /// A certificate is for names that its authority may not certify.
    #[error("a certificate is for names that its authority is not allowed to certify")]
    Constraint,
    /// A certificate is not valid yet.
    #[error("a certificate is not valid yet; is the clock right?")]
    NotYetValid,
    /// A certificate has expired.
    #[error("a certificate has expired")]
    Expired,
    /// The certificate is for another host.
    #[error("the site's certificate is not for this host")]
    OtherHost,
}

impl From<PathError> for Flaw {
    fn from(error: PathError) -> Self {
        match error {
            PathError::UnknownIssuer | PathError::InvalidSignatureForPublicKey => Self::NotSigned,
            PathError::MaximumNameConstraintComparisonsExceeded
            | PathError::MaximumPathBuildCallsExceeded
            | PathError::MaximumPathDepthExceeded
            | PathError::MaximumSignatureChecksExceeded => Self::Maze,
            PathError::UnsupportedSignatureAlgorithmContext(_)
            | PathError::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | PathError::SignatureAlgorithmMismatch => Self::Algorithm,
            PathError::CaUsedAsEndEntity => Self::IsAuthority,
            PathError::EndEntityUsedAsCa | PathError::PathLenConstraintViolated => Self::IsNoAuthority,
            PathError::RequiredEkuNotFoundContext(_) | PathError::EmptyEkuExtension => Self::Purpose,
            PathError::NameConstraintViolation => Self::Constraint,
            PathError::CertNotValidYet { .. } => Self::NotYetValid,
            PathError::CertExpired { .. } => Self::Expired,
            PathError::CertNotValidForName(_) => Self::OtherHost,
            _ => Self::Malformed,
        }
    }
}

/// Judges a chain by the records of the host that shows it, of which the strongest digests count ([`strongest`]). Where several
/// records fit, one about an authority is preferred: a keyless pin can be made of that.
///
/// # Errors
///
/// See [`Refusal`].
pub fn judge(records: &[TLSA], chain: &Chain, host: &str, now: Timestamp) -> Result<Authenticated, Refusal> {
    let mut usable = Vec::new();
    let mut unusable = None;
    for record in records {
        match Association::read(record) {
            Ok(association) => usable.push(association),
            Err(reason) => unusable = unusable.or(Some(reason)),
        }
    }
    if usable.is_empty() {
        return Err(unusable.map_or(Refusal::NoRecord, Refusal::NoneUsable));
    }
    let (usable, weaker) = strongest(usable);
    let mut worst = None;
    let mut tries = MAX_AUTHORITIES;
    for association in usable.iter().filter(|it| it.usage == Usage::Authority) {
        for authority in authorities(association, chain) {
            let Some(left) = tries.checked_sub(1) else {
                worst = worst.max(Some(Flaw::Maze));
                break;
            };
            tries = left;
            match certifies(&authority, chain, host, now) {
                Ok(()) => {
                    return Ok(Authenticated {
                        association: association.clone(),
                        by: Proof::Authority(authority),
                    });
                }
                Err(flaw) => worst = worst.max(Some(flaw)),
            }
        }
    }
    let mut of_leaf = usable.into_iter().filter(|it| it.usage == Usage::Leaf);
    match of_leaf.find(|it| it.fits(chain.leaf())) {
        Some(association) => Ok(Authenticated {
            association,
            by: Proof::Leaf,
        }),
        None if weaker.iter().any(|it| it.usage == Usage::Leaf && it.fits(chain.leaf())) => Err(Refusal::Weaker),
        None => Err(worst.map_or(Refusal::Other, Refusal::Path)),
    }
}

/// Returns who may be the authority that a record is about, the nearest to the site first.
fn authorities(association: &Association, chain: &Chain) -> Vec<Authority> {
    match (association.selector, association.exact()) {
        (Selector::Key, Some(key)) => named_by_chain(chain, key),
        // A digest says nothing of the key, which has to be in what the site shows: in a certificate, or in a name there.
        (Selector::Key, None) => {
            let shown = chain.all().map(|it| it.key().to_vec());
            let stapled = chain.all().filter_map(Certificate::stapled_key);
            let mut keys = shown.chain(stapled).filter(|key| association.fits_key(key));
            keys.next().map_or_else(Vec::new, |key| named_by_chain(chain, &key))
        }
        (Selector::Certificate, Some(der)) => Certificate::read(der)
            .and_then(|it| of_certificate(&it))
            .into_iter()
            .collect(),
        (Selector::Certificate, None) => {
            let fitting = chain.others().iter().filter(|it| association.fits(it));
            fitting.filter_map(of_certificate).collect()
        }
    }
}

/// Returns the authority of a key, once for each name of who signed a certificate: which of them it signed has yet to be
/// seen.
fn named_by_chain(chain: &Chain, key: &[u8]) -> Vec<Authority> {
    let mut named: Vec<Authority> = Vec::new();
    for certificate in chain.all() {
        if named.iter().all(|it| it.subject != certificate.issuer()) {
            named.push(Authority {
                subject: certificate.issuer().to_vec(),
                key: key.to_vec(),
                constraints: None,
            });
        }
    }
    named
}

/// Returns the authority whose certificate this is; `None` where it may be none.
fn of_certificate(certificate: &Certificate) -> Option<Authority> {
    let der = CertificateDer::from(certificate.der());
    let anchor = anchor_from_trusted_cert(&der).ok()?;
    certificate.signs_others().then(|| Authority {
        subject: certificate.subject().to_vec(),
        key: certificate.key().to_vec(),
        constraints: anchor.name_constraints.map(|constraints| constraints.to_vec()),
    })
}

/// Checks that an authority certifies the site's key for this host at this time.
fn certifies(authority: &Authority, chain: &Chain, host: &str, now: Timestamp) -> Result<(), Flaw> {
    let anchor = TrustAnchor {
        subject: Der::from_slice(content(&authority.subject).ok_or(Flaw::Malformed)?),
        subject_public_key_info: Der::from_slice(content(&authority.key).ok_or(Flaw::Malformed)?),
        name_constraints: authority.constraints.as_deref().map(Der::from_slice),
    };
    leads_to(anchor, chain, host, now)
}

/// Checks that a trusted certificate, which may have constraints, has a client take a chain for this host at this time.
///
/// # Errors
///
/// The [`Flaw`] that a client would see.
pub fn check_trusting(trusted: &[u8], chain: &Chain, host: &str, now: Timestamp) -> Result<(), Flaw> {
    let trusted = CertificateDer::from(trusted);
    leads_to(anchor_from_trusted_cert(&trusted)?, chain, host, now)
}

fn leads_to(anchor: TrustAnchor<'_>, chain: &Chain, host: &str, now: Timestamp) -> Result<(), Flaw> {
    let leaf = CertificateDer::from(chain.leaf().der());
    let leaf = EndEntityCert::try_from(&leaf)?;
    let others: Vec<_> = chain.others().iter().map(|it| CertificateDer::from(it.der())).collect();
    let name = ServerName::try_from(host).map_err(|_| Flaw::OtherHost)?;
    leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &[anchor],
        &others,
        UnixTime::since_unix_epoch(Duration::from_secs(now.0)),
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    Ok(leaf.verify_is_valid_for_subject_name(&name)?)
}

/// Returns what is in a value of DER without its tag and length.
fn content(der: &[u8]) -> Option<&[u8]> {
    Some(AnyRef::from_der(der).ok()?.value())
}

impl Authenticated {
    /// Says in a few words what was found to be what.
    pub fn reason(&self) -> String {
        let what = match (&self.by, self.association.selector) {
            (Proof::Leaf, Selector::Certificate) => "its certificate is the one that the name publishes",
            (Proof::Leaf, Selector::Key) => "its certificate has the key that the name publishes",
            (Proof::Authority(_), Selector::Certificate) => {
                "the authority whose certificate the name publishes certifies it for this host"
            }
            (Proof::Authority(_), Selector::Key) => {
                "the authority whose key the name publishes certifies it for this host"
            }
        };
        let by = match self.association.matching {
            Matching::Exact => "",
            Matching::Sha256 => ", by its SHA-256",
            Matching::Sha512 => ", by its SHA-512",
        };
        format!("{what}{by} (TLSA {})", self.association)
    }
}

#[cfg(test)]
mod tests;
