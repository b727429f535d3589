"""How fast it shuts: 1,000 sessions of one grant in all the states that a session can be in, a
signal that ends the grant, and a packet capture of the loopback interface as the judge.

For each way in: from the arrival of the signal's last byte to the last payload byte and to the
close (RST or FIN) that the gate sent to each session. Prints Markdown and judges one thing only: a
payload byte behind a close, or a session that stays, ends it with 1. Needs root, for the capture
and to make half-open connections."""

import argparse
import contextlib
import os
import pathlib
import platform
import selectors
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))

import confluent_kafka  # noqa: E402

import gate as gates  # noqa: E402
import idp as idps  # noqa: E402
import kafka  # noqa: E402
import messages  # noqa: E402
import pki  # noqa: E402
import wire  # noqa: E402
from processes import wait_for  # noqa: E402

TOPIC, PARTITIONS, RECORDS, RECORD_BYTES = "revoke", 6, 12000, 1000
STATES = {"parked": 500, "stalled": 240, "reading": 60, "half-open": 100,
          "re-authenticating": 50, "authenticating": 50}
LIMITS = {"connections": 20000, "connections_per_address": 20000,
          "connections_per_principal": 20000}
SETTLE_S, AFTER_S = 1.1, 1.5
TCP_REPAIR = 19


def note(text):
    print(f"revoke: {text}", file=sys.stderr, flush=True)


# --- the capture

class Capture:
    """tcpdump on loopback; packets() gives (time, source port, destination port, flags, payload)."""

    def __init__(self, file, ports):
        self.file = file
        wanted = " or ".join(f"tcp port {port}" for port in ports)
        self.process = subprocess.Popen(
            ["tcpdump", "-i", "lo", "-n", "-U", "-s", "96", "-B", "131072", "-w", str(file),
             "--time-stamp-precision=nano", wanted], stderr=subprocess.PIPE, text=True)
        while "listening" not in (line := self.process.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start; it takes root")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        told = self.process.stderr.read()
        self.process.wait(10)
        dropped = [line for line in told.splitlines() if "dropped by kernel" in line]
        if not dropped or not dropped[0].startswith("0 "):
            raise RuntimeError(f"the capture is not whole: {told.strip()}")

    def packets(self):
        data = self.file.read_bytes()
        if struct.unpack_from("<I", data)[0] != 0xA1B23C4D:
            raise RuntimeError("not a capture with nanoseconds")
        at = 24
        while at + 16 <= len(data):
            seconds, nanos, kept, _ = struct.unpack_from("<IIII", data, at)
            packet, at = data[at + 16:at + 16 + kept], at + 16 + kept
            if packet[12:14] != b"\x08\x00" or packet[23] != 6:
                continue
            head = (packet[14] & 15) * 4
            total = struct.unpack_from(">H", packet, 16)[0]
            tcp = 14 + head
            source, target = struct.unpack_from(">HH", packet, tcp)
            payload = total - head - (packet[tcp + 12] >> 4) * 4
            yield seconds + nanos / 1e9, source, target, packet[tcp + 13], payload


FIN, RST = 1, 4


def judge(packets, gate_port, signal_port, clients):
    """When the signal had arrived, and for each client port (last payload, close, payload behind
    the close)."""
    packets = list(packets)
    first_close = min((t for t, source, target, flags, _ in packets
                       if source == gate_port and target in clients and flags & (FIN | RST)),
                      default=None)
    if first_close is None:
        raise RuntimeError("nothing was closed")
    arrived = max(t for t, _, target, _, payload in packets
                  if target == signal_port and payload > 0 and t < first_close)
    found = {}
    for t, source, target, flags, payload in packets:
        if source != gate_port or target not in clients:
            continue
        last, closed, behind = found.get(target, (None, None, 0))
        if payload > 0:
            last, behind = t, behind + (payload if closed else 0)
        if flags & (FIN | RST) and closed is None and t >= arrived:
            closed = t
        found[target] = last, closed, behind
    return arrived, found


# --- the sessions

class Sessions:
    """Opens them all and brings each into its state."""

    def __init__(self, gate, token, context, scale):
        self.gate, self.token, self.context = gate, token, context
        self.by_state = {}
        self.reader = None
        self.vanished = []
        for state, count in STATES.items():
            self.by_state[state] = [self._open(state) for _ in range(max(1, count // scale))]
        time.sleep(SETTLE_S)  # limits.reauth_min_interval_ms
        for connection in self.by_state["re-authenticating"]:
            connection.ask("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
        for connection in self.by_state["half-open"]:
            with socket.socket(fileno=connection.socket.detach()) as left:
                left.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # gone without a word
        self._start_reader()

    def _open(self, state):
        connection = wire.Wire(self.gate.host, self.gate.port, context=self.context,
                               receive_bytes=8192 if state == "stalled" else 0)
        connection.port = connection.socket.getsockname()[1]
        if state == "authenticating":
            connection.ask("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
            return connection
        connection.login(self.token)
        if state == "parked":
            connection.post("Fetch", 12, wire.fetch_body(TOPIC, self.ends, 60_000))
        elif state == "stalled":
            connection.post("Fetch", 12, wire.fetch_body(
                TOPIC, {p: 0 for p in range(PARTITIONS)}))
        elif state == "half-open":
            connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
        return connection

    ends = {p: RECORDS // PARTITIONS for p in range(PARTITIONS)}

    def _start_reader(self):
        """A process of its own reads on and on, so that this one can send the signal."""
        self.reader = os.fork()
        if self.reader == 0:
            with contextlib.suppress(BaseException):
                self._read_on()
            os._exit(0)

    def _read_on(self):
        chosen = selectors.DefaultSelector()
        asked = messages.framed(messages.encode_request(
            "Fetch", 12, wire.fetch_body(TOPIC, {0: 0}, 500), correlation=7))
        for connection in self.by_state["reading"]:
            connection.socket.setblocking(False)
            connection.left = 0
            connection.head = b""
            connection.send(asked)
            chosen.register(connection.socket, selectors.EVENT_READ, connection)
        while chosen.get_map():
            for key, _ in chosen.select(1):
                connection = key.data
                try:
                    while data := connection.socket.recv(65536):
                        self._took(connection, data, asked)
                    raise ConnectionResetError
                except (BlockingIOError, ssl.SSLWantReadError):
                    continue
                except (OSError, wire.Closed):
                    chosen.unregister(connection.socket)

    @staticmethod
    def _took(connection, data, asked):
        while data:
            if connection.left == 0:
                need = 4 - len(connection.head)
                connection.head, data = connection.head + data[:need], data[need:]
                if len(connection.head) < 4:
                    return
                connection.left = struct.unpack(">i", connection.head)[0]
                connection.head = b""
            taken = min(connection.left, len(data))
            connection.left, data = connection.left - taken, data[taken:]
            if connection.left == 0:
                connection.socket.setblocking(True)
                connection.send(asked)
                connection.socket.setblocking(False)

    def ports(self):
        return {c.port: state for state, connections in self.by_state.items()
                for c in connections}

    def authenticate(self):
        """Those that stand before it send their token now, and read no answer."""
        for connection in self.by_state["authenticating"]:
            connection.post("SaslAuthenticate", 2, {"AuthBytes": wire.bearer(self.token)})

    def close(self):
        if self.reader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.reader, signal.SIGKILL)
            os.waitpid(self.reader, 0)
        for connections in self.by_state.values():
            for connection in connections:
                connection.close()


# --- the ways in: each ends the grant "revoked" or the token, and tells the port that it came to

class Ways:
    def __init__(self, bench):
        self.bench = bench

    def control(self, token):
        """POST /v1/revocations"""
        self.bench.gate.revoke(transfer="revoked")
        return self.bench.gate.control_port

    def subject(self, token):
        """POST /v1/revocations, by subject"""
        self.bench.gate.revoke(issuer=self.bench.idp.issuer, subject="revoked")
        return self.bench.gate.control_port

    def rfc7009(self, token):
        """POST /oauth2/revoke (RFC 7009)"""
        self.bench.gate.revoke_token(token)
        return self.bench.gate.control_port

    def ungrant(self, token):
        """DELETE /v1/grants/{id}"""
        self.bench.gate.delete_grant("revoked")
        return self.bench.gate.control_port

    def all(self):
        return [self.control, self.subject, self.rfc7009, self.ungrant]


class Bench:
    def __init__(self, directory, stack):
        self.directory = directory
        self.authority = pki.Authority(directory / "ca", "bench authority")
        self.idp = idps.Idp(directory / "idp")
        stack.callback(self.idp.close)
        self.cluster = kafka.Cluster(directory / "kafka", self.authority, self.idp)
        stack.callback(self.cluster.close)
        self.cluster.start()
        self.cluster.create_topic(TOPIC, PARTITIONS, replication=1)
        self._fill()
        self.gate = gates.Gate(directory / "gate", self.cluster, self.idp, self.authority,
                               upstream={"connects_per_s": 10000},
                               config={"workers": 2, "limits": LIMITS, "log": {"level": "info"}})
        self.gate.start()
        stack.callback(self.gate.close)
        self.context = wire.client_context(self.authority.certificate)

    def _fill(self):
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": ",".join(self.cluster.bootstrap()), "linger.ms": 50})
        for number in range(RECORDS):
            producer.produce(TOPIC, os.urandom(RECORD_BYTES), partition=number % PARTITIONS)
            producer.poll(0)
        if producer.flush(60) != 0:
            raise RuntimeError("not all records were written")

    def run(self, way, scale):
        """One way once: milliseconds for each session, by state, and what the late ones met."""
        time.sleep(1.1)  # a token of the second of a revocation is barred with it
        self.gate.put_grant(gates.grant("revoked", "revoked", [TOPIC], "revoked"))
        token = self.gate.token("revoked", transfer="revoked", jti=f"jti-{time.monotonic_ns()}")
        sessions = Sessions(self.gate, token, self.context, scale)
        file = self.directory / "capture.pcap"
        try:
            time.sleep(SETTLE_S)
            capture = Capture(file, [self.gate.port, self.gate.control_port])
            time.sleep(0.3)
            sessions.authenticate()
            port = way(token)
            time.sleep(AFTER_S)
            capture.stop()
            refused = self._late(sessions)
            left = self.gate.sessions()
        finally:
            sessions.close()
        ports = sessions.ports()
        arrived, found = judge(capture.packets(), self.gate.port, port, ports)
        file.unlink()
        times = {}
        for client, state in ports.items():
            last, closed, behind = found.get(client, (None, None, 0))
            if behind:
                raise SystemExit(f"revoke: {state}: {behind} payload bytes behind the close")
            if state == "authenticating":
                continue
            if closed is None:
                raise SystemExit(f"revoke: a session stayed: {state}")
            times.setdefault(state, []).append((1000 * max(0.0, (last or 0) - arrived),
                                                1000 * (closed - arrived)))
        if left:
            raise SystemExit(f"revoke: {len(left)} sessions are still listed: {left[:3]}")
        return times, refused

    @staticmethod
    def _late(sessions):
        """Those in the middle of authentication: all were refused or cut."""
        for connection in sessions.by_state["authenticating"]:
            try:
                answer = connection.answer("SaslAuthenticate", 2)
                if answer["ErrorCode"] == 0 and not answer["AuthBytes"]:
                    connection.wait_closed(5)  # let in before, cut by the signal
                else:
                    connection.ask("SaslAuthenticate", 2, {"AuthBytes": b"\x01"})
            except wire.Closed:
                pass
        return len(sessions.by_state["authenticating"])


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def row(name, pairs):
    last, closed = zip(*pairs)
    print(f"| {name} | {len(pairs)} | {statistics.median(last):.1f} / {quantile(last, .99):.1f} / "
          f"{max(last):.1f} | {statistics.median(closed):.1f} / {quantile(closed, .99):.1f} / "
          f"{max(closed):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1, help="a fraction of the 1,000 sessions")
    parser.add_argument("--only", default="", help="ways, by name")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("revoke: the capture and half-open connections take root")
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(directory, stack)
        rows, states = {}, {}
        for way in Ways(bench).all():
            if options.only and way.__name__ not in options.only.split(","):
                continue
            for turn in range(options.rounds):
                times, _ = bench.run(way, options.scale)
                for state, pairs in times.items():
                    rows.setdefault(way.__doc__, []).extend(pairs)
                    states.setdefault(state, []).extend(pairs)
                note(f"{way.__name__}: round {turn + 1} of {options.rounds}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.rounds} rounds of "
          f"{sum(max(1, n // options.scale) for n in STATES.values())} sessions; "
          "milliseconds from the signal's last byte, median / p99 / max.\n")
    print("| way in | sessions | last payload byte | close sent |\n|---|---|---|---|")
    for name, pairs in rows.items():
        row(name, pairs)
    print("\n| state of the session | sessions | last payload byte | close sent |\n|---|---|---|---|")
    for name, pairs in states.items():
        row(name, pairs)


if __name__ == "__main__":
    main()
