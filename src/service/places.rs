//! Room for so many things of one front at a time, shared by its clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many things a front has in work, and for which of its clients.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    of_client: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_clients: HashMap<u64, usize>,
}

/// One of the places, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    client: Option<u64>,
}

impl Places {
    /// Makes so many places in `all`, of which one client has no more than its share.
    pub(crate) fn new(all: usize, of_client: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            of_client,
            taken: Mutex::default(),
        })
    }

    /// Takes a place for a client, if the front tells its clients apart.
    ///
    /// # Errors
    ///
    /// The bound that is reached. That on one client is the same whatever others do, so that none learns anything of them
    /// by it; only where hardly a place is left does whoever has as many as are left get no more, so that a further client
    /// gets one.
    pub(crate) fn take(self: &Arc<Self>, client: Option<u64>) -> Result<Place, usize> {
        let mut taken = self.taken();
        let free = self.all.saturating_sub(taken.all);
        if free == 0 {
            return Err(self.all);
        }
        if let Some(client) = client {
            let own = taken.of_clients.get(&client).copied().unwrap_or(0);
            if own >= self.of_client || own >= free {
                return Err(self.of_client);
            }
            taken.of_clients.insert(client, own + 1);
        }
        taken.all += 1;
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            client,
        })
    }

    /// Nothing panics between two changes.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(client) = self.client
            && let Some(own) = taken.of_clients.get_mut(&client)
        {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.of_clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: usize = 64;
    const SHARE: usize = 16;

    /// Takes as many places as there are to have.
    fn flood(places: &Arc<Places>, client: Option<u64>) -> Vec<Place> {
        std::iter::from_fn(|| places.take(client).ok()).collect()
    }

    #[test]
    fn one_client_leaves_the_others_their_share() {
        let places = Places::new(ALL, SHARE);
        let first = flood(&places, Some(1));
        assert_eq!(first.len(), SHARE);
        assert_eq!(flood(&places, Some(2)).len(), SHARE);
        drop(first);
        assert!(places.taken().of_clients.is_empty());
        assert_eq!(places.taken().all, 0);
    }

    #[test]
    fn a_front_that_tells_no_clients_apart_has_all_places() {
        let places = Places::new(ALL, SHARE);
        let all = flood(&places, None);
        assert_eq!(all.len(), ALL);
        assert_eq!(places.take(Some(1)).unwrap_err(), ALL);
    }

    #[test]
    fn where_hardly_a_place_is_left_one_more_client_gets_one() {
        let places = Places::new(ALL, SHARE);
        let crowd: Vec<Vec<Place>> = (0..5).map(|client| flood(&places, Some(client))).collect();
        let taken: Vec<usize> = crowd.iter().map(Vec::len).collect();
        assert_eq!(taken, [16, 16, 16, 8, 4]);
        assert!(places.take(Some(0)).is_err());
        assert!(places.take(Some(9)).is_ok());
    }

    proptest! {
        #[test]
        fn as_many_are_counted_as_are_held(steps in prop::collection::vec((any::<bool>(), prop::option::of(0..5_u64)), 0..300)) {
            let places = Places::new(ALL, SHARE);
            let mut held: Vec<Place> = Vec::new();
            for (takes, client) in steps {
                if takes {
                    held.extend(places.take(client).ok());
                } else if let Some(at) = held.iter().position(|place| place.client == client) {
                    held.swap_remove(at);
                }
                prop_assert_eq!(places.taken().all, held.len());
                prop_assert!(held.len() <= ALL);
                for client in 0..5 {
                    let own = held.iter().filter(|place| place.client == Some(client)).count();
                    prop_assert_eq!(places.taken().of_clients.get(&client).copied().unwrap_or(0), own);
                    prop_assert!(own <= SHARE);
                }
            }
        }
    }
}
