"""Rubbish of every kind: it is closed and written down, and nobody else notices."""

import socket
import ssl
import struct
import subprocess
import time

import pytest

import forward
import gate as gates
import idp as idps
import messages
import wire
from processes import free_port, wait_for


class Bystander:
    """A session that was there before and must go on as if nothing had happened."""

    def __init__(self, gate):
        self.wire = gate.wire(gate.token("witness"), tapped=False)

    def works(self):
        answer = self.wire.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 2000))
        error, size = wire.fetched(answer)["serial-parts", 0]
        assert error == 0 and size > 0


@pytest.fixture(scope="module")
def relays(cluster):
    made = [forward.Forward(cluster.address(i)) for i in range(3)]
    yield made
    for relay in made:
        relay.stop()


@pytest.fixture(scope="module")
def gate(make_gate, cluster, relays, serial_parts):
    gate = make_gate(
        "bad-input", brokers=[r.address for r in relays],
        upstream={"address_map": dict(zip(cluster.bootstrap(), (r.address for r in relays)))},
        grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
                gates.grant("witness", "witness", ["serial-parts"], "witness")],
        config={"limits": {"tls_timeout_ms": 1500, "auth_timeout_ms": 2500,
                           "frame_timeout_ms": 1500}})
    gate.bystander = Bystander(gate)
    gate.bystander.works()
    yield gate
    gate.bystander.wire.close()


@pytest.fixture(autouse=True)
def unharmed(request):
    """Around every case: the witness reads on, and no socket or file is left behind."""
    if "gate" not in request.fixturenames:
        yield
        return
    gate = request.getfixturevalue("gate")
    before = gate.descriptors()
    yield
    gate.must_run()
    gate.bystander.works()
    wait_for(lambda: gate.descriptors() <= before, 10, "all descriptors are given back")


@pytest.fixture
def plain(gate):
    connection = socket.create_connection((gate.host, gate.port), 10)
    connection.settimeout(10)
    yield connection
    connection.close()


def until_closed(connection):
    """What came until the end; a reset is an end."""
    out = b""
    try:
        while data := connection.recv(65536):
            out += data
    except ConnectionResetError:
        pass
    return out


# --- before TLS

@pytest.mark.parametrize("data", [
    messages.framed(b"\0\x12\0\0\0\0\0\1\xff\xff"), b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
    b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\0" * 5000, b"SSH-2.0-x\r\n"],
    ids=["plain kafka", "http", "broken hello", "zeros", "ssh"])
def test_no_tls(data, gate, plain):
    since = len(gate.audit())
    plain.sendall(data)
    answer = until_closed(plain)
    assert len(answer) <= 7, "at most an alert"
    gate.wait_audit("127.0.0.1", since=since)


def test_nothing_at_all(gate, plain):
    start = time.monotonic()
    assert until_closed(plain) == b""
    assert 1 < time.monotonic() - start < 5


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_tls(version, gate):
    since = len(gate.audit())
    done = subprocess.run(["openssl", "s_client", "-connect", f"{gate.host}:{gate.port}",
                           f"-{version}", "-cipher", "ALL:@SECLEVEL=0"], input=b"",
                          capture_output=True, timeout=15, check=False)
    assert done.returncode != 0
    assert b"Cipher is (NONE)" in done.stdout
    gate.wait_audit("127.0.0.1", since=since)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_tls(version, gate):
    context = wire.client_context(gate.authority.certificate, None, version, version)
    with gate.wire(gate.token(), tapped=False, context=context) as connection:
        assert connection.socket.version() in ("TLSv1.2", "TLSv1.3")


# --- frames

@pytest.mark.parametrize("login", [False, True], ids=["before login", "after login"])
@pytest.mark.parametrize("length", [-1, -2147483648, 2147483647, 100 << 20, 0, 3])
def test_bad_lengths(length, login, gate):
    since = len(gate.audit())
    with gate.wire(gate.token() if login else None) as connection:
        connection.send(struct.pack(">i", length) + b"\0\x03\0\x09")
        start = time.monotonic()
        assert connection.wait_closed()[0] == b""
        assert time.monotonic() - start < 1
    gate.wait_audit("127.0.0.1", since=since)


@pytest.mark.parametrize("login", [False, True], ids=["before login", "after login"])
def test_a_frame_that_never_ends(login, gate):
    """A byte now and then does not put the deadline off."""
    with gate.wire(gate.token() if login else None) as connection:
        connection.send(struct.pack(">i", 1000) + b"\0\x12")
        start = time.monotonic()
        with pytest.raises(wire.Closed):
            while time.monotonic() - start < 8:
                connection.send(b"\0")
                connection.socket.settimeout(0.2)
                try:
                    connection.receive()
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
        assert 1 < time.monotonic() - start < 5


def test_slow_logins_are_cut(gate):
    with gate.wire() as connection:
        connection.ask("ApiVersions", 0)
        start = time.monotonic()
        connection.wait_closed()
        assert time.monotonic() - start < 5


# --- requests

@pytest.mark.parametrize("name,version", [("Metadata", 9), ("Fetch", 12), ("Produce", 9),
                                          ("FindCoordinator", 4), ("DescribeCluster", 0)])
def test_requests_before_login(name, version, gate, relays):
    before = [(r.accepted, r.to_broker) for r in relays]
    with gate.wire() as connection:
        connection.post(name, version, {})
        assert connection.wait_closed()[0] == b""
    assert [r.accepted for r in relays] == [accepted for accepted, _ in before]


def quiet(gate, relays):
    """Waits until the gate's own probe has nothing to ask; gives what went to the brokers."""
    def still():
        first = [(r.accepted, r.to_broker) for r in relays]
        time.sleep(0.5)
        return first if [(r.accepted, r.to_broker) for r in relays] == first else None
    return wait_for(still, 20, "the brokers are left alone")


def test_a_bad_token_with_more_in_the_same_record(gate, relays):
    """Handshake, bad token, and requests behind it, in one TLS record: not one byte of it reaches
    a broker."""
    before = quiet(gate, relays)
    with gate.wire(tapped=False) as connection:
        data = connection.encode("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
        data += connection.encode("SaslAuthenticate", 2,
                                  {"AuthBytes": wire.bearer(gate.token(aud="elsewhere"))})
        for _ in range(5):
            data += connection.encode("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
            data += connection.encode("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}))
        connection.send(data)
        assert connection.answer("SaslHandshake", 1, 1)["ErrorCode"] == 0
        answer = connection.answer("SaslAuthenticate", 2, 2)
        assert answer["ErrorCode"] == 58 or answer["AuthBytes"] == b'{"status":"invalid_token"}'
        assert connection.wait_closed()[0] == b""
    assert [(r.accepted, r.to_broker) for r in relays] == before


def test_a_good_token_with_more_in_the_same_record(gate):
    """Not forbidden: what follows is answered, in order."""
    with gate.wire() as connection:
        data = connection.encode("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
        data += connection.encode("SaslAuthenticate", 2,
                                  {"AuthBytes": wire.bearer(gate.token())})
        data += connection.encode("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
        connection.send(data)
        connection.answer("SaslHandshake", 1, 1)
        assert connection.answer("SaslAuthenticate", 2, 2)["ErrorCode"] == 0
        assert connection.answer("Metadata", 9, 3)["Topics"][0]["ErrorCode"] == 0


def test_other_mechanisms(gate):
    with gate.wire() as connection:
        answer = connection.ask("SaslHandshake", 1, {"Mechanism": "PLAIN"})
        assert (answer["ErrorCode"], answer["Mechanisms"]) == (33, ["OAUTHBEARER"])
        connection.wait_closed()
    with gate.wire() as connection:
        connection.post("SaslHandshake", 0, {"Mechanism": "OAUTHBEARER"})
        assert connection.wait_closed()[0] == b""


@pytest.mark.parametrize("message", [
    b"", b"n,,\x01\x01", b"n,,\x01auth=Basic x\x01\x01", b"n,,\x01auth=Bearer \x01\x01",
    b"y,,\x01auth=Bearer x\x01\x01", b"n,a=alice,\x01auth=Bearer %s\x01\x01",
    b"n,,\x01auth=Bearer %s\x01", b"n,,\x01auth=Bearer %s\x01auth=Bearer %s\x01\x01",
    b"n,,\x01auth=Bearer %s\x01\x01more", b"\xff" * 100, b"n,,\x01" + b"x" * 40000],
    ids=["empty", "no pairs", "basic", "no token", "binding", "authzid", "unfinished", "twice",
         "left over", "binary", "long"])
def test_sasl_messages(message, gate):
    message = message.replace(b"%s", gate.token().encode())
    with gate.wire() as connection:
        connection.ask("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
        try:
            assert connection.present(message)["ErrorCode"] == 58
        except wire.Closed:
            pass
        connection.wait_closed()


def header(key, version, correlation=7, client=b"\0\3e2e", flexible=False):
    return struct.pack(">hhi", key, version, correlation) + client + (b"\0" if flexible else b"")


@pytest.mark.parametrize("key,version", [(-1, 0), (4, 5), (19, 7), (20, 6), (37, 3), (44, 1),
                                         (21, 2), (71, 0), (76, 1), (999, 0), (32767, 0), (3, -1),
                                         (3, 99), (1, 3), (1, 19), (0, 2), (24, 4), (36, 9)])
def test_unknown_keys_and_versions(key, version, gate):
    since = len(gate.audit())
    with gate.wire(gate.token()) as connection:
        connection.send(messages.framed(header(key, version) + bytes(40)))
        assert connection.wait_closed()[0] == b""
    gate.wait_audit("127.0.0.1", since=since)


@pytest.mark.parametrize("version", [6, 99, 32767])
def test_api_versions_of_the_future(version, gate):
    """The one request that is answered in the oldest form, with error 35, and may be repeated."""
    with gate.wire() as connection:
        connection.send(messages.framed(header(18, version) + b"\xff\xff\xff"))
        frame = connection.receive_frame()
        answer = messages.response("ApiVersions").decode(frame[4:], 0)
        assert answer["ErrorCode"] == 35
        assert [a["ApiKey"] for a in answer["ApiKeys"]] == [18]
        high = answer["ApiKeys"][0]["MaxVersion"]
        assert high < version
        assert connection.ask("ApiVersions", min(high, 3), {
            "ClientSoftwareName": "e2e", "ClientSoftwareVersion": "1"})["ErrorCode"] == 0
        assert connection.authenticate(gate.token())["ErrorCode"] == 0


METADATA = messages.request("Metadata")
BODIES = {
    "left over": METADATA.encode({"Topics": []}, 9) + b"\0",
    "truncated": METADATA.encode({"Topics": [{"Name": "serial-parts"}]}, 9)[:-3],
    "array longer than the frame": b"\xff\xff\xff\x7f" + bytes(10),
    "overlong varint": b"\x81\x80\x80\x80\x80\x80\x00" + bytes(10),
    "overlong but small varint": b"\x81\x00\0\0\0\0",
    "negative length": b"\x80\x80\x80\x80\x10" + bytes(10),
    "tag twice": b"\x01\0\0\0\x02\x09\x00\x09\x00",
    "tags in disorder": b"\x01\0\0\0\x02\x0a\x00\x09\x00",
    "tag longer than the frame": b"\x01\0\0\0\x01\x09\x7f",
    "bad utf-8 in a topic": b"\x02\x03\xc3\x28\0\0\0\0\0",
}


@pytest.mark.parametrize("name", BODIES)
def test_bad_bodies(name, gate):
    since = len(gate.audit())
    with gate.wire(gate.token()) as connection:
        connection.send(messages.framed(header(3, 9, flexible=True) + BODIES[name]))
        assert connection.wait_closed()[0] == b""
    gate.wait_audit("Metadata", since=since)


def test_unknown_tags_are_fine(gate):
    with gate.wire(gate.token()) as connection:
        answer = connection.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}],
                                                "_tags": {77: b"future", 5000: b""}})
        assert answer["Topics"][0]["ErrorCode"] == 0


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "serial-parts ", "serial-parts\0",
                                   "Serial-Parts", "serial-part", "x" * 250, "x" * 30000])
def test_strange_topics_are_foreign_topics(topic, gate):
    """Nearly the granted name is not the granted name."""
    with gate.wire(gate.token()) as connection:
        try:
            answer = connection.ask("Metadata", 9, {"Topics": [{"Name": topic}]})
            assert answer["Topics"][0]["ErrorCode"] in (17, 29)
            assert answer["Topics"][0]["Partitions"] == []
        except wire.Closed:
            pass


def test_a_client_id_that_is_no_text(gate):
    with gate.wire(gate.token()) as connection:
        connection.send(messages.framed(
            header(3, 9, client=b"\0\4\xff\xfe\n\x1b", flexible=True)
            + METADATA.encode({"Topics": [{"Name": "serial-parts"}]}, 9)))
        answer = messages.decode_response("Metadata", 9, connection.receive_frame())[1]
        assert answer["Topics"][0]["ErrorCode"] == 0
    text = gate.audit_file.read_bytes() + gate.log_file.read_bytes()
    assert b"\x1b" not in text and b"\xff\xfe" not in text


def test_stolen_roles(gate):
    """Replica ids, sessions and nodes are not a client's to choose."""
    with gate.wire(gate.token()) as connection:
        body = wire.fetch_body("serial-parts", {0: 0}, 100)
        answer = connection.ask("Fetch", 12, body | {"ReplicaId": 1})
        assert wire.fetched(answer)["serial-parts", 0] == (29, 0)
        answer = connection.ask("Fetch", 12, body | {"RackId": "rack-kilo-1"})
        found = answer["Responses"][0]["Partitions"][0]
        assert found["ErrorCode"] == 0 and found["PreferredReadReplica"] == -1
        answer = connection.ask("Fetch", 12, body | {"SessionId": 4711, "SessionEpoch": 1})
        assert answer["ErrorCode"] == 70
        answer = connection.ask("Fetch", 12, body | {"SessionId": 0, "SessionEpoch": 0})
        assert answer["SessionId"] == 0


def test_many_requests_without_reading(gate):
    """A client that asks and never reads is held, not served into memory."""
    with gate.wire(gate.token(), receive_bytes=4096, tapped=False) as connection:
        connection.socket.settimeout(0.5)
        body = wire.fetch_body("serial-parts", {p: 0 for p in range(12)}, 0)
        sent = 0
        try:
            for _ in range(20000):
                connection.post("Fetch", 12, body)
                sent += 1
        except (TimeoutError, ssl.SSLWantWriteError, wire.Closed):
            pass
        gate.bystander.works()
        assert sent < 20000
        status = (open(f"/proc/{gate.process.pid}/status").read().split("VmRSS:")[1]).split()
        assert int(status[0]) < 1_500_000, "resident KiB, sanitizer included"


def test_many_connections_of_one_principal(gate):
    """limits.connections_per_principal: the 65th login is refused, the others stay."""
    opened = []
    try:
        for _ in range(64):
            opened.append(gate.wire(gate.token("bob"), tapped=False))
        with pytest.raises((PermissionError, wire.Closed)):
            opened.append(gate.wire(gate.token("bob"), tapped=False))
        opened[0].ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    finally:
        for connection in opened:
            connection.close()


# --- what it starts with

GRANTS = [gates.grant("read-bob", "bob", ["serial-parts"], "bob")]


def test_an_unreadable_certificate(make_gate, tmp_path):
    gate = make_gate("no-certificate", start=False, tapped=False, grants=GRANTS)
    gate.config["tls"]["certificate"] = str(tmp_path / "none.pem")
    gate.spawn()
    assert gate.process.wait(10) != 0
    assert "none.pem" in gate.log() and "sluice.yaml:" in gate.log()
    gate.process.stop()
    gate.process = None


def test_a_key_that_does_not_fit(make_gate, authority):
    gate = make_gate("other-key", start=False, tapped=False, grants=GRANTS)
    gate.config["tls"]["key"] = str(authority.issue("unrelated").key)
    gate.spawn()
    assert gate.process.wait(10) != 0
    assert "key" in gate.log()
    gate.process.stop()
    gate.process = None


def test_keys_that_cannot_be_fetched(make_gate, tmp_path, serial_parts):
    """No keys, no login, and red; with the first answer it turns green without a restart."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}/realms/dataspace"
    gate = make_gate("no-keys", start=False, tapped=False,
                     issuer={"issuer": issuer, "jwks_url": f"{issuer}/certs"},
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob",
                                         issuer=issuer)])
    gate.start(ready=False)
    wait_for(lambda: gate.http("GET", "/healthz")[0] == 200, 10, "the control listener")
    assert gate.http("GET", "/readyz")[0] == 503
    gate.wait_log(r"(?i)jwks|keys")
    late = idps.Idp(tmp_path, port)
    try:
        with pytest.raises((wire.Closed, AssertionError)):
            with gate.wire() as connection:
                assert connection.authenticate(late.token())["ErrorCode"] != 58
                assert False, "no keys, no login"
        gate.wait_ready(40)
        assert gate.login_error(late.token()) == 0
    finally:
        late.close()


def test_keys_outage_keeps_the_last_good_set(make_gate, idp, serial_parts):
    gate = make_gate("outage", tapped=False, grants=GRANTS)
    idp.down = True
    try:
        assert gate.login_error(gate.token()) == 0
        idp.add_key("ES256", "unheard-of")
        with gate.wire() as connection:
            try:
                assert connection.authenticate(
                    gate.token(kid="unheard-of"))["ErrorCode"] not in (0,)
            except wire.Closed:
                pass
        assert gate.login_error(gate.token()) == 0
    finally:
        idp.down = False


@pytest.mark.parametrize("missing", ["issuers", "upstream", "tls", "listen"])
def test_it_does_not_start_without(missing, make_gate):
    gate = make_gate(f"without-{missing}", start=False, tapped=False, grants=GRANTS)
    del gate.config[missing]
    gate.spawn()
    assert gate.process.wait(10) != 0
    assert missing in gate.log()
    gate.process.stop()
    gate.process = None


def test_a_port_that_is_taken(make_gate, gate):
    second = make_gate("taken", start=False, tapped=False, grants=GRANTS)
    second.config["listen"] = f"127.0.0.1:{gate.port}"
    second.spawn()
    assert second.process.wait(10) != 0
    assert str(gate.port) in second.log()
    second.process.stop()
    second.process = None
