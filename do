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

fuzz_targets() { basename --suffix .rs --multiple fuzz/fuzz_targets/*.rs; }

# What is found goes to fuzz/found, beside the corpora of the source, which it adds to.
fuzz_run() { # TARGET SECONDS
    mkdir -p "fuzz/found/$1" "fuzz/artifacts/$1" "fuzz/corpus/$1"
    "fuzz/target/$(host)/fuzz/$1" -max_total_time="$2" -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$1/" \
        "fuzz/found/$1" "fuzz/corpus/$1"
}

# Of what goes the same ways through the code, however often, one input is enough.
fuzz_minimise() { # TARGET
    local made=fuzz/target/minimised
    rm -rf "$made" && mkdir -p "$made" "fuzz/found/$1" "fuzz/corpus/$1"
    "fuzz/target/$(host)/fuzz/$1" -set_cover_merge=1 -use_counters=0 "$made" "fuzz/corpus/$1" "fuzz/found/$1"
    rm -rf "fuzz/corpus/$1" && mv "$made" "fuzz/corpus/$1"
}

host() { rustc -vV | sed -n 's/^host: //p'; }

run_tests() { # [cargo options]: by cargo-nextest where it is there, else by Cargo
    if cargo nextest --version >/dev/null 2>&1; then cargo nextest run "$@"; else cargo test "$@"; fi
}

test_unit() { # [ARGS]
    run_tests --workspace --exclude isonym-fuzz --lib --bins --test architecture --test corpora --test dependencies --test documents "$@"
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

left_out() { echo "LEFT OUT: $*"; }

# What dependencies may be, by deny.toml. Whoever has no cargo-deny goes on without, and so does who can't reach the database
# of advisories and never could.
deny() {
    if ! cargo deny --version >/dev/null 2>&1; then
        left_out "what dependencies may be, since cargo-deny is not there: cargo install --locked cargo-deny"
        return
    fi
    cargo deny --locked check licenses bans sources
    if cargo deny fetch db 2>/dev/null || compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-*" >/dev/null; then
        cargo deny --locked --offline check advisories
    else
        left_out "advisories on dependencies, since their database can't be had"
    fi
}

# What the program is made of, as CycloneDX. Cargo-cyclonedx writes beside each manifest, with the path of this folder.
sbom() {
    local name=isonym.cdx time
    time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    SOURCE_DATE_EPOCH=$time cargo cyclonedx --quiet --format json --spec-version 1.5 --features embedded-tor --no-build-deps \
        --override-filename "$name"
    mkdir -p target
    sed "s|file://$PWD|file://|g" "$name.json" >"target/$name.json"
    rm -f "$name.json" {crates,tests}/*/"$name.json" "fuzz/$name.json"
    echo "target/$name.json"
}

# Nightly's tools, for what dependencies do in unsafe code; ours has none. Miri runs no code of other languages, so it is
# given the pure parsers and machines that need none, with few cases of each property.
miri() { # [FILTERS]
    local each
    [ $# -gt 0 ] || set -- time:: backoff:: isolation:: name::id name::encoding name::script chain::merkle chain::header chain::difficulty
    for each in "$@"; do
        MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 \
            cargo +nightly miri test --package isonym-core --lib -- "$each"
    done
}

asan() { # [ARGS]
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --target "$(host)" --target-dir target/asan \
        --package isonym-core --lib "$@"
}

case "${1:-}" in
    check) # the fuzz targets too; `fuzz` links them
        cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings ;;
    test) # with `unit`: what needs no installing and no other program, in seconds
        shift
        if [ "${1:-}" = unit ]; then shift; test_unit "$@"; else test_all "$@"; fi ;;
    fuzz) # alone: builds all targets; with one: runs it for so many seconds (60); with seconds: runs each so long
        case "${2:-}" in
            "") fuzz_build --bins ;;
            *[!0-9]*) fuzz_build --bin "$2" && fuzz_run "$2" "${3:-60}" ;;
            *) fuzz_build --bins && for target in $(fuzz_targets); do fuzz_run "$target" "$2"; done ;;
        esac ;;
    fuzz-corpus) # [TARGETS]: puts what the fuzzer has found into the corpora of the source, and leaves out what adds nothing
        shift
        fuzz_build --bins && for target in ${*:-$(fuzz_targets)}; do fuzz_minimise "$target"; done ;;
    miri) shift; miri "$@" ;; # [FILTERS]: the pure parsers, by Miri; needs a nightly toolchain with miri and rust-src
    asan) shift; asan "$@" ;; # [ARGS]: tests beside the code, with the address sanitizer; needs a nightly toolchain
    bench) shift; cargo bench "$@" ;;
    soak) # DAYS [SEED]: a whole daemon in virtual time; with the checks of a debug build, and the speed of an optimised one
        shift; CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo test --bench soak -- "$@" ;;
    deny) deny ;; # licences, sources, bans and advisories of all dependencies; needs cargo-deny and, for advisories, a network
    sbom) sbom ;; # target/isonym.cdx.json, for scanners: what the program of ./do deb is made of; needs cargo-cyclonedx
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
    ci) "$0" check && "$0" deny && "$0" doc && "$0" test && "$0" embedded ;;
    *) echo "usage: ./do check | test [unit] [ARGS] | embedded | fuzz [[TARGET] SECONDS] | fuzz-corpus [TARGETS] | miri [FILTERS] | asan [ARGS] | bench [ARGS] | soak DAYS [SEED] | crates | msrv | release | reproducible | deb | try-install | try-service | deny | sbom | doc | ci" >&2; exit 64 ;;
esac
