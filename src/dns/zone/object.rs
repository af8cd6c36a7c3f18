//! Objects with what they import, not yet records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use crate::dns::value::{Json, Key};

/// One object: its items and its map, whatever they came from.
#[derive(Default)]
pub(super) struct Object<'a> {
    /// Items that are present, null ones too.
    pub(super) items: BTreeMap<Key, Item<'a>>,
    /// The map by labels. An entry that is no object is `None`: it hides one that is imported.
    pub(super) map: BTreeMap<&'a str, Option<Self>>,
    /// The map is present but null or malformed: it hides one that is imported.
    pub(super) without_map: bool,
}

/// One item as it is written.
pub(super) struct Item<'a> {
    pub(super) json: Cow<'a, Json>,
    pub(super) path: Rc<str>,
}

impl<'a> Object<'a> {
    /// Adds what another object has and this one hasn't: items by presence, maps label by label.
    pub(super) fn fill_from(&mut self, lower: Self) {
        for (key, item) in lower.items {
            self.items.entry(key).or_insert(item);
        }
        if self.without_map {
            return;
        }
        self.without_map = lower.without_map;
        for (label, object) in lower.map {
            self.add(label, object);
        }
    }

    /// Adds an object of the map below what is there already.
    pub(super) fn add(&mut self, label: &'a str, object: Option<Self>) {
        match self.map.entry(label) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(mut entry) => {
                if let (Some(upper), Some(lower)) = (entry.get_mut(), object) {
                    upper.fill_from(lower);
                }
            }
        }
    }

    /// Returns an item that isn't null.
    pub(super) fn item(&self, key: Key) -> Option<&Item<'a>> {
        self.items.get(&key).filter(|item| *item.json != Json::Null)
    }
}
