//! The program as its user sees it: what it says, and how it ends, when something is wrong.

mod anchor;
mod arguments;
mod data_folder;
mod network;
mod options;
mod output;
mod settings;
mod typed;

use std::net::TcpListener;
use std::sync::LazyLock;

use isonym::time::Timestamp;
use isonym_sim::{AddressKind, World};
use isonym_testkit::loopback::own_address;

/// A world of some 120 blocks with the name `d/here`.
fn world() -> World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let mut world = World::new(1, Timestamp(1_700_000_000));
        world.register("d/here", "value", AddressKind::P2wpkh).unwrap();
        world.mine(20);
        world
    });
    WORLD.clone()
}

/// A port at which nothing listens.
fn closed_port() -> String {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}
