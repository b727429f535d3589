"""12. Refresh in its four modes: at the data plane with proof of possession, through the consumer's
connector (`/edrs`), by hand (another transfer), out of band (the consumer asks the authorization
server itself). In each the running session takes up the new token without a rebalance."""

import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest

import clients
import gate as gates
import idp as idps
import plane as planes
import streams
import tractusx
from pki import b64url
from processes import wait_for

LIFE_S = 15
RENEWALS = 2
AUDIENCE = "did:web:provider.example"


@pytest.fixture(scope="module")
def topic(cluster):
    name = planes.unique("refresh")
    cluster.create_topic(name, 3)
    return name


@pytest.fixture(scope="module")
def writer(cluster, topic):
    made = streams.Writer(cluster, topic)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def bobs_key(workspace):
    """The consumer's own key, which the provider knows."""
    return idps.Key(workspace, "ES256", "bob-key-1")


@pytest.fixture(scope="module")
def plane(make_plane, provider, workspace, bobs_key):
    file = workspace / "bob-jwks.json"
    file.write_text(json.dumps({"keys": [bobs_key.jwk()]}))
    made = make_plane(provider, start=False, edr="concept", life_s=LIFE_S)
    made.gate.config["tokens"] = {"refresh": {
        "url": f"https://localhost:{made.port}/refresh", "audience": AUDIENCE,
        "participants": [{"id": "bob", "jwks_file": str(file)}]}}
    made.gate.start()
    return made.wait_available()


def proof(key, token, audience=AUDIENCE, who="bob", **more):
    """The JWT by which a consumer shows that the token is its own."""
    now = int(time.time())
    head = {"alg": "ES256", "kid": key.kid, "typ": "JWT"}
    body = {"iss": who, "sub": who, "aud": audience, "jti": str(uuid.uuid4()), "iat": now,
            "exp": now + 60, "token": token} | more
    text = ".".join(b64url(json.dumps(part).encode()) for part in (head, body))
    return f"{text}.{b64url(key.sign(text.encode()))}"


def get(edr, name):
    """A value of an EDR whose name may carry any prefix."""
    return next(value for key, value in edr.items() if key.rpartition("/")[2] == name)


class EdrService:
    """What a Tractus-X connector's `/edrs` does for its application: keeps the EDR and refreshes it
    at the provider when it is asked for it."""

    def __init__(self, edr, key, authority):
        self.access, self.refresh = edr["authorization"], get(edr, "refreshToken")
        self.endpoint, self.audience = get(edr, "refreshEndpoint"), get(edr, "refreshAudience")
        self._key, self._trust = key, ssl.create_default_context(
            cafile=str(authority.certificate))

    def post(self, refresh, authorization):
        request = urllib.request.Request(f"{self.endpoint}/token", urllib.parse.urlencode({
            "grant_type": "refresh_token", "refresh_token": refresh}).encode(), {
            "Authorization": f"Bearer {authorization}"})
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._trust) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def token(self):
        """A fresh access token."""
        status, body = self.post(self.refresh, proof(self._key, self.access, self.audience))
        assert status == 200, body
        assert body["token_type"].lower() == "bearer" and 0 < body["expires_in"] <= LIFE_S
        self.access, self.refresh = body["access_token"], body["refresh_token"]
        return self.access


class Renewing:
    """A stream whose client gets a new token of its door whenever it asks for one."""

    def __init__(self, gate, door, topic, group):
        self.gate, self._door, self.tokens = gate, door, []
        self.stream = streams.Stream(door, topic, group, oauth_cb=self._fresh)
        self.stream.start()

    def _fresh(self, _):
        if self.tokens:
            self._door.new_token()
        self.tokens.append(self._door.token())
        # librdkafka renews at 80 % of what it is told; with lives as short as here it needs to be
        # early to have the new token when the session must be renewed.
        left = clients.expiry(self.tokens[-1]) - time.time()
        return self.tokens[-1], time.time() + left * 0.6


def door_of(plane, edr, token):
    return clients.Door(plane.directory / "doors", plane.bootstrap(edr),
                        plane.authority.certificate, token)


@pytest.fixture
def edr(plane, bob_connector, provider, contracts, topic):
    return bob_connector.transfer(provider, contracts(bob_connector, provider, topic),
                                  kind="Kafka-PULL").edr()


def test_who_may_not_refresh(plane, edr, bobs_key, authority, workspace, bob_connector, provider,
                             contracts, topic):
    service = EdrService(edr, bobs_key, authority)
    foreign = idps.Key(workspace, "ES256", "foreign-key")
    wrong = {
        "a key that is not the consumer's": proof(foreign, service.access),
        "another audience": proof(bobs_key, service.access, "did:web:elsewhere"),
        "another participant": proof(bobs_key, service.access, who="alice"),
        "another token": proof(bobs_key, "eyJhbGciOiJub25lIn0.e30.x"),
        "an expired proof": proof(bobs_key, service.access, exp=int(time.time()) - 600,
                                  iat=int(time.time()) - 700),
        "no proof": "",
    }
    for what, authorization in wrong.items():
        status, body = service.post(service.refresh, authorization)
        assert status in (400, 401), (what, status, body)
    status, body = service.post("not-a-refresh-token", proof(bobs_key, service.access))
    assert status in (400, 401), body
    service.token()


def test_a_refresh_token_is_good_once_and_ends_with_its_transfer(
        plane, bob_connector, provider, contracts, topic, bobs_key, authority):
    transfer = bob_connector.transfer(provider, contracts(bob_connector, provider, topic),
                                      kind="Kafka-PULL")
    service = EdrService(transfer.edr(), bobs_key, authority)
    used = service.refresh
    service.token()
    status, body = service.post(used, proof(bobs_key, service.access))
    assert status in (400, 401), body
    other = EdrService(bob_connector.transfer(
        provider, transfer.at_consumer()["contractId"], kind="Kafka-PULL").edr(), bobs_key,
        authority)
    transfer.terminate()
    transfer.wait("ENDED")
    status, body = service.post(service.refresh, proof(bobs_key, service.access))
    assert status in (400, 401), body
    other.token()  # another transfer's is not touched


@pytest.fixture(scope="module")
def fixed(make_gate, keycloak, authority, topic):
    """A gate for a fixed partner with an OAuth client of its own, and how that asks for tokens."""
    realm = keycloak.realm("out-of-band", accessTokenLifespan=LIFE_S)
    realm.client("bob-client", "its secret", audience="sluice")

    def token():
        return realm.token("bob-client", "its secret")["access_token"]
    return make_gate("out-of-band", config={
        "issuers": [{"issuer": realm.issuer, "audience": "sluice", "shared_subjects": False,
                     "algorithms": ["RS256"], "jwks_url": realm.jwks_url}],
        "outgoing": {"ca": str(authority.certificate)}}, grants=[
        gates.grant("fixed-bob", tractusx.subject(token()), [topic], "bob",
                    issuer=realm.issuer)]), token


def after(first, later):
    """A token source: `first` once, then what `later` gives."""
    once = [first]
    return lambda: once.pop() if once else later()


def test_all_four_modes(plane, fixed, bob_connector, provider, contracts, topic, writer, bobs_key,
                        authority, doors):
    """At the same time, a client each. Nobody notices a renewal but the gate."""
    agreement = contracts(bob_connector, provider, topic)

    def transfer():
        return bob_connector.transfer(provider, agreement, kind="Kafka-PULL").edr()
    services = [EdrService(transfer(), bobs_key, authority) for _ in range(2)]
    by_hand = transfer()
    modes = {
        # The application asks the endpoint of its EDR itself, with its own key.
        "data plane": (plane.gate, door_of(plane, by_hand, after(services[0].access,
                                                                 services[0].token))),
        # The application asks its connector for the EDR, and that refreshes it.
        "/edrs": (plane.gate, door_of(plane, by_hand, after(services[1].access,
                                                            services[1].token))),
        # Somebody starts another transfer of the same contract and puts its token in place.
        "by hand": (plane.gate, door_of(plane, by_hand, after(
            plane.token(by_hand), lambda: plane.token(transfer())))),
        # The partner asks the authorization server.
        "out of band": (fixed[0], doors(fixed[0], token=fixed[1]))}
    running = {mode: Renewing(gate, door, topic, f"bob-{planes.unique('renewing')}")
               for mode, (gate, door) in modes.items()}
    try:
        for made in running.values():
            made.stream.goes_on(1, 40)
        before = {mode: {s["session"] for s in made.gate.sessions()}
                  for mode, made in running.items()}
        wait_for(lambda: all(len(made.tokens) > RENEWALS for made in running.values()),
                 RENEWALS * LIFE_S * 3, "tokens are renewed")
        time.sleep(LIFE_S * 0.4)
        for mode, made in running.items():
            assert len(set(made.tokens)) == len(made.tokens), mode
            made.stream.goes_on()
            made.stream.undisturbed()
            assert before[mode] <= {s["session"] for s in made.gate.sessions()}, mode
    finally:
        for made in running.values():
            made.stream.stop()
