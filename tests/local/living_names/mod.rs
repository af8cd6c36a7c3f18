//! All living names, kept locally: what each one is worth, that others have no value, and what the chain may do meanwhile.

mod daemon;
mod index;
mod scan;
