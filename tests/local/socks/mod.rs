//! The SOCKS front as applications meet it: the real program between curl or raw bytes and a stand-in for Tor that writes
//! down all it is asked.

mod hostile;
mod isolation;
mod raw;
