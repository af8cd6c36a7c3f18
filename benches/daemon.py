#!/usr/bin/env python3
"""What a running daemon costs and carries: at rest, for callers who ask again, for many who are new at once.

    benches/daemon.py [CROWD [SECONDS]]

Builds the release, starts crates/sim/examples/sim_world.rs and a daemon that goes through its proxy, and prints a table; exits
with 1 when a lookup failed. Linux; Python's standard library, and wrk (`apt-get install wrk`), without which its row is
left out.
"""

import asyncio
import base64
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
CROWD = int(sys.argv[1]) if len(sys.argv) > 1 else 500
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Live isolation IDs that the daemon keeps by default.
LIVE_IDS = 256
CALLERS = 32
# How long anything may take that comes by itself; a lookup of the daemon's own ends long before.
PATIENCE = 300

LUA = """
wrk.method, wrk.path, wrk.body = "POST", "/", [==[%s]==]
wrk.headers["Authorization"] = "%s"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("figures: %%f %%f %%f %%d\\n", summary.requests * 1e6 / summary.duration,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.timeout + e.status))
end
"""


class Daemon:
    """A daemon on regtest in a folder of its own."""

    def __init__(self, proxy, servers, folder):
        command = [TARGET / "isonym", "--network=regtest", "--datadir", folder, f"--proxy=socks5://{proxy}"]
        command += [f"--server={server}" for server in servers]
        self.process = subprocess.Popen([*command, "-q", "daemon", "--rpc-listen=127.0.0.1:0"])
        home = pathlib.Path(folder) / "regtest"
        self.address = self.until("it listens", lambda: read(home / ".rpc-address"))
        user = (home / ".cookie").read_bytes()
        self.authorization = "Basic " + base64.b64encode(user).decode()

    def until(self, what, ask):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if answer := ask():
                return answer
            time.sleep(0.1)
        sys.exit(f"never: {what}")

    def call(self, method):
        body = json.dumps({"method": method, "id": 1}).encode()
        request = urllib.request.Request(f"http://{self.address}/", body, {"Authorization": self.authorization})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)["result"]

    def ticks(self):
        """Clock ticks of CPU time, user and system."""
        fields = read(f"/proc/{self.process.pid}/stat").rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    def memory(self):
        """Resident MiB, now and at the peak."""
        status = read(f"/proc/{self.process.pid}/status")
        return [int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024 for key in ("VmRSS", "VmHWM")]


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except FileNotFoundError:
        return None


def lookup(isolation_id):
    return json.dumps({"method": "name_show", "params": ["d/bench", {"streamID": isolation_id}], "id": 1})


async def ask(daemon, isolation_id):
    """Looks the name up over a connection of its own; returns seconds and what went wrong."""
    started = time.monotonic()
    body = lookup(isolation_id)
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {daemon.authorization}\r\nConnection: close\r\n"
    try:
        reader, writer = await asyncio.open_connection(*daemon.address.split(":"))
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        reply = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        answer = json.loads(reply.partition(b"\r\n\r\n")[2])
        if answer["error"]:
            wrong = answer["error"]["message"]
        else:
            wrong = None if answer["result"]["value"] == "value" else "another value"
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        wrong = repr(error)
    return time.monotonic() - started, wrong


def crowd(daemon, count, prefix):
    """Lets so many callers ask at once, each under an ID that is new. Returns failures."""

    async def all_at_once():
        return await asyncio.gather(*(ask(daemon, f"{prefix}-{number}") for number in range(count)))

    answers = asyncio.run(all_at_once())
    failures = [wrong for _, wrong in answers if wrong]
    times = sorted(seconds for seconds, wrong in answers if not wrong) or [float("nan")]
    resident, _ = daemon.memory()
    live = daemon.call("isolation_info")["ids"]
    figures = f"median {times[len(times) // 2]:.1f} s, last {times[-1]:.1f} s, {len(failures)} failed"
    row(f"{count} callers at once, new IDs", f"{figures}; {resident:.1f} MiB with {live} live IDs")
    for wrong in sorted(set(failures)):
        print(f"  {failures.count(wrong)} times: {wrong}")
    return len(failures)


def rest(daemon):
    before = daemon.ticks()
    time.sleep(SECONDS)
    ticks = daemon.ticks() - before
    row(f"at rest for {SECONDS} s", f"{ticks} ticks of CPU ({os.sysconf('SC_CLK_TCK')}/s), {daemon.memory()[0]:.1f} MiB")


def remembered(daemon):
    """Asks the same again and again over connections that stay open. Returns failures."""
    label = f"remembered, {CALLERS} connections"
    if not shutil.which("wrk"):
        row(label, "left out: no wrk")
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % (lookup("again"), daemon.authorization))
        script.flush()
        command = ["wrk", "--threads=1", f"--connections={CALLERS}", f"--duration={SECONDS}s", "--timeout=60s"]
        command += [f"--script={script.name}", f"http://{daemon.address}"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, median, p99, failures = re.search(r"figures: (\S+) (\S+) (\S+) (\d+)", text).groups()
    figures = f"{float(rate):,.0f}/s, median {float(median):.2f} ms, p99 {float(p99):.2f} ms, {failures} failed"
    row(label, f"{figures}; {daemon.memory()[0]:.1f} MiB")
    return int(failures)


def row(label, figures):
    print(f"{label:<32} {figures}", flush=True)


def main():
    build = ["cargo", "build", "--release", "--quiet", "-p", "isonym", "-p", "isonym-sim", "--bin", "isonym", "--example", "sim_world"]
    subprocess.run(build, cwd=ROOT, check=True)
    # Both ends of a crowd's connections are here, and each needs some more for its way to a server.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    world = subprocess.Popen([TARGET / "examples" / "sim_world"], stdout=subprocess.PIPE, text=True)
    children = [world]
    try:
        proxy, *servers = world.stdout.readline().split()
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(proxy, servers, folder)
            children.append(daemon.process)
            daemon.until("headers are up to date", lambda: daemon.call("getinfo")["synchronized"])
            rest(daemon)
            failures = remembered(daemon)
            failures += crowd(daemon, LIVE_IDS, "first")
            failures += crowd(daemon, CROWD, "then")
            row("peak", f"{daemon.memory()[1]:.1f} MiB")
    finally:
        for child in reversed(children):
            child.kill()
            child.wait()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
