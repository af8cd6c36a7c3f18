//! Items that stand for themselves: addresses, texts, digests.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::dnssec::rdata::{DNSSECRData, DS};
use hickory_proto::dnssec::{Algorithm, DigestType};
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::sshfp;
use hickory_proto::rr::rdata::{A, AAAA, SSHFP, TXT};

use super::form::{base64, number, rows, text, texts};
use super::{Json, Reason, Report};

/// Longest string of a TXT record, in bytes. Source: RFC 1035 section 3.3.
const MAX_STRING: usize = 255;

/// Digest types of DS records. Source: the IANA registry of them.
const SHA1: u8 = 1;
const SHA256: u8 = 2;
const GOST: u8 = 3;
const GOST_2012: u8 = 5;
const SM3: u8 = 6;
const SHA384: u8 = 4;

/// The items that are read, but for `map`, `import` and `delegate`, which make the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dns) enum Key {
    Ip,
    Ip6,
    Ns,
    Alias,
    Translate,
    Ds,
    Txt,
    Srv,
    Mx,
    Tls,
    Loc,
    Sshfp,
    Tor,
}

impl Key {
    /// Returns how it is written.
    pub(in crate::dns) fn text(self) -> &'static str {
        let mut all = Self::ALL.into_iter().filter(|(key, _)| *key == self);
        all.next()
            .and_then(|(_, spellings)| spellings.last().copied())
            .unwrap_or_default()
    }

    /// All keys, with how they are written. Of several spellings the first that isn't null counts.
    pub(in crate::dns) const ALL: [(Self, &'static [&'static str]); 13] = [
        (Self::Ip, &["ip"]),
        (Self::Ip6, &["ip6"]),
        (Self::Ns, &["dns", "ns"]),
        (Self::Alias, &["alias"]),
        (Self::Translate, &["translate"]),
        (Self::Ds, &["ds"]),
        (Self::Txt, &["txt"]),
        (Self::Srv, &["srv"]),
        (Self::Mx, &["mx"]),
        (Self::Tls, &["tls"]),
        (Self::Loc, &["loc"]),
        (Self::Sshfp, &["sshfp"]),
        (Self::Tor, &["tor"]),
    ];
}

/// Reads `ip`: A records. Four decimal parts without leading zeros; nothing else is an address.
pub(in crate::dns) fn ip(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    texts(json, report, |text| {
        let address: Ipv4Addr = text.parse().map_err(|_| Reason::Ip)?;
        Ok(RData::A(A(address)))
    })
}

/// Reads `ip6`: AAAA records, as RFC 4291 writes them. An IPv4-mapped address is none: it would bypass `ip`.
pub(in crate::dns) fn ip6(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    texts(json, report, |text| {
        let address: Ipv6Addr = text.parse().map_err(|_| Reason::Ip6)?;
        match address.to_ipv4_mapped() {
            Some(_) => Err(Reason::Ip6),
            None => Ok(RData::AAAA(AAAA(address))),
        }
    })
}

/// Reads `txt`. A long string is cut into pieces of one record, an inner list is one record with its strings. The
/// bytes are taken as they are: backslashes mean nothing.
pub(in crate::dns) fn txt(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    match json {
        Json::Null => Vec::new(),
        Json::Text(text) => vec![pieces(text)],
        Json::List(members) => {
            let mut records = Vec::new();
            for (index, member) in members.iter().enumerate() {
                match member {
                    Json::Text(text) => records.push(pieces(text)),
                    Json::List(strings) => records.extend(strings_of_one(strings, index, report)),
                    _ => {
                        let expected = "a string or a list of strings";
                        report.member(index, Reason::Form { expected });
                    }
                }
            }
            records
        }
        _ => {
            let expected = "a string or a list of strings and lists of strings";
            report.item(Reason::Form { expected });
            Vec::new()
        }
    }
}

fn pieces(text: &str) -> RData {
    let mut pieces: Vec<&[u8]> = text.as_bytes().chunks(MAX_STRING).collect();
    if pieces.is_empty() {
        pieces.push(b"");
    }
    RData::TXT(TXT::from_bytes(pieces))
}

fn strings_of_one(strings: &[Json], index: usize, report: &mut Report<'_>) -> Option<RData> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for string in strings {
        match text(string) {
            Ok(text) if text.len() <= MAX_STRING => kept.push(text.as_bytes()),
            Ok(_) => report.member(index, Reason::LongString { max: MAX_STRING }),
            Err(reason) => report.member(index, reason),
        }
    }
    (!kept.is_empty()).then(|| RData::TXT(TXT::from_bytes(kept)))
}

/// Reads `ds`: rows of key tag, algorithm, digest type, digest.
///
/// What can't be served is left out, though IFA-0001 wants nothing looked at: resolvers take a message with a digest of
/// another length than its type has for malformed, and the whole delegation with it.
pub(in crate::dns) fn ds(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[key_tag, algorithm, digest_type, digest]| {
        let digest_type = number::<u8>(digest_type)?;
        // Reserved, so that dnspython refuses the record: RFC 3658 section 5.
        if digest_type == 0 {
            return Err(Reason::Form {
                expected: "a digest type from 1 on",
            });
        }
        let digest = digest_of(
            digest,
            match digest_type {
                SHA1 => Some(20),
                SHA256 | GOST | GOST_2012 | SM3 => Some(32),
                SHA384 => Some(48),
                _ => None,
            },
        )?;
        let algorithm = Algorithm::from_u8(number(algorithm)?);
        let ds = DS::new(number(key_tag)?, algorithm, DigestType::from(digest_type), digest);
        Ok(RData::DNSSEC(DNSSECRData::DS(ds)))
    })
}

/// Returns the DS record of no key: no key has a digest of zeros.
///
/// It is served where an owner wrote `ds` and nothing of it can be: without any the proof that there is none would make
/// the zone unsigned to every validator.
pub(in crate::dns) fn ds_of_no_key() -> RData {
    let ds = DS::new(0, Algorithm::ECDSAP256SHA256, DigestType::SHA256, vec![0; 32]);
    RData::DNSSEC(DNSSECRData::DS(ds))
}

/// Reads a digest in base64: so long as its type has it, where that is known, but never empty.
pub(in crate::dns) fn digest_of(json: &Json, expected: Option<usize>) -> Result<Vec<u8>, Reason> {
    let digest = base64(json)?;
    let got = digest.len();
    let expected = expected.unwrap_or_else(|| got.max(1));
    if got == expected {
        Ok(digest)
    } else {
        Err(Reason::DigestLength { expected, got })
    }
}

/// Reads `sshfp`: rows of algorithm, fingerprint type, fingerprint (RFC 4255).
pub(in crate::dns) fn sshfp(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[algorithm, fingerprint_type, fingerprint]| {
        let fingerprint_type = sshfp::FingerprintType::from(number::<u8>(fingerprint_type)?);
        // One of another length makes BIND refuse the whole message.
        let length = match fingerprint_type {
            sshfp::FingerprintType::SHA1 => Some(20),
            sshfp::FingerprintType::SHA256 => Some(32),
            _ => None,
        };
        Ok(RData::SSHFP(SSHFP::new(
            sshfp::Algorithm::from(number::<u8>(algorithm)?),
            fingerprint_type,
            digest_of(fingerprint, length)?,
        )))
    })
}

/// Reads `tor`: onion addresses, as Tor writes them, without final dot (IFA-0001; the client reads `_tor` TXT). In
/// lowercase, whatever they are written in.
pub(in crate::dns) fn onions(json: &Json, report: &mut Report<'_>) -> Vec<Json> {
    texts(json, report, |text| {
        let text = text.to_ascii_lowercase();
        let is_one = text.strip_suffix(".onion").is_some_and(is_onion);
        is_one.then_some(Json::Text(text)).ok_or(Reason::Onion)
    })
}

/// Says whether a text can stand before `.onion`: labels of letters, digits and hyphens.
fn is_onion(address: &str) -> bool {
    address.len() <= MAX_STRING - ".onion".len()
        && address
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}
