//! The releases of ElectrumX for Namecoin that the simulated server can pass for, and protocol versions.

use std::fmt;
use std::str::FromStr;

/// A protocol version such as 1.4.2; missing parts count as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u16; 3]);

impl Version {
    /// The oldest version that any release speaks, and what a client that names none gets.
    pub const OLDEST: Self = Self([1, 4, 0]);
    /// From here on, headers that come with a checkpoint proof are cut to 80 bytes.
    pub const CUT_HEADERS: Self = Self([1, 4, 1]);
    /// From here on there is `blockchain.name.get_value_proof`.
    pub const NAME_PROOFS: Self = Self([1, 4, 3]);
    /// From here on, `block.headers` answers with an array.
    pub const HEADER_ARRAYS: Self = Self([1, 6, 0]);
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol version: `{0}`")]
pub struct InvalidVersion(pub String);

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let mut parts = [0; 3];
        let mut words = text.split('.');
        for (part, word) in parts.iter_mut().zip(words.by_ref()) {
            *part = word.parse().map_err(|_| InvalidVersion(text.to_owned()))?;
        }
        match words.next() {
            None => Ok(Self(parts)),
            Some(_) => Err(InvalidVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A release of ElectrumX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 1.16.0, what most public servers run: protocol 1.4 to 1.4.2, no name proofs.
    V1_16,
    /// 1.17.0: protocol 1.4 to 1.4.3.
    #[default]
    V1_17,
    /// 1.20.0: protocol 1.4 to 1.6, with the array of headers cut at wrong places.
    V1_20,
}

impl Release {
    /// All releases.
    pub const ALL: [Self; 3] = [Self::V1_16, Self::V1_17, Self::V1_20];

    /// Returns how it calls itself.
    pub const fn software(self) -> &'static str {
        match self {
            Self::V1_16 => "ElectrumX 1.16.0",
            Self::V1_17 => "ElectrumX 1.17.0",
            Self::V1_20 => "ElectrumX 1.20.0",
        }
    }

    /// Returns the newest protocol version that it speaks.
    pub const fn newest(self) -> Version {
        match self {
            Self::V1_16 => Version([1, 4, 2]),
            Self::V1_17 => Version([1, 4, 3]),
            Self::V1_20 => Version([1, 6, 0]),
        }
    }

    /// Says whether arrays of headers are cut at the wrong places.
    pub const fn cuts_headers_wrongly(self) -> bool {
        matches!(self, Self::V1_20)
    }

    /// Says whether `server.version` must come first.
    pub const fn insists_on_handshake(self) -> bool {
        matches!(self, Self::V1_20)
    }

    /// Agrees on a version with a client that speaks all from `oldest` to `newest`; `None` when they have none in
    /// common.
    pub fn negotiate(self, oldest: Version, newest: Version) -> Option<Version> {
        let agreed = newest.min(self.newest());
        (agreed >= oldest && agreed >= Version::OLDEST).then_some(agreed)
    }
}
