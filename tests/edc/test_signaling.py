"""A first word with real connectors: what sluice registers, answers and tells."""

import pytest

from processes import wait_for

TOPIC = "serial-parts"


@pytest.fixture(scope="module")
def plane(make_plane, provider, serial_parts):
    return make_plane(provider, "signaling")


@pytest.fixture(scope="module")
def old_plane(make_plane, old_provider, serial_parts):
    return make_plane(old_provider, "signaling-old", identity="sluice-old")


def state_becomes(plane, transfer, state):
    wait_for(lambda: plane.ask("GET", f"/v1/dataflows/{transfer.id}/state")[1]["state"] == state, 10,
             f"the transfer is {state} here", 0.02)


def life(plane, consumer, provider, contracts):
    transfer = consumer.transfer(provider, contracts(consumer, provider, TOPIC))
    edr = transfer.edr()
    assert edr["topic"] == TOPIC and edr["kafka.group.prefix"] == consumer.participant, edr
    assert plane.ask("GET", f"/v1/dataflows/{transfer.id}/state")[1]["state"] == "STARTED"
    for by in ("provider", "consumer"):
        transfer.suspend(by=by)
        transfer.edr_gone()
        state_becomes(plane, transfer, "SUSPENDED")
        transfer.resume(by=by)
        second = transfer.edr()
        assert plane.token(second) != plane.token(edr)
    transfer.terminate()
    transfer.wait("ENDED")
    state_becomes(plane, transfer, "TERMINATED")


def test_a_transfer_from_start_to_end(plane, bob_connector, provider, contracts):
    life(plane, bob_connector, provider, contracts)


def test_a_transfer_of_the_older_connector(old_plane, bob_connector, old_provider, contracts):
    life(old_plane, bob_connector, old_provider, contracts)
