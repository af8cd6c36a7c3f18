//! How fast a connection is, and how much it is asked for: as much as it brings within some seconds.
//!
//! What is asked for at a time is counted in bytes on the wire. A request takes [`REQUEST_TIME`], of a sample
//! [`BATCH_TIME`]; what is outstanding takes a second, which is more than a round trip, and two requests at least, so that
//! one is computed while one is sent; but no more than [`LONGEST_WAIT`], since servers give a client up that has not read
//! one reply after twenty seconds while the next one waits (`ElectrumX`, `session.py`).

use std::time::Duration;

use super::HeaderRequest;
use crate::chain::Height;
use crate::reputation::{LEAST_REPLY, ServerWay};
use crate::time::Moment;

/// How long the reply to one request takes.
const REQUEST_TIME: f64 = 4.0;

/// How long the reply to one request for headers of a sample takes.
const BATCH_TIME: f64 = 2.0;

/// The shortest that replies get where the rest of the work is shared out, in seconds.
const SHORTEST_TIME: f64 = 0.5;

/// How long all that is outstanding takes, or two requests, if that is longer.
const WINDOW_TIME: f64 = 1.0;

/// How long all that is outstanding takes at most.
const LONGEST_WAIT: f64 = 15.0;

/// Bytes that are outstanding while nothing is known: three requests, so that two are on their way while one is answered.
const UNKNOWN_WINDOW: f64 = 3.0 * UNKNOWN_REQUEST;

/// Bytes that are asked for at a time while nothing is known: 400 truncated headers.
const UNKNOWN_REQUEST: f64 = 64_000.0;

/// Fewest headers that are asked for at a time, so that frames are the smaller part.
const LEAST_HEADERS: Height = 8;

/// Fewest headers of a sample that are asked for at a time.
const LEAST_BATCH: usize = 4;

/// Over how long a rate is measured at least.
const SPAN: Duration = Duration::from_millis(200);

/// What is left after half a second of the weight of what was measured before.
const KEPT: f64 = 0.7;

/// Bytes of a truncated header on the wire.
pub(super) const TRUNCATED: f64 = 160.0;

/// What a reply with truncated headers adds to them: the hashes that prove the last one.
const TRUNCATED_FRAME: f64 = 1664.0;

/// What a reply with full headers adds to them.
const FRAME: f64 = 100.0;

/// The shortest that a padded reply is.
const LEAST_PADDED: f64 = 1024.0;

/// How fast a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes a second, of this connection or of the one before.
    rate: Option<f64>,
    /// Whether that is this connection's own.
    is_measured: bool,
    /// Since when bytes are counted, and how many came.
    span: Option<(Moment, u64)>,
    last_byte: Moment,
    /// All bytes that came while something was awaited.
    received: u64,
    /// Those that came since the last whole reply.
    partial: u64,
}

impl Pace {
    /// Begins with what is known of the way to the server.
    pub(super) fn new(way: &ServerWay, now: Moment) -> Self {
        Self {
            rate: way.rate.map(f64::from),
            is_measured: false,
            span: None,
            last_byte: now,
            received: 0,
            partial: 0,
        }
    }

    /// Takes down that bytes came, while something was awaited; returns the rate where it was measured anew.
    pub(super) fn on_bytes(&mut self, bytes: u64, now: Moment) -> Option<u32> {
        self.last_byte = now;
        self.received = self.received.saturating_add(bytes);
        self.partial = self.partial.saturating_add(bytes);
        // What came first may have come at any time before.
        let (since, counted) = self.span.unwrap_or((now, 0));
        let elapsed = now.since(since);
        if self.span.is_none() || elapsed < SPAN {
            let counted = if self.span.is_none() {
                0
            } else {
                counted.saturating_add(bytes)
            };
            self.span = Some((since, counted));
            return None;
        }
        let seen = float(counted.saturating_add(bytes)) / elapsed.as_secs_f64();
        let kept = KEPT.powf(elapsed.as_secs_f64() / 0.5);
        let rate = match self.rate {
            Some(rate) if self.is_measured => rate * kept + seen * (1.0 - kept),
            Some(rate) => f64::midpoint(rate, seen),
            None => seen,
        };
        self.rate = Some(rate);
        self.is_measured = true;
        self.span = Some((now, 0));
        Some(whole(rate))
    }

    /// Takes down that a reply came whole.
    pub(super) fn on_reply(&mut self, is_idle: bool, now: Moment) {
        self.last_byte = now;
        self.partial = 0;
        if is_idle {
            self.span = None;
        }
    }

    /// Returns when the last byte came.
    pub(super) fn last_byte(&self) -> Moment {
        self.last_byte
    }

    /// Returns how many bytes came while something was awaited.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Returns bytes a second, if anything is known of it.
    pub(super) fn rate(&self) -> Option<u32> {
        self.rate.map(whole)
    }

    /// Returns how long so many bytes take, of which some may be here already.
    pub(super) fn time_for(&self, bytes: u64) -> Option<Duration> {
        let left = float(bytes.saturating_sub(self.partial));
        let seconds = left / self.rate?.max(1.0);
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Returns how much may be asked for at a time.
    pub(super) fn allowance(&self, way: &ServerWay) -> Allowance {
        let in_time = |seconds: f64| match self.rate {
            Some(rate) if self.is_measured => rate * seconds,
            // It was the rate of another circuit.
            Some(rate) => rate * seconds / 2.0,
            None => UNKNOWN_REQUEST,
        };
        let bound = |bytes: f64| {
            let bytes = way.longest.map_or(bytes, |longest| bytes.min(f64::from(longest)));
            if way.pads { padded_below(bytes) } else { bytes }
        };
        Allowance {
            request: bound(in_time(REQUEST_TIME)),
            batch: bound(in_time(BATCH_TIME)),
            shortest: self.rate.map_or(0.0, |rate| bound(rate * SHORTEST_TIME)),
            window: self.rate.map_or(UNKNOWN_WINDOW, |rate| rate * WINDOW_TIME),
            most: self.rate.map_or(UNKNOWN_WINDOW, |rate| rate * LONGEST_WAIT),
            pads: way.pads,
        }
    }
}

/// How much may be asked for at a time, in bytes on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    request: f64,
    batch: f64,
    shortest: f64,
    window: f64,
    most: f64,
    pads: bool,
}

impl Allowance {
    /// Says whether so much more may be outstanding than the replies to `requests` requests are.
    pub(super) fn has_room(&self, requests: usize, outstanding: u64, more: u64) -> bool {
        let sum = float(outstanding.saturating_add(more));
        requests == 0 || sum <= self.most && (requests < 2 || sum <= self.window)
    }

    /// Returns how many truncated headers to ask for, of which so many are left for each request.
    pub(super) fn truncated(&self, share: Height) -> Height {
        self.headers(TRUNCATED, TRUNCATED_FRAME, share)
    }

    /// Returns how many full headers to ask for, which have so many bytes each.
    pub(super) fn full(&self, bytes: f64, share: Height) -> Height {
        self.headers(2.0 * bytes, FRAME, share)
    }

    /// Returns how many single headers of a sample to ask for, which have so many bytes each.
    pub(super) fn batch(&self, bytes: f64) -> usize {
        let fits = self.batch / self.on_the_wire(2.0f64.mul_add(bytes, FRAME));
        usize::try_from(height(fits)).unwrap_or(usize::MAX).max(LEAST_BATCH)
    }

    fn headers(&self, each: f64, frame: f64, share: Height) -> Height {
        let fit = |bytes: f64| height((bytes - frame) / each).max(LEAST_HEADERS);
        fit(self.request).min(share.max(fit(self.shortest)))
    }

    /// Returns how many bytes the reply to a request will have, with full headers of so many bytes each.
    pub(super) fn expected(&self, request: &HeaderRequest, full: f64) -> u32 {
        let count = f64::from(request.count());
        whole(match request {
            HeaderRequest::Full { .. } => self.on_the_wire(count.mul_add(2.0 * full, FRAME)),
            HeaderRequest::Truncated { .. } => self.on_the_wire(count.mul_add(TRUNCATED, TRUNCATED_FRAME)),
            HeaderRequest::Scattered(_) => count * self.on_the_wire(2.0f64.mul_add(full, FRAME)),
        })
        .max(LEAST_REPLY)
    }

    fn on_the_wire(&self, bytes: f64) -> f64 {
        if self.pads {
            bytes.max(LEAST_PADDED).log2().ceil().exp2()
        } else {
            bytes
        }
    }
}

/// Returns the longest padded reply of so many bytes at most.
fn padded_below(bytes: f64) -> f64 {
    bytes.max(LEAST_PADDED).log2().floor().exp2()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one run are far fewer than 2^52")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
fn whole(value: f64) -> u32 {
    value as u32
}

fn height(value: f64) -> Height {
    whole(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that brought so many bytes in each quarter of a second.
    fn pace(quarters: &[u64]) -> Pace {
        let mut pace = Pace::new(&ServerWay::default(), Moment(0));
        for (at, bytes) in quarters.iter().enumerate() {
            pace.on_bytes(*bytes, Moment(250 * (at as u64 + 1)));
        }
        pace
    }

    #[test]
    fn the_rate_is_that_of_the_bytes_that_came() {
        assert_eq!(pace(&[]).rate(), None);
        assert_eq!(pace(&[9000]).rate(), None, "who knows since when");
        assert_eq!(pace(&[9000, 2500]).rate(), Some(10_000));
        let slower = pace(&[9000, 2500, 250]).rate().unwrap();
        assert!((7000..9000).contains(&slower), "{slower}");
    }

    #[test]
    fn four_seconds_are_asked_for_at_a_time_and_within_bounds() {
        let way = ServerWay::default();
        let truncated = |pace: Pace, share| pace.allowance(&way).truncated(share);
        assert_eq!(truncated(pace(&[]), Height::MAX), 389);
        assert_eq!(truncated(pace(&[1, 1250]), Height::MAX), 114, "20 kB");
        assert_eq!(truncated(pace(&[1, 1]), Height::MAX), LEAST_HEADERS);
        assert_eq!(truncated(pace(&[1, 125_000]), 300), 1552, "no less than half a second");
        assert_eq!(pace(&[1, 1250]).allowance(&way).full(1250.0, Height::MAX), 7 + 1);
        assert_eq!(pace(&[1, 1250]).allowance(&way).batch(1200.0), 4);
        assert_eq!(pace(&[1, 125_000]).allowance(&way).batch(1200.0), 400);
    }

    #[test]
    fn a_known_rate_of_another_circuit_counts_half() {
        let way = ServerWay {
            rate: Some(10_000),
            ..ServerWay::default()
        };
        let fresh = Pace::new(&way, Moment(0));
        assert_eq!(fresh.allowance(&way).truncated(Height::MAX), 114);
    }

    #[test]
    fn where_connections_end_early_less_is_asked_for() {
        let way = ServerWay {
            longest: Some(4096),
            ..ServerWay::default()
        };
        assert_eq!(pace(&[1, 125_000]).allowance(&way).truncated(Height::MAX), 15);
    }

    #[test]
    fn padded_replies_are_asked_for_such_that_nothing_is_padding() {
        let way = ServerWay {
            pads: true,
            ..ServerWay::default()
        };
        let allowance = pace(&[1, 30_000]).allowance(&way);
        let count = allowance.truncated(Height::MAX);
        assert_eq!(count, 1628, "of 480 kB those that take 262,144 bytes");
        let request = HeaderRequest::Truncated {
            start: 0,
            count,
            under: 0,
        };
        assert_eq!(allowance.expected(&request, 1300.0), 262_144);
    }

    #[test]
    fn two_requests_may_be_out_and_more_of_them_within_a_second() {
        let allowance = pace(&[1, 25_000]).allowance(&ServerWay::default());
        assert!(allowance.has_room(0, 0, u64::MAX), "something is always asked for");
        assert!(allowance.has_room(1, 400_000, 400_000));
        assert!(!allowance.has_room(1, 1_000_000, 600_000), "more than fifteen seconds");
        assert!(allowance.has_room(2, 60_000, 30_000));
        assert!(!allowance.has_room(2, 90_000, 30_000), "more than a second");
    }
}
