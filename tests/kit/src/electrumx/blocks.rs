//! Raw blocks: the chain that Namecoin Core recorded, what is in a block, and plain blocks to extend a chain with.

use std::io::Read as _;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize_partial, serialize};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, VarInt, Witness, transaction,
};
use flate2::read::GzDecoder;

const AUXPOW_FLAG: i32 = 0x100;
const HEADER: usize = 80;

/// Returns the blocks of `tests/vectors/namecoind-regtest`, heights 0 to 480.
pub fn recorded() -> Vec<Vec<u8>> {
    let packed = include_bytes!("../../../vectors/namecoind-regtest/blocks.hex.gz");
    let mut lines = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut lines)
        .expect("the vectors are gzip of text");
    lines
        .lines()
        .map(|line| bitcoin::hex::FromHex::from_hex(line).expect("the vectors are hex"))
        .collect()
}

/// Returns the block hash.
pub fn hash(block: &[u8]) -> BlockHash {
    BlockHash::from_raw_hash(sha256d::Hash::hash(&block[..HEADER]))
}

/// Returns the transactions in a raw block.
pub fn transactions(block: &[u8]) -> Vec<Transaction> {
    let mut rest = &block[HEADER..];
    if i32::from_le_bytes(*block.first_chunk().expect("a block has a version")) & AUXPOW_FLAG != 0 {
        let _parent_coinbase: Transaction = take(&mut rest);
        rest = &rest[32..];
        for _branch in 0..2 {
            let VarInt(hashes) = take(&mut rest);
            rest = &rest[usize::try_from(hashes).expect("a branch fits memory") * 32 + 4..];
        }
        rest = &rest[HEADER..];
    }
    let VarInt(count) = take(&mut rest);
    let transactions = (0..count).map(|_| take(&mut rest)).collect();
    assert!(rest.is_empty(), "bytes after the last transaction of a block");
    transactions
}

fn take<T: bitcoin::consensus::Decodable>(rest: &mut &[u8]) -> T {
    let (value, size) = deserialize_partial(rest).expect("the block is well formed");
    *rest = &rest[size..];
    value
}

/// Appends blocks that hold nothing but a coinbase to a regtest chain, up to `height`.
pub fn extend_without_names(chain: &mut Vec<Vec<u8>>, height: usize) {
    while chain.len() <= height {
        let block = empty_block(chain.last().expect("a chain has a genesis block"), chain.len());
        chain.push(block);
    }
}

/// Makes a block without AuxPoW, ten minutes after `prev`: on regtest every second nonce is proof of work.
fn empty_block(prev: &[u8], height: usize) -> Vec<u8> {
    let coinbase = Transaction {
        version: transaction::Version(1),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::builder()
                .push_int(i64::try_from(height).expect("a height fits"))
                .push_slice(b"without names")
                .into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::builder().push_int(1).into_script(),
        }],
    };
    let txid: Txid = coinbase.compute_txid();
    let prev_time = u32::from_le_bytes(*prev[68..].first_chunk().expect("a header has a time"));
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&0x0001_0004_i32.to_le_bytes());
    header[4..36].copy_from_slice(hash(prev).as_byte_array());
    header[36..68].copy_from_slice(txid.as_byte_array());
    header[68..72].copy_from_slice(&(prev_time + 600).to_le_bytes());
    header[72..76].copy_from_slice(&prev[72..76]);
    while hash(&header).as_byte_array()[31] >= 0x80 {
        let nonce = u32::from_le_bytes(*header[76..].first_chunk().expect("a header has a nonce"));
        header[76..].copy_from_slice(&(nonce + 1).to_le_bytes());
    }
    [&header[..], &[1], &serialize(&coinbase)].concat()
}
