//! The two keys of a zone.

use hickory_proto::dnssec::DigestType;
use hickory_proto::dnssec::rdata::{DNSSECRData, DS};
use hickory_proto::rr::{Name, RData, Record};

use super::{DnssecError, Key, KeyAlgorithm, Role};

/// TTL of the DNSKEY RRset in seconds, where the key files say none: an hour, so that a new zone-signing key is soon
/// known everywhere.
const DNSKEY_TTL: u32 = 3600;

/// Attempts to draw two keys whose tags differ; one in 65,536 fails.
const ATTEMPTS: usize = 4;

/// A key-signing key and a zone-signing key of one zone and one algorithm.
#[derive(Debug)]
pub struct Keys {
    ksk: Key,
    zsk: Key,
}

impl Keys {
    /// Takes the keys of a zone, in any order.
    ///
    /// # Errors
    ///
    /// [`DnssecError::OtherZone`] when one is another zone's, [`DnssecError::NoKeys`], [`DnssecError::NoKey`] and
    /// [`DnssecError::Several`] when there isn't just one for each of the two tasks, and
    /// [`DnssecError::AlgorithmsDiffer`].
    pub fn new(zone: &Name, keys: Vec<Key>) -> Result<Self, DnssecError> {
        let mut zone = zone.to_lowercase();
        zone.set_fqdn(true);
        let (mut ksk, mut zsk): (Option<Key>, Option<Key>) = (None, None);
        if keys.is_empty() {
            let others = String::new();
            return Err(DnssecError::NoKeys { zone, others });
        }
        for key in keys {
            if *key.zone() != zone {
                let (expected, got) = (Box::new(zone), Box::new(key.zone().clone()));
                return Err(DnssecError::OtherZone { expected, got });
            }
            let place = match key.role() {
                Role::KeySigning => &mut ksk,
                Role::ZoneSigning => &mut zsk,
            };
            if let Some(there) = place {
                return Err(DnssecError::Several {
                    role: key.role(),
                    zone,
                    first: there.tag(),
                    second: key.tag(),
                });
            }
            *place = Some(key);
        }
        let (ksk, zsk) = match (ksk, zsk) {
            (Some(ksk), Some(zsk)) => (ksk, zsk),
            (None, _) => {
                return Err(DnssecError::NoKey {
                    role: Role::KeySigning,
                    zone,
                });
            }
            (_, None) => {
                return Err(DnssecError::NoKey {
                    role: Role::ZoneSigning,
                    zone,
                });
            }
        };
        let [first, second] = [&ksk, &zsk].map(|key| key.private().algorithm());
        if first != second {
            return Err(DnssecError::AlgorithmsDiffer {
                ksk: first,
                zsk: second,
            });
        }
        Ok(Self { ksk, zsk })
    }

    /// Draws both.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Random`] and [`DnssecError::Zone`].
    pub fn generate(zone: &Name, algorithm: KeyAlgorithm) -> Result<Self, DnssecError> {
        let ksk = Key::generate(zone, Role::KeySigning, algorithm)?;
        let mut zsk = Key::generate(zone, Role::ZoneSigning, algorithm)?;
        // Key files are called after the tag.
        for _ in 0..ATTEMPTS {
            if zsk.tag() != ksk.tag() {
                break;
            }
            zsk = Key::generate(zone, Role::ZoneSigning, algorithm)?;
        }
        Ok(Self { ksk, zsk })
    }

    /// Returns the zone, in small letters and fully qualified.
    pub fn zone(&self) -> &Name {
        self.ksk.zone()
    }

    /// Returns the algorithm of both.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.ksk.private().algorithm()
    }

    /// Returns the key that signs the DNSKEY RRset.
    pub fn ksk(&self) -> &Key {
        &self.ksk
    }

    /// Returns the key that signs everything else.
    pub fn zsk(&self) -> &Key {
        &self.zsk
    }

    /// Returns both, the key-signing key first.
    pub fn both(&self) -> [&Key; 2] {
        [&self.ksk, &self.zsk]
    }

    /// Returns the apex's DNSKEY RRset, unsigned. Its TTL is the least that the key files say, else an hour.
    pub fn dnskeys(&self) -> Vec<Record> {
        let ttl = self.both().into_iter().filter_map(Key::ttl).min().unwrap_or(DNSKEY_TTL);
        let record = |key: &Key| {
            let data = RData::DNSSEC(DNSSECRData::DNSKEY(key.dnskey().clone()));
            Record::from_rdata(self.zone().clone(), ttl, data)
        };
        self.both().map(record).to_vec()
    }

    /// Returns the DS record's data for the key-signing key, with SHA-256 (RFC 4509): what a validator or a parent zone
    /// is to know of the zone.
    ///
    /// # Errors
    ///
    /// [`DnssecError::Record`] when the key can't be encoded, which no key that is read here does.
    pub fn ds(&self) -> Result<DS, DnssecError> {
        let digest = self.ksk.dnskey().to_digest(self.zone(), DigestType::SHA256);
        let digest = digest.map_err(|error| DnssecError::Record {
            reason: error.to_string(),
        })?;
        Ok(DS::new(
            self.ksk.tag(),
            self.algorithm().into(),
            DigestType::SHA256,
            digest.as_ref().to_vec(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(zone: &str, role: Role, algorithm: KeyAlgorithm) -> Key {
        Key::generate(&Name::from_ascii(zone).unwrap(), role, algorithm).unwrap()
    }

    #[test]
    fn one_key_for_each_task_is_taken_in_any_order() {
        let bit = Name::from_ascii("BIT").unwrap();
        let ed = KeyAlgorithm::Ed25519;
        let keys = [key("bit", Role::ZoneSigning, ed), key("Bit.", Role::KeySigning, ed)];
        let keys = Keys::new(&bit, keys.into()).unwrap();
        assert_eq!(keys.zone().to_ascii(), "bit.");
        let [ksk, zsk] = keys.both();
        assert_eq!((ksk.dnskey().flags(), zsk.dnskey().flags()), (257, 256));
        let records = keys.dnskeys();
        assert!(
            records
                .iter()
                .all(|record| record.name == *keys.zone() && record.ttl == 3600)
        );
        let ds = keys.ds().unwrap();
        assert!(ds.covers(keys.zone(), ksk.dnskey()).unwrap());
        assert!(!ds.covers(keys.zone(), zsk.dnskey()).unwrap());
    }

    #[test]
    fn keys_that_do_not_suit_each_other_are_refused() {
        use KeyAlgorithm::{EcdsaP256Sha256, Ed25519};
        use Role::{KeySigning, ZoneSigning};
        let bit = Name::from_ascii("bit.").unwrap();
        let refusal = |keys: &[(&str, Role, KeyAlgorithm)]| {
            let keys = keys.iter().map(|(zone, role, algorithm)| key(zone, *role, *algorithm));
            Keys::new(&bit, keys.collect()).unwrap_err().to_string()
        };
        for (keys, words) in [
            (&[][..], "no keys for the zone bit."),
            (&[("bit.", KeySigning, Ed25519)], "no zone-signing key"),
            (&[("bit.", ZoneSigning, Ed25519)], "no key-signing key"),
            (&[("com.", KeySigning, Ed25519)], "zone com., expected bit."),
            (
                &[("bit.", ZoneSigning, Ed25519), ("bit.", ZoneSigning, Ed25519)],
                "more than one zone-signing key",
            ),
            (
                &[("bit.", KeySigning, Ed25519), ("bit.", ZoneSigning, EcdsaP256Sha256)],
                "ed25519 and zone-signing",
            ),
        ] {
            assert!(refusal(keys).contains(words), "{} / {words}", refusal(keys));
        }
    }

    #[test]
    fn a_zone_that_can_be_no_file_name_is_refused() {
        for labels in [&[&b"a/b"[..]][..], &[b"..", b"bit"], &[b"\0"], &[]] {
            let zone = Name::from_labels(labels.iter().copied()).unwrap();
            let refused = Keys::generate(&zone, KeyAlgorithm::Ed25519);
            assert!(matches!(refused, Err(DnssecError::Zone { .. })), "{zone}");
        }
    }
}
