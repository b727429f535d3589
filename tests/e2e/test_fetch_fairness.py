"""One busy partition among eleven idle ones on other brokers reads as fast as alone."""

import time

import confluent_kafka
import pytest

import clients
import gate as gates
import kafka

TOPIC, COUNT, SIZE = "one-busy", 40_000, 1000


@pytest.fixture(scope="module")
def gate(request, make_gate, cluster, serial_parts):
    """Partition 0 on the first broker, the idle ones on the two others; no relay, which would
    measure itself."""
    cluster.create_topic(TOPIC, 12, assignment=[[kafka.NODES[0]]] + [
        [kafka.NODES[1 + i % 2]] for i in range(11)])
    producer = confluent_kafka.Producer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "linger.ms": 50, "batch.size": 500_000})
    for i in range(COUNT):
        producer.produce(TOPIC, i.to_bytes(8, "big") + bytes(SIZE - 8), partition=0)
        if i % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    if request.config.getoption("--direct"):
        return None
    return make_gate("fairness", tapped=False,
                     grants=[gates.grant("read-bob", "bob", [TOPIC], "bob")])


def read_confluent(door, partitions):
    """Seconds from the first to the last record of partition 0."""
    consumer = confluent_kafka.Consumer(door.librdkafka(**{
        "group.id": "bob-unused", "enable.auto.commit": False, "fetch.wait.max.ms": 500,
        "fetch.message.max.bytes": 200_000}))
    try:
        consumer.assign([confluent_kafka.TopicPartition(TOPIC, p, 0) for p in partitions])
        got, start = 0, None
        end = time.monotonic() + 60
        while got < COUNT and time.monotonic() < end:
            messages = consumer.consume(5000, 0.5)
            assert not any(m.error() for m in messages)
            if messages and start is None:
                start = time.monotonic()
            got += len(messages)
        assert got == COUNT
        return time.monotonic() - start
    finally:
        consumer.close()


def read_java(door, libs, partitions):
    """Seconds that the whole program takes; starting Java costs the same both times."""
    file = door.properties(**{"max.partition.fetch.bytes": 200_000, "fetch.max.wait.ms": 500,
                              "e2e.partitions": ",".join(map(str, partitions))})
    start = time.monotonic()
    ran = clients.run_held(clients.parts.java("Reader", file, TOPIC, COUNT, 0, "count",
                                              libs=libs))
    took = time.monotonic() - start
    assert ran.status == 0 and ran.lines("end") == [[str(COUNT)]], ran.text[-2000:]
    return took


@pytest.mark.direct
@pytest.mark.parametrize("client", ["confluent", "java-4.3", "java-3.9"])
def test_idle_partitions_cost_nothing(client, gate, doors):
    door = doors(gate)
    libs = clients.parts.KAFKA39 if "3.9" in client else clients.parts.KAFKA

    def read(partitions):
        if client == "confluent":
            return read_confluent(door, partitions)
        return read_java(door, libs, partitions)

    if client == "confluent":
        read([0])  # what is read first comes from a cold disk cache
    # By turns, so that what else the machine does meets both; the faster of each.
    times = [(read([0]), read(range(12))) for _ in range(2)]
    alone, among = (min(column) for column in zip(*times))
    # An answer that waited for the idle brokers would cost 500 ms each, for hundreds of answers.
    assert among < alone * 1.25 + 0.3, f"alone {alone:.2f} s, among idle ones {among:.2f} s"
