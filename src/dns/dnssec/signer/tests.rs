use std::net::Ipv4Addr;

use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::dnssec::{PublicKey as _, Verifier as _};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::rdata::{A, MX, NS, TXT};

use super::*;
use crate::dns::dnssec::key_file::{self, KeyFiles};
use crate::dns::dnssec::{Key, KeyAlgorithm, Role};

const NOW: u32 = 1_800_001_234;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn address(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 600, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn signers() -> [Signer; 2] {
    KeyAlgorithm::ALL.map(|algorithm| Signer::new(Keys::generate(&name("bit."), algorithm).unwrap()))
}

fn rrsig(record: &Record) -> &RRSIG {
    let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = &record.data else {
        panic!("{record} is no signature");
    };
    rrsig
}

fn verifies(key: &DNSKEY, rrset: &[Record], signature: &Record) -> bool {
    key.verify_rrsig(&signature.name, DNSClass::IN, rrsig(signature), rrset.iter())
        .is_ok()
}

#[test]
fn each_key_signs_its_own() {
    for signer in signers() {
        let (ksk, zsk) = (signer.keys().ksk().dnskey(), signer.keys().zsk().dnskey());
        let signature = signer.sign(&signer.dnskeys(), NOW).unwrap();
        assert!(verifies(ksk, &signer.dnskeys(), &signature));
        assert!(!verifies(zsk, &signer.dnskeys(), &signature));
        assert_eq!(rrsig(&signature).input().key_tag, signer.keys().ksk().tag());

        let rrset = [address("a.bit.", 2), address("A.bit.", 1)];
        let signature = signer.sign(&rrset, NOW).unwrap();
        assert!(verifies(zsk, &rrset, &signature));
        assert!(!verifies(ksk, &rrset, &signature));
        assert!(!verifies(zsk, &rrset[..1], &signature));
        assert_eq!((signature.ttl, &signature.name), (600, &name("a.bit.")));
        let input = rrsig(&signature).input();
        assert_eq!(
            (input.original_ttl, input.num_labels, input.type_covered),
            (600, 2, RecordType::A)
        );
        assert_eq!(
            (&input.signer_name, input.key_tag),
            (&name("bit."), signer.keys().zsk().tag())
        );
        assert_eq!(rrsig(&signature).sig().len(), 64);
    }
}

#[test]
fn the_labels_of_a_wildcard_are_one_less() {
    for signer in signers() {
        for (owner, labels) in [("*.a.bit.", 2), ("x.*.bit.", 3), ("bit.", 1), ("*x.bit.", 2)] {
            let rrset = [address(owner, 1)];
            let signature = signer.sign(&rrset, NOW).unwrap();
            assert_eq!(rrsig(&signature).input().num_labels, labels, "{owner}");
            assert!(verifies(signer.keys().zsk().dnskey(), &rrset, &signature));
        }
        // What a signature of the wildcard itself covers, as another server would answer.
        let wildcard = signer.sign(&[address("*.a.bit.", 1)], NOW).unwrap();
        let key = signer.keys().zsk().dnskey();
        let expanded = [address("q.a.bit.", 1)];
        let valid = key.verify_rrsig(&name("q.a.bit."), DNSClass::IN, rrsig(&wildcard), expanded.iter());
        assert!(valid.is_ok());
    }
}

#[test]
fn signatures_outlast_the_ttl_and_are_alike_for_an_hour() {
    let [_, ed25519] = signers();
    for now in [NOW, 0, 1799, u32::MAX - 10, 1_800_000_000, 1_800_003_599] {
        for ttl in [0, 600, 86_400, u32::MAX] {
            let mut record = address("a.bit.", 1);
            record.ttl = ttl;
            let signature = ed25519.sign(&[record], now).unwrap();
            let input = rrsig(&signature).input();
            let (before, after) = (
                now.wrapping_sub(input.sig_inception.get()),
                input.sig_expiration.get().wrapping_sub(now),
            );
            assert!((3600..7200).contains(&before), "{now} {before}");
            assert!(after > ttl.min(MAX_TTL) + LEAST_REST, "{now} {ttl} {after}");
            assert!(after <= ttl.min(MAX_TTL) + LEAST_REST + GRID);
        }
    }
    let rrset = [address("a.bit.", 1)];
    let sign = |now| ed25519.sign(&rrset, now).unwrap();
    let hour = NOW - NOW % 3600;
    assert_eq!(sign(hour), sign(hour + 3599));
    assert_ne!(sign(hour), sign(hour + 3600));
}

#[test]
fn order_capitals_and_repetition_change_nothing() {
    let [_, signer] = signers();
    let server = |host: &str| Record::from_rdata(name("a.bit."), 600, RData::NS(NS(name(host))));
    let plain = signer.sign(&[server("a.bit."), server("b.bit.")], NOW).unwrap();
    for hosts in [
        &["b.bit.", "a.bit."][..],
        &["B.bit.", "a.bit."],
        &["A.bit.", "b.BIT.", "a.bit.", "B.bit."],
    ] {
        let rrset: Vec<_> = hosts.iter().map(|host| server(host)).collect();
        assert_eq!(signer.sign(&rrset, NOW).unwrap(), plain, "{hosts:?}");
    }
}

#[test]
fn only_one_rrset_of_the_zone_is_signed() {
    let [_, signer] = signers();
    let text = Record::from_rdata(name("a.bit."), 600, RData::TXT(TXT::new(vec!["x".to_owned()])));
    let mut longer = address("a.bit.", 2);
    longer.ttl = 601;
    let mut chaos = address("a.bit.", 2);
    chaos.dns_class = DNSClass::CH;
    for other in [text, longer, chaos, address("b.bit.", 2)] {
        let mixed = signer.sign(&[address("a.bit.", 1), other], NOW);
        assert!(matches!(mixed, Err(DnssecError::MixedSet)));
    }
    assert!(matches!(signer.sign(&[], NOW), Err(DnssecError::EmptySet)));
    for owner in ["a.bitt.", "com.", ".", "bit.com."] {
        let outside = signer.sign(&[address(owner, 1)], NOW);
        assert!(matches!(outside, Err(DnssecError::OutsideZone { .. })), "{owner}");
    }
    let signature = signer.sign(&[address("a.bit.", 1)], NOW).unwrap();
    let again = signer.sign(&[signature], NOW);
    assert!(matches!(again, Err(DnssecError::Unsignable { .. })));
}

#[test]
fn ed25519_signs_as_in_rfc_8080() {
    // Section 6.1 as corrected by erratum 4935.
    for (private, public, tag, digest, expected) in [
        (
            "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            3613,
            "3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B",
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        ),
        (
            "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=",
            "zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
            35_217,
            "401781B934E392DE492EC77AE2E15D70F6575A1C0BC59C5275C04EBE80C6614C",
            "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
        ),
    ] {
        let key = key_file::decode(&KeyFiles {
            public: format!("example.com. 3600 IN DNSKEY 257 3 15 {public}\n"),
            private: format!("Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: {private}\n").into(),
        });
        let key = key.unwrap();
        assert_eq!(key.tag(), tag);
        let mail = RData::MX(MX::new(10, name("mail.example.com.")));
        let mail = Record::from_rdata(name("example.com."), 3600, mail);
        // The RFC signs with the key-signing key; here the same secret is a zone-signing key's.
        let zone = key.zone().clone();
        let twin = Key::from_record(
            &zone,
            None,
            &DNSKEY::with_flags(256, key.dnskey().public_key().clone()),
            key.private().secret(),
        );
        let keys = Keys::new(&zone, vec![key, twin.unwrap()]).unwrap();
        assert_eq!(keys.ds().unwrap().to_string(), format!("{tag} 15 2 {digest}"));
        let signer = Signer::new(keys);
        let input = |signature: &Record| rrsig(signature).input().clone();
        let ours = signer
            .sign_between(std::slice::from_ref(&mail), 1_438_207_200, 1_440_021_600)
            .unwrap();
        let mut theirs = input(&ours);
        theirs.key_tag = tag;
        let data = TBS::from_input(&mail.name, DNSClass::IN, &theirs, std::iter::once(&mail)).unwrap();
        let signature = signer.keys().ksk().private().sign(&data).unwrap();
        assert_eq!(
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &signature),
            expected
        );
    }
}

#[test]
fn ds_records_are_those_of_dnssec_dsfromkey() {
    let text = |stem: &str, ending: &str| {
        let path = format!("{}/tests/vectors/bind-keys/{stem}.{ending}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    for (ksk, zsk, expected) in [
        (
            "Kbit.+013+53661",
            "Kbit.+013+39900",
            "53661 13 2 46558CDFD5ABC2F050F549FA41B94BC07553F2914456DFB4EF1D25E8D195BFDD",
        ),
        (
            "Kbit.+015+21709",
            "Kbit.+015+46288",
            "21709 15 2 A369FB4F09E835BB36AC94306A01CF378244289DE1B64FCE6E0E83D869CDC5D2",
        ),
    ] {
        let keys = [ksk, zsk].map(|stem| {
            let (public, private) = (text(stem, "key"), text(stem, "private").into());
            key_file::decode(&KeyFiles { public, private }).unwrap()
        });
        assert_eq!(keys[0].role(), Role::KeySigning);
        let signer = Signer::new(Keys::new(&name("bit."), keys.into()).unwrap());
        assert_eq!(signer.ds().unwrap().to_string(), expected);
        let rrset = [address("a.bit.", 1)];
        let signature = signer.sign(&rrset, NOW).unwrap();
        assert!(verifies(signer.keys().zsk().dnskey(), &rrset, &signature));
        assert_eq!(
            signer.keys().zsk().dnskey().public_key().algorithm(),
            signer.keys().algorithm().into()
        );
    }
}
