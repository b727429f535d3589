"""sluice as an OAuth server: tokens with a subject a call for those who have a client's secret, its keys
for everybody, key rotation by reload, and RFC 7009 with the authorization server told afterwards."""

import base64
import http.server
import json
import re
import subprocess
import threading
import time
import urllib.parse

import pytest

import gate as gates
import parts
import wire
from pki import openssl
from processes import free_port, wait_for

OWN = "https://edge.example.com"
SECRET = "secret of the connector"
TOPIC = "serial-parts"


class Revocations:
    """What an authorization server is told at its revocation endpoint."""

    def __init__(self):
        self.told, self.fail = [], 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, outer.fail = (503 if outer.fail else 200), max(0, outer.fail - 1)
                if status == 200:
                    outer.told.append((self.headers["Authorization"],
                                       urllib.parse.parse_qs(body)["token"][0]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/revoke"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def key(directory, name, *options):
    file = directory / name
    openssl("genpkey", *(options or ("-algorithm", "EC", "-pkeyopt",
                                     "ec_paramgen_curve:P-256")), "-out", file)
    return str(file)


@pytest.fixture(scope="module")
def revocations():
    server = Revocations()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gate(make_gate, idp, serial_parts, other_topic, workspace, revocations):
    secret = workspace / "connector-secret"
    secret.write_text(SECRET)
    made = make_gate("tokens", start=False, grants=[
        gates.grant("idp-bob", "bob", [TOPIC], "bob", issuer=idp.issuer)])
    made.signaling = free_port()
    made.config["issuers"].append({
        "issuer": OWN, "audience": "sluice", "signing_keys": [key(workspace, "first.pem")]})
    made.config["signaling"] = {"listen": f"127.0.0.1:{made.signaling}"}
    made.config["tokens"] = {"revoke_url": revocations.url,
                             "clients": [{"id": "edc", "secret_file": str(secret)}]}
    made.hide(SECRET)
    return made.start()


def ask(gate, method, path, form=None, client="edc", secret=SECRET):
    """Asks the signaling listener."""
    body = urllib.parse.urlencode(form).encode() if form else None
    basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
    port, gate.control_port = gate.control_port, gate.signaling
    try:
        return gate.http(method, path, body, "application/x-www-form-urlencoded",
                         {"Authorization": f"Basic {basic}"} if client else {})
    finally:
        gate.control_port = port


def token_of(gate):
    status, answer = ask(gate, "POST", "/oauth2/token", {"grant_type": "client_credentials"})
    assert status == 200, (status, answer)
    gate.hide(answer["access_token"].rpartition(".")[2])
    return answer["access_token"]


def claims(token, part=1):
    text = token.split(".")[part]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def grant_to(gate, token, name, topic=TOPIC, prefix="edc"):
    gate.put_grant(gates.grant(name, claims(token)["sub"], [topic], prefix, issuer=OWN))


def topics(connection):
    return [t["Name"] for t in connection.ask("Metadata", 4, {"Topics": None})["Topics"]]


def revoke(gate, token):
    return ask(gate, "POST", "/oauth2/revoke", {"token": token})


def test_each_token_has_its_own_subject(gate):
    one, two = token_of(gate), token_of(gate)
    assert claims(one)["sub"] != claims(two)["sub"]
    assert gate.login_error(one) == 58, "nothing is granted to it yet"
    grant_to(gate, one, "of-one")
    grant_to(gate, two, "of-two", "other-parts")
    with gate.session(one) as first, gate.session(two) as second:
        assert topics(first) == [TOPIC] and topics(second) == ["other-parts"]
        # The end of one is not the end of the other.
        gate.delete_grant("of-one")
        first.wait_closed()
        assert topics(second) == ["other-parts"]
    gate.delete_grant("of-two")


def test_strangers_get_nothing(gate):
    form = {"grant_type": "client_credentials"}
    before = len(gate.audit())
    assert ask(gate, "POST", "/oauth2/token", form, secret="another")[0] == 401
    assert ask(gate, "POST", "/oauth2/token", form, client=None)[0] == 401
    assert ask(gate, "POST", "/oauth2/revoke", {"token": "x"}, client=None)[0] == 401
    gate.wait_audit("no good client secret", since=before)


def test_taken_back_here_and_there(gate, revocations):
    """The session is closed when the answer comes; a server that is away is told in the end."""
    theirs = gate.token("bob")
    revocations.fail = 2
    with gate.session(theirs) as connection:
        status, answer = revoke(gate, theirs)
        assert (status, answer["closed"]) == (200, 1)
        connection.wait_closed(1)
    wait_for(lambda: revocations.told, 20, "the authorization server is told")
    basic, told = revocations.told.pop()
    assert told == theirs and basic.startswith("Basic ")
    assert gate.login_error(theirs) == 58
    # Our own are nobody else's business.
    mine = token_of(gate)
    grant_to(gate, mine, "mine")
    with gate.session(mine) as connection:
        assert revoke(gate, mine)[0] == 200
        connection.wait_closed(1)
    assert gate.login_error(mine) == 58
    time.sleep(0.5)
    assert not revocations.told


def test_keys_for_everybody(gate):
    status, keys = ask(gate, "GET", "/.well-known/jwks.json", client=None)
    assert status == 200
    assert claims(token_of(gate), 0)["kid"] in [k["kid"] for k in keys["keys"]]
    assert not any("d" in k for k in keys["keys"])
    status, about = ask(gate, "GET", "/.well-known/openid-configuration", client=None)
    assert status == 200 and about["issuer"] == OWN
    assert about["jwks_uri"] == f"{OWN}/.well-known/jwks.json"


def kids(gate):
    return [k["kid"] for k in ask(gate, "GET", "/.well-known/jwks.json")[1]["keys"]]


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "PS256", "ES384"])
def test_a_new_key_without_a_break(gate, workspace, kind):
    """New key first, reload: sessions go on, old tokens open, new ones too; then the old key goes,
    and with it its tokens."""
    options = {"EdDSA": ("-algorithm", "ED25519"),
               "PS256": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
               "ES384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")}
    own = gate.config["issuers"][1]
    old = token_of(gate)
    grant_to(gate, old, f"old-{kind}")
    with gate.session(old) as connection:
        own["signing_keys"].insert(0, key(workspace, f"{kind}.pem", *options.get(kind, ())))
        gate.reload()
        wait_for(lambda: len(kids(gate)) == 2, 10, "two keys")
        new = token_of(gate)
        assert claims(new, 0)["alg"] == kind
        grant_to(gate, new, f"new-{kind}")
        with gate.session(new) as second:
            assert topics(second) == topics(connection) == [TOPIC]
        assert gate.login_error(old) == 0
        own["signing_keys"].pop()
        gate.reload()
        wait_for(lambda: len(kids(gate)) == 1, 10, "one key")
        assert gate.login_error(new) == 0
        assert topics(connection) == [TOPIC], "a session is not its token's key"
    try:
        with gate.wire(tapped=False) as connection:
            assert connection.authenticate(old)["ErrorCode"] != 0
    except (wire.Closed, ConnectionError):
        pass  # retriable: that key might come back


def test_a_reload_that_fails_late_changes_no_key(gate, workspace):
    """The new key is good, another part of the file is not: what is signed can still be checked."""
    own, before = gate.config["issuers"][1], kids(gate)
    good, tokens = list(own["signing_keys"]), gate.config["tokens"]
    own["signing_keys"] = [key(workspace, "late.pem")]
    broken = workspace / "no-keys.json"
    broken.write_text("{}")
    gate.config["tokens"] = tokens | {"refresh": {
        "url": "https://e/refresh", "participants": [{"id": "x", "jwks_file": str(broken)}]}}
    since = len(gate.log())
    try:
        gate.reload()
        gate.wait_log("nothing has changed", since=since)
        assert kids(gate) == before
        token = token_of(gate)
        grant_to(gate, token, "late")
        assert gate.login_error(token) == 0
    finally:
        own["signing_keys"], gate.config["tokens"] = good, tokens
        gate.write_config()


def test_a_bad_key_changes_nothing(gate, workspace):
    own = gate.config["issuers"][1]
    good = list(own["signing_keys"])
    before, since = kids(gate), len(gate.log())
    own["signing_keys"] = [key(workspace, "p521.pem", "-algorithm", "EC", "-pkeyopt",
                               "ec_paramgen_curve:P-521")]
    try:
        gate.reload()
        gate.wait_log("nothing has changed", since=since)
        assert re.search("signing_keys of .*none of P-256", gate.log()[since:])
        assert kids(gate) == before
        token_of(gate)
        # `sluice check` would have told.
        checked = subprocess.run([parts.SLUICE, "check", "-c", gate.config_file],
                                 capture_output=True, text=True, timeout=30)
        assert checked.returncode == 1 and "none of P-256" in checked.stderr, checked
    finally:
        own["signing_keys"] = good
        gate.write_config()
