//! Header sync against scripted servers, in virtual time: no sockets, no clock.

mod chains;
mod faults;
mod forks;
mod mixtures;
mod order;
mod skeletons;
mod world;
