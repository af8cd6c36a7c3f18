#!/usr/bin/env python3
"""What dnsdist before several `isonym dns` costs, by the settings that docs/operators.md has for it.

    benches/dns_fleet.py [SECONDS]

Builds the release, starts servers before a stand-in for a name_show RPC, and asks for cached names under one isolation
ID, of a server itself and through dnsdist, one after the other in each of ROUNDS; prints a table with medians, and
ratios to the server itself. Exits with 1 when an answer was wrong, or one was lost at STEADY queries a second. Linux;
Python's standard library, dnsperf and dnsdist (`apt-get install dnsperf dnsdist`).
"""

import contextlib
import multiprocessing
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from dns import NAMES, PATIENCE, ROOT, SECONDS, Dns, at, dnsperf, figure, name_show, wrong

ROUNDS, SERVERS = 3, 3
# Queries a second at which latency is measured and none may be lost.
STEADY = 2_000
# The isolation ID `me`.
ID = ["-E", "65312:6d65"]


class Dnsdist:
    """dnsdist before servers."""

    seconds = Dns.seconds

    def __init__(self, servers, folder, cache):
        page = (ROOT / "docs/operators.md").read_text()
        settings = re.search(r"```lua\n(-- /etc/dnsdist/dnsdist.conf\n.*?)```", page, re.DOTALL)[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
            plug.bind(("127.0.0.1", 0))
            self.port = plug.getsockname()[1]
        lines = [line for line in settings.splitlines() if not line.startswith("newServer")]
        pattern = next(line for line in settings.splitlines() if line.startswith("newServer"))
        lines += [pattern.replace("127.0.0.1:5300", f"127.0.0.1:{server.port}") for server in servers]
        text = "\n".join(lines).replace("127.0.0.1:5353", f"127.0.0.1:{self.port}")
        if cache:
            text = text.replace("-- getPool", "getPool")
        path = pathlib.Path(folder) / f"dnsdist-{self.port}"
        path.write_text(text)
        self.log = path.with_suffix(".log")
        with self.log.open("w") as file:
            command = ["dnsdist", "--supervised", "--disable-syslog", "--config", path]
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        end = time.monotonic() + PATIENCE
        while self.log.read_text().count("as 'up'") < len(servers):
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"never: all servers are up\n{self.log.read_text()}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def measured(front, parts, questions):
    """Returns queries a second at full speed, microseconds of CPU that each takes of all programs that have a part in it,
    median and p99 in milliseconds at a steady rate, and failures."""
    before = sum(part.seconds() for part in parts)
    text = dnsperf(front, questions, f"-l{SECONDS}", *ID)
    failures, rate = wrong(text)[0], figure(text, "Queries per second")
    # Says more than the rate where the machine has other things to do, too.
    cost = (sum(part.seconds() for part in parts) - before) * 1e6 / figure(text, "Queries completed")
    text = dnsperf(front, questions, f"-l{SECONDS}", f"-Q{STEADY}", "-v", *ID)
    times = sorted(float(line.rpartition(" ")[2]) * 1e3 for line in text.splitlines() if line.startswith("> NOERROR"))
    return rate, cost, at(times, 0.5), at(times, 0.99), failures + sum(wrong(text))


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "isonym", "--bin", "isonym"], cwd=ROOT, check=True)
    ours, theirs = multiprocessing.Pipe()
    names = multiprocessing.Process(target=name_show, args=(theirs,), daemon=True)
    names.start()
    backend, failures = ours.recv(), 0
    try:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            questions = pathlib.Path(folder) / "questions"
            questions.write_text("".join(f"name-{number}.bit A\n" for number in range(NAMES)))
            homes = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(SERVERS)]
            servers = [stack.enter_context(Dns(backend, home)) for home in homes]
            fronts = {"a server itself": servers[0]}
            for label, count, cache in [
                ("dnsdist before one", 1, False),
                (f"dnsdist before {SERVERS}", SERVERS, False),
                (f"dnsdist before {SERVERS}, with its cache", SERVERS, True),
            ]:
                fronts[label] = stack.enter_context(Dnsdist(servers[:count], folder, cache))
            for front in [*servers, *fronts.values()]:
                dnsperf(front, questions, "-n1", "-q10", *ID)
            figures = {label: [] for label in fronts}
            for _ in range(ROUNDS):
                for label, front in fronts.items():
                    parts = servers if front in servers else [front, *servers]
                    *some, failed = measured(front, parts, questions)
                    figures[label].append(some)
                    failures += failed
        direct = None
        for label, rounds in figures.items():
            rate, cost, median, p99 = (statistics.median(column) for column in zip(*rounds))
            direct = direct or (rate, cost, median)
            ratios = [f"{one / other:.2f}" for one, other in zip((rate, cost, median), direct)]
            print(f"{label:<34} {rate:,.0f}/s, {cost:.1f} µs of CPU each; {STEADY:,}/s: median {median:.2f} ms, p99 {p99:.2f} ms")
            print(f"{'':<34} times the server's: rate {ratios[0]}, CPU {ratios[1]}, median {ratios[2]}", flush=True)
        print(f"{failures} wrong or lost")
    finally:
        names.kill()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
