//! What is asked, and what must come of it.

use std::net::SocketAddr;

use serde_json::json;

use super::server::{Keys, Names, Server, name_show};

/// Our server for `bit`, and servers for two zones below it.
pub struct Zones {
    pub bit: Server,
    pub keys: Keys,
    pub signed_child: Server,
    pub unsigned_child: Server,
    _signed_child_keys: Keys,
}

impl Zones {
    /// Starts all three, `bit` signed by this algorithm, its signed child by this one. The addresses are where to listen.
    pub fn start(algorithm: &str, of_child: &str, [bit, signed, unsigned]: [&str; 3]) -> Self {
        let keys = Keys::new("bit", algorithm);
        let child_keys = Keys::new("signed.child.bit", of_child);
        let (names, _) = name_show(names(&child_keys));
        Self {
            bit: Server::start(bit, names, "bit", Some(&keys)),
            keys,
            signed_child: Server::start(signed, names, "signed.child.bit", Some(&child_keys)),
            unsigned_child: Server::start(unsigned, names, "unsigned.child.bit", None),
            _signed_child_keys: child_keys,
        }
    }

    /// Starts all on free ports. A resolver must be told the ports of the children.
    pub fn on_free_ports(algorithm: &str, of_child: &str) -> Self {
        Self::start(algorithm, of_child, ["127.0.0.1:0"; 3])
    }

    /// The children and where they are.
    pub fn children(&self) -> [(String, SocketAddr); 2] {
        [
            ("signed.child.bit.".to_owned(), self.signed_child.address),
            ("unsigned.child.bit.".to_owned(), self.unsigned_child.address),
        ]
    }
}

/// The addresses of the nameservers of the zones below.
pub const SIGNED_CHILD: &str = "127.0.0.54";
pub const UNSIGNED_CHILD: &str = "127.0.0.55";

/// What is registered. The servers of the children find their names here too, the first label below their zone's.
pub fn names(child_keys: &Keys) -> Names {
    let digest = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let example = json!({
        "ip": "192.0.2.1", "ip6": "2001:db8::1", "txt": "some text",
        "map": {
            "www": { "alias": "@" },
            "away": { "alias": "other.bit." },
            "ren": { "translate": "other.bit." },
            "wild": { "map": { "*": { "ip": "192.0.2.9" }, "there": { "ip": "192.0.2.8" } } },
            "deep": { "map": { "er": { "txt": "below" } } },
            "_tcp": { "map": { "_443": { "tls": [[3, 1, 1, digest]] } } },
        },
    });
    let child = json!({
        "map": {
            "signed": {
                "ns": "ns.signed.child.bit.", "ds": child_keys.ds_item(),
                "map": { "ns": { "ip": SIGNED_CHILD } },
            },
            "unsigned": {
                "ns": "ns.unsigned.child.bit.",
                "map": { "ns": { "ip": UNSIGNED_CHILD } },
            },
        },
    });
    Names::from([
        ("d/example", example),
        (
            "d/other",
            json!({ "ip": "192.0.2.2", "map": { "x": { "ip": "192.0.2.3" } } }),
        ),
        ("d/child", child),
        (
            "d/host",
            json!({ "ip": "192.0.2.33", "map": { "below": { "txt": "of the child" } } }),
        ),
    ])
}

/// A question, and the records that answer it: `OWNER TYPE DATA`; none where there are none.
pub type Case = (&'static str, &'static [&'static str]);

/// Questions that every validator must find secure, as NOERROR: compact denial proves a name that isn't there like one
/// without records (RFC 9824).
pub const SECURE: &[Case] = &[
    // What isn't there comes first, so that a resolver that remembers proofs has more of them to go wrong by.
    ("nosuch.bit A", &[]),
    ("below.nosuch.bit A", &[]),
    ("nosuch.deep.example.bit A", &[]),
    ("in_valid.bit A", &[]),
    ("nosuch.child.bit A", &[]),
    ("example.bit MX", &[]),
    ("deep.example.bit A", &[]),
    ("_tcp.example.bit A", &[]),
    ("ren.example.bit A", &[]),
    ("www.wild.example.bit AAAA", &[]),
    ("there.wild.example.bit AAAA", &[]),
    ("child.bit A", &[]),
    ("unsigned.child.bit DS", &[]),
    ("x--nmc.bit A", &[]),
    ("example.bit A", &["example.bit. A 192.0.2.1"]),
    ("example.bit AAAA", &["example.bit. AAAA 2001:db8::1"]),
    ("example.bit TXT", &["example.bit. TXT \"some text\""]),
    (
        "_443._tcp.example.bit TLSA",
        &["_443._tcp.example.bit. TLSA 3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"],
    ),
    (
        "www.example.bit A",
        &["www.example.bit. CNAME example.bit.", "example.bit. A 192.0.2.1"],
    ),
    (
        "away.example.bit A",
        &["away.example.bit. CNAME other.bit.", "other.bit. A 192.0.2.2"],
    ),
    ("www.example.bit CNAME", &["www.example.bit. CNAME example.bit."]),
    ("ren.example.bit DNAME", &["ren.example.bit. DNAME other.bit."]),
    ("er.deep.example.bit TXT", &["er.deep.example.bit. TXT \"below\""]),
    ("some.wild.example.bit A", &["some.wild.example.bit. A 192.0.2.9"]),
    (
        "an.other.wild.example.bit A",
        &["an.other.wild.example.bit. A 192.0.2.9"],
    ),
    ("there.wild.example.bit A", &["there.wild.example.bit. A 192.0.2.8"]),
    ("bit NS", &["bit. NS this.x--nmc.bit."]),
    ("bit SOA", &["bit. SOA this.x--nmc.bit. . 1 600 600 7200 600"]),
    ("this.x--nmc.bit A", &["this.x--nmc.bit. A 127.127.127.127"]),
];

/// What is in the signed child, secure too.
pub const SIGNED: &[Case] = &[
    ("host.signed.child.bit A", &["host.signed.child.bit. A 192.0.2.33"]),
    (
        "below.host.signed.child.bit TXT",
        &["below.host.signed.child.bit. TXT \"of the child\""],
    ),
    ("host.signed.child.bit MX", &[]),
    ("nosuch.signed.child.bit A", &[]),
];

/// What is in the unsigned child, insecure, without those that aren't there.
pub const UNSIGNED: &[Case] = &[
    ("host.unsigned.child.bit A", &["host.unsigned.child.bit. A 192.0.2.33"]),
    ("host.unsigned.child.bit MX", &[]),
];

/// What is below a DNAME. Validators remember the DNAME, and some make its CNAME themselves.
pub const RENAMED: Case = (
    "x.ren.example.bit A",
    &[
        "ren.example.bit. DNAME other.bit.",
        "x.ren.example.bit. CNAME x.other.bit.",
        "x.other.bit. A 192.0.2.3",
    ],
);
