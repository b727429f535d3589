"""Several consumers hold tokens of one OAuth subject, as with one client an asset. The attack: A,
whose transfer has ended and whose token is still valid, tries to go on under B's grant."""

import json
import time

import pytest

import clients
import gate as gates
import wire
from processes import wait_for

REFUSED = 58
SUBJECT = "shared-consumer"
TOPIC = "serial-parts"


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts, other_topic):
    # Tokens name nothing: the authorization server knows one client and no transfer.
    return make_gate("shared", tapped=False, issuer={"shared_subjects": True, "claims": {}})


class Consumer:
    """One of those who share the subject: a transfer, a token that only its jti tells apart."""

    def __init__(self, gate, topic=TOPIC, tell=True, **more):
        self.gate = gate
        self.id = clients.new_group("shared")
        self.participant = f"did:web:{self.id}"
        self.jti = f"jti-{self.id}"
        self.token = gate.token(SUBJECT, jti=self.jti)
        self.entry = gates.grant(self.id, SUBJECT, [topic], self.id, participant=self.participant,
                                 tokens=[self.jti], agreement=f"agreement-{self.id}",
                                 asset=f"asset-{self.id}", **more)
        if tell:
            gate.put_grant(self.entry)


def reads(connection, topic=TOPIC):
    answer = connection.ask("Fetch", 12, wire.fetch_body(topic, {0: 0}, 100))
    return answer["ErrorCode"] == 0 and bool(wire.fetched(answer))


def topics_of(connection):
    return [t["Name"] for t in connection.ask("Metadata", 4, {"Topics": None})["Topics"]]


def stays_out(gate, a, b):
    """A's token opens nothing; B's, of the same subject, what is B's."""
    assert gate.login_error(a.token) == REFUSED
    with gate.wire(b.token) as connection:
        assert topics_of(connection) == b.entry["topics"]


@pytest.fixture
def both(gate, other_topic):
    a, b = Consumer(gate), Consumer(gate, other_topic)
    yield a, b
    for one in (a, b):
        gate.http("DELETE", f"/v1/grants/{one.id}")


ENDS = {
    "transfer": lambda g, a: g.revoke(transfer=a.id),
    "agreement": lambda g, a: g.revoke(agreement=f"agreement-{a.id}"),
    "asset": lambda g, a: g.revoke(asset=f"asset-{a.id}"),
    "participant": lambda g, a: g.revoke(participant=a.participant),
    "jti": lambda g, a: g.revoke(issuer=g.idp.issuer, jti=a.jti),
    "its grant deleted": lambda g, a: g.delete_grant(a.id),
    "RFC 7009": lambda g, a: g.revoke_token(a.token),
}


@pytest.mark.parametrize("end", ENDS)
def test_after_its_end_a_reads_nothing_of_bs(end, gate, both):
    a, b = both
    with gate.wire(a.token) as mine, gate.wire(b.token) as other:
        assert reads(mine) and topics_of(mine) == [TOPIC]
        assert topics_of(other) == b.entry["topics"]
        ENDS[end](gate, a)
        mine.wait_closed(2)
        assert reads(other, b.entry["topics"][0]), "the end of A is none of B"
        stays_out(gate, a, b)
        # In B's session, with A's token: neither becomes the other's.
        time.sleep(1.1)  # limits.reauth_min_interval_ms
        assert other.authenticate(a.token)["ErrorCode"] == REFUSED
    stays_out(gate, a, b)


def test_a_token_that_nobody_bound_is_nobodys(gate, both):
    """What the subject's client fetched for itself, beside the transfers."""
    assert gate.login_error(gate.token(SUBJECT)) == REFUSED
    assert gate.login_error(gate.token(SUBJECT, drop=["jti"])) == REFUSED


def test_the_end_by_time(gate, other_topic):
    b = Consumer(gate, other_topic)
    a = Consumer(gate, expires=int(time.time()) + 5)
    with gate.wire(a.token) as mine:
        assert reads(mine)
        mine.wait_closed(20)
    stays_out(gate, a, b)


def test_a_resume_needs_a_new_token(gate, both):
    a, b = both
    gate.revoke(transfer=a.id)
    # Tokens of the second in which the transfer was revoked are barred with it.
    fresh = gate.token(SUBJECT, jti=f"{a.jti}-2", iat=int(time.time()) + 1)
    gate.put_grant(a.entry | {"tokens": [f"{a.jti}-2"]})
    stays_out(gate, a, b)
    with gate.wire(fresh) as connection:
        assert topics_of(connection) == [TOPIC]


def test_a_renewed_token_takes_over(gate, both):
    """A start that comes again, with another token: while both are bound both work."""
    a, b = both
    fresh = gate.token(SUBJECT, jti=f"{a.jti}-2")
    gate.put_grant(a.entry | {"tokens": [a.jti, f"{a.jti}-2"]})
    with gate.wire(a.token) as old, gate.wire(fresh) as new:
        assert reads(old) and reads(new)
        gate.put_grant(a.entry | {"tokens": [f"{a.jti}-2"]})
        old.wait_closed(2)
        assert reads(new)
    stays_out(gate, a, b)


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_over_a_restart(how, gate, both):
    a, b = both
    gate.revoke(transfer=a.id)
    gate.restart(kill=how == "killed")
    stays_out(gate, a, b)


def test_fixed_partners_over_a_reload(make_gate, serial_parts, other_topic):
    """B takes A's place in the file, under the same subject, without tokens that tell them apart."""
    def entry(name, topic):
        return gates.grant(name, SUBJECT, [topic], name, participant=f"did:web:{name}")
    gate = make_gate("fixed", tapped=False, issuer={"shared_subjects": True, "claims": {}},
                     grants=[entry("a", TOPIC)])
    old = gate.token(SUBJECT)
    with gate.wire(old) as mine:
        assert reads(mine)
        gate.config["grants"] = [gate._fill(entry("b", other_topic))]
        gate.reload()
        mine.wait_closed(5)
    for kill in (None, False, True):
        if kill is not None:
            gate.restart(kill=kill)
        assert gate.login_error(old) == REFUSED
        wait_for(lambda: gate.login_error(gate.token(SUBJECT, iat=int(time.time()) + 1)) == 0, 15,
                 "a token that was issued since gets what is there now")


def test_what_is_listed(gate, both):
    """`sluice grants` and GET /v1/grants: transfer, participant, topic, prefix, state, sessions,
    last use."""
    a, b = both
    with gate.wire(a.token), gate.wire(a.token) as connection:
        reads(connection)
        found = {g["id"]: g for g in gate.http("GET", "/v1/grants")[1]["grants"]}
        assert found[a.id]["sessions"] == 2 and found[b.id]["sessions"] == 0
        assert abs(found[a.id]["last_use"] - time.time()) < 5 and "last_use" not in found[b.id]
        assert found[a.id]["state"] == "active" and found[a.id]["tokens"] == [a.jti]
        text = clients.run([clients.parts.SLUICE, "grants", "-c", gate.config_file],
                           timeout_s=20).text
        line = next(line for line in text.splitlines() if line.startswith(a.id))
        assert all(word in line for word in (a.participant[:40], TOPIC, "active", "2"))

    def closed():
        one = gate.http("GET", f"/v1/grants/{a.id}")[1]
        return one["sessions"] == 0 and one["last_use"]
    wait_for(closed, 15, "the sessions are gone, the last use is remembered")


def test_every_line_names_the_transfer(gate, both):
    """CX-0018: transfer, agreement, asset and participant, also of the one that was refused."""
    a, _ = both
    since = len(gate.audit())
    with gate.wire(a.token) as connection:
        connection.ask("FindCoordinator", 1, {"Key": "somebody-elses", "KeyType": 0})
        gate.revoke(transfer=a.id)
        connection.wait_closed(2)
    assert gate.login_error(a.token) == REFUSED
    gate.wait_audit('"close"', a.jti, since=since)
    gate.wait_audit('"auth_fail"', a.jti, since=since)
    lines = [line for line in gate.audit()[since:] if a.jti in json.dumps(line)]
    codes = [line["metadata"]["event_code"] for line in lines]
    assert {"auth_ok", "denial", "close", "auth_fail"} <= set(codes)
    for line in lines:
        if line["metadata"]["event_code"] != "auth_fail":  # its grant is gone
            text = json.dumps(line)
            for word in (a.id, f"agreement-{a.id}", f"asset-{a.id}", a.participant):
                assert word in text, line
