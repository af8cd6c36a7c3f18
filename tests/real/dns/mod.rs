//! The DNS server before clients of others.

mod dig;
