"""4. Provisioning: a credential for each transfer, deleted at its end, and no secret in a log. The
authorization server is a real Keycloak; once with a client registered for each transfer (RFC 7591),
once with the client credentials that the asset names."""

import base64
import json
import urllib.parse
import uuid

import pytest

import plane as planes
import transfers
from processes import wait_for

TOPIC = "serial-parts"


@pytest.fixture(scope="module")
def realm(keycloak):
    made = keycloak.realm("provisioning")
    made.audience_for_all(planes.AUDIENCE)
    return made


def issuer(realm, **more):
    return {"issuer": realm.issuer, "audience": planes.AUDIENCE, "jwks_url": realm.jwks_url,
            "algorithms": ["RS256", "ES256"]} | more


def start(plane, transfer, **address):
    """(200, the token of the EDR), or (status, what was answered)."""
    status, body = transfers.start(plane, transfer, **address)
    return status, plane.token(body) if status == 200 else body


def claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.fixture(scope="module")
def registering(make_plane, realm, serial_parts, workspace):
    initial = workspace / "initial-access-token"
    initial.write_text(realm.initial_access())
    plane = make_plane(None, "registering", issuers=[issuer(realm)], config={"tokens": {
        "source": "registration", "token_url": realm.token_url,
        "registration_url": realm.registration_url,
        "registration_token_file": str(initial)}})
    plane.gate.hide(initial.read_text())
    return plane


def test_a_client_a_transfer(registering, realm):
    plane, gate = registering, registering.gate
    known = set(realm.clients())
    status, first = start(plane, "t-1")
    assert status == 200, first
    status, second = start(plane, "t-2")
    assert status == 200, second
    made = {name: client for name, client in realm.clients().items() if name not in known}
    assert len(made) == 2
    for client in made.values():
        gate.hide(realm.secret(client))
    assert {client["name"] for client in made.values()} == {"sluice: transfer t-1",
                                                            "sluice: transfer t-2"}
    # Each has a subject of its own, and opens its own transfer.
    assert claims(first)["sub"] != claims(second)["sub"]
    with gate.session(first) as one, gate.session(second) as two:
        assert {s["grants"][0] for s in gate.sessions()} == {"t-1", "t-2"}
        transfers.end(plane, "t-1")
        one.wait_closed()
        two.ask("Metadata", 4, {"Topics": None})
    wait_for(lambda: len(realm.clients()) == len(known) + 1, 10, "the client is deleted")
    assert claims(second)["azp"] in realm.clients()
    assert gate.login_error(first) == 58
    # Suspended: the client goes; resumed: another one comes.
    transfers.end(plane, "t-2", "suspend")
    wait_for(lambda: set(realm.clients()) == known, 10, "the client is deleted")
    status, third = start(plane, "t-2")
    assert status == 200, third
    with gate.session(third):
        pass
    transfers.end(plane, "t-2")
    wait_for(lambda: set(realm.clients()) == known, 10, "the client is deleted")


def test_a_restart_forgets_no_client(registering, realm):
    plane, gate = registering, registering.gate
    known = set(realm.clients())
    status, token = start(plane, "t-3")
    assert status == 200, token
    gate.restart(kill=True)
    with gate.session(token):
        pass
    transfers.end(plane, "t-3")
    wait_for(lambda: set(realm.clients()) == known, 10, "the client is deleted")


@pytest.fixture(scope="module")
def sharing(make_plane, realm, serial_parts, workspace):
    realm.client("asset-client", "secret of the asset", audience=planes.AUDIENCE)
    secret = workspace / "asset-secret"
    secret.write_text("secret of the asset")
    plane = make_plane(None, "sharing", issuers=[issuer(realm)], config={"tokens": {
        "source": "client_credentials", "revoke_url": realm.revoke_url, "secrets": [
            {"name": "asset-key", "file": str(secret), "token_url": realm.token_url}]}})
    plane.gate.hide("secret of the asset")
    plane.gate.hide(urllib.parse.quote("secret of the asset"))
    return plane


def test_credentials_that_the_asset_names(sharing, realm):
    plane, gate = sharing, sharing.gate
    address = {"tokenUrl": realm.token_url, "clientId": "asset-client",
               "clientSecretKey": "asset-key"}
    ids = [str(uuid.uuid4()) for _ in range(2)]
    tokens = [start(plane, transfer, **address) for transfer in ids]
    assert [status for status, _ in tokens] == [200, 200], tokens
    first, second = (token for _, token in tokens)
    # One subject, and yet each token opens its own transfer alone.
    assert claims(first)["sub"] == claims(second)["sub"]
    with gate.session(first) as one, gate.session(second) as two:
        assert {s["grants"][0] for s in gate.sessions()} == set(ids)
        transfers.end(plane, ids[0])
        one.wait_closed()
        two.ask("Metadata", 4, {"Topics": None})
    assert gate.login_error(first) == 58
    # Keycloak has been told as well.
    realm.client("looker", "secret of the looker")
    wait_for(lambda: not active(realm, first), 10, "Keycloak knows of the end")
    transfers.end(plane, ids[1])


def active(realm, token):
    return realm.introspect("asset-client", "secret of the asset", token)["active"]


def test_a_data_address_that_lies(sharing, realm):
    """Nobody is sent anywhere, and no secret leaves."""
    plane = sharing
    for address in ({"tokenUrl": "https://localhost:1/token", "clientId": "asset-client",
                     "clientSecretKey": "asset-key"},
                    {"tokenUrl": "https://evil.example/token", "clientId": "asset-client",
                     "clientSecret": "x"},
                    {"tokenUrl": realm.token_url, "clientId": "asset-client",
                     "clientSecretKey": "another-key"}):
        status, body = start(plane, str(uuid.uuid4()), **address)
        assert status == 400, (address, status, body)
