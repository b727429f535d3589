"""4. Provisioning: a credential for each transfer, deleted when it ends, and no secret in a log, in the
audit trail or in an answer. With a real authorization server: dynamic client registration (RFC 7591
and 7592), and the client credentials that a data address names."""

import json

import pytest

import plane as planes
import tractusx
import wire
from processes import wait_for

SECRET = "secret-of-the-asset-4711"


@pytest.fixture(scope="module")
def realm(keycloak):
    made = keycloak.realm("provisioning-connector")
    made.audience_for_all("sluice")
    made.warm_up()
    return made


def issuer(realm):
    return {"issuer": realm.issuer, "audience": "sluice", "jwks_url": realm.jwks_url,
            "algorithms": ["RS256", "ES256"], "shared_subjects": True}


@pytest.fixture(scope="module")
def registering(make_plane, provider, realm, workspace, serial_parts):
    file = workspace / "initial-access-token"
    file.write_text(realm.initial_access())
    plane = make_plane(provider, name="registering", issuers=[issuer(realm)], config={"tokens": {
        "source": "registration", "issuer": realm.issuer, "token_url": realm.token_url,
        "registration_url": realm.registration_url, "registration_token_file": str(file)}})
    plane.gate.hide(file.read_text())
    return plane


def told(gate):
    """All that the control API says."""
    return json.dumps([gate.http("GET", path)[1] for path in
                       ("/v1/grants", "/v1/sessions", "/v1/revocations")])


def test_a_client_for_each_transfer(registering, realm, provider, bob_connector, contracts):
    plane, before = registering, set(realm.clients())
    agreement = contracts(bob_connector, provider, "serial-parts")
    one, two = (bob_connector.transfer(provider, agreement) for _ in range(2))
    found = {name: c for name, c in realm.clients().items() if name not in before}
    assert len(found) == 2, "one client a transfer"
    secrets = [realm.secret(c) for c in found.values()]
    for secret in secrets:
        plane.gate.hide(secret)
    tokens = [plane.token(t.edr()) for t in (one, two)]
    for token in tokens:
        plane.gate.hide(token.rpartition(".")[2])
    assert len({tractusx.subject(token) for token in tokens}) == 2, "no subject is shared"
    with plane.gate.session(tokens[0]) as first, plane.gate.session(tokens[1]) as second:
        one.terminate()
        first.wait_closed(10)
        answer = second.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
        assert wire.fetched(answer)["serial-parts", 0][1] > 0
    one.wait("ENDED")
    wait_for(lambda: len(set(realm.clients()) - before) == 1, 20, "its client is deleted")
    assert plane.gate.login_error(tokens[0]) == 58 and plane.gate.login_error(tokens[1]) == 0
    two.terminate()
    two.wait("ENDED")
    wait_for(lambda: set(realm.clients()) == before, 20, "both clients are deleted")
    told_of = told(plane.gate)
    for secret in secrets:
        assert secret not in told_of


def test_a_client_survives_a_restart_and_is_deleted_after_it(registering, realm, provider,
                                                             bob_connector, contracts):
    plane, before = registering, set(realm.clients())
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider,
                                                          "serial-parts"))
    assert len(set(realm.clients()) - before) == 1
    plane.gate.restart(kill=True)
    plane.wait_available()
    transfer.terminate()
    transfer.wait("ENDED")
    wait_for(lambda: set(realm.clients()) == before, 20, "the client is deleted")


@pytest.fixture(scope="module")
def crediting(make_plane, provider, realm, workspace, authority, serial_parts):
    realm.client("asset-client", SECRET)
    file = workspace / "asset-secret"
    file.write_text(SECRET)
    plane = make_plane(provider, name="crediting", issuers=[issuer(realm)], config={
        "outgoing": {"ca": str(authority.certificate),
                     "hosts": [f"localhost:{realm.keycloak.port}"]},
        "tokens": {"source": "client_credentials", "issuer": realm.issuer,
                   "revoke_url": realm.revoke_url, "secrets": [
                       {"name": "asset-secret", "file": str(file),
                        "token_url": realm.token_url}]}})
    plane.gate.hide(SECRET)
    return plane


def test_client_credentials_of_the_data_address(crediting, realm, provider, bob_connector,
                                                contracts):
    """Two transfers with one OAuth client share a subject, and are kept apart all the same."""
    plane = crediting
    agreement = contracts(bob_connector, provider, "serial-parts", tokenUrl=realm.token_url,
                          clientId="asset-client", clientSecretKey="asset-secret")
    one, two = (bob_connector.transfer(provider, agreement) for _ in range(2))
    tokens = [plane.token(t.edr()) for t in (one, two)]
    assert len({tractusx.subject(token) for token in tokens}) == 1, "a shared subject"
    edr = json.dumps(one.edr())
    assert SECRET not in edr and "clientId" not in edr
    with plane.gate.session(tokens[0]) as first, plane.gate.session(tokens[1]) as second:
        one.terminate()
        first.wait_closed(10)
        second.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    assert plane.gate.login_error(tokens[0]) == 58, "not under the other one's grant"
    assert plane.gate.login_error(tokens[1]) == 0
    # What ended here is taken back at the authorization server as well.
    realm.client("observer", "its secret")
    assert SECRET not in told(plane.gate)


def test_an_address_outside_the_allowed_hosts(crediting, realm, provider, bob_connector,
                                              contracts):
    """The data address may not send sluice, and the secret, anywhere else."""
    other = realm.token_url.replace("localhost", "127.0.0.1")
    agreement = contracts(bob_connector, provider, "serial-parts", tokenUrl=other,
                          clientId="asset-client", clientSecretKey="asset-secret")
    transfer = bob_connector.request(provider, agreement, "KafkaBroker-PULL")
    wait_for(lambda: transfer.at_consumer()["state"] in ("TERMINATED",), 40,
             "the transfer is refused")
