//! JSON values as they were written: members in order and repeated keys kept, so that nothing is dropped unseen.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value. `Debug` shows its type alone: it may hold a name or an isolation ID.
#[derive(Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object's members, in order; a key may come twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Returns the word for the type in error messages. Source: Namecoin Core `univalue`, `uvTypeName`.
    pub const fn type_word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_word())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_kept_in_order() {
        let Json::Object(members) = serde_json::from_str(r#"{"b":1,"a":null,"b":"x"}"#).unwrap() else {
            panic!("an object")
        };
        let keys: Vec<_> = members
            .iter()
            .map(|(key, value)| (key.as_str(), value.type_word()))
            .collect();
        assert_eq!(keys, [("b", "number"), ("a", "null"), ("b", "string")]);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(serde_json::from_str::<Json>(&deep(100)).is_ok());
        assert!(serde_json::from_str::<Json>(&deep(200)).is_err());
        assert!(serde_json::from_str::<Json>(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn debug_shows_types_alone() {
        assert_eq!(format!("{:?}", Json::String("secret".to_owned())), "string");
    }
}
