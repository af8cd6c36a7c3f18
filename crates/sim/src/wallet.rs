//! Keys, addresses and signatures that hold the names of a simulated world.

use bitcoin::ecdsa::Signature;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::opcodes::OP_0;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_PUSHNUM_2, OP_PUSHNUM_3};
use bitcoin::script::{Builder, PushBytesBuf, Script, ScriptBuf};
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, CompressedPublicKey, PublicKey, Transaction, Witness};

use isonym_core::name::script::NameScript;

/// The kinds of address that can hold a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// Pay to public key hash.
    #[default]
    P2pkh,
    /// Pay to script hash: 2 of 3 keys.
    P2sh,
    /// Pay to witness public key hash.
    P2wpkh,
    /// The same behind a script hash.
    P2shP2wpkh,
    /// Pay to witness script hash: 2 of 3 keys.
    P2wsh,
}

impl AddressKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::P2pkh, Self::P2sh, Self::P2wpkh, Self::P2shP2wpkh, Self::P2wsh];
}

/// Who holds an output: a kind of address and the number of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The kind of address.
    pub kind: AddressKind,
    /// Which of the wallet's keys; addresses of several keys count on from there among themselves.
    pub key: u32,
}

/// Whose signature goes under a spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The owner.
    Owner,
    /// Somebody else, next to the owner's own public key.
    Stranger,
}

/// An output to be spent.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// Its whole script, with the name prefix if it has one.
    pub script: &'a Script,
    /// Its amount in satoshis.
    pub value: u64,
    /// Who holds it.
    pub owner: Owner,
}

/// Derives all keys from one seed.
#[derive(Clone, Debug)]
pub struct Wallet {
    seed: u64,
    secp: Secp256k1<All>,
    /// The first share of the first keys, see [`Self::with_keys`].
    prepared: Vec<(SecretKey, PublicKey)>,
}

impl Wallet {
    /// Makes the wallet of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            secp: Secp256k1::new(),
            prepared: Vec::new(),
        }
    }

    /// Derives so many keys at once, for whoever uses each of them often.
    #[must_use]
    pub fn with_keys(mut self, count: u32) -> Self {
        self.prepared = (0..count)
            .map(|key| (self.derived(key, 0), self.public(key, 0)))
            .collect();
        self
    }

    fn prepared(&self, key: u32, share: u8) -> Option<&(SecretKey, PublicKey)> {
        self.prepared.get(key as usize).filter(|_| share == 0)
    }

    fn secret(&self, key: u32, share: u8) -> SecretKey {
        match self.prepared(key, share) {
            Some((secret, _)) => *secret,
            None => self.derived(key, share),
        }
    }

    fn derived(&self, key: u32, share: u8) -> SecretKey {
        let mut attempt = 0_u8;
        loop {
            let mut bytes = b"isonym simulated key".to_vec();
            bytes.extend_from_slice(&self.seed.to_le_bytes());
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&[share, attempt]);
            // One hash in 2^128 is no key.
            if let Ok(secret) = SecretKey::from_slice(&sha256::Hash::hash(&bytes).to_byte_array()) {
                return secret;
            }
            attempt = attempt.wrapping_add(1);
        }
    }

    fn public(&self, key: u32, share: u8) -> PublicKey {
        match self.prepared(key, share) {
            Some((_, public)) => *public,
            None => PublicKey::new(self.derived(key, share).public_key(&self.secp)),
        }
    }

    /// Returns the 2-of-3 script of a key number.
    fn multisig(&self, key: u32) -> ScriptBuf {
        Builder::new()
            .push_opcode(OP_PUSHNUM_2)
            .push_key(&self.public(key, 0))
            .push_key(&self.public(key, 1))
            .push_key(&self.public(key, 2))
            .push_opcode(OP_PUSHNUM_3)
            .push_opcode(OP_CHECKMULTISIG)
            .into_script()
    }

    fn p2wpkh(&self, key: u32) -> ScriptBuf {
        let public = CompressedPublicKey(self.public(key, 0).inner);
        ScriptBuf::new_p2wpkh(&public.wpubkey_hash())
    }

    /// Returns the address script of an owner.
    pub fn address(&self, owner: Owner) -> ScriptBuf {
        match owner.kind {
            AddressKind::P2pkh => ScriptBuf::new_p2pkh(&self.public(owner.key, 0).pubkey_hash()),
            AddressKind::P2sh => self.multisig(owner.key).to_p2sh(),
            AddressKind::P2wpkh => self.p2wpkh(owner.key),
            AddressKind::P2shP2wpkh => self.p2wpkh(owner.key).to_p2sh(),
            AddressKind::P2wsh => self.multisig(owner.key).to_p2wsh(),
        }
    }

    /// Signs input `index` of `transaction`; `None` when there is no such input.
    ///
    /// As Namecoin Core does: a legacy address is signed with the whole output script as script code, name
    /// prefix included; P2SH and witness programs after the prefix is stripped.
    pub fn sign(&self, transaction: &mut Transaction, index: usize, spent: Spent<'_>, signer: Signer) -> Option<()> {
        let key = spent.owner.key;
        let digest = self.digest(transaction, index, spent)?;
        let signature = |share: u8| {
            let share = if signer == Signer::Stranger {
                share | 0x80
            } else {
                share
            };
            let signature = self.secp.sign_ecdsa(&digest, &self.secret(key, share));
            Signature::sighash_all(signature).to_vec()
        };
        let mut script_sig = ScriptBuf::new();
        let mut witness = Witness::new();
        match spent.owner.kind {
            AddressKind::P2pkh => {
                script_sig = pushes([signature(0), self.public(key, 0).to_bytes()]);
            }
            AddressKind::P2sh => {
                let mut script = Builder::new().push_opcode(OP_0).into_bytes();
                let rest = pushes([signature(0), signature(1), self.multisig(key).into_bytes()]);
                script.extend_from_slice(rest.as_bytes());
                script_sig = ScriptBuf::from_bytes(script);
            }
            AddressKind::P2wpkh | AddressKind::P2shP2wpkh => {
                witness = Witness::from_slice(&[signature(0), self.public(key, 0).to_bytes()]);
                if spent.owner.kind == AddressKind::P2shP2wpkh {
                    script_sig = pushes([self.p2wpkh(key).into_bytes()]);
                }
            }
            AddressKind::P2wsh => {
                witness =
                    Witness::from_slice(&[Vec::new(), signature(0), signature(1), self.multisig(key).into_bytes()]);
            }
        }
        let input = transaction.input.get_mut(index)?;
        input.script_sig = script_sig;
        input.witness = witness;
        Some(())
    }

    fn digest(&self, transaction: &Transaction, index: usize, spent: Spent<'_>) -> Option<Message> {
        let Owner { kind, key } = spent.owner;
        let value = Amount::from_sat(spent.value);
        let all = EcdsaSighashType::All;
        let mut cache = SighashCache::new(transaction);
        let address = NameScript::parse(spent.script).map_or(spent.script, |name| name.address);
        let digest = match kind {
            AddressKind::P2pkh => cache
                .legacy_signature_hash(index, spent.script, all.to_u32())
                .ok()?
                .to_byte_array(),
            AddressKind::P2sh => cache
                .legacy_signature_hash(index, &self.multisig(key), all.to_u32())
                .ok()?
                .to_byte_array(),
            AddressKind::P2wpkh => cache
                .p2wpkh_signature_hash(index, address, value, all)
                .ok()?
                .to_byte_array(),
            AddressKind::P2shP2wpkh => cache
                .p2wpkh_signature_hash(index, &self.p2wpkh(key), value, all)
                .ok()?
                .to_byte_array(),
            AddressKind::P2wsh => cache
                .p2wsh_signature_hash(index, &self.multisig(key), value, all)
                .ok()?
                .to_byte_array(),
        };
        Some(Message::from_digest(digest))
    }
}

fn pushes<const N: usize>(items: [Vec<u8>; N]) -> ScriptBuf {
    items
        .into_iter()
        .fold(Builder::new(), |script, item| {
            script.push_slice(PushBytesBuf::try_from(item).unwrap_or_default())
        })
        .into_script()
}
