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


TTL_S, STREAM_S = 20, 26


class Streaming:
    """One client with short tokens, reading a topic of its own while it is written to."""

    def __init__(self, name, gate, doors, cluster):
        self.name, self.subject, self.topic = name, f"again-{name}", f"{TOPIC}-{name}"
        cluster.create_topic(self.topic, 6)
        if gate is not None:
            gate.put_grant(gates.grant(f"ticks-{name}", self.subject, [self.topic], "bob"))
        # Tokens are renewed at half their life: a re-authentication always has a good one.
        self.door = doors(gate, self.subject, ttl_s=TTL_S)
        self.door.renew_at_half = True
        self.group = clients.new_group()
        self.values, self.rebalances, self.problem = [], 0, None
        self.follower = None

    def reading(self):
        return self.problem or self.values or (self.follower and self.follower.records())

    def run(self, stop, counts):
        try:
            if self.name == "confluent":
                self._confluent(stop, counts)
            else:
                self._java(stop, counts)
        except BaseException as problem:  # shown by the case
            self.problem = problem

    def _java(self, stop, counts):
        protocol = "consumer" if "848" in self.name else "classic"
        patience = {"session.timeout.ms": 20000} if protocol == "classic" else {}
        follower = self.follower = clients.Follower(
            self.door, self.topic, self.group, protocol,
            clients.parts.KAFKA39 if "3.9" in self.name else clients.parts.KAFKA, **patience | {
                "sasl.login.refresh.window.factor": 0.5,
                "sasl.login.refresh.window.jitter": 0.0})
        try:
            stop.wait()
            wait_for(lambda: len(follower.records()) >= sum(counts.values()), 30, "all records")
            assert not follower.lines("error") and not follower.lines("uncommitted")
            self.rebalances = len(follower.lines("assigned"))
            self.values = [r.value for r in follower.records()]
            assert follower.finish() == 0
        finally:
            if follower.process.running():
                follower.kill()

    def _confluent(self, stop, counts):
        assigned = []
        consumer = confluent_kafka.Consumer(self.door.librdkafka(**{
            "group.id": self.group, "auto.offset.reset": "earliest"}))
        try:
            consumer.subscribe([self.topic], on_assign=lambda _, p: assigned.append(p))
            end = None
            while not stop.is_set() or len(self.values) < sum(counts.values()):
                for message in consumer.consume(500, 0.2):
                    assert not message.error(), message.error()
                    self.values.append(message.value())
                if stop.is_set():
                    end = end or time.monotonic() + 30
                    assert time.monotonic() < end, "not all records came"
            self.rebalances = len(assigned)
        finally:
            consumer.close()


@pytest.mark.direct
def test_reauthentication_in_mid_stream(gate, doors, cluster, serial_parts):
    """Short tokens, a longer stream, all clients that re-authenticate at once: every one
    re-authenticates on its connections, with no new one, no rebalance and no gap."""
    streams = [Streaming(name, gate, doors, cluster)
               for name in ("java-4.3", "java-4.3-kip848", "java-3.9", "confluent")]
    renewing_stop, stop = threading.Event(), threading.Event()
    renewing = [fresh_tokens(s.door, renewing_stop, 1) for s in streams]
    with contextlib.ExitStack() as stack:
        counts = [stack.enter_context(ticking(cluster, s.topic, 0.05)) for s in streams]
        threads = [threading.Thread(target=s.run, args=(stop, c), daemon=True)
                   for s, c in zip(streams, counts)]
        for thread in threads:
            thread.start()
        for one in streams:
            wait_for(one.reading, 120, f"{one.name} reads", 0.2)
            assert one.problem is None, f"{one.name}: {one.problem!r}"
        begun = 0 if gate is None else len(gate.audit())
        time.sleep(STREAM_S)
        during = [] if gate is None else gate.audit()[begun:]
    stop.set()
    for thread in threads:
        thread.join(60)
    renewing_stop.set()
    for thread in renewing:
        thread.join()
    for stream, count in zip(streams, counts):
        assert stream.problem is None, f"{stream.name}: {stream.problem!r}"
        assert_ticks(stream.values, count)
        assert stream.rebalances == 1, stream.name
        if gate is not None:
            codes = [e["metadata"]["event_code"] for e in during
                     if e.get("actor", {}).get("user", {}).get("uid") == stream.subject]
            assert "reauth" in codes, f"{stream.name} never re-authenticated"
            # What may end is a connection that asks for nothing, such as Java's first one.
            assert set(codes) <= {"reauth", "close"}, f"{stream.name} logged in anew: {codes}"
            assert codes.count("close") <= 1, f"{stream.name}: {codes}"


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
    start = time.monotonic()
    with gate.wire(gate.token(ttl_s=4), tapped=False) as connection:
        if what == "parked":
            connection.post("Fetch", 12, wire.fetch_body(TOPIC, {0: ends(connection)}, 30_000))
        if what == "busy":
            with pytest.raises(wire.Closed):
                while time.monotonic() - start < 12:
                    connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        else:
            connection.wait_closed()
        took = time.monotonic() - start
        assert 2.9 < took < 10, f"closed after {took:.1f} s"
    gate.wait_audit("expir")


def ends(connection):
    answer = connection.ask("ListOffsets", 5, {"ReplicaId": -1, "Topics": [
        {"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]})
    return answer["Topics"][0]["Partitions"][0]["Offset"]


def test_the_end_of_a_grant_closes(gate):
    gate.put_grant(gates.grant("short", "dora", [TOPIC], "dora", expires=int(time.time()) + 4))
    with gate.wire(gate.token("dora"), tapped=False) as connection:
        start = time.monotonic()
        connection.wait_closed()
        assert time.monotonic() - start < 10
    assert gate.login_error(gate.token("dora")) == 58


def test_sessions_are_shown(gate):
    with gate.wire(gate.token("bob"), tapped=False) as connection:
        connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
        text = str(gate.sessions())
        assert "bob" in text and "127.0.0.1" in text
    wait_for(lambda: len(gate.sessions()) == 0, 15, "the session is gone from the list")


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
