"""What a real authorization server tells: by its introspection endpoint that a token is no longer good;
by its own messages that a person has logged out, or that a client's or the realm's tokens of before
a moment are void."""

import time

import pytest

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


@pytest.fixture(scope="module")
def people(keycloak):
    """A realm with a person, whose sessions can be ended."""
    made = keycloak.realm("people")
    made.person = made.user("bob", "password of bob")
    return made


@pytest.fixture(scope="module")
def listening(make_plane, people, serial_parts):
    """A gate that takes the realm's messages. Its clients' URLs point at it."""
    return make_plane(None, name="listening", issuers=[{
        "issuer": people.issuer, "audience": "sluice", "shared_subjects": False,
        "algorithms": ["RS256"], "jwks_url": people.jwks_url,
        "events": {"audience": ["robot", "old-app", "web-app"]}}])


def client(realm, plane, name, **settings):
    return realm.client(name, "its secret", audience="sluice",
                        directAccessGrantsEnabled=True, **settings)


def granted(plane, realm, subject):
    plane.gate.put_grant(gates.grant(f"grant-{subject}", subject, ["serial-parts"], "bob",
                                     issuer=realm.issuer)
                         | {"agreement": "by hand", "asset": "serial-parts"})


def push_not_before(realm, made, moment):
    """What an administrator does: sets the moment, and tells all who are concerned."""
    kept = realm.admin("GET", f"/clients/{made}")
    realm.admin("PUT", f"/clients/{made}", kept | {"notBefore": moment})
    answer = realm.admin("POST", f"/clients/{made}/push-revocation")
    assert answer.get("successRequests") and not answer.get("failedRequests"), answer


def test_push_not_before(listening, people):
    made = client(people, listening, "robot",
                  adminUrl=f"https://localhost:{listening.port}/keycloak")
    old = people.token("robot", "its secret")["access_token"]
    granted(listening, people, tractusx.subject(old))
    with listening.gate.session(old) as connection:
        assert works(connection)
        time.sleep(1.1)  # a policy hits what was issued before its second
        push_not_before(people, made, int(time.time()))
        connection.wait_closed(5)
    assert listening.gate.login_error(old) == 58
    time.sleep(1.1)
    assert listening.gate.login_error(people.token("robot", "its secret")["access_token"]) == 0


@pytest.mark.parametrize("way", ["k_logout", "back-channel"])
def test_a_person_logs_out(listening, people, way):
    """Their session is ended in Keycloak's administration."""
    name = {"k_logout": "old-app", "back-channel": "web-app"}[way]
    where = f"https://localhost:{listening.port}"
    settings = {"k_logout": {"adminUrl": f"{where}/keycloak"},
                "back-channel": {"attributes": {
                    "backchannel.logout.url": f"{where}/backchannel-logout",
                    "backchannel.logout.session.required": "true"}}}[way]
    client(people, listening, name, **settings)
    token = people.login(name, "its secret", "bob", "password of bob")
    granted(listening, people, people.person)
    with listening.gate.session(token) as connection:
        assert works(connection)
        people.admin("POST", f"/users/{people.person}/logout")
        connection.wait_closed(10)
    assert listening.gate.login_error(token) == 58
    time.sleep(1.1)
    again = people.login(name, "its secret", "bob", "password of bob")
    with listening.gate.session(again) as connection:
        assert works(connection)


def test_a_strangers_messages_do_nothing(listening, people, keycloak):
    """Another realm's key signs as well as this one's, but is not this issuer's."""
    token = people.login("web-app", "its secret", "bob", "password of bob")
    granted(listening, people, people.person)
    other = keycloak.realm("strangers")
    other.client("robot", "its secret", audience="sluice",
                 adminUrl=f"https://localhost:{listening.port}/keycloak")
    with listening.gate.session(token) as connection:
        kept = other.admin("GET", "/clients?clientId=robot")[0]
        other.admin("PUT", f"/clients/{kept['id']}", kept | {"notBefore": int(time.time())})
        answer = other.admin("POST", f"/clients/{kept['id']}/push-revocation")
        assert answer.get("failedRequests") and not answer.get("successRequests"), answer
        assert works(connection)
