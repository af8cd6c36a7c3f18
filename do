#!/usr/bin/env bash
# The single entry: each recipe is what one would type by hand.
set -euo pipefail
cd "$(dirname "$0")"

# Coverage for libFuzzer from the stable compiler; the sanitizers would need a nightly one, and the crate forbids unsafe code.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"

fuzz_build() { # [cargo options]: the flags are for the target alone, hence --target
    RUSTFLAGS="${coverage//$'\n'/ }" cargo build --profile fuzz --package isonym-fuzz --target-dir fuzz/target --target "$(host)" "$@"
}

host() { rustc -vV | sed -n 's/^host: //p'; }

run_tests() { # [cargo options]: by cargo-nextest where it is there, else by Cargo
    if cargo nextest --version >/dev/null 2>&1; then cargo nextest run "$@"; else cargo test "$@"; fi
}

test_unit() { # [ARGS]
    run_tests --workspace --exclude isonym-fuzz --lib --bins --test architecture "$@"
}

# Documentation tests are Cargo's own affair, and so are those on a private Tor network, which they share as long as they
# share a process: nextest would have each start one. Those of `local` wait more than they work.
test_all() { # [ARGS]: for the tests that these name alone
    tests/install
    if [ $# -gt 0 ]; then run_tests --workspace "$@"; return; fi
    test_unit
    NEXTEST_TEST_THREADS=$((3 * $(nproc))) RUST_TEST_THREADS=$((3 * $(nproc))) run_tests --test local
    run_tests --test real --test alone
    cargo test --workspace --doc
    cargo test --test tor
}

# What is there with the embedded Tor alone, which nearly doubles what is compiled. Its tests share a private Tor network.
embedded() {
    tests/install
    cargo clippy --features embedded-tor --lib --bins --test embedded -- -D warnings
    run_tests --features embedded-tor --lib --bins --test architecture
    cargo test --features embedded-tor --test embedded
}

case "${1:-}" in
    check) # the fuzz targets too; `fuzz` links them
        cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings ;;
    test) # with `unit`: what needs no installing and no other program, in seconds
        shift
        if [ "${1:-}" = unit ]; then shift; test_unit "$@"; else test_all "$@"; fi ;;
    fuzz) # without a target: builds all; with one: runs it for so many seconds (60)
        if [ $# = 1 ]; then fuzz_build --bins; else
            fuzz_build --bin "$2"
            mkdir -p "fuzz/corpus/$2" "fuzz/artifacts/$2"
            "fuzz/target/$(host)/fuzz/$2" -max_total_time="${3:-60}" -artifact_prefix="fuzz/artifacts/$2/" "fuzz/corpus/$2"
        fi ;;
    bench) shift; cargo bench "$@" ;;
    soak) # DAYS [SEED]: a whole daemon in virtual time; with the checks of a debug build, and the speed of an optimised one
        shift; CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo test --bench soak -- "$@" ;;
    deny) # licences, sources, bans and advisories of all dependencies; needs cargo-deny and, for advisories, a network
        cargo deny --locked check ;;
    deb) # target/debian/isonym_VERSION_ARCH.deb; needs cargo-deb
        cargo build --release --locked --features embedded-tor
        rm -rf target/packaging && mkdir -p target/packaging/man
        made=target/packaging; program=target/release/isonym
        "$program" man "$made/man" && gzip -9 -n "$made"/man/*
        "$program" config example >"$made/isonym.toml"
        "$program" completions bash >"$made/isonym.bash"
        "$program" completions fish >"$made/isonym.fish"
        "$program" completions zsh >"$made/_isonym"
        cargo deb --no-build ;;
    embedded) embedded ;; # lints and tests of the program with a Tor of its own
    doc) RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items ;;
    ci) "$0" check && "$0" doc && "$0" test && "$0" embedded ;;
    *) echo "usage: ./do check | test [unit] [ARGS] | embedded | fuzz [TARGET [SECONDS]] | bench [ARGS] | soak DAYS [SEED] | deb | deny | doc | ci" >&2; exit 64 ;;
esac
