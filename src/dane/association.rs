//! TLSA records as what they say of a certificate.

use std::fmt;

use bitcoin::hashes::{Hash, sha256, sha512};
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching as TlsaMatching, Selector as TlsaSelector};

use super::chain::Certificate;

/// Whose key a record is about. The usages of public authorities, 0 and 1, are of no use for names that no public
/// authority certifies. Source: RFC 6698, section 2.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// 2: of an authority that signs the site's certificate.
    Authority,
    /// 3: of the site's certificate itself.
    Leaf,
}

/// What of a certificate is compared. Source: RFC 6698, section 2.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// 0: all of it.
    Certificate,
    /// 1: its `SubjectPublicKeyInfo`.
    Key,
}

/// How it is compared; the stronger digest is the greater one. Source: RFC 6698, section 2.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matching {
    /// 0: with the bytes themselves.
    Exact,
    /// 1: with their SHA-256.
    Sha256,
    /// 2: with their SHA-512.
    Sha512,
}

/// A usable TLSA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Whose key it is about.
    pub usage: Usage,
    /// What is compared.
    pub selector: Selector,
    /// How it is compared.
    pub matching: Matching,
    data: Vec<u8>,
}

/// Parts usable records into those that count, and those that do not since a stronger digest is published for the same usage
/// and selector: whoever can make up something that fits the weaker one gains nothing where owners publish both. What is there
/// whole always counts. Source: RFC 7671, section 9.
pub fn strongest(usable: Vec<Association>) -> (Vec<Association>, Vec<Association>) {
    let mut best: Vec<(Usage, Selector, Matching)> = Vec::new();
    for it in &usable {
        let kin = best.iter_mut().find(|best| (best.0, best.1) == (it.usage, it.selector));
        match kin {
            Some(best) => best.2 = best.2.max(it.matching),
            None => best.push((it.usage, it.selector, it.matching)),
        }
    }
    usable
        .into_iter()
        .partition(|it| it.matching == Matching::Exact || best.contains(&(it.usage, it.selector, it.matching)))
}

/// Why a TLSA record says nothing that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Usage 0 or 1.
    #[error("usage {0} is about public authorities, which certify no such name")]
    PublicAuthority(u8),
    /// A usage, selector or matching type that has no meaning.
    #[error("its {field} is {got}, which means nothing")]
    Unassigned {
        /// Which of the three numbers.
        field: &'static str,
        /// Its value.
        got: u8,
    },
    /// The data can't be what the matching type says.
    #[error("its data has {got} bytes, which is no digest of that type")]
    Length {
        /// How many it has.
        got: usize,
    },
    /// It stands in for what the owner wrote and nobody can read.
    #[error(
        "the value's `tls` cannot be read, so that no key is good; `isonym resolve --explain` says what is wrong with it"
    )]
    Unreadable,
}

impl Association {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`Unusable`]: such records are passed over. Source: RFC 7671, section 4.1.
    pub fn read(record: &TLSA) -> Result<Self, Unusable> {
        let unassigned = |field, got| Unusable::Unassigned { field, got };
        let usage = match record.cert_usage {
            CertUsage::DaneTa => Usage::Authority,
            CertUsage::DaneEe => Usage::Leaf,
            CertUsage::PkixTa => return Err(Unusable::PublicAuthority(0)),
            CertUsage::PkixEe => return Err(Unusable::PublicAuthority(1)),
            other => return Err(unassigned("usage", other.into())),
        };
        let selector = match record.selector {
            TlsaSelector::Full => Selector::Certificate,
            TlsaSelector::Spki => Selector::Key,
            other => return Err(unassigned("selector", other.into())),
        };
        let (matching, length) = match record.matching {
            TlsaMatching::Raw => (Matching::Exact, None),
            TlsaMatching::Sha256 => (Matching::Sha256, Some(32)),
            TlsaMatching::Sha512 => (Matching::Sha512, Some(64)),
            other => return Err(unassigned("matching type", other.into())),
        };
        let got = record.cert_data.len();
        if length.is_some_and(|length| length != got) || got == 0 {
            return Err(Unusable::Length { got });
        }
        // No key has such a digest; zone files are made with it where an owner's record can't be read.
        if matching != Matching::Exact && record.cert_data.iter().all(|byte| *byte == 0) {
            return Err(Unusable::Unreadable);
        }
        Ok(Self {
            usage,
            selector,
            matching,
            data: record.cert_data.clone(),
        })
    }

    /// Returns the bytes that are compared with, where these are the certificate or the key itself.
    pub fn exact(&self) -> Option<&[u8]> {
        (self.matching == Matching::Exact).then_some(&*self.data)
    }

    /// Says whether it is about this certificate.
    pub fn fits(&self, certificate: &Certificate) -> bool {
        match self.selector {
            Selector::Certificate => self.fits_bytes(certificate.der()),
            Selector::Key => self.fits_bytes(certificate.key()),
        }
    }

    /// Says whether it is about the key alone, and about this one.
    pub fn fits_key(&self, key: &[u8]) -> bool {
        self.selector == Selector::Key && self.fits_bytes(key)
    }

    fn fits_bytes(&self, bytes: &[u8]) -> bool {
        match self.matching {
            Matching::Exact => self.data == bytes,
            Matching::Sha256 => self.data == *sha256::Hash::hash(bytes).as_byte_array(),
            Matching::Sha512 => self.data == *sha512::Hash::hash(bytes).as_byte_array(),
        }
    }

    /// Returns its three numbers.
    pub const fn numbers(&self) -> [u8; 3] {
        [
            match self.usage {
                Usage::Authority => 2,
                Usage::Leaf => 3,
            },
            match self.selector {
                Selector::Certificate => 0,
                Selector::Key => 1,
            },
            match self.matching {
                Matching::Exact => 0,
                Matching::Sha256 => 1,
                Matching::Sha512 => 2,
            },
        ]
    }
}

/// Shows the three numbers, as zone files begin such a record.
impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [usage, selector, matching] = self.numbers();
        write!(f, "{usage} {selector} {matching}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Result<Association, Unusable> {
        Association::read(&TLSA::new(
            usage.into(),
            selector.into(),
            matching.into(),
            data.to_vec(),
        ))
    }

    #[test]
    fn what_can_be_used_is_told_from_the_rest() {
        for (usage, selector, matching, length) in [(2, 0, 0, 1), (2, 1, 1, 32), (3, 0, 2, 64), (3, 1, 0, 9)] {
            let record = read(usage, selector, matching, &vec![7; length]).unwrap();
            assert_eq!(record.numbers(), [usage, selector, matching]);
            assert_eq!(record.to_string(), format!("{usage} {selector} {matching}"));
        }
        let unassigned = |field, got| Err(Unusable::Unassigned { field, got });
        for (numbers, length, expected) in [
            ([0, 1, 1], 32, Err(Unusable::PublicAuthority(0))),
            ([1, 0, 0], 9, Err(Unusable::PublicAuthority(1))),
            ([4, 0, 0], 9, unassigned("usage", 4)),
            ([255, 0, 0], 9, unassigned("usage", 255)),
            ([3, 2, 0], 9, unassigned("selector", 2)),
            ([3, 1, 3], 9, unassigned("matching type", 3)),
            ([3, 1, 1], 31, Err(Unusable::Length { got: 31 })),
            ([3, 1, 2], 32, Err(Unusable::Length { got: 32 })),
            ([3, 1, 0], 0, Err(Unusable::Length { got: 0 })),
        ] {
            let [usage, selector, matching] = numbers;
            assert_eq!(
                read(usage, selector, matching, &vec![7; length]),
                expected,
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn the_record_of_no_key_is_told_as_what_it_is() {
        assert_eq!(read(3, 1, 1, &[0; 32]), Err(Unusable::Unreadable));
    }
}
