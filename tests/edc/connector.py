"""Real connector control planes (Eclipse Dataspace Components) and what people do with them: assets,
policies, contract definitions at the provider; catalog, negotiation and transfer at a consumer, all
through the management API, as a person or a portal would.

Stores and vault are in memory and the identity service believes everybody; everything else is the
connector as it is released. Which calls and which states there are stands in the connector's own
management API; what it does towards a data plane is what these tests are about."""

import json
import time
import urllib.error
import urllib.request

import parts
from processes import Process, free_port, wait_for

EDC = "https://w3id.org/edc/v0.0.1/ns/"
ODRL = "http://www.w3.org/ns/odrl/2/"
CONTEXT = {"@vocab": EDC, "odrl": ODRL}
POLICY_CONTEXT = "http://www.w3.org/ns/odrl.jsonld"
PROTOCOL = "dataspace-protocol-http:2025-1"

VERSIONS = ("0.15.1", "0.14.0")
WEB = ("", "management", "control", "protocol", "version")
HEAP_MIB = 128
# States are looked at this often; the default of a second makes every step take one.
STATE_MACHINES = ("negotiation.consumer", "negotiation.provider", "transfer",
                  "data.plane.selector", "policy.monitor")
STATE_WAIT_MS = 100
TRIES = 5

ENDED = ("TERMINATED", "DEPROVISIONING", "DEPROVISIONED", "COMPLETED")


class Refused(Exception):
    """The connector answered something else than 2xx."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class Ended(AssertionError):
    """A transfer ended that should not have."""


def call(method, url, body=None, headers=(), timeout_s=20):
    """JSON there and back; Refused for anything but 2xx."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers), method=method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read().decode(errors="replace")) from None
    return json.loads(text) if text else None


class ControlPlane:
    """One connector, a Java process: the provider's or a consumer's."""

    def __init__(self, directory, participant, version="0.15.1", trust=None, base=None,
                 **settings):
        """Free ports, or those from `base` on where they are free."""
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.participant, self.version = participant, version
        self.ports = {name: free_port(wanted=base and base + i) for i, name in enumerate(WEB)}
        self.trust = trust
        self.settings = settings
        self.process = None

    def url(self, part):
        return f"http://127.0.0.1:{self.ports[part]}/{part or 'api'}"

    @property
    def management(self):
        return self.url("management")

    @property
    def control(self):
        return self.url("control")

    @property
    def protocol(self):
        return f"{self.url('protocol')}/2025-1"

    def _properties(self):
        lines = {"edc.participant.id": self.participant, "edc.hostname": "127.0.0.1",
                 "edc.dsp.callback.address": self.url("protocol"),
                 "edc.control.endpoint": self.control}
        for name, port in self.ports.items():
            web = f"web.http.{name}".rstrip(".")
            lines |= {f"{web}.port": port, f"{web}.path": f"/{name or 'api'}"}
        for name in STATE_MACHINES:
            lines[f"edc.{name}.state-machine.iteration-wait-millis"] = STATE_WAIT_MS
        return lines | {name.replace("__", "-").replace("_", "."): value
                        for name, value in self.settings.items()}

    def start(self):
        file = self.directory / "connector.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        options = ["-Xss512k", "-XX:MaxMetaspaceSize=128m", f"-Dedc.fs.config={file}"]
        if self.trust:
            options += [f"-Djavax.net.ssl.trustStore={self.trust.file}",
                        f"-Djavax.net.ssl.trustStorePassword={self.trust.password}"]
        libs = parts.CACHE / f"connector-{self.version}" / "libs"
        self.process = Process(parts.java("org.eclipse.edc.boot.system.runtime.BaseRuntime",
                                          libs=libs, heap_mib=HEAP_MIB, options=options,
                                          classes=False), self.directory / "log")
        return self

    def wait_ready(self, timeout_s=120):
        def ready():
            self.must_run()
            try:
                call("GET", f"{self.url('')}/check/readiness", timeout_s=5)
            except (Refused, OSError):
                return False
            return "Runtime " in self.process.output() and " ready" in self.process.output()
        wait_for(ready, timeout_s, f"the connector of {self.participant} is ready", 0.1)
        return self

    def must_run(self):
        if not self.process.running():
            raise AssertionError(f"the connector of {self.participant} ended: "
                                 f"{self.process.output()[-3000:]}")

    def close(self):
        if self.process is not None:
            self.process.stop()

    def ask(self, method, path, body=None):
        return call(method, f"{self.management}/v3/{path}", body)

    # --- what a provider does

    def data_planes(self):
        """The data planes that have registered, as the control API tells."""
        return call("GET", f"{self.control}/v1/dataplanes")

    def data_plane_available(self, identity, timeout_s=30):
        def available():
            try:
                return call("GET", f"{self.control}/v1/dataplanes/{identity}")["state"] == \
                    "AVAILABLE"
            except Refused:
                return False
        wait_for(available, timeout_s, f"data plane {identity} is AVAILABLE", 0.05)

    def offer(self, asset, address, expires_s=None, properties=None, private=None):
        """An asset with this data address, open to everybody; with expires_s the agreement runs
        out so long after it was made, which makes the connector terminate the transfer."""
        permission = [] if expires_s is None else [{"action": "use", "constraint": {
            "@type": "AtomicConstraint", "leftOperand": EDC + "inForceDate",
            "operator": {"@id": "odrl:lteq"},
            "rightOperand": {"@value": f"contractAgreement+{expires_s}s",
                             "@type": "http://www.w3.org/2001/XMLSchema#string"}}}]
        self.ask("POST", "assets", {
            "@context": CONTEXT, "@id": asset, "properties": {"name": asset} | (properties or {}),
            "dataAddress": {"@type": "DataAddress"} | address}
            | ({"privateProperties": private} if private else {}))
        self.ask("POST", "policydefinitions", {
            "@context": CONTEXT, "@id": f"{asset}-policy", "policy": {
                "@context": POLICY_CONTEXT, "@type": "Set", "permission": permission,
                "prohibition": [], "obligation": []}})
        self.ask("POST", "contractdefinitions", {
            "@context": CONTEXT, "@id": f"{asset}-definition", "accessPolicyId": f"{asset}-policy",
            "contractPolicyId": f"{asset}-policy", "assetsSelector": [{
                "@type": "Criterion", "operandLeft": EDC + "id", "operator": "=",
                "operandRight": asset}]})

    # --- what a consumer does

    def offered(self, provider, asset):
        """The offer for an asset in the provider's catalog."""
        catalog = self.ask("POST", "catalog/request", {
            "@context": CONTEXT, "counterPartyAddress": provider.protocol,
            "counterPartyId": provider.participant, "protocol": PROTOCOL,
            "querySpec": {"filterExpression": [{"operandLeft": EDC + "id", "operator": "=",
                                                "operandRight": asset}]}})
        for dataset in _list(catalog.get("dataset") or catalog.get("dcat:dataset")):
            if dataset["@id"] == asset:
                return _list(dataset.get("hasPolicy") or dataset.get("odrl:hasPolicy"))[0]
        raise AssertionError(f"no {asset} in the catalog: {json.dumps(catalog)[:2000]}")

    def negotiate(self, provider, asset):
        """From the catalog to a contract agreement, whose id at the consumer is returned. As with
        transfers, the two sides may overtake one another; then it is negotiated again."""
        for _ in range(TRIES):
            agreement = self._negotiate(provider, asset)
            if agreement:
                return agreement
        raise AssertionError(f"no agreement over {asset} in {TRIES} negotiations")

    def _negotiate(self, provider, asset, timeout_s=30):
        """None when the negotiation ended and nobody said why, or one connector told the other that it
        is not so far yet (409): a verification that overtakes the state that it verifies."""
        offer = {name: value for name, value in self.offered(provider, asset).items()
                 if name != "@context"}
        negotiation = self.ask("POST", "contractnegotiations", {
            "@context": CONTEXT, "@type": "ContractRequest",
            "counterPartyAddress": provider.protocol, "protocol": PROTOCOL,
            "policy": offer | {"@context": POLICY_CONTEXT, "@type": "Offer",
                               "assigner": provider.participant, "target": asset}})["@id"]

        def agreed():
            found = self.ask("GET", f"contractnegotiations/{negotiation}")
            if found["state"] == "TERMINATED":
                why = found.get("errorDetail", "")
                assert not why or '"code":"409"' in why, found
                return (None,)
            return found["state"] == "FINALIZED" and (found["contractAgreementId"],)
        return wait_for(agreed, timeout_s, f"an agreement over {asset}", 0.05)[0]

    def request(self, provider, agreement, kind, callbacks=()):
        """A transfer is asked for; whether it starts is another matter."""
        body = {"@context": CONTEXT, "@type": "TransferRequest", "contractId": agreement,
                "counterPartyAddress": provider.protocol, "protocol": PROTOCOL,
                "transferType": kind}
        if callbacks:
            body["callbackAddresses"] = list(callbacks)
        return Transfer(self, provider, self.ask("POST", "transferprocesses", body)["@id"])

    def transfer(self, provider, agreement, kind="KafkaBroker-PULL", **more):
        """A transfer that has started at both ends. A provider may be so fast that its start
        arrives before the consumer has noted that it asked: the consumer refuses that, and here
        as in life the transfer is asked for again."""
        for _ in range(TRIES):
            made = self.request(provider, agreement, kind, **more)
            try:
                return made.wait("STARTED")
            except Ended as ended:
                if "transfer cannot be started" not in str(ended):
                    raise
        raise AssertionError(f"the start came too early {TRIES} times")


class Transfer:
    """A transfer process: its consumer's and its provider's side."""

    def __init__(self, consumer, provider, identity):
        self.consumer, self.provider = consumer, provider
        self.consumer_id = identity
        self._id = None

    @property
    def id(self):
        """The provider's id, which is the data plane's processId."""
        if self._id is None:
            def find():
                found = self.provider.ask("POST", "transferprocesses/request", {
                    "@context": CONTEXT, "@type": "QuerySpec", "filterExpression": [
                        {"operandLeft": "correlationId", "operator": "=",
                         "operandRight": self.consumer_id}]})
                if found:
                    return found[0]["@id"]
                state = self.at_consumer()
                assert state["state"] != "TERMINATED", state
                return None
            self._id = wait_for(find, 20, "the provider knows the transfer", 0.02)
        return self._id

    def at_consumer(self):
        return self.consumer.ask("GET", f"transferprocesses/{self.consumer_id}")

    def at_provider(self):
        return self.provider.ask("GET", f"transferprocesses/{self.id}")

    def agreement(self):
        """The provider's id of the agreement; the consumer has another one."""
        return self.at_provider()["contractId"]

    def wait(self, *states, timeout_s=30):
        """Until both sides are in one of these states; fails at once when it has ended instead."""
        states = ENDED if states == ("ENDED",) else states

        def there():
            both = self.at_consumer(), self.at_provider()
            if all(side["state"] in states for side in both):
                return True
            if any(side["state"] in ENDED for side in both) and not set(states) & set(ENDED):
                raise Ended(json.dumps(both))
            return False
        wait_for(there, timeout_s, f"the transfer is {'/'.join(states)}", 0.02)
        return self

    def edr(self, timeout_s=10):
        """What the consumer was given, without the prefix of its names; None once it is gone."""
        def there():
            try:
                return self.consumer.ask("GET", f"edrs/{self.consumer_id}/dataaddress")
            except Refused as refused:
                assert refused.status == 404, refused
                return None
        found = wait_for(there, timeout_s, "the EDR at the consumer", 0.02)
        return {name.removeprefix(EDC): value for name, value in found.items()}

    def edr_gone(self, timeout_s=10):
        def gone():
            try:
                self.consumer.ask("GET", f"edrs/{self.consumer_id}/dataaddress")
            except Refused as refused:
                return refused.status == 404
            return False
        wait_for(gone, timeout_s, "the consumer has no EDR any more", 0.02)

    def _do(self, what, by, body=None):
        side, identity = (self.consumer, self.consumer_id) if by == "consumer" else \
            (self.provider, self.id)
        side.ask("POST", f"transferprocesses/{identity}/{what}", body)
        return time.monotonic()

    def suspend(self, by="provider", reason="a test"):
        return self._do("suspend", by, {"@context": CONTEXT, "@type": "SuspendTransfer",
                                        "reason": reason})

    def resume(self, by="provider"):
        return self._do("resume", by)

    def terminate(self, by="provider", reason="a test"):
        return self._do("terminate", by, {"@context": CONTEXT, "@type": "TerminateTransfer",
                                          "reason": reason})


def _list(value):
    return value if isinstance(value, list) else [] if value is None else [value]
