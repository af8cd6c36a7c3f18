//! What a server says of other servers: addresses by hearsay, which nothing is done by as they are.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ReplyError, shape};
use crate::electrum::wire::AtMost;

/// Longest list that is read, in bytes.
pub const MAX_PEERS_REPLY: usize = 64 << 10;

/// Most servers in a list.
pub const MAX_PEERS: usize = 100;

/// Longest host name, in bytes. Source: RFC 1035, 2.3.4.
const MAX_HOST: usize = 253;

/// Most words that say what a server speaks.
const MAX_WORDS: usize = 16;

/// The ports that a letter alone stands for. Source: `ElectrumX` `peer.py`, observed on running servers.
const DEFAULT_TLS: u16 = 50002;
const DEFAULT_TCP: u16 = 50001;

/// A server that another one speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its host: 1 to 253 printable characters of ASCII, and no more is known of it.
    pub host: String,
    /// Its port for TLS.
    pub tls: Option<u16>,
    /// Its port for plain TCP.
    pub tcp: Option<u16>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Row<'a> {
    Peer(IgnoredAny, &'a str, AtMost<&'a str, MAX_WORDS>),
    Other(IgnoredAny),
}

/// Reads a list. A row of another shape is left out, as are the addresses that rows begin with: the host says where it is.
pub(super) fn parse(result: &str) -> Result<Vec<Peer>, ReplyError> {
    if result.len() > MAX_PEERS_REPLY {
        return Err(ReplyError::WrongLength {
            field: "peers",
            min: 0,
            max: MAX_PEERS_REPLY,
            got: result.len(),
        });
    }
    let AtMost::<Row<'_>, MAX_PEERS>(rows) = shape(result)?;
    Ok(rows.into_iter().filter_map(peer).collect())
}

fn peer(row: Row<'_>) -> Option<Peer> {
    let Row::Peer(_, host, AtMost(words)) = row else {
        return None;
    };
    let is_host = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    let (tls, tcp) = (port(&words, 's', DEFAULT_TLS), port(&words, 't', DEFAULT_TCP));
    (is_host && tls.or(tcp).is_some()).then(|| Peer {
        host: host.to_owned(),
        tls,
        tcp,
    })
}

fn port(words: &[&str], letter: char, default: u16) -> Option<u16> {
    let digits = words.iter().find_map(|word| word.strip_prefix(letter))?;
    if digits.is_empty() {
        return Some(default);
    }
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn peer(host: &str, tls: Option<u16>, tcp: Option<u16>) -> Peer {
        let host = host.to_owned();
        Peer { host, tls, tcp }
    }

    #[test]
    fn lists_are_read_as_servers_write_them() {
        let list = json!([
            ["192.0.2.7", "electrum.example.org", ["v1.4.2", "s50002", "t50001"]],
            ["", "x.onion", ["v1.4", "t"]],
            ["192.0.2.8", "b.example.org", ["v1.6", "p100", "s"]],
        ]);
        let expected = [
            peer("electrum.example.org", Some(50002), Some(50001)),
            peer("x.onion", None, Some(50001)),
            peer("b.example.org", Some(50002), None),
        ];
        assert_eq!(parse(&list.to_string()).unwrap(), expected);
    }

    #[test]
    fn rows_that_can_be_none_are_left_out() {
        let long = format!("{}.org", "a".repeat(250));
        let many = vec!["s1"; 17];
        let list = json!([
            7, null, [], {"a": 1}, ["1.2.3.4"], ["1.2.3.4", "a.org", "s1"], ["1.2.3.4", 5, ["s1"]],
            ["1.2.3.4", "a.org", []], ["1.2.3.4", "a.org", ["s0", "t65536"]], ["1.2.3.4", "a.org", ["s+1"]],
            ["1.2.3.4", "", ["s1"]], ["1.2.3.4", "a b.org", ["s1"]], ["1.2.3.4", "ä.org", ["s1"]],
            ["1.2.3.4", long, ["s1"]], ["1.2.3.4", "a.org", many], ["1.2.3.4", "a.org", ["s1"], 1],
            [["1.2.3.4"], "good.org", ["s1"]],
        ]);
        assert_eq!(parse(&list.to_string()).unwrap(), [peer("good.org", Some(1), None)]);
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_whole() {
        let list = |rows: usize| json!(vec![json!(["1.2.3.4", "a.org", ["s1"]]); rows]).to_string();
        assert_eq!(parse(&list(MAX_PEERS)).unwrap().len(), MAX_PEERS);
        assert_eq!(parse(&list(MAX_PEERS + 1)), Err(ReplyError::WrongShape));
        let bytes = format!("[{}]", " ".repeat(MAX_PEERS_REPLY));
        assert!(matches!(parse(&bytes), Err(ReplyError::WrongLength { .. })));
        assert_eq!(parse(&"[".repeat(50_000)), Err(ReplyError::WrongShape));
    }

    proptest! {
        #[test]
        fn what_is_read_keeps_to_its_bounds(text in r#"(\[|\]|,|"[a-z.]{0,9}"|"[st][0-9]{0,6}"|\["[0-9.]{7}","[a-z.]{1,9}",\["s[0-9]{1,5}"\]\]){0,40}"#) {
            for peer in parse(&format!("[{text}]")).unwrap_or_default() {
                prop_assert!((1..=MAX_HOST).contains(&peer.host.len()));
                prop_assert!(peer.tls.or(peer.tcp).is_some_and(|port| port > 0));
            }
        }
    }
}
