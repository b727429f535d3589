"""Brokers that die, come back, are not there yet, fall silent, or refuse the gate."""

import threading
import time

import confluent_kafka
import pytest

import clients
import forward
import gate as gates
import kafka
import records
import wire
from processes import wait_for
from test_session import assert_ticks, ticking


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts):
    return make_gate("faults", grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])


def mapped(cluster, listener="plaintext", start=True):
    """A relay before each broker, and the address map that makes the gate use them."""
    relays = [forward.Forward(cluster.address(i, listener), start=start) for i in range(3)]
    return relays, {"address_map": dict(zip(cluster.bootstrap(listener),
                                            (r.address for r in relays)))}


# --- a leader dies and comes back

class Assigned(threading.Thread):
    """librdkafka without a group: reads all partitions from the start until told how much."""

    def __init__(self, door, topic, partitions):
        super().__init__(daemon=True)
        self.values, self.problem, self.stop = [], None, threading.Event()
        self._consumer = confluent_kafka.Consumer(door.librdkafka(**{
            "group.id": "bob-unused", "fetch.wait.max.ms": 200, "enable.auto.commit": False}))
        self._consumer.assign([confluent_kafka.TopicPartition(topic, p, 0)
                               for p in range(partitions)])

    def run(self):
        try:
            while not self.stop.is_set():
                for message in self._consumer.consume(500, 0.2):
                    if message.error() is None:
                        self.values.append(message.value())
                    elif message.error().code() not in (
                            confluent_kafka.KafkaError._TRANSPORT,
                            confluent_kafka.KafkaError._ALL_BROKERS_DOWN) and \
                            not message.error().retriable():
                        raise confluent_kafka.KafkaException(message.error())
        except Exception as problem:  # shown by the case
            self.problem = problem
        finally:
            self._consumer.close()


@pytest.mark.direct
def test_a_leader_dies_and_comes_back(request, doors, cluster, serial_parts):
    """Killed, not stopped; every record arrives once, in order, with librdkafka and with Java."""
    gate = None if request.config.getoption("--direct") else request.getfixturevalue("gate")
    cluster.create_topic("faulty", 6)
    if gate is not None:
        gate.put_grant(gates.grant("faulty", "faulty", ["faulty"], "bob"))
    door = doors(gate, "faulty")
    java = None
    reader = Assigned(door, "faulty", 6)
    try:
        with ticking(cluster, "faulty") as counts:
            java = clients.Follower(door, "faulty", clients.new_group())
            reader.start()
            wait_for(lambda: len(reader.values) > 100 and len(java.records()) > 100, 40,
                     "both clients read")
            victim = cluster.leaders("faulty")[0]
            index = kafka.NODES.index(victim)
            cluster.kill_node(index)
            wait_for(lambda: victim not in cluster.leaders("faulty").values(), 40,
                     "other leaders", 0.2)
            moved = counts[0]
            wait_for(lambda: counts[0] > moved + 20, 40, "writing goes on")
            cluster.start_node(index)
            wait_for(lambda: victim in cluster.leaders("faulty").values(), 60,
                     "the leader is back", 0.2)
            back = counts[0]
            wait_for(lambda: counts[0] > back + 20, 40, "writing goes on")
        total = sum(counts.values())
        wait_for(lambda: len(reader.values) >= total and len(java.records()) >= total, 40,
                 "everything was read")
        assert reader.problem is None, reader.problem
        assert_ticks(reader.values, counts)
        assert not java.lines("error"), java.lines("error")
        if len(java.lines("assigned")) == 1:
            assert_ticks([r.value for r in java.records()], counts)
        else:
            # A rebalance may repeat what was not committed; nothing may be missing or misplaced.
            assert_ticks(list(dict.fromkeys(r.value for r in java.records())), counts)
    finally:
        reader.stop.set()
        if reader.ident:
            reader.join(20)
        if java is not None:
            java.kill()
        for index, node in enumerate(cluster.nodes):
            if not node.running():
                cluster.start_node(index)
        cluster.wait_ready()
        wait_for(lambda: all(len(nodes) == 3 for nodes in
                             cluster.in_sync("faulty").values()), 60, "all replicas in sync", 0.2)


def test_a_leader_is_moved(gate, doors, cluster, serial_parts):
    """Stopped in an orderly way: leaders and coordinators move, sessions stay."""
    door = doors(gate)
    with gate.wire(gate.token(), tapped=False) as connection:
        cluster.stop_node(1)
        try:
            got = clients.read_confluent(door, "serial-parts", len(serial_parts),
                                         clients.new_group())
            records.assert_same(got, serial_parts)
            answer = connection.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
            assert len(answer["Topics"][0]["Partitions"]) == 12
            assert {tuple(p["ReplicaNodes"]) for p in answer["Topics"][0]["Partitions"]} == {(0,)}
        finally:
            cluster.start_node(1)
            cluster.wait_ready()


# --- brokers that are not there

def test_brokers_are_down_at_start(make_gate, cluster, serial_parts):
    """Red until the first broker has answered; logins are put off, not refused for good."""
    relays, upstream = mapped(cluster, start=False)
    gate = make_gate("down", start=False, tapped=False, upstream=upstream,
                     brokers=[r.address for r in relays],
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    try:
        gate.start(ready=False)
        wait_for(lambda: gate.http("GET", "/healthz")[0] == 200, 10, "the control listener")
        assert gate.http("GET", "/readyz")[0] == 503
        with gate.wire() as connection:
            try:
                answer = connection.authenticate(gate.token())
                assert answer["ErrorCode"] not in (0, 58), answer
            except wire.Closed:
                pass
        gate.wait_log(r"broker|upstream")
        for relay in relays:
            relay.start()
        gate.wait_ready(15)
        assert gate.login_error(gate.token()) == 0
    finally:
        for relay in relays:
            relay.stop()


def test_all_brokers_go_and_return(make_gate, cluster, doors, serial_parts):
    relays, upstream = mapped(cluster)
    gate = make_gate("away", upstream=upstream, brokers=[r.address for r in relays],
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    try:
        reader = Assigned(doors(gate), "serial-parts", 12)
        reader.start()
        wait_for(lambda: len(reader.values) == len(serial_parts), 30, "all is read")
        for relay in relays:
            relay.stop()
        time.sleep(1.5)
        gate.must_run()
        for relay in relays:
            relay.start()
        with gate.session(gate.token()) as connection:
            def answered():
                answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}))
                return wire.fetched(answer)["serial-parts", 0][0] == 0
            wait_for(answered, 15, "data flows again", 0.2)
        reader.stop.set()
        reader.join(20)
        assert reader.problem is None and len(reader.values) == len(serial_parts)
    finally:
        for relay in relays:
            relay.stop()


def test_a_broker_dies_in_mid_answer(make_gate, cluster, doors, serial_parts):
    """Half of a large answer has left already: the client is reset, and reads all the same."""
    relays, upstream = mapped(cluster)
    gate = make_gate("cut", upstream=upstream, brokers=[r.address for r in relays],
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    try:
        with gate.wire(gate.token(), tapped=False) as connection:
            body = wire.fetch_body("serial-parts", {p: 0 for p in range(12)},
                                   partition_bytes=4 << 20)
            for relay in relays:
                relay.to_gate, relay.limit = 0, 500_000
            connection.post("Fetch", 12, body)
            rest, _ = connection.wait_closed()
            assert len(rest) < 12 * 600_000
        for relay in relays:
            relay.to_gate, relay.limit = 0, 700_000
        got = clients.read_confluent(doors(gate), "serial-parts", len(serial_parts),
                                     clients.new_group())
        records.assert_same(got, serial_parts)
        gate.must_run()
    finally:
        for relay in relays:
            relay.stop()


def test_a_silent_broker_holds_up_its_own_partitions_only(make_gate, cluster, serial_parts):
    relays, upstream = mapped(cluster)
    gate = make_gate("silent", tapped=False, upstream=upstream,
                     brokers=[r.address for r in relays],
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    leaders = cluster.leaders("serial-parts")
    index = kafka.NODES.index(leaders[0])
    try:
        with gate.wire(gate.token()) as connection:
            body = wire.fetch_body("serial-parts", {p: 0 for p in range(12)}, 500)
            connection.ask("Fetch", 12, body)
            relays[index].silent.set()
            start = time.monotonic()
            seen = {}
            for _ in range(6):
                for (_, p), (error, size) in wire.fetched(
                        connection.ask("Fetch", 12, body)).items():
                    assert error == 0
                    seen[p] = seen.get(p, 0) + size
            assert time.monotonic() - start < 6
            for partition, leader in leaders.items():
                if leader != leaders[0]:
                    assert seen[partition] > 0, partition
    finally:
        for relay in relays:
            relay.silent.clear()
            relay.stop()


# --- brokers that refuse the gate

@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_wrong_upstream_credentials(mechanism, make_gate, cluster, authority, tmp_path):
    """Red, said clearly, the secret not told; no hammering of the brokers."""
    secret = "wr0ng-and-secret"
    (tmp_path / "password").write_text(secret)
    relays, upstream = mapped(cluster, "sasl_plain")
    gate = make_gate(f"refused-{mechanism}", start=False, tapped=False,
                     brokers=[r.address for r in relays],
                     upstream=upstream | {"sasl": {
                         "mechanism": mechanism, "username": kafka.USER,
                         "password_file": str(tmp_path / "password")}},
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    gate.hide(secret)
    try:
        gate.start(ready=False)
        wait_for(lambda: gate.http("GET", "/healthz")[0] == 200, 10, "the control listener")
        gate.wait_log(r"(?i)sasl|authenticat", 10)
        assert gate.http("GET", "/readyz")[0] == 503
        before = sum(r.accepted for r in relays)
        time.sleep(3)
        assert sum(r.accepted for r in relays) - before < 60
    finally:
        gate.close()
        for relay in relays:
            relay.stop()
