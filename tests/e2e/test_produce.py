"""Writing with a write grant: every client, idempotent, in transactions; and what is refused."""

import confluent_kafka
import pytest

import clients
import gate as gates
from processes import wait_for

TOPIC = "orders"
IN_TRANSACTIONS = "orders-transactions"


@pytest.fixture(scope="module")
def gate(request, make_gate, cluster, serial_parts):
    cluster.create_topic(TOPIC, 6)
    cluster.create_topic(IN_TRANSACTIONS, 6)
    cluster.create_topic("orders-copy", 6)
    if request.config.getoption("--direct"):
        return None
    return make_gate("produce", grants=[
        gates.grant("write-alice", "alice", [TOPIC, IN_TRANSACTIONS, "orders-copy"],
                    "alice", ["read", "write"]),
        gates.grant("read-bob", "bob", [TOPIC], "bob")])


@pytest.fixture
def alice(gate, doors):
    return doors(gate, "alice")


@pytest.fixture
def prefix(request):
    return f"{request.node.name}-".replace("[", "-").replace("]", "")


def written(cluster, prefix, topic=TOPIC, committed=True):
    """What stands in the topic under this prefix, straight from the brokers."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": ",".join(cluster.bootstrap()), "group.id": "look",
        "isolation.level": "read_committed" if committed else "read_uncommitted",
        "enable.partition.eof": True, "fetch.wait.max.ms": 50, "enable.auto.commit": False})
    try:
        partitions = cluster.leaders(topic)
        consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in partitions])
        ended, out = set(), []
        while len(ended) < len(partitions):
            for message in consumer.consume(500, 5):
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                    ended.add(message.partition())
                elif message.value().startswith(prefix.encode()):
                    out.append(message.value().decode())
        return out
    finally:
        consumer.close()


def numbered(prefix, count):
    return sorted(f"{prefix}{i}" for i in range(count))


def end_offsets(cluster, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "group.id": "look"})
    try:
        return [consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, p),
                                               timeout=10)[1] for p in cluster.leaders(topic)]
    finally:
        consumer.close()


@pytest.mark.direct
def test_kcat_writes(alice, cluster, prefix):
    ran = clients.write_kcat(alice, TOPIC, 100, prefix)
    assert ran.status == 0, ran.err
    assert sorted(written(cluster, prefix)) == numbered(prefix, 100)


@pytest.mark.direct
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_confluent_writes_idempotently(codec, alice, cluster, prefix):
    errors = clients.write_confluent(alice, TOPIC, 300, prefix, **{"compression.codec": codec})
    assert not errors
    assert sorted(written(cluster, prefix)) == numbered(prefix, 300)


@pytest.mark.direct
@pytest.mark.parametrize("acks", ["0", "1"])
def test_confluent_writes_with_few_acks(acks, alice, cluster, prefix):
    errors = clients.write_confluent(alice, TOPIC, 100, prefix,
                                     **{"acks": acks, "enable.idempotence": False})
    assert not errors
    wait_for(lambda: sorted(written(cluster, prefix)) == numbered(prefix, 100), 10,
                     "all is written", 0.2)


@pytest.mark.direct
def test_large_values_are_written(alice, cluster, prefix):
    """Many requests near a megabyte each: held whole by the gate, passed on whole."""
    producer = confluent_kafka.Producer(alice.librdkafka(**{
        "enable.idempotence": True, "linger.ms": 0, "message.max.bytes": 1_000_000}))
    errors = []
    for i in range(24):
        text = f"{prefix}{i}-".encode()
        producer.produce(TOPIC, text + b"x" * (900_000 - len(text)), partition=i % 6,
                         on_delivery=lambda error, _: error and errors.append(error))
    assert producer.flush(60) == 0 and not errors
    found = written(cluster, prefix)
    assert sorted(int(text[len(prefix):].split("-")[0]) for text in found) == list(range(24))
    assert all(len(text) == 900_000 for text in found)


@pytest.mark.direct
def test_console_producer_writes(alice, cluster, prefix):
    ran = clients.write_console(alice, TOPIC, 100, prefix)
    assert ran.status == 0 and "ERROR" not in ran.text, ran.text
    assert sorted(written(cluster, prefix)) == numbered(prefix, 100)


@pytest.mark.direct
def test_kafkajs_writes(alice, cluster, prefix):
    ran = clients.write_kafkajs(alice, TOPIC, 100, prefix)
    assert ran.status == 0, ran.text
    assert sorted(written(cluster, prefix)) == numbered(prefix, 100)


# --- transactions

@pytest.mark.direct
@pytest.mark.parametrize("libs", ["4.3", "3.9"])
def test_transactions_commit_and_abort(libs, alice, gate, doors, cluster, prefix):
    jars = clients.parts.KAFKA if libs == "4.3" else clients.parts.KAFKA39
    transactional = clients.new_group("alice")
    for end in ("commit", "abort"):
        ran = clients.write_java(alice, IN_TRANSACTIONS, 50, f"{prefix}{end}-", "transaction", [end], jars,
                                 **{"transactional.id": transactional})
        assert ran.status == 0, ran.text
        assert [end] in ran.lines("ok")
    assert sorted(written(cluster, prefix, IN_TRANSACTIONS)) == numbered(f"{prefix}commit-", 50)

    # A reader behind the gate sees the same: committed ones only, or all when it asks for all.
    for isolation, count in (("read_committed", 50), ("read_uncommitted", 100)):
        ran = clients.run_held(clients.parts.java(
            "Reader", doors(gate, "alice").properties(**{
                "group.id": clients.new_group("alice"), "auto.offset.reset": "earliest",
                "isolation.level": isolation}), IN_TRANSACTIONS, 0, 1500))
        seen = [r.value.decode() for r in ran.records()
                if r.value.startswith(prefix.encode())]
        assert len(seen) == count, ran.text[-500:]


@pytest.mark.direct
def test_a_left_transaction_is_fenced_and_aborted(alice, cluster, prefix):
    """A producer dies inside its transaction; the next one of the same id takes over."""
    transactional = clients.new_group("alice")
    ran = clients.write_java(alice, IN_TRANSACTIONS, 20, f"{prefix}left-", "transaction", ["leave"],
                             **{"transactional.id": transactional})
    assert ran.status == 0 and ran.lines("ok") == [["initialised"], ["sent"]], ran.text
    ran = clients.write_java(alice, IN_TRANSACTIONS, 20, f"{prefix}next-", "transaction", ["commit"],
                             **{"transactional.id": transactional})
    assert ran.status == 0, ran.text
    assert sorted(written(cluster, prefix, IN_TRANSACTIONS)) == numbered(f"{prefix}next-", 20)


@pytest.mark.direct
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_offsets_travel_in_the_transaction(protocol, alice, gate, doors, cluster, prefix):
    """Read, write and commit the offsets in one transaction (sendOffsetsToTransaction)."""
    source = clients.new_group("copy-source")
    cluster.create_topic(source, 3)
    if gate is not None:
        gate.put_grant(gates.grant(f"copy-{source}", "alice", [source], "alice"))
        alice.new_token()
    direct = clients.Door(alice.directory, ",".join(cluster.bootstrap()))
    assert not clients.write_confluent(direct, source, 60, prefix)
    group = clients.new_group("alice")
    consumer = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": "false",
                "isolation.level": "read_committed", "group.protocol": protocol}
    ran = clients.write_java(alice, "orders-copy", 60, source, "copy",
                             [alice.properties(**consumer)],
                             **{"transactional.id": clients.new_group("alice")})
    assert ran.status == 0 and ran.lines("ok") == [["copied", "60"]], ran.text
    assert sorted(written(cluster, prefix, "orders-copy")) == numbered(prefix, 60)
    answer = cluster.admin.list_consumer_group_offsets(
        [confluent_kafka.ConsumerGroupTopicPartitions(group)])[group].result(10)
    assert sum(p.offset for p in answer.topic_partitions) == 60


@pytest.mark.direct
def test_librdkafka_transactions(alice, cluster, prefix):
    """The older protocol of transactions: AddPartitionsToTxn, AddOffsetsToTxn."""
    producer = confluent_kafka.Producer(alice.librdkafka(**{
        "transactional.id": clients.new_group("alice"), "transaction.timeout.ms": 10000}))
    producer.init_transactions(20)
    for end in ("commit", "abort"):
        producer.begin_transaction()
        for i in range(30):
            producer.produce(IN_TRANSACTIONS, f"{prefix}{end}-{i}")
        producer.flush(20)
        (producer.commit_transaction if end == "commit" else producer.abort_transaction)(20)
    assert sorted(written(cluster, prefix, IN_TRANSACTIONS)) == numbered(f"{prefix}commit-", 30)


# --- refusals

def test_transactional_id_outside_the_prefix(gate, alice, prefix):
    ran = clients.write_java(alice, TOPIC, 1, prefix, "transaction", ["commit"],
                             **{"transactional.id": "mallory-1"})
    assert ran.status == 1
    assert ran.lines("error")[0][0] == "TransactionalIdAuthorizationException", ran.text


def test_a_read_grant_writes_nothing(gate, doors, cluster, prefix):
    """As each client shows it, and nothing reaches the topic."""
    bob = doors(gate, "bob")
    before = end_offsets(cluster, TOPIC)

    ran = clients.write_kcat(bob, TOPIC, 3, prefix)
    assert "authorization failed" in ran.err, ran.err
    errors = clients.write_confluent(bob, TOPIC, 3, prefix, **{"enable.idempotence": False})
    assert {e.code() for e in errors} == {confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED}
    ran = clients.write_console(bob, TOPIC, 3, prefix)
    assert "AuthorizationException" in ran.text, ran.text
    ran = clients.write_java(bob, TOPIC, 3, prefix, **{"enable.idempotence": "false"})
    assert ran.lines("error")[0][0] == "TopicAuthorizationException", ran.text
    ran = clients.write_kafkajs(bob, TOPIC, 3, prefix)
    assert "TOPIC_AUTHORIZATION_FAILED" in ran.text or "not authorized" in ran.text.lower(), ran.text

    assert end_offsets(cluster, TOPIC) == before


def test_an_idempotent_producer_needs_a_write_grant(gate, doors, cluster, prefix):
    before = end_offsets(cluster, TOPIC)
    ran = clients.write_java(doors(gate, "bob"), TOPIC, 1, prefix)
    assert ran.lines("error")[0][0] in ("ClusterAuthorizationException",
                                        "TopicAuthorizationException"), ran.text
    assert end_offsets(cluster, TOPIC) == before


def test_a_write_grant_writes_no_other_topic(gate, alice, cluster, prefix):
    before = end_offsets(cluster, "serial-parts")
    errors = clients.write_confluent(alice, "serial-parts", 3, prefix,
                                     **{"enable.idempotence": False})
    assert {e.code() for e in errors} == {confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED}
    assert end_offsets(cluster, "serial-parts") == before


def test_a_topic_is_not_created_by_asking_for_it(gate, alice, cluster, prefix):
    name = "made-by-asking"
    assert clients.write_confluent(alice, name, 1, prefix, **{"enable.idempotence": False})
    assert name not in cluster.admin.list_topics(timeout=10).topics
