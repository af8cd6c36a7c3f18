//! Questions to an Electrum server, and how they are written.

use std::fmt;
use std::str::FromStr;

use bitcoin::Txid;

use crate::chain::Height;
use crate::name::ScriptHash;

/// The client name of every connection. Empty: no name tells less, and other clients send none either.
pub const CLIENT_NAME: &str = "";

/// Most headers that a server sends for one request. Source: `ElectrumX` `session.py`, `MAX_CHUNK_SIZE`.
pub const MAX_HEADERS: u32 = 2016;

/// How many headers from the genesis block on the companion of a flight asks for.
///
/// A reply of at least 1 KiB makes servers from 1.18 on send what they hold back. Headers at these heights are
/// 80 bytes on mainnet (160 hex digits, 1280 in all) and at least that elsewhere. Counting from 0 is also the
/// one range that the servers with wrongly cut arrays cut right.
pub const COMPANION_HEADERS: u32 = 8;

/// A version of the protocol: `1.4` is `1.4.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(pub u8, pub u8, pub u8);

impl ProtocolVersion {
    /// The lowest version that is spoken here: full headers only.
    pub const V1_4: Self = Self(1, 4, 0);
    /// Headers with `cp_height` come cut to 80 bytes from here on.
    pub const V1_4_1: Self = Self(1, 4, 1);
    /// What `ElectrumX` 1.16.0 speaks at most, as do most public servers.
    pub const V1_4_2: Self = Self(1, 4, 2);
    /// `blockchain.name.get_value_proof` exists from here on.
    pub const V1_4_3: Self = Self(1, 4, 3);
    /// Headers come as an array from here on; the highest version that is spoken here, since 1.7 has no
    /// `blockchain.scripthash` methods.
    pub const V1_6: Self = Self(1, 6, 0);

    /// Says whether a name's proof can be had in one round trip, by [`ElectrumRequest::ValueProof`].
    pub fn has_value_proof(self) -> bool {
        self >= Self::V1_4_3
    }

    /// Says whether headers with a `cp_height` come cut to 80 bytes (if the server cuts them right).
    pub fn has_truncated_headers(self) -> bool {
        self >= Self::V1_4_1
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)?;
        if self.2 == 0 { Ok(()) } else { write!(f, ".{}", self.2) }
    }
}

/// A word that is no protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol version: expected two or three numbers below 256 with dots between them")]
pub struct InvalidVersion;

impl FromStr for ProtocolVersion {
    type Err = InvalidVersion;

    fn from_str(word: &str) -> Result<Self, InvalidVersion> {
        let mut numbers = word.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse().ok() } else { None }.ok_or(InvalidVersion)
        });
        let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
            return Err(InvalidVersion);
        };
        let version = Self(major?, minor?, numbers.next().unwrap_or(Ok(0))?);
        if numbers.next().is_some() {
            return Err(InvalidVersion);
        }
        Ok(version)
    }
}

/// The versions that a connection offers. Which ones depends on what the connection is for, never on an
/// isolation ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest version.
    pub min: ProtocolVersion,
    /// Highest version.
    pub max: ProtocolVersion,
}

impl VersionRange {
    /// Everything that is spoken here; what every lookup connection offers.
    pub const ALL: Self = Self {
        min: ProtocolVersion::V1_4,
        max: ProtocolVersion::V1_6,
    };

    /// Versions in which headers come as one string, cut to 80 bytes where `cp_height` is given.
    pub const JOINED_HEADERS: Self = Self {
        min: ProtocolVersion::V1_4,
        max: ProtocolVersion::V1_4_2,
    };

    /// Says whether a version lies in the range.
    pub fn contains(&self, version: ProtocolVersion) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl Default for VersionRange {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// One question. `Debug` tells the method only: scripthashes and txids say what is looked up.
#[derive(Clone, PartialEq, Eq)]
pub enum ElectrumRequest {
    /// Negotiates the protocol version; the first request of every connection.
    Version(VersionRange),
    /// Asks for the tip and for word of every later one.
    SubscribeHeaders,
    /// Asks for headers from a height upwards.
    Headers {
        /// Height of the first.
        start: Height,
        /// How many, at most [`MAX_HEADERS`].
        count: u32,
        /// 0 for full headers; otherwise the height of a checkpoint at or above the last header, which from
        /// protocol 1.4.1 on makes the server cut each header to 80 bytes.
        cp_height: Height,
    },
    /// Asks for the full header at a height.
    Header(Height),
    /// Asks what the server says about itself: its network above all.
    Features,
    /// Asks what other servers it knows.
    Peers,
    /// Asks for the transactions that touch a scripthash.
    History(ScriptHash),
    /// Asks for a transaction.
    Transaction(Txid),
    /// Asks where in a block a transaction is.
    Merkle {
        /// The transaction.
        txid: Txid,
        /// Height of the block.
        height: Height,
    },
    /// Asks for a name's operations with their merkle branches, newest first (protocol 1.4.3 and later).
    ValueProof(ScriptHash),
    /// Asks for a sign of life.
    Ping,
}

impl ElectrumRequest {
    /// The request that follows every flight, since servers from 1.18 on hold small replies back until more
    /// than 1 KiB waits (or a second has passed). The same bytes for everyone, but for the request id.
    pub const COMPANION: Self = Self::Headers {
        start: 0,
        count: COMPANION_HEADERS,
        cp_height: 0,
    };

    /// Returns the method's name.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Version(_) => "server.version",
            Self::SubscribeHeaders => "blockchain.headers.subscribe",
            Self::Headers { .. } => "blockchain.block.headers",
            Self::Header(_) => "blockchain.block.header",
            Self::Features => "server.features",
            Self::Peers => "server.peers.subscribe",
            Self::History(_) => "blockchain.scripthash.get_history",
            Self::Transaction(_) => "blockchain.transaction.get",
            Self::Merkle { .. } => "blockchain.transaction.get_merkle",
            Self::ValueProof(_) => "blockchain.name.get_value_proof",
            Self::Ping => "server.ping",
        }
    }

    /// Writes the request as one line, newline included.
    pub fn encode(&self, id: u64) -> String {
        let params = match self {
            Self::Version(VersionRange { min, max }) => format!(r#""{CLIENT_NAME}",["{min}","{max}"]"#),
            Self::SubscribeHeaders | Self::Features | Self::Peers | Self::Ping => String::new(),
            Self::Headers {
                start,
                count,
                cp_height: 0,
            } => format!("{start},{count}"),
            Self::Headers {
                start,
                count,
                cp_height,
            } => format!("{start},{count},{cp_height}"),
            Self::Header(height) => height.to_string(),
            Self::History(scripthash) => format!(r#""{scripthash}""#),
            Self::Transaction(txid) => format!(r#""{txid}""#),
            Self::Merkle { txid, height } => format!(r#""{txid}",{height}"#),
            Self::ValueProof(scripthash) => format!(r#""{scripthash}",0"#),
        };
        let method = self.method();
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":[{params}]}}\n")
    }
}

impl fmt::Debug for ElectrumRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElectrumRequest({})", self.method())
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn requests_are_lines_of_json_as_the_protocol_describes_them() {
        let scripthash = ScriptHash([0xab; 32]);
        let txid = Txid::from_byte_array([0xcd; 32]);
        let cases = [
            (
                ElectrumRequest::Version(VersionRange::ALL),
                r#"["",["1.4","1.6"]]"#.to_owned(),
            ),
            (
                ElectrumRequest::Headers {
                    start: 5,
                    count: 2016,
                    cp_height: 0,
                },
                "[5,2016]".to_owned(),
            ),
            (
                ElectrumRequest::Headers {
                    start: 5,
                    count: 10,
                    cp_height: 99,
                },
                "[5,10,99]".to_owned(),
            ),
            (ElectrumRequest::COMPANION, "[0,8]".to_owned()),
            (ElectrumRequest::Features, "[]".to_owned()),
            (ElectrumRequest::Peers, "[]".to_owned()),
            (
                ElectrumRequest::History(scripthash),
                format!(r#"["{}"]"#, "ab".repeat(32)),
            ),
            (
                ElectrumRequest::ValueProof(scripthash),
                format!(r#"["{}",0]"#, "ab".repeat(32)),
            ),
            (
                ElectrumRequest::Merkle { txid, height: 7 },
                format!(r#"["{}",7]"#, "cd".repeat(32)),
            ),
        ];
        for (id, (request, params)) in (0u64..).zip(cases) {
            let line = request.encode(id);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["id"], id);
            assert_eq!(value["jsonrpc"], "2.0");
            assert_eq!(value["method"], request.method());
            assert_eq!(value["params"].to_string(), params);
        }
    }

    #[test]
    fn versions_parse_back_and_are_ordered() {
        let words = ["1.4", "1.4.1", "1.4.2", "1.4.3", "1.5", "1.6", "1.7", "2.0"];
        let versions = words.map(|word| word.parse::<ProtocolVersion>().unwrap());
        assert!(versions.is_sorted());
        assert_eq!(versions.map(|version| version.to_string()), words);
        assert_eq!("1.6.0".parse(), Ok(ProtocolVersion::V1_6));
        for wrong in ["", "1", "1.", "1.4.2.1", "1.256", "+1.4", "1.-4", "a.b"] {
            assert_eq!(wrong.parse::<ProtocolVersion>(), Err(InvalidVersion), "{wrong}");
        }
    }

    #[test]
    fn debug_tells_nothing_of_what_is_looked_up() {
        let request = ElectrumRequest::Transaction(Txid::from_byte_array([0xcd; 32]));
        assert_eq!(format!("{request:?}"), "ElectrumRequest(blockchain.transaction.get)");
    }
}
