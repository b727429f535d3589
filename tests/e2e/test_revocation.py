"""The moment of revocation: every socket of that grant shut, no byte more, nobody else touched."""

import threading
import time

import confluent_kafka
import pytest

import clients
import gate as gates
import wire
from processes import wait_for

BIG = "big"


@pytest.fixture(scope="module")
def gate(make_gate, cluster, serial_parts):
    cluster.create_topic(BIG, 6)
    producer = confluent_kafka.Producer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "linger.ms": 50, "batch.size": 1_000_000})
    for i in range(6000):
        producer.produce(BIG, bytes(4000), partition=i % 6)
        producer.poll(0)
    assert producer.flush(60) == 0
    return make_gate("revocation", config={"limits": {"connections_per_principal": 256}})


@pytest.fixture
def grant(gate, request):
    """A grant and subject of this case's own."""
    name = clients.new_group("rev")
    entry = gates.grant(name, f"subject-{name}", [BIG, "serial-parts"], name,
                        agreement=f"agreement-{name}", asset=f"asset-{name}")
    gate.put_grant(entry)
    return entry


def subject(entry):
    return entry["principal"]["subject"]


class Stream(threading.Thread):
    """A client that fetches without pause and counts its answers."""

    def __init__(self, gate, token):
        super().__init__(daemon=True)
        self.wire = gate.wire(token, tapped=False)
        self.answers = 0
        self.closed = None
        self.problem = None
        self.ending = threading.Event()

    def end(self):
        self.ending.set()
        self.join(20)
        self.wire.close()

    def run(self):
        try:
            while not self.ending.is_set():
                answer = self.wire.ask("Fetch", 12, wire.fetch_body(
                    BIG, {p: 0 for p in range(6)}, 100, partition_bytes=200_000))
                assert answer["ErrorCode"] == 0
                self.answers += 1
        except wire.Closed as closed:
            self.closed = closed
        except Exception as problem:  # shown by the case
            self.problem = problem


def start_streams(gate, count, token):
    streams = [Stream(gate, token() if callable(token) else token) for _ in range(count)]
    for stream in streams:
        stream.start()
    wait_for(lambda: all(s.answers >= 2 or s.problem for s in streams), 60, "all streams run")
    assert not any(s.problem for s in streams), [s.problem for s in streams]
    return streams


def assert_cut(streams, before):
    """Closed, and the kernel took in not one byte after the revocation had been acknowledged."""
    for stream in streams:
        stream.join(5)
        assert stream.closed is not None and stream.problem is None, stream.problem
    assert [s.wire.bytes_received() for s in streams] == before
    for stream in streams:
        stream.wire.close()


def test_revocation_while_twenty_consumers_stream(gate, grant, cluster):
    others = gates.grant(clients.new_group("rev"), "others", [BIG], "others")
    gate.put_grant(others)
    streams = start_streams(gate, 20, lambda: gate.token(subject(grant)))
    untouched = start_streams(gate, 5, lambda: gate.token("others"))
    start = time.monotonic()
    closed = gate.revoke(transfer=grant["id"])
    took = time.monotonic() - start
    before = [s.wire.bytes_received() for s in streams]
    counted = [s.answers for s in untouched]
    assert closed == 20
    time.sleep(1)
    assert_cut(streams, before)
    wait_for(lambda: all(s.answers > n + 2 for s, n in zip(untouched, counted)), 20,
             "the others go on")
    assert not any(s.closed or s.problem for s in untouched)
    for stream in untouched:
        stream.end()
    assert took < 2, f"the answer came after {took:.3f} s"
    gate.wait_audit(grant["id"], "revo")


def test_real_consumers_are_cut_and_stay_out(gate, grant, doors, cluster):
    """Java and librdkafka lose their connections and cannot come back; their group is left."""
    door = doors(gate, subject(grant))
    group = f"{grant['group_prefix']}-java"
    follower = clients.Follower(door, BIG, group, flags=("commit", "quiet"))
    told = []
    consumer = confluent_kafka.Consumer(door.librdkafka(**{
        "group.id": f"{grant['group_prefix']}-c", "auto.offset.reset": "earliest"})
        | {"error_cb": lambda error: told.append(error.code())})
    try:
        consumer.subscribe([BIG])
        clients.poll(consumer, 10)
        wait_for(follower.records, 40, "the Java consumer reads")
        assert gate.revoke(transfer=grant["id"]) >= 2
        wait_for(lambda: follower.lines("error"), 30, "the Java consumer gives up")
        assert follower.lines("error")[0][0] == "SaslAuthenticationException"

        def refused():
            consumer.consume(500, 0.2)
            return confluent_kafka.KafkaError._AUTHENTICATION in told
        wait_for(refused, 30, "librdkafka is told")

        def left():
            found = cluster.admin.describe_consumer_groups([group])[group].result(10)
            return not found.members
        wait_for(left, 6, "the member has left its group, long before its session timeout", 0.2)
    finally:
        consumer.close()
        follower.kill()


def test_a_parked_fetch_is_cut(gate, grant):
    with gate.wire(gate.token(subject(grant)), tapped=False) as connection:
        before = gate.requests()
        connection.post("Fetch", 12, wire.fetch_body(BIG, {0: 1000}, 60_000))
        wait_for(lambda: gate.requests() > before, 10, "it is parked")
        assert gate.revoke(transfer=grant["id"]) == 1
        start = time.monotonic()
        rest, _ = connection.wait_closed()
        assert rest == b"" and time.monotonic() - start < 2


def test_the_middle_of_a_frame_is_cut(gate, grant):
    """A client that reads slowly: most of a large answer is on its way, and stays there."""
    with gate.wire(gate.token(subject(grant)), tapped=False, receive_bytes=8192) as connection:
        connection.post("Fetch", 12, wire.fetch_body(
            BIG, {p: 0 for p in range(6)}, 100, partition_bytes=4 << 20))
        first = connection.receive_exactly(1000)
        length = int.from_bytes(first[:4], "big")
        assert length > 5_000_000
        time.sleep(0.3)
        gate.revoke(transfer=grant["id"])
        before = connection.bytes_received()
        time.sleep(0.5)
        assert connection.bytes_received() == before
        rest, _ = connection.wait_closed()
        assert len(rest) < length / 2


WAYS = {
    "transfer": lambda g, t, i: {"transfer": g["id"]},
    "agreement": lambda g, t, i: {"agreement": g["agreement"]},
    "asset": lambda g, t, i: {"asset": g["asset"]},
    "participant": lambda g, t, i: {"participant": g["participant"]},
    "subject": lambda g, t, i: {"issuer": i, "subject": g["principal"]["subject"]},
    "client": lambda g, t, i: {"issuer": i, "client": t["client_id"]},
    "jti": lambda g, t, i: {"issuer": i, "jti": t["jti"]},
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_revoke(way, gate, grant, idp):
    """Each way closes this session and no other, and the same token stays out, also after a
    restart."""
    claims = {"client_id": f"client-{grant['id']}", "jti": f"jti-{grant['id']}"}
    token = gate.token(subject(grant), **claims)
    other = gates.grant(clients.new_group("rev"), clients.new_group("other"), [BIG], "x")
    gate.put_grant(other)
    with gate.wire(token, tapped=False) as hit, \
            gate.wire(gate.token(subject(other)), tapped=False) as spared:
        assert gate.revoke(**WAYS[way](grant, claims, idp.issuer), reason="e2e") == 1
        hit.wait_closed(2)
        spared.ask("Metadata", 9, {"Topics": [{"Name": BIG}]})
    assert gate.login_error(token) == 58
    gate.delete_grant(other["id"])


def test_rfc_7009(gate, grant):
    token, second = (gate.token(subject(grant)) for _ in range(2))
    with gate.wire(token, tapped=False) as hit, gate.wire(second, tapped=False) as spared:
        gate.revoke_token(token)
        hit.wait_closed(2)
        spared.ask("Metadata", 9, {"Topics": [{"Name": BIG}]})
    assert gate.login_error(token) == 58
    assert gate.login_error(second) == 0
    gate.revoke_token("not a token")  # RFC 7009: an unknown token is answered like any other


def test_issuer_not_before(make_gate, idp, cluster, serial_parts):
    gate = make_gate("not-before", tapped=False,
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    old = gate.token(iat=int(time.time()) - 100)
    new = gate.token(iat=int(time.time()) - 5)
    with gate.wire(old) as hit, gate.wire(new) as spared:
        assert gate.revoke(issuer=idp.issuer, not_before=int(time.time()) - 50) == 1
        hit.wait_closed(2)
        spared.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    assert (gate.login_error(old), gate.login_error(new)) == (58, 0)


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_revocations_outlive_a_restart(how, make_gate, cluster, serial_parts, idp):
    """What was acknowledged is on disk: even an end without farewell does not bring it back."""
    gate = make_gate(how, tapped=False,
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
                             gates.grant("read-carol", "carol", ["serial-parts"], "carol")])
    bob, carol, jti = gate.token("bob"), gate.token("carol"), gate.token("carol", jti="gone")
    gate.put_grant(gates.grant("added", "dora", ["serial-parts"], "dora"))
    gate.revoke(transfer="read-bob")
    gate.revoke(issuer=idp.issuer, jti="gone")
    gate.restart(kill=how == "killed")
    assert gate.login_error(bob) == 58
    assert gate.login_error(jti) == 58
    assert gate.login_error(carol) == 0
    assert gate.login_error(gate.token("dora")) == 0, "grants of the API are durable, too"
    assert len(gate.http("GET", "/v1/revocations")[1]) > 0


def test_deleting_a_grant_closes(gate, grant):
    token = gate.token(subject(grant))
    with gate.wire(token, tapped=False) as connection:
        gate.delete_grant(grant["id"])
        connection.wait_closed(2)
    assert gate.login_error(token) == 58


def test_narrowing_a_grant_closes_and_widening_does_not(gate, grant):
    token = gate.token(subject(grant))
    with gate.wire(token, tapped=False) as connection:
        gate.put_grant(grant | {"topics": grant["topics"] + [f"more-{grant['id']}"]})
        connection.ask("Metadata", 9, {"Topics": [{"Name": BIG}]})
        gate.put_grant(grant | {"topics": [BIG]})
        connection.wait_closed(2)


@pytest.mark.parametrize("body", [{}, {"transfer": "a", "agreement": "b"}, {"jti": "x"},
                                  {"subject": "x"}, {"transfer": 7}, {"unknown": "x"}, []])
def test_an_unclear_revocation_is_refused(body, gate, grant):
    with gate.wire(gate.token(subject(grant)), tapped=False) as connection:
        status, _ = gate.http("POST", "/v1/revocations", body)
        assert status == 400
        connection.ask("Metadata", 9, {"Topics": [{"Name": BIG}]})


def test_the_command_line_revokes(gate, grant):
    """sluice sessions, grants and revoke speak to the control listener of the configuration."""
    def sluice(*words):
        return clients.run([clients.parts.SLUICE, *words], timeout_s=20)
    with gate.wire(gate.token(subject(grant)), tapped=False) as connection:
        assert subject(grant) in sluice("sessions", "-c", gate.config_file).text
        assert grant["id"] in sluice("grants", "-c", gate.config_file).text
        ran = sluice("revoke", "-c", gate.config_file, "--transfer", grant["id"])
        if ran.status:
            ran = sluice("revoke", "-c", gate.config_file, f"transfer={grant['id']}")
        assert ran.status == 0, ran.text
        connection.wait_closed(2)
