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

#[cfg(test)]
mod tests {
    use bitcoin::script::ScriptBuf;

    use super::*;
    use crate::chain::Network;

    fn shown(hex: &str) -> [Option<String>; 3] {
        let script = ScriptBuf::from_hex(hex).unwrap();
        Network::ALL.map(|network| address(&script, network.params()))
    }

    #[test]
    fn hashes_are_shown_in_base58_of_the_network() {
        let key = shown("76a91400112233445566778899aabbccddeeff0011223388ac").map(Option::unwrap);
        assert!(key[0].starts_with(['M', 'N']), "{key:?}");
        assert!(key[1].starts_with(['m', 'n']) && key[1] == key[2], "{key:?}");
        let script = shown("a91400112233445566778899aabbccddeeff0011223387").map(Option::unwrap);
        assert!(script[0].starts_with('6') && script[1].starts_with('2'), "{script:?}");
        for text in key.iter().chain(&script) {
            let payload = base58::decode_check(text).unwrap();
            assert_eq!(payload.len(), 21);
            assert_eq!(payload[1..3], [0x00, 0x11]);
        }
    }

    #[test]
    fn witness_programs_are_shown_in_bech32_of_the_network() {
        let program = "751e76e8199196d454941c45d1b3a323f1433bd6";
        let [main, test, regtest] = shown(&format!("0014{program}")).map(Option::unwrap);
        assert!(main.starts_with("nc1q") && test.starts_with("tn1q") && regtest.starts_with("ncrt1q"));
        let (hrp, version, bytes) = segwit::decode(&main).unwrap();
        assert_eq!((hrp.as_str(), version.to_u8()), ("nc", 0));
        assert_eq!(bytes, ScriptBuf::from_hex(program).unwrap().into_bytes());
        let later = shown("51024e73")[0].clone().unwrap();
        assert_eq!(segwit::decode(&later).unwrap().1.to_u8(), 1);
    }

    #[test]
    fn other_scripts_have_no_address() {
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        for hex in [
            String::new(),
            "6a".to_owned(),
            "75".to_owned(),
            format!("21{key}ac"),
            format!("5121{key}51ae"),
            "001500112233445566778899aabbccddeeff001122334455".to_owned(),
            "76a91400112233445566778899aabbccddeeff0011223388ad".to_owned(),
        ] {
            assert_eq!(shown(&hex), [None, None, None], "{hex}");
        }
    }
}
