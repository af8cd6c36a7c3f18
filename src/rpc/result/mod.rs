//! The JSON of a name: Namecoin Core's fields in Core's order, then Electrum's where asked for, then ours.

use bitcoin::{BlockHash, Txid};
use serde::Serialize;
use serde_json::{Value, json};

use super::reply::{CallResult, hash_text, result as write};
use crate::chain::{Height, Params, Tip};
use crate::jsonrpc::{RpcError, code};
use crate::name::encoding::quoted;
use crate::name::policy::{NameStatus, expires_in};
use crate::name::proof::{ProvenEntry, Reached};
use crate::name::{Encoding, NameId, Outcome};
use crate::node::{LivingName, NodeError, Proved};

/// The time that a block should take, in seconds: expiry times are estimated by it.
const BLOCK_SPACING: i64 = 600;

/// Whose way of asking a call uses, and hence whose way of answering it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Namecoin Core's.
    Core,
    /// Electrum-NMC's.
    Electrum,
}

/// How names and values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encodings {
    /// Names, in and out.
    pub name: Encoding,
    /// Values.
    pub value: Encoding,
}

/// One operation of a name, with the fields of Core's `name_show`.
///
/// Source: Namecoin Core `rpc/names.cpp`, `getNameInfo` and `addExpirationInfo`.
#[derive(Clone, Serialize)]
pub struct EntryJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_error: Option<String>,
    name_encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_error: Option<String>,
    value_encoding: &'static str,
    #[serde(serialize_with = "hash_text")]
    txid: Txid,
    vout: u32,
    address: String,
    height: Height,
    expires_in: i64,
    expired: bool,
}

/// A proven name: Core's fields, Electrum's in its style, then how it was proved.
#[derive(Clone, Serialize)]
pub struct NameJson {
    #[serde(flatten)]
    entry: EntryJson,
    #[serde(flatten)]
    electrum: Option<ElectrumJson>,
    confirmations: Height,
    verified: VerifiedJson,
    /// Why a lookup of the name would not give its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'static str>,
}

/// A name whose newest operation can't be believed: it is somebody's, and nobody can say what its value is.
#[derive(Clone, Serialize)]
struct RefusedJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_error: Option<String>,
    name_encoding: &'static str,
    value_error: String,
    value_encoding: &'static str,
    height: Height,
    expires_in: i64,
    expired: bool,
}

/// What Electrum-NMC adds. Source: Electrum-NMC `commands.py`, `name_show`.
#[derive(Clone, Copy, Serialize)]
struct ElectrumJson {
    expires_time: i64,
    semi_expires_in: i64,
    semi_expires_time: i64,
    semi_expired: bool,
    /// Whether the wallet holds the name: there is none.
    ismine: Option<bool>,
}

/// What an answer stands on beside the name's own operations.
#[derive(Clone, Copy, Debug)]
pub struct Basis {
    /// The block that ages count from.
    pub tip: Tip,
    /// How many headers were taken on the strength of a sample.
    pub unproved: usize,
    /// The lowest of the blocks by which it is so, where nobody was asked.
    pub read_from: Option<Height>,
}

impl From<&Proved> for Basis {
    fn from(proved: &Proved) -> Self {
        Self {
            tip: proved.tip,
            unproved: proved.unproved,
            read_from: proved.read_from,
        }
    }
}

/// The word for answers that no server has a part in.
const LOCAL: &str = "local";

#[derive(Clone, Copy, Serialize)]
struct VerifiedJson {
    /// `full` where each header above the anchor showed its proof of work, `sampled` where a sample of them did.
    headers: &'static str,
    links: usize,
    reached: &'static str,
    oldest_height: Height,
    tip_height: Height,
    #[serde(serialize_with = "hash_text")]
    tip_hash: BlockHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_from: Option<Height>,
}

/// Writes one operation; its age counts from `tip`.
pub fn entry(entry: &ProvenEntry, tip: &Tip, params: &Params, encodings: Encodings) -> EntryJson {
    let (name, name_error) = text(entry.name().as_bytes(), encodings.name);
    let (value, value_error) = text(entry.value().as_bytes(), encodings.value);
    let left = expires_in(entry.height(), tip.height, params);
    EntryJson {
        name,
        name_error,
        name_encoding: encodings.name.as_str(),
        value,
        value_error,
        value_encoding: encodings.value.as_str(),
        txid: entry.txid(),
        vout: entry.vout(),
        address: entry.address().to_owned(),
        height: entry.height(),
        expires_in: left,
        expired: left <= 0,
    }
}

/// Writes a proven name in Core's style.
pub fn name(status: &NameStatus, basis: &Basis, params: &Params, encodings: Encodings) -> NameJson {
    let Basis {
        tip,
        unproved,
        read_from,
    } = basis;
    let proven = &status.name;
    NameJson {
        entry: entry(proven.entry(), tip, params, encodings),
        electrum: None,
        confirmations: status.confirmations,
        verified: VerifiedJson {
            headers: if *unproved == 0 { "full" } else { "sampled" },
            links: proven.links(),
            reached: match proven.reached() {
                Reached::Registration => "registration",
                Reached::Anchor => "anchor",
                Reached::Limit => "limit",
                Reached::Window => "window",
            },
            oldest_height: proven.oldest_height(),
            tip_height: tip.height,
            tip_hash: tip.hash,
            source: read_from.map(|_| LOCAL),
            read_from: *read_from,
        },
        withheld: None,
    }
}

/// Writes a name of those that are kept, as JSON on one line. What a lookup would not give says why.
///
/// # Errors
///
/// The node's, where the name is not even known to be one; an internal one for types that JSON can't express.
pub(super) fn living_name(
    living: &LivingName,
    basis: &Basis,
    params: &Params,
    encodings: Encodings,
) -> Result<CallResult, NodeError> {
    let outcome = match &living.outcome {
        Ok(outcome) => outcome,
        Err(error @ NodeError::NameRefused { height, .. }) => {
            let (name, name_error) = text(living.name.as_bytes(), encodings.name);
            let left = expires_in(*height, basis.tip.height, params);
            return Ok(write(&RefusedJson {
                name,
                name_error,
                name_encoding: encodings.name.as_str(),
                value_error: error.to_string(),
                value_encoding: encodings.value.as_str(),
                height: *height,
                expires_in: left,
                expired: left <= 0,
            }));
        }
        Err(error) => return Err(error.clone()),
    };
    let withheld = match outcome {
        Outcome::SemiExpired(_) => Some("semi-expired"),
        Outcome::Unconfirmed { .. } => Some("unconfirmed"),
        _ => None,
    };
    // Names that are kept have an operation.
    let json = outcome.proven().map(|status| NameJson {
        withheld,
        ..name(status, basis, params, encodings)
    });
    Ok(write(&json))
}

/// Writes a proven name in Electrum's style, in which the whole call fails when an encoding can't express it.
///
/// # Errors
///
/// Code 1 for that.
pub fn electrum_name(
    status: &NameStatus,
    basis: &Basis,
    params: &Params,
    encodings: Encodings,
) -> Result<NameJson, RpcError> {
    let mut json = name(status, basis, params, encodings);
    if let Some(error) = json.entry.name_error.or(json.entry.value_error) {
        return Err(RpcError::new(code::ELECTRUM, error));
    }
    (json.entry.name_error, json.entry.value_error) = (None, None);
    let tip_time = i64::try_from(basis.tip.time.0).unwrap_or(i64::MAX);
    let time_in = |blocks: i64| tip_time.saturating_add(blocks.saturating_mul(BLOCK_SPACING));
    json.electrum = Some(ElectrumJson {
        expires_time: time_in(status.expires_in),
        semi_expires_in: status.semi_expires_in,
        semi_expires_time: time_in(status.semi_expires_in),
        semi_expired: status.semi_expired(),
        ismine: None,
    });
    Ok(json)
}

/// Returns text, or what stands in its place.
fn text(bytes: &[u8], encoding: Encoding) -> (Option<String>, Option<String>) {
    match encoding.encode(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(format!("invalid data for {encoding}"))),
    }
}

/// Says in words why a name has no value. Absence is what servers purport; a proved expiry is a fact.
pub fn explanation(outcome: &Outcome, name: &NameId) -> String {
    let name = quoted(name.as_bytes());
    match outcome {
        Outcome::Found(_) => format!("name found: {name}"),
        Outcome::Expired(status) => {
            format!("name expired: {name} (last updated at height {})", status.name.height())
        }
        Outcome::SemiExpired(status) => format!(
            "name semi-expired: {name} (expires in {} blocks; its owner should have renewed it, so it is not served)",
            status.expires_in
        ),
        Outcome::Unconfirmed { expected, got, .. } => {
            format!(
                "name unconfirmed: {name} (the registration has {got} of {expected} confirmations; try again later)"
            )
        }
        Outcome::LongExpired { height } => {
            format!("name purportedly expired: {name} (last updated at height {height}, long before all headers kept)")
        }
        Outcome::NeverExisted => format!("name purportedly never existed: {name}"),
        Outcome::ProvedAbsent { from } => {
            format!("name never existed or has expired: {name} (proved: no block since height {from} has it)")
        }
    }
}

/// Says in a caller's style why a name has no value: always the same code, by which clients go.
///
/// Core's texts are those of Namecoin Core `rpc/names.cpp`, Electrum's begin as those of Electrum-NMC `commands.py`.
/// Core knows no semi-expired and no unconfirmed names; their texts are ours.
pub fn absence(outcome: &Outcome, name: &NameId, tip: &Tip, style: Style) -> RpcError {
    let quoted = quoted(name.as_bytes());
    let height = outcome.height().unwrap_or_default();
    let at = format!("latest update height {height}, latest verified height {}", tip.height);
    let message = match (outcome, style) {
        (Outcome::NeverExisted, Style::Core) => format!("name never existed: {quoted}"),
        (Outcome::ProvedAbsent { from }, Style::Core) => {
            format!("name never existed or has expired: {quoted} (proved: no block since height {from} has it)")
        }
        (Outcome::ProvedAbsent { from }, Style::Electrum) => {
            format!("Name never existed or has expired (proved: no block since height {from} has it)")
        }
        (Outcome::NeverExisted, Style::Electrum) => "Name purportedly never existed".to_owned(),
        (Outcome::Expired(_) | Outcome::LongExpired { .. }, Style::Core) => format!("name expired: {quoted}"),
        (Outcome::Expired(_) | Outcome::LongExpired { .. }, Style::Electrum) => {
            format!("Name is purportedly expired ({at})")
        }
        (Outcome::SemiExpired(status), Style::Core) => format!(
            "name semi-expired: {quoted} (expires in {} blocks and was not renewed in time)",
            status.expires_in
        ),
        (Outcome::SemiExpired(_), Style::Electrum) => format!("Name is purportedly semi-expired ({at})"),
        (Outcome::Unconfirmed { got, expected, .. }, Style::Core) => {
            format!("name unconfirmed: {quoted} (registered with {got} of {expected} confirmations)")
        }
        (Outcome::Unconfirmed { status, .. }, Style::Electrum) => format!(
            "Name is purportedly unconfirmed (registration height {}, latest verified height {})",
            status.name.oldest_height(),
            tip.height
        ),
        (Outcome::Found(_), _) => format!("name found: {quoted}"),
    };
    RpcError::new(code::NAME, message)
}

/// Says to programs what a proof of absence stands on.
pub(super) fn absence_data(proved: &Proved) -> Option<Value> {
    let Outcome::ProvedAbsent { from } = proved.outcome else {
        return None;
    };
    Some(json!({
        "absence": "proved",
        "source": LOCAL,
        "read_from": from,
        "tip_height": proved.tip.height,
        "tip_hash": proved.tip.hash.to_string(),
    }))
}

#[cfg(test)]
mod tests;
