//! The program against real ElectrumX servers: every answer must be the one that Namecoin Core gave for the same
//! chain, or an outcome that our policy is stricter about on purpose.

mod costs;
mod first_question;
mod harness;
mod hello;
mod isolation;
mod long_chain;
mod orphans;
mod over_tls;
mod peers;
mod releases;
mod requests;
mod simulated;
mod story;
