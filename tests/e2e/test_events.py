"""What an issuer says about its tokens, at the signaling listener: security events, back-channel
logouts, Keycloak's own messages. Sockets are closed when the good answer comes, nobody else's."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest

import clients
import gate as gates
from processes import free_port

SERIAL = "serial-parts"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
RISC = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
BCL = "http://schemas.openid.net/event/backchannel-logout"


class Listener:
    """The signaling listener of a gate, and an issuer who talks to it."""

    def __init__(self, gate, port, idp):
        self.gate, self.port, self.idp = gate, port, idp

    def post(self, path, body, kind):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body.encode(),
                                         {"Content-Type": kind}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def set(self, event, subject, **claims):
        body = {"iss": self.idp.issuer, "aud": "sluice", "iat": int(time.time()),
                "jti": str(uuid.uuid4()), "sub_id": subject, "events": {event: {}}} | claims
        return self.idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": "secevent+jwt"}, body)

    def post_set(self, *arguments, **claims):
        return self.post("/security-events", self.set(*arguments, **claims),
                         "application/secevent+jwt")

    def logout(self, **claims):
        body = {"iss": self.idp.issuer, "aud": "portal", "iat": int(time.time()),
                "exp": int(time.time()) + 60, "jti": str(uuid.uuid4()), "events": {BCL: {}}}
        token = self.idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": "logout+jwt"}, body | claims)
        return self.post("/backchannel-logout", urllib.parse.urlencode({"logout_token": token}),
                         "application/x-www-form-urlencoded")

    def keycloak(self, path, kid="e2e-1", **members):
        body = {"id": str(uuid.uuid4()), "expiration": int(time.time()) + 30} | members
        token = self.idp.sign({"alg": "ES256", "kid": kid, "typ": "JWT"}, body, kid)
        return self.post(f"/keycloak/{path}", token, "text/plain; charset=UTF-8")


@pytest.fixture(scope="module")
def listener(make_gate, cluster, serial_parts, idp):
    port = free_port()
    gate = make_gate("events", tapped=False,
                     issuer={"events": {"audience": ["sluice", "portal", "shop", "desk"]}},
                     config={"signaling": {"listen": f"127.0.0.1:{port}"}})
    return Listener(gate, port, idp)


@pytest.fixture
def subject(listener):
    """A subject of this case's own, with a grant."""
    name = clients.new_group("evt")
    listener.gate.put_grant(gates.grant(name, name, [SERIAL], name))
    return name


def use(connection):
    connection.ask("Metadata", 9, {"Topics": [{"Name": SERIAL}]})


def iss_sub(idp, subject):
    return {"format": "iss_sub", "iss": idp.issuer, "sub": subject}


@pytest.mark.parametrize("event", [CAEP, RISC])
def test_a_subject(event, listener, subject, idp):
    gate = listener.gate
    token, other = gate.token(subject), clients.new_group("evt")
    gate.put_grant(gates.grant(other, other, [SERIAL], other))
    with gate.wire(token) as hit, gate.wire(gate.token(other)) as spared:
        assert listener.post_set(event, iss_sub(idp, subject)) == (202, "")
        rest, _ = hit.wait_closed(1)
        assert rest == b""
        use(spared)
    assert gate.login_error(token) == 58
    gate.wait_audit("security event" if not event else event.rpartition("/")[2], subject)
    # A token that is issued later is a new beginning.
    assert gate.login_error(gate.token(subject, iat=int(time.time()) + 2)) == 0


def test_a_session_of_the_issuer(listener, subject, idp):
    gate = listener.gate
    token = gate.token(subject, sid="sid-1")
    with gate.wire(token) as hit, gate.wire(gate.token(subject, sid="sid-2")) as spared:
        assert listener.post_set(CAEP, {
            "format": "complex", "user": iss_sub(idp, subject),
            "session": {"format": "opaque", "id": "sid-1"}})[0] == 202
        hit.wait_closed(1)
        use(spared)
    assert gate.login_error(token) == 58
    gate.restart(kill=True)
    assert gate.login_error(token) == 58, "what was answered is on the disk"
    assert gate.login_error(gate.token(subject, sid="sid-2")) == 0


def test_one_token(listener, subject, idp):
    gate = listener.gate
    with gate.wire(gate.token(subject, jti="event-jti")) as hit, \
            gate.wire(gate.token(subject)) as spared:
        assert listener.post_set(CAEP, {"format": "jwt_id", "iss": idp.issuer,
                                        "jti": "event-jti"})[0] == 202
        hit.wait_closed(1)
        use(spared)


def test_back_channel_logout(listener, subject):
    gate = listener.gate
    with gate.wire(gate.token(subject, sid="sid-3")) as first, \
            gate.wire(gate.token(subject, sid="sid-4")) as second:
        assert listener.logout(sub=subject, sid="sid-3") == (200, "")
        first.wait_closed(1)
        use(second)
        assert listener.logout(sub=subject)[0] == 200
        second.wait_closed(1)


def test_keycloak_logout(listener, subject):
    gate = listener.gate
    with gate.wire(gate.token(subject, sid="kc-1")) as first, \
            gate.wire(gate.token(subject, sid="kc-2", client_id="portal")) as second, \
            gate.wire(gate.token(subject, sid="kc-3", client_id="other")) as spared:
        assert listener.keycloak("k_logout", action="LOGOUT", resource="portal",
                                 keycloakSessionIds=["kc-1", "kc-9"]) == (204, "")
        first.wait_closed(1)
        use(second)
        assert listener.keycloak("k_logout", action="LOGOUT", resource="portal")[0] == 204
        second.wait_closed(1)
        use(spared)


def test_keycloak_not_before_of_a_client(listener, subject):
    gate, now = listener.gate, int(time.time())
    old = gate.token(subject, client_id="shop", iat=now - 100)
    with gate.wire(old) as hit, \
            gate.wire(gate.token(subject, client_id="shop", iat=now + 2)) as younger, \
            gate.wire(gate.token(subject, client_id="elsewhere", iat=now - 100)) as spared:
        assert listener.keycloak("k_push_not_before", action="PUSH_NOT_BEFORE",
                                 resource="shop", notBefore=now - 50) == (204, "")
        hit.wait_closed(1)
        use(younger)
        use(spared)
    assert gate.login_error(old) == 58


def test_a_push_by_a_key_that_was_just_made(listener, subject, idp):
    """After a rotation, which is when it matters, the key must be fetched first."""
    gate, now = listener.gate, int(time.time())
    idp.add_key("ES256", "e2e-rotated")
    with gate.wire(gate.token(subject, client_id="desk", iat=now - 3)) as hit:
        assert listener.keycloak("k_push_not_before", kid="e2e-rotated",
                                 action="PUSH_NOT_BEFORE", resource="desk",
                                 notBefore=now - 1)[0] == 204
        hit.wait_closed(1)


def test_what_is_refused(listener, subject, idp):
    gate = listener.gate
    user = iss_sub(idp, subject)
    with gate.wire(gate.token(subject)) as spared:
        def refused(status_and_body, word):
            status, body = status_and_body
            assert status == 400 and word in body, (status, body)
            use(spared)

        refused(listener.post_set(CAEP, user, aud="somebody-else"), "invalid_audience")
        refused(listener.post_set(CAEP, user, iat=int(time.time()) - 700), "too old")
        refused(listener.post_set(CAEP, user, iss="https://nobody.example.com"), "invalid_issuer")
        refused(listener.post_set(CAEP, user | {"iss": "https://other.example.com"}),
                "another issuer")
        refused(listener.post("/security-events", gate.token(subject), "application/secevent+jwt"),
                "another type")
        text = listener.set(CAEP, user)
        head, claims, mark = text.split(".")
        forged = f"{head}.{claims}.{mark[:-4]}{'AAAA' if mark[-4:] != 'AAAA' else 'BBBB'}"
        refused(listener.post("/security-events", forged, "application/secevent+jwt"),
                "invalid_key")
        refused(listener.post("/backchannel-logout", f"logout_token={gate.token(subject)}",
                              "application/x-www-form-urlencoded"), "no logout token")
        refused(listener.logout(sub=subject, nonce="n"), "nonce")
        refused(listener.logout(sub=subject, aud="elsewhere"), "another audience")
        refused(listener.keycloak("k_logout", action="PUSH_NOT_BEFORE", resource="portal",
                                  notBefore=1), "another action")
        refused(listener.keycloak("k_push_not_before", action="PUSH_NOT_BEFORE",
                                  resource="elsewhere", notBefore=1), "another resource")
        refused(listener.keycloak("k_push_not_before", action="PUSH_NOT_BEFORE",
                                  resource="portal", notBefore=int(time.time()) + 1000), "future")
        status, _ = listener.post("/security-events", text, "application/json")
        assert status == 415
        status, _ = listener.post("/security-events", "x" * (1 << 20), "application/secevent+jwt")
        assert status == 413
        use(spared)
    gate.wait_audit("it is for another audience")


def test_a_replay_is_refused(listener, subject, idp):
    gate = listener.gate
    text = listener.set(CAEP, iss_sub(idp, subject))
    assert listener.post("/security-events", text, "application/secevent+jwt")[0] == 202
    status, body = listener.post("/security-events", text, "application/secevent+jwt")
    assert status == 400 and json.loads(body) == {"err": "invalid_request",
                                                  "description": "it was taken before"}
    gate.wait_audit("it was taken before")


def test_an_event_is_no_token(listener, subject, idp):
    """Signed by the same key, with all that a token needs: still none."""
    gate = listener.gate
    now = int(time.time())
    claims = {"sub": subject, "exp": now + 300, "events": {BCL: {}}}
    for typ in ("logout+jwt", "secevent+jwt", "JWT"):
        token = idp.sign({"alg": "ES256", "kid": "e2e-1", "typ": typ},
                         {"iss": idp.issuer, "aud": "sluice", "iat": now, "jti": typ} | claims)
        assert gate.login_error(token) == 58
