"""9. Consumer groups by their prefix: `bob` and `bob-1` pass, `alice` does not. The prefix is the
asset's or, where it names none, the consumer's participant id."""

import confluent_kafka
import pytest

import clients
import plane as planes

GROUP_DENIED = confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider, config={"group_separator": "-"})


@pytest.fixture(scope="module")
def edr(plane, bob_connector, provider, contracts, serial_parts):
    return bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                      "serial-parts")).edr()


def error_of(door, group, protocol):
    """The error that a consumer of this group meets; None when it gets records."""
    consumer = confluent_kafka.Consumer(door.librdkafka(**{
        "group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest"}))
    try:
        consumer.subscribe(["serial-parts"])
        for _ in range(200):
            message = consumer.poll(0.1)
            if message is not None:
                return message.error() and message.error().code()
        raise TimeoutError(f"neither a record nor an error as {group}")
    finally:
        consumer.close()


def test_the_prefix_is_the_participant(edr):
    assert edr["kafka.group.prefix"] == "bob"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("group,expected", [
    ("bob", None), ("bob-1", None), ("alice", GROUP_DENIED), ("bobby", GROUP_DENIED)])
def test_groups(plane, edr, group, expected, protocol):
    name = group if expected else f"{group}-{protocol}" if "-" in group else group
    assert error_of(plane.door(edr), name, protocol) == expected


def test_another_ones_committed_offsets_cannot_be_read(plane, edr):
    with plane.gate.session(plane.token(edr)) as connection:
        answer = connection.ask("OffsetFetch", 7, {"GroupId": "alice", "Topics": None,
                                                   "RequireStable": False})
        assert answer["ErrorCode"] == 30 and not answer["Topics"]
        answer = connection.ask("FindCoordinator", 3, {"Key": "alice", "KeyType": 0})
        assert answer["ErrorCode"] == 30


def test_a_prefix_of_the_asset_comes_first(plane, bob_connector, provider, contracts):
    edr = bob_connector.transfer(provider, contracts(
        bob_connector, provider, "serial-parts", kafka__group__prefix="line-7")).edr()
    assert edr["kafka.group.prefix"] == "line-7"
    assert error_of(plane.door(edr), "line-7-a", "classic") is None
    assert error_of(plane.door(edr), "bob", "classic") == GROUP_DENIED


def test_two_participants_at_once(plane, bob_connector, alice_connector, provider, contracts):
    """Alice gets her own prefix by the same asset's rules, and neither reaches the other's."""
    alice = alice_connector.transfer(provider, contracts(alice_connector, provider,
                                                         "serial-parts")).edr()
    bob = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                     "serial-parts")).edr()
    assert (alice["kafka.group.prefix"], bob["kafka.group.prefix"]) == ("alice", "bob")
    assert error_of(plane.door(alice), "alice-1", "classic") is None
    assert error_of(plane.door(alice), "bob-1", "classic") == GROUP_DENIED
    assert error_of(plane.door(bob), "alice-1", "classic") == GROUP_DENIED
