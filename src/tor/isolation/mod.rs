//! Which streams may be linked with each other: those that Tor itself would put on one circuit.
//!
//! Two streams are compatible when each field that either of them is isolated by has the same value in both, or is lacking
//! in both. A stream joins the first group of which it is compatible with every member, and has that group's isolation ID;
//! with none it founds one. Source: Tor, `connection_edge_compatible_with_circuit`; StemNS, which compares with the founder
//! alone.
//!
//! A group holds the fields that any member is isolated by, in each of which all members agree, and for other fields the
//! value that all have or that they differ: that says as much as comparing with each member. Groups are found by a hash of
//! the former, so that thousands of them cost no more than one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use lru::LruCache;

use super::event::EventFields;
use crate::isolation::IsolationId;

/// Most groups at a time; the one that was joined least lately goes first, and streams that would have joined it found another.
const MAX_GROUPS: usize = 16_384;

/// Most different sets of fields that groups are isolated by: real ones have one for each port with flags of its own.
const MAX_SHAPES: usize = 64;

/// Most fields that a stream is isolated by.
const MAX_ISOLATED: usize = 32;

/// Fields that every stream has whose Tor isolates by them. Where one is lacking something was missed.
const NEVER_LACKING: [&str; 6] = [
    "CLIENTADDR",
    "CLIENTPORT",
    "DESTADDR",
    "DESTPORT",
    "CLIENT_PROTOCOL",
    "SESSION_GROUP",
];

/// A field's name.
type Field = Box<str>;

/// A keyed hash of a field's value, so that no password is held here.
type Digest = [u8; 32];

/// What a stream has, or a group's members have in common.
type Values = BTreeMap<Field, Digest>;

/// The fields that a group is isolated by.
type Shape = BTreeSet<Field>;

/// What the members of groups of one shape have in its fields, in their order.
type Index = HashMap<Vec<Option<Digest>>, BTreeSet<u64>>;

/// The group that a stream was assigned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAssignment {
    /// The group's isolation ID.
    pub id: IsolationId,
    /// Whether no other stream will ever have this ID.
    pub alone: bool,
    /// IDs that no stream will be given any more.
    pub forgotten: Vec<IsolationId>,
}

/// All groups of one nym epoch.
#[derive(Debug)]
pub struct IsolationGroups {
    key: [u8; 32],
    prefix: String,
    counter: u64,
    epoch: Option<u64>,
    by_number: LruCache<u64, Group>,
    shapes: HashMap<Shape, Index>,
}

#[derive(Debug)]
struct Group {
    shape: Shape,
    common: Values,
    /// Fields in which members differ.
    mixed: BTreeSet<Field>,
}

/// A stream as groups see it.
struct Stream {
    isolated: Shape,
    values: Values,
}

impl IsolationGroups {
    /// Begins without groups. `secret` is random; IDs are made of it, so that they tell nothing and nobody can guess them.
    pub fn new(secret: [u8; 64]) -> Self {
        let (key, prefix) = secret.split_at(32);
        Self {
            key: key.try_into().unwrap_or_default(),
            prefix: bitcoin::hex::DisplayHex::to_lower_hex_string(prefix),
            counter: 0,
            epoch: None,
            by_number: LruCache::unbounded(),
            shapes: HashMap::new(),
        }
    }

    /// Returns how many groups there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Forgets all groups, for a new nym epoch or another Tor. Returns their IDs.
    pub fn forget(&mut self) -> Vec<IsolationId> {
        self.epoch = None;
        self.shapes.clear();
        let numbers: Vec<u64> = self.by_number.iter().map(|(number, _)| *number).collect();
        self.by_number.clear();
        numbers.into_iter().map(|number| self.id(number)).collect()
    }

    /// Assigns a stream to a group. Where its fields say too little it has an ID of its own: what might be shared wrongly is
    /// not shared.
    pub fn assign(&mut self, fields: &EventFields) -> GroupAssignment {
        let epoch = fields.get("NYM_EPOCH").and_then(number);
        let (Some(epoch), Some(stream)) = (epoch, self.stream(fields)) else {
            return self.alone();
        };
        let mut forgotten = Vec::new();
        match self.epoch {
            // It came before the last change, and belongs with none that came after.
            Some(current) if epoch < current => return self.alone(),
            Some(current) if epoch > current => forgotten = self.forget(),
            _ => {}
        }
        self.epoch = Some(epoch);
        let number = match self.compatible(&stream) {
            Some(number) => number,
            None if !self.shapes.contains_key(&stream.isolated) && self.shapes.len() >= MAX_SHAPES => {
                return GroupAssignment {
                    forgotten,
                    ..self.alone()
                };
            }
            None => {
                self.counter += 1;
                let group = Group {
                    shape: stream.isolated.clone(),
                    common: stream.values.clone(),
                    mixed: BTreeSet::new(),
                };
                self.insert(self.counter, group);
                self.counter
            }
        };
        self.join(number, stream);
        while self.by_number.len() > MAX_GROUPS {
            let Some(oldest) = self.by_number.peek_lru().map(|(number, _)| *number) else {
                break;
            };
            self.remove(oldest);
            forgotten.push(self.id(oldest));
        }
        GroupAssignment {
            id: self.id(number),
            alone: false,
            forgotten,
        }
    }

    fn alone(&mut self) -> GroupAssignment {
        self.counter += 1;
        GroupAssignment {
            id: self.id(self.counter),
            alone: true,
            forgotten: Vec::new(),
        }
    }

    fn id(&self, number: u64) -> IsolationId {
        IsolationId::new(format!("{}-{number}", self.prefix).as_bytes()).unwrap_or_default()
    }

    fn stream(&self, fields: &EventFields) -> Option<Stream> {
        let isolated = std::str::from_utf8(fields.get("ISO_FIELDS")?).ok()?;
        let isolated: Shape = isolated
            .split(',')
            .filter(|field| !field.is_empty())
            .map(Field::from)
            .collect();
        let lacking = |field: &Field| NEVER_LACKING.contains(&&**field) && fields.get(field).is_none();
        if isolated.len() > MAX_ISOLATED || isolated.iter().any(lacking) {
            return None;
        }
        let values = fields.iter();
        let values = values.map(|(field, value)| (field.into(), self.digest(field, value)));
        Some(Stream {
            isolated,
            values: values.collect(),
        })
    }

    fn digest(&self, field: &str, value: &[u8]) -> Digest {
        let mut engine = HmacEngine::<sha256::Hash>::new(&self.key);
        engine.input(field.as_bytes());
        engine.input(b"=");
        engine.input(value);
        Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
    }

    /// Returns the first group that a stream is compatible with.
    fn compatible(&self, stream: &Stream) -> Option<u64> {
        let of_shape = |(shape, index): (&Shape, &Index)| {
            let mut numbers = index.get(&in_fields(shape, &stream.values))?.iter();
            numbers.find(|number| self.agrees(**number, shape, stream)).copied()
        };
        self.shapes.iter().filter_map(of_shape).min()
    }

    /// Says whether all members have a stream's value in those of its fields that they are not isolated by.
    fn agrees(&self, number: u64, shape: &Shape, stream: &Stream) -> bool {
        let Some(group) = self.by_number.peek(&number) else {
            return false;
        };
        let mut others = stream.isolated.difference(shape);
        others.all(|field| !group.mixed.contains(field) && group.common.get(field) == stream.values.get(field))
    }

    fn insert(&mut self, number: u64, group: Group) {
        let index = self.shapes.entry(group.shape.clone()).or_default();
        let key = in_fields(&group.shape, &group.common);
        index.entry(key).or_default().insert(number);
        self.by_number.put(number, group);
    }

    fn remove(&mut self, number: u64) -> Option<Group> {
        let group = self.by_number.pop(&number)?;
        if let Some(index) = self.shapes.get_mut(&group.shape) {
            let key = in_fields(&group.shape, &group.common);
            if let Some(numbers) = index.get_mut(&key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    index.remove(&key);
                }
            }
            if index.is_empty() {
                self.shapes.remove(&group.shape);
            }
        }
        Some(group)
    }

    /// Adds a stream to a group: it may be isolated by more than the others, and have other values where none is.
    fn join(&mut self, number: u64, stream: Stream) {
        let Some(group) = self.by_number.get_mut(&number) else {
            return;
        };
        let differing = differing(&group.common, &stream.values);
        let tightens = !stream.isolated.is_subset(&group.shape);
        if differing.is_empty() && !tightens {
            return;
        }
        let Some(mut group) = self.remove(number) else { return };
        for field in differing {
            group.common.remove(&field);
            group.mixed.insert(field);
        }
        group.shape.extend(stream.isolated);
        self.insert(number, group);
    }
}

/// Returns the values in the fields of a shape.
fn in_fields(shape: &Shape, values: &Values) -> Vec<Option<Digest>> {
    shape.iter().map(|field| values.get(field).copied()).collect()
}

/// Returns the fields in which two have other values, or only one has any.
fn differing(ours: &Values, theirs: &Values) -> Vec<Field> {
    let fields: BTreeSet<&Field> = ours.keys().chain(theirs.keys()).collect();
    let differs = |field: &&Field| ours.get(*field) != theirs.get(*field);
    fields.into_iter().filter(differs).cloned().collect()
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
