"""Runs last: everything that clients received in all the other cases, searched."""

import types

import pytest

import tap as taps
import wire
from judged import (  # noqa: F401 (cases)
    linted, test_every_answer_was_well_formed, test_nothing_leaked,
    test_the_roles_of_fields_leak_nothing)
from processes import free_port
from test_denials_exact import TABLE


@pytest.mark.direct
def test_the_search_finds_what_is_there(cluster, authority, other_topic, tmp_path):
    """The relay before a broker itself: hosts, ports, nodes, racks, cluster id and foreign names
    are all seen; a name that the client has said itself is none of them."""
    findings = taps.Findings(*cluster.secrets(), tmp_path)
    relay = taps.Tap(findings)
    pair = authority.issue("relay", addresses=["127.0.0.1"])
    port = free_port()
    server = relay.open(port, cluster.address(0, "tls"), pair, authority.certificate)
    try:
        with wire.Wire("127.0.0.1", port, authority.certificate) as connection:
            connection.ask("Metadata", 9, {"Topics": []})
            connection.ask("FindCoordinator", 3, {"Key": "x", "KeyType": 0})
            connection.ask("DescribeCluster", 1)
            connection.ask("Metadata", 9, {"Topics": [{"Name": "not-there"}],
                                           "AllowAutoTopicCreation": False})
            connection.ask("Metadata", 9, {"Topics": None})
    finally:
        relay.shut(server)
        relay.close()
    text = "\n".join(findings.leaks)
    texts, _ = cluster.secrets()
    for secret in texts:
        assert secret in text, secret
    for node, ports in zip((17101, 17102, 17103), cluster.ports):
        assert str(node) in text and str(ports["tls"]) in text
    assert "not the advertised port" in text and "is a rack" in text
    assert not findings.undecodable
    capture, = findings.captures.values()
    capture.advertised = ("gate.example.com", 9093)
    capture.gate = types.SimpleNamespace(cluster_id="x", rights_by_port=lambda: {
        one.port: (("serial-parts",), ("bob",)) for one in capture.conversations})
    found = "".join(linted(findings)[0])
    assert f"'value': '{other_topic}'" in found and "'value': 'not-there'" not in found
    for why in ("a host that is not", "a port that is not", "a node that is not", "a rack",
                "a cluster id that is not ours", "a foreign topic"):
        assert why in found, why


def test_every_api_was_seen(findings, request):
    """The search means little unless all kinds of answers have passed. Holds for a whole run."""
    if len({item.path for item in request.session.items}) < 10:
        pytest.skip("only some cases were run")
    assert TABLE <= set(findings.answers), TABLE - set(findings.answers)
    assert findings.bytes > 50_000_000
