//! Edits of a proof, as a lying server could make them: property tests and the fuzzer draw on the same.

use bitcoin::TxMerkleNode;
use bitcoin::hashes::Hash;
use isonym::name::NameProof;

/// A change of one link: what is done, to which link, where in it and with what. Any numbers make one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    pub(crate) what: u8,
    pub(crate) link: u8,
    pub(crate) at: u16,
    pub(crate) with: u8,
}

impl Edit {
    /// Reads edits of five bytes each; what is left over is ignored.
    #[allow(dead_code, reason = "the fuzzer's way in")]
    pub(crate) fn all_in(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let (edits, _) = bytes.as_chunks::<5>();
        edits.iter().map(|[what, link, low, high, with]| Self {
            what: *what,
            link: *link,
            at: u16::from_le_bytes([*low, *high]),
            with: *with,
        })
    }

    /// Changes the proof; one without links stays as it is.
    pub(crate) fn apply(self, proof: &mut NameProof) {
        let Some(index) = usize::from(self.link).checked_rem(proof.links.len()) else {
            return;
        };
        let (at, with) = (usize::from(self.at), self.with);
        let link = &mut proof.links[index];
        match self.what % 12 {
            0 => drop(proof.links.remove(index)),
            1 => {
                let copy = link.clone();
                proof.links.insert(0, copy);
            }
            2 => proof.links.swap(0, index),
            3 => link.height = link.height.wrapping_add_signed(i32::from(with.cast_signed())),
            4 => link.pos = u32::from(with),
            5 => link.merkle.push(TxMerkleNode::from_byte_array([with; 32])),
            6 => drop(link.merkle.pop()),
            7 => link.tx.truncate(at),
            8 => link.tx.insert(at % (link.tx.len() + 1), with),
            9 => proof.complete = with % 2 == 0,
            10 => proof.name_new = Some(link.tx.clone()),
            _ => {
                let len = link.tx.len().max(1);
                if let Some(byte) = link.tx.get_mut(at % len) {
                    *byte ^= with;
                }
            }
        }
    }
}
