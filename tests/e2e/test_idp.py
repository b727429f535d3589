"""demo-idp issues what it says: every algorithm's token verifies with openssl against the JWKS
alone, and the deliberately bad ones are bad in exactly the way that was asked for.

Standard library and the openssl command only. Needs demo-idp in $SLUICE_BUILD (build/asan
if not said, as for the other cases)."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
B = pathlib.Path(
    os.environ.get("SLUICE_BUILD", ROOT / "build" / os.environ.get("SLUICE_VARIANT", "asan"))
)

CLIENTS = [
    {
        "client_id": "bob",
        "client_secret": "s:e&cret",
        "claims": {"sub": "partner-bob", "transfer": "transfer-4711"},
    },
    {"client_id": "typed", "client_secret": "x", "typ": "at+jwt", "lifetime_s": 7},
]


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else b"\x82" + n.to_bytes(2, "big")
    return bytes([tag]) + length + body


def der_int(raw):
    raw = raw.lstrip(b"\0") or b"\0"
    return der(2, b"\0" + raw if raw[0] & 0x80 else raw)


OID = {
    "rsa": bytes.fromhex("06092a864886f70d010101"),
    "ec": bytes.fromhex("06072a8648ce3d0201"),
    "P-256": bytes.fromhex("06082a8648ce3d030107"),
    "P-384": bytes.fromhex("06052b81040022"),
    "Ed25519": bytes.fromhex("06032b6570"),
}


def jwk_to_pem(jwk):
    """SubjectPublicKeyInfo from nothing but the JWK's own members."""
    if jwk["kty"] == "RSA":
        algorithm = der(0x30, OID["rsa"], b"\x05\x00")
        key = der(0x30, der_int(unb64(jwk["n"])), der_int(unb64(jwk["e"])))
    elif jwk["kty"] == "EC":
        algorithm = der(0x30, OID["ec"], OID[jwk["crv"]])
        key = b"\x04" + unb64(jwk["x"]) + unb64(jwk["y"])
    else:
        algorithm = der(0x30, OID[jwk["crv"]])
        key = unb64(jwk["x"])
    spki = der(0x30, algorithm, der(3, b"\0", key))
    return "-----BEGIN PUBLIC KEY-----\n%s-----END PUBLIC KEY-----\n" % base64.encodebytes(spki).decode()


def verifies(token, jwk):
    head, body, mark = token.split(".")
    alg = json.loads(unb64(head))["alg"]
    signature = unb64(mark)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: pathlib.Path(folder, name) for name in ("key", "sig", "in")}
        paths["key"].write_text(jwk_to_pem(jwk))
        paths["in"].write_text(head + "." + body)
        if alg.startswith("ES"):
            half = len(signature) // 2
            signature = der(0x30, der_int(signature[:half]), der_int(signature[half:]))
        paths["sig"].write_bytes(signature)
        if alg == "EdDSA":
            command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", paths["key"]]
            command += ["-sigfile", paths["sig"], "-in", paths["in"]]
        else:
            command = ["openssl", "dgst", "-sha" + alg[2:], "-verify", paths["key"]]
            if alg.startswith("PS"):
                command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
            command += ["-signature", paths["sig"], paths["in"]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Idp:
    """A running demo-idp."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        ready = pathlib.Path(self.folder.name, "ready.json")
        clients = pathlib.Path(self.folder.name, "clients.json")
        clients.write_text(json.dumps(CLIENTS))
        self.process = subprocess.Popen(
            [B / "demo-idp", "--listen", "127.0.0.1:0", "--ready-file", ready, "--clients", clients, *arguments],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("demo-idp does not start")
            time.sleep(0.02)
        self.ready = json.loads(ready.read_text())

    def call(self, path, body=None, method=None, headers=None, timeout=5):
        """(status, parsed JSON or None)"""
        data = None
        if isinstance(body, dict):
            data = json.dumps(body).encode()
        elif body is not None:
            data = body.encode()
        request = urllib.request.Request(
            self.ready["issuer"] + path, data=data, method=method, headers=headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text[:1] == b"{" else None

    def token(self, client="bob", secret="s:e&cret", **extra):
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, **extra}
        return self.call("/token", urllib.parse.urlencode(form))

    def sign(self, **request):
        status, answer = self.call("/admin/sign", request)
        assert status == 200, answer
        return answer["access_token"]

    def jwk(self, kid):
        keys = self.call("/jwks")[1]["keys"]
        return next((key for key in keys if key["kid"] == kid), None)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.folder.cleanup()
        return code


def header(token):
    return json.loads(unb64(token.split(".")[0]))


def claims(token):
    return json.loads(unb64(token.split(".")[1]))


class TestIdp(unittest.TestCase):
    def setUp(self):
        self.idp = Idp()
        self.addCleanup(self.stop)

    def stop(self):
        self.assertEqual(self.idp.stop(), 0)

    def test_discovery(self):
        status, doc = self.idp.call("/.well-known/openid-configuration")
        self.assertEqual(status, 200)
        for member in ("issuer", "token_endpoint", "jwks_uri"):
            self.assertEqual(doc[member], self.idp.ready[member])

    def test_introspection_and_revocation(self):
        def ask(path, token, secret="s:e&cret"):
            form = {"token": token, "client_id": "bob", "client_secret": secret}
            return self.idp.call(path, urllib.parse.urlencode(form))

        token = self.idp.token()[1]["access_token"]
        self.assertEqual(ask("/introspect", token), (200, {"active": True}))
        self.assertEqual(ask("/introspect", self.idp.sign()), (200, {"active": True}))
        self.assertEqual(ask("/introspect", self.idp.sign(tamper=True)), (200, {"active": False}))
        self.assertEqual(ask("/introspect", token + "x"), (200, {"active": False}))
        self.assertEqual(ask("/introspect", token, "wrong")[0], 401)
        self.assertEqual(ask("/revoke", token, "wrong")[0], 401)
        self.assertEqual(ask("/introspect", token), (200, {"active": True}))
        self.assertEqual(ask("/revoke", token)[0], 200)
        self.assertEqual(ask("/introspect", token), (200, {"active": False}))
        short = self.idp.token(lifetime_s=1)[1]["access_token"]
        time.sleep(1.1)
        self.assertEqual(ask("/introspect", short), (200, {"active": False}))
        self.idp.call("/admin/outage", {"introspect": "garbage"})
        with self.assertRaises(ValueError):
            ask("/introspect", token)

    def test_every_algorithm_verifies_against_the_jwks(self):
        for alg in ("ES256", "ES384", "RS256", "PS256", "EdDSA"):
            with self.subTest(alg):
                status, answer = self.idp.token(alg=alg)
                self.assertEqual(status, 200)
                token = answer["access_token"]
                self.assertEqual(header(token)["alg"], alg)
                self.assertEqual(header(token)["typ"], "JWT")
                jwk = self.idp.jwk(header(token)["kid"])
                self.assertEqual((jwk["alg"], jwk["use"]), (alg, "sig"))
                self.assertTrue(verifies(token, jwk))
                self.assertNotIn("d", jwk)
                signed = self.idp.sign(alg=alg)
                self.assertTrue(verifies(signed, self.idp.jwk(header(signed)["kid"])))
                self.assertFalse(verifies(self.idp.sign(alg=alg, tamper=True), jwk))

    def test_fixed_width_signatures(self):
        """A short r or s is padded: 1 in 128 signatures has one."""
        _, answer = self.idp.token(alg="ES256")
        jwk = self.idp.jwk(header(answer["access_token"])["kid"])
        for _ in range(400):
            token = self.idp.sign(alg="ES256")
            self.assertEqual(len(unb64(token.split(".")[2])), 64)
        self.assertTrue(verifies(token, jwk))

    def test_claims_of_a_client(self):
        before = int(time.time())
        got = claims(self.idp.token(lifetime_s="60")[1]["access_token"])
        self.assertEqual(got["iss"], self.idp.ready["issuer"])
        self.assertEqual((got["sub"], got["client_id"], got["aud"]), ("partner-bob", "bob", "sluice"))
        self.assertEqual(got["transfer"], "transfer-4711")
        self.assertEqual(got["exp"] - got["iat"], 60)
        self.assertLessEqual(abs(got["iat"] - before), 2)
        self.assertRegex(got["jti"], "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        other = claims(self.idp.token()[1]["access_token"])
        self.assertNotEqual(got["jti"], other["jti"])

    def test_typ_and_lifetime_of_a_client(self):
        status, answer = self.idp.token("typed", "x")
        self.assertEqual((status, answer["expires_in"]), (200, 7))
        token = answer["access_token"]
        self.assertEqual(header(token)["typ"], "at+jwt")
        self.assertTrue(verifies(token, self.idp.jwk(header(token)["kid"])))

    def test_basic_credentials_are_form_encoded_inside(self):
        pair = "bob:" + urllib.parse.quote("s:e&cret", safe="")
        basic = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        status, answer = self.idp.call("/token", "grant_type=client_credentials", headers=basic)
        self.assertEqual((status, answer["token_type"]), (200, "Bearer"))

    def test_refusals(self):
        self.assertEqual(self.idp.token(secret="s:e&cres")[0], 401)
        self.assertEqual(self.idp.token(secret="")[0], 401)
        self.assertEqual(self.idp.token(client="nobody")[0], 401)
        self.assertEqual(self.idp.token(grant_type="password")[1]["error"], "unsupported_grant_type")
        self.assertEqual(self.idp.token(alg="none")[0], 400)
        self.assertEqual(self.idp.token(alg="HS256")[0], 400)
        self.assertEqual(self.idp.token(lifetime_s="-1")[0], 400)
        self.assertEqual(self.idp.call("/token")[0], 405)
        for bad in ("Basic", "Basic !", "Basic " + "A" * 4000, "Basic " + base64.b64encode(b"bob").decode()):
            status, _ = self.idp.call("/token", "grant_type=client_credentials", headers={"Authorization": bad})
            self.assertEqual(status, 401, bad)
        self.assertEqual(self.idp.call("/admin/sign", "not json")[0], 400)
        self.assertEqual(self.idp.call("/admin/stats", headers={"Origin": "http://evil"})[0], 404)

    def test_bad_tokens_on_request(self):
        idp = self.idp
        none = idp.sign(alg="none")
        self.assertEqual((header(none)["alg"], none.split(".")[2]), ("none", ""))

        confused = idp.sign(alg="HS256")
        pem = next(k["pem"] for k in idp.call("/admin/keys")[1]["keys"] if k["kid"] == header(confused)["kid"])
        want = hmac.new(pem.encode(), confused.rsplit(".", 1)[0].encode(), hashlib.sha256).digest()
        self.assertEqual(unb64(confused.split(".")[2]), want)

        mislabelled = idp.sign(alg="ES384", sign_alg="ES256")
        self.assertEqual((header(mislabelled)["alg"], len(unb64(mislabelled.split(".")[2]))), ("ES384", 64))

        shaped = idp.sign(kid=None, typ=None, header={"crit": ["x"]}, claims={"exp": None, "aud": ["a", "sluice"]})
        self.assertEqual(header(shaped), {"alg": "ES256", "crit": ["x"]})
        self.assertNotIn("exp", claims(shaped))
        self.assertEqual(claims(shaped)["aud"], ["a", "sluice"])

        raw = idp.sign(header_raw='{"alg":"ES256","alg":"none"}', claims_raw='{"exp":1,"exp":"2"}')
        self.assertEqual(unb64(raw.split(".")[1]), b'{"exp":1,"exp":"2"}')
        self.assertEqual(claims(idp.sign(defaults=False, claims={"a": 1})), {"a": 1})

        status, _ = idp.call("/admin/sign", {"alg": "RS256", "key": header(shaped).get("kid", "no-such-kid")})
        self.assertEqual(status, 400)

    def test_rotation_keeps_the_old_key_for_a_while(self):
        old = header(self.idp.token()[1]["access_token"])["kid"]
        new = self.idp.call("/admin/rotate", {"keep_s": 1})[1]["kid"]
        self.assertNotEqual(old, new)
        self.assertEqual(header(self.idp.token()[1]["access_token"])["kid"], new)
        self.assertIsNotNone(self.idp.jwk(old))
        deadline = time.monotonic() + 5
        while self.idp.jwk(old) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertIsNone(self.idp.jwk(old))
        self.assertIsNotNone(self.idp.jwk(new))
        self.assertEqual(header(self.idp.sign(kid=old))["kid"], old)

    def test_keys_by_hand(self):
        idp = self.idp
        self.assertEqual(idp.call("/admin/keys", {"alg": "RS256", "kid": "hidden", "published": False})[0], 200)
        self.assertEqual(idp.call("/admin/keys", {"alg": "RS256", "kid": "hidden"})[0], 409)
        self.assertIsNone(idp.jwk("hidden"))
        self.assertEqual(header(idp.sign(alg="RS256", kid="hidden"))["kid"], "hidden")
        self.assertEqual(idp.call("/admin/keys/hidden", method="DELETE")[0], 200)
        self.assertEqual(idp.call("/admin/keys/hidden", method="DELETE")[0], 404)
        made = {"keys": [{"kty": "oct", "k": "AA"}]}
        self.assertEqual(idp.call("/admin/jwks", made)[0], 200)
        self.assertEqual(idp.call("/jwks")[1], made)
        idp.call("/admin/jwks", {})
        self.assertEqual(idp.call("/jwks")[1]["keys"][0]["kty"], "EC")
        for _ in range(100):
            self.assertEqual(idp.call("/admin/keys", {"alg": "EdDSA", "published": False})[0], 200)
        self.assertLessEqual(len(idp.call("/admin/keys")[1]["keys"]), 64)

    def test_clients_by_hand(self):
        entry = {"client_id": "eve", "client_secret": "e", "claims": {"aud": ["x", "y"]}, "alg": "EdDSA"}
        self.assertEqual(self.idp.call("/admin/clients", entry)[0], 200)
        token = self.idp.token("eve", "e")[1]["access_token"]
        self.assertEqual((header(token)["alg"], claims(token)["aud"]), ("EdDSA", ["x", "y"]))
        self.assertEqual(self.idp.call("/admin/clients", {"client_id": "eve"})[0], 400)
        self.assertEqual(self.idp.call("/admin/clients", {**entry, "alg": "none"})[0], 400)
        self.assertEqual(self.idp.call("/admin/clients/eve", method="DELETE")[0], 200)
        self.assertEqual(self.idp.token("eve", "e")[0], 401)

    def test_outages_and_counters(self):
        idp = self.idp
        self.assertEqual(idp.call("/admin/outage", {"jwks": True})[1], {"discovery": "up", "jwks": "error", "token": "up",
                                   "introspect": "up", "revoke": "up"})
        self.assertEqual(idp.call("/jwks")[0], 503)
        self.assertEqual(idp.token()[0], 200)
        idp.call("/admin/outage", {"jwks": "hang"})
        with self.assertRaises(TimeoutError):
            idp.call("/jwks", timeout=0.3)
        idp.call("/admin/outage", {"jwks": "drop"})
        with self.assertRaises(Exception):
            idp.call("/jwks", timeout=3)
        for mode in ("garbage", "huge"):
            idp.call("/admin/outage", {"jwks": mode})
            with self.assertRaises(ValueError):
                idp.call("/jwks")
        idp.call("/admin/outage", {"jwks": "redirect"})
        self.assertEqual(idp.call("/jwks")[0], 404)
        self.assertEqual(idp.call("/admin/outage", {"jwks": "nonsense"})[0], 400)
        idp.call("/admin/outage", {"jwks": False})
        self.assertEqual(idp.call("/jwks")[0], 200)
        stats = idp.call("/admin/stats")[1]
        self.assertEqual(stats["requests"], {"discovery": 0, "jwks": 7, "token": 1,
                                             "introspect": 0, "revoke": 0})
        self.assertEqual(stats["tokens_issued"], 1)


class TestStart(unittest.TestCase):
    def test_only_loopback_unless_told(self):
        done = subprocess.run(
            [B / "demo-idp", "--listen", "0.0.0.0:0"], capture_output=True, timeout=10, check=False
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"loopback", done.stderr)


if __name__ == "__main__":
    unittest.main()
