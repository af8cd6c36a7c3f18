//! Why an answer is true: all that a lookup's answer stands on, for people to look at and for `name_proof` over JSON-RPC.
//!
//! Names and values are bytes and are hex in JSON; hashes, txids and work are hex as Namecoin Core shows them. All texts that
//! servers had a hand in are as they came: who shows them makes them harmless.

use std::fmt;

use bitcoin::hex::{DisplayHex as _, FromHex as _};
use bitcoin::{BlockHash, Target};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::chain::{FullHeader, HeaderTree, Height, Params, Tip};
use crate::name::lookup::{Account, AttemptError};
use crate::name::proof::{ProvenStep, Reached};
use crate::name::{NameId, Outcome};
use crate::time::Span;

/// Seconds from block to block, on average.
const BLOCK_SPACING: u64 = 600;

/// Why a name's answer is true, or is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The name.
    pub name: Bytes,
    /// The network.
    pub network: String,
    /// What the lookup came to.
    pub verdict: Verdict,
    /// How long what was proved lasts, where anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// The operations that were verified, newest first; the first one has the value. None where nothing was proved.
    pub operations: Vec<Operation>,
    /// How far back they go, where anything was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<ReachedWord>,
    /// The newest operation's evidence of work, where anything was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkEvidence>,
    /// The newest header, from which ages are counted.
    pub tip: TipEvidence,
    /// Up to which block the chain is given, and not proved.
    pub anchor_height: Height,
    /// What each server that was asked said, in the order in which they were asked.
    pub servers: Vec<ServerAccount>,
    /// What nobody proved.
    pub caveats: Vec<Caveat>,
}

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Verdict {
    /// The name has the value of its newest operation.
    Found,
    /// It has expired.
    Expired,
    /// It expires so soon that it should have been renewed: it is not served.
    SemiExpired,
    /// Its registration is too young to be final.
    Unconfirmed {
        /// Confirmations of the oldest verified operation.
        got: Height,
        /// Confirmations that it needs.
        expected: Height,
    },
    /// Servers say that it expired long ago; that is not proved.
    PurportedlyExpired {
        /// Where they say that it was last updated.
        height: Height,
    },
    /// Servers say that it never existed; nobody can prove that.
    PurportedlyAbsent,
    /// No block that a living name can be in has it: it never existed, or has expired.
    ProvedAbsent {
        /// The lowest of these blocks.
        from: Height,
    },
    /// No server gave an answer that holds.
    Refused {
        /// Why, in a line.
        reason: String,
    },
}

/// How long what was proved lasts, in blocks from our tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Until it expires; 0 or negative when it has.
    pub expires_in: i64,
    /// Until it is served no more; 0 or negative when it is not.
    pub semi_expires_in: i64,
}

impl Term {
    /// Writes a number of blocks with the time that they take, for people.
    pub fn blocks(count: i64) -> String {
        let seconds = u64::try_from(count).unwrap_or(0).saturating_mul(BLOCK_SPACING);
        format!("{count} blocks (some {})", Span(seconds))
    }
}

/// A verified operation of a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Whether it registers the name; else it updates it, by spending the next older one.
    pub registers: bool,
    /// The value that it gives the name.
    pub value: Bytes,
    /// Its transaction's ID.
    pub txid: String,
    /// The index of its name output.
    pub vout: u32,
    /// The address that holds the name from here on, or `<nonstandard>`.
    pub address: String,
    /// The block that it is in.
    pub block: BlockEvidence,
    /// Its position in the block, from 0.
    pub position: u32,
    /// The merkle branch from the transaction to the header's root, the leaf's sibling first.
    pub merkle: Vec<String>,
}

/// A block of our chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockEvidence {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: String,
    /// Its time, in seconds since 1970.
    pub time: u64,
    /// Its merkle root.
    pub merkle_root: String,
    /// Blocks on our chain from it to the tip, itself counted.
    pub confirmations: Height,
}

/// How much work an operation lies under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkEvidence {
    /// Hashes that it takes on average to make the blocks above its own; `None` where work is not known so far down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// The same for its own block.
    pub own: f64,
    /// Where its own block's work was done.
    pub auxpow: AuxPowEvidence,
}

impl WorkEvidence {
    /// Writes a number of hashes as a power of 2, but 0, for people.
    pub fn power(hashes: f64) -> String {
        if hashes < 1.0 {
            return "no".to_owned();
        }
        format!("2^{:.1}", hashes.log2())
    }
}

/// Where a block's work was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum AuxPowEvidence {
    /// At the block itself: it is not merge-mined.
    OwnWork,
    /// At a block of another chain, its parent, which commits to this one.
    Parent {
        /// The parent block's hash.
        hash: String,
        /// Its time, in seconds since 1970.
        time: u64,
        /// The ID of its coinbase transaction, which has the commitment.
        coinbase: String,
        /// From the coinbase to the parent's merkle root.
        coinbase_branch: Vec<String>,
        /// From our block's hash to the root in the coinbase; without any our block's hash is that root.
        chain_branch: Vec<String>,
        /// Our place in that tree.
        chain_index: i32,
    },
    /// It can't be shown: headers are kept without it, and the server that had the proof gave none that fits.
    NotShown {
        /// Why.
        reason: String,
    },
}

/// The newest header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TipEvidence {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: String,
    /// Its time, in seconds since 1970.
    pub time: u64,
}

/// How far back the verified operations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachedWord {
    /// To the registration.
    Registration,
    /// To an operation at or below the anchor.
    Anchor,
    /// Over as many as are looked at.
    Limit,
    /// To the oldest one among the blocks that living names are in.
    Window,
}

impl From<Reached> for ReachedWord {
    fn from(reached: Reached) -> Self {
        match reached {
            Reached::Registration => Self::Registration,
            Reached::Anchor => Self::Anchor,
            Reached::Limit => Self::Limit,
            Reached::Window => Self::Window,
        }
    }
}

/// What became of asking one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAccount {
    /// Its address; `None` where there was no connection to any.
    pub server: Option<String>,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
}

/// What a server said of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// It proved an operation.
    Proved {
        /// Where the newest one is.
        height: Height,
    },
    /// It knows no operation, or only one of long ago.
    Denied,
    /// What it gave can't be true, or can't be proved by our headers.
    Refused {
        /// Why.
        reason: String,
    },
    /// It gave no answer.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its answer was not waited for.
    NotWaitedFor,
}

/// What nobody proved. As a text, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Caveat {
    /// A newer operation may be hidden.
    NewerMayBeHidden {
        /// How many servers had a say.
        servers: usize,
    },
    /// That there is no value is the word of servers.
    AbsenceIsTheirWord {
        /// How many servers had a say.
        servers: usize,
    },
    /// The chain of operations was not followed to the registration.
    OlderNotFollowed {
        /// The oldest that was.
        height: Height,
        /// Whether it ended at the anchor, and not at a limit.
        at_anchor: bool,
    },
    /// Some headers were taken on the strength of a sample.
    HeadersSampled {
        /// How many.
        headers: usize,
    },
    /// The operation lies at or below the anchor, for whose chain the program vouches and not work that was checked.
    BelowAnchor {
        /// The anchor.
        height: Height,
    },
    /// Where the work of the newest operation's block was done is not shown.
    WorkNotShown,
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewerMayBeHidden { servers } => write!(
                f,
                "That there is no newer operation is the word of {}: a server can hide one, though not make one up.",
                counted(*servers)
            ),
            Self::AbsenceIsTheirWord { servers } => write!(
                f,
                "That the name has no value is the word of {}: absence can't be proved.",
                counted(*servers)
            ),
            Self::OlderNotFollowed {
                height,
                at_anchor: true,
            } => write!(
                f,
                "Owners before block {height} were not looked at: it is not above the trust anchor, up to which the chain is given."
            ),
            Self::OlderNotFollowed {
                height,
                at_anchor: false,
            } => write!(
                f,
                "Owners before block {height} were not looked at: it is deep enough that nobody wastes the work to replace it."
            ),
            Self::HeadersSampled { headers } => write!(
                f,
                "The work of {headers} headers was taken on the strength of a sample; `--verification full` has each one checked."
            ),
            Self::BelowAnchor { height } => write!(
                f,
                "The newest operation is not above the trust anchor at block {height}: its block is part of the chain that ends there, for which this program vouches."
            ),
            Self::WorkNotShown => f.write_str(
                "Where the work of its block was done is not shown here: it was checked, or sampled, when the header came, and is not kept.",
            ),
        }
    }
}

fn counted(servers: usize) -> String {
    match servers {
        1 => "one server".to_owned(),
        count => format!("{count} servers"),
    }
}

/// Bytes that are hex in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.as_hex())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Vec::from_hex(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Explanation {
    /// Puts together what is known at the end of a lookup, by the headers of that moment. `outcome` is what it came to, or why
    /// in a line it came to nothing; `steps` are the operations that were verified, newest first.
    pub(super) fn new(
        name: &NameId,
        outcome: Result<&Outcome, String>,
        steps: &[ProvenStep],
        servers: Vec<ServerAccount>,
        tree: &HeaderTree,
    ) -> Self {
        let tip = tree.tip();
        let (steps, proven) = match outcome.as_ref().ok().and_then(|outcome| outcome.proven()) {
            Some(status) if !steps.is_empty() => (steps, Some(status)),
            _ => (&[][..], None),
        };
        let newest = steps.first().map(|step| step.entry().height());
        let work = newest.and_then(|height| {
            Some(WorkEvidence {
                above: work_above(tree, &tip, height),
                own: big_endian(Target::from(tree.header_at(height)?.bits()).to_work().to_be_bytes()),
                auxpow: AuxPowEvidence::NotShown {
                    reason: "nobody was asked for it".to_owned(),
                },
            })
        });
        let mut explanation = Self {
            name: Bytes(name.as_bytes().to_vec()),
            network: tree.params().network.as_str().to_owned(),
            verdict: verdict(outcome),
            term: proven.map(|status| Term {
                expires_in: status.expires_in,
                semi_expires_in: status.semi_expires_in,
            }),
            operations: steps.iter().filter_map(|step| operation(step, tree, &tip)).collect(),
            reached: proven.map(|status| status.name.reached().into()),
            work,
            tip: TipEvidence {
                height: tip.height,
                hash: tip.hash.to_string(),
                time: tip.time.0,
            },
            anchor_height: tree.anchor().height,
            servers,
            caveats: Vec::new(),
        };
        explanation.caveats = explanation.unproved(tree.unproved());
        explanation
    }

    /// Returns the height of the newest operation that was verified.
    pub(super) fn newest_height(&self) -> Option<Height> {
        self.operations.first().map(|newest| newest.block.height)
    }

    /// Shows where the work of the newest operation's block was done, by the full header that a server gave, or says why
    /// that can't be shown.
    pub(super) fn show_work(&mut self, header: Result<Vec<u8>, String>, params: &Params) {
        let (Some(newest), Some(work)) = (self.operations.first(), &mut self.work) else {
            return;
        };
        let read = header.and_then(|bytes| read_auxpow(&bytes, &newest.block.hash, params));
        work.auxpow = read.unwrap_or_else(|reason| {
            self.caveats.push(Caveat::WorkNotShown);
            AuxPowEvidence::NotShown { reason }
        });
    }

    /// Returns the value that was proved, if the name has it today.
    pub fn value(&self) -> Option<&[u8]> {
        let newest = self.operations.first()?;
        (self.verdict == Verdict::Found).then_some(&newest.value.0)
    }

    /// Says how far back the operations go, for people.
    pub fn reached_line(&self) -> String {
        let spends = self.operations.len().saturating_sub(1);
        let verified = match spends {
            0 => "There is one.".to_owned(),
            1 => "The newer one spends the older one's output; its signature was verified.".to_owned(),
            count => format!("Each spends the older one's output; {count} signatures were verified."),
        };
        let end = match self.reached {
            Some(ReachedWord::Registration) => "The oldest one is the name's registration.",
            Some(ReachedWord::Anchor) => "The oldest one is not above the trust anchor.",
            Some(ReachedWord::Limit) => "Older ones lie deep enough.",
            Some(ReachedWord::Window) => "Older ones lie below all blocks that living names are in.",
            None => "",
        };
        format!("{verified} {end}")
    }

    /// Returns what nobody proved of it, where so many headers were taken on the strength of a sample.
    fn unproved(&self, sampled: usize) -> Vec<Caveat> {
        let servers = self
            .servers
            .iter()
            .filter(|account| matches!(account.said, Said::Proved { .. } | Said::Denied))
            .count();
        let mut caveats = Vec::new();
        if matches!(
            self.verdict,
            Verdict::PurportedlyAbsent | Verdict::PurportedlyExpired { .. }
        ) {
            caveats.push(Caveat::AbsenceIsTheirWord { servers });
        }
        if let (Some(newest), Some(oldest)) = (self.operations.first(), self.operations.last()) {
            caveats.push(Caveat::NewerMayBeHidden { servers });
            let height = oldest.block.height;
            match self.reached {
                Some(ReachedWord::Anchor) => caveats.push(Caveat::OlderNotFollowed {
                    height,
                    at_anchor: true,
                }),
                Some(ReachedWord::Limit) => caveats.push(Caveat::OlderNotFollowed {
                    height,
                    at_anchor: false,
                }),
                // What living names are in was read whole.
                Some(ReachedWord::Registration | ReachedWord::Window) | None => {}
            }
            if newest.block.height <= self.anchor_height {
                caveats.push(Caveat::BelowAnchor {
                    height: self.anchor_height,
                });
            }
        }
        if sampled > 0 {
            caveats.push(Caveat::HeadersSampled { headers: sampled });
        }
        caveats
    }
}

fn verdict(outcome: Result<&Outcome, String>) -> Verdict {
    match outcome {
        Ok(Outcome::Found(_)) => Verdict::Found,
        Ok(Outcome::Expired(_)) => Verdict::Expired,
        Ok(Outcome::SemiExpired(_)) => Verdict::SemiExpired,
        Ok(Outcome::Unconfirmed { got, expected, .. }) => Verdict::Unconfirmed {
            got: *got,
            expected: *expected,
        },
        Ok(Outcome::LongExpired { height }) => Verdict::PurportedlyExpired { height: *height },
        Ok(Outcome::NeverExisted) => Verdict::PurportedlyAbsent,
        Ok(Outcome::ProvedAbsent { from }) => Verdict::ProvedAbsent { from: *from },
        Err(reason) => Verdict::Refused { reason },
    }
}

/// Describes an operation; `None` where its block is no part of our chain any more.
fn operation(step: &ProvenStep, tree: &HeaderTree, tip: &Tip) -> Option<Operation> {
    let entry = step.entry();
    let header = tree.header_at(entry.height())?;
    Some(Operation {
        registers: entry.is_registration(),
        value: Bytes(entry.value().as_bytes().to_vec()),
        txid: entry.txid().to_string(),
        vout: entry.vout(),
        address: entry.address().to_owned(),
        block: BlockEvidence {
            height: entry.height(),
            hash: header.hash().to_string(),
            time: header.time().into(),
            merkle_root: header.merkle_root().to_string(),
            confirmations: (tip.height + 1).saturating_sub(entry.height()),
        },
        position: entry.pos(),
        merkle: step.merkle().iter().map(ToString::to_string).collect(),
    })
}

fn work_above(tree: &HeaderTree, tip: &Tip, height: Height) -> Option<f64> {
    let above = big_endian(tip.chainwork.to_be_bytes()) - big_endian(tree.chainwork_at(height)?.to_be_bytes());
    (above >= 0.0).then_some(above)
}

fn big_endian(bytes: [u8; 32]) -> f64 {
    bytes.iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte))
}

/// Reads where the work of the block with this hash was done off the full header that a server gave.
fn read_auxpow(bytes: &[u8], block: &str, params: &Params) -> Result<AuxPowEvidence, String> {
    let (full, rest) = FullHeader::decode(bytes).map_err(|error| format!("the server gave no header: {error}"))?;
    let hash = full.pure.hash();
    if hash.to_string() != block || !rest.is_empty() {
        return Err("the server gave another header".to_owned());
    }
    let Some(auxpow) = &full.auxpow else {
        return Ok(AuxPowEvidence::OwnWork);
    };
    auxpow
        .check(&full.pure, &hash, &Target::from(full.pure.bits()), params)
        .map_err(|error| format!("the server gave an AuxPoW that is wrong: {error}"))?;
    let texts = |hashes: &[[u8; 32]]| hashes.iter().map(|hash| hash_text(*hash)).collect();
    Ok(AuxPowEvidence::Parent {
        hash: auxpow.parent.hash().to_string(),
        time: auxpow.parent.time().into(),
        coinbase: auxpow.coinbase.txid().to_string(),
        coinbase_branch: texts(auxpow.coinbase_branch.hashes),
        chain_branch: texts(auxpow.chain_branch.hashes),
        chain_index: auxpow.chain_branch.index,
    })
}

/// Writes a hash as it is shown: its last byte first.
fn hash_text(bytes: [u8; 32]) -> String {
    use bitcoin::hashes::Hash as _;
    BlockHash::from_byte_array(bytes).to_string()
}

/// Says what became of an attempt at a server.
pub(super) fn account(server: Option<String>, account: Account<'_>) -> ServerAccount {
    let said = match account {
        Account::Answered(outcome) => match outcome.proven() {
            Some(status) => Said::Proved {
                height: status.name.height(),
            },
            None => Said::Denied,
        },
        Account::Failed(error @ (AttemptError::Fault(_) | AttemptError::Unproved(_))) => Said::Refused {
            reason: error.to_string(),
        },
        Account::Failed(error) => Said::Failed {
            reason: error.to_string(),
        },
        Account::Open => Said::NotWaitedFor,
    };
    ServerAccount { server, said }
}
