"""sluice under test: its configuration, its start and its end, what it writes and tells."""

import http.client
import json
import os
import pathlib
import re
import signal
import string
import time
import urllib.error
import urllib.request

import parts
import tap as taps
import wire
from processes import Process, free_port, wait_for

# What a sanitizer says; one such line anywhere fails the case.
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|"
                       r"SUMMARY: \w+Sanitizer|Assertion .* failed|\*\*\* stack smashing")


def grant(identity, subject, topics, prefix, operations=("read",), issuer=None, **more):
    """One entry of `grants`; the issuer is filled in by the gate."""
    return {"id": identity, "principal": {"issuer": issuer, "subject": subject},
            "participant": f"did:web:{subject}", "topics": list(topics),
            "group_prefix": prefix, "operations": list(operations)} | more


class Gate:
    def __init__(self, directory, cluster, idp, authority, grants=(), tap=None, upstream=None,
                 config=None, issuer=None, brokers=None, findings=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cluster, self.idp, self.authority, self.tap = cluster, idp, authority, tap
        self.findings = findings
        self.host, self.port, self.control_port = "127.0.0.1", free_port(), free_port()
        self.advertised_port = free_port() if tap else self.port
        self.pair = authority.issue(f"gate-{self.port}", addresses=["127.0.0.1"],
                                    names=["localhost"])
        self.audit_file = self.directory / "audit.jsonl"
        self.log_file = self.directory / "sluice.log"
        self.config_file = self.directory / "sluice.yaml"
        self.process = None
        self._tapped = None
        self._secrets = []
        self.judge = None  # called with the whole trail at the end of each run
        self.started = False
        self._rights = {}  # grant -> (topics, group prefix), also of grants that are no more
        if findings is not None:
            findings.capture((self.host, self.advertised_port), self)
        self.config = {
            "listen": f"{self.host}:{self.port}",
            "advertise": f"{self.host}:{self.advertised_port}",
            "workers": 2,
            "development": True,
            "tls": {"certificate": str(self.pair.certificate), "key": str(self.pair.key)},
            "issuers": [{"issuer": idp.issuer, "audience": "sluice", "jwks_url": idp.jwks_url,
                         "shared_subjects": False, "claims": {"transfer": "transfer"}}
                        | (issuer or {})],
            "upstream": {"brokers": brokers or cluster.bootstrap("plaintext")}
                        | (upstream or {}),
            "grants": [self._fill(g) for g in grants],
            "control": {"listen": f"127.0.0.1:{self.control_port}"},
            "store": {"path": str(self.directory / "sluice.db")},
            "audit": {"file": str(self.audit_file)},
            "log": {"level": "debug"},
        } | (config or {})

    def _fill(self, entry):
        if entry["principal"].get("issuer") is None:
            entry = entry | {"principal": entry["principal"] | {"issuer": self.idp.issuer}}
        return entry

    # --- life

    def write_config(self):
        # JSON is a subset of YAML.
        self.config_file.write_text(json.dumps(self.config, indent=2))
        self._note_rights(self.config["grants"])

    def spawn(self):
        self.write_config()
        env = dict(os.environ)
        env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:exitcode=99:strict_string_checks=1"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:exitcode=99"
        env["TSAN_OPTIONS"] = "exitcode=99:halt_on_error=1"
        self.process = Process([parts.SLUICE, "run", "-c", self.config_file], self.log_file, env)

    def start(self, ready=True, timeout_s=20):
        self.spawn()
        self.started = True
        if ready:
            self.wait_ready(timeout_s)
        if self.tap and self._tapped is None:
            self._tapped = self.tap.open(self.advertised_port, (self.host, self.port), self.pair,
                                         self.authority.certificate)
        return self

    def wait_ready(self, timeout_s=20):
        def ready():
            self.must_run()
            return self.http("GET", "/readyz")[0] == 200
        wait_for(ready, timeout_s, "the gate is ready")

    def must_run(self):
        """Raises when sluice, once started, has ended by itself."""
        if self.started and self.process is not None and not self.process.running():
            log = self.log()
            found = SANITIZER.search(log)
            raise AssertionError(f"sluice ended with {self.process.returncode}: "
                                 f"{log[found.start():][:4000] if found else log[-2000:]}")

    def stop(self, number=signal.SIGTERM):
        """Ends sluice; it must leave with 0, and no sanitizer may have spoken."""
        if self.process is not None and self.process.running():
            self.learn_rights()
        process, self.process, self.started = self.process, None, False
        if process is None:
            return
        told = self._told() if process.running() else ""
        status = process.stop(number)
        found = SANITIZER.search(self.log())
        assert not found, self.log()[max(0, found.start() - 200):found.start() + 8000]
        assert status == 0, f"sluice ended with {status}: {self.log()[-4000:]}"
        written = self.log() + (self.audit_file.read_text() if self.audit_file.exists() else "")
        for secret in self._secrets:
            assert secret not in written, f"a secret stands in log or audit: {secret[:12]}..."
            assert secret not in told, f"the control API tells a secret: {secret[:12]}..."
        if self.judge is not None:
            self.judge(self.audit())

    def _told(self):
        """All that the control API tells at this moment, if it can still be asked."""
        try:
            return "".join(str(self.http("GET", path)[1]) for path in (
                "/v1/grants", "/v1/sessions", "/v1/revocations", "/metrics"))
        except (OSError, http.client.HTTPException):
            return ""

    def kill(self):
        """An end without farewell, as by a power cut."""
        self.process.stop(signal.SIGKILL)
        self.process, self.started = None, False

    def revive(self):
        """After an end that has been reported: a new start with an empty log."""
        self.process.stop()
        self.log_file.rename(self.log_file.with_suffix(f".{self.process.pid}.log"))
        self.start()

    def restart(self, kill=False):
        self.kill() if kill else self.stop()
        return self.start()

    def close(self):
        if self._tapped is not None:
            self.tap.shut(self._tapped)
            self._tapped = None
        self.stop()

    def reload(self):
        """Writes the configuration and sends SIGHUP; how it went stands in the log."""
        self.write_config()
        self.process.send(signal.SIGHUP)

    # --- tokens and grants

    def token(self, subject="bob", **arguments):
        """A token of the issuer; its signature may never turn up in log or audit."""
        token = self.idp.token(subject, **arguments)
        self.hide(token.rpartition(".")[2])
        return token

    def hide(self, secret):
        self._secrets.append(secret)

    def learn_rights(self):
        """Of grants that came by other ways than put_grant(): claims, folders, connectors."""
        status, body = self.http("GET", "/v1/grants")
        self._note_rights(body["grants"] if status == 200 else ())

    def _note_rights(self, entries):
        for entry in entries:
            known = self._rights.get(entry["id"], ((), ()))
            self._rights[entry["id"]] = (
                tuple(sorted({*known[0], *entry["topics"]})),
                tuple(sorted({*known[1], entry.get("group_prefix") or ""})))

    @property
    def cluster_id(self):
        """The one that is shown: configured, or made from the advertised address."""
        def scattered(seed):
            found = 0xCBF29CE484222325 ^ seed
            for byte in f"{self.host}:{self.advertised_port}".encode():
                found = (found ^ byte) * 0x100000001B3 % (1 << 64)
            return (found ^ found >> 32) * 0x9E3779B97F4A7C15 % (1 << 64)
        letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        made = "".join(letters[scattered(i // 11) >> i % 11 * 5 & 63] for i in range(22))
        return self.config.get("cluster_id", made)

    def rights_by_port(self):
        """Client's port -> what the sessions from there might name, by the audit trail: topics and
        group prefixes. None where a grant is not known, nothing where nobody logged in."""
        found = {}
        for event in self.audit():
            if event["metadata"].get("event_code") not in ("auth_ok", "reauth"):
                continue
            port = event["src_endpoint"]["port"]
            ids = event.get("unmapped", {}).get("transfer", "").split(",")
            for identity in ids:
                known, new = found.get(port, ((), ())), self._rights.get(identity)
                found[port] = None if known is None or new is None else tuple(
                    tuple(sorted({*a, *b})) for a, b in zip(known, new))
        return found

    def put_grant(self, entry):
        self._note_rights([entry])
        body = {name: value for name, value in self._fill(entry).items() if name != "id"}
        status, body = self.http("PUT", f"/v1/grants/{entry['id']}", body)
        assert status in (200, 201, 204), (status, body)

    def delete_grant(self, identity):
        status, body = self.http("DELETE", f"/v1/grants/{identity}")
        assert status in (200, 204), (status, body)

    def revoke(self, **what):
        """POST /v1/revocations; how many sessions it closed."""
        status, body = self.http("POST", "/v1/revocations", what)
        assert status == 200, (status, body)
        return body["closed"]

    def revoke_token(self, token):
        """POST /oauth2/revoke, RFC 7009."""
        status, body = self.http("POST", "/oauth2/revoke", f"token={token}".encode(),
                                 "application/x-www-form-urlencoded")
        assert status == 200, (status, body)

    def http(self, method, path, body=None, kind="application/json", headers=()):
        """(status, body); status 0 while nobody answers."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}{path}", data,
                                         dict(headers), method=method)
        if data is not None:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())
        except (urllib.error.URLError, ConnectionError):
            return 0, None

    def sessions(self):
        status, body = self.http("GET", "/v1/sessions")
        assert status == 200, (status, body)
        return body["sessions"] if isinstance(body, dict) else body

    def metrics(self):
        """Prometheus' text as {name or name{labels}: value}."""
        status, text = self.http("GET", "/metrics")
        assert status == 200, status
        lines = (line.rpartition(" ") for line in text.splitlines()
                 if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def requests(self):
        """How many requests of clients it has read so far."""
        return sum(value for name, value in self.metrics().items()
                   if name.startswith("sluice_requests_total"))

    # --- what it writes

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def audit(self):
        if not self.audit_file.exists():
            return []
        text = self.audit_file.read_text()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def wait_audit(self, *words, timeout_s=15, since=0):
        """Waits for one audit line after the first `since` that holds all words."""
        def find():
            for event in self.audit()[since:]:
                text = json.dumps(event)
                if all(word in text for word in words):
                    return event
            return None
        return wait_for(find, timeout_s, f"an audit line with {words}")

    def wait_log(self, pattern, timeout_s=15, since=0):
        return wait_for(lambda: re.search(pattern, self.log()[since:]), timeout_s,
                        f"a log line like {pattern}")

    # --- connections

    def wire(self, token=None, tapped=None, **arguments):
        """A raw client, logged in when given a token; through the tap where there is one."""
        tapped = self.tap is not None if tapped is None else tapped
        port = self.advertised_port if tapped else self.port
        connection = wire.Wire(self.host, port, self.authority.certificate, **arguments)
        if not tapped and self.findings is not None:
            connection.watcher = taps.Watcher(self.findings, (self.host, self.advertised_port),
                                              connection.socket.getsockname()[1])
        if token is not None:
            try:
                connection.login(token)
            except BaseException:
                connection.close()
                raise
        return connection

    def session(self, token, timeout_s=15):
        """A raw client that is let in; what sluice cannot decide yet is tried again."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                return self.wire(token, tapped=False)
            except (wire.Closed, OSError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def login_error(self, token, timeout_s=10, **arguments):
        """The error code of a login in a connection of its own. What sluice cannot decide yet (keys
        or brokers not known) it ends without an answer; that is tried again."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                with self.wire(tapped=False) as connection:
                    return connection.authenticate(token, **arguments)["ErrorCode"]
            except (wire.Closed, ConnectionError, OSError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def descriptors(self):
        """How many files and sockets sluice holds; 0 where only root may see it, since sluice
        leaves no core dumps and so may not be looked into."""
        try:
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except PermissionError:
            return 0


def _parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
