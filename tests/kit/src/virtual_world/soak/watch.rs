//! What is held against the program by what servers see: whose lookups each connection carries.

use std::collections::{BTreeMap, BTreeSet};

use super::super::record::{Message, Recorder, Side, What};

/// So long after its question was answered, in seconds, a lookup's requests may still be on their way.
const LATE: f64 = 120.0;

/// Who asked for a name, and when.
#[derive(Debug)]
struct Asked {
    id: u32,
    begun: f64,
    ended: f64,
}

/// One connection, as far as it was looked at.
#[derive(Debug, Default)]
struct Carried {
    /// Whose lookups it may have carried: those who asked for each of the names at the time.
    owners: Option<BTreeSet<u32>>,
    is_sync: bool,
}

/// What a connection carried since the last time.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Looked {
    /// When lookups.
    pub(super) uses: Vec<f64>,
    /// Whether there was a sign of life.
    pub(super) is_alive: bool,
}

/// All questions of the last hour, and what connections carried.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By the beginning of the name's scripthash.
    asked: BTreeMap<u64, Vec<Asked>>,
    carried: BTreeMap<usize, Carried>,
    /// Requests of lookups, and those of them that name a name.
    pub(super) requests: u64,
    pub(super) known: u64,
}

impl Watch {
    pub(super) fn begin(&mut self, name: u64, id: u32, now: f64) {
        self.asked.entry(name).or_default().push(Asked {
            id,
            begun: now,
            ended: f64::INFINITY,
        });
    }

    pub(super) fn end(&mut self, name: u64, id: u32, now: f64) {
        let asked = self.asked.entry(name).or_default().iter_mut();
        if let Some(asked) = asked.rev().find(|asked| asked.id == id && asked.ended > now) {
            asked.ended = now;
        }
    }

    pub(super) fn forget_before(&mut self, then: f64) {
        self.asked.retain(|_, asked| {
            asked.retain(|asked| asked.ended + LATE > then);
            !asked.is_empty()
        });
    }

    /// Looks at what a connection carried since the last time.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn look_at(&mut self, connection: usize, recorder: &Recorder) -> Result<Looked, String> {
        let carried = self.carried.entry(connection).or_default();
        let mut looked = Looked::default();
        for message in recorder.take(0) {
            let Message {
                at, from, what, name, ..
            } = message;
            if from != Side::Client {
                continue;
            }
            carried.is_sync |= what == What::Subscription;
            looked.is_alive |= what == What::Ping;
            if what != What::Lookup {
                continue;
            }
            looked.uses.push(at);
            self.requests += 1;
            if carried.is_sync {
                return Err(format!(
                    "connection {connection}: header sync's carries a lookup at {at:.1}"
                ));
            }
            // A transaction says nothing of whose it is.
            let Some(name) = name else { continue };
            self.known += 1;
            let asked = self.asked.get(&name).map(Vec::as_slice).unwrap_or_default();
            let askers = asked.iter().filter(|it| it.begun <= at && at <= it.ended + LATE);
            let askers: BTreeSet<u32> = askers.map(|it| it.id).collect();
            let owners = match carried.owners.take() {
                None => askers.clone(),
                Some(before) => before.intersection(&askers).copied().collect(),
            };
            if owners.is_empty() {
                return Err(format!(
                    "connection {connection}: a lookup at {at:.1} that none of its owners asked for; {} others did",
                    askers.len()
                ));
            }
            carried.owners = Some(owners);
        }
        Ok(looked)
    }

    /// Says whether one of those whose lookups a connection carries asked for anything when it was opened.
    pub(super) fn may_be_opened_for_owner(&self, connection: usize, opened: f64) -> bool {
        let carried = self.carried.get(&connection);
        let Some(owners) = carried.and_then(|carried| carried.owners.as_ref()) else {
            return false;
        };
        let mut asked = self.asked.values().flatten().filter(|it| owners.contains(&it.id));
        asked.any(|it| it.begun <= opened && opened <= it.ended + LATE)
    }

    /// Says whether a connection is one of header sync, as far as it was looked at.
    pub(super) fn is_sync(&self, connection: usize) -> bool {
        self.carried.get(&connection).is_some_and(|carried| carried.is_sync)
    }

    pub(super) fn end_connection(&mut self, connection: usize) {
        self.carried.remove(&connection);
    }

    /// How much is kept.
    pub(super) fn connections(&self) -> usize {
        self.carried.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Truth;
    use super::*;

    const NAMES: [u64; 2] = [0x1111_1111_1111_1111, 0x2222_2222_2222_2222];

    fn request(method: &str, hash: u64) -> String {
        let hash = format!("{hash:016x}").repeat(4);
        format!("{{\"id\":3,\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":[\"{hash}\"]}}\n")
    }

    fn lookup(name: usize) -> String {
        request("blockchain.scripthash.get_history", NAMES[name])
    }

    /// What is found when IDs 1 and 2 ask for the first name, ID 2 for the second one as well, and this is heard.
    fn look(lines: &[String]) -> Result<Looked, String> {
        let mut watch = Watch::default();
        for (name, id) in [(0, 1), (0, 2), (1, 2)] {
            watch.begin(NAMES[name], id, 100.0);
        }
        watch.end(NAMES[1], 2, 110.0);
        let recorder = Recorder::default();
        let truth = Truth { owner: 0, dialed: 90.0 };
        recorder.open(truth, 0, 90.0);
        for line in lines {
            recorder.line(0, 120.0, Side::Client, line.as_bytes());
        }
        watch.look_at(0, &recorder)
    }

    fn used(uses: &[f64]) -> Looked {
        Looked {
            uses: uses.to_vec(),
            is_alive: false,
        }
    }

    #[test]
    fn what_one_of_the_askers_wanted_may_be_on_one_connection() {
        assert_eq!(look(&[lookup(0)]), Ok(used(&[120.0])));
        assert_eq!(look(&[lookup(0), lookup(1), lookup(0)]), Ok(used(&[120.0; 3])));
        let transaction = request("blockchain.transaction.get", 0x3333_3333_3333_3333);
        assert_eq!(look(&[lookup(1), transaction]), Ok(used(&[120.0; 2])));
    }

    #[test]
    fn a_connection_of_two_ids_is_noticed() {
        let mut watch = Watch::default();
        watch.begin(NAMES[0], 1, 100.0);
        watch.begin(NAMES[1], 2, 100.0);
        let recorder = Recorder::default();
        let truth = Truth { owner: 0, dialed: 90.0 };
        recorder.open(truth, 0, 90.0);
        recorder.line(0, 101.0, Side::Client, lookup(0).as_bytes());
        assert_eq!(watch.look_at(0, &recorder), Ok(used(&[101.0])));
        recorder.line(0, 102.0, Side::Client, lookup(1).as_bytes());
        let found = watch.look_at(0, &recorder).unwrap_err();
        assert!(found.contains("none of its owners asked for"), "{found}");
    }

    #[test]
    fn a_name_that_nobody_asked_for_is_noticed() {
        let found = look(&[request("blockchain.name.get_value_proof", 0x4444_4444_4444_4444)]).unwrap_err();
        assert!(found.contains("none of its owners asked for; 0 others did"), "{found}");
    }

    #[test]
    fn a_name_that_is_asked_for_long_after_its_answer_is_noticed() {
        let mut watch = Watch::default();
        watch.begin(NAMES[0], 1, 100.0);
        watch.end(NAMES[0], 1, 101.0);
        let recorder = Recorder::default();
        let truth = Truth { owner: 0, dialed: 90.0 };
        recorder.open(truth, 0, 90.0);
        recorder.line(0, 102.0 + LATE, Side::Client, lookup(0).as_bytes());
        assert!(watch.look_at(0, &recorder).is_err());
    }

    #[test]
    fn whoever_asked_when_a_connection_was_opened_may_have_had_it_opened() {
        let mut watch = Watch::default();
        watch.begin(NAMES[0], 1, 100.0);
        watch.end(NAMES[0], 1, 101.0);
        watch.begin(NAMES[1], 1, 1000.0);
        let recorder = Recorder::default();
        let truth = Truth { owner: 0, dialed: 90.0 };
        recorder.open(truth, 0, 90.0);
        assert!(!watch.may_be_opened_for_owner(0, 100.5), "nobody has it yet");
        recorder.line(0, 1001.0, Side::Client, lookup(1).as_bytes());
        watch.look_at(0, &recorder).unwrap();
        assert!(watch.may_be_opened_for_owner(0, 100.5));
        assert!(watch.may_be_opened_for_owner(0, 101.0 + LATE));
        assert!(!watch.may_be_opened_for_owner(0, 102.0 + LATE));
        assert!(!watch.may_be_opened_for_owner(0, 99.0));
    }

    #[test]
    fn a_lookup_over_a_connection_of_header_sync_is_noticed() {
        let subscription = "{\"id\":1,\"method\":\"blockchain.headers.subscribe\",\"params\":[]}\n".to_owned();
        let found = look(&[subscription, lookup(0)]).unwrap_err();
        assert!(found.contains("header sync's carries a lookup"), "{found}");
    }
}
