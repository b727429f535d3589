"""8. The topic of the EDR and no other: another one is denied, a listing shows only the granted one,
an unknown topic id tells nothing."""

import uuid

import confluent_kafka
import confluent_kafka.admin
import pytest

import clients
import plane as planes
import wire


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture(scope="module")
def edr(plane, bob_connector, provider, contracts, serial_parts):
    return bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                      "serial-parts")).edr()


@pytest.fixture
def connection(plane, edr):
    with plane.gate.session(plane.token(edr)) as open_one:
        yield open_one


def test_a_listing_shows_the_granted_one_alone(plane, edr, other_topic):
    admin = confluent_kafka.admin.AdminClient(plane.door(edr).librdkafka())
    admin.poll(1)
    assert set(admin.list_topics(timeout=15).topics) == {"serial-parts"}


def test_another_topic_is_denied_like_one_that_does_not_exist(connection, other_topic):
    names = [other_topic, planes.unique("no-such")]
    topics = connection.ask("Metadata", 9, {
        "Topics": [{"Name": name} for name in names], "AllowAutoTopicCreation": True})["Topics"]
    assert [(t["Name"], t["ErrorCode"], t["Partitions"]) for t in topics] == \
        [(name, 29, []) for name in names]
    for name in names:
        answer = connection.ask("Fetch", 12, wire.fetch_body(name, {0: 0}, 100))
        assert answer["Responses"][0]["Partitions"][0]["ErrorCode"] == 29


def test_topic_ids_tell_nothing(connection, cluster, other_topic):
    """The id of a topic that exists and one that nobody has are answered the same."""
    with wire.Wire(*cluster.address(0)) as inside:
        found = inside.ask("Metadata", 12, {"Topics": [{"Name": other_topic}]})["Topics"][0]
    assert found["ErrorCode"] == 0
    answers = [connection.ask("Metadata", 12, {
        "Topics": [{"TopicId": identity, "Name": None}]})["Topics"][0]
        for identity in (found["TopicId"], uuid.uuid4())]
    for answer in answers:
        answer.pop("TopicId")
    assert answers[0] == answers[1] and answers[0]["ErrorCode"] == 100, answers


def test_a_client_gives_up_on_another_topic(plane, edr, other_topic):
    with pytest.raises(confluent_kafka.KafkaException) as error:
        clients.read_confluent(plane.door(edr), other_topic, 1, edr["kafka.group.prefix"])
    assert error.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED

