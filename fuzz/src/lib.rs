//! What the fuzzer looks at, one target for each decoder and machine. A target is a function of bytes that panics where
//! they do what they must not; so its corpus, `corpus/NAME`, is a test as well, for which no fuzzer is needed.

use arbitrary::{Arbitrary, Unstructured};

mod world;

/// Declares the modules of the targets, and their list.
macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Each target, by its name.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::run)),*];
    };
}

targets!(
    anchor_toml,
    auxpow,
    dane_chain,
    dns_engine,
    dns_message,
    dns_value,
    exchange,
    full_header,
    lookup_events,
    name_proof,
    name_script,
    p2p_codec,
    peer_events,
    pool_events,
    prop279_line,
    reply,
    rpc_request,
    server_address,
    socks_front,
    sync_events,
    tor_control,
);

/// The fuzzer's bytes, taken one after the other.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

/// Makes an input of the fuzzer's bytes; `None` where they are too few.
fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.len() < T::size_hint(0).0 {
        return None;
    }
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// Has a program run a target: under the fuzzer, or without it on the files that its arguments name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::$name::run(bytes));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $crate::$name::run(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}
