"""2. The asset points at the gate; no response tells of a broker: not the catalog, not the EDR, not one
byte of what a Kafka client receives."""

import json

import pytest

import clients
import connector as connectors
import plane as planes


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


def all_told(consumer, provider, transfer):
    """Everything that the consumer's side has been given over DSP."""
    catalog = consumer.ask("POST", "catalog/request", {
        "@context": connectors.CONTEXT, "counterPartyAddress": provider.protocol,
        "counterPartyId": provider.participant, "protocol": connectors.PROTOCOL})
    return json.dumps([catalog, transfer.at_consumer(), transfer.edr()])


def spoils(cluster, text):
    texts, numbers = cluster.secrets()
    return [secret for secret in [*texts, *map(str, numbers)] if secret in text]


@pytest.mark.parametrize("asset_names", ["nothing", "the gate", "a broker"])
def test_the_edr_points_at_the_gate(plane, provider, bob_connector, contracts, cluster,
                                    serial_parts, asset_names):
    """Whatever stands in the asset, the consumer is told of the gate alone."""
    gate = f"{plane.gate.host}:{plane.gate.advertised_port}"
    more = {"nothing": {}, "the gate": {"kafka__bootstrap__servers": gate},
            "a broker": {"kafka__bootstrap__servers": cluster.bootstrap("tls")[0]}}[asset_names]
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider, "serial-parts",
                                                          **more))
    edr = transfer.edr()
    assert edr["kafka.bootstrap.servers"] == gate
    assert edr["topic"] == "serial-parts" and edr["type"] == "KafkaBroker"
    assert edr["kafka.security.protocol"] == "SASL_SSL"
    assert edr["kafka.sasl.mechanism"] == "OAUTHBEARER"
    assert not spoils(cluster, all_told(bob_connector, provider, transfer))


def test_no_byte_tells_of_a_broker(plane, provider, bob_connector, contracts, serial_parts, findings):
    """What the consumer's client receives passes a relay that looks at every byte."""
    edr = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                     "serial-parts")).edr()
    prefix = edr["kafka.group.prefix"]
    before = findings.bytes
    for number, reader in enumerate((clients.read_confluent, clients.read_kcat,
                                     clients.read_kafkajs)):
        got = reader(plane.door(edr), "serial-parts", len(serial_parts), f"{prefix}-{number}")
        assert len(got) == len(serial_parts)
    assert findings.bytes - before > 2 * sum(len(r.value or b"") for r in serial_parts)
    assert {"Metadata", "FindCoordinator", "Fetch", "JoinGroup"} <= set(findings.answers)
    assert not findings.leaks, "\n".join(findings.leaks)
    assert not findings.undecodable, "\n".join(findings.undecodable)
