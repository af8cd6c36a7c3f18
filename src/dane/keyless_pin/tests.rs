use isonym_fixtures::certificates::{Algorithm, Holder, SERIAL, Signer, Text, name, self_signed, site};
use rcgen::CustomExtension;

use super::super::throwaway;
use super::*;
use crate::dane::judgement::judge;
use hickory_proto::rr::rdata::TLSA;

const HOST: &str = "www.example.bit";
const NOW: Timestamp = Timestamp(1_800_000_000);
const END: Timestamp = Timestamp(1_800_000_000 + LONGEST);

fn chain(certificates: &[&Holder]) -> Chain {
    let all: Vec<Vec<u8>> = certificates.iter().map(|it| it.der()).collect();
    Chain::read(all.iter().map(Vec::as_slice)).unwrap()
}

fn tlsa(usage: u8, data: Vec<u8>) -> TLSA {
    TLSA::new(usage.into(), 1.into(), 0.into(), data)
}

/// Makes a pin for what an authority certifies.
fn pinned(signer: &Signer, shown: &Chain, host: &str) -> Result<Vec<u8>, PinError> {
    let judged = judge(&[tlsa(2, signer.holder.spki())], shown, host, NOW).unwrap();
    let pin = throwaway::pin(authority(&judged, shown)?, host, NOW, END)?;
    check(&pin, shown, host, NOW)?;
    Ok(pin)
}

#[test]
fn a_pin_has_the_name_and_the_key_of_who_signed_the_site_byte_for_byte() {
    for algorithm in Algorithm::ALL {
        for text in [Text::Utf8, Text::Printable] {
            let signer = Signer::named(algorithm.key(), name("example.bit Domain CA", SERIAL, text));
            let leaf = signer.site(&[HOST]);
            let shown = chain(&[&leaf]);
            let pin = Certificate::read(&pinned(&signer, &shown, HOST).unwrap()).unwrap();
            assert_eq!(pin.subject(), shown.leaf().issuer());
            assert_eq!(pin.key(), signer.holder.spki());
            assert_eq!(is_for_curl_alone(pin.key()), algorithm == Algorithm::Ed25519);
            assert!(pin.signs_others() && !pin.is_self_issued());
        }
    }
}

#[test]
fn no_pin_is_like_another() {
    let signer = Signer::new(Algorithm::P256);
    let shown = chain(&[&signer.site(&[HOST])]);
    assert_ne!(pinned(&signer, &shown, HOST), pinned(&signer, &shown, HOST));
}

#[test]
fn a_pin_is_good_for_its_host_and_for_nothing_else() {
    let signer = Signer::new(Algorithm::P256);
    let pin = pinned(&signer, &chain(&[&signer.site(&[HOST])]), HOST).unwrap();
    let takes = |names: &[&str], host: &str| {
        let shown = chain(&[&signer.site(names)]);
        judgement::check_trusting(&pin, &shown, host, NOW)
    };
    assert_eq!(takes(&[HOST], HOST), Ok(()));
    assert_eq!(takes(&["a.www.example.bit"], "a.www.example.bit"), Ok(()));
    for (names, host) in [
        (&["example.bit"][..], "example.bit"),
        (&["other.bit"], "other.bit"),
        (&["xwww.example.bit"], "xwww.example.bit"),
        (&[HOST, "other.bit"], HOST),
        (&[HOST, "192.0.2.1"], HOST),
        (&[HOST, "2001:db8::1"], HOST),
        (&["*.example.bit"], HOST),
    ] {
        assert_eq!(takes(names, host), Err(Flaw::Constraint), "{names:?}");
    }
    let stranger = chain(&[&Signer::new(Algorithm::P256).site(&[HOST])]);
    assert_eq!(
        judgement::check_trusting(&pin, &stranger, HOST, NOW),
        Err(Flaw::NotSigned)
    );
}

#[test]
fn a_pin_goes_through_what_the_site_shows_between() {
    let top = Signer::new(Algorithm::P256);
    let middle = top.below(Algorithm::P256, "middle");
    let shown = chain(&[&middle.site(&[HOST]), &middle.holder]);
    let pin = Certificate::read(&pinned(&top, &shown, HOST).unwrap()).unwrap();
    assert_eq!(pin.subject(), shown.others()[0].issuer());
}

#[test]
fn a_wider_certificate_is_told_with_the_host_that_covers_it() {
    let signer = Signer::new(Algorithm::P256);
    for (names, wider, parent) in [
        (&["*.example.bit"][..], "*.example.bit", Some("example.bit")),
        (&[HOST, "example.bit"], "example.bit", Some("example.bit")),
        (&[HOST, "other.bit"], "other.bit", None),
    ] {
        let shown = chain(&[&signer.site(names)]);
        let expected = PinError::Wider {
            names: wider.to_owned(),
            parent: parent.map(str::to_owned),
        };
        assert_eq!(pinned(&signer, &shown, HOST), Err(expected), "{names:?}");
        if let Some(parent) = parent.filter(|parent| names.contains(parent)) {
            assert!(pinned(&signer, &shown, parent).is_ok(), "{names:?}");
        }
    }
}

#[test]
fn what_clients_would_not_take_is_not_pinned() {
    let leaf = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let shown = chain(&[&leaf]);
    let judged = |usage| judge(&[tlsa(usage, leaf.spki())], &shown, HOST, NOW).unwrap();
    assert_eq!(authority(&judged(3), &shown), Err(PinError::LeafOnly));
    assert_eq!(authority(&judged(2), &shown), Err(PinError::SelfSigned));

    let signer = Signer::new(Algorithm::P256);
    let mut params = site(&[HOST]);
    params.use_authority_key_identifier_extension = false;
    let by_serial = CustomExtension::from_oid_content(&[2, 5, 29, 35], vec![0x30, 3, 0x82, 1, 1]);
    params.custom_extensions.push(by_serial);
    let shown = chain(&[&signer.sign(Algorithm::P256.key(), &params)]);
    assert_eq!(pinned(&signer, &shown, HOST), Err(PinError::BySerial));
}

#[test]
fn a_leaf_is_trusted_only_where_it_is_for_the_host_alone() {
    let check = |params: &rcgen::CertificateParams| {
        let leaf = self_signed(Algorithm::P256.key(), params);
        check_leaf(chain(&[&leaf]).leaf(), HOST)
    };
    assert_eq!(check(&site(&[HOST])), Ok(()));
    assert_eq!(check(&site(&["WWW.Example.Bit"])), Ok(()));
    for names in [
        &["other.bit"][..],
        &[HOST, "other.bit"],
        &["*.example.bit"],
        &[HOST, "192.0.2.1"],
    ] {
        assert_eq!(check(&site(names)), Err(PinError::LeafOfOthers), "{names:?}");
    }
    let mut nameless = site(&[HOST]);
    nameless.subject_alt_names.clear();
    assert_eq!(check(&nameless), Err(PinError::LeafOfOthers));
    let mut signs = site(&[HOST]);
    signs.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(check(&signs), Err(PinError::LeafSigns));
}

#[test]
fn a_pin_ends_within_a_month_and_before_the_name_can() {
    let after = |blocks| not_after(NOW, blocks).map(|end| end.seconds_since(NOW));
    assert_eq!(after(Some(36_000)), Ok(LONGEST));
    assert_eq!(after(Some(i64::MAX)), Ok(LONGEST));
    // Four weeks of ten minutes each, counted as two.
    assert_eq!(after(Some(4_032)), Ok(14 * 24 * 60 * 60));
    assert_eq!(after(Some(12)), Ok(SHORTEST));
    for soon in [11, 0, -1, i64::MIN] {
        assert_eq!(after(Some(soon)), Err(PinError::ExpiresSoon), "{soon}");
    }
    assert_eq!(after(None), Err(PinError::NoExpiry));
}

#[test]
fn text_is_as_others_read_it() {
    let text = pem(&[0xff; 50]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[1].len(), lines[2].len()), (4, 64, 4));
    assert_eq!(
        (lines[0], lines[3]),
        ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    );
}
