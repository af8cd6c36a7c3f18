use bitcoin::hashes::{Hash, sha256, sha512};
use isonym_fixtures::certificates::{
    Algorithm, Holder, SERIAL, Signer, Text, expired_site, name, self_signed, site, stapled,
};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CidrSubnet, GeneralSubtree, IsCa, NameConstraints};

use super::*;

const HOST: &str = "www.example.bit";
const NOW: Timestamp = Timestamp(1_800_000_000);

fn chain(certificates: &[&Holder]) -> Chain {
    let all: Vec<Vec<u8>> = certificates.iter().map(|it| it.der()).collect();
    Chain::read(all.iter().map(Vec::as_slice)).unwrap()
}

fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> TLSA {
    let data = match matching {
        1 => sha256::Hash::hash(data).as_byte_array().to_vec(),
        2 => sha512::Hash::hash(data).as_byte_array().to_vec(),
        _ => data.to_vec(),
    };
    TLSA::new(usage.into(), selector.into(), matching.into(), data)
}

/// Judges, and says which record counted.
fn judged(records: &[TLSA], shown: &Chain) -> Result<String, Refusal> {
    let judged = judge(records, shown, HOST, NOW);
    judged.map(|it| it.association.to_string())
}

#[test]
fn a_leaf_is_known_by_all_that_can_be_said_of_it() {
    for algorithm in Algorithm::ALL {
        let leaf = self_signed(algorithm.key(), &site(&[HOST]));
        let shown = chain(&[&leaf]);
        for (selector, data) in [(0, leaf.der()), (1, leaf.spki())] {
            for matching in 0..3 {
                let record = tlsa(3, selector, matching, &data);
                assert_eq!(judged(&[record], &shown), Ok(format!("3 {selector} {matching}")));
                let other = tlsa(3, selector, matching, &[data.as_slice(), b"x"].concat());
                assert_eq!(judged(&[other], &shown), Err(Refusal::Other));
            }
        }
    }
}

/// Source: RFC 7671, section 9.
#[test]
fn beside_a_stronger_digest_a_weaker_one_does_not_count() {
    let [leaf, other] = [(); 2].map(|()| self_signed(Algorithm::P256.key(), &site(&[HOST])));
    let shown = chain(&[&leaf]);
    let (own, others) = (leaf.spki(), other.spki());
    // Beside what counts for others: digests of another selector or usage, and what is whole.
    for (records, expected) in [
        (vec![tlsa(3, 1, 1, &own), tlsa(3, 1, 2, &own)], Ok("3 1 2")),
        (vec![tlsa(3, 1, 1, &own), tlsa(3, 1, 2, &others)], Err(Refusal::Weaker)),
        (vec![tlsa(3, 1, 2, &others), tlsa(3, 1, 1, &own)], Err(Refusal::Weaker)),
        (
            vec![tlsa(3, 1, 1, &others), tlsa(3, 1, 2, &others)],
            Err(Refusal::Other),
        ),
        (vec![tlsa(3, 1, 2, &others), tlsa(3, 1, 2, &own)], Ok("3 1 2")),
        (vec![tlsa(3, 1, 1, &others), tlsa(3, 1, 1, &own)], Ok("3 1 1")),
        (vec![tlsa(3, 1, 1, &own), tlsa(3, 0, 2, &others)], Ok("3 1 1")),
        (vec![tlsa(3, 1, 1, &own), tlsa(2, 1, 2, &others)], Ok("3 1 1")),
        (vec![tlsa(3, 1, 0, &own), tlsa(3, 1, 2, &others)], Ok("3 1 0")),
        (vec![tlsa(3, 1, 1, &own), tlsa(3, 1, 0, &others)], Ok("3 1 1")),
    ] {
        assert_eq!(judged(&records, &shown), expected.map(str::to_owned), "{records:?}");
    }
    // A stronger one that can't be used takes nothing away.
    for unusable in [
        TLSA::new(3.into(), 1.into(), 2.into(), vec![7; 63]),
        TLSA::new(3.into(), 1.into(), 3.into(), vec![7; 64]),
        TLSA::new(1.into(), 1.into(), 2.into(), vec![7; 64]),
    ] {
        let records = [unusable, tlsa(3, 1, 1, &own)];
        assert_eq!(judged(&records, &shown).as_deref(), Ok("3 1 1"), "{records:?}");
    }
}

#[test]
fn so_it_is_with_authorities() {
    let [signer, other] = [Signer::new(Algorithm::P256), Signer::new(Algorithm::P256)];
    let shown = chain(&[&signer.site(&[HOST]), &signer.holder]);
    let (own, others) = (signer.holder.spki(), other.holder.spki());
    let both = |strong: &[u8]| [tlsa(2, 1, 1, &own), tlsa(2, 1, 2, strong)];
    assert_eq!(judged(&both(&own), &shown).as_deref(), Ok("2 1 2"));
    assert_eq!(judged(&both(&others), &shown), Err(Refusal::Other));
    let whole = [tlsa(2, 1, 0, &own), tlsa(2, 1, 2, &others)];
    assert_eq!(judged(&whole, &shown).as_deref(), Ok("2 1 0"));
}

/// Source: RFC 7671, section 5.1.
#[test]
fn names_and_times_of_a_leaf_do_not_count() {
    let leaf = self_signed(Algorithm::P256.key(), &expired_site(&["other.bit"]));
    assert_eq!(
        judged(&[tlsa(3, 1, 1, &leaf.spki())], &chain(&[&leaf])),
        Ok("3 1 1".to_owned())
    );
}

#[test]
fn an_authority_is_known_whether_or_not_it_is_shown() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let leaf = signer.site(&[HOST]);
        let (alone, whole) = (chain(&[&leaf]), chain(&[&leaf, &signer.holder]));
        for shown in [&alone, &whole] {
            for (selector, data) in [(0, signer.holder.der()), (1, signer.holder.spki())] {
                let record = tlsa(2, selector, 0, &data);
                assert_eq!(judged(&[record], shown), Ok(format!("2 {selector} 0")), "{algorithm:?}");
            }
        }
        // A digest has to find what it is of.
        for (selector, data) in [(0, signer.holder.der()), (1, signer.holder.spki())] {
            for matching in [1, 2] {
                let record = || [tlsa(2, selector, matching, &data)];
                assert_eq!(judged(&record(), &whole), Ok(format!("2 {selector} {matching}")));
                assert_eq!(judged(&record(), &alone), Err(Refusal::Other));
            }
        }
    }
}

#[test]
fn an_authority_may_be_two_steps_away() {
    let top = Signer::new(Algorithm::P256);
    let middle = top.below(Algorithm::P384, "example.bit Domain CA");
    let leaf = middle.site(&[HOST]);
    for record in [tlsa(2, 1, 0, &top.holder.spki()), tlsa(2, 1, 1, &middle.holder.spki())] {
        let judged = judge(&[record], &chain(&[&leaf, &middle.holder]), HOST, NOW).unwrap();
        let Proof::Authority(authority) = judged.by else {
            panic!()
        };
        let is_top = authority.key == top.holder.spki();
        let shown = chain(&[&leaf, &middle.holder]);
        let signed = if is_top { &shown.others()[0] } else { shown.leaf() };
        assert_eq!(authority.subject, signed.issuer());
    }
    let without = chain(&[&leaf]);
    let refused = judged(&[tlsa(2, 1, 0, &top.holder.spki())], &without);
    assert_eq!(refused, Err(Refusal::Path(Flaw::NotSigned)));
}

#[test]
fn what_an_authority_did_not_certify_is_refused() {
    let signer = Signer::new(Algorithm::P256);
    let record = || vec![tlsa(2, 1, 0, &signer.holder.spki())];
    let refused = |leaf: &Holder| judged(&record(), &chain(&[leaf, &signer.holder])).unwrap_err();
    // The same name, another key.
    let other = Signer::new(Algorithm::P256).site(&[HOST]);
    assert_eq!(refused(&other), Refusal::Path(Flaw::NotSigned));
    assert_eq!(refused(&signer.site(&["other.bit"])), Refusal::Path(Flaw::OtherHost));
    assert_eq!(refused(&signer.site(&["192.0.2.1"])), Refusal::Path(Flaw::OtherHost));
    assert_eq!(
        refused(&signer.sign(Algorithm::P256.key(), &expired_site(&[HOST]))),
        Refusal::Path(Flaw::Expired)
    );
    let mut ca = site(&[HOST]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(
        refused(&signer.sign(Algorithm::P256.key(), &ca)),
        Refusal::Path(Flaw::IsAuthority)
    );
    let mut client = site(&[HOST]);
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(
        refused(&signer.sign(Algorithm::P256.key(), &client)),
        Refusal::Path(Flaw::Purpose)
    );
    let leaf = signer.site(&[HOST]);
    let early = judge(&record(), &chain(&[&leaf]), HOST, Timestamp(1_600_000_000));
    assert_eq!(early, Err(Refusal::Path(Flaw::NotYetValid)));
    // A leaf is no authority, whatever it signs.
    let below = Signer::named(leaf.key, name("x", SERIAL, Text::Utf8)).site(&[HOST]);
    assert_eq!(refused(&below), Refusal::Path(Flaw::NotSigned));
}

#[test]
fn wildcards_stand_for_one_label() {
    let signer = Signer::new(Algorithm::P256);
    let shown = chain(&[&signer.site(&["*.example.bit"])]);
    let record = [tlsa(2, 1, 0, &signer.holder.spki())];
    for (host, fits) in [
        ("www.example.bit", true),
        ("example.bit", false),
        ("a.b.example.bit", false),
    ] {
        let judged = judge(&record, &shown, host, NOW);
        assert_eq!(judged.is_ok(), fits, "{host}");
        assert!(fits || judged == Err(Refusal::Path(Flaw::OtherHost)), "{host}");
    }
}

#[test]
fn an_authority_that_is_named_as_a_whole_keeps_its_own_constraints() {
    let signer = |permitted: &str| {
        let key = Algorithm::P256.key();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = name("a", SERIAL, Text::Printable);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(permitted.to_owned())],
            excluded_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4]))],
        });
        let whole = self_signed(key, &params);
        let der = whole.der();
        (Signer::named(whole.key, params.distinguished_name), der)
    };
    let (own, der) = signer("example.bit");
    let shown = chain(&[&own.site(&[HOST])]);
    assert_eq!(judged(&[tlsa(2, 0, 0, &der)], &shown), Ok("2 0 0".to_owned()));
    let (other, der) = signer("other.bit");
    let shown = chain(&[&other.site(&[HOST])]);
    assert_eq!(
        judged(&[tlsa(2, 0, 0, &der)], &shown),
        Err(Refusal::Path(Flaw::Constraint))
    );
}

#[test]
fn a_certificate_that_may_sign_nothing_is_no_authority() {
    let key = Algorithm::P256.key();
    let holder = self_signed(key, &site(&["example.bit"]));
    let der = holder.der();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = site(&["example.bit"]).distinguished_name;
    let signer = Signer::named(holder.key, params.distinguished_name);
    let shown = chain(&[&signer.site(&[HOST])]);
    assert_eq!(judged(&[tlsa(2, 0, 0, &der)], &shown), Err(Refusal::Other));
}

/// A key in the name of an issuer counts where a digest fits it, and for nothing else.
#[test]
fn stapled_keys_are_only_as_good_as_the_record() {
    let key = Algorithm::P256.key();
    let spki = isonym_fixtures::certificates::spki(&key);
    let honest = Signer::named(key, name("example.bit Domain CA", &stapled(&spki), Text::Utf8));
    let shown = chain(&[&honest.site(&[HOST])]);
    for matching in [0, 1, 2] {
        let record = [tlsa(2, 1, matching, &spki)];
        assert_eq!(judged(&record, &shown), Ok(format!("2 1 {matching}")));
    }
    // Somebody else's signature under the name's key, and the other way around.
    let thief = Algorithm::P256.key();
    let own = isonym_fixtures::certificates::spki(&thief);
    for claimed in [&spki, &own] {
        let forger = Signer::named(
            Algorithm::P256.key(),
            name("example.bit Domain CA", &stapled(claimed), Text::Utf8),
        );
        let shown = chain(&[&forger.site(&[HOST])]);
        for matching in [0, 1] {
            let refused = judged(&[tlsa(2, 1, matching, &spki)], &shown).unwrap_err();
            assert!(
                matches!(refused, Refusal::Path(Flaw::NotSigned) | Refusal::Other),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn records_that_cannot_be_used_are_passed_over_but_prove_nothing() {
    let leaf = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let shown = chain(&[&leaf]);
    let good = tlsa(3, 1, 1, &leaf.spki());
    let bad = [
        tlsa(0, 1, 1, &leaf.spki()),
        tlsa(1, 1, 1, &leaf.spki()),
        tlsa(3, 2, 0, &leaf.spki()),
        tlsa(3, 1, 9, &leaf.spki()),
        tlsa(7, 1, 0, &leaf.spki()),
    ];
    for record in &bad {
        let mixed = [record.clone(), good.clone()];
        assert_eq!(judged(&mixed, &shown), Ok("3 1 1".to_owned()));
        let refused = judged(std::slice::from_ref(record), &shown);
        assert!(matches!(refused, Err(Refusal::NoneUsable(_))), "{refused:?}");
    }
    assert_eq!(
        judged(&bad, &shown),
        Err(Refusal::NoneUsable(Unusable::PublicAuthority(0)))
    );
    assert_eq!(judged(&[], &shown), Err(Refusal::NoRecord));
}

#[test]
fn one_record_of_several_is_enough_and_one_of_an_authority_is_preferred() {
    let signer = Signer::new(Algorithm::P256);
    let leaf = signer.site(&[HOST]);
    let shown = chain(&[&leaf]);
    let (of_leaf, of_signer) = (tlsa(3, 1, 1, &leaf.spki()), tlsa(2, 1, 0, &signer.holder.spki()));
    let other = Signer::new(Algorithm::P256);
    let of_other = tlsa(2, 1, 0, &other.holder.spki());
    assert_eq!(
        judged(&[of_other.clone(), of_leaf.clone()], &shown),
        Ok("3 1 1".to_owned())
    );
    assert_eq!(judged(&[of_leaf, of_other, of_signer], &shown), Ok("2 1 0".to_owned()));
}

/// Chains that are made to cost.
#[test]
fn a_maze_ends() {
    let key = Algorithm::P256.key();
    let spki = isonym_fixtures::certificates::spki(&key);
    let signer = Signer::named(key, name("maze", SERIAL, Text::Printable));
    // All certify each other by one name, and none of them the leaf.
    let others: Vec<Signer> = (1..MAX_CERTIFICATES)
        .map(|_| signer.below(Algorithm::P256, "maze"))
        .collect();
    let leaf = Signer::named(Algorithm::P256.key(), name("maze", SERIAL, Text::Printable)).site(&[HOST]);
    let mut all = vec![&leaf];
    all.extend(others.iter().map(|it| &it.holder));
    let refused = judged(&[tlsa(2, 1, 0, &spki)], &chain(&all)).unwrap_err();
    assert!(
        matches!(refused, Refusal::Path(Flaw::Maze | Flaw::NotSigned)),
        "{refused:?}"
    );
}

proptest! {
    #[test]
    fn any_change_to_a_chain_is_refused_or_harmless(at: prop::sample::Index, byte: u8, usage in 2_u8..4, matching in 0_u8..3) {
        let signer = Signer::new(Algorithm::P256);
        let leaf = signer.site(&[HOST]);
        let mut all = [leaf.der(), signer.holder.der()];
        let length = all[0].len();
        let at = at.index(length);
        let is_changed = all[0][at] != byte;
        all[0][at] = byte;
        let record = if usage == 2 { tlsa(2, 1, matching, &signer.holder.spki()) } else { tlsa(3, 0, matching, &leaf.der()) };
        if let Ok(shown) = Chain::read(all.iter().map(Vec::as_slice)) {
            // What is signed can't be changed; nor can the signature, but for one way to write an ECDSA one less well.
            prop_assert_eq!(judge(&[record], &shown, HOST, NOW).is_ok(), !is_changed);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(leaf: Vec<u8>, other: Vec<u8>) {
        let _ = Chain::read([leaf.as_slice(), &other].into_iter());
    }
}
