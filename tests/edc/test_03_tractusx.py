"""3., continued: today's unmodified Kafka data plane of Tractus-X before the gate. It is told other
addresses and nothing else: its ACLs go to the gate's ACL listener, its tokens are taken back at the
gate's RFC 7009 endpoint, and they come from a real authorization server or from the gate itself."""

import pytest

import clients
import plane as planes
import tractusx
import wire
from processes import free_port, wait_for

ADMIN, PASSWORD = "connector", "password-of-the-connector"
CLIENT, SECRET = "asset-client", "secret-of-the-asset-client"


def options(workspace, authority, port, name):
    """The ACL listener, and who may use the OAuth endpoints."""
    files = {"acl": PASSWORD, "client": SECRET}
    for word, text in files.items():
        file = workspace / f"tractusx-{name}-{word}"
        file.write_text(text)
        file.chmod(0o600)
        files[word] = str(file)
    pair = authority.issue(f"acl-{port}", addresses=["127.0.0.1"], names=["localhost"])
    return {"acl_listener": {
        "listen": f"127.0.0.1:{port}",
        "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        "users": [{"name": ADMIN, "password_file": files["acl"]}]}}, \
        [{"id": CLIENT, "secret_file": files["client"]}]


def admin(authority, port):
    """What the data plane's edc.dataplane.kafka.acl.* comes to."""
    return {"bootstrap.servers": f"127.0.0.1:{port}", "security.protocol": "SASL_SSL",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.certificate,
            "sasl.mechanism": "PLAIN", "sasl.jaas.config":
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f"username=\"{ADMIN}\" password=\"{PASSWORD}\";"}


class Site:
    """A gate, the data plane before it, and the asset's data address."""

    def __init__(self, plane, data_plane, address):
        self.plane, self.gate, self.data_plane = plane, plane.gate, data_plane
        self.address = address | {"kafka.bootstrap.servers":
                                  f"{plane.gate.host}:{plane.gate.advertised_port}",
                                  "topic": "serial-parts", "clientId": CLIENT,
                                  "clientSecret": SECRET}

    def begin(self, flow, participant):
        edr = self.data_plane.provision(flow, self.address, participant)
        self.gate.hide(edr["token"].rpartition(".")[2])
        return self.data_plane.start(flow, edr)


@pytest.fixture(scope="module")
def made(make_plane, authority, workspace, serial_parts):
    """made(name, address, issuers, tokens) -> Site"""
    running = []

    def make(name, address, issuers=None, tokens=None):
        port = free_port()
        config, known = options(workspace, authority, port, name)
        # ACLs tell of a subject, a topic and a prefix: no agreement, no asset, no participant.
        plane = make_plane(None, name=name, identity=name, judge=False, issuers=issuers,
                           config=config | {
            "outgoing": {"ca": str(authority.certificate)},
            "tokens": {"clients": known} | (tokens or {})})
        for secret in (PASSWORD, SECRET):
            plane.gate.hide(secret)
        data_plane = tractusx.DataPlane(workspace / f"tractusx-{name}", authority,
                                        admin(authority, port))
        running.append(data_plane)
        return Site(plane, data_plane, address(plane))
    yield make
    for data_plane in running:
        data_plane.close()


@pytest.fixture(scope="module")
def facade(made):
    """The gate issues the tokens: a subject of its own for each."""
    return made("facade", lambda plane: {
        "tokenUrl": f"https://localhost:{plane.port}/oauth2/token",
        "revokeUrl": f"https://localhost:{plane.port}/oauth2/revoke"})


@pytest.fixture(scope="module")
def realm(keycloak):
    realm = keycloak.realm("tractusx")
    realm.client(CLIENT, SECRET, audience=planes.AUDIENCE)
    realm.client(planes.AUDIENCE, "secret of sluice")
    return realm


@pytest.fixture(scope="module")
def server(made, realm):
    """Keycloak issues the tokens; what is taken back at the gate is taken back there as well."""
    return made("server", lambda plane: {
        "tokenUrl": realm.token_url, "revokeUrl": f"https://localhost:{plane.port}/oauth2/revoke"},
        issuers=[{"issuer": realm.issuer, "audience": planes.AUDIENCE, "algorithms": ["RS256"],
                  "jwks_url": realm.jwks_url, "shared_subjects": False}],
        tokens={"source": "client_credentials", "revoke_url": realm.revoke_url})


@pytest.fixture(params=["facade", "server"])
def site(request):
    return request.getfixturevalue(request.param)


def works(connection):
    answer = connection.ask("Fetch", 12, wire.fetch_body("serial-parts", {0: 0}, 100))
    return wire.fetched(answer)["serial-parts", 0][1] > 0


def test_a_whole_transfer(site):
    """Provision, start, suspend, resume with the same token, terminate."""
    flow = planes.unique("flow")
    edr = site.begin(flow, "bob")
    assert edr["kafka.group.prefix"] == "bob"
    with site.gate.session(edr["token"]) as connection:
        assert works(connection)
        assert connection.ask("FindCoordinator", 3, {"Key": "bob-1", "KeyType": 0})[
            "ErrorCode"] == 0
        assert connection.ask("FindCoordinator", 3, {"Key": "alice", "KeyType": 0})[
            "ErrorCode"] == 30
        site.data_plane.suspend(flow)
        connection.wait_closed(2)
    assert site.gate.login_error(edr["token"]) == 58
    site.data_plane.start(flow, edr)
    with site.gate.session(edr["token"]) as connection:
        assert works(connection)
        site.data_plane.terminate(flow, site.address)
        connection.wait_closed(2)
    assert site.gate.login_error(edr["token"]) == 58
    # Taken back for good: not even new ACLs for that subject let the token in again.
    site.data_plane.start(flow, edr)
    assert site.gate.login_error(edr["token"]) == 58
    site.data_plane.suspend(flow)


def test_terminate_while_suspended(site):
    flow = planes.unique("flow")
    edr = site.begin(flow, "bob")
    site.data_plane.suspend(flow)
    site.data_plane.terminate(flow, site.address)
    assert site.gate.login_error(edr["token"]) == 58


def test_a_token_without_acls_opens_nothing(site):
    """Provisioned, but not started."""
    edr = site.data_plane.provision(planes.unique("flow"), site.address, "bob")
    assert site.gate.login_error(edr["token"]) == 58


def test_a_restart_of_the_gate(site):
    flow = planes.unique("flow")
    edr = site.begin(flow, "bob")
    site.gate.restart(kill=True)
    with site.gate.session(edr["token"]) as connection:
        assert works(connection)
        site.data_plane.suspend(flow)
        connection.wait_closed(2)
    site.gate.restart(kill=True)
    assert site.gate.login_error(edr["token"]) == 58
    site.data_plane.terminate(flow, site.address)


def test_consumers_do_not_share_a_subject_behind_the_facade(facade):
    """One OAuth client, two consumers: each has its own subject, group prefix and end."""
    flows = {who: planes.unique(who) for who in ("alice", "bob")}
    alice, bob = (facade.begin(flow, who) for who, flow in flows.items())
    assert tractusx.subject(alice["token"]) != tractusx.subject(bob["token"])
    with facade.gate.session(bob["token"]) as spared:
        facade.data_plane.terminate(flows["alice"], facade.address)
        assert works(spared)
        assert spared.ask("FindCoordinator", 3, {"Key": "alice-1", "KeyType": 0})[
            "ErrorCode"] == 30
    assert facade.gate.login_error(alice["token"]) == 58
    facade.data_plane.terminate(flows["bob"], facade.address)


def test_the_authorization_server_hears_of_it(server, realm):
    flow = planes.unique("flow")
    edr = server.begin(flow, "bob")
    assert realm.introspect(planes.AUDIENCE, "secret of sluice", edr["token"])["active"]
    server.data_plane.terminate(flow, server.address)
    wait_for(lambda: not realm.introspect(planes.AUDIENCE, "secret of sluice",
                                          edr["token"])["active"], 10, "Keycloak took it back")


def test_a_real_consumer(facade, serial_parts):
    flow = planes.unique("flow")
    edr = facade.begin(flow, "bob")
    got = clients.read_java(clients.Door(facade.plane.directory / "doors",
                                         edr["kafka.bootstrap.servers"],
                                         facade.plane.authority.certificate, edr["token"]),
                            "serial-parts", len(serial_parts), edr["kafka.group.prefix"])
    assert len(got) == len(serial_parts)
    facade.data_plane.terminate(flow, facade.address)


def test_who_does_not_know_the_secret(site):
    flow = planes.unique("flow")
    edr = site.begin(flow, "bob")
    with pytest.raises(tractusx.Failed):
        site.data_plane.form(site.address["revokeUrl"], {
            "token": edr["token"], "client_id": CLIENT, "client_secret": "a guess"})
    with site.gate.session(edr["token"]) as connection:
        assert works(connection)
    site.data_plane.terminate(flow, site.address)
