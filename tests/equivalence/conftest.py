"""Two clusters: the reference broker with ACLs, and three brokers without any behind the gate.
Authority, issuer, cluster, tap and the rest come from the end-to-end tests
(tests/e2e/shared.py)."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

pytest_plugins = ("shared",)

import compare  # noqa: E402
import differences  # noqa: E402
import gate as gates  # noqa: E402
import messages  # noqa: E402
import reference as references  # noqa: E402
import side as sides  # noqa: E402
import wire  # noqa: E402

TOPICS = ["parts", "parts-two", "parts-silent", "parts-anew", "parts-absent"]
THERE = ("parts", "parts-two", "parts-silent", "parts-anew", "other-parts")
GRANTS = [gates.grant("read-bob", "bob", TOPICS, "bob", ["read"]),
          gates.grant("write-alice", "alice", TOPICS, "alice", ["read", "write"]),
          gates.grant("manage-carol", "carol", TOPICS, "carol",
                      ["read", "manage", "describe_configs"])]
SUBJECTS = [grant["principal"]["subject"] for grant in GRANTS]


@pytest.fixture(scope="session")
def reference_launched(workspace, authority, idp):
    made = references.cluster(workspace / "reference", authority, idp)
    try:
        made.launch()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def worlds(reference_launched, cluster):
    """Both clusters, with the same rights."""
    reference_launched.wait_ready()
    references.allow(reference_launched, GRANTS)
    return reference_launched, cluster


@pytest.fixture(scope="module")
def gate(worlds, make_gate):
    # Hundreds of denials on purpose: without the pause that a hot client gets.
    return make_gate("equivalence", grants=GRANTS, config={
        "limits": {"denial_pace_ms": 0, "reauth_min_interval_ms": 0}, "workers": 1})


@pytest.fixture(scope="module")
def pair(worlds, gate, idp, authority):
    """(reference, gate), to be asked the same."""
    reference, cluster = worlds

    def direct(subject):
        connection = wire.Wire(*reference.address(0, "sasl_tls"), authority.certificate)
        connection.login(idp.token(subject, aud="kafka"))
        return connection
    made = (sides.Side("reference", reference, direct, reference.ports[0]["sasl_tls"],
                       references.CLUSTER_ID),
            sides.Side("gate", cluster, lambda subject: gate.wire(gate.token(subject)),
                       gate.advertised_port))
    for one in made:
        for name in THERE:
            one.cluster.create_topic(name, 3, assignment=one.turns())
        one.warm()
        for topic in ("parts", "parts-two", "other-parts"):
            for partition in range(3):
                one.write(topic, partition, sides.batch(
                    [f"{topic} {partition} {i}".encode() for i in range(5)]))
    for one in made:
        one.begin("bob")
        one.cluster_id = one.ask("Metadata", 9, {"Topics": []})["ClusterId"]
        one.learn_ids(THERE)
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def ledger():
    return compare.Ledger(differences.KNOWN)


@pytest.fixture(scope="module")
def offered(pair):
    """API -> versions that both offer, as each side says itself."""
    found = []
    for one in pair:
        answer = one.ask("ApiVersions", 3, {"ClientSoftwareName": "e2e",
                                            "ClientSoftwareVersion": "1"}, quiet=True)
        found.append({k["ApiKey"]: (k["MinVersion"], k["MaxVersion"]) for k in answer["ApiKeys"]})
    names = messages.names()
    out = {}
    for key, (low, high) in found[1].items():
        low = max(low, found[0][key][0], messages.request(names[key]).versions.low)
        out[names[key]] = range(low, min(high, found[0][key][1]) + 1)
    return out


@pytest.fixture
def same(pair, offered, ledger):
    """same(script, subject, ...): runs it against both and compares what they wrote down."""
    def run(script, subject, *arguments):
        for one in pair:
            one.begin(subject)
            script(one, offered, *arguments)
            one.end()
        found = compare.differences(pair[0].steps, pair[1].steps)
        assert pair[0].steps, "the script asked nothing"
        rest = ledger.unexplained(found)
        assert not rest, f"{len(rest)} differences:\n" + "\n".join(map(str, rest[:60]))
    return run
