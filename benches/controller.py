#!/usr/bin/env python3
"""What the naming controller costs a Tor's streams, before a scripted control port: the time from the event that a stream
waits to the command that lets it go.

    benches/controller.py [STREAMS]

Builds the release, starts `isonym tor` before a stand-in for a name_show RPC, and prints a table; exits with 1 when a
stream was lost or sent elsewhere. The times have both directions of a loopback connection in them, and this script's own
turns. Linux; Python's standard library.
"""

import http.server
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STREAMS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Streams that come at once.
AT_ONCE = 1000
# How long anything may take that comes by itself.
PATIENCE = 30
ADDRESS = "192.0.2.1"
FIELDS = (
    'SOCKS_USERNAME="{user}" SOCKS_PASSWORD="p" CLIENT_PROTOCOL=SOCKS5 NYM_EPOCH=0 SESSION_GROUP=-4 '
    "ISO_FIELDS=SOCKS_USERNAME,SOCKS_PASSWORD,CLIENTADDR,SESSION_GROUP,NYM_EPOCH"
)


class NameShow(http.server.BaseHTTPRequestHandler):
    """Every name has an address."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    value = json.dumps({"ip": ADDRESS})
    calls = 0

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        NameShow.calls += 1
        name = request["params"][0]
        result = {"name": name, "name_encoding": "ascii", "value": self.value, "value_encoding": "ascii"}
        result |= {"txid": "00" * 32, "vout": 0, "address": "", "height": 1, "expires_in": 100, "expired": False}
        body = json.dumps({"result": result, "error": None, "id": request["id"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Control:
    """A control port with one controller, which has begun."""

    def __init__(self, listener):
        self.socket, _ = listener.accept()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.streams = 0
        for command, reply in [
            ("PROTOCOLINFO 1", "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK"),
            ("AUTHENTICATE", "250 OK"),
            ("SETEVENTS STREAM SIGNAL CONF_CHANGED", "250 OK"),
            ("GETCONF __LeaveStreamsUnattached", "250 __LeaveStreamsUnattached=1"),
            ("GETINFO stream-status", "250-stream-status=\r\n250 OK"),
        ]:
            self.expect(command)
            self.say(reply + "\r\n")

    def say(self, text):
        self.socket.sendall(text.encode())

    def hear(self):
        return self.lines.readline().decode().strip()

    def expect(self, command):
        if (heard := self.hear()) != command:
            sys.exit(f"expected {command!r}, heard {heard!r}")

    def come(self, host, user):
        """Returns the events of a stream that comes and waits, and its number."""
        self.streams += 1
        fields = FIELDS.format(user=user)
        return self.streams, (
            f"650 STREAM {self.streams} NEW 0 {host}:80 SOURCE_ADDR=127.0.0.1:5 PURPOSE=USER {fields}\r\n"
            f"650 STREAM {self.streams} CONTROLLER_WAIT 0 {host}:80 {fields}\r\n"
        )


def one_by_one(control, host, users):
    """Takes the time of streams one after the other, in microseconds."""
    times = []
    for number in range(STREAMS):
        stream, events = control.come(host, number % users)
        begin = time.perf_counter()
        control.say(events)
        if host.endswith(".bit"):
            control.expect(f"REDIRECTSTREAM {stream} {ADDRESS}")
            control.say("250 OK\r\n")
        control.expect(f"ATTACHSTREAM {stream} 0")
        times.append((time.perf_counter() - begin) * 1e6)
        control.say("250 OK\r\n")
    return times


def at_once(control):
    """Takes the time of many streams that come at once, half of them with names, in milliseconds."""
    events, left = [], set()
    for number in range(AT_ONCE):
        stream, lines = control.come(f"name{number % 50}.bit" if number % 2 else "example.com", number % 20)
        events.append(lines)
        left.add(stream)
    begin = time.perf_counter()
    control.say("".join(events))
    while left:
        word, stream, *_ = control.hear().split()
        control.say("250 OK\r\n")
        if word == "ATTACHSTREAM":
            left.remove(int(stream))
        elif word != "REDIRECTSTREAM":
            sys.exit(f"stream {stream} was lost")
    return (time.perf_counter() - begin) * 1e3


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    names = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NameShow)
    names.daemon_threads = True
    threading.Thread(target=names.serve_forever, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    with tempfile.TemporaryDirectory() as home:
        command = [TARGET / "isonym", "tor", "-q", "--control", f"127.0.0.1:{listener.getsockname()[1]}"]
        command += ["--rpc-url", f"http://127.0.0.1:{names.server_address[1]}"]
        program = subprocess.Popen(command, env={"HOME": home})
        try:
            control = Control(listener)
            rows = []
            for what, host in [("no name of ours", "example.com"), ("a name, cached under its ID", "name.bit")]:
                times = sorted(one_by_one(control, host, 20))
                p99 = times[len(times) * 99 // 100]
                rows.append((f"stream to {what}", f"median {statistics.median(times):.0f} us, p99 {p99:.0f} us"))
            many = sorted(one_by_one(control, "example.com", STREAMS))
            rows.append(("the same, each with its own credentials", f"median {statistics.median(many):.0f} us"))
            rows.append((f"{AT_ONCE} streams at once, half to 50 names", f"all gone after {at_once(control):.0f} ms"))
            status = pathlib.Path(f"/proc/{program.pid}/status").read_text()
            memory = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
            cpu = sum(map(int, pathlib.Path(f"/proc/{program.pid}/stat").read_text().rsplit(")")[1].split()[11:13]))
            cpu = cpu / os.sysconf("SC_CLK_TCK") / control.streams * 1e6
            rows.append(("memory at the peak", f"{memory:.0f} MiB"))
            rows.append(("CPU for each stream", f"{cpu:.0f} us"))
            rows.append(("calls of name_show", str(NameShow.calls)))
        finally:
            program.terminate()
            program.wait()
    width = max(len(what) for what, _ in rows)
    for what, figure in rows:
        print(f"{what:{width}}  {figure}")


if __name__ == "__main__":
    main()
