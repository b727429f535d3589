"""What a real authorization server says by itself: not-before policies and logouts that Keycloak's
administrators push, and the logout of a session at its clients."""

import base64
import json
import time

import pytest

import gate as gates
import wire
from processes import free_port

SECRET, PASSWORD = "secret of a client", "password of a user"


class Events:
    """A realm, and a gate that hears what the realm has to say."""

    def __init__(self, keycloak, make_gate, authority):
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.realm = keycloak.realm("events")
        pair = authority.issue("events", addresses=["127.0.0.1"], names=["localhost"])
        self.gate = make_gate("events", config={
            "issuers": [{"issuer": self.realm.issuer, "audience": "sluice",
                         "shared_subjects": False, "algorithms": ["RS256"],
                         "jwks_url": self.realm.jwks_url, "events": {"audience": "*"}}],
            "signaling": {"listen": f"127.0.0.1:{self.port}",
                          "tls": {"certificate": str(pair.certificate), "key": str(pair.key)}},
            "outgoing": {"ca": str(authority.certificate)}, "development": False})

    def client(self, name, **settings):
        return self.realm.client(name, SECRET, audience="sluice", **settings)

    def user(self, name):
        return self.realm.admin("POST", "/users", {
            "username": name, "enabled": True, "email": f"{name}@example.com",
            "emailVerified": True, "firstName": name, "lastName": name,
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}]})

    def token(self, client, user=None):
        """A token, for whose subject there is a grant."""
        more = {} if user is None else {"grant_type": "password", "username": user,
                                        "password": PASSWORD, "scope": "openid"}
        answer = self.realm.token(client, SECRET, **more)
        if user is not None:
            # Keycloak tells an admin URL only of sessions for which its adapter has named one of
            # its own, which it does with a code or a refresh token.
            answer = self.realm.token(client, SECRET, grant_type="refresh_token",
                                      refresh_token=answer["refresh_token"],
                                      client_session_state=f"adapter-{time.time_ns()}",
                                      client_session_host="gate")
        token = answer["access_token"]
        self.gate.hide(token.rpartition(".")[2])
        subject = claims(token)["sub"]
        self.gate.put_grant(gates.grant(f"grant-{subject}", subject, ["serial-parts"], "group",
                                        issuer=self.realm.issuer))
        return token

    def session(self, token):
        return self.gate.session(token)


def claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def works(connection):
    answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
    return wire.fetched(answer)["serial-parts", 0][1] > 0


@pytest.fixture(scope="module")
def events(keycloak, make_gate, authority, serial_parts):
    return Events(keycloak, make_gate, authority)


def test_not_before_of_a_client(events):
    client = events.client("pushed", adminUrl=f"{events.url}/keycloak")
    events.client("other")
    old, other = events.token("pushed"), events.token("other")
    with events.session(old) as hit, events.session(other) as spared:
        time.sleep(1.1)  # a token of the same second is not "before"
        events.realm.admin("PUT", f"/clients/{client}", events.realm.admin(
            "GET", f"/clients/{client}") | {"notBefore": int(time.time())})
        told = events.realm.admin("POST", f"/clients/{client}/push-revocation")
        assert told.get("successRequests") and not told.get("failedRequests"), told
        hit.wait_closed(1)
        assert works(spared)
    assert events.gate.login_error(old) == 58
    events.gate.wait_audit("k_push_not_before", "pushed")


def test_not_before_of_the_realm_after_new_keys(events):
    """All of the issuer's tokens, told to sluice as the resource, by a key that was just made."""
    events.client("everybody")
    sluice = events.client("sluice", adminUrl=f"{events.url}/keycloak")
    old = events.token("everybody")
    with events.session(old) as hit:
        time.sleep(1.1)
        events.realm.rotate()
        events.realm.admin("PUT", "", {"notBefore": int(time.time())})
        told = events.realm.admin("POST", "/push-revocation")
        assert any(events.url in url for url in told.get("successRequests", [])), told
        hit.wait_closed(1)
    assert events.gate.login_error(old) == 58
    assert events.gate.login_error(events.token("everybody")) == 0
    events.realm.admin("DELETE", f"/clients/{sluice}")


@pytest.mark.parametrize("way", ["back-channel", "admin"])
def test_logout_of_a_session(events, way):
    told = {"attributes": {"backchannel.logout.url": f"{events.url}/backchannel-logout",
                           "backchannel.logout.session.required": "true"}}
    if way == "admin":
        told = {"adminUrl": f"{events.url}/keycloak"}
    events.client(f"portal-{way}", directAccessGrantsEnabled=True, **told)
    user = events.user(f"user-{way}")
    one, two = (events.token(f"portal-{way}", f"user-{way}") for _ in range(2))
    with events.session(one) as first, events.session(two) as second:
        events.realm.admin("DELETE", f"/sessions/{claims(one)['sid']}?isOffline=false")
        first.wait_closed(3)
        assert works(second)
        events.realm.admin("POST", f"/users/{user}/logout")
        second.wait_closed(3)
    assert events.gate.login_error(one) == 58 and events.gate.login_error(two) == 58
    again = events.token(f"portal-{way}", f"user-{way}")
    assert events.gate.login_error(again) == 0


def test_logout_of_all(events):
    client = events.client("all", adminUrl=f"{events.url}/keycloak")
    old = events.token("all")
    with events.session(old) as hit:
        time.sleep(1.1)
        told = events.realm.admin("POST", "/logout-all")
        assert any(events.url in url for url in told.get("successRequests", [])), told
        hit.wait_closed(1)
    assert events.gate.login_error(old) == 58
    assert events.gate.login_error(events.token("all")) == 0
    events.realm.admin("DELETE", f"/clients/{client}")
