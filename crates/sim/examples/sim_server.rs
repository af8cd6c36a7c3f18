//! Serves a simulated merge-mined chain on 127.0.0.1 over plain TCP: `sim_server [BLOCKS [SEED]]`. Prints its
//! address and the tip's hash, then serves until it is killed.

use std::error::Error;

use isonym_core::time::Timestamp;
use isonym_sim::{AuxPowKind, Host, Ledger, SharedWorld, Work, World};

/// A time long before any clock's, so that no block lies in the future.
const START: Timestamp = Timestamp(1_500_000_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let blocks: u32 = arguments.next().map_or(Ok(10_000), |word| word.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |word| word.parse())?;
    let mut world = World::new(seed, START);
    for _ in 0..blocks {
        world.mine_with(Work::AuxPow(AuxPowKind::Realistic));
    }
    let tip = world.chain().tip_hash();
    let host = Host::honest("server.sim", SharedWorld::new(world), Ledger::new()).await?;
    println!("{} {tip}", host.addr);
    std::future::pending::<()>().await;
    Ok(())
}
