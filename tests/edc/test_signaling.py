"""What sluice and real connectors say to each other beside the scenarios: registration, starts that take
their time, ends that nobody asked for, events."""

import signal
import time

import connector as connectors
import idp as idps
import pytest

from connector import Refused, call
from processes import wait_for

TOPIC = "serial-parts"


@pytest.fixture(scope="module")
def plane(make_plane, provider, serial_parts):
    return make_plane(provider, "signaling")


@pytest.fixture(scope="module")
def old_plane(make_plane, old_provider, serial_parts):
    return make_plane(old_provider, "signaling-old")


@pytest.fixture
def other_plane(make_plane, plane, provider):
    """other_plane(name, ...) -> a plane in the place of the usual one, which rests meanwhile: both
    have one id at the connector, and each would take it back from the other."""
    made = []

    def make(name, **arguments):
        plane.gate.stop()
        made.append(make_plane(provider, name, **arguments))
        return made[-1]
    yield make
    for one in made:
        one.gate.stop()
    plane.gate.start()
    plane.wait_available()


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


def test_a_lost_registration_comes_back(plane, provider):
    """A connector that forgot its data plane gets it again without anybody's help."""
    call("DELETE", f"{provider.control}/v1/dataplanes/{plane.identity}")
    assert not any(one["@id"] == plane.identity for one in provider.data_planes())
    provider.data_plane_available(plane.identity)


def test_a_revocation_by_hand_ends_the_transfer_at_both_connectors(plane, bob_connector, provider,
                                                                    contracts):
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider, TOPIC))
    plane.gate.revoke(transfer=transfer.id, reason="an operator's word")
    transfer.wait("ENDED")
    assert "revoked at the gate" in transfer.at_provider().get("errorDetail", "")


def test_a_start_that_is_refused_holds_up_nobody(plane, bob_connector, provider, contracts):
    """A connector that hears "no" asks six times in 15 s, and meanwhile none of its transfers moves.
    So it hears "later", and then why not, which both connectors show."""
    agreement = contracts(bob_connector, provider, "serial*parts")
    other = contracts(bob_connector, provider, TOPIC)
    refused = bob_connector.request(provider, agreement, "KafkaBroker-PULL")
    begun = time.monotonic()
    transfer = bob_connector.transfer(provider, other)
    waited = time.monotonic() - begun
    refused.wait("ENDED")
    assert time.monotonic() - begun < 12
    assert waited < 6, f"another transfer waited for {waited} s"
    assert 'topic: holds "*"' in refused.at_provider().get("errorDetail", ""), refused.at_provider()
    transfer.terminate()
    transfer.wait("ENDED")


def test_a_transfer_that_has_lived_long_enough_is_completed(other_plane, bob_connector, provider,
                                                            contracts):
    plane = other_plane("short", signaling={"max_life_s": 5})
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider, TOPIC))
    wait_for(lambda: transfer.at_consumer()["state"] == "COMPLETED", 40, "the end of its life")
    assert plane.ask("GET", f"/v1/dataflows/{transfer.id}/state")[1]["state"] == "COMPLETED"



@pytest.fixture(scope="module")
def slow_idp(workspace):
    """An issuer that takes its time over every token."""
    made = idps.Idp(workspace / "slow-idp")
    made.clients["asset-client"] = "the asset's secret"
    issue = made.token

    def later(*arguments, **claims):
        time.sleep(1.2)
        return issue(*arguments, **claims)
    made.token = later
    yield made
    made.close()


def test_a_slow_authorization_server_holds_up_nobody(other_plane, slow_idp, bob_connector, provider,
                                                     contracts):
    """The connector is told "later", starts a second time when it is told again, and hands on the
    token that was waited for; meanwhile it is free for other transfers."""
    plane = other_plane("slow", issuers=[
        {"issuer": slow_idp.issuer, "audience": "sluice", "jwks_url": slow_idp.jwks_url}],
        config={"tokens": {"source": "client_credentials", "token_url": slow_idp.token_url}})
    agreement = contracts(bob_connector, provider, TOPIC, clientId="asset-client",
                          clientSecret="the asset's secret")
    transfer = bob_connector.request(provider, agreement, "KafkaBroker-PULL")
    wait_for(lambda: transfer.at_provider()["state"] == "STARTUP_REQUESTED", 10,
             "the word that it comes later", 0.02)
    transfer.wait("STARTED")
    token = plane.token(transfer.edr())
    wait_for(lambda: slow_idp.hits.get("/realms/dataspace/token") == 1, 15, "one token asked for")
    plane.gate.session(token)
    transfer.terminate()
    transfer.wait("ENDED")
    assert plane.gate.login_error(token)


@pytest.fixture(scope="module")
def telling(make_plane, workspace, java_trust, serial_parts):
    """(connector, plane): the connector tells the plane its events, and wants a key."""
    plane = make_plane(None, "told", start=False, identity="sluice-told")
    key = plane.directory / "key"
    key.write_text("a key of the control plane")
    made = connectors.ControlPlane(
        workspace / "telling-provider", "telling-provider", "0.15.1", java_trust,
        edc_callback_told_uri=f"{plane.url}/events", edc_callback_told_events="transfer.process",
        web_http_control_auth_type="tokenbased", web_http_control_auth_key=key.read_text()).start()
    try:
        made.wait_ready()
        plane.gate.config["signaling"]["control_plane"] = {
            "url": made.control, "id": plane.identity, "key_file": str(key)}
        plane.gate.start()
        yield made, plane
    finally:
        made.close()


def test_an_event_ends_what_signaling_cannot(telling, bob_connector, contracts):
    """A connector that has lost its data plane ends a transfer without a word to it: what is left
    is the event."""
    connector, plane = telling
    headers = {"x-api-key": "a key of the control plane"}
    entry = f"{connector.control}/v1/dataplanes/{plane.identity}"

    def available():
        try:
            return call("GET", entry, headers=headers)["state"] == "AVAILABLE"
        except Refused:
            return False
    wait_for(available, 30, "the registration, which needs the key")
    transfer = bob_connector.transfer(connector, contracts(bob_connector, connector, TOPIC))
    token = plane.token(transfer.edr())
    with plane.gate.session(token) as session:
        call("DELETE", entry, headers=headers)
        transfer.terminate()
        session.wait_closed(10)
    assert plane.gate.login_error(token) == 58
    state_becomes(plane, transfer, "TERMINATED")


def test_a_control_plane_that_is_away(telling, bob_connector, contracts):
    """What is granted goes on, and so do logins; it is asked again until it is back."""
    connector, plane = telling
    headers = {"x-api-key": "a key of the control plane"}

    def available():
        try:
            return call("GET", f"{connector.control}/v1/dataplanes/{plane.identity}",
                        headers=headers)["state"] == "AVAILABLE"
        except (Refused, OSError):
            return False
    wait_for(available, 40, "the registration that the case before took away")
    agreement = contracts(bob_connector, connector, TOPIC)
    transfer = bob_connector.transfer(connector, agreement)
    token = plane.token(transfer.edr())
    since = len(plane.gate.log())
    with plane.gate.session(token) as session:
        connector.process.send(signal.SIGSTOP)
        try:
            plane.gate.wait_log("the control plane is not reached.*grants go on", 60, since)
            assert session.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
            plane.gate.session(token).close()
        finally:
            connector.process.send(signal.SIGCONT)
        wait_for(available, 60, "the data plane of a control plane that is back")
        bob_connector.transfer(connector, agreement)
        assert session.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
