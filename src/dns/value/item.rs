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

/// Reads `ds`: rows of key tag, algorithm, digest type, digest. The digest's length isn't checked, so says IFA-0001.
pub(in crate::dns) fn ds(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[key_tag, algorithm, digest_type, digest]| {
        let digest_type = DigestType::from(number::<u8>(digest_type)?);
        let digest = base64(digest)?;
        // Resolvers take a message with another length for malformed, and the whole delegation with it.
        let expected = match digest_type {
            DigestType::SHA1 => 20,
            DigestType::SHA256 => 32,
            DigestType::SHA384 => 48,
            _ => digest.len().max(1),
        };
        if digest.len() != expected {
            return Err(Reason::DigestLength {
                expected,
                got: digest.len(),
            });
        }
        let algorithm = Algorithm::from_u8(number(algorithm)?);
        let ds = DS::new(number(key_tag)?, algorithm, digest_type, digest);
        Ok(RData::DNSSEC(DNSSECRData::DS(ds)))
    })
}

/// Reads `sshfp`: rows of algorithm, fingerprint type, fingerprint (RFC 4255).
pub(in crate::dns) fn sshfp(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    rows(json, report, |[algorithm, fingerprint_type, fingerprint]| {
        Ok(RData::SSHFP(SSHFP::new(
            sshfp::Algorithm::from(number::<u8>(algorithm)?),
            sshfp::FingerprintType::from(number::<u8>(fingerprint_type)?),
            base64(fingerprint)?,
        )))
    })
}

/// Reads `tor`: onion addresses, as Tor writes them, without final dot (IFA-0001; the client reads `_tor` TXT).
pub(in crate::dns) fn onions(json: &Json, report: &mut Report<'_>) -> Vec<Json> {
    texts(json, report, |text| match text.strip_suffix(".onion") {
        Some(address) if is_onion(address) => Ok(Json::Text(text.to_owned())),
        _ => Err(Reason::Onion),
    })
}

/// Says whether a text can stand before `.onion`: labels of letters, digits and hyphens.
fn is_onion(address: &str) -> bool {
    address.len() <= MAX_STRING - ".onion".len()
        && address
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}
