"""What a real authorization server can tell: by its introspection endpoint that a token is no longer
good."""

import time

import pytest

import forward
import gate as gates
import tractusx
import wire
from processes import wait_for

INTERVAL_S = 2


@pytest.fixture(scope="module")
def realm(keycloak):
    made = keycloak.realm("signals")
    made.client("bob-client", "secret of bob", audience="sluice")
    made.client("sluice", "secret of sluice")
    return made


@pytest.fixture(scope="module")
def relay(keycloak):
    """Keycloak by another port, which can be out of order."""
    made = forward.Forward(("127.0.0.1", keycloak.port))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def introspecting(make_gate, realm, relay, authority, workspace, keycloak, serial_parts):
    """introspecting(name, on_outage) -> Gate"""
    secret = workspace / "introspection-secret"
    secret.write_text("secret of sluice")

    def make(name, on_outage="keep"):
        return make_gate(f"introspecting-{name}", config={
            "issuers": [{"issuer": realm.issuer, "audience": "sluice", "shared_subjects": False,
                         "algorithms": ["RS256"], "jwks_url": realm.jwks_url, "introspection": {
                             "url": realm.introspect_url.replace(f":{keycloak.port}/",
                                                                 f":{relay.port}/"),
                             "client_id": "sluice", "client_secret_file": str(secret),
                             "interval_s": INTERVAL_S, "on_outage": on_outage}}],
            "outgoing": {"ca": str(authority.certificate)}, "development": False},
            grants=[gates.grant("bob", tractusx.subject(token(realm)), ["serial-parts"], "bob",
                                issuer=realm.issuer)])
    return make


def token(realm):
    return realm.token("bob-client", "secret of bob")["access_token"]


def works(connection):
    answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
    return wire.fetched(answer)["serial-parts", 0][1] > 0


def test_introspection_finds_a_revoked_token(introspecting, realm):
    gate = introspecting("revoked")
    bad, good = token(realm), token(realm)
    with gate.session(bad) as hit, gate.session(good) as spared:
        realm.revoke("bob-client", "secret of bob", bad)
        begun = time.monotonic()
        hit.wait_closed(INTERVAL_S * 3 + 5)
        assert time.monotonic() - begun < INTERVAL_S * 2 + 3
        assert works(spared)
    assert gate.login_error(bad) == 58 and gate.login_error(good) == 0


@pytest.mark.parametrize("on_outage", ["keep", "close"])
def test_introspection_in_an_outage(introspecting, realm, relay, on_outage):
    gate = introspecting(f"outage-{on_outage}", on_outage)
    known, unknown = token(realm), token(realm)
    with gate.session(known) as connection:
        relay.stop()
        try:
            with pytest.raises((wire.Closed, OSError)):  # no verdict: the client tries again
                with gate.wire(unknown, tapped=False):
                    pass
            if on_outage == "close":
                connection.wait_closed(INTERVAL_S * 3 + 10)
            else:
                end = time.monotonic() + INTERVAL_S * 4
                while time.monotonic() < end:
                    assert works(connection)
                    time.sleep(0.5)
        finally:
            relay.start()
    wait_for(lambda: gate.login_error(unknown) == 0, 20, "logins work again", 0.5)
