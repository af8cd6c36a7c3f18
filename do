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

# When the source is of, for what is made of it: seconds since 1970.
source_date() { git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml; }

# The program as it is given to others: what it is made of tells neither who built it nor where, so that anybody gets the same.
release_build() { # [cargo options]
    local from to flags=${RUSTFLAGS:-}
    while read -r from to; do flags+=" --remap-path-prefix=$from=$to"; done <<-END
		${CARGO_HOME:-$HOME/.cargo} /cargo
		$(rustc --print sysroot) /rust
		$PWD /isonym
	END
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(source_date)} RUSTFLAGS=$flags cargo build --release --locked "$@"
}

# The same source in two folders, with two of Cargo's: of both must come the same bytes.
reproducible() { # [cargo options]
    local work number sums=()
    work=$(mktemp -d)
    for number in 1 22; do
        mkdir -p "$work/$number/source" "$work/$number/cargo"
        git archive HEAD | tar -x -C "$work/$number/source"
        # What was fetched already is not fetched again.
        if [ -d "${CARGO_HOME:-$HOME/.cargo}/registry" ]; then cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$work/$number/cargo/"; fi
        (cd "$work/$number/source" && CARGO_HOME="$work/$number/cargo" SOURCE_DATE_EPOCH=$(source_date) ./do release "$@")
        sums+=("$(sha256sum <"$work/$number/source/target/release/isonym")")
        mv "$work/$number/source/target/release/isonym" "$work/isonym.$number"
        rm -rf "${work:?}/$number"
    done
    printf '%s\n' "${sums[@]}"
    [ "${sums[0]}" = "${sums[1]}" ] || { echo "they differ: $work" >&2; return 1; }
    rm -rf "$work"
}

# Each crate is built from what would be published, and the program installed from that as its users will.
crates() {
    local work crate
    cargo package --locked --package isonym-core --package isonym-sim --package isonym
    work=$(mktemp -d)
    for crate in isonym-core isonym-sim isonym; do
        mkdir "$work/$crate" && tar -x --strip-components 1 -C "$work/$crate" -f target/package/"$crate"-[0-9]*.crate
    done
    # Until they are published the two that it needs are these.
    CARGO_TARGET_DIR=$PWD/target cargo install --debug --path "$work/isonym" --root "$work/root" \
        --config "patch.crates-io.isonym-core.path='$work/isonym-core'" --config "patch.crates-io.isonym-sim.path='$work/isonym-sim'"
    "$work/root/bin/isonym" playground --once
    rm -rf "$work"
}

# The oldest compiler that is promised, for all there is. What it makes is kept apart, or each would undo the other's.
msrv() {
    local version
    version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    # Nothing of it runs for long, so that optimising it is lost time.
    local plain=(--config 'profile.dev.package."*".opt-level=0' --config 'profile.dev.package."*".debug=false')
    CARGO_TARGET_DIR=target/msrv cargo "+$version" check --locked --workspace --all-targets "${plain[@]}"
    CARGO_TARGET_DIR=target/msrv cargo "+$version" check --locked --all-targets --features embedded-tor "${plain[@]}"
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
        release_build --features embedded-tor
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(source_date)}; export SOURCE_DATE_EPOCH
        rm -rf target/packaging target/debian && mkdir -p target/packaging/man
        made=target/packaging; program=target/release/isonym
        "$program" man "$made/man" && gzip -9 -n "$made"/man/*
        "$program" config example >"$made/isonym.toml"
        "$program" completions bash >"$made/isonym.bash"
        "$program" completions fish >"$made/isonym.fish"
        "$program" completions zsh >"$made/_isonym"
        sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml | {
            read -r maintainer
            printf 'isonym (%s-1) unstable; urgency=medium\n\n' "$("$program" --version | cut -d ' ' -f 2)"
            printf '  * What changed is in /usr/share/doc/isonym/changelog.gz.\n\n'
            printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
        } >"$made/changelog.debian"
        gzip -9 -n <CHANGELOG.md >"$made/changelog.gz"
        cargo deb --no-build ;;
    crates) crates ;; # what would be published, built and installed from
    msrv) msrv ;; # with the oldest Rust that is promised; needs it: rustup toolchain install
    release) shift; release_build "$@" ;; # target/release/isonym, as it is given to others
    reproducible) shift; reproducible "$@" ;; # builds HEAD twice, each time elsewhere, and compares; dear
    try-install) tests/package/install ;; # installs the package in a bare Debian, tries it, and purges it; as root
    try-service) tests/package/service ;; # the service under systemd, likewise
    embedded) embedded ;; # lints and tests of the program with a Tor of its own
    doc) RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items ;;
    ci) "$0" check && "$0" doc && "$0" test && "$0" embedded ;;
    *) echo "usage: ./do check | test [unit] [ARGS] | embedded | fuzz [TARGET [SECONDS]] | bench [ARGS] | soak DAYS [SEED] | crates | msrv | release | reproducible | deb | try-install | try-service | deny | doc | ci" >&2; exit 64 ;;
esac
