//! Imports: from values as written to one tree of objects.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::object::{Item, Object};
use crate::dns::value::bounds::{MAX_IMPORT_DEPTH, MAX_IMPORTS, MAX_MAP_DEPTH, MAX_OBJECTS};
use crate::dns::value::{
    Import, Json, Key, Layer, Problems, Reason, below, imports, is_map_label, layers, onions, step,
};
use crate::name::{NameId, encoding};

/// Where an onion service's address is looked up. Source: ncprop279.
const TOR: &str = "_tor";

/// What is known of a name's value.
pub(super) enum Source {
    /// An object.
    Object(Json),
    /// No JSON, or JSON but no object.
    Unreadable,
    /// There is no such name.
    Absent,
}

/// Puts the objects of one domain together.
pub(super) struct Expansion<'a, 'p> {
    /// The values at hand, the domain's own among them.
    values: &'a BTreeMap<&'a NameId, Source>,
    /// How many names may still be looked up.
    budget: usize,
    needs: BTreeSet<NameId>,
    objects: usize,
    problems: &'p mut Problems,
}

/// Where an object stands.
#[derive(Clone, Copy)]
struct Position {
    /// Levels below the top.
    map: usize,
    /// Imports that led here.
    import: usize,
}

impl<'a, 'p> Expansion<'a, 'p> {
    /// Starts with the values at hand; `looked_up` of them were looked up to be imported.
    pub(super) fn new(values: &'a BTreeMap<&'a NameId, Source>, looked_up: usize, problems: &'p mut Problems) -> Self {
        Self {
            values,
            budget: MAX_IMPORTS.saturating_sub(looked_up),
            needs: BTreeSet::new(),
            objects: 0,
            problems,
        }
    }

    /// Returns the tree of a name's value. When names have to be looked up first, it returns them instead.
    pub(super) fn domain(mut self, name: &NameId, value: &'a Json) -> Result<Object<'a>, BTreeSet<NameId>> {
        let top = Position { map: 0, import: 0 };
        let object = self.object(value, "", top, &mut BTreeSet::from([name.clone()]));
        if self.needs.is_empty() {
            Ok(object)
        } else {
            Err(self.needs)
        }
    }

    /// Reads one object. `done` are the names that went into it already: none is imported twice.
    fn object(&mut self, json: &'a Json, path: &str, at: Position, done: &mut BTreeSet<NameId>) -> Object<'a> {
        let layers = layers(json, path);
        self.objects = self.objects.saturating_add(layers.len());
        let delegated = self.imported(&layers, "delegate", at, done);
        if let Some(object) = delegated {
            return object;
        }
        let mut object = Object::default();
        for layer in &layers {
            for (key, json, path) in layer.items() {
                let json = Cow::Borrowed(json);
                object.items.entry(key).or_insert(Item { json, path });
            }
            self.map(&mut object, layer, at);
        }
        self.onions(&mut object, at);
        if let Some(imported) = self.imported(&layers, "import", at, done) {
            object.fill_from(imported);
        }
        object
    }

    /// Reads the map of one layer into the object.
    fn map(&mut self, object: &mut Object<'a>, layer: &Layer<'a>, at: Position) {
        let Some((json, path)) = layer.item("map") else {
            return;
        };
        let Json::Object(members) = json else {
            object.without_map = true;
            if *json != Json::Null {
                self.problems.add(&*path, Reason::Form { expected: "an object" });
            }
            return;
        };
        for (label, json) in members {
            let path = below(&path, label);
            let is_object = matches!(json, Json::Object(_) | Json::Text(_));
            if !is_object && *json != Json::Null {
                let expected = "an object or a string";
                self.problems.add(path.as_str(), Reason::Form { expected });
            }
            if label.is_empty() {
                continue; // a layer of its own
            }
            if !is_map_label(label) {
                self.problems.add(path, Reason::Label);
            } else if at.map >= MAX_MAP_DEPTH {
                self.problems.add(path, Reason::MapDepth);
            } else {
                let at = Position { map: at.map + 1, ..at };
                let child = is_object.then(|| self.object(json, &path, at, &mut BTreeSet::new()));
                object.add(label, child);
            }
        }
    }

    /// Reads `tor` as if it were the `txt` of `_tor`, unless that has one. What is hidden is hidden alike: a `tor`
    /// of null hides an imported one, as would `"_tor":{"txt":null}`.
    fn onions(&mut self, object: &mut Object<'a>, at: Position) {
        let Some(item) = object.items.get(&Key::Tor) else {
            return;
        };
        if at.map >= MAX_MAP_DEPTH {
            return;
        }
        let addresses = onions(&item.json, &mut self.problems.at(&item.path));
        let txt = Item {
            json: Cow::Owned(Json::List(addresses)),
            path: Rc::clone(&item.path),
        };
        let items = BTreeMap::from([(Key::Txt, txt)]);
        let child = Object {
            items,
            ..Object::default()
        };
        object.add(TOR, Some(child));
    }

    /// Returns what an `import` or `delegate` item gives, the later imports winning; `None` when none succeeds.
    fn imported(
        &mut self,
        layers: &[Layer<'a>],
        key: &str,
        at: Position,
        done: &mut BTreeSet<NameId>,
    ) -> Option<Object<'a>> {
        let (json, path) = layers.iter().find_map(|layer| layer.item(key))?;
        let mut found: Option<Object<'a>> = None;
        for import in imports(json, &mut self.problems.at(&path)) {
            let inner = Self::path_of(&path, &import);
            match self.find(&import, at, done) {
                Ok(Some(json)) => {
                    done.insert(import.name);
                    let import = at.import + 1;
                    let mut object = self.object(json, &inner, Position { import, ..at }, done);
                    if let Some(earlier) = found.take() {
                        object.fill_from(earlier);
                    }
                    found = Some(object);
                }
                Ok(None) => {}
                Err(reason) => self.problems.add(inner, reason),
            }
        }
        found
    }

    fn path_of(path: &str, import: &Import) -> String {
        let name = encoding::quoted(import.name.as_bytes());
        let name = name.trim_matches('\'');
        let mut shown = format!("{path}({name})");
        for label in import.selector.rsplit('.').filter(|label| !label.is_empty()) {
            shown = below(&below(&shown, "map"), label);
        }
        shown
    }

    /// Returns the object to import; `None` when its name has to be looked up first.
    fn find(&mut self, import: &Import, at: Position, done: &BTreeSet<NameId>) -> Result<Option<&'a Json>, Reason> {
        if done.contains(&import.name) {
            return Err(Reason::ImportRepeated);
        }
        if at.import >= MAX_IMPORT_DEPTH {
            return Err(Reason::ImportDepth);
        }
        if self.objects >= MAX_OBJECTS {
            return Err(Reason::ObjectCount);
        }
        let top = match self.values.get(&import.name) {
            Some(Source::Object(json)) => json,
            Some(Source::Unreadable) => return Err(Reason::ImportUnreadable),
            Some(Source::Absent) => return Err(Reason::ImportAbsent),
            None => return self.need(&import.name).map(|()| None),
        };
        let mut labels = import.selector.rsplit('.').filter(|_| !import.selector.is_empty());
        let object = labels.try_fold(top, step);
        object.map(Some).ok_or_else(|| Reason::ImportSelector {
            selector: import.selector.clone(),
        })
    }

    fn need(&mut self, name: &NameId) -> Result<(), Reason> {
        if self.needs.len() >= self.budget && !self.needs.contains(name) {
            return Err(Reason::ImportCount);
        }
        self.needs.insert(name.clone());
        Ok(())
    }
}
