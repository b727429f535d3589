"""The README's words for partners, taken literally: its two client configurations, with nothing
changed but addresses, names and authorities, read through the gate with tokens that the clients
fetch themselves."""

import pathlib
import re

import confluent_kafka
import pytest

import clients
import gate as gates
import parts

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
SECRET = "bob's own secret"


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts, idp):
    idp.clients["bob"] = SECRET
    yield make_gate("readme", grants=[gates.grant("readme-bob", "bob", ["serial-parts"], "bob")])
    del idp.clients["bob"]


def settings(mark, gate, idp):
    """The README's block with this word in it, for this gate and issuer."""
    block, = (text.strip() for text in README.read_text().split("```")[1::2]
              if mark in text and "bootstrap.servers" in text)
    told = {"gate.example.com:9093": f"{gate.host}:{gate.advertised_port}", "bob-app": "bob-readme"}
    for old, new in told.items():
        assert old in block
        block = block.replace(old, new)
    block, found = re.subn(r"https://idp\.example\.com/\S*/token\b", idp.token_url, block)
    assert found == 1
    block, found = re.subn(r'ecret="?\.\.\."?', f'ecret="{SECRET}"' if '"..."' in block else
                           f"ecret={SECRET}", block)
    assert found == 1
    return dict(line.split("=", 1) for line in block.splitlines())


def test_librdkafka(gate, idp, authority, serial_parts):
    consumer = confluent_kafka.Consumer(settings("sasl.oauthbearer.method", gate, idp) | {
        "ssl.ca.location": str(authority.certificate), "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["serial-parts"])
        assert len(clients.poll(consumer, 20)) == 20
    finally:
        consumer.close()


@pytest.mark.parametrize("libs", [parts.KAFKA, parts.KAFKA39], ids=["4.3", "3.9"])
def test_java(libs, gate, idp, authority, serial_parts, workspace):
    file = workspace / "readme.properties"
    # Ours only says where the test's authority is, and from where to read.
    lines = settings("LoginCallbackHandler", gate, idp) | {
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(authority.certificate),
        "auto.offset.reset": "earliest", "group.id": clients.new_group()}
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    flag = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="
    assert flag in README.read_text()
    ran = clients.run_held(parts.java("Reader", file, "serial-parts", 20, 0, libs=libs,
                                      heap_mib=192, options=[flag + idp.token_url]))
    assert ran.status == 0, ran.text[-3000:]
    assert len(ran.records()) >= 20
