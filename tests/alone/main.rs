//! Tests beside which none may run: they measure, or take so much of the machine that others would take it for a fault.
//! Cargo runs one test program after the other, and here each test waits for its turn; nextest is told the same in
//! `.config/nextest.toml`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and read the clock, and is a crate of its own"
)]

mod flood;
mod kill;
mod linkability;
mod round_trips;
mod shortage;
mod soak;

use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until no other test runs, and keeps the others waiting.
async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// The same outside of a runtime.
fn blocking_turn() -> MutexGuard<'static, ()> {
    TURN.blocking_lock()
}
