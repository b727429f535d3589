"""sluice as a data plane: what it is configured with, how its signaling listener is asked, and what a
consumer makes of the EDR that it answers with."""

import json
import ssl
import urllib.error
import urllib.request
import uuid

import clients
import gate as gates
from pki import openssl
from processes import free_port

EDC = "https://w3id.org/edc/v0.0.1/ns/"
DSPACE = "https://w3id.org/dspace/v0.8/"
AUDIENCE = "sluice"
WHOSE = ("transfer", "agreement", "asset", "participant")

# dialect of the EDR -> (transfer type, name of the address, name of the token)
DIALECTS = {"concept": ("Kafka-PULL", "endpoint", "authorization"),
            "kafka-extension": ("KafkaBroker-PULL", "endpoint", "authorization"),
            "tractusx-edc": ("KafkaBroker-PULL", "kafka.bootstrap.servers", "token")}


def signing_key(file):
    """A new key of our own issuer."""
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)
    return file


def own_issuer(directory, life_s=300):
    """The entry of `issuers` that lets sluice sign the tokens itself."""
    return {"issuer": "https://sluice.example", "audience": AUDIENCE,
            "signing_keys": [str(signing_key(directory / "signing.pem"))],
            "token_life_s": life_s}


class Plane:
    """A gate with its signaling listener, behind one provider's control plane."""

    def __init__(self, directory, authority, connector, identity, edr="tractusx-edc",
                 issuers=None, signaling=None, life_s=300, config=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.authority, self.connector = directory, authority, connector
        self.identity, self.edr_dialect = identity, edr
        self.port = free_port()
        self.secret = uuid.uuid4().hex
        self.pair = authority.issue(f"signaling-{self.port}", addresses=["127.0.0.1"],
                                    names=["localhost"])
        self.url = f"https://localhost:{self.port}/{self.secret}"
        (directory / "path-secret").write_text(self.secret)
        self._trust = ssl.create_default_context(cafile=str(authority.certificate))
        self.transfer_type, self._address, self._token = DIALECTS[edr]
        registration = {} if connector is None else {
            "control_plane": {"url": connector.control, "id": identity}}
        self.config = {
            "issuers": [own_issuer(directory, life_s)] if issuers is None else issuers,
            "outgoing": {"ca": str(authority.certificate)},
            "signaling": {
                "listen": f"127.0.0.1:{self.port}",
                "tls": {"certificate": str(self.pair.certificate), "key": str(self.pair.key)},
                "path_secret_file": str(directory / "path-secret"),
                "url": f"https://localhost:{self.port}", "edr": edr, "transfer_types": [self.transfer_type],
            } | registration | (signaling or {})} | (config or {})
        self.gate = None

    def wait_available(self):
        """Until the control plane has it among its data planes, ready for transfers."""
        if self.connector is not None:
            self.connector.data_plane_available(self.identity)
        return self

    # --- what is said over the signaling listener, by hand

    def ask(self, method, path, body=None, kind="application/json", secret=True, headers=()):
        """(status, body) of a request to the listener."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        base = self.url if secret else f"https://localhost:{self.port}"
        request = urllib.request.Request(base + path, data, dict(headers), method=method)
        if data is not None:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._trust) as answer:
                return answer.status, gates._parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, gates._parsed(error.read())

    # --- what a consumer does with an EDR

    def bootstrap(self, edr):
        return edr[self._address]

    def token(self, edr):
        return edr[self._token]

    def door(self, edr):
        """The door that an EDR opens. `edr` may be a function, asked at every login."""
        first = edr() if callable(edr) else edr
        token = (lambda: self.token(edr())) if callable(edr) else self.token(first)
        self.gate.hide(self.token(first).rpartition(".")[2])
        return clients.Door(self.directory / "doors", self.bootstrap(first),
                            self.authority.certificate, token)


def address(topic, **more):
    """A data address as a provider writes it; names with dots are given with underscores."""
    return {"type": "KafkaBroker", "topic": topic} | {
        name.replace("__", "."): value for name, value in more.items()}


def lines_say_whose(events):
    """Every line of a session, from its login on, names what it was for (CX-0018). How many."""
    let_in, judged = set(), 0
    for event in events:
        code = event["metadata"]["event_code"]
        if code == "start":
            let_in.clear()  # sessions are counted anew
        session = event.get("actor", {}).get("session", {}).get("uid")
        if session is not None and code == "auth_ok":
            let_in.add(session)
        if session not in let_in:
            continue
        missing = [name for name in WHOSE if not event.get("unmapped", {}).get(name)]
        assert not missing, f"a line of a session without {missing}: {event}"
        judged += 1
    return judged


def unique(word):
    return f"{word}-{uuid.uuid4().hex[:8]}"

