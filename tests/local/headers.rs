//! Whole chains and real headers: what Namecoin Core wrote is accepted, and nothing that was bent afterwards.

use std::io::Read;
use std::path::{Path, PathBuf};

use bitcoin::hex::FromHex;
use isonym::chain::auxpow::AuxPowError;
use isonym::chain::{Accepted, Anchor, FullHeader, HeaderError, HeaderTree, Network, PureHeader, difficulty};
use isonym::time::Timestamp;

const REGTEST_TIP: &str = "ef1c0b2b8064457c995209dcb801d9baf998f506f57e236e0d217a2a48d72c2d";

/// Returns the blocks of the chain that Namecoin Core wrote, from genesis on.
fn regtest_blocks() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/namecoind-regtest/blocks.hex.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(|line| Vec::from_hex(line).unwrap()).collect()
}

fn regtest_tree() -> HeaderTree {
    HeaderTree::new(Network::Regtest.params(), Anchor::shipped(Network::Regtest).unwrap())
}

/// Long after every block of the fixture.
const NOW: Timestamp = Timestamp(4_000_000_000);

#[test]
fn the_chain_of_core_is_accepted_header_by_header() {
    let blocks = regtest_blocks();
    let mut tree = regtest_tree();
    let mut restored = regtest_tree();
    assert_eq!(blocks.len(), 481);
    let mut auxpows = 0;
    for (height, block) in (1..).zip(&blocks[1..]) {
        let (full, _) = FullHeader::decode(block).unwrap();
        auxpows += usize::from(full.auxpow.is_some());
        assert_eq!(tree.accept(&full, NOW), Ok(Accepted::Extended), "height {height}");
        assert_eq!(tree.tip().height, height);
        assert_eq!(restored.restore(full.pure, true), Ok(()));
    }
    assert_eq!(auxpows, 471);
    assert_eq!(tree.tip().hash.to_string(), REGTEST_TIP);
    assert_eq!(tree.tip(), restored.tip());
    assert_eq!(tree.tip().chainwork.to_string(), (481 * 2).to_string());
}

#[test]
fn the_chain_of_core_hangs_below_its_tip_as_an_anchor() {
    let blocks = regtest_blocks();
    let anchor = format!("480:{REGTEST_TIP}").parse().unwrap();
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    assert_eq!((tree.lowest(), tree.required_low()), (None, 470));
    for (height, block) in (0..=480).rev().zip(blocks.iter().rev()) {
        assert_eq!(
            tree.backfill(PureHeader::decode(block).unwrap()),
            Ok(()),
            "height {height}"
        );
        assert_eq!(tree.lowest(), Some(height));
    }
    assert_eq!(
        tree.backfill(Network::Regtest.params().genesis),
        Err(HeaderError::BelowGenesis)
    );
}

#[test]
fn every_auxpow_of_core_fails_for_another_header() {
    let mut refused = 0;
    for block in regtest_blocks() {
        let (mut full, _) = FullHeader::decode(&block).unwrap();
        let Some(auxpow) = full.auxpow else { continue };
        let mut bytes = *full.pure.as_bytes();
        bytes[40] ^= 1;
        full.pure = PureHeader::new(bytes);
        let target = difficulty::decode_target(full.pure.bits(), Network::Regtest.params().pow_limit).unwrap();
        let outcome = auxpow.check(&full.pure, &full.pure.hash(), &target, Network::Regtest.params());
        assert_eq!(outcome, Err(AuxPowError::RootMissing));
        refused += 1;
    }
    assert_eq!(refused, 471);
}

/// Returns the real mainnet headers, as (height, full header); nothing where the folder is missing.
fn mainnet_headers() -> Vec<(u64, Vec<u8>)> {
    let folder = std::env::var_os("ISONYM_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    let path = folder.join("mainnet/headers.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no real mainnet headers at {}", path.display());
        return Vec::new();
    };
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    list.iter()
        .map(|entry| {
            let full = Vec::from_hex(entry["full_header"].as_str().unwrap()).unwrap();
            let hash = PureHeader::decode(&full).unwrap().hash();
            assert_eq!(hash.to_string(), entry["hash"].as_str().unwrap());
            (entry["height"].as_u64().unwrap(), full)
        })
        .collect()
}

fn check_on_mainnet(bytes: &[u8]) -> Result<(), AuxPowError> {
    let params = Network::Mainnet.params();
    let (full, rest) = FullHeader::decode(bytes).unwrap();
    assert!(rest.is_empty());
    let target = difficulty::decode_target(full.pure.bits(), params.pow_limit).unwrap();
    if let Some(auxpow) = full.auxpow {
        return auxpow.check(&full.pure, &full.pure.hash(), &target, params);
    }
    assert!(target.is_met_by(full.pure.hash()));
    Ok(())
}

#[test]
fn real_mainnet_headers_verify() {
    for (height, bytes) in mainnet_headers() {
        assert_eq!(check_on_mainnet(&bytes), Ok(()), "height {height}");
    }
}

/// What the real headers allow to break without mining anew on mainnet's difficulty: everything in front of the
/// parent header. The rest of the matrix is in `chain::auxpow`, on regtest.
#[test]
fn real_mainnet_headers_broken_are_refused() {
    for (height, bytes) in mainnet_headers() {
        let (full, _) = FullHeader::decode(&bytes).unwrap();
        let Some(auxpow) = full.auxpow else { continue };
        let parent = bytes.len() - 80;
        let chain_index = parent - 4;
        let chain_hashes = 32 * auxpow.chain_branch.hashes.len();
        let coinbase_index = chain_index - chain_hashes - 1 - 4;
        let bent = |at: usize, mask: u8| {
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            check_on_mainnet(&bytes)
        };
        let is = |outcome: Result<(), AuxPowError>, wanted: fn(&AuxPowError) -> bool| {
            assert!(outcome.as_ref().is_err_and(wanted), "height {height}: {outcome:?}");
        };
        is(bent(parent + 1, 1), |error| {
            matches!(error, AuxPowError::NestedAuxPow { .. })
        });
        is(bent(parent + 76, 1), |error| {
            matches!(error, AuxPowError::InsufficientWork { .. })
        });
        is(bent(parent + 40, 1), |error| {
            matches!(error, AuxPowError::InsufficientWork { .. })
        });
        is(bent(chain_index + 3, 0x80), |error| {
            matches!(error, AuxPowError::NegativeChainIndex { .. })
        });
        is(bent(coinbase_index, 1), |error| {
            matches!(error, AuxPowError::CoinbaseIndex { got: 1 })
        });
        is(bent(90, 1), |error| {
            matches!(error, AuxPowError::WrongMerkleRoot { .. })
        });
        is(bent(80 + 60, 1), |error| {
            matches!(error, AuxPowError::WrongMerkleRoot { .. })
        });
        is(bent(40, 1), |error| matches!(error, AuxPowError::RootMissing));
        if chain_hashes > 0 {
            is(bent(chain_index, 1), |error| matches!(error, AuxPowError::RootMissing));
            is(bent(chain_index - 1, 1), |error| {
                matches!(error, AuxPowError::RootMissing)
            });
        }
        is(bent(chain_index + 2, 1), |error| {
            matches!(error, AuxPowError::WrongChainIndex { .. })
        });
    }
}
