//! Who waits for an answer, and for how long.

use std::collections::BTreeMap;

/// Who waited so long for an answer, in seconds, while servers were good and nothing else was wrong, waited too long.
pub(super) const BOUND: f64 = 300.0;

#[derive(Debug)]
struct Asking {
    who: String,
    begun: f64,
    /// How many servers must answer.
    quorum: u8,
    /// What came of the last try.
    last: Option<String>,
}

/// The questions that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Patience {
    asking: BTreeMap<u64, Asking>,
    next: u64,
}

impl Patience {
    pub(super) fn begin(&mut self, who: String, quorum: u8, now: f64) -> u64 {
        self.next += 1;
        let asking = Asking {
            who,
            begun: now,
            quorum,
            last: None,
        };
        self.asking.insert(self.next, asking);
        self.next
    }

    /// A try came to nothing.
    pub(super) fn note_failure(&mut self, number: u64, what: String) {
        if let Some(asking) = self.asking.get_mut(&number) {
            asking.last = Some(what);
        }
    }

    /// Ends a question; returns how long it waited in vain. `since` says from when on a question for so many servers can be
    /// answered.
    pub(super) fn end(&mut self, number: u64, now: f64, since: impl Fn(u8) -> f64) -> f64 {
        let asking = self.asking.remove(&number);
        asking.map_or(0.0, |it| (now - it.begun.max(since(it.quorum))).max(0.0))
    }

    /// Returns who waits for too long.
    ///
    /// # Errors
    ///
    /// The first of them, and what it was told last.
    pub(super) fn check(&self, now: f64, since: impl Fn(u8) -> f64) -> Result<(), String> {
        for asking in self.asking.values() {
            let waited = now - asking.begun.max(since(asking.quorum));
            if waited > BOUND {
                let told = asking.last.as_deref().unwrap_or("was told nothing");
                return Err(format!("{} has no answer after {waited:.0} s, but {told}", asking.who));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_never_told_anything_is_noticed() {
        let mut patience = Patience::default();
        let number = patience.begin("user 1".to_owned(), 1, 1000.0);
        patience.check(1000.0 + BOUND, |_| 0.0).unwrap();
        let found = patience.check(1001.0 + BOUND, |_| 0.0).unwrap_err();
        assert!(
            found.contains("user 1 has no answer after 301 s, but was told nothing"),
            "{found}"
        );
        // Not while there is nobody to answer, or a short time after.
        patience.check(5000.0, |_| f64::INFINITY).unwrap();
        patience.check(5000.0, |_| 4800.0).unwrap();
        assert!(patience.end(number, 5000.0, |_| 4800.0) > 199.0);
        patience.check(9000.0, |_| 0.0).unwrap();
    }

    #[test]
    fn a_quorum_waits_for_as_many_servers() {
        let mut patience = Patience::default();
        let number = patience.begin("user 1".to_owned(), 2, 0.0);
        patience.note_failure(number, "an error".to_owned());
        let since = |quorum| if quorum > 1 { f64::INFINITY } else { 0.0 };
        patience.check(5000.0, since).unwrap();
        let found = patience.check(5000.0, |_| 0.0).unwrap_err();
        assert!(found.contains("but an error"), "{found}");
    }
}
