"""5. OAuth with a real authorization server: a rotated key is taken up, wrong audience, issuer and
algorithm are refused, and an outage of the server stops nobody who is in, while nobody is told that
his token is bad only because it could not be asked about."""

import time

import pytest

import gate as gates
import plane as planes
import tractusx
import wire
from processes import wait_for


@pytest.fixture(scope="module")
def realm(keycloak):
    made = keycloak.realm("oauth")
    made.client("bob-client", "secret of bob", audience="sluice")
    made.client("sluice", "secret of sluice")
    return made


def through(relay, url, keycloak):
    return url.replace(f":{keycloak.port}/", f":{relay.port}/")


@pytest.fixture(scope="module")
def settings(realm, relay, keycloak, authority):
    """Configuration with Keycloak as the issuer, asked through the relay."""
    return {"issuers": [{"issuer": realm.issuer, "audience": "sluice", "shared_subjects": False,
                         "algorithms": ["RS256", "ES256"],
                         "jwks_url": through(relay, realm.jwks_url, keycloak)}],
            "outgoing": {"ca": str(authority.certificate)}, "development": False}


@pytest.fixture(scope="module")
def grant(realm):
    sub = tractusx.subject(realm.token("bob-client", "secret of bob")["access_token"])
    return gates.grant("oauth-bob", sub, ["serial-parts"], "bob", issuer=realm.issuer)


@pytest.fixture(scope="module")
def gate(make_gate, settings, grant, serial_parts):
    return make_gate("oauth", config=settings, grants=[grant])


def token(realm, client="bob-client", secret="secret of bob"):
    return realm.token(client, secret)["access_token"]


def reads(connection):
    answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
    return wire.fetched(answer)["serial-parts", 0][1] > 0


def test_a_token_of_keycloak_opens(gate, realm):
    with gate.session(token(realm)) as connection:
        assert reads(connection)


def test_a_rotated_key_is_taken_up(gate, realm):
    """The session of the old key goes on, its token still opens, and so does one of the new key."""
    old = token(realm)
    with gate.session(old) as connection:
        realm.rotate()
        new = token(realm)
        assert new.split(".")[0] != old.split(".")[0], "another key"
        with gate.session(new) as second:
            assert reads(second) and reads(connection)
    assert gate.login_error(old) == 0


def test_wrong_audience_issuer_and_algorithm(gate, realm, keycloak, make_gate, settings, grant):
    realm.client("no-audience", "its secret")
    assert gate.login_error(token(realm, "no-audience", "its secret")) == 58
    other = keycloak.realm("oauth-other")
    other.client("bob-client", "secret of bob", audience="sluice")
    assert gate.login_error(token(other)) == 58
    # Right in everything but the algorithm, which this gate does not take.
    realm.rotate("ES256")
    made = {}
    for algorithm in ("RS256", "ES256"):
        client = f"client-{algorithm}"
        realm.client(client, "its secret", audience="sluice",
                     attributes={"access.token.signed.response.alg": algorithm})
        made[algorithm] = token(realm, client, "its secret")
    narrow = settings["issuers"][0] | {"algorithms": ["ES256"]}
    strict = make_gate("strict", config=settings | {"issuers": [narrow]}, grants=[
        gates.grant(algorithm, tractusx.subject(text), ["serial-parts"], "bob",
                    issuer=realm.issuer) for algorithm, text in made.items()])
    assert strict.login_error(made["RS256"]) == 58
    assert strict.login_error(made["ES256"]) == 0


def test_an_outage_of_the_authorization_server(make_gate, realm, relay, settings, grant, keycloak):
    """Sessions live to their tokens' expiry; new ones fail so that clients try again."""
    brief = keycloak.realm("oauth-brief", accessTokenLifespan=12)
    brief.client("bob-client", "secret of bob", audience="sluice")
    issuer = settings["issuers"][0] | {
        "issuer": brief.issuer, "jwks_url": through(relay, brief.jwks_url, keycloak)}
    sub = tractusx.subject(token(brief))
    gate = make_gate("outage", config=settings | {"issuers": [issuer]}, grants=[
        grant | {"principal": {"issuer": brief.issuer, "subject": sub}}])
    first = token(brief)
    expires = time.time() + 12
    with gate.session(first) as connection:
        relay.stop()
        try:
            brief.rotate()
            unknown = token(brief)  # its key cannot be fetched now
            with pytest.raises((wire.Closed, OSError)):
                with gate.wire(unknown, tapped=False):
                    pass
            while time.time() < expires - 3:
                assert reads(connection)
                time.sleep(0.5)
            rest, _ = connection.wait_closed(20)
            assert rest == b"" and time.time() > expires - 2
        finally:
            relay.start()
    def back():
        return gate.login_error(token(brief)) == 0
    wait_for(back, 20, "logins work again", 0.5)
