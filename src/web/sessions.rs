//! Who uses the page: sessions of browsers, each with an isolation ID of its own.
//!
//! A session begins by a visit with the token, and is then known by two secrets: one in its path, one in a cookie that
//! browsers give back to that path alone. Neither is enough. A cookie by itself goes to every port of a host, so it would
//! reach whatever other user of the machine listens there; what is asked for below a path is in the browser's history.
//!
//! | what | becomes | by |
//! | --- | --- | --- |
//! | nothing | a session | [`Sessions::begin`] |
//! | a session | the one used last | [`Sessions::find`] |
//! | a session | nothing: its isolation ID is to be forgotten | [`Sessions::end`], [`Sessions::expire`], or too many others that were used since |
//! | all | nothing: all identities were forgotten elsewhere | [`Sessions::heed`] |

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use crate::isolation::IsolationId;
use crate::time::Moment;

/// Most sessions at a time.
pub const MAX_SESSIONS: usize = 32;

/// Most lookups that a session shows; the oldest gives way.
pub const MAX_LOOKUPS: usize = 16;

/// How long a session lasts that is not used. What it shows is forgotten with it.
pub const LIFE: Duration = Duration::from_secs(60 * 60);

/// 128 random bits, written as 32 hexadecimal digits. `Debug` hides them.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Makes one of random bits.
    pub fn new(bits: [u8; 16]) -> Self {
        Self(bitcoin::hex::DisplayHex::to_lower_hex_string(&bits))
    }

    /// Says whether it is this, in a time that tells nothing of how much of it is right.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// Returns the digits.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Fresh randomness for one session.
#[derive(Clone)]
pub struct Draw {
    /// For its path.
    pub path: [u8; 16],
    /// For its cookie.
    pub cookie: [u8; 16],
    /// For its isolation ID: nothing that the browser is told, so that nobody has it from there.
    pub identity: [u8; 16],
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draw(..)")
    }
}

/// A browser's session; `L` is a lookup of it.
#[derive(Debug)]
pub struct Session<L> {
    path: Secret,
    cookie: Secret,
    identity: IsolationId,
    used: Moment,
    /// The oldest first.
    lookups: Vec<(u64, L)>,
    next: u64,
}

impl<L> Session<L> {
    /// Returns what its paths begin with.
    pub fn path(&self) -> &Secret {
        &self.path
    }

    /// Returns what its cookie holds.
    pub fn cookie(&self) -> &Secret {
        &self.cookie
    }

    /// Returns whose its lookups are.
    pub fn identity(&self) -> &IsolationId {
        &self.identity
    }

    /// Adds a lookup, and returns its number.
    pub fn add(&mut self, lookup: L) -> u64 {
        if self.lookups.len() >= MAX_LOOKUPS {
            self.lookups.remove(0);
        }
        self.next += 1;
        self.lookups.push((self.next, lookup));
        self.next
    }

    /// Returns the lookup with this number.
    pub fn lookup(&self, number: u64) -> Option<&L> {
        self.lookups
            .iter()
            .find(|(it, _)| *it == number)
            .map(|(_, lookup)| lookup)
    }

    /// Returns all lookups with their numbers, the newest first.
    pub fn lookups(&self) -> impl Iterator<Item = (u64, &L)> {
        self.lookups.iter().rev().map(|(number, lookup)| (*number, lookup))
    }
}

/// All sessions; the one that was used longest ago first.
#[derive(Debug)]
pub struct Sessions<L> {
    live: Vec<Session<L>>,
    /// How often all identities were forgotten.
    renewals: u64,
}

impl<L> Default for Sessions<L> {
    fn default() -> Self {
        Self {
            live: Vec::new(),
            renewals: 0,
        }
    }
}

impl<L> Sessions<L> {
    /// Begins a session. Returns it, and the isolation ID that is to be forgotten where another one gave way to it; `None` where
    /// no session can be (an isolation ID that is too long, which none of these is).
    pub fn begin(&mut self, now: Moment, draw: &Draw) -> Option<(&Session<L>, Option<IsolationId>)> {
        let own = Secret::new(draw.identity);
        let session = Session {
            path: Secret::new(draw.path),
            cookie: Secret::new(draw.cookie),
            identity: IsolationId::new(format!("page-{}", own.digits()).as_bytes())?,
            used: now,
            lookups: Vec::new(),
            next: 0,
        };
        let displaced = (self.live.len() >= MAX_SESSIONS).then(|| self.live.remove(0).identity);
        self.live.push(session);
        Some((self.live.last()?, displaced))
    }

    /// Finds the session with this path whose cookie is among these, and counts it as used. All are compared, so that the time
    /// does not tell which is found.
    pub fn find(&mut self, now: Moment, path: &str, cookies: &[&str]) -> Option<&mut Session<L>> {
        let mut found = None;
        for (at, session) in self.live.iter().enumerate() {
            let has_cookie = cookies
                .iter()
                .fold(false, |has, cookie| session.cookie.is(cookie) | has);
            if session.path.is(path) & has_cookie {
                found = Some(at);
            }
        }
        let mut session = self.live.remove(found?);
        session.used = now;
        self.live.push(session);
        self.live.last_mut()
    }

    /// Ends all sessions where all identities of the process were forgotten since this was called last: what is shown goes
    /// with them. `renewals` is how often they were.
    pub fn heed(&mut self, renewals: u64) {
        if renewals != self.renewals {
            self.renewals = renewals;
            self.live.clear();
        }
    }

    /// Ends a session. Returns the isolation ID that is to be forgotten.
    pub fn end(&mut self, path: &str) -> Option<IsolationId> {
        let at = self.live.iter().position(|session| session.path.is(path))?;
        Some(self.live.remove(at).identity)
    }

    /// Ends all that were not used for [`LIFE`]. Returns the isolation IDs that are to be forgotten.
    pub fn expire(&mut self, now: Moment) -> Vec<IsolationId> {
        let is_over = |session: &mut Session<L>| now.since(session.used) >= LIFE;
        self.live
            .extract_if(.., is_over)
            .map(|session| session.identity)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn draw(number: u8) -> Draw {
        Draw {
            path: [number; 16],
            cookie: [number ^ 0x80; 16],
            identity: [number ^ 0x40; 16],
        }
    }

    fn begin(sessions: &mut Sessions<u32>, now: u64, number: u8) -> (String, String, Option<IsolationId>) {
        let (session, displaced) = sessions.begin(Moment(now), &draw(number)).unwrap();
        let secrets = [session.path(), session.cookie()].map(|it| it.digits().to_owned());
        let [path, cookie] = secrets;
        (path, cookie, displaced)
    }

    fn find<'a>(sessions: &'a mut Sessions<u32>, path: &str, cookie: &str) -> Option<&'a mut Session<u32>> {
        sessions.find(Moment(0), path, &[cookie])
    }

    #[test]
    fn both_secrets_are_needed_and_those_of_one_session() {
        let mut sessions = Sessions::default();
        let (path, cookie, _) = begin(&mut sessions, 0, 1);
        let (other_path, other_cookie, _) = begin(&mut sessions, 0, 2);
        assert!(find(&mut sessions, &path, &cookie).is_some());
        assert!(find(&mut sessions, &other_path, &other_cookie).is_some());
        for (path, cookie) in [
            (&*path, &*other_cookie),
            (&*other_path, &*cookie),
            (&*path, ""),
            ("", &*cookie),
            (&*path, &cookie[..31]),
            (&*cookie, &*path),
        ] {
            assert!(find(&mut sessions, path, cookie).is_none(), "{path} {cookie}");
        }
        // What another port of the host has planted stands beside it.
        let cookies = ["planted", &other_cookie, &cookie];
        assert!(sessions.find(Moment(0), &path, &cookies).is_some());
    }

    #[test]
    fn identities_are_nobodys_but_their_sessions() {
        let mut sessions = Sessions::<u32>::default();
        let mut seen = BTreeSet::new();
        for number in 0..20 {
            let (path, cookie, _) = begin(&mut sessions, 0, number);
            let session = find(&mut sessions, &path, &cookie).unwrap();
            let id = String::from_utf8(session.identity().as_bytes().to_vec()).unwrap();
            assert!(!id.contains(&path) && !id.contains(&cookie));
            assert!(seen.insert(id));
            assert!(!format!("{session:?}").contains(&path));
        }
    }

    #[test]
    fn the_one_that_was_used_longest_ago_gives_way() {
        let mut sessions = Sessions::default();
        let (path, cookie, _) = begin(&mut sessions, 0, 0);
        let second = begin(&mut sessions, 0, 1);
        for number in 2..u8::try_from(MAX_SESSIONS).unwrap() {
            assert_eq!(begin(&mut sessions, 0, number).2, None);
        }
        assert!(find(&mut sessions, &path, &cookie).is_some());
        let displaced = begin(&mut sessions, 0, 200).2.unwrap();
        assert!(find(&mut sessions, &second.0, &second.1).is_none());
        assert!(find(&mut sessions, &path, &cookie).is_some());
        assert_eq!(displaced.as_bytes(), format!("page-{}", "41".repeat(16)).as_bytes());
    }

    #[test]
    fn sessions_end_when_they_are_told_to_or_are_left_alone() {
        let mut sessions = Sessions::default();
        let life = u64::try_from(LIFE.as_millis()).unwrap();
        let (path, cookie, _) = begin(&mut sessions, 0, 1);
        let (left, ..) = begin(&mut sessions, 1, 2);
        assert!(sessions.find(Moment(life / 2), &path, &[&*cookie]).is_some());
        assert_eq!(sessions.expire(Moment(life)).len(), 0);
        assert_eq!(sessions.expire(Moment(life + 1)).len(), 1);
        assert!(sessions.end(&left).is_none());
        assert!(sessions.end(&path).is_some());
        assert!(sessions.end(&path).is_none());
        assert!(find(&mut sessions, &path, &cookie).is_none());
    }

    #[test]
    fn none_outlives_a_new_identity_for_all() {
        let mut sessions = Sessions::default();
        sessions.heed(0);
        let (path, cookie, _) = begin(&mut sessions, 0, 1);
        sessions.heed(0);
        assert!(find(&mut sessions, &path, &cookie).is_some());
        sessions.heed(1);
        assert!(find(&mut sessions, &path, &cookie).is_none());
    }

    #[test]
    fn a_session_shows_its_newest_lookups() {
        let mut sessions = Sessions::default();
        let (path, cookie, _) = begin(&mut sessions, 0, 1);
        let session = find(&mut sessions, &path, &cookie).unwrap();
        let most = u32::try_from(MAX_LOOKUPS).unwrap();
        let numbers: Vec<u64> = (0..=most).map(|it| session.add(it)).collect();
        assert_eq!(session.lookup(numbers[0]), None);
        assert_eq!(session.lookup(numbers[1]), Some(&1));
        assert_eq!(session.lookups().next(), Some((*numbers.last().unwrap(), &most)));
        assert_eq!(session.lookups().count(), MAX_LOOKUPS);
    }

    proptest! {
        #[test]
        fn there_are_never_too_many(steps in prop::collection::vec((0_u8..3, any::<u8>(), 0_u64..10_000_000), 0..200)) {
            let mut sessions = Sessions::<u32>::default();
            let mut now = 0;
            for (step, number, pause) in steps {
                now += pause;
                match step {
                    0 => {
                        sessions.begin(Moment(now), &draw(number));
                    }
                    1 => {
                        sessions.end(Secret::new([number; 16]).digits());
                    }
                    _ => {
                        sessions.expire(Moment(now));
                    }
                }
                prop_assert!(sessions.live.len() <= MAX_SESSIONS);
                prop_assert!(sessions.live.is_sorted_by_key(|session| session.used));
            }
        }
    }
}
