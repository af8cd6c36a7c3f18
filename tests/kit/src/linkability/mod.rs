//! What an operator of servers can tell: an adversary who sees every connection, each from another exit, with the moments and
//! sizes of all messages, and wants to know which of them are one user's.
//!
//! | file | |
//! | --- | --- |
//! | [`users`] | daemons in a [virtual world](crate::virtual_world), and people who use them by chance |
//! | [`real`] | the same people before a real server, in real time |
//! | [`passive`] | attacks by who only looks |
//! | [`sampler`] | the attack that weighs all uses together |
//! | [`active`] | attacks by who plays tricks |
//! | [`spy`] | the attack by who uses the same daemon |
//! | [`combined`] | all of these together |
//! | [`score`] | how well an attacker does, and how well chance would |
//! | [`cost`] | what it costs |
//!
//! An attack gives pairs of things a number; whatever it does better than the same numbers do when owners are dealt anew is
//! what leaks. `cargo bench --bench linkability` prints it, and `tests/local/linkability.rs` keeps it small.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "statistics of small counts"
)]

pub mod active;
pub mod combined;
pub mod cost;
pub mod passive;
pub mod real;
pub mod sampler;
pub mod score;
pub mod spy;
pub mod users;
