//! Header sync against scripted servers, in virtual time: no sockets, no clock.

pub(super) mod chains;
mod faults;
mod forks;
mod mixtures;
mod order;
mod skeletons;
mod slow;
pub(super) mod world;
