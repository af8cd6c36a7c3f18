#!/usr/bin/env python3
"""What a sync of 37,000 AuxPoW headers from a local server costs: wall time, our own CPU time, peak memory.

    benches/whole_program.py [HEADERS [RUNS]]

Builds the release, starts crates/sim/examples/sim_server.rs, and prints a table. Linux and macOS; Python's standard library alone.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = int(sys.argv[1]) if len(sys.argv) > 1 else 37_000
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Of ru_maxrss: kilobytes on Linux, bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def sync(server, folder, verification):
    """Runs one sync in a process of its own; returns wall seconds, CPU seconds and peak bytes."""
    command = [TARGET / "isonym", "--network=regtest", "--direct", f"--server={server}:t", "--datadir", folder]
    command += ["--verification", verification, "-q", "sync"]
    started = time.monotonic()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        sys.exit(f"sync failed: {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RSS_UNIT


def row(label, wall, cpu, peak):
    print(f"{label:<12} {wall:8.2f} {cpu:8.2f} {peak / 2**20:10.1f}")


def main():
    build = ["cargo", "build", "--release", "--quiet", "-p", "isonym", "-p", "isonym-sim", "--bin", "isonym", "--example", "sim_server"]
    subprocess.run(build, cwd=ROOT, check=True)
    server = subprocess.Popen([TARGET / "examples" / "sim_server", str(HEADERS)], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[0]
        print(f"sync of {HEADERS} AuxPoW headers from a server on this machine")
        print(f"{'run':<12} {'wall s':>8} {'CPU s':>8} {'peak MiB':>10}")
        for verification in ["sampled", "full"]:
            runs = []
            with tempfile.TemporaryDirectory() as folder:
                for run in range(RUNS):
                    runs.append(sync(address, f"{folder}/{run}", verification))
                    row(f"{verification} {run + 1}", *runs[-1])
                row("median", *(sorted(column)[len(runs) // 2] for column in zip(*runs)))
                row("nothing new", *sync(address, f"{folder}/0", verification))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
