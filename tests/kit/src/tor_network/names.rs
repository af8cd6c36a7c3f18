//! Names of a world for lookups of several IDs, and what servers saw of them.

use std::collections::{BTreeMap, BTreeSet};

use isonym::name::NameId;
use isonym::time::Timestamp;
use isonym_sim::ledger::Connection;
use isonym_sim::{AddressKind, SharedWorld, World};
use tokio::task::JoinSet;

use super::daemon::Daemon;

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

/// Has a daemon look up all names of so many IDs: one name of each at a time, for all IDs at once.
pub async fn look_all_up(daemon: &Daemon, ids: usize) {
    for number in 0..NAMES {
        let lookups = (0..ids).map(|id| {
            let shown = daemon.shows(&name(id, number), &format!("id {id}"));
            async move { (id, shown.await) }
        });
        let mut lookups: JoinSet<_> = lookups.collect();
        while let Some(done) = lookups.join_next().await {
            let (id, shown) = done.unwrap();
            assert_eq!(shown.unwrap(), value(id, number));
        }
    }
}

/// Asserts that each of so many IDs had one connection, over which all its names were asked for and nothing else was, and
/// that header sync had others.
pub fn assert_one_connection_for_each_id(connections: &[Connection], ids: usize) {
    let mut of_ids: BTreeMap<usize, Vec<BTreeSet<usize>>> = BTreeMap::new();
    for connection in connections {
        let asked = asked(connection, ids);
        let askers: BTreeSet<usize> = asked.iter().map(|(id, _)| *id).collect();
        assert!(askers.len() <= 1, "two IDs: {asked:?}");
        assert!(
            asked.is_empty() || !syncs(connection),
            "a lookup rode header sync: {asked:?}"
        );
        for id in askers {
            let numbers = asked.iter().map(|(_, number)| *number);
            of_ids.entry(id).or_default().push(numbers.collect());
        }
    }
    let everything = vec![(0..NAMES).collect::<BTreeSet<_>>()];
    for id in 0..ids {
        assert_eq!(of_ids.get(&id), Some(&everything), "ID {id}");
    }
    assert!(connections.iter().any(syncs));
}
