#!/usr/bin/env python3
"""What callers feel of a disk that takes long for each fsync, while blocks come and are written down.

    benches/slow_disk.py [SECONDS [DELAY [PROGRAM WORLD]]]

Runs a daemon over crates/sim/examples/sim_world.rs, which mines a block every two seconds, and asks for a name that is
remembered, over and over, for SECONDS (20) each: once with the disk as it is, once with DELAY seconds (2) added to every
fsync. The daemon runs under strace both times, which holds the thread that calls fsync and no other. A new block makes
the daemon look the name up anew, which the greatest time shows. PROGRAM and WORLD, instead of the releases that are built
here, allow to compare. Exits with 1 when a lookup failed. Linux; Python's standard library and strace.
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 20
DELAY = float(sys.argv[2]) if len(sys.argv) > 2 else 2
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
PROGRAM = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else TARGET / "isonym"
WORLD = pathlib.Path(sys.argv[4]) if len(sys.argv) > 3 else TARGET / "examples" / "sim_world"
# How often a block is mined, and how long callers rest between two questions, in seconds.
BLOCKS, REST = 2, 0.002
FLUSHES = "fsync,fdatasync,sync_file_range"
PATIENCE = 300


def until(what, ask):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.1)
    sys.exit(f"never: {what}")


def read(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def measure(label, delay):
    """Runs a daemon and asks it; returns how many questions failed."""
    world = subprocess.Popen([WORLD, str(BLOCKS)], stdout=subprocess.PIPE, text=True)
    children = [world]
    try:
        proxy, *servers = world.stdout.readline().split()
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder) / "data"
            log = pathlib.Path(folder) / "strace"
            command = ["strace", "--follow-forks", "--seccomp-bpf", f"--trace={FLUSHES}", "--output", log]
            if delay:
                command.append(f"--inject={FLUSHES}:delay_exit={int(delay * 1e6)}")
            command += [PROGRAM, "--network=regtest", "--datadir", home, f"--proxy=socks5://{proxy}"]
            command += [f"--server={server}" for server in servers]
            command += ["-q", "daemon", "--rpc-listen=127.0.0.1:0"]
            # A session of its own, so that the daemon ends together with strace.
            daemon = subprocess.Popen(command, start_new_session=True)
            children.append(daemon)
            address = until("it listens", lambda: read(home / "regtest" / ".rpc-address")).decode()
            user = until("the cookie", lambda: read(home / "regtest" / ".cookie"))
            caller = Caller(address, user)
            until("headers are up to date", lambda: caller.call("getinfo")[1]["result"]["synchronized"])
            flushes = len(read(log).splitlines())
            times, failures, heights = [], 0, []
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                seconds, reply = caller.call("name_show", ["d/bench", {"streamID": "again"}])
                times.append(seconds * 1e3)
                failures += bool(reply["error"])
                time.sleep(REST)
            flushes = len(read(log).splitlines()) - flushes
            blocks = caller.call("getblockcount")[1]["result"]
            times.sort()
            at = lambda part: times[min(int(len(times) * part), len(times) - 1)]
            figures = f"median {at(0.5):.2f} ms, p99 {at(0.99):.2f} ms, p99.9 {at(0.999):.2f} ms, most {times[-1]:.1f} ms"
            print(f"{label:<24} {len(times)} answers: {figures}; {failures} failed", flush=True)
            print(f"{'':<24} height {blocks} at the end, {flushes} flushes meanwhile", flush=True)
            stopped = time.monotonic()
            caller.call("stop")
            status = daemon.wait(timeout=PATIENCE)
            print(f"{'':<24} ended after {time.monotonic() - stopped:.1f} s with status {status}", flush=True)
            return failures
    finally:
        for child in children[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        world.kill()
        world.wait()


class Caller:
    """A connection that is kept from call to call."""

    def __init__(self, address, user):
        self.connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        self.headers = {"Authorization": "Basic " + base64.b64encode(user).decode()}

    def call(self, method, params=()):
        """Returns how long it took and the reply."""
        body = json.dumps({"method": method, "params": list(params), "id": 1})
        started = time.monotonic()
        self.connection.request("POST", "/", body, self.headers)
        reply = self.connection.getresponse().read()
        return time.monotonic() - started, json.loads(reply)


def main():
    if len(sys.argv) <= 3:
        build = ["cargo", "build", "--release", "--quiet", "--package", "isonym", "--bin", "isonym"]
        subprocess.run(build, cwd=ROOT, check=True)
        build = ["cargo", "build", "--release", "--quiet", "--package", "isonym-sim", "--example", "sim_world"]
        subprocess.run(build, cwd=ROOT, check=True)
    failures = measure("the disk as it is", 0)
    failures += measure(f"{DELAY:g} s for each fsync", DELAY)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
