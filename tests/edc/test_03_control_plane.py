"""3. The control plane drives: start, suspend, resume, terminate, by the signaling of real connectors of
two versions, by the newer plain JSON signaling, and by what today's unmodified Kafka data plane of
Tractus-X sends (ACLs and RFC 7009)."""

import http.server
import json
import threading
import time

import pytest

import clients
import connector as connectors
import plane as planes
import tractusx
import wire
from processes import wait_for


def drive(plane, consumer, provider, contracts, by):
    """A whole transfer; what the consumer's client meets at each step."""
    gate = plane.gate
    transfer = consumer.transfer(provider, contracts(consumer, provider, "serial-parts"),
                                 kind=plane.transfer_type)
    edr = transfer.edr()
    connection = gate.session(plane.token(edr))
    with connection:
        answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        assert wire.fetched(answer)["serial-parts", 0][1] > 0
        transfer.suspend(by)
        connection.wait_closed(10)
    transfer.wait("SUSPENDED")
    transfer.edr_gone()
    assert gate.login_error(plane.token(edr)) == 58
    transfer.resume(by)
    transfer.wait("STARTED")
    again = transfer.edr()
    connection = gate.session(plane.token(again))
    with connection:
        transfer.terminate(by)
        connection.wait_closed(10)
    transfer.wait("ENDED")
    transfer.edr_gone()
    assert gate.login_error(plane.token(again)) == 58
    return transfer


@pytest.mark.parametrize("by", ["provider", "consumer"])
def test_connector_0_15_1(make_plane, provider, bob_connector, contracts, serial_parts, by):
    plane = make_plane(provider, name=f"new-{by}")
    drive(plane, bob_connector, provider, contracts, by)


@pytest.mark.parametrize("by", ["provider", "consumer"])
def test_connector_0_14_0(make_plane, old_provider, bob_connector, contracts, serial_parts, by):
    """Starts at the bare URL, as connectors before 0.15 do."""
    plane = make_plane(old_provider, name=f"old-{by}")
    drive(plane, bob_connector, old_provider, contracts, by)


def test_terminate_while_suspended(make_plane, provider, bob_connector, contracts, serial_parts):
    plane = make_plane(provider, name="both")
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                          "serial-parts"))
    token = plane.token(transfer.edr())
    transfer.suspend()
    transfer.wait("SUSPENDED")
    transfer.terminate()
    transfer.wait("ENDED")
    assert plane.gate.login_error(token) == 58


def test_an_agreement_runs_out(make_plane, provider, bob_connector, contracts, serial_parts):
    """The connector's own policy monitor ends the transfer."""
    plane = make_plane(provider, name="expiry")
    agreement = contracts(bob_connector, provider, "serial-parts", expires_s=6)
    transfer = bob_connector.transfer(provider, agreement)
    with plane.gate.session(plane.token(transfer.edr())) as connection:
        connection.wait_closed(40)
    transfer.wait("ENDED")


def test_a_restart_in_the_middle(make_plane, provider, bob_connector, contracts, serial_parts):
    """sluice comes back with what it knew, registers again, and still hears of the end."""
    plane = make_plane(provider, name="restart")
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                          "serial-parts"))
    token = plane.token(transfer.edr())
    plane.gate.restart(kill=True)
    plane.wait_available()
    with plane.gate.session(token) as connection:
        transfer.suspend()
        connection.wait_closed(10)
    transfer.wait("SUSPENDED")
    plane.gate.restart()
    # The connector asks by itself whether its data planes are there: it may have missed us just now.
    for _ in range(15):
        plane.wait_available()
        time.sleep(0.1)
    transfer.resume()
    transfer.wait("STARTED")
    with plane.gate.session(plane.token(transfer.edr())) as connection:
        transfer.terminate()
        connection.wait_closed(10)
    transfer.wait("ENDED")


def test_a_lost_registration_is_renewed(make_plane, provider, bob_connector, contracts,
                                        serial_parts):
    plane = make_plane(provider, name="lost", identity="to-be-lost")
    connectors.call("DELETE", f"{provider.control}/v1/dataplanes/to-be-lost")
    plane.connector.data_plane_available("to-be-lost", timeout_s=90)
    plane.gate.close()
    connectors.call("DELETE", f"{provider.control}/v1/dataplanes/to-be-lost")


# --- plain JSON signaling: no connector that speaks it is published, so its text is held to by hand

class ControlPlane(http.server.BaseHTTPRequestHandler):
    seen = None

    def log_message(self, *args):
        pass

    def _any(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, json.loads(text) if text else None))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = _any


@pytest.fixture(scope="module")
def newer():
    """The little of a newer control plane that matters: it takes registrations and callbacks."""
    seen = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (ControlPlane,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def dps(make_plane, newer, serial_parts):
    plane = make_plane(None, name="dps", signaling={"control_plane": {
        "url": f"{newer[0]}/management/v4", "protocol": "dps", "id": "sluice"}})
    return plane


def dps_start(process):
    return {"messageId": planes.unique("m"), "participantId": "provider", "counterPartyId": "bob",
            "dataspaceContext": "https://w3id.org/dspace/2025/1/context.jsonld",
            "processId": process, "agreementId": f"agreement-{process}",
            "datasetId": f"asset-{process}", "profile": "KafkaBroker-PULL",
            "transferType": "KafkaBroker-PULL", "claims": {}, "labels": [],
            "metadata": {"topic": "serial-parts"}}


def dps_edr(body):
    return {p["name"].removeprefix(planes.EDC): p["value"]
            for p in body["dataAddress"]["endpointProperties"]}


def test_dps_registers(dps, newer):
    def registered():
        return [body for method, path, body in newer[1]
                if method == "PUT" and path.startswith("/management/v4/dataplanes")]
    body = wait_for(registered, 20, "a registration")[0]
    assert body["dataplaneId"] == "sluice" and body["transferTypes"] == ["KafkaBroker-PULL"]
    assert body["endpoint"] == f"{dps.url}/dataflows"


def test_dps_drives(dps, newer):
    process = planes.unique("dps")

    def say(what, body=None):
        return dps.ask("POST", f"/dataflows/{process}/{what}",
                       {"messageId": planes.unique("m")} | (body or {}))
    status, body = dps.ask("POST", "/dataflows/start", dps_start(process))
    assert (status, body["state"], body["dataFlowId"]) == (200, "STARTED", process), body
    edr = dps_edr(body)
    assert 400 <= dps.ask("POST", "/dataflows/start", dps_start(process))[0] < 500, "no repeat"
    with dps.gate.session(dps.token(edr)) as connection:
        assert say("suspend", {"reason": "a test"})[0] == 200
        connection.wait_closed(1)
    assert dps.gate.login_error(dps.token(edr)) == 58
    assert dps.ask("GET", f"/dataflows/{process}/status")[1]["state"] == "SUSPENDED"
    status, body = say("resume")
    assert (status, body["state"]) == (200, "STARTED"), body
    again = dps_edr(body)
    with dps.gate.session(dps.token(again)) as connection:
        assert say("terminate", {"reason": "a test"})[0] == 200
        connection.wait_closed(1)
    assert say("terminate")[0] == 200, "idempotent"
    assert 400 <= say("resume")[0] < 500, "the end is final"
    assert dps.gate.login_error(dps.token(again)) == 58
    assert dps.ask("GET", f"/dataflows/{process}/status")[1]["state"] == "TERMINATED"
