"""The showcase: two use cases behind real connectors, told step by step, each of which verifies what it
says. An API collection (examples/collection.json) does what a person would click at the connectors;
Kafka clients show what a partner meets.

Shop-floor monitoring: many small events, one consumer group (Bob). Notifications: few, and two
participants with different rights on the same cluster (Alice reads, Bob reads and answers).

Run by scripts/showcase.sh, which brings everything up and stays until Ctrl-C; played by
test_showcase.py with the connectors of the tests. SHOWCASE_ONCE=1 ends after the story."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import confluent_kafka  # noqa: E402

import clients  # noqa: E402
import connector  # noqa: E402
import gate as gates  # noqa: E402
import idp as idps  # noqa: E402
import kafka  # noqa: E402
import parts  # noqa: E402
import payloads  # noqa: E402
import pki  # noqa: E402
import plane as planes  # noqa: E402
import streams  # noqa: E402
import trust  # noqa: E402
import wire  # noqa: E402
from processes import wait_for  # noqa: E402

COLLECTION = parts.ROOT / "examples" / "collection.json"
TOPIC_DENIED = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
# First ports of the connectors, as the collection's own variables have them.
BASES = {"provider": 19180, "bob": 19280, "alice": 19380}
EVENTS = 2000


class Player:
    """Plays folders of the collection; its variables live from one to the next."""

    def __init__(self, file, variables):
        self.file = file
        file.write_text(json.dumps(variables))

    def play(self, folder):
        """The requests of a folder that were sent."""
        ran = clients.run(["node", HERE / "play.js", COLLECTION, self.file, folder])
        assert ran.status == 0, ran.text
        return [line.split("\t")[1] for line in ran.out.decode().splitlines()]

    def __getitem__(self, name):
        return json.loads(self.file.read_text())[name]


def produce(settings, topic, events):
    """Errors of the deliveries."""
    producer = confluent_kafka.Producer(settings | {"message.timeout.ms": 8000, "log_level": 0})
    errors = []
    for key, value, headers in events:
        producer.produce(topic, value, key, headers=list(headers),
                         on_delivery=lambda error, _: error and errors.append(error))
        producer.poll(0)
    assert producer.flush(30) == 0
    return errors


def events(kinds, count, seed):
    rng = random.Random(seed)
    return [payloads.event(kinds[i % len(kinds)], rng) for i in range(count)]


def values(records):
    return sorted(record.value for record in records)


class Story:
    """The steps, with all that they need. `say` is told what was done and found."""

    def __init__(self, plane, player, cluster, topics, say):
        self.plane, self.player, self.cluster, self.say = plane, player, cluster, say
        self.floor, self.notes = topics["shopFloorTopic"], topics["notificationsTopic"]
        self.inside = {"bootstrap.servers": ",".join(cluster.bootstrap()), "linger.ms": 5}

    def play(self, folder):
        sent = self.player.play(folder)
        self.say(folder[2:], f"{len(sent)} requests to the connectors")

    def door(self, key):
        self.plane.gate.hide(self.player[f"{key}Token"].rpartition(".")[2])
        return clients.Door(self.plane.directory / "doors", self.player[f"{key}Bootstrap"],
                            self.plane.authority.certificate, self.player[f"{key}Token"])

    def tell(self):
        self.play("1 The provider publishes")
        self.shop_floor()
        self.notifications()
        self.suspension()
        self.end()

    def shop_floor(self):
        made = events(("SerialPart", "Batch", "JustInSequencePart"), EVENTS, 1)
        assert not produce(self.inside, self.floor, made)
        self.play("2 Bob follows the shop floor")
        group = f"{self.player['shopFloorGroupPrefix']}-dashboard"
        got = clients.read_confluent(self.door("shopFloor"), self.floor, len(made), group)
        assert values(got) == sorted(value for _, value, _ in made)
        self.say(None, f"Bob read {len(got)} events of three kinds, byte by byte what was written")

    def notifications(self):
        self.play("3 Alice reads notifications")
        self.play("4 Bob answers notifications")
        sent = events(("SingleLevelBomAsBuilt", "SingleLevelUsageAsBuilt"), 6, 2)
        assert not produce(self.inside, self.notes, sent)
        alice, bob = self.door("reader"), self.door("desk")
        answer = events(("SingleLevelUsageAsBuilt",), 1, 3)
        assert not produce(bob.librdkafka(), self.notes, answer)
        denied = produce(alice.librdkafka(), self.notes, answer)
        assert [error.code() for error in denied] == [TOPIC_DENIED], denied
        self.say(None, "Bob's answer was taken; Alice's was denied: she may only read")
        for who, name in ((alice, "alice"), (bob, "bob")):
            got = clients.read_confluent(who, self.notes, len(sent) + 1, f"{name}-inbox")
            assert values(got) == sorted(value for _, value, _ in sent + answer)
        self.say(None, f"both read all {len(sent) + 1} notifications")
        try:
            clients.read_confluent(alice, self.floor, 1, "alice-spies")
            raise AssertionError("Alice reads the shop floor")
        except confluent_kafka.KafkaException as error:
            assert error.args[0].code() == TOPIC_DENIED, error
        self.say(None, "the shop floor's topic does not exist as far as Alice can tell")

    def suspension(self):
        """The shop floor stops in the middle of the stream; notifications go on."""
        group = f"{self.player['shopFloorGroupPrefix']}-monitor"
        writer = streams.Writer(self.cluster, self.floor, 50)
        stream = streams.Stream(self.door("shopFloor"), self.floor, group)
        writer.start()
        stream.start()
        try:
            stream.goes_on(10, 30)
            with self.plane.gate.session(self.player["readerToken"]) as untouched:
                self.play("5 The shop floor is suspended")
                wait_for(stream.told, 30, "the consumer is refused")
                stopped = len(stream.seen)
                untouched.ask("Fetch", 12, wire.fetch_body(self.notes, {0: 0}, 100))
                assert len(stream.seen) == stopped
        finally:
            stream.stop()
        self.say(None, "Bob's stream was cut at once and he is refused; Alice noticed nothing")
        old = self.player["shopFloorToken"]
        self.play("6 The shop floor is resumed")
        assert self.player["shopFloorToken"] != old and self.plane.gate.login_error(old) == 58
        again = streams.Stream(self.door("shopFloor"), self.floor, group)
        again.start()
        try:
            again.goes_on(10, 30)
        finally:
            again.stop()
            writer.stop()
        self.say(None, "with the new EDR Bob goes on where he was; the old token stays barred")

    def end(self):
        self.play("7 The end")
        for key in ("shopFloor", "reader", "desk"):
            assert self.plane.gate.login_error(self.player[f"{key}Token"]) == 58
        assert not self.plane.gate.sessions()
        self.say(None, "all three transfers are over, no session is left, every token is refused")


# --- the showcase as a program of its own

class Site:
    """Everything on this machine, ended with the context."""

    def __init__(self, directory):
        self.directory = directory
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack:
            self._start()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def _start(self):
        authority = pki.Authority(self.directory / "ca")
        believed = trust.JavaTrust(self.directory / "trust", authority.certificate)
        self.connectors = {}
        for name, base in BASES.items():
            made = connector.ControlPlane(self.directory / name, name, trust=believed, base=base)
            self.stack.callback(made.close)
            self.connectors[name] = made.start()
        issuer = idps.Idp(self.directory / "idp")  # of the brokers alone
        self.stack.callback(issuer.close)
        self.cluster = kafka.Cluster(self.directory / "kafka", authority, issuer)
        self.stack.callback(self.cluster.close)
        self.cluster.start()
        self.topics = {"shopFloorTopic": "shop-floor", "notificationsTopic": "notifications"}
        for topic in self.topics.values():
            self.cluster.create_topic(topic, 3)
        for made in self.connectors.values():
            made.wait_ready()
        self.plane = planes.Plane(self.directory / "signaling", authority,
                                  self.connectors["provider"], "sluice",
                                  signaling={"operations": ["read", "write"]})
        self.plane.gate = gates.Gate(self.directory / "gate", self.cluster, issuer, authority,
                                     config=self.plane.config)
        self.stack.callback(self.plane.gate.close)
        self.plane.gate.start()
        self.plane.wait_available()

    def variables(self):
        at = self.connectors
        return self.topics | {
            "providerManagement": at["provider"].management,
            "providerProtocol": at["provider"].protocol, "providerId": "provider",
            "bobManagement": at["bob"].management, "aliceManagement": at["alice"].management}


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-showcase-"))
    count = 0

    def say(step, what):
        nonlocal count
        if step is not None:
            count += 1
            print(f"\n{count:2}. {step}")
        print(f"    ok  {what}", flush=True)
    try:
        print("starting three connectors, three brokers and the gate", flush=True)
        with Site(directory) as site:
            variables = site.variables()
            player = Player(directory / "variables.json", variables)
            Story(site.plane, player, site.cluster, site.topics, say).tell()
            if os.environ.get("SHOWCASE_ONCE") != "1":
                linger(site, directory, variables)
        print(f"\n{count} passed, 0 failed")
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        return 130
    except Exception:
        print(f"\nlogs, configurations and audit: {directory}", file=sys.stderr)
        raise


def linger(site, directory, variables):
    """Leaves it up for a person to click the same steps, with events flowing."""
    environment = directory / "environment.json"
    environment.write_text(json.dumps({"name": "sluice showcase", "values": [
        {"key": name, "value": value, "enabled": True} for name, value in variables.items()]},
        indent=1))
    writers = [streams.Writer(site.cluster, topic, rate) for topic, rate in
               ((site.topics["shopFloorTopic"], 20), (site.topics["notificationsTopic"], 0.2))]
    for writer in writers:
        writer.start()
    print(f"\nEverything stays up, with events flowing, until Ctrl-C. To click the same steps, "
          f"import\n    {COLLECTION}\n    {environment}   (an environment)\n"
          f"The gate's configuration, log and audit are in {directory / 'gate'}; its grants:\n"
          f"    {parts.SLUICE} grants -c {site.plane.gate.config_file}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        for writer in writers:
            writer.stop()


if __name__ == "__main__":
    sys.exit(main())
