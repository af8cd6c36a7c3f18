//! The JSON of a name: Namecoin Core's fields in Core's order, then ours.

use serde_json::{Map, Value, json};

use isonym::chain::{HeaderTree, Tip};
use isonym::name::Encoding;
use isonym::name::policy::{NameStatus, expires_in};
use isonym::name::proof::{ProvenEntry, Reached};

/// How names and values are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encodings {
    pub(crate) name: Encoding,
    pub(crate) value: Encoding,
}

/// Writes one operation with Core's fields of `name_show`.
///
/// Source: Namecoin Core `rpc/names.cpp`, `getNameInfo` and `addExpirationInfo`.
pub(crate) fn entry(entry: &ProvenEntry, tree: &HeaderTree, encodings: Encodings) -> Map<String, Value> {
    let mut object = Map::new();
    put_text(&mut object, "name", entry.name().as_bytes(), encodings.name);
    put_text(&mut object, "value", entry.value().as_bytes(), encodings.value);
    let left = expires_in(entry.height(), tree.tip().height, tree.params());
    object.insert("txid".to_owned(), json!(entry.txid().to_string()));
    object.insert("vout".to_owned(), json!(entry.vout()));
    object.insert("address".to_owned(), json!(entry.address()));
    object.insert("height".to_owned(), json!(entry.height()));
    object.insert("expires_in".to_owned(), json!(left));
    object.insert("expired".to_owned(), json!(left <= 0));
    object
}

/// Writes a proven name: Core's fields, then `confirmations` and `verified`.
pub(crate) fn name(status: &NameStatus, tree: &HeaderTree, encodings: Encodings) -> Value {
    let name = &status.name;
    let mut object = entry(name.entry(), tree, encodings);
    let Tip { height, hash, .. } = tree.tip();
    object.insert("confirmations".to_owned(), json!(status.confirmations));
    let reached = match name.reached() {
        Reached::Registration => "registration",
        Reached::Anchor => "anchor",
        Reached::Limit => "limit",
    };
    let verified = json!({
        "links": name.links(),
        "reached": reached,
        "oldest_height": name.oldest_height(),
        "tip_height": height,
        "tip_hash": hash.to_string(),
    });
    object.insert("verified".to_owned(), verified);
    Value::Object(object)
}

fn put_text(object: &mut Map<String, Value>, key: &str, bytes: &[u8], encoding: Encoding) {
    match encoding.encode(bytes) {
        Ok(text) => object.insert(key.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{key}_error"), json!(format!("invalid data for {encoding}"))),
    };
    object.insert(format!("{key}_encoding"), json!(encoding.as_str()));
}
