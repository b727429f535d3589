"""An issuer of tokens under the tests' full control: discovery, JWKS and client credentials over
HTTP on loopback, and any token that a case wants, right or wrong."""

import base64
import http.server
import json
import pathlib
import threading
import time
import urllib.parse
import uuid

from pki import b64url, openssl

CURVES = {"ES256": ("P-256", 32, "-sha256"), "ES384": ("P-384", 48, "-sha384")}


def _der_integers(der):
    """r and s of a DER-encoded ECDSA signature."""
    def integer(at):
        length = der[at + 1]
        return int.from_bytes(der[at + 2:at + 2 + length], "big"), at + 2 + length
    start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    r, at = integer(start)
    s, _ = integer(at)
    return r, s


class Key:
    """A signing key of one algorithm."""

    def __init__(self, directory, algorithm, kid):
        self.algorithm, self.kid = algorithm, kid
        self.file = pathlib.Path(directory) / f"jwt-{kid}.key"
        if algorithm in CURVES:
            options = ["EC", "-pkeyopt", f"ec_paramgen_curve:{CURVES[algorithm][0]}"]
        elif algorithm == "EdDSA":
            options = ["ED25519"]
        else:
            options = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        openssl("genpkey", "-algorithm", *options, "-out", self.file)

    def sign(self, data):
        if self.algorithm == "EdDSA":
            message = self.file.with_suffix(".msg")
            message.write_bytes(data)
            return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.file, "-in", message)
        if self.algorithm == "RS256":
            return openssl("dgst", "-sha256", "-sign", self.file, stdin=data)
        if self.algorithm == "PS256":
            return openssl("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
                           "rsa_pss_saltlen:digest", "-sign", self.file, stdin=data)
        _, size, digest = CURVES[self.algorithm]
        r, s = _der_integers(openssl("dgst", digest, "-sign", self.file, stdin=data))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def jwk(self):
        out = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm in ("RS256", "PS256"):
            modulus = openssl("rsa", "-in", self.file, "-noout", "-modulus").decode().strip()
            return out | {"kty": "RSA", "e": "AQAB",
                          "n": b64url(bytes.fromhex(modulus.split("=")[1]))}
        der = openssl("pkey", "-in", self.file, "-pubout", "-outform", "DER")
        if self.algorithm == "EdDSA":
            return out | {"kty": "OKP", "crv": "Ed25519", "x": b64url(der[-32:])}
        curve, size, _ = CURVES[self.algorithm]
        return out | {"kty": "EC", "crv": curve, "x": b64url(der[-2 * size:-size]),
                      "y": b64url(der[-size:])}


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # with socketserver's 5, a burst waits for SYNs that are sent again


class Idp:
    """The issuer. `down` answers 503 to everything; `hits` counts requests by path."""

    def __init__(self, directory, port=0):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.keys = {}
        self.published = []
        self.hits = {}
        self.down = False
        self.inactive = set()  # jti that introspection calls so
        self.introspection = 200  # another status is an outage; 0 is silence
        self.client_ttl_s = 3600
        self.clients = {"sluice-upstream": "upstream-secret"}
        handler = type("Handler", (_Handler,), {"idp": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.handle_error = lambda *_: None  # a client that went away
        self.port = self._server.server_address[1]
        self.issuer = f"http://127.0.0.1:{self.port}/realms/dataspace"
        self.jwks_url = f"{self.issuer}/certs"
        self.token_url = f"{self.issuer}/token"
        self.introspection_url = f"{self.issuer}/introspect"
        self.add_key("ES256", "e2e-1")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    def add_key(self, algorithm, kid, publish=True):
        self.keys[kid] = Key(self.directory, algorithm, kid)
        if publish:
            self.published.append(kid)
        return self.keys[kid]

    def jwks(self):
        return {"keys": [self.keys[kid].jwk() for kid in self.published]}

    def jwks_file(self):
        file = self.directory / "jwks.json"
        file.write_text(json.dumps(self.jwks()))
        return file

    def token(self, subject="bob", ttl_s=3600, kid="e2e-1", header=None, now=None, drop=(),
              **claims):
        """A token. Claims override the defaults; names in `drop` are left out."""
        now = time.time() if now is None else now
        body = {"iss": self.issuer, "aud": "sluice", "sub": subject, "iat": int(now),
                "exp": int(now + ttl_s), "jti": str(uuid.uuid4())} | claims
        for name in drop:
            body.pop(name, None)
        head = {"alg": self.keys[kid].algorithm, "kid": kid, "typ": "JWT"} | (header or {})
        return self.sign(head, body, kid)

    def sign(self, head, body, kid="e2e-1"):
        parts = [json.dumps(part, separators=(",", ":")).encode() for part in (head, body)]
        text = ".".join(b64url(part) for part in parts)
        return f"{text}.{b64url(self.keys[kid].sign(text.encode()))}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    idp = None

    def log_message(self, *args):
        pass

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _count(self):
        path = urllib.parse.urlsplit(self.path).path
        self.idp.hits[path] = self.idp.hits.get(path, 0) + 1
        if self.idp.down:
            self._answer(503, {"error": "temporarily_unavailable"})
            return None
        return path.removeprefix("/realms/dataspace")

    def do_GET(self):
        idp, path = self.idp, self._count()
        if path == "/.well-known/openid-configuration":
            self._answer(200, {"issuer": idp.issuer, "jwks_uri": idp.jwks_url,
                               "token_endpoint": idp.token_url})
        elif path == "/certs":
            self._answer(200, idp.jwks())
        elif path is not None:
            self._answer(404, {})

    def do_POST(self):
        idp, path = self.idp, self._count()
        if path is None:
            return
        form = urllib.parse.parse_qs(
            self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        client, secret = self._credentials(form)
        if idp.clients.get(client, object()) != secret:
            self._answer(401, {"error": "invalid_client"})
            return
        if path == "/introspect":
            self._introspect(form["token"][0])
            return
        if path != "/token":
            self._answer(404, {})
            return
        extra = {"scope": form["scope"][0]} if "scope" in form else {}
        self._answer(200, {
            "access_token": idp.token(client, idp.client_ttl_s, client_id=client,
                                      aud=["sluice", "kafka"], **extra),
            "token_type": "Bearer", "expires_in": idp.client_ttl_s})

    def _introspect(self, token):
        idp = self.idp
        while idp.introspection == 0:
            time.sleep(0.05)
        if idp.introspection != 200:
            self._answer(idp.introspection, {"error": "temporarily_unavailable"})
            return
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        self._answer(200, {"active": claims["jti"] not in idp.inactive})

    def _credentials(self, form):
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
            return urllib.parse.unquote(user), urllib.parse.unquote(password)
        return form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
