//! What requests for headers cost a server, by ElectrumX's own account.
//!
//! A session pays for the bytes of both directions and for the headers it asks for, and is forgiven a little each
//! second. Source: `ElectrumX` `session.py`, `SessionBase`, `block_header` and `block_headers`, with the defaults of its `env.py`.

use super::HeaderRequest;
use crate::chain::{Height, PureHeader};
use crate::time::Moment;

/// Bytes that cost one unit: `BANDWIDTH_UNIT_COST`.
const BYTES_PER_UNIT: f64 = 5000.0;

/// Units that a session is forgiven each second, a little less than real servers do: hard limit over 10,000 seconds.
const FORGIVEN_PER_SECOND: f64 = 0.9;

/// What a session costs before it asks for anything, handshake included.
const AT_START: f64 = 8.0;

/// Headers that cost one unit, however long they are.
const HEADERS_PER_UNIT: f64 = 50.0;

/// What a header costs beside that when it is asked for by itself.
const PER_SINGLE: f64 = 0.25;

/// A flight with its companion, which is eight short headers and their frame.
const PER_FLIGHT: f64 = 2.0;

/// What a reply adds to its headers' hex: a frame, and hashes to prove the last one where they come truncated.
const FRAME: f64 = 2500.0;

/// Bytes of a full header that is estimated before any was seen.
const FULL_HEADER: f64 = 1400.0;

/// What one connection has cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    spent: f64,
    at: Moment,
}

impl Account {
    /// Opens the account of a fresh connection.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            spent: AT_START,
            at: now,
        }
    }

    /// Returns what it stands at.
    pub(super) fn spent(&self, now: Moment) -> f64 {
        (self.spent - now.since(self.at).as_secs_f64() * FORGIVEN_PER_SECOND).max(0.0)
    }

    /// Books a cost.
    pub(super) fn book(&mut self, cost: f64, now: Moment) {
        self.spent = self.spent(now) + cost;
        self.at = now;
    }
}

/// How long full headers are on average, from those seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullSize(f64);

impl Default for FullSize {
    fn default() -> Self {
        Self(FULL_HEADER)
    }
}

impl FullSize {
    /// Takes note of so many full headers.
    pub(super) fn note(&mut self, count: Height, bytes: usize) {
        if count > 0 {
            let seen = float(bytes) / f64::from(count);
            // The newest weigh most: AuxPoW grew with the years.
            self.0 = (self.0 * 3.0 + seen) / 4.0;
        }
    }

    /// Returns the bytes of one.
    pub(super) fn bytes(self) -> f64 {
        self.0
    }

    /// Returns what a request will cost, as far as can be told before.
    pub(super) fn of(self, request: &HeaderRequest) -> f64 {
        match request {
            HeaderRequest::Full { count, .. } => of_bytes(*count, self.0 * f64::from(*count)),
            HeaderRequest::Truncated { count, .. } => {
                of_bytes(*count, f64::from(*count) * float(PureHeader::SIZE)) + 1.0
            }
            HeaderRequest::Scattered(heights) => {
                let count = Height::try_from(heights.len()).unwrap_or(Height::MAX);
                of_bytes(count, self.0 * f64::from(count)) + PER_SINGLE * f64::from(count)
            }
        }
    }
}

/// The measures of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    /// How many headers the server says they are.
    pub(super) count: Height,
    /// How many bytes came.
    pub(super) bytes: usize,
    /// Whether each was asked for by itself.
    pub(super) singles: bool,
}

impl Reply {
    /// Returns what its flight cost.
    pub(super) fn cost(self) -> f64 {
        let singles = if self.singles {
            PER_SINGLE * f64::from(self.count)
        } else {
            0.0
        };
        of_bytes(self.count, float(self.bytes)) + singles
    }
}

fn of_bytes(count: Height, bytes: f64) -> f64 {
    PER_FLIGHT + (2.0 * bytes + FRAME) / BYTES_PER_UNIT + f64::from(count) / HEADERS_PER_UNIT
}

#[expect(clippy::cast_precision_loss, reason = "bounded by the longest line")]
fn float(bytes: usize) -> f64 {
    bytes as f64
}

/// Returns a sum of bytes as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
pub(super) fn whole(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_reply(count: Height, bytes: usize, singles: bool) -> f64 {
        Reply { count, bytes, singles }.cost()
    }

    #[test]
    fn an_account_is_forgiven_by_time_and_never_below_nothing() {
        let mut account = Account::new(Moment(0));
        account.book(100.0, Moment(1000));
        let spent = account.spent(Moment(1000));
        assert!((100.0..=108.0).contains(&spent), "{spent}");
        assert!((account.spent(Moment(11_000)) - (spent - 9.0)).abs() < 1e-9);
        assert!(account.spent(Moment(1_000_000)).abs() < 1e-9);
    }

    /// A naive client is refused its sixteenth chunk of 2016 full headers, 3.2 MB of hex each: after the fifteenth it
    /// is above the hard limit of 10,000. Seen with `ElectrumX` 2.0.0.
    #[test]
    fn fifteen_chunks_of_full_headers_reach_the_hard_limit() {
        let chunk = of_reply(2016, 1_600_000, false);
        assert!(14.0 * chunk < 10_000.0 && 15.0 * chunk > 10_000.0, "{chunk}");
    }

    #[test]
    fn estimates_follow_what_is_seen() {
        let mut size = FullSize::default();
        for _ in 0..20 {
            size.note(252, 252 * 900);
        }
        size.note(0, 7);
        let (start, under) = (5, 9999);
        let full = size.of(&HeaderRequest::Full { start, count: 252 });
        assert!((full - of_reply(252, 252 * 900, false)).abs() < 1.0);
        let scattered = size.of(&HeaderRequest::Scattered(vec![1, 5, 9]));
        assert!(scattered < full && scattered > size.of(&HeaderRequest::Full { start, count: 2 }));
        let truncated = size.of(&HeaderRequest::Truncated {
            start,
            count: 2016,
            under,
        });
        assert!(truncated > of_reply(2016, 2016 * 80, false));
    }
}
