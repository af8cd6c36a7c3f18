//! An object and what its map holds under "", which is read as if it stood in the object itself.

use std::rc::Rc;

use super::target::is_label;
use super::{Json, Key, below};

/// One object of those that make up a place, as it is written.
#[derive(Clone)]
pub(in crate::dns) struct Layer<'a> {
    json: &'a Json,
    path: Rc<str>,
}

/// Returns the layers of an object (or of the string that stands for one), those that win first: itself, the "" of
/// its map, the "" of that one's map.
pub(in crate::dns) fn layers<'a>(json: &'a Json, path: &str) -> Vec<Layer<'a>> {
    let mut layers = Vec::new();
    let mut next = Some((json, Rc::from(path)));
    while let Some((json, path)) = next {
        let inner = json.member("map").and_then(|map| map.member(""));
        next = inner.filter(|inner| is_object(inner)).map(|inner| {
            let path = below(&below(&path, "map"), "");
            (inner, Rc::from(path))
        });
        layers.push(Layer { json, path });
    }
    layers
}

impl<'a> Layer<'a> {
    /// Returns an item by its key, with its path.
    pub(in crate::dns) fn item(&self, key: &str) -> Option<(&'a Json, Rc<str>)> {
        match self.json {
            Json::Text(_) => (key == "ip").then(|| (self.json, Rc::clone(&self.path))),
            json => json.member(key).map(|item| (item, below(&self.path, key).into())),
        }
    }

    /// Returns the items that are present, null or malformed ones too: they hide those that are imported.
    pub(in crate::dns) fn items(&self) -> impl Iterator<Item = (Key, &'a Json, Rc<str>)> {
        Key::ALL.into_iter().filter_map(|(key, spellings)| {
            let mut found = spellings.iter().filter_map(|spelling| self.item(spelling));
            let first = found.next()?;
            let chosen = match first.0 {
                Json::Null => found.find(|(json, _)| **json != Json::Null).unwrap_or(first),
                _ => first,
            };
            Some((key, chosen.0, chosen.1))
        })
    }
}

/// Says whether JSON is a domain name object inside a map: an object, or a string, which is its `ip`.
fn is_object(json: &Json) -> bool {
    matches!(json, Json::Object(_) | Json::Text(_))
}

/// Says whether a key of a map is one that queries can reach: a lowercase label or `*`.
pub(in crate::dns) fn is_map_label(key: &str) -> bool {
    key == "*" || is_label(key)
}
