//! Serves blocks as a peer of the peer-to-peer network does, on a port of 127.0.0.1:
//!
//! ```text
//! sim_peer PORT world [SECONDS]   a small simulated chain, which grows by a block every so many seconds, of which every
//!                                 tenth takes the place of the one before
//! sim_peer PORT recorded FILE     a chain that a full node made: `blocks.hex.gz` of tests/vectors/namecoind-regtest
//! sim_peer PORT window FILE [BLOCKS]
//!                                 a chain of mainnet's size, or with so many blocks in the window, which is made in the
//!                                 file if it isn't there
//! ```
//!
//! Port 0 is any free one. Prints the address, the height and the hash of the tip, then serves until it is killed.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::hex::FromHex;
use flate2::read::GzDecoder;
use isonym_core::time::Timestamp;
use isonym_sim::window::Plan;
use isonym_sim::{AddressKind, Ledger, Peer, PeerDesk, PeerHost, SharedWorld, SimChain, WindowFile, World};

/// A time long before any clock's, so that no block lies in the future.
const START: Timestamp = Timestamp(1_500_000_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (port, rest) = arguments.split_first().ok_or("which port?")?;
    let addr: SocketAddr = (Ipv4Addr::LOCALHOST, port.parse()?).into();
    match rest {
        ["world"] => serve_world(addr, world()?, None).await,
        ["world", seconds] => serve_world(addr, world()?, Some(seconds.parse()?)).await,
        ["recorded", file] => serve_world(addr, World::upon(recorded(Path::new(file))?, 1), None).await,
        ["window", file] => serve_window(addr, Path::new(file), Plan::MAINNET).await,
        ["window", file, blocks] => serve_window(addr, Path::new(file), Plan::short(1, blocks.parse()?)).await,
        _ => Err("world, recorded or window?".into()),
    }
}

fn world() -> Result<World, Box<dyn Error>> {
    let mut world = World::new(1, START);
    world.register("d/peer", "value", AddressKind::P2wpkh)?;
    world.mine(12);
    Ok(world)
}

fn recorded(path: &Path) -> Result<SimChain, Box<dyn Error>> {
    let lines = BufReader::new(GzDecoder::new(File::open(path)?)).lines();
    let blocks = lines.map(|line| Ok(Vec::from_hex(&line?)?));
    let blocks = blocks.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    SimChain::decode(blocks).ok_or_else(|| "the file has something that is no block".into())
}

async fn serve_world(addr: SocketAddr, world: World, pause: Option<f64>) -> Result<(), Box<dyn Error>> {
    let (height, tip) = (world.chain().height(), world.chain().tip_hash());
    let world = SharedWorld::new(world);
    let desk = PeerDesk::new("peer.sim", Peer::default(), world.clone(), Ledger::new());
    let host = PeerHost::open_at(addr, desk).await?;
    println!("{} {height} {tip}", host.addr);
    let Some(pause) = pause else {
        return std::future::pending().await;
    };
    for count in 1_u64.. {
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        world.change(|world| {
            if count.is_multiple_of(10) {
                *world = world.fork_at(world.chain().height() - 1, count);
                world.mine(2);
                Ok(())
            } else {
                world.update("d/peer", "value", AddressKind::P2wpkh).map(drop)
            }
        })?;
    }
    Ok(())
}

async fn serve_window(addr: SocketAddr, file: &Path, plan: Plan) -> Result<(), Box<dyn Error>> {
    let window = Arc::new(WindowFile::open_or_make(file, plan)?);
    let tip = window.hash(window.height()).ok_or("the window is empty")?;
    let height = window.height();
    let desk = PeerDesk::of_blocks("peer.sim", Peer::default(), window, Ledger::new());
    let host = PeerHost::open_at(addr, desk).await?;
    println!("{} {height} {tip}", host.addr);
    std::future::pending().await
}
