"""11. Terminate while the token is still valid: parked and half-written Fetches are cut, another transfer
of the same subject stays up, and the revocation survives a restart."""

import time

import confluent_kafka
import pytest

import plane as planes
import tractusx
import wire


@pytest.fixture(scope="module")
def big(cluster):
    """A topic with megabytes in each partition."""
    name = planes.unique("big")
    cluster.create_topic(name, 3)
    producer = confluent_kafka.Producer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "linger.ms": 50, "batch.size": 1_000_000})
    for i in range(6000):
        producer.produce(name, bytes(4000), partition=i % 3)
        producer.poll(0)
    assert producer.flush(60) == 0
    return name


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture
def transfer(plane, bob_connector, provider, contracts, big):
    return bob_connector.transfer(provider, contracts(bob_connector, provider, big))


def test_parked_and_half_written_fetches_are_cut(plane, transfer, big):
    token = plane.token(transfer.edr())
    parked, half = plane.gate.session(token), plane.gate.wire(token, tapped=False,
                                                              receive_bytes=8192)
    idle = plane.gate.session(token)
    with parked, half, idle:
        parked.post("Fetch", 12, wire.fetch_body(big, {0: 2000}, 60_000))
        half.post("Fetch", 12, wire.fetch_body(big, {p: 0 for p in range(3)}, 100,
                                               partition_bytes=4 << 20))
        first = half.receive_exactly(1000)
        length = int.from_bytes(first[:4], "big")
        assert length > 4_000_000
        transfer.terminate()
        rest, _ = parked.wait_closed(10)
        assert rest == b""
        transfer.wait("ENDED")
        # The connector has the 2xx: not one byte more may come.
        before = half.bytes_received()
        time.sleep(0.5)
        assert half.bytes_received() == before
        rest, _ = half.wait_closed()
        assert len(rest) < length / 2
        idle.wait_closed(1)
    assert plane.gate.login_error(token) == 58


@pytest.mark.parametrize("kill", [False, True])
def test_the_revocation_survives_a_restart(plane, transfer, kill):
    token = plane.token(transfer.edr())
    plane.gate.session(token).close()
    transfer.terminate()
    transfer.wait("ENDED")
    plane.gate.restart(kill=kill)
    plane.wait_available()
    assert plane.gate.login_error(token) == 58


def test_another_transfer_of_the_same_participant_stays_up(plane, bob_connector, provider, contracts,
                                                           big):
    agreement = contracts(bob_connector, provider, big)
    one, two = (bob_connector.transfer(provider, agreement) for _ in range(2))
    tokens = [plane.token(t.edr()) for t in (one, two)]
    assert tractusx.subject(tokens[0]) != tractusx.subject(tokens[1])
    with plane.gate.session(tokens[0]) as first, plane.gate.session(tokens[1]) as second:
        second.post("Fetch", 12, wire.fetch_body(big, {0: 2000}, 3000))
        one.terminate()
        first.wait_closed(10)
        answer = second.answer("Fetch", 12)
        assert wire.fetched(answer)[big, 0][0] == 0
    assert plane.gate.login_error(tokens[1]) == 0


@pytest.fixture(scope="module")
def shared(make_plane, keycloak, provider, workspace, authority):
    """One OAuth client, and so one subject, for every consumer of an asset: what today's unmodified
    Kafka data plane does."""
    realm = keycloak.realm("shared-subject")
    realm.client("asset-client", "its secret", audience="sluice")
    file = workspace / "shared-secret"
    file.write_text("its secret")
    plane = make_plane(provider, name="shared", issuers=[{
        "issuer": realm.issuer, "audience": "sluice", "jwks_url": realm.jwks_url,
        "algorithms": ["RS256"]}], config={
        "tokens": {"source": "client_credentials", "issuer": realm.issuer,
                   "token_url": realm.token_url, "secrets": [
                       {"name": "key", "file": str(file), "token_url": realm.token_url}]}})
    return plane, realm


def test_who_ended_cannot_come_back_under_anothers_grant(shared, bob_connector, alice_connector,
                                                         provider, contracts, serial_parts):
    """The attack: A has a shared subject and a token that is still good. After its end it must not
    read under B's grant, nor may it ever use B's groups."""
    plane, realm = shared
    more = {"clientId": "asset-client", "clientSecretKey": "key"}
    alice = alice_connector.transfer(provider, contracts(alice_connector, provider,
                                                         "serial-parts", **more))
    bob = bob_connector.transfer(provider, contracts(bob_connector, provider, "serial-parts",
                                                     **more))
    a, b = plane.token(alice.edr()), plane.token(bob.edr())
    assert tractusx.subject(a) == tractusx.subject(b)
    with plane.gate.session(a) as connection:
        found = connection.ask("FindCoordinator", 3, {"Key": "bob-1", "KeyType": 0})
        assert found["ErrorCode"] == 30, "B's prefix is not A's"
        assert connection.ask("FindCoordinator", 3, {"Key": "alice-1",
                                                     "KeyType": 0})["ErrorCode"] == 0
    with plane.gate.session(b) as untouched:
        alice.terminate()
        alice.wait("ENDED")
        assert plane.gate.login_error(a) == 58, "A's token is still good, and A stays out"
        untouched.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    # A knows the client's secret nowhere; but a token of that subject that names no transfer and
    # was bound to none opens nothing either.
    stray = realm.token("asset-client", "its secret")["access_token"]
    assert plane.gate.login_error(stray) == 58
    assert plane.gate.login_error(b) == 0
