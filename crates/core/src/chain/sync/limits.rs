//! Bounds, sizes and waits of a sync.

use std::time::Duration;

use crate::chain::Height;
use crate::chain::sampling::Assurance;

/// How headers are verified that are missing in great number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verification {
    /// Each shows its AuxPoW.
    Full,
    /// A secret random sample of them does.
    Sampled(Assurance),
}

impl Default for Verification {
    fn default() -> Self {
        Self::Sampled(Assurance::default())
    }
}

/// Bounds, sizes and waits of a sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeaderSyncLimits {
    /// How headers are verified that are missing in great number.
    pub verification: Verification,
    /// Fewer headers than this come full in any case.
    pub skeleton_from: Height,
    /// Most headers per request of a skeleton.
    pub skeleton_chunk: Height,
    /// Most headers of a sample per request.
    pub sample_batch: usize,
    /// Mean time between two requests of headers to be proved in the background.
    pub background_mean: Duration,
    /// Headers in such a request.
    pub background_batch: usize,
    /// How many connections to have at once. Where there are fewer servers, several lead to one while much is to be
    /// fetched, each over a circuit of its own.
    pub connections: usize,
    /// What a connection may cost its server, in ElectrumX's units, before a fresh one takes its place: servers slow
    /// down a session from 1000 on, and end it at 10,000.
    pub budget: f64,
    /// The pause before a server is dialed again that had enough of us; doubles each time.
    pub rate_limit_pause: Duration,
    /// Most headers per request for full headers: 252 of some 1.3 kB make a line of about 650 kB.
    pub full_chunk: Height,
    /// Most headers per request for truncated headers, 160 hex digits each.
    pub truncated_chunk: Height,
    /// Most requests in flight on one connection, however fast it is.
    pub in_flight: usize,
    /// So many of the longest chunks may be in flight or wait for one below them: bounds the memory.
    pub window: usize,
    /// After so long without a byte a request counts as not answered. A reply that keeps coming is never given up.
    pub request_timeout: Duration,
    /// After so long without a byte another connection is given a waiting chunk too.
    pub steal_after: Duration,
    /// How long to wait for a second server once a first one is settled.
    pub second_server_grace: Duration,
    /// How long a connection that claims more than we know may hold up a sync that makes no progress.
    pub stall_grace: Duration,
    /// How often a server that failed without fault is dialed in a row.
    pub dials: u32,
    /// The pause before dialing a server again; doubles each time.
    pub redial_pause: Duration,
}

impl Default for HeaderSyncLimits {
    fn default() -> Self {
        Self {
            verification: Verification::default(),
            skeleton_from: 1500,
            skeleton_chunk: 2016,
            sample_batch: 24,
            background_mean: Duration::from_secs(60),
            background_batch: 8,
            connections: 4,
            budget: 850.0,
            rate_limit_pause: Duration::from_secs(20),
            full_chunk: 252,
            truncated_chunk: 2016,
            in_flight: 12,
            window: 12,
            request_timeout: Duration::from_secs(30),
            steal_after: Duration::from_secs(6),
            second_server_grace: Duration::from_secs(5),
            stall_grace: Duration::from_secs(20),
            dials: 3,
            redial_pause: Duration::from_secs(1),
        }
    }
}
