"""Consumer groups through the gate: rebalances, and offsets that survive their consumers."""

import confluent_kafka
import pytest

import clients
import gate as gates
import records
from processes import wait_for


@pytest.fixture(scope="module")
def gate(request, make_gate, serial_parts):
    if request.config.getoption("--direct"):
        return None
    return make_gate("groups", grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])


def owned(follower):
    """The partitions that a follower has now: its lines replayed."""
    text = follower.process.output()
    now = set()
    for line in text[:text.rfind("\n") + 1].splitlines():
        word, _, rest = line.partition("\t")
        if word in ("assigned", "revoked"):
            numbers = {int(number) for number in rest.split(",") if number}
            now = now | numbers if word == "assigned" else now - numbers
    return now


@pytest.mark.direct
@pytest.mark.parametrize("protocol,libs", [("classic", "4.3"), ("consumer", "4.3"),
                                           ("classic", "3.9")])
def test_two_consumers_share_and_take_over(protocol, libs, gate, doors, serial_parts):
    group = clients.new_group()
    everything = set(range(12))
    jars = clients.parts.KAFKA if libs == "4.3" else clients.parts.KAFKA39
    flags = ("commit", "quiet")
    first = clients.Follower(doors(gate), "serial-parts", group, protocol, jars, flags)
    second = None
    try:
        wait_for(lambda: owned(first) == everything, 40, "the first consumer has all partitions")
        second = clients.Follower(doors(gate), "serial-parts", group, protocol, jars, flags)
        wait_for(lambda: len(owned(first)) == 6 and len(owned(second)) == 6, 40,
                 "both have half of the partitions")
        assert owned(first) | owned(second) == everything
        assert first.finish() == 0
        wait_for(lambda: owned(second) == everything, 40, "the second has them all")
        wait_for(lambda: {(r.partition, r.offset) for f in (first, second) for r in f.records()}
                 == {(r.partition, r.offset) for r in serial_parts}, 40, "all was read")
        assert second.finish() == 0
        for follower in (first, second):
            assert not follower.lines("error"), follower.lines("error")
            assert all(a.offset < b.offset for rows in
                       records.by_partition(follower.records()).values()
                       for a, b in zip(rows, rows[1:]) if len(follower.lines("assigned")) == 1)
    finally:
        for follower in (first, second):
            if follower is not None and follower.process.running():
                follower.kill()


@pytest.mark.direct
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_committed_offsets_survive(protocol, gate, doors, cluster, serial_parts):
    """One consumer reads a part, commits and goes; the next one reads on from there, exactly."""
    group = clients.new_group()
    settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                "group.protocol": protocol}
    half = len(serial_parts) // 3
    got = []
    for count in (half, len(serial_parts) - half):
        consumer = confluent_kafka.Consumer(doors(gate).librdkafka(**settings))
        try:
            consumer.subscribe(["serial-parts"])
            got += clients.poll(consumer, count)
            consumer.commit(asynchronous=False)
        finally:
            consumer.close()
    records.assert_same(got, serial_parts)

    # The brokers hold the group under the name that the client gave it, with these offsets.
    answer = cluster.admin.list_consumer_group_offsets(
        [confluent_kafka.ConsumerGroupTopicPartitions(group)])[group].result(10)
    ends = {p: len(rows) for p, rows in records.by_partition(serial_parts).items()}
    assert {p.partition: p.offset for p in answer.topic_partitions} == ends


@pytest.mark.direct
def test_offsets_of_one_client_serve_another(gate, doors, serial_parts):
    """Java commits, librdkafka and kafkajs read the offsets: nothing is left to read."""
    group = clients.new_group()
    got = clients.read_java(doors(gate), "serial-parts", len(serial_parts), group,
                            flags=("commit",))
    assert len(got) == len(serial_parts)
    consumer = confluent_kafka.Consumer(doors(gate).librdkafka(**{"group.id": group}))
    try:
        wanted = [confluent_kafka.TopicPartition("serial-parts", p) for p in range(12)]
        committed = consumer.committed(wanted, timeout=10)
        assert [p.offset for p in committed] == [
            len(records.by_partition(serial_parts)[p]) for p in range(12)]
    finally:
        consumer.close()


@pytest.mark.direct
def test_lag_is_shown_for_the_own_group(gate, doors, serial_parts):
    """kafka-consumer-groups --describe: offsets, end offsets and lag of one's own group."""
    group = clients.new_group()
    consumer = confluent_kafka.Consumer(doors(gate).librdkafka(**{"group.id": group}))
    try:
        consumer.commit(offsets=[confluent_kafka.TopicPartition("serial-parts", p, 3)
                                 for p in range(12)], asynchronous=False)
    finally:
        consumer.close()
    door = doors(gate)
    ran = clients.run(clients.parts.java(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server",
        door.bootstrap, "--command-config", door.properties(), "--describe", "--group", group))
    rows = [line.split() for line in ran.out.decode().splitlines() if "serial-parts" in line]
    assert sorted(int(row[2]) for row in rows) == list(range(12)), ran.text
    for row in rows:
        end = len(records.by_partition(serial_parts)[int(row[2])])
        assert (int(row[3]), int(row[4]), int(row[5])) == (3, end, end - 3)
