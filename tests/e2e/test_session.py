"""A session's life: re-authentication in mid-stream, expiry of token and grant."""

import contextlib
import threading
import time

import confluent_kafka
import pytest

import clients
import gate as gates
import records
import wire
from processes import wait_for

TOPIC = "ticks"


@pytest.fixture(scope="module")
def gate(request, make_gate, cluster, serial_parts):
    cluster.create_topic(TOPIC, 6)
    if request.config.getoption("--direct"):
        return None
    return make_gate("session", grants=[
        gates.grant("read-bob", "bob", ["serial-parts", TOPIC], "bob"),
        gates.grant("again-bob", "bob-2", ["serial-parts", TOPIC], "bob",
                    participant="did:web:bob"),
        gates.grant("less-bob", "bob-3", [TOPIC], "bob", participant="did:web:bob")])


@contextlib.contextmanager
def ticking(cluster, topic, interval_s=0.02):
    """Writes numbered records to all partitions, straight to the brokers, until left."""
    stop = threading.Event()
    counts = {}

    def write():
        producer = confluent_kafka.Producer({
            "bootstrap.servers": ",".join(cluster.bootstrap()), "enable.idempotence": True,
            "linger.ms": 0, "log_level": 2, "message.timeout.ms": 60000})
        partitions = sorted(cluster.leaders(topic))
        while not stop.wait(interval_s):
            for partition in partitions:
                number = counts.get(partition, 0)
                producer.produce(topic, f"{partition}:{number}", partition=partition)
                counts[partition] = number + 1
            producer.poll(0)
        assert producer.flush(60) == 0

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join(70)


def fresh_tokens(door, stop, every_s=0.5):
    def renew():
        while not stop.wait(every_s):
            door.new_token()
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    return thread


def assert_ticks(values, counts):
    """Every number once and in order, partition by partition; earlier ones may have been left
    by a previous case."""
    seen = {}
    for value in values:
        partition, number = map(int, value.split(b":"))
        seen.setdefault(partition, []).append(number)
    for partition, count in counts.items():
        assert seen.get(partition) == list(range(count)), f"partition {partition}"


def connections(gate, findings):
    """How many connections clients have opened so far; unknown without a gate."""
    return findings.connections[gate.advertised_port] if gate else 0


@pytest.mark.direct
@pytest.mark.parametrize("client", ["java-4.3", "java-kip848", "java-3.9", "confluent"])
def test_reauthentication_in_mid_stream(client, gate, doors, cluster, findings):
    """Tokens of four seconds, a stream of twelve: no rebalance, no new connection, no gap."""
    topic = f"{TOPIC}-{client}"
    cluster.create_topic(topic, 6)
    if gate is not None:
        gate.put_grant(gates.grant(f"ticks-{client}", f"bob-{client}", [topic], "bob"))
    door = doors(gate, f"bob-{client}", ttl_s=4)
    stop = threading.Event()
    renewing = fresh_tokens(door, stop)
    group = clients.new_group()
    follower = None
    try:
        with ticking(cluster, topic) as counts:
            if client == "confluent":
                values, rebalances, opened = follow_confluent(door, topic, group, findings, gate)
            else:
                follower = clients.Follower(
                    door, topic, group, "consumer" if "848" in client else "classic",
                    clients.parts.KAFKA39 if "3.9" in client else clients.parts.KAFKA)
                wait_for(follower.records, 30, "the first record")
                before = connections(gate, findings)
                time.sleep(12)
                opened = connections(gate, findings) - before
        if follower is not None:
            total = sum(counts.values())
            wait_for(lambda: len(follower.records()) >= total, 20, "all records")
            assert not follower.lines("error") and not follower.lines("uncommitted")
            rebalances = len(follower.lines("assigned"))
            values = [r.value for r in follower.records()]
            assert follower.finish() == 0
        else:
            values += drain(door, topic, group, sum(counts.values()) - len(values))
    finally:
        stop.set()
        renewing.join()
        if follower is not None and follower.process.running():
            follower.kill()
    assert_ticks(values, counts)
    assert rebalances == 1
    assert opened == 0, f"{opened} new connections"


def follow_confluent(door, topic, group, findings, gate):
    assigned = []
    consumer = confluent_kafka.Consumer(door.librdkafka(**{
        "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}))
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.append(partitions))
    values = [r.value for r in clients.poll(consumer, 1, 30)]
    before = connections(gate, findings)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        for message in consumer.consume(500, 0.2):
            assert not message.error(), message.error()
            values.append(message.value())
    opened = connections(gate, findings) - before
    consumer.commit(asynchronous=False)
    consumer.close()
    return values, len(assigned), opened


def drain(door, topic, group, count):
    consumer = confluent_kafka.Consumer(door.librdkafka(**{"group.id": group}))
    try:
        consumer.subscribe([topic])
        return [r.value for r in clients.poll(consumer, count, 30)]
    finally:
        consumer.close()


# --- on the wire

def test_the_lifetime_is_told(gate):
    with gate.wire(tapped=False) as connection:
        answer = connection.authenticate(gate.token(ttl_s=100))
        assert answer["ErrorCode"] == 0
        assert 90_000 < answer["SessionLifetimeMs"] <= 100_000


def test_reauthentication_keeps_equal_rights_only(gate):
    for subject, code in (("bob", 0), ("bob-2", 0), ("bob-3", 58)):
        with gate.wire(gate.token("bob")) as connection:
            time.sleep(1.1)  # limits.reauth_min_interval_ms
            answer = connection.authenticate(gate.token(subject))
            assert answer["ErrorCode"] == code, subject
            if code:
                connection.wait_closed()
            else:
                connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})


def test_reauthentication_moves_to_the_new_token(gate):
    """The old token's end no longer matters, the new one's does."""
    with gate.wire(gate.token(ttl_s=4)) as connection:
        time.sleep(1.1)
        assert connection.authenticate(gate.token(ttl_s=9))["ErrorCode"] == 0
        time.sleep(4)
        connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
        start = time.monotonic()
        connection.wait_closed()
        assert 1 < time.monotonic() - start < 10


@pytest.mark.parametrize("what", ["idle", "parked", "busy"])
def test_expiry_closes(what, gate):
    """At its end a session takes no more; what was sent may finish within five seconds."""
    with gate.wire(gate.token(ttl_s=3), tapped=False) as connection:
        start = time.monotonic()
        if what == "parked":
            connection.post("Fetch", 12, wire.fetch_body(TOPIC, {0: ends(connection)}, 30_000))
        if what == "busy":
            with pytest.raises(wire.Closed):
                while time.monotonic() - start < 12:
                    connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        else:
            connection.wait_closed()
        took = time.monotonic() - start
        assert 1.9 < took < 9, f"closed after {took:.1f} s"
    gate.wait_audit("expir")


def ends(connection):
    answer = connection.ask("ListOffsets", 5, {"ReplicaId": -1, "Topics": [
        {"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]})
    return answer["Topics"][0]["Partitions"][0]["Offset"]


def test_the_end_of_a_grant_closes(gate):
    gate.put_grant(gates.grant("short", "dora", [TOPIC], "dora", expires=int(time.time()) + 3))
    with gate.wire(gate.token("dora"), tapped=False) as connection:
        start = time.monotonic()
        connection.wait_closed()
        assert time.monotonic() - start < 9
    assert gate.login_error(gate.token("dora")) == 58


def test_sessions_are_shown(gate):
    with gate.wire(gate.token("bob"), tapped=False) as connection:
        connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
        text = str(gate.sessions())
        assert "bob" in text and "127.0.0.1" in text
    wait_for(lambda: len(gate.sessions()) == 0, 5, "the session is gone from the list")


def test_an_expired_client_comes_back(gate, doors, serial_parts):
    """kcat does not re-authenticate: it is cut at each expiry and logs in again with a token that
    the plugin has renewed meanwhile."""
    door = doors(gate, "bob", ttl_s=5)
    stop = threading.Event()
    renewing = fresh_tokens(door, stop)
    try:
        got = clients.read_kcat(door, "serial-parts", len(serial_parts), clients.new_group())
    finally:
        stop.set()
        renewing.join()
    records.assert_same(got, serial_parts, clients.kcat_headers)
