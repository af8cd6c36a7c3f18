//! The daemon before clients of others.

mod wire;
