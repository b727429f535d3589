"""15. CX-0018: the endpoint may refuse although the token is valid, and the trail names the transfer,
the agreement, the asset, the participant and the time of everything that a session did."""

import json
import time

import pytest

import clients
import plane as planes


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture(scope="module")
def asset(provider):
    return planes.unique("asset")


@pytest.fixture(scope="module")
def transfer(plane, bob_connector, provider, asset, serial_parts):
    provider.offer(asset, planes.address("serial-parts"))
    return bob_connector.transfer(provider, bob_connector.negotiate(provider, asset))


def names(transfer, asset):
    return {"transfer": transfer.id, "agreement": transfer.agreement(), "asset": asset,
            "participant": "bob"}


def found_in(event, names):
    text = json.dumps(event)
    return {name for name, value in names.items() if json.dumps(value) in text}


def test_every_line_of_a_session_says_whose_it_was(plane, transfer, asset, serial_parts):
    edr = transfer.edr()
    begun = time.time()
    since = len(plane.gate.audit())
    clients.read_confluent(plane.door(edr), "serial-parts", len(serial_parts),
                           f"{edr['kafka.group.prefix']}-audited")
    wanted = names(transfer, asset)
    plane.gate.wait_audit(transfer.id, timeout_s=20, since=since)
    time.sleep(1)
    lines = [e for e in plane.gate.audit()[since:] if transfer.id in json.dumps(e)]
    assert lines
    for event in lines:
        assert found_in(event, wanted) == set(wanted), event
        assert abs(event["time"] / 1000 - begun) < 120, event
    transferred = [e for e in lines if "bytes" in json.dumps(e)]
    assert transferred, "what was read is written down"
    assert planes.lines_say_whose(plane.gate.audit()) >= len(transferred)


def test_a_denial_says_who_was_denied_what(plane, transfer, asset, other_topic):
    since = len(plane.gate.audit())
    with plane.gate.session(plane.token(transfer.edr())) as connection:
        connection.ask("Metadata", 9, {"Topics": [{"Name": other_topic}]})
    event = plane.gate.wait_audit(transfer.id, other_topic, since=since)
    assert found_in(event, names(transfer, asset)) == set(planes.WHOSE), event


def test_the_endpoint_refuses_a_valid_token(plane, bob_connector, provider, contracts, asset):
    """The provider's operator says no; token, agreement and transfer are all still good."""
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                          "serial-parts"))
    edr = transfer.edr()
    plane.gate.session(plane.token(edr)).close()
    plane.gate.revoke(transfer=transfer.id, reason="the plant is closed today")
    since = len(plane.gate.audit())
    assert plane.gate.login_error(plane.token(edr)) == 58
    assert transfer.at_provider()["state"] == "STARTED"
    plane.gate.wait_audit(transfer.id, since=since)


def test_the_end_of_a_transfer_is_on_record(plane, bob_connector, provider, contracts):
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                          "serial-parts"))
    agreement = transfer.agreement()
    since = len(plane.gate.audit())
    transfer.terminate()
    transfer.wait("ENDED")
    event = plane.gate.wait_audit(transfer.id, "revo", since=since)
    assert event["time"], (event, agreement)
