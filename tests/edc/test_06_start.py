"""6. The start of a transfer: the EDR in each of the three dialects that consumers understand, and a
grant that is in force before the consumer can have seen it."""

import threading
import time

import pytest

import clients
import plane as planes
import wire


@pytest.fixture(scope="module", params=planes.DIALECTS)
def plane(request, make_plane, provider):
    return make_plane(provider, name=request.param, edr=request.param)


def transfer_of(plane, consumer, provider, contracts):
    return consumer.transfer(provider, contracts(consumer, provider, "serial-parts"),
                             kind=plane.transfer_type)


def test_the_edr_opens_the_door(plane, bob_connector, provider, contracts, serial_parts):
    edr = transfer_of(plane, bob_connector, provider, contracts).edr()
    assert all(isinstance(value, str) for value in edr.values()), edr
    prefix = edr["groupPrefix" if plane.edr_dialect == "concept" else "kafka.group.prefix"]
    assert prefix == "bob" and edr["topic"] == "serial-parts"
    got = clients.read_confluent(plane.door(edr), "serial-parts", len(serial_parts),
                                 f"{prefix}-{planes.unique('six')}")
    assert len(got) == len(serial_parts)


def test_names_of_the_dialect(plane, bob_connector, provider, contracts):
    edr = transfer_of(plane, bob_connector, provider, contracts).edr()
    kinds = {"concept": "EDR", "kafka-extension": "https://w3id.org/idsa/v4.1/Kafka",
             "tractusx-edc": "KafkaBroker"}
    assert edr["type"] == kinds[plane.edr_dialect]
    assert plane.bootstrap(edr) == f"{plane.gate.host}:{plane.gate.advertised_port}"
    if plane.edr_dialect != "concept":
        assert edr["kafka.security.protocol"] == "SASL_SSL"
        assert edr["kafka.sasl.mechanism"] == "OAUTHBEARER"
    lifetime = [value for name, value in edr.items() if name.endswith("expiresIn")]
    if plane.edr_dialect == "tractusx-edc":
        assert not lifetime
    else:
        assert lifetime and 0 < int(lifetime[0]) <= 300


def start_message(process, participant="bob", topic="serial-parts", kind="KafkaBroker-PULL"):
    """A start as EDC 0.15.1 sends it."""
    return {
        "@context": {"odrl": "http://www.w3.org/ns/odrl/2/", "dspace": planes.DSPACE,
                     "@vocab": planes.EDC},
        "@type": "DataFlowStartMessage", "transferTypeDestination": kind.split("-")[0],
        "flowType": "PULL", "agreementId": f"agreement-{process}", "processId": process,
        "datasetId": f"asset-{process}", "properties": {},
        "callbackAddress": "http://127.0.0.1:9/control", "participantId": participant,
        "sourceDataAddress": {
            "@type": "dspace:DataAddress", "dspace:endpointType": "KafkaBroker",
            "dspace:endpointProperties": [{
                "@type": "dspace:EndpointProperty", "dspace:name": planes.EDC + "topic",
                "dspace:value": topic}]}}


def answered(body):
    """The EDR of an answer to a start."""
    address = body["dataAddress"]
    properties = address.get("dspace:endpointProperties", [])
    return {p["dspace:name"].removeprefix(planes.EDC): p["dspace:value"] for p in properties}


def test_the_grant_is_in_force_when_the_answer_leaves(plane, serial_parts):
    """Forty starts, four at a time; each token is used the moment its answer has arrived."""
    bad = []

    def begin(number):
        for turn in range(10):
            status, body = plane.ask("POST", "/v1/dataflows/start", start_message(
                planes.unique(f"start-{number}-{turn}"), kind=plane.transfer_type))
            assert status == 200, body
            try:
                with plane.gate.wire(plane.token(answered(body)), tapped=False) as connection:
                    answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0},
                                                                         100))
                    assert wire.fetched(answer)["serial-parts", 0][0] == 0
            except Exception as error:  # shown below
                bad.append(error)
    threads = [threading.Thread(target=begin, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not bad, bad


def test_a_start_that_comes_again(plane, serial_parts):
    """The connector repeats a start whose answer it lost: the same grant, and both tokens open."""
    message = start_message(planes.unique("again"), kind=plane.transfer_type)
    tokens = []
    for _ in range(3):
        status, body = plane.ask("POST", "/v1/dataflows/start", message)
        assert status == 200, body
        tokens.append(plane.token(answered(body)))
    for token in tokens:
        assert plane.gate.login_error(token) == 0
    found = [g for g in plane.gate.http("GET", "/v1/grants")[1]["grants"]
             if g["id"] == message["processId"]]
    assert len(found) == 1


def test_how_fast_a_start_is_answered(plane, serial_parts):
    """The connector's whole transfer loop waits for it."""
    took = []
    for _ in range(20):
        begun = time.monotonic()
        status, body = plane.ask("POST", "/v1/dataflows/start", start_message(
            planes.unique("fast"), kind=plane.transfer_type))
        took.append(time.monotonic() - begun)
        assert status == 200, body
    assert sorted(took)[len(took) // 2] < 0.25, took
