//! What Namecoin Core said about every name of the recorded chain, and where our policy is stricter.

use serde_json::Value;

use super::client::Expected;

/// Height of the recorded chain.
pub const TIP: u64 = 480;

/// Names that Core still serves but that are semi-expired: at most 4 blocks are left to renew them.
const SEMI_EXPIRED: [&str; 10] = [
    "",
    "d/expires-in-1",
    "d/expires-in-2",
    "d/latin1-value",
    "d/plain",
    "d/several-1",
    "d/tls",
    "d/value-75",
    "d/value-zero-byte",
    "id/gpg",
];

/// Names that Core serves but whose registration has fewer than 12 confirmations.
const UNCONFIRMED: [&str; 3] = ["d/first-conf-11", "d/first-conf-3", "d/taken-over-recently"];

/// The recorded answers of Namecoin Core about one name.
pub struct Recorded {
    pub hex: String,
    pub show: Expected,
    /// Heights of all operations, oldest first.
    pub heights: Vec<u64>,
    pub history: Expected,
}

/// Returns every name of `names.json`, the unregistered ones too.
pub fn recorded() -> Vec<Recorded> {
    let file: Value = serde_json::from_str(include_str!("../../../vectors/namecoind-regtest/names.json")).unwrap();
    assert_eq!(file["height"], TIP);
    ["names", "unregistered"]
        .into_iter()
        .flat_map(|group| file[group].as_array().unwrap())
        .map(|entry| Recorded {
            hex: entry["name_hex"].as_str().unwrap().to_owned(),
            show: expected_show(entry),
            heights: heights(entry),
            history: match &entry["name_history"]["result"] {
                Value::Null => Expected::Absent("never existed"),
                history => Expected::Found(history.clone()),
            },
        })
        .collect()
}

fn heights(entry: &Value) -> Vec<u64> {
    let history = entry["name_history"]["result"].as_array();
    history
        .into_iter()
        .flatten()
        .map(|update| update["height"].as_u64().unwrap())
        .collect()
}

/// Returns which operation is the newest registration: the first one, or the first after an expiry.
pub fn registration(heights: &[u64]) -> usize {
    let lapse = heights.windows(2).rposition(|pair| pair[1] - pair[0] >= 30);
    lapse.map_or(0, |at| at + 1)
}

fn expected_show(entry: &Value) -> Expected {
    let shown = &entry["name_show_hex"]["result"];
    let name = entry["name"].as_str().unwrap_or("(not printable)");
    if entry["name_show_hex"]["error"]["message"]
        .as_str()
        .is_some_and(|message| message.contains("expired"))
    {
        Expected::Absent("expired")
    } else if shown.is_null() {
        Expected::Absent("never existed")
    } else if SEMI_EXPIRED.contains(&name) {
        Expected::Absent("semi-expired")
    } else if UNCONFIRMED.contains(&name) {
        Expected::Absent("unconfirmed")
    } else {
        Expected::Found(shown.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The lists by name are what the policy says in numbers.
    #[test]
    fn names_that_the_policy_refuses_are_those_listed() {
        let file: Value = serde_json::from_str(include_str!("../../../vectors/namecoind-regtest/names.json")).unwrap();
        let mut refused = BTreeMap::<&str, Vec<&str>>::new();
        for entry in file["names"].as_array().unwrap() {
            let shown = &entry["name_show_hex"]["result"];
            if shown.is_null() {
                continue;
            }
            let heights = heights(entry);
            let registered = heights[registration(&heights)];
            let why = if shown["expires_in"].as_i64().unwrap() <= 4 {
                "semi-expired"
            } else if TIP + 1 - registered < 12 {
                "unconfirmed"
            } else {
                continue;
            };
            refused.entry(why).or_default().push(entry["name"].as_str().unwrap());
        }
        for names in refused.values_mut() {
            names.sort_unstable();
        }
        assert_eq!(
            refused,
            BTreeMap::from([
                ("semi-expired", SEMI_EXPIRED.to_vec()),
                ("unconfirmed", UNCONFIRMED.to_vec())
            ])
        );
    }
}
