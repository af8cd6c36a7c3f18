#!/usr/bin/env bash
# The single entry: each recipe is what one would type by hand.
set -euo pipefail
cd "$(dirname "$0")"

# Coverage for libFuzzer from the stable compiler; the sanitizers would need a nightly one, and the crate forbids unsafe code.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"

fuzz_build() { # [cargo options]: the flags are for the target alone, hence --target
    RUSTFLAGS="${coverage//$'\n'/ }" cargo build --release --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$(host)" "$@"
}

host() { rustc -vV | sed -n 's/^host: //p'; }

case "${1:-}" in
    check) cargo fmt --check && cargo clippy --workspace --all-targets -- -D warnings ;;
    test) shift; tests/install && cargo test --workspace "$@" ;;
    fuzz) # without a target: builds all; with one: runs it for so many seconds (60)
        if [ $# = 1 ]; then fuzz_build --bins; else
            fuzz_build --bin "$2"
            mkdir -p "fuzz/corpus/$2" "fuzz/artifacts/$2"
            "fuzz/target/$(host)/release/$2" -max_total_time="${3:-60}" -artifact_prefix="fuzz/artifacts/$2/" "fuzz/corpus/$2"
        fi ;;
    bench) shift; cargo bench "$@" ;;
    doc) RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items ;;
    ci) "$0" check && "$0" doc && "$0" fuzz && "$0" test ;;
    *) echo "usage: ./do check | test [ARGS] | fuzz [TARGET [SECONDS]] | bench [ARGS] | doc | ci" >&2; exit 64 ;;
esac
