//! Names of onion services.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha3::{Digest as _, Sha3_256};

use super::address::Host;

/// The end of an onion service's name.
const SUFFIX: &str = ".onion";

/// Length of the key in bytes.
const KEY: usize = 32;

/// The only version of onion services that there is still.
const VERSION: u8 = 3;

/// The name of a version 3 onion service in lowercase, with any labels in front.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OnionName(String);

impl OnionName {
    /// Reads a name in either case; `None` when it is no valid one: its checksum and version are verified.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        // Of a host's name it is verified as it is read. A final dot is none of the name.
        let is_valid = text.ends_with(SUFFIX) && text.parse::<Host>().is_ok();
        is_valid.then_some(Self(text))
    }

    /// Makes the name of a service of its key. Source: Tor, rend-spec-v3, "Encoding onion addresses".
    pub fn of_key(key: &[u8; KEY]) -> Self {
        let mut hash = Sha3_256::new();
        hash.update(b".onion checksum");
        hash.update(key);
        hash.update([VERSION]);
        let checksum = hash.finalize();
        let bytes = key.iter().chain(checksum.iter().take(2)).chain([&VERSION]);
        let encoded = BASE32_NOPAD.encode(&bytes.copied().collect::<Vec<u8>>());
        Self(encoded.to_ascii_lowercase() + SUFFIX)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Says whether a lowercase name below `.onion` is one of a service: its last labels follow from the service's key.
pub(super) fn is_service(name: &str) -> bool {
    let Some(labels) = name.strip_suffix(SUFFIX) else {
        return false;
    };
    let service = labels.rsplit('.').next().unwrap_or(labels);
    let bytes = BASE32_NOPAD.decode(service.to_ascii_uppercase().as_bytes());
    let key = bytes.ok().and_then(|bytes| bytes.first_chunk::<KEY>().copied());
    key.is_some_and(|key| OnionName::of_key(&key).as_str().strip_suffix(SUFFIX) == Some(service))
}

impl fmt::Display for OnionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hides it: it says what somebody looks at.
impl fmt::Debug for OnionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionName(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names from rend-spec-v3, "Encoding onion addresses".
    const VALID: [&str; 3] = [
        "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
        "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd.onion",
        "xa4r2iadxm55fbnqgwwi5mymqdcofiu3w6rpbtqn7b2dyn7mgwj64jyd.onion",
    ];

    #[test]
    fn valid_names_are_taken_in_lowercase() {
        for name in VALID {
            assert_eq!(OnionName::parse(name).unwrap().as_str(), name);
            assert_eq!(OnionName::parse(&name.to_uppercase()).unwrap().as_str(), name);
            let below = format!("www.sub.{name}");
            assert_eq!(OnionName::parse(&below).unwrap().as_str(), below);
        }
    }

    #[test]
    fn names_are_made_of_keys() {
        for name in VALID {
            let bytes = BASE32_NOPAD.decode(name[..56].to_uppercase().as_bytes()).unwrap();
            assert_eq!(OnionName::of_key(bytes[..KEY].try_into().unwrap()).as_str(), name);
        }
    }

    #[test]
    fn one_wrong_character_is_found() {
        for name in VALID {
            for at in 0..name.len() - SUFFIX.len() {
                let mut wrong = name.as_bytes().to_vec();
                wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
                assert_eq!(OnionName::parse(std::str::from_utf8(&wrong).unwrap()), None);
            }
        }
    }

    #[test]
    fn other_text_is_refused() {
        let name = VALID[0];
        for text in [
            "",
            ".onion",
            "onion",
            "expyuzz4wqqyqhjn.onion",
            &name[1..],
            &format!("a{name}"),
            &format!(".{name}"),
            &format!("{name}."),
            &format!("a..{name}"),
            &format!("a b.{name}"),
            &format!("a\nb.{name}"),
            &format!("{name}\n"),
            &format!(" {name}"),
            &format!("-a.{name}"),
            &format!("{}.{name}", "a".repeat(64)),
            &format!("{}{name}", "a.".repeat(100)),
            &name.replace(".onion", ".onion.bit"),
            &name.replace("onion", "0nion"),
        ] {
            assert_eq!(OnionName::parse(text), None, "{text}");
        }
    }
}
