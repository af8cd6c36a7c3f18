//! Addresses: how the script that may spend a name is shown.

use bitcoin::base58;
use bitcoin::bech32::{Fe32, Hrp, segwit};
use bitcoin::script::Script;

use crate::chain::Params;

/// What is shown for a script that has no address.
pub const NONSTANDARD: &str = "<nonstandard>";

/// Returns the address of a script on a network; `None` when it has none.
///
/// P2PKH and P2SH in base58, witness version 0 in bech32, later versions in bech32m. Scripts with a bare key or
/// bare multisig have none: such an address would not say what is needed to spend.
/// Source: Namecoin Core `addresstype.cpp`, `ExtractDestination`, and `key_io.cpp`; [BIP-0173], [BIP-0350].
pub fn address(script: &Script, params: &Params) -> Option<String> {
    let bytes = script.as_bytes();
    if script.is_p2pkh() {
        return base58_address(params.p2pkh_version, bytes.get(3..23)?);
    }
    if script.is_p2sh() {
        return base58_address(params.p2sh_version, bytes.get(2..22)?);
    }
    let version = Fe32::try_from(script.witness_version()?.to_num()).ok()?;
    let hrp = Hrp::parse(params.bech32_hrp).ok()?;
    segwit::encode(hrp, version, bytes.get(2..)?).ok()
}

fn base58_address(version: u8, hash: &[u8]) -> Option<String> {
    let mut payload = [version; 21];
    payload.get_mut(1..)?.copy_from_slice(hash.first_chunk::<20>()?);
    Some(base58::encode_check(&payload))
}
