//! Keys and signatures against BIND's own tools: each reads what the other wrote.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC};
use hickory_proto::rr::rdata::{A, MX, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding};
use isonym::dns::dnssec::{Keys, Signer, folder};

const ALGORITHMS: [&str; 2] = ["ecdsap256sha256", "ed25519"];

/// Runs a program of BIND's and returns what it said, which must be a success.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/install installs it"));
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let said = format!("{}{}", out.unwrap(), err.unwrap());
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// Runs our own program, without settings of the user's.
fn isonym(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isonym"));
    let output = command.env_clear().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "BIND's tools read the clock too")]
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

/// The names of the key files in a folder, without their endings, the key-signing key's first.
fn stems(folder: &Path) -> Vec<String> {
    let mut keys: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".key")?.to_owned()))
        .collect();
    keys.sort_by_key(|stem| {
        !fs::read_to_string(folder.join(format!("{stem}.key")))
            .unwrap()
            .contains(" 257 3 ")
    });
    keys
}

#[test]
fn we_read_what_dnssec_keygen_writes() {
    for algorithm in ALGORITHMS {
        let home = tempfile::tempdir().unwrap();
        run(
            home.path(),
            "dnssec-keygen",
            &["-q", "-a", algorithm, "-f", "KSK", "bit"],
        );
        run(
            home.path(),
            "dnssec-keygen",
            &["-q", "-a", algorithm, "-L", "7200", "bit"],
        );
        let keys = folder::read(home.path(), &name("bit.")).unwrap();
        assert_eq!(keys.algorithm().name(), algorithm);
        assert_eq!(keys.dnskeys()[0].ttl, 7200);
        let theirs = run(home.path(), "dnssec-dsfromkey", &["-2", &stems(home.path())[0]]);
        let (success, ours, _) = isonym(&["dnssec", "ds", home.path().to_str().unwrap()]);
        assert!(success && ours.starts_with(&theirs), "{ours} / {theirs}");
    }
}

#[test]
fn bind_reads_what_we_write() {
    for algorithm in ALGORITHMS {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        let (success, files, _) = isonym(&["dnssec", "keygen", "--algorithm", algorithm, path]);
        assert!(success && files.lines().count() == 4, "{files}");
        let theirs = run(home.path(), "dnssec-dsfromkey", &["-2", &stems(home.path())[0]]);
        let (_, ours, _) = isonym(&["dnssec", "ds", "--zone=bit", path]);
        assert!(ours.starts_with(&theirs), "{ours} / {theirs}");
        // By the times in the files BIND decides which keys to publish and to sign with.
        let zone = "bit. 600 IN SOA ns.bit. . 1 600 600 7200 600\nbit. 600 IN NS ns.bit.\nns.bit. 600 IN A 192.0.2.1\n";
        fs::write(home.path().join("zone"), zone).unwrap();
        let said = run(home.path(), "dnssec-signzone", &["-S", "-o", "bit", "zone"]);
        assert!(
            said.contains("KSKs: 1 active") && said.contains("ZSKs: 1 active"),
            "{said}"
        );
        run(home.path(), "dnssec-verify", &["-o", "bit", "zone.signed"]);
        let (success, _, error) = isonym(&["dnssec", "keygen", path]);
        assert!(!success && error.contains("never overwritten"), "{error}");
    }
}

/// Writes a record so that any program can read it, whether it knows the type or not (RFC 3597).
fn line(record: &Record) -> String {
    let mut data = Vec::new();
    let mut encoder = BinEncoder::new(&mut data);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder).unwrap();
    let number = u16::from(record.record_type());
    let mut line = format!(
        "{} {} IN TYPE{number} \\# {} ",
        record.name.to_ascii(),
        record.ttl,
        data.len()
    );
    for byte in data {
        write!(line, "{byte:02x}").unwrap();
    }
    line
}

/// RRsets of a small zone, by owner in canonical order: those that are signed, and those that aren't.
fn zone(keys: &Keys) -> Vec<(Name, Vec<Vec<Record>>, Vec<Record>)> {
    let record = |owner: &str, data| Record::from_rdata(name(owner), 600, data);
    let ns = |owner, host: &str| record(owner, RData::NS(NS(name(host))));
    let a = |owner, last| record(owner, RData::A(A(Ipv4Addr::new(192, 0, 2, last))));
    let soa = SOA::new(name("NS.bit."), name("Host.bit."), 1, 600, 600, 7200, 600);
    let soa = vec![record("bit.", RData::SOA(soa))];
    let text = vec![record("*.w.bit.", RData::TXT(TXT::new(vec!["Text".to_owned()])))];
    let ds = RData::DNSSEC(DNSSECRData::DS(keys.ds().unwrap()));
    let mail = |preference, host: &str| record("bit.", RData::MX(MX::new(preference, name(host))));
    vec![
        (
            name("bit."),
            vec![
                soa,
                // Canonical order is another than that of the bytes as they are.
                vec![ns("bit.", "b.bit."), ns("bit.", "NS.bit."), ns("bit.", "B.bit.")],
                vec![mail(10, "Z.bit."), mail(10, "a.bit."), mail(5, "b.bit.")],
                keys.dnskeys(),
            ],
            vec![],
        ),
        (name("b.bit."), vec![vec![a("b.bit.", 2), a("b.bit.", 1)]], vec![]),
        (name("cut.bit."), vec![], vec![ns("cut.bit.", "ns.cut.bit.")]),
        (name("ns.bit."), vec![vec![a("ns.bit.", 3)]], vec![]),
        (
            name("signed.bit."),
            vec![vec![record("signed.bit.", ds)]],
            vec![ns("signed.bit.", "ns.bit.")],
        ),
        (name("*.w.bit."), vec![text], vec![]),
    ]
}

#[test]
fn dnssec_verify_finds_our_signatures_good() {
    for algorithm in ALGORITHMS {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::generate(&name("bit."), algorithm.parse().unwrap()).unwrap();
        let signer = Signer::new(keys);
        let zone = zone(signer.keys());
        let mut lines = Vec::new();
        for (at, (owner, authoritative, unsigned)) in zone.iter().enumerate() {
            let mut sets = authoritative.clone();
            let next = zone[(at + 1) % zone.len()].0.clone();
            let firsts = sets
                .iter()
                .chain(std::iter::once(unsigned))
                .filter_map(|set| set.first());
            let types: Vec<RecordType> = firsts.map(Record::record_type).collect();
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, types)));
            sets.push(vec![Record::from_rdata(owner.clone(), 600, nsec)]);
            lines.extend(sets.iter().map(|set| line(&signer.sign(set, now()).unwrap())));
            lines.extend(sets.iter().flatten().chain(unsigned).map(line));
        }
        lines.push("ns.cut.bit. 600 IN A 192.0.2.9\n".to_owned());
        let text = lines.join("\n");
        fs::write(home.path().join("zone"), &text).unwrap();
        let said = run(home.path(), "dnssec-verify", &["-o", "bit", "zone"]);
        assert!(said.contains("Zone fully signed"), "{said}");

        // It looks: another address is not what was signed.
        let forged = text.replace("\\# 4 c0000203", "\\# 4 c0000204");
        assert_ne!(forged, text);
        fs::write(home.path().join("forged"), forged).unwrap();
        let output = Command::new("dnssec-verify")
            .args(["-o", "bit", "forged"])
            .current_dir(home.path())
            .output();
        assert!(!output.unwrap().status.success());
    }
}

#[test]
fn delv_takes_the_trust_anchor_that_we_print() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_str().unwrap();
    isonym(&["dnssec", "keygen", path]);
    let (_, text, _) = isonym(&["dnssec", "ds", path]);
    let anchor = text.lines().find(|line| line.contains("static-ds")).unwrap();
    fs::write(home.path().join("anchor"), anchor.trim_start_matches(';')).unwrap();
    // Nobody answers there: what delv makes of the anchor is said before.
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let arguments = ["-a", "anchor", "+root=bit.", "-p", &closed, "@127.0.0.1", "a.bit"];
    let output = Command::new("delv").args(arguments).current_dir(home.path()).output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("resolving 'a.bit/A/IN'"), "{said}");
    assert!(!said.contains("Unable to load keys"), "{said}");
}
