"""1. The provider's own application produces inside, untouched; a consumer's EDR only reads."""

import confluent_kafka
import pytest

import clients
import plane as planes


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture(scope="module")
def topic(cluster):
    name = planes.unique("shop-floor")
    cluster.create_topic(name, 3)
    return name


@pytest.fixture(scope="module")
def edr(plane, bob_connector, provider, contracts, topic):
    return bob_connector.transfer(provider, contracts(bob_connector, provider, topic)).edr()


def produce(settings, topic, count, word):
    """Errors of the deliveries, at most one each."""
    producer = confluent_kafka.Producer(settings | {"message.timeout.ms": 8000})
    errors = []
    for i in range(count):
        producer.produce(topic, f"{word}-{i}", str(i),
                         on_delivery=lambda error, _: error and errors.append(error))
    assert producer.flush(30) == 0
    return errors


def test_the_application_writes_and_the_consumer_reads(plane, edr, cluster, topic):
    inside = {"bootstrap.servers": ",".join(cluster.bootstrap())}
    assert not produce(inside, topic, 300, "first")
    got = clients.read_confluent(plane.door(edr), topic, 300, f"{edr['kafka.group.prefix']}-1")
    assert sorted(r.value for r in got) == sorted(f"first-{i}".encode() for i in range(300))


def test_produce_through_the_edr_is_denied(plane, edr, topic, cluster):
    before = sum(end for _, end in ends(cluster, topic))
    errors = clients.write_confluent(plane.door(edr), topic, 20, "forged", **{
        "enable.idempotence": False})
    assert {error.code() for error in errors} == \
        {confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED} and len(errors) == 20
    assert sum(end for _, end in ends(cluster, topic)) == before
    plane.gate.wait_audit(topic, "Produce")


def test_an_idempotent_producer_gets_no_id(plane, edr, topic):
    with pytest.raises(confluent_kafka.KafkaException) as error:
        producer = confluent_kafka.Producer(plane.door(edr).librdkafka(
            **{"enable.idempotence": True}))
        for _ in range(100):  # the refusal comes behind the first ones
            producer.produce(topic, "forged")
            producer.poll(0.1)
    assert error.value.args[0].code() == confluent_kafka.KafkaError._FATAL


def test_kafkas_own_producer_is_denied_too(plane, edr, topic):
    ran = clients.write_console(plane.door(edr), topic, 3, "forged", **{
        "enable.idempotence": "false"})
    assert "TopicAuthorizationException" in ran.text, ran.text[-2000:]


def ends(cluster, topic):
    """(low, high) of each partition, as the brokers themselves tell."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "group.id": "ends"})
    try:
        return [consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, p))
                for p in cluster.leaders(topic)]
    finally:
        consumer.close()
