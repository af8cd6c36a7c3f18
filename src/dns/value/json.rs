//! JSON read within bounds, part by part.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::ValueError;

/// Deepest array or object that is read, in levels. A map sixteen levels down with a list of lists in it takes 37;
/// what lies deeper is left out and can't make the rest unreadable.
const MAX_DEPTH: usize = 64;

/// A JSON text. Of equal keys of an object the last counts; numbers are doubles.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dns) enum Json {
    /// The text `null`.
    Null,
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
    /// What no item is made of: a truth value, a number no double holds, a string with half a surrogate pair, an
    /// array or object that lies too deep.
    Other,
}

impl Json {
    /// Reads a value; the empty one stands for `{}`, as names that are only held have it.
    ///
    /// Any depth is syntactically fine: the syntax is checked without recursion.
    ///
    /// # Errors
    ///
    /// [`ValueError`] when the bytes are not UTF-8 or not one JSON text.
    pub(in crate::dns) fn read(bytes: &[u8]) -> Result<Self, ValueError> {
        if bytes.is_empty() {
            return Ok(Self::Object(BTreeMap::new()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| ValueError::Syntax)?;
        Ok(Self::part(raw, 0))
    }

    fn part(raw: &RawValue, depth: usize) -> Self {
        let text = raw.get();
        match text.bytes().next() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Self::Other,
            Some(b'{') => serde_json::from_str(text).map_or(Self::Other, |members: BTreeMap<String, &RawValue>| {
                let members = members.into_iter();
                Self::Object(members.map(|(key, raw)| (key, Self::part(raw, depth + 1))).collect())
            }),
            Some(b'[') => serde_json::from_str(text).map_or(Self::Other, |members: Vec<&RawValue>| {
                Self::List(members.into_iter().map(|raw| Self::part(raw, depth + 1)).collect())
            }),
            Some(b'n') => Self::Null,
            Some(b'"') => serde_json::from_str(text).map_or(Self::Other, Self::Text),
            _ => serde_json::from_str(text).map_or(Self::Other, Self::Number),
        }
    }

    /// Returns the member of an object.
    pub(in crate::dns) fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json {
        Json::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(read(""), read("{}"));
        assert_eq!(read(" null "), Json::Null);
        assert_eq!(read("-1.5e1"), Json::Number(-15.0));
        assert_eq!(read("true"), Json::Other);
        assert_eq!(read(r#""\u0041\ud83d\ude00""#), Json::Text("A😀".to_owned()));
        assert_eq!(
            read("[1,[],{}]"),
            Json::List(vec![Json::Number(1.0), Json::List(vec![]), read("{}")])
        );
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(read(r#"{"a":1,"a":[2]}"#), read(r#"{"a":[2]}"#));
    }

    #[test]
    fn what_no_item_is_made_of_harms_nothing_else() {
        let value = read(r#"{"a":1e999,"b":"\ud800","c":"x"}"#);
        assert_eq!(value.member("a"), Some(&Json::Other));
        assert_eq!(value.member("b"), Some(&Json::Other));
        assert_eq!(value.member("c"), Some(&Json::Text("x".to_owned())));
    }

    #[test]
    fn depth_is_bounded_and_harms_nothing_else() {
        for depth in [63, 64, 100, 500, 100_000] {
            let value = read(&format!(r#"{{"a":{}{},"b":1}}"#, "[".repeat(depth), "]".repeat(depth)));
            assert_eq!(value.member("b"), Some(&Json::Number(1.0)));
            let mut inner = value.member("a").unwrap();
            let mut levels = 0;
            while let Json::List(members) = inner {
                let Some(member) = members.first() else { break };
                inner = member;
                levels += 1;
            }
            assert_eq!(inner == &Json::Other, depth >= MAX_DEPTH, "{depth}");
            assert_eq!(levels, (depth - 1).min(MAX_DEPTH - 1), "{depth}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "{",
            "{}x",
            "{'a':1}",
            r#"{"a":1,}"#,
            "[1,]",
            " ",
            "\u{feff}{}",
            "NaN",
            "01",
            "\"\n\"",
        ] {
            assert_eq!(Json::read(text.as_bytes()), Err(ValueError::Syntax), "{text}");
        }
        assert_eq!(Json::read(b"\"\xff\""), Err(ValueError::Encoding));
    }
}
