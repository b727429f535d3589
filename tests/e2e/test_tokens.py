"""Which tokens let a client in, and with which rights; each refusal stands in the audit."""

import base64
import hashlib
import hmac
import json
import time

import pytest

import gate as gates
import wire
from pki import b64url

REFUSED = 58  # SASL_AUTHENTICATION_FAILED


@pytest.fixture(scope="module")
def gate(make_gate, idp, serial_parts, other_topic):
    for algorithm in ("ES384", "PS256", "RS256", "EdDSA"):
        idp.add_key(algorithm, f"tokens-{algorithm}")
    idp.add_key("ES256", "never-published", publish=False)
    return make_gate("tokens", grants=[
        gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
        gates.grant("more-bob", "bob", ["other-parts"], "bob-2"),
        gates.grant("later", "bob", ["serial-parts"], "bob", not_before=int(time.time()) + 3600),
    ], config={"issuers": [{
        "issuer": idp.issuer, "audience": ["sluice", "gate"], "discovery": True,
        "shared_subjects": False,
        "claims": {"transfer": "transfer", "participant": "participant", "topics": "rights.topics",
                   "group_prefix": "rights.group_prefix", "operations": "rights.operations"}}]})


def topics_of(gate, token):
    with gate.wire(token) as connection:
        return [t["Name"] for t in connection.ask("Metadata", 4, {"Topics": None})["Topics"]]


def hs256_with_public_key(gate):
    """The classic confusion: the public key taken as an HMAC secret."""
    from pki import openssl
    pem = openssl("pkey", "-in", gate.idp.keys["tokens-RS256"].file, "-pubout")
    now = int(time.time())
    text = ".".join(b64url(json.dumps(part).encode()) for part in (
        {"alg": "HS256", "kid": "tokens-RS256", "typ": "JWT"},
        {"iss": gate.idp.issuer, "aud": "sluice", "sub": "bob", "iat": now, "exp": now + 600}))
    return f"{text}.{b64url(hmac.new(pem, text.encode(), hashlib.sha256).digest())}"


def tampered(token):
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["sub"] = "alice"
    return f"{head}.{b64url(json.dumps(claims).encode())}.{signature}"


def unsigned(gate):
    now = int(time.time())
    parts = [{"alg": "none"}, {"iss": gate.idp.issuer, "aud": "sluice", "sub": "bob",
                               "exp": now + 600}]
    return ".".join(b64url(json.dumps(part).encode()) for part in parts) + "."


BAD = {
    "expired": lambda g: g.token(ttl_s=-120, now=time.time() - 60),
    "not yet": lambda g: g.token(nbf=int(time.time()) + 600),
    "no exp": lambda g: g.token(drop=["exp"]),
    "exp as text": lambda g: g.token(exp=str(int(time.time()) + 600)),
    "exp as real": lambda g: g.token(exp=time.time() + 600.5),
    "other issuer": lambda g: g.token(iss="https://elsewhere.example"),
    "issuer with a slash": lambda g: g.token(iss=g.idp.issuer + "/"),
    "other audience": lambda g: g.token(aud="kafka"),
    "audience as part": lambda g: g.token(aud="sluice-2"),
    "no audience": lambda g: g.token(drop=["aud"]),
    "no subject granted": lambda g: g.token("nobody"),
    "wrong signature": lambda g: tampered(g.token()),
    "signature and more": lambda g: g.token() + "!!!!",
    "unsigned": unsigned,
    "hs256": hs256_with_public_key,
    "rs256 not named": lambda g: g.token(kid="tokens-RS256"),
    "kid of another algorithm": lambda g: g.idp.sign(
        {"alg": "ES384", "kid": "e2e-1"},
        {"iss": g.idp.issuer, "aud": "sluice", "sub": "bob", "exp": int(time.time()) + 600},
        "tokens-ES384"),
    "crit": lambda g: g.token(header={"crit": ["b64"], "b64": False}),
    "typ": lambda g: g.token(header={"typ": "secevent+jwt"}),
    "unknown transfer": lambda g: g.token(transfer="no-such-transfer"),
    "another's transfer": lambda g: g.token("alice", transfer="read-bob"),
    "transfer not begun": lambda g: g.token(transfer="later"),
    "two parts": lambda g: g.token().rpartition(".")[0],
    "huge": lambda g: g.token(padding="x" * 20000),
    "rubbish": lambda g: "rubbish",
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name, gate):
    since = len(gate.audit())
    token = BAD[name](gate)
    with gate.wire(tapped=False) as connection:
        answer = connection.authenticate(token)
        assert answer["ErrorCode"] == REFUSED, answer
        assert answer["ErrorMessage"], "a client wants to know that it was refused"
        for secret in ("sub", "exp", "aud", "signature", "kid"):
            assert secret not in answer["ErrorMessage"].lower(), "but not why"
        connection.wait_closed()
    gate.wait_audit("127.0.0.1", since=since)


@pytest.mark.parametrize("kid", ["e2e-1", "tokens-ES384", "tokens-PS256", "tokens-EdDSA"])
def test_algorithms(kid, gate):
    assert gate.login_error(gate.token(kid=kid, transfer="read-bob")) == 0


def test_at_jwt_and_audience_list(gate):
    token = gate.token(header={"typ": "at+jwt"}, aud=["else", "gate"], transfer="read-bob")
    assert gate.login_error(token) == 0


def test_a_transfer_gets_its_grant_alone(gate):
    assert topics_of(gate, gate.token(transfer="read-bob")) == ["serial-parts"]
    assert topics_of(gate, gate.token(transfer="more-bob")) == ["other-parts"]


def test_a_subject_gets_the_union_where_subjects_are_not_shared(gate):
    assert sorted(topics_of(gate, gate.token())) == ["other-parts", "serial-parts"]


def test_rights_out_of_claims(gate):
    token = gate.token("stranger", transfer="t-claims", participant="did:web:stranger", rights={
        "topics": ["other-parts"], "group_prefix": "stranger", "operations": ["read"]})
    assert topics_of(gate, token) == ["other-parts"]
    with gate.wire(token) as connection:
        for group, code in (("stranger-1", 0), ("bob-1", 30)):
            answer = connection.ask("FindCoordinator", 1, {"Key": group, "KeyType": 0})
            assert answer["ErrorCode"] == code
    wrong = gate.token("stranger", transfer="t-wrong", rights={
        "topics": ["other-parts"], "group_prefix": "stranger", "operations": ["everything"]})
    assert gate.login_error(wrong) == REFUSED


def test_shared_subjects_need_a_transfer(make_gate, idp, serial_parts, other_topic):
    gate = make_gate("shared", tapped=False, issuer={"shared_subjects": True}, grants=[
        gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
        gates.grant("more-bob", "bob", ["other-parts"], "bob-2")])
    assert gate.login_error(gate.token()) == REFUSED
    assert topics_of(gate, gate.token(transfer="more-bob")) == ["other-parts"]


def test_key_rotation(gate, idp):
    """A new key is found without a restart; a withdrawn one no longer signs."""
    idp.add_key("ES256", "rotated")
    assert gate.login_error(gate.token(kid="rotated", transfer="read-bob"), timeout_s=15) == 0


def test_client_certificate_binding(make_gate, authority, serial_parts):
    """RFC 8705: a token bound to a certificate is worth nothing without it."""
    gate = make_gate("bound", tapped=False,
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    gate.config["tls"] |= {"client_ca": str(authority.certificate),
                           "client_certificate": "optional"}
    gate.restart()
    owner, other = authority.issue("owner"), authority.issue("other")
    token = gate.token(cnf={"x5t#S256": owner.thumbprint()})
    for pair, code in ((owner, 0), (other, REFUSED), (None, REFUSED)):
        context = wire.client_context(authority.certificate, pair)
        with gate.wire(context=context) as connection:
            assert connection.authenticate(token)["ErrorCode"] == code
    assert gate.login_error(gate.token()) == 0


def test_a_required_client_certificate(make_gate, authority, serial_parts):
    gate = make_gate("required", tapped=False, start=False,
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    gate.config["tls"] |= {"client_ca": str(authority.certificate),
                           "client_certificate": "required"}
    gate.start()
    with pytest.raises((OSError, wire.Closed)):
        with gate.wire() as connection:
            connection.ask("ApiVersions", 0)
    context = wire.client_context(authority.certificate, authority.issue("known"))
    with gate.wire(context=context) as connection:
        assert connection.authenticate(gate.token())["ErrorCode"] == 0


def test_group_separator(make_gate, serial_parts):
    gate = make_gate("separator", tapped=False, config={"group_separator": "-"},
                     grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])
    with gate.wire(gate.token()) as connection:
        for group, code in (("bob", 0), ("bob-1", 0), ("bobby", 30), ("bo", 30)):
            answer = connection.ask("FindCoordinator", 1, {"Key": group, "KeyType": 0})
            assert answer["ErrorCode"] == code, group
