//! From what is known of a name under one identity to its records.
//!
//! Records are made of a value and of all that it imports. They are kept with the value, in the cache of results
//! ([`crate::service::ResultCache`]), for as long as all of these hold: what lives how long is said there alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::engine::Found;
use super::lookup_result::LookupResult;
use super::zone::{self, Built, Domain, Imported};
use crate::name::{NameId, NameValue};
use crate::service::CacheView;
use crate::time::Moment;

/// What was made of a value: owned by this name, valid until then.
#[derive(Debug)]
struct Records {
    apex: Name,
    domain: Arc<Domain>,
    until: Moment,
}

/// What one question has had looked up itself: it counts, however soon the cache forgets it.
pub type LookedUp = BTreeMap<NameId, LookupResult>;

/// Tells what is known of a name whose records `apex` owns: what the question had looked up itself, else what is
/// remembered.
pub fn find(cache: &mut CacheView<'_>, name: &NameId, apex: &Name, looked_up: &LookedUp) -> Found {
    let now = cache.now();
    let life = |until: Moment| u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX);
    if !looked_up.contains_key(name)
        && let Some(records) = cache.derived::<Records>(name)
        && records.apex == *apex
        && records.until > now
    {
        return Found::Domain(Arc::clone(&records.domain), life(records.until));
    }
    let Some((result, until)) = known(cache, name, looked_up) else {
        return Found::Needs(BTreeSet::from([name.clone()]));
    };
    let value = match result {
        LookupResult::Absent(note) => return Found::Absent(note, life(until)),
        LookupResult::Failed(note) => return Found::Failed(note),
        LookupResult::Value(value) => value,
    };
    match build(cache, name, &value, apex, until, looked_up) {
        Err(found) => found,
        Ok((domain, until)) => {
            let domain = Arc::new(domain);
            let records = Records {
                apex: apex.clone(),
                domain: Arc::clone(&domain),
                until,
            };
            cache.attach(name, Arc::new(records), domain.size());
            Found::Domain(domain, life(until))
        }
    }
}

/// Makes the records of a value; in place of them what is to be said if that can't be done. They hold as long as all that
/// they were made of.
fn build(
    cache: &mut CacheView<'_>,
    name: &NameId,
    value: &NameValue,
    apex: &Name,
    mut until: Moment,
    looked_up: &LookedUp,
) -> Result<(Domain, Moment), Found> {
    let mut imports = BTreeMap::new();
    loop {
        let needed = match zone::build(name, value, apex, &imports) {
            Ok(Built::Domain(domain)) => return Ok((domain, until)),
            Ok(Built::Needs(needed)) => needed,
            Err(_) => {
                let life = until.since(cache.now()).as_secs();
                return Err(Found::Unreadable(u32::try_from(life).unwrap_or(u32::MAX)));
            }
        };
        let mut missing = BTreeSet::new();
        for name in needed {
            let imported = match known(cache, &name, looked_up) {
                None => {
                    missing.insert(name);
                    continue;
                }
                // What could not be looked up is no absent name: records would be missing for no reason.
                Some((LookupResult::Failed(note), _)) => return Err(Found::Failed(note)),
                Some((LookupResult::Absent(_), end)) => {
                    until = until.min(end);
                    Imported::Absent
                }
                Some((LookupResult::Value(value), end)) => {
                    until = until.min(end);
                    Imported::Value(value)
                }
            };
            imports.insert(name, imported);
        }
        if !missing.is_empty() {
            return Err(Found::Needs(missing));
        }
    }
}

fn known(cache: &mut CacheView<'_>, name: &NameId, looked_up: &LookedUp) -> Option<(LookupResult, Moment)> {
    let now = cache.now();
    let remembered = cache.find(name);
    let remembered = remembered.map(|(result, until)| (LookupResult::of(result), until));
    match (looked_up.get(name), remembered) {
        (None, remembered) => remembered,
        (Some(result), Some((same, until))) if same == *result => Some((same, until)),
        // It is forgotten or out of date already, or never was remembered: it holds for this answer.
        (Some(result), _) => Some((result.clone(), now)),
    }
}

#[cfg(test)]
pub(crate) mod memory_tests;
#[cfg(test)]
mod tests;
