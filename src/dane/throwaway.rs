//! Signs a keyless pin with a key that is drawn for it and gone with the call.

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use super::judgement::Authority;
use super::keyless_pin::{self, PinError, SERIAL_LEN, Terms};
use crate::time::Timestamp;

/// Makes a pin of a host: a certificate in DER that is good until `not_after`.
///
/// # Errors
///
/// [`PinError::NoEntropy`], [`PinError::Host`].
pub fn pin(authority: &Authority, host: &str, now: Timestamp, not_after: Timestamp) -> Result<Vec<u8>, PinError> {
    let random = SystemRandom::new();
    let mut serial = [0; SERIAL_LEN];
    random.fill(&mut serial).map_err(|_| PinError::NoEntropy)?;
    let terms = Terms {
        host,
        now,
        not_after,
        serial,
    };
    let unsigned = keyless_pin::unsigned(authority, &terms)?;
    let scheme = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let key = EcdsaKeyPair::generate_pkcs8(scheme, &random).map_err(|_| PinError::NoEntropy)?;
    let key = EcdsaKeyPair::from_pkcs8(scheme, key.as_ref(), &random).map_err(|_| PinError::NoEntropy)?;
    let signature = key.sign(&random, &unsigned).map_err(|_| PinError::NoEntropy)?;
    keyless_pin::signed(&unsigned, signature.as_ref())
}
