"""Every way in which the gate can be told to reach its brokers."""

import time

import confluent_kafka
import pytest

import clients
import gate as gates
import kafka
import pki
import records
from processes import wait_for
from test_session import assert_ticks, drain, ticking


def security(listener, authority, cluster, idp, tmp_path, mechanism=None):
    """The upstream section for a listener and a mechanism."""
    out = {}
    if listener in ("tls", "mtls", "sasl_tls"):
        out |= {"security": "tls", "tls": {"ca": str(authority.certificate)}}
    if listener == "mtls":
        out["tls"] |= {"certificate": str(cluster.client_pair.certificate),
                       "key": str(cluster.client_pair.key)}
    if mechanism == "OAUTHBEARER":
        secret = tmp_path / "client-secret"
        secret.write_text(idp.clients["sluice-upstream"] + "\n")
        out["sasl"] = {"mechanism": mechanism, "token_url": idp.token_url,
                       "client_id": "sluice-upstream", "client_secret_file": str(secret)}
    elif mechanism:
        file = tmp_path / "password"
        file.write_text(kafka.PASSWORD + "\n", encoding="utf-8")
        out["sasl"] = {"mechanism": mechanism, "username": kafka.USER,
                       "password_file": str(file)}
    return out


WAYS = [("plaintext", None), ("tls", None), ("mtls", None),
        ("sasl_tls", "PLAIN"), ("sasl_tls", "SCRAM-SHA-256"), ("sasl_tls", "SCRAM-SHA-512"),
        ("sasl_tls", "OAUTHBEARER"), ("sasl_plain", "PLAIN"), ("sasl_plain", "SCRAM-SHA-512")]
GRANTS = [gates.grant("read-bob", "bob", ["serial-parts"], "bob")]


@pytest.mark.parametrize("listener,mechanism", WAYS)
def test_reads_through(listener, mechanism, make_gate, cluster, authority, idp, doors,
                       serial_parts, tmp_path):
    gate = make_gate(f"{listener}-{mechanism}", grants=GRANTS,
                     brokers=cluster.bootstrap(listener),
                     upstream=security(listener, authority, cluster, idp, tmp_path, mechanism))
    gate.hide(kafka.PASSWORD)
    gate.hide(idp.clients["sluice-upstream"])
    got = clients.read_confluent(doors(gate), "serial-parts", len(serial_parts),
                                 clients.new_group())
    records.assert_same(got, serial_parts)
    gate.close()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "OAUTHBEARER"])
def test_reauthenticates_upstream(mechanism, make_gate, cluster, authority, idp, doors,
                                  serial_parts, tmp_path, findings):
    """The brokers end a session that does not re-authenticate: after four seconds with
    SCRAM-SHA-256, at its token's end with OAUTHBEARER. The client notices nothing."""
    topic = f"upstream-ticks-{mechanism}"
    cluster.create_topic(topic, 3)
    idp.client_ttl_s = 5
    try:
        gate = make_gate(f"again-{mechanism}",
                         grants=[gates.grant("read-bob", "bob", [topic], "bob")],
                         brokers=cluster.bootstrap("sasl_tls"),
                         upstream=security("sasl_tls", authority, cluster, idp, tmp_path,
                                           mechanism))
        door = doors(gate)
        group = clients.new_group()
        with ticking(cluster, topic) as counts:
            consumer = confluent_kafka.Consumer(door.librdkafka(**{
                "group.id": group, "auto.offset.reset": "earliest",
                "enable.auto.commit": False}))
            consumer.subscribe([topic])
            values = [r.value for r in clients.poll(consumer, 1, 30)]
            before = findings.connections[gate.advertised_port]
            end = time.monotonic() + 11
            while time.monotonic() < end:
                for message in consumer.consume(500, 0.2):
                    assert not message.error(), message.error()
                    values.append(message.value())
            assert findings.connections[gate.advertised_port] == before
            consumer.commit(asynchronous=False)
            consumer.close()
        values += drain(door, topic, group, sum(counts.values()) - len(values))
        assert_ticks(values, counts)
        gate.close()
    finally:
        idp.client_ttl_s = 3600


def refused(gate, pattern):
    gate.start(ready=False)
    wait_for(lambda: gate.http("GET", "/healthz")[0] == 200, 10, "the control listener")
    gate.wait_log(pattern, 15)
    assert gate.http("GET", "/readyz")[0] == 503
    gate.close()


def test_a_broker_of_another_authority(make_gate, cluster, tmp_path):
    other = pki.Authority(tmp_path / "other", "somebody else")
    gate = make_gate("other-ca", start=False, tapped=False, grants=GRANTS,
                     brokers=cluster.bootstrap("tls"),
                     upstream={"security": "tls", "tls": {"ca": str(other.certificate)}})
    refused(gate, r"(?i)certificate|verify")


def test_a_broker_of_another_name(make_gate, cluster, authority):
    gate = make_gate("other-name", start=False, tapped=False, grants=GRANTS,
                     brokers=cluster.bootstrap("tls"),
                     upstream={"security": "tls", "tls": {"ca": str(authority.certificate),
                                                          "server_name": "kafka.example.com"}})
    refused(gate, r"(?i)certificate|verify|name|mismatch")


def test_brokers_that_want_a_certificate(make_gate, cluster, authority):
    gate = make_gate("no-certificate", start=False, tapped=False, grants=GRANTS,
                     brokers=cluster.bootstrap("mtls"),
                     upstream={"security": "tls", "tls": {"ca": str(authority.certificate)}})
    refused(gate, r"(?i)tls|ssl|certificate|broker")
