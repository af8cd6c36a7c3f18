//! What ElectrumX lets a client use: each request and each byte has a price, time pays it back, who owes much waits
//! and who owes too much is cut off.
//!
//! Source: ElectrumX for Namecoin (`e-x`) 1.17.0 and 2.0.0, `server/session.py`, over aiorpcX 0.24 and 0.25,
//! `session.py`; both do the same in all that is here. A real server is compared with it in `tests/real/electrumx`.

mod gate;
mod price;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Duration;

use self::gate::Gate;
pub(super) use self::price::{BAD_JSON, ERROR, price};
use isonym_core::isolation::ConnId;
use isonym_core::time::Moment;

/// A price or a debt, in millionths of ElectrumX's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// What a connection owes from the start.
    const CONNECTION: Self = Self::units(5);

    /// How far a debt may move before waits and concurrency are set anew.
    const DRIFT: Self = Self::units(100);

    /// Returns so many whole units.
    pub const fn units(units: u64) -> Self {
        Self(units.saturating_mul(1_000_000))
    }

    pub(super) const fn thousandths(thousandths: u64) -> Self {
        Self(thousandths.saturating_mul(1000))
    }

    const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

/// Who answers for a connection's debt beside itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: each connection comes from a subnet of its own, as circuits with different exits do. So does an onion
    /// service see them too, since ElectrumX exempts private addresses.
    #[default]
    Nobody,
    /// All others: every connection comes from one subnet. Those that have ended still count.
    All,
}

/// The settings of a server. The default is ElectrumX's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Debt from which requests wait (`COST_SOFT_LIMIT`).
    pub soft: Cost,
    /// Debt from which requests are refused and the connection is closed (`COST_HARD_LIMIT`). A ten thousandth of it
    /// is paid back each second.
    pub hard: Cost,
    /// How many bytes, sent or received, cost one unit (`BANDWIDTH_UNIT_COST`).
    pub bytes_per_unit: u64,
    /// How many requests of a connection run at once while it owes no more than `soft` (`INITIAL_CONCURRENT`).
    pub concurrent: u32,
    /// How long a request waits close to `hard` (`REQUEST_SLEEP`).
    pub sleep: Duration,
    /// How long a request may take before it is answered with "server busy" (`REQUEST_TIMEOUT`).
    pub request_timeout: Duration,
    /// How long a reply may wait for a client to read the one before it; then the connection is cut.
    pub send_timeout: Duration,
    /// Who shares a debt.
    pub sharing: Sharing,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            soft: Cost::units(1000),
            hard: Cost::units(10_000),
            bytes_per_unit: 5000,
            concurrent: 10,
            sleep: Duration::from_millis(2500),
            request_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(20),
            sharing: Sharing::Nobody,
        }
    }
}

impl Limits {
    fn bytes(&self, count: usize) -> Cost {
        let millionths = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(1_000_000);
        Cost(millionths.checked_div(self.bytes_per_unit).unwrap_or(0))
    }

    /// Returns what is paid back in a time.
    fn paid_back(&self, time: Duration) -> Cost {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Cost(self.hard.0.saturating_mul(milliseconds) / 10_000_000)
    }
}

/// How often every debt is looked at, whether or not it moved.
const PERIOD: Duration = Duration::from_secs(300);

/// Most requests of a connection that wait; a driver reads no more until some are through.
const MAX_BACKLOG: usize = 256;

/// Why a request is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It waited too long: error −102.
    Busy,
    /// The debt is at the limit: error −101, then the end of the connection.
    Debt,
}

/// A request whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its line.
    pub line: Vec<u8>,
    /// Why it is turned down; `None`: it is to be answered, and [`Accounts::handled`] to be told.
    pub refusal: Option<Refusal>,
}

/// The debts of all connections of a server, and the requests that wait. Without a clock of its own.
#[derive(Clone, Debug)]
pub struct Accounts {
    limits: Limits,
    open: BTreeMap<ConnId, Account>,
    /// What connections owed when they ended.
    retained: Cost,
    /// When all debts were last looked at.
    surveyed: Moment,
}

#[derive(Clone, Debug)]
struct Account {
    owed: Cost,
    /// What was owed when wait and concurrency were last set, and when that was.
    settled: (Cost, Moment),
    /// How long a request waits that is next to run.
    wait: Duration,
    gate: Gate,
}

impl Accounts {
    /// Opens the books of a server.
    pub fn new(limits: Limits, now: Moment) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            retained: Cost::ZERO,
            surveyed: now,
        }
    }

    /// Returns the settings.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what a connection owes, as of when it was last looked at.
    pub fn owed(&self, conn: ConnId) -> Cost {
        self.open.get(&conn).map_or(Cost::ZERO, |account| account.owed)
    }

    /// Opens an account for a connection.
    pub fn open(&mut self, conn: ConnId, now: Moment) {
        self.survey(now);
        let account = Account {
            owed: Cost::ZERO,
            settled: (Cost::ZERO, now),
            wait: Duration::ZERO,
            gate: Gate::new(self.limits.concurrent),
        };
        self.open.insert(conn, account);
        // What others owe counts from the start; what it owes itself only comes after.
        self.settle(conn, now);
        if let Some(account) = self.open.get_mut(&conn) {
            account.owed = Cost::CONNECTION;
        }
    }

    /// Closes a connection's account; what waits there is dropped.
    pub fn close(&mut self, conn: ConnId, now: Moment) {
        self.survey(now);
        if let Some(account) = self.open.remove(&conn) {
            self.retained += account.owed;
        }
    }

    /// Says whether more requests of a connection should be read.
    pub fn has_room(&self, conn: ConnId) -> bool {
        let account = self.open.get(&conn);
        account.is_some_and(|account| account.gate.backlog() < MAX_BACKLOG)
    }

    /// Takes a request line, without its newline.
    pub fn receive(&mut self, conn: ConnId, now: Moment, line: Vec<u8>) {
        self.charge(conn, now, self.limits.bytes(line.len() + 1));
        if let Some(account) = self.open.get_mut(&conn) {
            let expires = now + self.limits.request_timeout;
            account.gate.push(line, now, expires, account.wait);
        }
    }

    /// Returns when [`Self::take`] has a request of this connection next.
    pub fn next(&self, conn: ConnId) -> Option<Moment> {
        self.open.get(&conn)?.gate.next()
    }

    /// Returns a request whose time has come.
    pub fn take(&mut self, conn: ConnId, now: Moment) -> Option<Admitted> {
        self.survey(now);
        let account = self.open.get_mut(&conn)?;
        account.gate.take(now, account.wait)
    }

    /// Notes that a request was handled, and what that costs. What is sent for it comes after, see [`Self::sent`].
    pub fn handled(&mut self, conn: ConnId, now: Moment, price: Cost) {
        self.charge(conn, now, price);
        if let Some(account) = self.open.get_mut(&conn) {
            account.gate.leave(now, account.wait);
        }
    }

    /// Notes that so many bytes are sent, newlines left out.
    pub fn sent(&mut self, conn: ConnId, now: Moment, bytes: usize) {
        self.charge(conn, now, self.limits.bytes(bytes));
    }

    /// Adds to what a connection owes.
    pub fn charge(&mut self, conn: ConnId, now: Moment, cost: Cost) {
        self.survey(now);
        let Some(account) = self.open.get_mut(&conn) else {
            return;
        };
        account.owed += cost;
        let (before, _) = account.settled;
        if account.owed.saturating_sub(before) > Cost::DRIFT {
            self.settle(conn, now);
        }
    }

    /// Pays a connection's debt back for the time that has passed, and sets its wait and concurrency.
    fn settle(&mut self, conn: ConnId, now: Moment) {
        let others: Cost = match self.limits.sharing {
            Sharing::Nobody => Cost::ZERO,
            Sharing::All => {
                let others = self.open.iter().filter(|(other, _)| **other != conn);
                self.retained + others.map(|(_, account)| account.owed).sum()
            }
        };
        let Limits {
            soft, hard, concurrent, ..
        } = self.limits;
        let Some(account) = self.open.get_mut(&conn) else {
            return;
        };
        let (_, since) = account.settled;
        account.owed = account.owed.saturating_sub(self.limits.paid_back(now.since(since)));
        account.settled = (account.owed, now);
        let counted = account.owed + others;
        let range = u128::from(hard.saturating_sub(soft).0.max(1));
        let share_of = |whole: u128, cost: Cost| whole * u128::from(cost.0) / range;
        let wait = share_of(self.limits.sleep.as_millis(), counted.saturating_sub(soft));
        account.wait = Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX));
        let lost = share_of(u128::from(concurrent), counted.saturating_sub(soft));
        let lost = u32::try_from(lost).unwrap_or(u32::MAX);
        account.gate.set_target(concurrent.saturating_sub(lost));
    }

    /// Looks at all debts whenever [`PERIOD`] is over; pays back what is left of ended connections, at twice the rate
    /// of open ones.
    fn survey(&mut self, now: Moment) {
        while now.since(self.surveyed) >= PERIOD {
            self.surveyed = self.surveyed + PERIOD;
            self.retained = self.retained.saturating_sub(self.limits.paid_back(PERIOD * 2));
            let conns: Vec<ConnId> = self.open.keys().copied().collect();
            for conn in conns {
                self.settle(conn, self.surveyed);
            }
        }
    }
}
