"""10. Suspend cuts the sockets and refuses every way back; resume works, with a new EDR."""

import time

import confluent_kafka
import pytest

import clients
import plane as planes
import wire
from processes import wait_for


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture
def transfer(plane, bob_connector, provider, contracts, serial_parts):
    return bob_connector.transfer(provider, contracts(bob_connector, provider, "serial-parts"))


@pytest.mark.parametrize("by", ["provider", "consumer"])
def test_suspend_cuts_and_resume_works(plane, transfer, serial_parts, by):
    edr = transfer.edr()
    end = sum(r.partition == 0 for r in serial_parts)
    streaming = plane.gate.session(plane.token(edr))
    parked = plane.gate.session(plane.token(edr))
    with streaming, parked:
        parked.post("Fetch", 12, wire.fetch_body("serial-parts", {0: end}, 60_000))
        streaming.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        transfer.suspend(by)
        for connection in (streaming, parked):
            rest, _ = connection.wait_closed(10)
            assert rest == b""
        transfer.wait("SUSPENDED")
        # The connector has our 2xx by now, so everything was closed before that left.
        assert not [s for s in plane.gate.sessions() if transfer.id in s["grants"]]
    transfer.edr_gone()
    assert plane.gate.login_error(plane.token(edr)) == 58
    transfer.resume(by)
    transfer.wait("STARTED")
    again = transfer.edr()
    assert plane.token(again) != plane.token(edr)
    with plane.gate.session(plane.token(again)) as connection:
        answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        assert wire.fetched(answer)["serial-parts", 0][0] == 0
    assert plane.gate.login_error(plane.token(edr)) == 58, "what was barred stays barred"


def test_a_real_consumer_goes_on_where_it_was(plane, bob_connector, provider, contracts):
    """librdkafka is refused; with the new EDR's token it goes on from its committed offset, at once,
    since its old member has left the group. (No other transfer has this prefix: else the member
    might still be wanted, and stays until its session is over.)"""
    topic = "serial-parts"
    transfer = bob_connector.transfer(provider, contracts(
        bob_connector, provider, topic, kafka__group__prefix=planes.unique("line")))
    edr = transfer.edr()
    group = f"{edr['kafka.group.prefix']}-{planes.unique('goes-on')}"
    told = []
    consumer = confluent_kafka.Consumer(plane.door(edr).librdkafka(**{
        "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
        | {"error_cb": lambda error: told.append(error.code())})
    try:
        consumer.subscribe([topic])
        first = clients.poll(consumer, 50)
        consumer.commit(asynchronous=False)
        transfer.suspend()
        transfer.wait("SUSPENDED")

        def refused():
            consumer.consume(500, 0.1)
            return confluent_kafka.KafkaError._AUTHENTICATION in told
        wait_for(refused, 30, "the consumer is refused")
        transfer.resume()
        transfer.wait("STARTED")
        begun = time.monotonic()
        rest = clients.read_confluent(plane.door(transfer.edr()), topic, 50, group)
        assert time.monotonic() - begun < 30, "not after the old member's session of 45 s"
    finally:
        del refused, consumer  # it could not leave its group; the gate has done that for it
    seen = {(r.partition, r.offset) for r in first}
    assert not seen & {(r.partition, r.offset) for r in rest}, "nothing twice"


def test_suspend_and_resume_racing(plane, transfer):
    """Many turns in a row: the end state is what both sides say."""
    for _ in range(4):
        transfer.suspend()
        transfer.wait("SUSPENDED")
        transfer.resume()
        transfer.wait("STARTED")
    edr = transfer.edr()
    plane.gate.session(plane.token(edr)).close()
    transfer.suspend()
    transfer.wait("SUSPENDED")
    assert plane.gate.login_error(plane.token(edr)) == 58
    transfer.terminate()
    transfer.wait("ENDED")
    assert plane.gate.login_error(plane.token(edr)) == 58


def test_how_long_it_takes(plane, transfer):
    """From the call of a person to the closed socket, the connector's own state machine included."""
    edr = transfer.edr()
    with plane.gate.session(plane.token(edr)) as connection:
        begun = time.monotonic()
        transfer.suspend()
        connection.wait_closed(10)
        assert time.monotonic() - begun < 5
