//! Names of a world for lookups of several IDs, and what servers saw of them.

use std::collections::BTreeSet;

use isonym::name::NameId;
use isonym::time::Timestamp;
use isonym_sim::ledger::Connection;
use isonym_sim::{AddressKind, SharedWorld, World};

/// Names that each looks up.
pub const NAMES: usize = 3;

pub fn name(id: usize, number: usize) -> String {
    format!("d/of-{id}-{number}")
}

pub fn value(id: usize, number: usize) -> String {
    format!("value {number} of {id}")
}

/// A world in which each of so many IDs has names of its own.
pub fn world(ids: usize) -> SharedWorld {
    let names: Vec<_> = (0..ids)
        .flat_map(|id| (0..NAMES).map(move |number| (name(id, number), value(id, number), AddressKind::P2pkh)))
        .collect();
    let mut world = World::new(3, Timestamp(1_700_000_000));
    world.register_all(&names).unwrap();
    world.mine(14);
    SharedWorld::new(world)
}

/// Returns the names that were asked for over a connection.
pub fn asked(connection: &Connection, ids: usize) -> BTreeSet<(usize, usize)> {
    let all = (0..ids).flat_map(|id| (0..NAMES).map(move |number| (id, number)));
    let scripthash = |id, number| {
        NameId::new(name(id, number).as_bytes())
            .unwrap()
            .scripthash()
            .to_string()
    };
    let asked = all.filter(|(id, number)| {
        let scripthash = scripthash(*id, *number);
        connection
            .requests
            .iter()
            .any(|request| request.line.contains(&scripthash))
    });
    asked.collect()
}

/// Says whether a connection belongs to header sync: only there tips are subscribed to.
pub fn syncs(connection: &Connection) -> bool {
    let mut methods = connection.requests.iter().flat_map(|request| &request.methods);
    methods.any(|method| method == "blockchain.headers.subscribe")
}
