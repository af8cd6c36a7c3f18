//! The DNS server as its clients meet it: the real program, in front of a stand-in `name_show` or, as the daemon, over
//! simulated servers and a recording proxy.

mod answers;
mod hostile;
mod isolation;
mod resolve;
mod tcp;
mod trouble;
mod wildcard;
