"""How fast it shuts: 1,000 sessions of one grant in all the states that a session can be in, a
signal that ends the grant, and a packet capture of the loopback interface as the judge.

For each way in: from the arrival of the signal's last byte to the last payload byte and to the
close (RST or FIN) that the gate sent to each session. Prints Markdown and judges one thing only: a
payload byte behind a close, or a session that stays, ends it with 1. Needs root, for the capture
and to make half-open connections."""

import argparse
import contextlib
import http.client
import json
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
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))

import confluent_kafka  # noqa: E402

import gate as gates  # noqa: E402
import idp as idps  # noqa: E402
import kafka  # noqa: E402
import messages  # noqa: E402
import pki  # noqa: E402
import wire  # noqa: E402
from processes import free_port  # noqa: E402

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


# --- the ways in: `prepare` gives what is granted and a token for it, `fire` ends it

class Way:
    """By default a grant of the control API, reached by its id."""
    port = "control_port"
    subject = "revoked"

    def __init__(self, bench):
        self.bench, self.gate, self.idp = bench, bench.gate, bench.idp

    def prepare(self):
        self.gate.put_grant(gates.grant("revoked", self.subject, [TOPIC], "revoked"))
        return self.token()

    def token(self, **claims):
        """Of a subject of its own in each round: what was revoked stays so."""
        return self.idp.token(self.subject, **{"jti": str(uuid.uuid4())} | claims)


class Control(Way):
    """`POST /v1/revocations`, a transfer"""
    def token(self):
        return super().token(transfer="revoked")

    def fire(self, token):
        self.gate.revoke(transfer="revoked")


class Subject(Way):
    """`POST /v1/revocations`, a subject"""
    def fire(self, token):
        self.gate.revoke(issuer=self.idp.issuer, subject=self.subject)


class Rfc7009(Way):
    """`POST /oauth2/revoke` (RFC 7009)"""
    def fire(self, token):
        self.gate.revoke_token(token)


class Deleted(Way):
    """`DELETE /v1/grants/{id}`"""
    def fire(self, token):
        self.gate.delete_grant("revoked")


class Signaled(Way):
    port = "signaling_port"

    def post(self, path, body, kind="application/json"):
        connection = http.client.HTTPConnection("127.0.0.1", self.bench.signaling_port, timeout=20)
        data = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", path, data.encode(), {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status not in (200, 202, 204):
            raise RuntimeError(f"{path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None


def edr_token(properties, name, value):
    """The token among an EDR's properties."""
    return next(p[value] for p in properties if p[name].rpartition("/")[2] == "token")


class Legacy(Signaled):
    """signaling, legacy `suspend`"""
    def prepare(self):
        dspace = "https://w3id.org/dspace/v0.8/"
        self.process = str(uuid.uuid4())
        answer = self.post("/v1/dataflows/start", {
            "@context": {"@vocab": "https://w3id.org/edc/v0.0.1/ns/", "dspace": dspace},
            "@type": "DataFlowStartMessage", "processId": self.process, "datasetId": "asset",
            "agreementId": "agreement", "participantId": "revoked",
            "transferType": "KafkaBroker-PULL", "transferTypeDestination": "KafkaBroker",
            "flowType": "PULL", "properties": {}, "sourceDataAddress": {
                "@type": "dspace:DataAddress", "dspace:endpointType": "KafkaBroker",
                "dspace:endpointProperties": [{
                    "@type": "dspace:EndpointProperty",
                    "dspace:name": "https://w3id.org/edc/v0.0.1/ns/topic",
                    "dspace:value": TOPIC}]}})
        return edr_token(answer["dataAddress"]["dspace:endpointProperties"], "dspace:name",
                         "dspace:value")

    def fire(self, token):
        self.post(f"/v1/dataflows/{self.process}/suspend",
                  {"@context": {"@vocab": "https://w3id.org/edc/v0.0.1/ns/"},
                   "@type": "DataFlowSuspendMessage"})


class Dps(Signaled):
    """signaling, DPS `terminate`"""
    def prepare(self):
        self.process = str(uuid.uuid4())
        answer = self.post("/dataflows/start", {
            "messageId": "m", "participantId": "provider", "counterPartyId": "revoked",
            "dataspaceContext": "c", "processId": self.process, "agreementId": "agreement",
            "datasetId": "asset", "profile": "KafkaBroker-PULL", "claims": {}, "labels": [],
            "metadata": {"topic": TOPIC}})
        return edr_token(answer["dataAddress"]["endpointProperties"], "name", "value")

    def fire(self, token):
        self.post(f"/dataflows/{self.process}/terminate", {"messageId": "m", "reason": "over"})


class Event(Legacy):
    """a connector's event `TransferProcessTerminated`"""
    def fire(self, token):
        self.post("/events", {"id": "e", "at": int(time.time() * 1000),
                              "type": "TransferProcessTerminated",
                              "payload": {"transferProcessId": self.process, "assetId": "asset",
                                          "contractId": "agreement", "type": "PROVIDER"}})


class Acls(Way):
    """`DeleteAcls` of Kafka's admin client"""
    port = "acl_port"

    def bindings(self, kind):
        from confluent_kafka.admin import (AclOperation, AclPermissionType, ResourcePatternType,
                                           ResourceType)
        return [kind(where, name, pattern, f"User:{self.subject}", "*", operation,
                     AclPermissionType.ALLOW)
                for where, name, pattern, operation in (
                    (ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, AclOperation.READ),
                    (ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, AclOperation.DESCRIBE),
                    (ResourceType.GROUP, "revoked", ResourcePatternType.PREFIXED,
                     AclOperation.READ))]

    def prepare(self):
        from confluent_kafka.admin import AclBinding, AdminClient
        self.admin = AdminClient({
            "bootstrap.servers": f"127.0.0.1:{self.bench.acl_port}", "log_level": 2,
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN",
            "sasl.username": "edc", "sasl.password": self.bench.acl_password})
        for done in self.admin.create_acls(self.bindings(AclBinding)).values():
            done.result(10)
        return self.token()

    def fire(self, token):
        from confluent_kafka.admin import AclBindingFilter
        for done in self.admin.delete_acls(self.bindings(AclBindingFilter)).values():
            done.result(10)


class SecurityEvent(Signaled):
    """security event token (CAEP session-revoked)"""
    def fire(self, token):
        caep = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
        text = self.idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": "secevent+jwt"}, {
            "iss": self.idp.issuer, "aud": "sluice", "iat": int(time.time()),
            "jti": str(uuid.uuid4()), "sub_id": {"format": "iss_sub", "iss": self.idp.issuer,
                                                 "sub": self.subject},
            "events": {caep: {"event_timestamp": int(time.time())}}})
        self.post("/security-events", text, "application/secevent+jwt")


class Logout(Signaled):
    """OIDC back-channel logout"""
    def fire(self, token):
        now = int(time.time())
        text = self.idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": "logout+jwt"}, {
            "iss": self.idp.issuer, "aud": "sluice", "iat": now, "exp": now + 60,
            "jti": str(uuid.uuid4()), "sub": self.subject,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}}})
        self.post("/backchannel-logout", f"logout_token={text}",
                  "application/x-www-form-urlencoded")


class NotBefore(Signaled):
    """Keycloak's push-not-before"""
    def fire(self, token):
        now = int(time.time())
        text = self.idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": "JWT"}, {
            "id": str(uuid.uuid4()), "expiration": now + 60, "resource": "sluice",
            "action": "PUSH_NOT_BEFORE", "notBefore": now + 1})
        self.post("/keycloak/k_push_not_before", text, "text/plain")


WAYS = {way.__name__.lower(): way for way in (
    Control, Deleted, Rfc7009, Subject, Legacy, Dps, Event, Acls, SecurityEvent, Logout, NotBefore)}


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
        self.signaling_port, self.acl_port = free_port(), free_port()
        self.acl_password = str(uuid.uuid4())
        (directory / "acl-password").write_text(self.acl_password)
        pki.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                    directory / "signing.pem")
        self.gate = gates.Gate(
            directory / "gate", self.cluster, self.idp, self.authority,
            upstream={"connects_per_s": 10000},
            issuer={"events": {"audience": "sluice"}},
            config={"workers": 2, "limits": LIMITS, "log": {"level": "info"},
                    "signaling": {"listen": f"127.0.0.1:{self.signaling_port}"},
                    "acl_listener": {
                        "listen": f"127.0.0.1:{self.acl_port}", "issuer": self.idp.issuer,
                        "users": [{"name": "edc",
                                   "password_file": str(directory / "acl-password")}]}})
        self.gate.config["issuers"].append({
            "issuer": "https://sluice.example", "audience": "sluice",
            "signing_keys": [str(directory / "signing.pem")], "token_life_s": 3600})
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
        way.subject = f"revoked-{uuid.uuid4()}"
        token = way.prepare()
        sessions = Sessions(self.gate, token, self.context, scale)
        file = self.directory / "capture.pcap"
        try:
            time.sleep(SETTLE_S)
            signal_port = getattr(self.gate if way.port == "control_port" else self, way.port)
            capture = Capture(file, [self.gate.port, signal_port])
            time.sleep(0.3)
            sessions.authenticate()
            way.fire(token)
            time.sleep(AFTER_S)
            capture.stop()
            refused = self._late(sessions)
            left = self.gate.sessions()
        finally:
            sessions.close()
        ports = sessions.ports()
        arrived, found = judge(capture.packets(), self.gate.port, signal_port, ports)
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
    parser.add_argument("--only", default="", help="of " + ", ".join(WAYS))
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("revoke: the capture and half-open connections take root")
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(directory, stack)
        rows, states = {}, {}
        for name in options.only.split(",") if options.only else WAYS:
            way = WAYS[name](bench)
            for turn in range(options.rounds):
                times, _ = bench.run(way, options.scale)
                for state, pairs in times.items():
                    rows.setdefault(way.__doc__, []).extend(pairs)
                    states.setdefault(state, []).extend(pairs)
                note(f"{name}: round {turn + 1} of {options.rounds}")
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
