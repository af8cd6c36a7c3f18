//! What proves a name's value, on a chain that Namecoin Core wrote and on forgeries of our own.

mod core_chain;
mod forgeries;
