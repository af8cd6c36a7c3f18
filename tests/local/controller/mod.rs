//! The naming controller before a control port that does what no real Tor would, or seldom: the real program, and a script.

mod login;
mod plugins;
mod port;
mod scene;
mod streams;
