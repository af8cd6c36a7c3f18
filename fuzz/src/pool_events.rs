//! Any events in any order: nobody meets, nobody waits for ever, nothing stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use isonym::isolation::{BlindedId, ConnId, IsolationId, IsolationKey};
use isonym::net::pool::{FailureKind, LookupId, Pool, PoolCaller, PoolEffect, PoolEvent, PoolSettings, Ticket};
use isonym::reputation::ServerReputation;
use isonym::time::Moment;

use crate::input;

const MAX_IDS: usize = 4;

/// How many callers' shares there is room for.
const CAPACITY: usize = 16;

type Owner = (IsolationKey, u32);

struct Model {
    reputation: ServerReputation,
    now: Moment,
    wake_at: Moment,
    next_ticket: u64,
    opening: Vec<ConnId>,
    open: BTreeMap<ConnId, Option<Owner>>,
    /// Those that no lookup may have.
    barred: BTreeSet<ConnId>,
    /// Those whose identity asks others first.
    distrusted: BTreeSet<ConnId>,
    /// Whose they are: the key, and how often its ID had been forgotten when the lookup began.
    waiting: BTreeMap<Ticket, (Moment, Owner)>,
    served: BTreeSet<Ticket>,
    generations: BTreeMap<BlindedId, u32>,
}

impl Model {
    fn new(servers: usize) -> Self {
        Self {
            reputation: ServerReputation::new(servers),
            now: Moment::default(),
            wake_at: Moment::default(),
            next_ticket: 0,
            opening: Vec::new(),
            open: BTreeMap::new(),
            barred: BTreeSet::new(),
            distrusted: BTreeSet::new(),
            generations: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served: BTreeSet::new(),
        }
    }

    fn step(&mut self, pool: &mut Pool, settings: &PoolSettings, event: PoolEvent) {
        let effects = pool.on_event(self.now, &mut self.reputation, event);
        self.wake_at = Moment(u64::MAX);
        for effect in effects {
            match effect {
                PoolEffect::Open { conn, .. } => self.opening.push(conn),
                PoolEffect::Ping(conn) => assert_eq!(self.open[&conn], None),
                PoolEffect::Close(conn) => assert!(self.open.remove(&conn).is_some()),
                PoolEffect::Serve(ticket, conn) => {
                    assert!(!self.barred.contains(&conn) && !self.distrusted.contains(&conn));
                    let (since, owner) = self.waiting.remove(&ticket).expect("it waits");
                    assert!(self.now.since(since) <= settings.wait);
                    let bound = self.open.get_mut(&conn).expect("it is open").get_or_insert(owner);
                    assert_eq!(*bound, owner);
                    self.served.insert(ticket);
                }
                PoolEffect::Refuse(ticket, _) => {
                    assert!(self.waiting.remove(&ticket).is_some());
                    self.served.insert(ticket);
                }
                PoolEffect::Setback(ticket) => assert!(self.waiting.contains_key(&ticket)),
                PoolEffect::Forgotten(id) => *self.generations.entry(id).or_default() += 1,
                PoolEffect::WakeAt(at) => self.wake_at = at,
            }
        }
        assert!(self.wake_at > self.now);
        let counts = pool.counts();
        assert_eq!(counts.clean + counts.dirty + counts.parting, self.open.len());
        assert_eq!(counts.opening, self.opening.len());
        assert_eq!(counts.waiting, self.waiting.len());
        assert!(counts.ids <= (MAX_IDS * CAPACITY).max(self.waiting.len() + self.served.len()));
    }

    fn pass(&mut self, pool: &mut Pool, settings: &PoolSettings, time: Duration) {
        let end = self.now + time;
        while self.wake_at <= end {
            self.now = self.wake_at;
            self.step(pool, settings, PoolEvent::Tick);
        }
        self.now = end;
    }

    fn act(&mut self, pool: &mut Pool, settings: &PoolSettings, [what, how]: [u8; 2]) {
        let at = usize::from(how);
        let kind = [FailureKind::Unreachable, FailureKind::NoWayOut, FailureKind::Useless][at % 3];
        let id = IsolationId::new(&[how % 8]).expect("short").blinded(&[0; 32]);
        let open = |model: &Self| model.open.keys().nth(at % model.open.len().max(1)).copied();
        let event = match what % 14 {
            0 => return self.pass(pool, settings, Duration::from_millis(u64::from(how) * 20)),
            1 => return self.pass(pool, settings, Duration::from_secs(u64::from(how) * 4)),
            2 | 3 if !self.opening.is_empty() => {
                let conn = self.opening.remove(at % self.opening.len());
                self.open.insert(conn, None);
                PoolEvent::Opened(conn)
            }
            4 if !self.opening.is_empty() => PoolEvent::OpenFailed(self.opening.remove(at % self.opening.len()), kind),
            5 => {
                let Some(conn) = open(self) else { return };
                self.open.remove(&conn);
                PoolEvent::Closed(conn, kind)
            }
            6 | 7 => {
                let (ticket, key) = (Ticket(self.next_ticket), IsolationKey { id, attempt: how >> 6 });
                self.next_ticket += 1;
                let generation = self.generations.get(&id).copied().unwrap_or_default();
                self.waiting.insert(ticket, (self.now, (key, generation)));
                PoolEvent::Acquire {
                    ticket,
                    lookup: LookupId(ticket.0),
                    key,
                    caller: PoolCaller {
                        number: u64::from(how & 3),
                        part: (how & 1 == 0).then_some(how >> 1 & 1),
                    },
                    distinct_server: how & 32 != 0,
                }
            }
            8 => {
                let mut held = self.waiting.keys().chain(&self.served);
                let Some(ticket) = held.nth(at % (self.waiting.len() + self.served.len()).max(1)).copied() else {
                    return;
                };
                self.waiting.remove(&ticket);
                self.served.remove(&ticket);
                self.step(pool, settings, PoolEvent::Released(ticket));
                PoolEvent::Ended(LookupId(ticket.0))
            }
            11 => match open(self) {
                Some(conn) => PoolEvent::Requested(conn),
                None => PoolEvent::ForgetAll,
            },
            12 if !self.opening.is_empty() => {
                let conn = self.opening.remove(at % self.opening.len());
                self.open.insert(conn, None);
                self.barred.insert(conn);
                PoolEvent::Barred(conn)
            }
            9 => match open(self) {
                Some(conn) => PoolEvent::Lied(conn),
                None => PoolEvent::ForgetAll,
            },
            10 => PoolEvent::Forget(id),
            13 => match open(self) {
                Some(conn) => {
                    // One that nobody has yet can still be somebody's.
                    if self.open[&conn].is_some() {
                        self.distrusted.insert(conn);
                    }
                    PoolEvent::Distrusted(conn)
                }
                None => PoolEvent::ForgetAll,
            },
            _ => PoolEvent::Used(id),
        };
        self.step(pool, settings, event);
    }
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((seed, servers, acts)) = input::<([u8; 32], u8, Vec<[u8; 2]>)>(bytes) else { return };
    let settings = PoolSettings {
        most_clean: 3,
        max_ids: MAX_IDS,
        ..PoolSettings::default()
    };
    let mut pool = Pool::new(settings, seed);
    let mut model = Model::new(usize::from(servers % 4));
    model.step(&mut pool, &settings, PoolEvent::Tick);
    for act in acts.into_iter().take(512) {
        model.act(&mut pool, &settings, act);
    }
    model.pass(&mut pool, &settings, settings.wait);
    assert!(model.waiting.is_empty());
    while let Some(ticket) = model.served.pop_first() {
        model.step(&mut pool, &settings, PoolEvent::Ended(LookupId(ticket.0)));
    }
    model.pass(&mut pool, &settings, settings.id_ttl * 5 / 4 + settings.idle);
    let counts = pool.counts();
    assert_eq!((counts.ids, counts.dirty), (0, 0));
}
