#!/usr/bin/env python3
"""What the DNS server carries and costs: cached answers, unsigned and signed, and floods of what it has never seen.

    benches/dns.py [SECONDS [FLOOD]]

Builds the release, starts `isonym dns` before a stand-in for a name_show RPC, and prints a table; exits with 1 when an
answer was wrong, or one was lost at STEADY queries a second. SECONDS is how long each row takes; FLOOD is how many
queries a flood has, by default as many as ten minutes of 1,000 a second, sent as fast as they are answered. Linux;
Python's standard library and dnsperf (`apt-get install dnsperf`).
"""

import asyncio
import json
import multiprocessing
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
FLOOD = int(sys.argv[2]) if len(sys.argv) > 2 else 600_000
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Names that are in the cache, and clients that ask for them.
NAMES, CLIENTS = 1000, 4
# Queries a second at which none may be lost.
STEADY = 20_000
# Queries of a flood that are on the way at once: of one identity fewer than it may have lookups, of many as many as the
# server's socket has room for.
OF_ONE, OF_MANY = 60, 200
# The EDNS option for isolation IDs.
ISOLATION = 65312
# How long anything may take that comes by itself; no query waits that long for its answer.
PATIENCE = 30


class NameShow(asyncio.Protocol):
    """One connection to a stand-in for Namecoin Core: every name has an address, but those that begin with `no`."""

    value = json.dumps({"ip": "192.0.2.1", "ip6": "2001:db8::1", "txt": "text"})

    def connection_made(self, transport):
        self.transport, self.unread = transport, b""

    def data_received(self, data):
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            length = int(re.search(rb"(?i)content-length: *(\d+)", self.unread[:end])[1])
            if len(self.unread) < end + 4 + length:
                return
            request = json.loads(self.unread[end + 4 : end + 4 + length])
            self.unread = self.unread[end + 4 + length :]
            self.transport.write(self.reply(request))

    def reply(self, request):
        name = request["params"][0]
        status, result, error = "200 OK", None, None
        if name.startswith("d/no"):
            status, error = "500 Internal Server Error", {"code": -4, "message": "name never existed"}
        else:
            result = {"name": name, "name_encoding": "ascii", "value": self.value, "value_encoding": "ascii"}
            result |= {"txid": "00" * 32, "vout": 0, "address": "", "height": 1, "expires_in": 100, "expired": False}
        body = json.dumps({"result": result, "error": error, "id": request["id"]}).encode()
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def name_show(tell):
    """Serves names until it is killed."""

    async def serve():
        server = await asyncio.get_running_loop().create_server(NameShow, "127.0.0.1", 0, backlog=1024)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


class Dns:
    """A DNS server in front of the stand-in."""

    def __init__(self, backend, folder, keys=None):
        command = [TARGET / "isonym", "--datadir", folder, "dns", "--listen=127.0.0.1:0"]
        command += [f"--rpc-url=http://127.0.0.1:{backend}"] + ([f"--dnssec={keys}"] if keys else [])
        self.log = pathlib.Path(folder) / "log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, stderr=file)
        end = time.monotonic() + PATIENCE
        while not (listens := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text())):
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"never: it listens\n{self.log.read_text()}")
            time.sleep(0.05)
        self.port = int(listens[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if (status := self.process.poll()) is not None:
            sys.exit(f"the server ended by itself: status {status}\n{self.log.read_text()[-2000:]}")
        self.process.kill()
        self.process.wait()

    def memory(self):
        """Resident MiB, now and at the peak."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024 for key in ("VmRSS", "VmHWM")]

    def seconds(self):
        """CPU time, user and system."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def dnsperf(dns, questions, *options):
    """Runs dnsperf; returns what it printed."""
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(dns.port), "-d", str(questions), "-c", str(CLIENTS), *options]
    # Not through a pipe, whose reader would take time from both.
    with tempfile.TemporaryFile("w+") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT)
        file.seek(0)
        return file.read()


def figure(text, label):
    return float(re.search(rf"{label}: +([\d.]+)", text)[1])


def wrong(text):
    """How many answers were not the one that there is, and how many there were not."""
    good = re.search(r"NOERROR (\d+)", text)
    completed = int(figure(text, "Queries completed"))
    return completed - (int(good[1]) if good else 0), int(figure(text, "Queries lost"))


def cached(dns, label, questions, *options):
    """Asks for what is in the cache, as fast as it is answered and then steadily. Returns failures."""
    before = dns.seconds()
    text = dnsperf(dns, questions, f"-l{SECONDS}", *options)
    # Says more than the rate where the machine has other things to do, too.
    cost = (dns.seconds() - before) * 1e6 / figure(text, "Queries completed")
    bad, lost = wrong(text)
    rate, mean = figure(text, "Queries per second"), figure(text, r"Average Latency \(s\)") * 1e3
    figures = f"{cost:.1f} µs of CPU each, mean {mean:.2f} ms, {lost} lost, {bad} wrong"
    row(f"{label}, full speed", f"{rate:,.0f}/s, {figures}")
    failures = bad
    text = dnsperf(dns, questions, f"-l{SECONDS}", f"-Q{STEADY}", "-v", *options)
    bad, lost = wrong(text)
    times = sorted(float(line.rpartition(" ")[2]) * 1e3 for line in text.splitlines() if line.startswith("> NOERROR"))
    rate = figure(text, "Queries per second")
    figures = f"median {at(times, 0.5):.2f} ms, p99 {at(times, 0.99):.2f} ms, {lost} lost, {bad} wrong"
    row(f"{label}, steady", f"{rate:,.0f}/s, {figures}")
    return failures + bad + lost


def at(times, part):
    return times[int(len(times) * part)] if times else float("nan")


def query(number, name, isolation_id):
    """A query for an address, with EDNS."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    option = struct.pack(">HH", ISOLATION, len(isolation_id)) + isolation_id if isolation_id else b""
    head = struct.pack(">HHHHHH", number & 0xFFFF, 0, 1, 0, 0, 1)
    return head + labels + b"\0\0\1\0\1\0" + struct.pack(">HHIH", 41, 1232, 0, len(option)) + option


def flood(dns, label, window, questions):
    """Sends queries over UDP, a window of them at once, and counts the answers."""
    plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    plug.connect(("127.0.0.1", dns.port))
    plug.setblocking(False)
    at_first, started = dns.memory()[0], time.monotonic()
    codes, waiting, sent, lost = {}, 0, 0, 0
    for message in questions:
        plug.send(message)
        sent, waiting = sent + 1, waiting + 1
        while waiting >= window or (sent == FLOOD and waiting):
            if not select.select([plug], [], [], PATIENCE)[0]:
                lost, waiting = lost + waiting, 0
                break
            waiting -= drained(plug, codes)
    plug.close()
    taken = time.monotonic() - started
    names = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN"}
    counts = ", ".join(f"{count:,} {names.get(code, code)}" for code, count in sorted(codes.items()))
    now, peak = dns.memory()
    memory = f"{at_first:.1f} MiB before, {now:.1f} after, peak {peak:.1f}"
    row(label, f"{sent / taken:,.0f}/s, {counts}, {lost} lost; {memory}")


def drained(plug, codes):
    """Reads all answers that are there; returns how many."""
    count = 0
    try:
        while True:
            code = plug.recv(4096)[3] & 15
            codes[code] = codes.get(code, 0) + 1
            count += 1
    except BlockingIOError:
        return count


def floods(backend):
    """Starts a server for each flood, so that each has a peak of its own."""
    for label, window, questions in [
        ("new names", OF_ONE, (query(n, f"f{n}-{os.getpid()}.bit", b"") for n in range(FLOOD))),
        ("new names that aren't there", OF_ONE, (query(n, f"no{n}-{os.getpid()}.bit", b"") for n in range(FLOOD))),
        ("new isolation IDs", OF_MANY, (query(n, "flood.bit", os.urandom(16)) for n in range(FLOOD))),
        ("both new", OF_MANY, (query(n, f"f{n}.bit", os.urandom(16)) for n in range(FLOOD))),
    ]:
        with tempfile.TemporaryDirectory() as folder, Dns(backend, folder) as dns:
            flood(dns, f"{FLOOD:,} {label}", window, questions)


def row(label, figures):
    print(f"{label:<44} {figures}", flush=True)


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "isonym", "--bin", "isonym"], cwd=ROOT, check=True)
    ours, theirs = multiprocessing.Pipe()
    names = multiprocessing.Process(target=name_show, args=(theirs,), daemon=True)
    names.start()
    backend, failures = ours.recv(), 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            questions = pathlib.Path(folder) / "questions"
            questions.write_text("".join(f"name-{number}.bit A\n" for number in range(NAMES)))
            for algorithm in (None, "ecdsap256sha256", "ed25519"):
                keys = None
                if algorithm:
                    keys = pathlib.Path(folder) / algorithm
                    keygen = [TARGET / "isonym", "--quiet", "dnssec", "keygen", "--algorithm", algorithm, keys]
                    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL)
                with Dns(backend, folder, keys) as dns:
                    dnsperf(dns, questions, "-n1", "-q10")
                    for transport in ("udp", "tcp"):
                        options = ["-m", transport] + (["-D"] if keys else ["-e"])
                        label = f"cached, {algorithm or 'unsigned'}, {transport.upper()}"
                        failures += cached(dns, label, questions, *options)
                    row(f"memory, {algorithm or 'unsigned'}", f"peak {dns.memory()[1]:.1f} MiB")
        floods(backend)
    finally:
        names.kill()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
