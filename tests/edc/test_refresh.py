"""Refresh at the data plane as Tractus-X does it, beside scenario 12: by the key of a did:web, and by
starting the transfer anew, under a consumer that streams on over short tokens with no rebalance and
no gap; and who gets no new token."""

import functools
import http.server
import json
import ssl
import threading
import time
import uuid

import pytest

import clients
import idp as idps
import plane as planes
import streams
import transfers
from pki import b64url

LIFE_S = 12
STREAM_S = 22
PROVIDER = "did:web:provider.example"
AUDIENCE_NAME = "https://w3id.org/tractusx/auth/audience"


class Consumer:
    """One that can prove who it is."""

    def __init__(self, directory, identity):
        self.identity = identity
        self.key = idps.Key(directory, "ES256", f"key-{uuid.uuid4().hex[:8]}")

    def proof(self, edr, **claims):
        now = int(time.time())
        head = {"alg": "ES256", "kid": f"{self.identity}#{self.key.kid}"
                if self.identity.startswith("did:") else self.key.kid}
        body = {"iss": self.identity, "sub": self.identity, "aud": edr["refreshAudience"],
                "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60,
                "token": edr["authorization"]} | claims
        text = ".".join(b64url(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{b64url(self.key.sign(text.encode()))}"

    def refresh(self, plane, edr, proof=None):
        """(status, answer)"""
        form = f"grant_type=refresh_token&refresh_token={edr['refreshToken']}"
        return plane.ask("POST", "/refresh/token", form.encode(),
                         "application/x-www-form-urlencoded", secret=False,
                         headers={"Authorization": f"Bearer {proof or self.proof(edr)}"})

    def document(self):
        return {"@context": ["https://www.w3.org/ns/did/v1"], "id": self.identity,
                "verificationMethod": [{
                    "id": f"{self.identity}#{self.key.kid}", "type": "JsonWebKey2020",
                    "controller": self.identity, "publicKeyJwk": self.key.jwk()}]}


class DidServer:
    """A partner's web server with one document."""

    def __init__(self, authority):
        pair = authority.issue("did", addresses=["127.0.0.1"], names=["localhost"])
        self.document, self.asked = None, 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                server.asked += 1
                data = json.dumps(server.document).encode()
                self.send_response(200 if self.path == "/.well-known/did.json" else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def did_server(authority):
    server = DidServer(authority)
    yield server
    server.close()


@pytest.fixture(scope="module")
def known(workspace):
    """A consumer without a DID, whose key the provider was told."""
    return Consumer(workspace, "BPNL00000003CRHK")


@pytest.fixture(scope="module")
def web(workspace, did_server):
    consumer = Consumer(workspace, f"did:web:localhost%3A{did_server.port}")
    did_server.document = consumer.document()
    return consumer


@pytest.fixture(scope="module")
def plane(make_plane, serial_parts, workspace, known, did_server, authority):
    keys = workspace / "known-consumer.json"
    keys.write_text(json.dumps({"keys": [known.key.jwk()]}))
    return make_plane(None, "refresh", edr="concept", life_s=LIFE_S, config={
        "outgoing": {"ca": str(authority.certificate), "hosts": [f"localhost:{did_server.port}"]},
        "tokens": {"refresh": {"url": "https://localhost:1/refresh", "audience": PROVIDER,
                               "participants": [{"id": known.identity,
                                                 "jwks_file": str(keys)}]}}})


def start(plane, transfer, consumer):
    status, edr = transfers.start(plane, transfer, properties={AUDIENCE_NAME: consumer.identity})
    assert status == 200, (status, edr)
    plane.gate.hide(edr["authorization"].rpartition(".")[2])
    if "refreshToken" in edr:
        plane.gate.hide(edr["refreshToken"])
    return edr


def refreshed(plane, consumer, edr):
    """The EDR with what a refresh brought."""
    status, answer = consumer.refresh(plane, edr)
    assert status == 200, (status, answer)
    assert answer["expires_in"] == LIFE_S and answer["token_type"] == "bearer"
    plane.gate.hide(answer["refresh_token"])
    return edr | {"authorization": answer["access_token"],
                  "refreshToken": answer["refresh_token"]}


class Renewing(clients.Door):
    """A door whose client has a new token at each login."""

    def __init__(self, directory, bootstrap, authority, renew):
        self.asked = 0
        super().__init__(directory, bootstrap, authority, renew)
        self.renew_at_half = True

    def token(self):
        if self.asked:
            self.new_token()
        self.asked += 1
        return super().token()


def by_refresh(plane, consumer, state):
    state["edr"] = (refreshed(plane, consumer, state["edr"]) if "edr" in state
                    else start(plane, state["transfer"], consumer))
    return state["edr"]["authorization"]


def by_start(plane, consumer, state):
    return start(plane, state["transfer"], consumer)["authorization"]


MODES = {"with a did:web": by_refresh, "by starting anew": by_start}


def test_a_stream_over_short_tokens(plane, known, web, cluster, authority):
    topic = "refresh-events"
    cluster.create_topic(topic, 3)
    gate, running = plane.gate, []
    writer = streams.Writer(cluster, topic)
    # The grants are for another topic than the other cases'.
    plain, transfers.start = transfers.start, functools.partial(transfers.start, topic=topic)
    try:
        for name, mode in MODES.items():
            consumer = web if "did" in name else known
            state = {"transfer": str(uuid.uuid4())}
            door = Renewing(plane.directory / "doors", f"{gate.host}:{gate.advertised_port}",
                            authority.certificate,
                            functools.partial(mode, plane, consumer, state))
            running.append((name, door, streams.Stream(door, topic, f"bob-{len(running)}")))
        writer.start()
        for _, _, stream in running:
            stream.start()
        for _, _, stream in running:
            stream.goes_on(timeout_s=40)
        begun = len(gate.audit())
        asked = [door.asked for _, door, _ in running]
        time.sleep(STREAM_S)
        for _, _, stream in running:
            stream.goes_on()
            stream.undisturbed()
        codes = [event["metadata"]["event_code"] for event in gate.audit()[begun:]]
    finally:
        transfers.start = plain
        writer.stop()
        for _, _, stream in running:
            stream.stop()
    for (name, door, _), before in zip(running, asked):
        assert door.asked >= before + 2, f"{name}: {door.asked - before} new tokens"
    assert codes.count("reauth") >= 2 * len(running), codes
    assert "auth_fail" not in codes, codes


def test_a_refresh_token_is_good_once(plane, known):
    edr = start(plane, "once", known)
    proof = known.proof(edr)
    status, answer = known.refresh(plane, edr, proof)
    assert status == 200, answer
    assert known.refresh(plane, edr, proof)[0] == 400
    assert known.refresh(plane, edr)[0] == 400
    # Both tokens open, the old one until its end.
    for token in (edr["authorization"], answer["access_token"]):
        with plane.gate.session(token):
            pass


def test_nobody_else_refreshes(plane, known, web, workspace):
    edr = start(plane, "mine", known)
    stranger = Consumer(workspace, known.identity)
    stranger.key.kid = known.key.kid
    assert stranger.refresh(plane, edr)[0] == 401
    assert web.refresh(plane, edr)[0] == 400
    assert known.refresh(plane, edr | {"refreshToken": "x"})[0] == 400
    other = start(plane, "mine-too", known)
    assert known.refresh(plane, edr | {"refreshToken": other["refreshToken"]})[0] == 400
    assert known.refresh(plane, edr | {"refreshAudience": "somebody else"})[0] == 401
    assert known.refresh(plane, edr)[0] == 200


@pytest.mark.parametrize("how", ["suspend", "terminate"])
def test_what_has_ended_is_not_refreshed(plane, known, how):
    edr = start(plane, f"ends-{how}", known)
    transfers.end(plane, f"ends-{how}", how)
    status, answer = known.refresh(plane, edr)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert plane.gate.login_error(edr["authorization"]) == 58


def test_a_restart_forgets_none(plane, known):
    used = start(plane, "used", known)
    edr = refreshed(plane, known, used)
    plane.gate.restart(kill=True)
    assert known.refresh(plane, used)[0] == 400
    edr = refreshed(plane, known, edr)
    with plane.gate.session(edr["authorization"]):
        pass


def test_a_document_elsewhere_is_not_fetched(plane, workspace):
    """A DID may name any host; only those of outgoing.hosts are asked."""
    consumer = Consumer(workspace, "did:web:localhost%3A1")
    edr = start(plane, "elsewhere", consumer)
    assert "refreshToken" not in edr
