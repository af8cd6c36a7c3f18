//! Imports: from values as written to one tree of objects.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::object::{Item, Object};
use crate::dns::value::bounds::{MAX_IMPORT_DEPTH, MAX_IMPORTS, MAX_MAP_DEPTH, MAX_OBJECTS};
use crate::dns::value::{Import, Json, Key, Layer, Problems, Reason, below, imports, is_map_label, layers, onions};
use crate::name::{NameId, encoding};

/// The label that answers for labels which a map lacks.
const WILDCARD: &str = "*";

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
        let object = self.object(value, "", top, &[], &mut BTreeSet::from([name.clone()]));
        if self.needs.is_empty() {
            Ok(object)
        } else {
            Err(self.needs)
        }
    }

    /// Reads one object. `done` are the names that went into it already: none is imported twice.
    ///
    /// Where a selector leads on from here, `path_on` are the labels that it goes by: then nothing is read of the map but
    /// what may lie on the way.
    fn object(
        &mut self,
        json: &'a Json,
        path: &str,
        at: Position,
        path_on: &[&str],
        done: &mut BTreeSet<NameId>,
    ) -> Object<'a> {
        let layers = layers(json, path);
        self.objects = self.objects.saturating_add(layers.len());
        let delegated = self.imported(&layers, "delegate", at, path_on, done);
        if let Some(object) = delegated {
            return object;
        }
        let mut object = Object::default();
        for layer in &layers {
            for (key, json, path) in layer.items() {
                let json = Cow::Borrowed(json);
                object.items.entry(key).or_insert(Item { json, path });
            }
            self.map(&mut object, layer, at, path_on, done);
        }
        self.onions(&mut object, at);
        if let Some(imported) = self.imported(&layers, "import", at, path_on, done) {
            object.fill_from(imported);
        }
        object
    }

    /// Reads the map of one layer into the object.
    fn map(
        &mut self,
        object: &mut Object<'a>,
        layer: &Layer<'a>,
        at: Position,
        path_on: &[&str],
        done: &BTreeSet<NameId>,
    ) {
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
        let (next, further) = match path_on.split_first() {
            Some((next, further)) => (Some(*next), further),
            None => (None, &[][..]),
        };
        let is_on_path = |label: &str| next.is_none_or(|next| label == next || label == WILDCARD);
        for (label, json) in members.iter().filter(|(label, _)| is_on_path(label)) {
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
                // What a selector passes stands nowhere, and so is no level; the names on its way must not come again.
                let (levels, mut done) = match next {
                    Some(_) => (0, done.clone()),
                    None => (1, BTreeSet::new()),
                };
                let map = at.map + levels;
                let child = is_object.then(|| self.object(json, &path, Position { map, ..at }, further, &mut done));
                object.add(label, child);
            }
        }
    }

    /// Reads `tor` as if it were the `txt` of `_tor`, unless that has one. What is hidden is hidden alike: a `tor`
    /// of null hides an imported one, as would `"_tor":{"txt":null}`. The item stays with its addresses.
    fn onions(&mut self, object: &mut Object<'a>, at: Position) {
        let Some(item) = object.items.get_mut(&Key::Tor) else {
            return;
        };
        let addresses = onions(&item.json, &mut self.problems.at(&item.path));
        item.json = Cow::Owned(Json::List(addresses));
        if at.map >= MAX_MAP_DEPTH {
            return;
        }
        let txt = Item {
            json: item.json.clone(),
            path: Rc::clone(&item.path),
        };
        let items = BTreeMap::from([(Key::Txt, txt)]);
        let child = Object {
            items,
            ..Object::default()
        };
        object.add(TOR, Some(child));
    }

    /// Returns what an `import` or `delegate` item gives, the earlier imports winning; `None` when none succeeds.
    ///
    /// An imported value's own imports are done before a selector is applied to it. Source: IFA-0001, "import".
    fn imported(
        &mut self,
        layers: &[Layer<'a>],
        key: &str,
        at: Position,
        path_on: &[&str],
        done: &mut BTreeSet<NameId>,
    ) -> Option<Object<'a>> {
        let (json, path) = layers.iter().find_map(|layer| layer.item(key))?;
        let mut found: Option<Object<'a>> = None;
        for import in imports(json, &mut self.problems.at(&path)) {
            let inner = Self::path_of(&path, &import);
            let json = match self.find(&import, at, done) {
                Ok(Some(json)) => json,
                Ok(None) => continue,
                Err(reason) => {
                    self.problems.add(inner, reason);
                    continue;
                }
            };
            let selector: Vec<&str> = import.labels().collect();
            let at = Position {
                import: at.import + 1,
                ..at
            };
            let way = [selector.as_slice(), path_on].concat();
            done.insert(import.name.clone());
            let whole = self.object(json, &inner, at, &way, done);
            let Some(object) = self.select(whole, &selector, &inner) else {
                let selector = import.selector.clone();
                self.problems.add(inner, Reason::ImportSelector { selector });
                continue;
            };
            match &mut found {
                Some(earlier) => {
                    self.tell_of_twice(earlier, &object);
                    earlier.fill_from(object);
                }
                None => found = Some(object),
            }
        }
        found
    }

    /// Takes the object at a selector out of an imported one. A label that its map lacks is answered by the map's `*`.
    /// Source: IFA-0001, "import".
    fn select(&mut self, whole: Object<'a>, selector: &[&str], path: &str) -> Option<Object<'a>> {
        let mut object = whole;
        for label in selector {
            object = if let Some(child) = object.map.remove::<str>(label) {
                child?
            } else {
                let any = object.map.remove::<str>(WILDCARD)??;
                let label = (*label).to_owned();
                self.problems.add(path, Reason::SelectorWildcard { label });
                any
            };
        }
        Some(object)
    }

    /// Tells the owner of items that two imports give, of which the first counts.
    fn tell_of_twice(&mut self, earlier: &Object<'a>, later: &Object<'a>) {
        for item in later.items.iter().filter(|(key, _)| earlier.items.contains_key(key)) {
            self.problems.add(&*item.1.path, Reason::EarlierImport);
        }
    }

    fn path_of(path: &str, import: &Import) -> String {
        let name = encoding::quoted(import.name.as_bytes());
        format!("{path}({})", name.trim_matches('\''))
    }

    /// Returns the value to import from; `None` when its name has to be looked up first.
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
        match self.values.get(&import.name) {
            Some(Source::Object(json)) => Ok(Some(json)),
            Some(Source::Unreadable) => Err(Reason::ImportUnreadable),
            Some(Source::Absent) => Err(Reason::ImportAbsent),
            None => self.need(&import.name).map(|()| None),
        }
    }

    fn need(&mut self, name: &NameId) -> Result<(), Reason> {
        if self.needs.len() >= self.budget && !self.needs.contains(name) {
            return Err(Reason::ImportCount);
        }
        self.needs.insert(name.clone());
        Ok(())
    }
}
