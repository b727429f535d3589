"""Introspection (RFC 7662) as a backstop: what the authorization server says of a token decides,
before the first session and while it has one, and an outage does what is configured."""

import time

import pytest

import gate as gates
import wire
from processes import wait_for

SERIAL = "serial-parts"
SECRET = "s3cr3t-of-the-gate"
PATH = "/realms/dataspace/introspect"


def settings(idp, directory, **more):
    secret = directory / "introspection-secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    idp.clients["gate"] = SECRET
    return {"introspection": {"url": idp.introspection_url, "client_id": "gate",
                              "client_secret_file": str(secret), "interval_s": 1} | more}


@pytest.fixture(autouse=True)
def in_order(idp):
    idp.inactive.clear()
    idp.introspection = 200
    idp.hits.pop(PATH, None)
    yield
    idp.introspection = 200


@pytest.fixture(scope="module")
def gate(make_gate, idp, cluster, serial_parts, workspace):
    made = make_gate("keep", tapped=False, issuer=settings(idp, workspace),
                     grants=[gates.grant("read-bob", "bob", [SERIAL], "bob")])
    made.hide(SECRET)
    return made


@pytest.fixture(scope="module")
def strict(make_gate, idp, cluster, serial_parts, workspace):
    return make_gate("close", tapped=False, issuer=settings(idp, workspace, on_outage="close"),
                     grants=[gates.grant("read-bob", "bob", [SERIAL], "bob")])


def use(connection):
    connection.ask("Metadata", 9, {"Topics": [{"Name": SERIAL}]})


def asked(idp):
    return idp.hits.get(PATH, 0)


def test_active_tokens_work_and_are_asked_about_once_an_interval(gate, idp):
    token = gate.token("bob")
    with gate.wire(token) as one, gate.wire(token) as two:
        start, first = time.monotonic(), asked(idp)
        assert first <= 2
        while time.monotonic() < start + 3:
            use(one)
            use(two)
            time.sleep(0.1)
        count = asked(idp) - first
        assert 2 <= count <= time.monotonic() - start + 1

    def left_alone():
        before = asked(idp)
        time.sleep(1.5)
        return asked(idp) == before
    wait_for(left_alone, 20, "nobody holds it any more")


def test_an_inactive_token_is_refused(gate, idp):
    idp.inactive.add("gone-1")
    token = gate.token("bob", jti="gone-1")
    assert gate.login_error(token) == 58
    gate.wait_audit("introspection: not active", "gone-1")


def test_a_live_token_that_becomes_inactive_is_revoked(gate, idp):
    token = gate.token("bob", jti="gone-2")
    with gate.wire(token) as hit, gate.wire(gate.token("bob", jti="stays")) as spared:
        use(hit)
        idp.inactive.add("gone-2")
        hit.wait_closed(10)
        use(spared)
    gate.wait_audit("introspection: not active", "gone-2")
    idp.inactive.clear()
    assert gate.login_error(token) == 58, "for good, whatever the server says later"
    found = gate.http("GET", "/v1/revocations")[1]["revocations"]
    assert any(r["kind"] == "jti" and r["value"] == "gone-2" for r in found)


def test_a_revoked_token_stays_out_after_a_restart(gate, idp):
    token = gate.token("bob", jti="gone-3")
    with gate.wire(token) as hit:
        idp.inactive.add("gone-3")
        hit.wait_closed(10)
    gate.wait_audit("introspection: not active", "gone-3")  # it is on the disk
    idp.inactive.clear()
    gate.restart(kill=True)
    assert gate.login_error(token) == 58


def test_reauthentication_asks_about_the_new_token(gate, idp):
    with gate.wire(gate.token("bob", jti="first")) as connection:
        time.sleep(1.1)  # limits.reauth_min_interval_ms
        assert connection.authenticate(gate.token("bob", jti="second"))["ErrorCode"] == 0
        use(connection)
        idp.inactive.add("first")
        time.sleep(2.5)
        use(connection)  # bound to its latest token alone
        idp.inactive.add("third")
        assert connection.authenticate(gate.token("bob", jti="third"))["ErrorCode"] == 58


@pytest.mark.parametrize("status", [500, 401, 302])
def test_an_outage_keeps_live_sessions_and_refuses_new_ones_retriably(gate, idp, status):
    with gate.wire(gate.token("bob")) as connection:
        idp.introspection = status
        end = time.monotonic() + 3
        while time.monotonic() < end:
            use(connection)
            time.sleep(0.2)
        with gate.wire() as late, pytest.raises(wire.Closed):
            late.authenticate(gate.token("bob"))  # closed without an answer, never 58
        gate.wait_audit("introspection is not available")
        use(connection)
    idp.introspection = 200
    gate.session(gate.token("bob")).close()


def test_a_server_that_hangs_holds_up_nobody_else(gate, idp):
    with gate.wire(gate.token("bob")) as live:
        idp.introspection = 0
        with gate.wire() as waiting:
            waiting.post("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
            waiting.answer("SaslHandshake", 1)
            waiting.post("SaslAuthenticate", 2, {"AuthBytes": wire.bearer(gate.token("bob"))})
            start = time.monotonic()
            while time.monotonic() < start + 2:
                use(live)
            waiting.wait_closed(12)
            assert 2 < time.monotonic() - start < 12
        idp.introspection = 200
        use(live)


def test_sessions_that_end_while_asked_about(gate, idp):
    """Clients that go away, and a stop, with questions under way."""
    idp.introspection = 0
    for i in range(20):
        with gate.wire() as waiting:
            waiting.post("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
            waiting.answer("SaslHandshake", 1)
            waiting.post("SaslAuthenticate", 2,
                         {"AuthBytes": wire.bearer(gate.token("bob", jti=f"away-{i}"))})
    try:
        gate.restart()
    finally:
        idp.introspection = 200
    gate.session(gate.token("bob")).close()


def test_an_outage_closes_where_that_is_configured(strict, idp):
    token = strict.token("bob")
    with strict.wire(token) as connection:
        use(connection)
        idp.introspection = 503
        connection.wait_closed(5)
    strict.wait_audit("introspection is not available")
    assert strict.http("GET", "/v1/revocations")[1]["revocations"] == [], "nothing is barred"
    idp.introspection = 200
    strict.session(token).close()


def test_metrics(gate, idp):
    with gate.wire(gate.token("bob")):
        wait_for(lambda: gate.metrics()["sluice_introspected_tokens"] >= 1, 15, "it is counted")
        assert gate.metrics()["sluice_introspections_total"] >= 1
