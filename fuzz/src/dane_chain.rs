//! Any bytes are certificates within bounds, or refused; a chain that was changed anywhere proves nothing that the site did not
//! sign; and what can be pinned is pinned for its host alone.

use std::sync::LazyLock;

use hickory_proto::rr::rdata::TLSA;
use isonym::dane::chain::{Certificate, Chain, MAX_CERTIFICATES};
use isonym::dane::judgement::{Proof, judge};
use isonym::dane::keyless_pin::{self, SERIAL_LEN, Terms};
use isonym::time::Timestamp;
use isonym_fixtures::certificates::{Algorithm, Signer};

const HOST: &str = "example.bit";
const NOW: Timestamp = Timestamp(1_800_000_000);

/// What an honest site shows, and the key of who signed it.
static HONEST: LazyLock<([Vec<u8>; 2], Vec<u8>)> = LazyLock::new(|| {
    let signer = Signer::new(Algorithm::P256);
    ([signer.site(&[HOST]).der(), signer.holder.der()], signer.holder.spki())
});

/// A change: where, and what stands there then.
type Edit = (bool, u16, u8);

/// A TLSA record: usage, selector, matching type, data.
type Written = (u8, u8, u8, Vec<u8>);

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((strange, edits, records)) = crate::input::<(Vec<Vec<u8>>, Vec<Edit>, Vec<Written>)>(bytes) else {
        return;
    };
    let records: Vec<TLSA> = records
        .into_iter()
        .map(|(usage, selector, matching, data)| TLSA::new(usage.into(), selector.into(), matching.into(), data))
        .collect();
    if let Ok(chain) = Chain::read(strange.iter().map(Vec::as_slice)) {
        assert!(chain.all().count() <= MAX_CERTIFICATES);
        for certificate in chain.all() {
            assert_eq!(Certificate::read(certificate.der()).as_ref(), Some(certificate));
        }
        if let Ok(judged) = judge(&records, &chain, HOST, NOW)
            && judged.by == Proof::Leaf
        {
            assert!(judged.association.fits(chain.leaf()));
        }
    }
    let (honest, key) = &*HONEST;
    let mut changed = honest.clone();
    for (of_signer, at, byte) in edits {
        let certificate = &mut changed[usize::from(of_signer)];
        let at = usize::from(at) % certificate.len();
        certificate[at] = byte;
    }
    let Ok(chain) = Chain::read(changed.iter().map(Vec::as_slice)) else {
        return;
    };
    let record = TLSA::new(2.into(), 1.into(), 0.into(), key.clone());
    let Ok(judged) = judge(&[record], &chain, HOST, NOW) else {
        // Who signed it need not be shown, let alone unchanged.
        assert_ne!(changed[0], honest[0]);
        return;
    };
    assert_eq!(changed[0], honest[0]);
    let Ok(authority) = keyless_pin::authority(&judged, &chain) else {
        return;
    };
    let terms = Terms {
        host: HOST,
        now: NOW,
        not_after: NOW,
        serial: [0xff; SERIAL_LEN],
    };
    let unsigned = keyless_pin::unsigned(authority, &terms).expect("a host and a name that were certified");
    let pin = keyless_pin::signed(&unsigned, &[]).expect("what was written");
    let pin = Certificate::read(&pin).expect("a certificate");
    assert_eq!((pin.subject(), pin.key()), (chain.leaf().issuer(), &**key));
}
