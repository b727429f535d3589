"""Runs last: everything that clients received in all the other cases, searched."""

import pytest

import tap as taps
import wire
from processes import free_port
from test_denials_exact import TABLE


@pytest.mark.direct
def test_the_search_finds_what_is_there(cluster, authority, tmp_path):
    """The relay before a broker itself: hosts, ports, nodes, racks and cluster id are all seen."""
    findings = taps.Findings(*cluster.secrets())
    relay = taps.Tap(findings)
    pair = authority.issue("relay", addresses=["127.0.0.1"])
    port = free_port()
    server = relay.open(port, cluster.address(0, "tls"), pair, authority.certificate)
    try:
        with wire.Wire("127.0.0.1", port, authority.certificate) as connection:
            connection.ask("Metadata", 9, {"Topics": []})
            connection.ask("FindCoordinator", 3, {"Key": "x", "KeyType": 0})
            connection.ask("DescribeCluster", 1)
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


def test_nothing_leaked(findings):
    assert not findings.leaks, "\n".join(findings.leaks)


def test_every_answer_was_well_formed(findings):
    """Decoded by Kafka's own definitions, to the last byte."""
    assert not findings.undecodable, "\n".join(findings.undecodable)


def test_every_api_was_seen(findings, request):
    """The search means little unless all kinds of answers have passed. Holds for a whole run."""
    if len({item.path for item in request.session.items}) < 10:
        pytest.skip("only some cases were run")
    assert TABLE <= set(findings.answers), TABLE - set(findings.answers)
    assert findings.bytes > 50_000_000
