"""The ACL listener against Kafka's own admin clients: what they create lets a consumer in, what they
delete has cut it off before they hear so."""

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import confluent_kafka
import confluent_kafka.admin as admin
import pytest

import clients
import parts
import wire
from pki import openssl
from processes import Process, free_port, wait_for

BIG = "acl-big"
TOPIC = "serial-parts"
USER, PASSWORD = "edc", "a password, with = and ,"


def listener(authority, directory, port, **more):
    """The options of acl_listener; its certificate serves 127.0.0.1."""
    directory.mkdir(parents=True, exist_ok=True)
    secret = directory / "acl-password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    pair = authority.issue(f"acl-{port}", addresses=["127.0.0.1"], names=["localhost"])
    return {"acl_listener": {
        "listen": f"127.0.0.1:{port}",
        "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        "users": [{"name": USER, "password_file": str(secret)}]} | more}


@pytest.fixture(scope="module")
def gate(make_gate, workspace, authority, cluster, serial_parts):
    cluster.create_topic(BIG, 3)
    producer = confluent_kafka.Producer({"bootstrap.servers": ",".join(cluster.bootstrap()),
                                         "linger.ms": 50, "batch.size": 1_000_000})
    for i in range(3000):
        producer.produce(BIG, bytes(4000), partition=i % 3)
        producer.poll(0)
    assert producer.flush(60) == 0
    port = free_port()
    made = make_gate("acl", tapped=False,
                     config=listener(authority, workspace / "acl-secrets", port))
    made.acl_port = port
    made.hide(PASSWORD)
    return made


def java_settings(gate, mechanism="SCRAM-SHA-512", password=PASSWORD):
    login = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
    return {"bootstrap.servers": f"127.0.0.1:{gate.acl_port}", "security.protocol": "SASL_SSL",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": gate.authority.certificate,
            "sasl.mechanism": mechanism, "request.timeout.ms": 15000,
            "default.api.timeout.ms": 20000,
            "sasl.jaas.config": f"org.apache.kafka.common.security.{login} required "
                                f"username=\"{USER}\" password=\"{password}\";"}


class Asker:
    """Kafka's own AdminClient as a running program: one request, one line."""

    def __init__(self, directory, settings, libs=parts.KAFKA):
        name = f"asker-{free_port()}"
        file = directory / f"{name}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._process = Process(parts.java("Acls", file, libs=libs), directory / f"{name}.out",
                                stdin=subprocess.PIPE)
        self._count = 0

    def post(self, *words):
        self._process.stdin.write(("\t".join(words) + "\n").encode())
        self._process.stdin.flush()
        self._count += 1

    def answer(self, pause_s=0.05):
        """The answer to the last request: ["ok", count] or ["error", class, message]."""
        def there():
            assert self._process.running(), self._process.output()
            lines = [line.split("\t") for line in self._process.output().splitlines()
                     if line.split("\t")[0] in ("ok", "error")]
            return lines[self._count - 1] if len(lines) >= self._count else None
        return wait_for(there, 40, "an answer of the admin client", pause_s)

    def ask(self, *words):
        self.post(*words)
        return self.answer()

    def close(self):
        self._process.stop()


@pytest.fixture
def asker(gate, workspace):
    made = Asker(workspace, java_settings(gate))
    yield made
    made.close()


@pytest.fixture
def name():
    """A subject and group prefix of this case's own."""
    return clients.new_group("acl")


def group_error(connection, group):
    """What a question about the group's offsets is answered with, its coordinator once found."""
    def answered():
        answer = connection.ask("OffsetFetch", 7, {"GroupId": group, "Topics": None})
        return None if answer["ErrorCode"] in (14, 15, 16) else [answer["ErrorCode"]]
    return wait_for(answered, 20, "the group's coordinator", 0.2)[0]


def stays_out(gate, token):
    assert gate.login_error(token) == 58


# --- Kafka's own clients

CLIENTS = {"4.3": parts.KAFKA, "3.9": parts.KAFKA39}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("version", CLIENTS)
def test_a_transfer(version, mechanism, gate, workspace, name):
    """Start, again, suspend, again, resume with the same token, terminate."""
    asker = Asker(workspace, java_settings(gate, mechanism), CLIENTS[version])
    token = gate.token(name)
    try:
        stays_out(gate, token)
        for _ in range(2):
            assert asker.ask("create", name, TOPIC, name) == ["ok", "3"]
            assert asker.ask("describe", name) == ["ok", "4"]
            assert gate.login_error(token) == 0
        for _ in range(2):
            assert asker.ask("delete", name, TOPIC, name)[0] == "ok"
            assert asker.ask("describe", name) == ["ok", "0"]
            stays_out(gate, token)
        assert asker.ask("create", name, TOPIC, name) == ["ok", "3"]
        assert gate.login_error(token) == 0, "a resume gives the same token its rights back"
        assert asker.ask("delete", name, TOPIC, name) == ["ok", "3"]
        stays_out(gate, token)
    finally:
        asker.close()
    gate.wait_audit("auth_ok", mechanism, USER)
    assert gate.wait_audit("\"grant\"", name)["status_detail"] == USER
    gate.wait_audit("\"revocation\"", name)


def test_rights_are_those_that_were_named(gate, asker, name):
    assert asker.ask("create", name, TOPIC, name) == ["ok", "3"]
    with gate.wire(gate.token(name)) as connection:
        answer = connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}, {"Name": BIG}]})
        assert {t["Name"]: t["ErrorCode"] for t in answer["Topics"]} == {TOPIC: 0, BIG: 29}
        for group, error in ((name, 0), (f"{name}-1", 0), ("other", 30)):
            assert group_error(connection, group) == error, group
    stays_out(gate, gate.token(f"{name}2"))
    asker.ask("delete", name, TOPIC, name)


@pytest.mark.parametrize("topic, prefix", [
    ("*", "bob"), ("", "bob"), ("a b", "bob"), ("__consumer_offsets", "bob"), (TOPIC, "*"),
    ("x" * 10_000, "bob"), (TOPIC, "x" * 10_000)])
def test_refusals_reach_the_client(topic, prefix, gate, asker, name):
    answer = asker.ask("create", name, topic, prefix)
    assert answer[0] == "error" and answer[1] in ("InvalidRequestException",
                                                  "IllegalArgumentException"), answer
    asker.ask("delete", name, TOPIC, prefix or "bob")


# --- how fast it shuts

class Stream(threading.Thread):
    """A client that fetches without pause."""

    def __init__(self, gate, token):
        super().__init__(daemon=True)
        self.wire = gate.wire(token)
        self.answers, self.closed = 0, None

    def run(self):
        with contextlib.suppress(OSError):
            try:
                while True:
                    answer = self.wire.ask("Fetch", 12, wire.fetch_body(
                        BIG, {p: 0 for p in range(3)}, 100, partition_bytes=200_000))
                    assert answer["ErrorCode"] == 0
                    self.answers += 1
            except wire.Closed as closed:
                self.closed = closed


@pytest.mark.parametrize("version", CLIENTS)
def test_sockets_are_shut_before_the_answer(version, gate, workspace, name):
    """Not a byte arrives after the client's future has come true: of streams, of a parked fetch,
    of one that is half read."""
    asker = Asker(workspace, java_settings(gate), CLIENTS[version])
    token = gate.token(name)
    assert asker.ask("create", name, BIG, name) == ["ok", "3"]
    asker.ask("describe", name)  # the program is warm
    other = clients.new_group("acl")
    assert asker.ask("create", other, BIG, other) == ["ok", "3"]
    streams = [Stream(gate, token) for _ in range(8)]
    spared = Stream(gate, gate.token(other))
    parked, slow = gate.wire(token), gate.wire(token, receive_bytes=8192)
    try:
        for stream in [*streams, spared]:
            stream.start()
        parked.post("Fetch", 12, wire.fetch_body(BIG, {0: 1000}, 60_000))
        slow.post("Fetch", 12, wire.fetch_body(BIG, {p: 0 for p in range(3)}, 100,
                                               partition_bytes=4 << 20))
        slow.receive_exactly(1000)
        wait_for(lambda: all(s.answers > 2 for s in [*streams, spared]), 30, "the streams run")
        asker.post("delete", name, BIG, name)
        assert asker.answer(0.002) == ["ok", "3"]
        hit = [*(s.wire for s in streams), parked, slow]
        before = [w.bytes_received() for w in hit]
        counted = spared.answers
        time.sleep(1)
        assert [w.bytes_received() for w in hit] == before
        for stream in streams:
            stream.join(5)
            assert stream.closed is not None
        parked.wait_closed(2)
        slow.wait_closed(2)
        wait_for(lambda: spared.answers > counted + 2, 20, "the other one goes on")
    finally:
        asker.ask("delete", other, BIG, other)
        asker.close()
        for stream in [*streams, spared]:
            stream.join(5)
            stream.wire.close()
        parked.close()
        slow.close()
    stays_out(gate, token)


def test_a_real_consumer_is_cut_and_comes_back(gate, asker, doors, name):
    """Suspend and resume under a Java consumer: refused in between, and the same token works
    again afterwards."""
    assert asker.ask("create", name, BIG, name) == ["ok", "3"]
    token = gate.token(name, ttl_s=600)
    door = doors(gate, name, token=token)
    follower = clients.Follower(door, BIG, f"{name}-java", flags=("commit", "quiet"))
    try:
        wait_for(follower.records, 40, "the consumer reads")
        assert asker.ask("delete", name, BIG, name)[0] == "ok"
        assert not [s for s in gate.sessions() if s["subject"] == name]
        wait_for(lambda: follower.lines("error"), 30, "the consumer is told")
        assert follower.lines("error")[0][0] == "SaslAuthenticationException"
    finally:
        follower.kill()
    assert asker.ask("create", name, BIG, name) == ["ok", "3"]
    again = clients.Follower(door, BIG, f"{name}-java", flags=("commit", "quiet"))
    try:
        wait_for(again.records, 40, "the consumer reads again")
    finally:
        again.kill()
        asker.ask("delete", name, BIG, name)


def test_another_transfer_of_the_subject_stays_up(gate, asker, name):
    """Two topics with one prefix, as of one consumer's two transfers: the end of the one leaves
    the other with its topic and its groups."""
    assert asker.ask("create", name, BIG, name) == ["ok", "3"]
    assert asker.ask("create", name, TOPIC, name) == ["ok", "3"]
    assert asker.ask("delete", name, BIG, name)[0] == "ok"
    with gate.wire(gate.token(name)) as connection:
        answer = connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}, {"Name": BIG}]})
        assert {t["Name"]: t["ErrorCode"] for t in answer["Topics"]} == {TOPIC: 0, BIG: 29}
        assert group_error(connection, name) == 0
        assert asker.ask("delete", name, TOPIC, name)[0] == "ok"
        connection.wait_closed(2)


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_it_outlives_a_restart(how, gate, asker, name):
    """What was created is there, what was deleted is gone, even after an end without farewell."""
    gone = clients.new_group("acl")
    for subject in (name, gone):
        assert asker.ask("create", subject, TOPIC, subject) == ["ok", "3"]
    assert asker.ask("delete", gone, TOPIC, gone)[0] == "ok"
    gate.restart(kill=how == "killed")
    assert gate.login_error(gate.token(name)) == 0
    stays_out(gate, gate.token(gone))
    assert asker.ask("describe", name) == ["ok", "4"]
    assert asker.ask("describe", gone) == ["ok", "0"]
    assert asker.ask("delete", name, TOPIC, name) == ["ok", "3"]
    stays_out(gate, gate.token(name))


# --- other admin clients

def kafka_acls(gate, workspace, *words):
    """Kafka's own kafka-acls.sh."""
    file = workspace / f"kafka-acls-{free_port()}.properties"
    file.write_text("".join(f"{k}={v}\n" for k, v in java_settings(gate).items()))
    return clients.run(parts.java("org.apache.kafka.tools.AclCommand", "--bootstrap-server",
                                  f"127.0.0.1:{gate.acl_port}", "--command-config", file, *words))


def test_kafka_acls(gate, workspace, name):
    who = ("--allow-principal", f"User:{name}")
    ran = kafka_acls(gate, workspace, "--add", *who, "--operation", "Read", "--operation",
                     "Describe", "--topic", TOPIC)
    assert ran.status == 0 and "operation=READ" in ran.text, ran.text
    ran = kafka_acls(gate, workspace, "--add", *who, "--operation", "Read", "--group", name,
                     "--resource-pattern-type", "prefixed")
    assert ran.status == 0, ran.text
    token = gate.token(name)
    with gate.wire(token) as connection:  # two halves that came apart
        answer = connection.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
        assert answer["Topics"][0]["ErrorCode"] == 0
        assert group_error(connection, name) == 0
    ran = kafka_acls(gate, workspace, "--list")
    assert ran.status == 0 and f"User:{name}" in ran.text, ran.text
    ran = kafka_acls(gate, workspace, "--list", "--topic", TOPIC)
    assert f"User:{name}" in ran.text and "GROUP" not in ran.text
    ran = kafka_acls(gate, workspace, "--add", "--allow-principal", f"User:{name}", "--operation",
                     "All", "--topic", TOPIC)
    assert ran.status != 0 or "are granted here" in ran.text, ran.text
    ran = kafka_acls(gate, workspace, "--remove", "--force", *who, "--operation", "Read", "--topic",
                     TOPIC)
    assert ran.status == 0, ran.text
    ran = kafka_acls(gate, workspace, "--remove", "--force", "--group", name,
                     "--resource-pattern-type", "prefixed")
    assert ran.status == 0, ran.text
    stays_out(gate, token)


def confluent(gate):
    return admin.AdminClient({
        "bootstrap.servers": f"127.0.0.1:{gate.acl_port}", "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(gate.authority.certificate), "sasl.mechanisms": "SCRAM-SHA-256",
        "sasl.username": USER, "sasl.password": PASSWORD, "log_level": 2})


def allow(kind, resource, pattern, subject, operation):
    return (kind, resource, pattern, f"User:{subject}", "*", operation,
            admin.AclPermissionType.ALLOW)


def test_confluent(gate, name):
    client = confluent(gate)
    wanted = [
        allow(admin.ResourceType.TOPIC, TOPIC, admin.ResourcePatternType.LITERAL, name,
              admin.AclOperation.READ),
        allow(admin.ResourceType.GROUP, name, admin.ResourcePatternType.PREFIXED, name,
              admin.AclOperation.READ)]
    bad = allow(admin.ResourceType.TOPIC, TOPIC, admin.ResourcePatternType.PREFIXED, name,
                admin.AclOperation.READ)
    futures = client.create_acls([admin.AclBinding(*w) for w in [*wanted, bad]],
                                 request_timeout=20)
    for binding, future in futures.items():
        if binding.resource_pattern_type == admin.ResourcePatternType.PREFIXED \
                and binding.restype == admin.ResourceType.TOPIC:
            with pytest.raises(confluent_kafka.KafkaException) as refused:
                future.result(20)
            assert refused.value.args[0].code() == 42
        else:
            assert future.result(20) is None
    token = gate.token(name)
    assert gate.login_error(token) == 0
    found = client.describe_acls(admin.AclBindingFilter(
        admin.ResourceType.ANY, None, admin.ResourcePatternType.ANY, f"User:{name}", None,
        admin.AclOperation.ANY, admin.AclPermissionType.ANY), request_timeout=20).result(20)
    assert {(b.restype.name, b.name, b.operation.name) for b in found} == {
        ("TOPIC", TOPIC, "READ"), ("TOPIC", TOPIC, "DESCRIBE"),
        ("GROUP", name, "READ"), ("GROUP", name, "DESCRIBE")}
    with gate.wire(token) as connection:
        futures = client.delete_acls([admin.AclBindingFilter(*w) for w in wanted],
                                     request_timeout=20)
        for future in futures.values():
            assert len(future.result(20)) == 1
        connection.wait_closed(2)
    stays_out(gate, token)


def test_what_is_not_offered(gate, name):
    """The listener is no way to the cluster: it has no topics and takes no other request."""
    client = confluent(gate)
    found = client.list_topics(timeout=20)
    assert found.topics == {} and len(found.brokers) == 1
    with pytest.raises(confluent_kafka.KafkaException):
        client.create_topics([admin.NewTopic(name, 1)], request_timeout=3)[name].result(10)


# --- who may ask

def test_a_wrong_password(gate, workspace, name):
    asker = Asker(workspace, java_settings(gate, password="not the password"))
    since = len(gate.audit())
    try:
        start = time.monotonic()
        answer = asker.ask("create", name, TOPIC, name)
        assert answer[:2] == ["error", "SaslAuthenticationException"], answer
        assert time.monotonic() - start >= 1
    finally:
        asker.close()
    gate.wait_audit("auth_fail", USER, "SCRAM-SHA-512", since=since)
    stays_out(gate, gate.token(name))


def test_no_login_no_answer(gate, authority):
    for api, version, body in (("Metadata", 9, {"Topics": None}),
                               ("DescribeAcls", 3, {"ResourceTypeFilter": 1, "Operation": 1,
                                                    "PermissionType": 1, "PatternTypeFilter": 1})):
        with wire.Wire("127.0.0.1", gate.acl_port, authority.certificate) as connection:
            connection.post(api, version, body)
            assert connection.wait_closed(5)[0] == b""
    with wire.Wire("127.0.0.1", gate.acl_port) as connection:  # no TLS
        with contextlib.suppress(wire.Closed):
            connection.send(b"\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff")
        assert b"\0\0\0\1" not in connection.wait_closed(5)[0][:8]


def test_strangers_keep_nobody_out(gate, asker, name):
    """Connections that never log in, from several addresses: the connector's still gets in."""
    idle = []
    try:
        for host in range(2, 6):
            for _ in range(12):
                raw = socket.socket()
                raw.bind((f"127.0.0.{host}", 0))
                raw.settimeout(5)
                raw.connect(("127.0.0.1", gate.acl_port))
                idle.append(raw)
        assert asker.ask("create", name, TOPIC, name) == ["ok", "3"]
        assert asker.ask("delete", name, TOPIC, name)[0] == "ok"
    finally:
        for raw in idle:
            raw.close()


def test_client_certificates(make_gate, workspace, authority, cluster, serial_parts, name):
    """Without users the certificate's subject is the login, and only those on the list."""
    port = free_port()
    options = listener(authority, workspace / "acl-mtls", port)
    pairs = {who: authority.issue(f"{who}-{port}") for who in ("edc", "stranger")}
    options["acl_listener"]["tls"] |= {"client_ca": str(authority.certificate),
                                       "client_subjects": [f"CN=edc-{port}"]}
    del options["acl_listener"]["users"]
    gate = make_gate("acl-mtls", tapped=False, config=options)
    gate.acl_port = port
    base = {"bootstrap.servers": f"127.0.0.1:{port}", "security.protocol": "SSL",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.certificate,
            "request.timeout.ms": 3000, "default.api.timeout.ms": 5000, "retries": 1}

    def asked(**more):
        asker = Asker(workspace, base | {k.replace("_", "."): v for k, v in more.items()})
        try:
            return asker.ask("create", name, TOPIC, name)
        finally:
            asker.close()
    assert asked()[0] == "error"
    assert asked(ssl_keystore_type="PEM",
                 ssl_keystore_location=pairs["stranger"].both)[0] == "error"
    gate.wait_audit("auth_fail", f"CN=stranger-{port}")
    stays_out(gate, gate.token(name))
    assert asked(ssl_keystore_type="PEM", ssl_keystore_location=pairs["edc"].both) == ["ok", "3"]
    assert gate.login_error(gate.token(name)) == 0
    gate.wait_audit("auth_ok", f"CN=edc-{port}")


def test_a_reload_changes_who_may_ask(make_gate, workspace, authority, cluster, serial_parts, name):
    port = free_port()
    directory = workspace / "acl-reload"
    gate = make_gate("acl-reload", tapped=False, config=listener(authority, directory, port))
    gate.acl_port = port
    client = wire.Wire("127.0.0.1", port, authority.certificate)
    with client:
        assert client.ask("SaslHandshake", 1, {"Mechanism": "PLAIN"})["ErrorCode"] == 0
        assert client.ask("SaslAuthenticate", 2, {
            "AuthBytes": b"\0" + USER.encode() + b"\0" + PASSWORD.encode()})["ErrorCode"] == 0
        (directory / "acl-password").write_text("quite another password")
        gate.reload()
        gate.wait_log("reload: /")
        client.wait_closed(5)
    asker = Asker(workspace, java_settings(gate))
    try:
        assert asker.ask("describe", name)[:2] == ["error", "SaslAuthenticationException"]
    finally:
        asker.close()
    asker = Asker(workspace, java_settings(gate, password="quite another password"))
    try:
        assert asker.ask("describe", name) == ["ok", "0"]
    finally:
        asker.close()


# --- with tokens of our own

def test_one_subject_a_transfer(make_gate, workspace, authority, cluster, serial_parts):
    """What an unmodified tractusx-edc does: a token from sluice's own token endpoint, ACLs for its
    subject, the end of them, the revocation of the token."""
    port, signaling = free_port(), free_port()
    directory = workspace / "acl-own"
    config = listener(authority, directory, port)
    secret, client = directory / "path-secret", directory / "client-secret"
    secret.write_text("a-path-secret-of-some-length")
    client.write_text("a client secret of some length")
    tls = config["acl_listener"]["tls"]
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
            directory / "signing.pem")
    config |= {
        "issuers": [{"issuer": "https://edge.example.com", "audience": "sluice",
                     "signing_keys": [str(directory / "signing.pem")]}],
        "signaling": {"listen": f"127.0.0.1:{signaling}", "tls": tls,
                      "path_secret_file": str(secret)},
        "tokens": {"clients": [{"id": "edc", "secret_file": str(client)}]}}
    gate = make_gate("acl-own", tapped=False, config=config)
    gate.acl_port = port
    trust = ssl.create_default_context(cafile=str(authority.certificate))

    def form(path, **fields):
        body = urllib.parse.urlencode(fields | {"client_id": "edc",
                                                "client_secret": client.read_text()}).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{signaling}{path}", body)
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
            return answer.status, answer.read()

    tokens = [json.loads(form("/oauth2/token", grant_type="client_credentials")[1])["access_token"]
              for _ in range(2)]
    subjects = [json.loads(base64.urlsafe_b64decode(t.split(".")[1] + "=="))["sub"] for t in tokens]
    assert subjects[0] != subjects[1]
    asker = Asker(workspace, java_settings(gate))
    try:
        for subject in subjects:
            assert asker.ask("create", subject, TOPIC, "bob") == ["ok", "3"]
        assert [gate.login_error(t) for t in tokens] == [0, 0]
        with gate.wire(tokens[0]) as hit, gate.wire(tokens[1]) as spared:
            assert asker.ask("delete", subjects[0], TOPIC, "bob") == ["ok", "3"]
            hit.wait_closed(2)
            spared.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
            # A, after its end and with its token alive, does not read under B's grant.
            assert [gate.login_error(t) for t in tokens] == [58, 0]
            assert asker.ask("create", subjects[0], TOPIC, "bob") == ["ok", "3"]
            assert gate.login_error(tokens[0]) == 0, "a resume"
            assert asker.ask("delete", subjects[0], TOPIC, "bob") == ["ok", "3"]
            assert form("/oauth2/revoke", token=tokens[0])[0] == 200
            assert asker.ask("create", subjects[0], TOPIC, "bob") == ["ok", "3"]
            assert gate.login_error(tokens[0]) == 58, "what was revoked stays so"
            spared.ask("Metadata", 9, {"Topics": [{"Name": TOPIC}]})
    finally:
        asker.close()
