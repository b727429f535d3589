"""Today's Kafka data plane of Tractus-X, replayed: what it asks of an authorization server and of the
brokers' administration, in its order. It is unmodified in that it knows nothing of sluice: it is
only told other addresses (tokenUrl, revokeUrl, the ACL bootstrap servers).

    provision   POST tokenUrl; the token is kept under the flow's id for as long as that lives
    start       CreateAcls for the token's subject; the EDR with that token
    suspend     DeleteAcls
    resume      CreateAcls again; the EDR holds the same token
    terminate   DeleteAcls unless suspended, then POST revokeUrl; anything but 2xx is an error"""

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import parts
from processes import Process, wait_for


class Failed(Exception):
    pass


def subject(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sub"]


class DataPlane:
    """acl: Kafka properties of the admin listener, or None with ACLs switched off."""

    def __init__(self, directory, authority, acl=None):
        directory.mkdir(parents=True, exist_ok=True)
        self._trust = ssl.create_default_context(cafile=str(authority.certificate))
        self._tokens, self._acls = {}, {}
        self._admin, self._answers = None, 0
        if acl is not None:
            file = directory / "acl.properties"
            file.write_text("".join(f"{name}={value}\n" for name, value in acl.items()))
            self._admin = Process(parts.java("Acls", file), directory / "acls.out",
                                  stdin=subprocess.PIPE)

    def close(self):
        if self._admin is not None:
            self._admin.stdin.close()
            self._admin.wait(20)
            self._admin.stop()

    # --- what a transfer goes through

    def provision(self, flow, address, participant):
        """The EDR-to-be of a data address."""
        prefix = address.get("kafka.group.prefix", participant)
        answer = json.loads(self.form(address["tokenUrl"], {
            "grant_type": "client_credentials", "client_id": address["clientId"],
            "client_secret": address["clientSecret"]}))
        self._tokens[flow] = answer["access_token"]
        return {"type": "KafkaBroker", "token": answer["access_token"],
                "kafka.group.prefix": prefix} | {
            name: address[name] for name in ("kafka.bootstrap.servers", "topic") }

    def start(self, flow, edr):
        """Also a resume."""
        if self._admin is not None:
            self.acls("create", subject(edr["token"]), edr["topic"], edr["kafka.group.prefix"])
            self._acls[flow] = (subject(edr["token"]), edr["topic"], edr["kafka.group.prefix"])
        return edr

    def suspend(self, flow):
        asked = self._acls.pop(flow, None)
        if asked is not None:
            self.acls("delete", *asked)

    def terminate(self, flow, address):
        self.suspend(flow)
        token = self._tokens.pop(flow)
        if "revokeUrl" in address:
            self.form(address["revokeUrl"], {
                "token": token, "client_id": address["clientId"],
                "client_secret": address["clientSecret"]})

    # --- plumbing

    def acls(self, *words):
        """How many bindings were created or deleted; Failed when the other side said no."""
        self._admin.stdin.write(("\t".join(words) + "\n").encode())
        self._admin.stdin.flush()
        self._answers += 1

        def answered():
            assert self._admin.running(), self._admin.output()
            lines = [line for line in self._admin.output().splitlines()
                     if line.split("\t")[0] in ("ok", "error")]
            return lines[self._answers - 1] if len(lines) >= self._answers else None
        word, *rest = wait_for(answered, 40, f"an answer to {words}").split("\t")
        if word != "ok":
            raise Failed(" ".join(rest))
        return int(rest[0])

    def form(self, url, fields):
        request = urllib.request.Request(url, urllib.parse.urlencode(fields).encode())
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._trust) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"{url}: {error.code} {error.read()[:500]!r}") from None
