//! Clients of every manner, in virtual time.

use super::*;

const CONN: ConnId = ConnId(1);
const OTHER: ConnId = ConnId(2);

/// 2016 full headers of 800 bytes as hex in a reply.
const FULL_CHUNK: usize = 3_225_700;

/// The same number, cut to 80 bytes.
const CUT_CHUNK: usize = 322_650;

/// One server and its clients, on a clock that only waiting moves.
struct Desk {
    accounts: Accounts,
    now: Moment,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        let now = Moment(1000);
        let mut accounts = Accounts::new(limits, now);
        accounts.open(CONN, now);
        Self { accounts, now }
    }

    fn send(&mut self, conn: ConnId, line: &str) {
        self.accounts.receive(conn, self.now, line.as_bytes().to_vec());
    }

    /// Waits for the next request to be dealt with, and answers it if that is the verdict.
    fn serve(&mut self, conn: ConnId, price: Cost, bytes: usize) -> Admitted {
        self.now = self.now.max(self.accounts.next(conn).expect("a request waits"));
        let admitted = self.accounts.take(conn, self.now).expect("its time has come");
        if admitted.refusal.is_none() {
            self.accounts.handled(conn, self.now, price);
            self.accounts.sent(conn, self.now, bytes);
        }
        admitted
    }

    /// Asks again and again, one request after the other; returns how many replies came before the refusal.
    fn replies(&mut self, conn: ConnId, price: Cost, bytes: usize) -> usize {
        let mut replies = 0;
        loop {
            self.send(conn, &"x".repeat(89));
            match self.serve(conn, price, bytes).refusal {
                None => replies += 1,
                Some(Refusal::Debt) => return replies,
                Some(Refusal::Busy) => panic!("one request at a time is never busy"),
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.since(Moment(1000))
    }
}

/// As seen on a real server: the fifteenth reply came after some 2.4 seconds, the refusal after 16.8 in all.
#[test]
fn fifteen_chunks_of_full_headers_are_served_and_the_sixteenth_is_refused() {
    let mut desk = Desk::new(Limits::default());
    let replies = desk.replies(CONN, Cost::thousandths(40_320), FULL_CHUNK);
    assert_eq!(replies, 15);
    let seconds = desk.elapsed().as_secs_f64();
    assert!((15.5..16.8).contains(&seconds), "{seconds}");
}

#[test]
fn all_headers_since_the_anchor_fit_into_one_session_when_cut() {
    let mut desk = Desk::new(Limits::default());
    for _ in 0..37_000_usize.div_ceil(2016) {
        desk.send(CONN, &"x".repeat(96));
        let admitted = desk.serve(CONN, Cost::thousandths(41_320), CUT_CHUNK);
        assert_eq!(admitted.refusal, None);
    }
    let owed = desk.accounts.owed(CONN);
    assert!((Cost::units(1900)..Cost::units(2100)).contains(&owed), "{owed:?}");
    assert!(desk.elapsed() < Duration::from_secs(3), "{:?}", desk.elapsed());
}

#[test]
fn requests_up_to_the_soft_limit_do_not_wait() {
    let mut desk = Desk::new(Limits::default());
    for _ in 0..10 {
        desk.send(CONN, "x");
    }
    for _ in 0..10 {
        desk.serve(CONN, Cost::units(90), 0);
    }
    assert_eq!(desk.elapsed(), Duration::ZERO);
    desk.send(CONN, "x");
    desk.serve(CONN, Cost::units(1000), 0);
    assert_eq!(desk.elapsed(), Duration::ZERO);
    desk.send(CONN, "x");
    desk.serve(CONN, Cost::ZERO, 0);
    assert!(desk.elapsed() > Duration::from_millis(200));
}

#[test]
fn waits_of_pipelined_requests_overlap_as_far_as_concurrency_goes() {
    let mut desk = Desk::new(Limits::default());
    // Half way between the limits: five at once, each after 1.25 seconds.
    desk.send(CONN, "x");
    desk.serve(CONN, Cost::units(5495), 0);
    let mut times = Vec::new();
    for _ in 0..11 {
        desk.send(CONN, "x");
    }
    for _ in 0..11 {
        desk.serve(CONN, Cost::ZERO, 0);
        times.push(desk.elapsed().as_millis());
    }
    // The ten places of the beginning are given up one by one only as requests leave them; the first has done so.
    assert_eq!(times, [[1250; 9].as_slice(), &[2500; 2]].concat());
    for _ in 0..6 {
        desk.send(CONN, "x");
    }
    times.clear();
    for _ in 0..6 {
        desk.serve(CONN, Cost::ZERO, 0);
        times.push(desk.elapsed().as_millis());
    }
    assert_eq!(times, [3750, 3750, 3750, 3750, 3750, 5000]);
}

#[test]
fn debt_is_paid_back_by_one_unit_each_second() {
    let mut desk = Desk::new(Limits::default());
    desk.send(CONN, "x");
    desk.serve(CONN, Cost::units(5000), 0);
    desk.now = desk.now + PERIOD;
    assert_eq!(desk.accounts.take(CONN, desk.now), None);
    let owed = desk.accounts.owed(CONN);
    assert!((Cost::units(4704)..=Cost::units(4706)).contains(&owed), "{owed:?}");
    desk.now = desk.now + Duration::from_secs(3600 * 2);
    assert_eq!(desk.accounts.take(CONN, desk.now), None);
    assert_eq!(desk.accounts.owed(CONN), Cost::ZERO);
}

#[test]
fn a_new_connection_starts_afresh_unless_its_subnet_shares_the_debt() {
    for (sharing, expected) in [(Sharing::Nobody, 15), (Sharing::All, 0)] {
        let mut desk = Desk::new(Limits {
            sharing,
            ..Limits::default()
        });
        assert_eq!(desk.replies(CONN, Cost::thousandths(40_320), FULL_CHUNK), 15);
        desk.accounts.close(CONN, desk.now);
        desk.accounts.open(OTHER, desk.now);
        assert_eq!(desk.replies(OTHER, Cost::thousandths(40_320), FULL_CHUNK), expected);
    }
}

#[test]
fn connections_of_one_subnet_are_refused_together() {
    let mut desk = Desk::new(Limits {
        sharing: Sharing::All,
        ..Limits::default()
    });
    desk.accounts.open(OTHER, desk.now);
    let mut replies = 0;
    'both: loop {
        for conn in [CONN, OTHER] {
            desk.send(conn, "x");
            if desk.serve(conn, Cost::thousandths(40_320), FULL_CHUNK).refusal == Some(Refusal::Debt) {
                break 'both;
            }
            replies += 1;
        }
    }
    assert!((14..=16).contains(&replies), "{replies}");
}

#[test]
fn what_ended_connections_owe_is_forgotten_twice_as_fast() {
    let mut desk = Desk::new(Limits {
        sharing: Sharing::All,
        ..Limits::default()
    });
    desk.send(CONN, "x");
    desk.serve(CONN, Cost::units(6000), 0);
    desk.accounts.close(CONN, desk.now);
    assert_eq!(desk.accounts.retained, Cost::units(6005) + Cost(2 * 200));
    desk.now = desk.now + PERIOD * 10;
    desk.accounts.open(OTHER, desk.now);
    assert_eq!(desk.accounts.retained, Cost(2 * 200) + Cost::units(5));
}

#[test]
fn who_waits_too_long_for_a_place_is_told_that_the_server_is_busy() {
    let mut desk = Desk::new(Limits {
        concurrent: 1,
        ..Limits::default()
    });
    desk.send(CONN, "first");
    assert_eq!(desk.accounts.take(CONN, desk.now).unwrap().line, b"first");
    desk.send(CONN, "second");
    let late = desk.serve(CONN, Cost::ZERO, 0);
    assert_eq!(
        (late.line.as_slice(), late.refusal),
        (&b"second"[..], Some(Refusal::Busy))
    );
    assert_eq!(desk.elapsed(), Duration::from_secs(30));
    desk.accounts.handled(CONN, desk.now, Cost::ZERO);
    desk.send(CONN, "third");
    assert_eq!(desk.serve(CONN, Cost::ZERO, 0).refusal, None);
}

#[test]
fn a_backlog_has_an_end() {
    let mut desk = Desk::new(Limits::default());
    for _ in 0..MAX_BACKLOG {
        assert!(desk.accounts.has_room(CONN));
        desk.send(CONN, "x");
    }
    assert!(!desk.accounts.has_room(CONN));
    desk.serve(CONN, Cost::ZERO, 0);
    assert!(desk.accounts.has_room(CONN));
    desk.accounts.close(CONN, desk.now);
    assert!(!desk.accounts.has_room(CONN));
    assert_eq!(desk.accounts.next(CONN), None);
}
