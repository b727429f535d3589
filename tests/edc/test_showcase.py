"""The showcase, played as a person would click it: the API collection in examples/ drives provider,
Bob and Alice through two use cases, and real clients meet what it promises at each step. Bob follows
the shop floor: many small events, one consumer group. Alice reads notifications; Bob reads and
answers them: two participants with different rights on one cluster."""

import json
import random

import confluent_kafka
import pytest

import clients
import parts
import payloads
import plane as planes
import streams
import wire
from processes import wait_for

COLLECTION = parts.ROOT / "examples" / "collection.json"


class Player:
    """Plays folders of the collection; the variables live from one to the next."""

    def __init__(self, file, variables):
        self.file = file
        file.write_text(json.dumps(variables))

    def play(self, folder):
        ran = clients.run(["node", parts.ROOT / "tests" / "edc" / "play.js", COLLECTION, self.file,
                           folder])
        assert ran.status == 0, ran.text
        return [line.split("\t") for line in ran.out.decode().splitlines()]

    def __getitem__(self, name):
        return json.loads(self.file.read_text())[name]


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider, signaling={"operations": ["read", "write"]})


@pytest.fixture(scope="module")
def topics(cluster):
    names = {"shopFloorTopic": planes.unique("shop-floor"),
             "notificationsTopic": planes.unique("notifications")}
    for name in names.values():
        cluster.create_topic(name, 3)
    return names


@pytest.fixture(scope="module")
def player(plane, provider, bob_connector, alice_connector, topics, workspace):
    return Player(workspace / "showcase.json", topics | {
        "providerManagement": provider.management, "providerProtocol": provider.protocol,
        "providerId": provider.participant, "bobManagement": bob_connector.management,
        "aliceManagement": alice_connector.management})


def door(plane, player, key):
    plane.gate.hide(player[f"{key}Token"].rpartition(".")[2])
    return clients.Door(plane.directory / "doors", player[f"{key}Bootstrap"],
                        plane.authority.certificate, player[f"{key}Token"])


def produce(settings, topic, events):
    """Errors of the deliveries."""
    producer = confluent_kafka.Producer(settings | {"message.timeout.ms": 8000})
    errors = []
    for key, value, headers in events:
        producer.produce(topic, value, key, headers=list(headers),
                         on_delivery=lambda error, _: error and errors.append(error))
        producer.poll(0)
    assert producer.flush(30) == 0
    return errors


def events(kinds, count, seed):
    rng = random.Random(seed)
    return [payloads.event(kinds[i % len(kinds)], rng) for i in range(count)]


def test_the_showcase(plane, player, topics, cluster):
    inside = {"bootstrap.servers": ",".join(cluster.bootstrap()), "linger.ms": 5}
    floor, notes = topics["shopFloorTopic"], topics["notificationsTopic"]
    player.play("1 The provider publishes")
    parts_made = events(("SerialPart", "Batch", "JustInSequencePart"), 2000, 1)
    assert not produce(inside, floor, parts_made)

    # Many small events, one consumer group.
    player.play("2 Bob follows the shop floor")
    prefix = player["shopFloorGroupPrefix"]
    got = clients.read_confluent(door(plane, player, "shopFloor"), floor, len(parts_made),
                                 f"{prefix}-dashboard")
    assert sorted(r.value for r in got) == sorted(value for _, value, _ in parts_made)

    # Few, and two participants with different rights.
    player.play("3 Alice reads notifications")
    player.play("4 Bob answers notifications")
    sent = events(("SingleLevelBomAsBuilt", "SingleLevelUsageAsBuilt"), 6, 2)
    assert not produce(inside, notes, sent)
    alice, bob = door(plane, player, "reader"), door(plane, player, "desk")
    answer = events(("SingleLevelUsageAsBuilt",), 1, 3)
    assert not produce(bob.librdkafka(), notes, answer)
    denied = produce(alice.librdkafka(), notes, answer)
    assert [e.code() for e in denied] == [confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED]
    for who, name in ((alice, "alice"), (bob, "bob")):
        got = clients.read_confluent(who, notes, len(sent) + 1, f"{name}-inbox")
        assert sorted(r.value for r in got) == sorted(v for _, v, _ in sent + answer)
    with pytest.raises(confluent_kafka.KafkaException) as error:
        clients.read_confluent(alice, floor, 1, "alice-spies")
    assert error.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED

    # The shop floor stops in the middle of the stream; notifications go on.
    writer = streams.Writer(cluster, floor, 50)
    stream = streams.Stream(door(plane, player, "shopFloor"), floor, f"{prefix}-monitor")
    writer.start()
    stream.start()
    try:
        stream.goes_on(10, 30)
        with plane.gate.session(player["readerToken"]) as untouched:
            player.play("5 The shop floor is suspended")
            stopped = len(stream.seen)
            wait_for(stream.told, 30, "the consumer is refused")
            assert len(stream.seen) <= stopped + 100, "only what was in the client already"
            untouched.ask("Fetch", 12, wire.fetch_body(notes, {0: 0}, 100))
    finally:
        stream.stop()
    old = player["shopFloorToken"]
    player.play("6 The shop floor is resumed")
    assert player["shopFloorToken"] != old and plane.gate.login_error(old) == 58
    again = streams.Stream(door(plane, player, "shopFloor"), floor, f"{prefix}-monitor")
    again.start()
    try:
        again.goes_on(10, 30)
    finally:
        again.stop()
        writer.stop()
    player.play("7 The end")
    for key in ("shopFloor", "reader", "desk"):
        assert plane.gate.login_error(player[f"{key}Token"]) == 58
    assert not plane.gate.sessions()
