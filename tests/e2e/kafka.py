"""Three real Kafka nodes (KRaft, combined roles) on loopback addresses of their own, with one
listener for each way in which sluice can be told to reach brokers.

Their addresses, ports, node ids, racks and cluster id are conspicuous, so that a search through
what clients received cannot miss them and does not find them by chance."""

import pathlib
import shutil
import signal
import subprocess
import uuid

import confluent_kafka
import confluent_kafka.admin

import parts
from pki import b64url
from processes import Process, free_port, wait_for

CLUSTER_ID = "Qx7ZkafkaREALcluster1w"
HOSTS = ("127.0.44.11", "127.0.44.12", "127.0.44.13")
NODES = (17101, 17102, 17103)
RACKS = ("rack-kilo-1", "rack-lima-2", "rack-mike-3")
USER, PASSWORD = "sluice", "s3cret & m=re"
REAUTH_MS = 4000  # of SCRAM-SHA-256 sessions: short, so that re-authentication is seen

LISTENERS = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "mtls": "SSL",
    "sasl_tls": "SASL_SSL",
    "sasl_plain": "SASL_PLAINTEXT",
}


class Cluster:
    """`more`: properties over those that every node has here."""

    def __init__(self, directory, authority, idp, hosts=HOSTS, numbers=NODES, racks=RACKS,
                 cluster_id=CLUSTER_ID, more=None):
        self.directory = pathlib.Path(directory)
        self.hosts, self.numbers, self.racks = hosts, numbers, racks
        self.cluster_id, self.more = cluster_id, more or {}
        self.authority = authority
        self.idp = idp
        self.pair = authority.issue(f"broker-{numbers[0]}", addresses=hosts)
        self.client_pair = authority.issue(f"sluice-service-{numbers[0]}")
        self.ports = [{name: free_port(host) for name in (*LISTENERS, "controller")}
                      for host in hosts]
        self.nodes = [None] * len(hosts)
        self._admin = None
        jwks = self.directory / "jwks.json"
        jwks.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(idp.jwks_file(), jwks)
        self.jwks = jwks

    def bootstrap(self, listener="plaintext"):
        return [f"{host}:{ports[listener]}" for host, ports in zip(self.hosts, self.ports)]

    def address(self, index, listener="plaintext"):
        return self.hosts[index], self.ports[index][listener]

    def secrets(self):
        """What no client may ever be told: texts, and numbers as they'd stand in a message."""
        texts = [*self.hosts, *self.racks, self.cluster_id]
        numbers = [*self.numbers, *(port for ports in self.ports for port in ports.values())]
        return texts, numbers

    # --- the nodes

    def _properties(self, index):
        host, ports = self.hosts[index], self.ports[index]
        jaas = "org.apache.kafka.common.security"
        quoted = PASSWORD.replace('"', '\\"')
        voters = ",".join(f"{node}@{self.hosts[i]}:{self.ports[i]['controller']}"
                          for i, node in enumerate(self.numbers))
        lines = {
            "process.roles": "broker,controller",
            "node.id": self.numbers[index],
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([f"{name.upper()}://{host}:{ports[name]}"
                                   for name in LISTENERS]
                                  + [f"CONTROLLER://{host}:{ports['controller']}"]),
            "listener.security.protocol.map": ",".join(
                [f"{name.upper()}:{protocol}" for name, protocol in LISTENERS.items()]
                + ["CONTROLLER:PLAINTEXT"]),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.directory / f"node-{index}" / "data",
            "num.network.threads": 2, "num.io.threads": 4, "background.threads": 2,
            "log.retention.ms": -1,  # the records of the cases are old by design
            "offsets.topic.replication.factor": 3, "offsets.topic.num.partitions": 6,
            "transaction.state.log.replication.factor": 3, "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 6,
            "share.coordinator.state.topic.replication.factor": 3,
            "share.coordinator.state.topic.min.isr": 1,
            "default.replication.factor": 3, "min.insync.replicas": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.consumer.heartbeat.interval.ms": 1000,
            "group.consumer.min.heartbeat.interval.ms": 500,
            "group.min.session.timeout.ms": 1000,
            "auto.create.topics.enable": "true",
            "controlled.shutdown.enable": "true",
            "replica.lag.time.max.ms": 4000,
            "broker.session.timeout.ms": 4000, "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1500,
            "leader.imbalance.check.interval.seconds": 2,
            "leader.imbalance.per.broker.percentage": 0,
            "ssl.keystore.type": "PEM", "ssl.keystore.location": self.pair.both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.certificate,
            "listener.name.mtls.ssl.client.auth": "required",
        }
        for name in ("sasl_tls", "sasl_plain"):
            prefix = f"listener.name.{name}"
            lines[f"{prefix}.sasl.enabled.mechanisms"] = \
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
            lines[f"{prefix}.plain.sasl.jaas.config"] = (
                f"{jaas}.plain.PlainLoginModule required user_{USER}=\"{quoted}\";")
            for scram in ("scram-sha-256", "scram-sha-512"):
                lines[f"{prefix}.{scram}.sasl.jaas.config"] = \
                    f"{jaas}.scram.ScramLoginModule required;"
            lines[f"{prefix}.scram-sha-256.connections.max.reauth.ms"] = REAUTH_MS
            bearer = f"{prefix}.oauthbearer"
            lines[f"{bearer}.sasl.jaas.config"] = \
                f"{jaas}.oauthbearer.OAuthBearerLoginModule required;"
            lines[f"{bearer}.sasl.server.callback.handler.class"] = \
                f"{jaas}.oauthbearer.OAuthBearerValidatorCallbackHandler"
            lines[f"{bearer}.connections.max.reauth.ms"] = 3600000
            lines[f"{prefix}.sasl.oauthbearer.jwks.endpoint.url"] = self.jwks.as_uri()
            lines[f"{prefix}.sasl.oauthbearer.expected.audience"] = "kafka"
            lines[f"{prefix}.sasl.oauthbearer.expected.issuer"] = self.idp.issuer
        if self.racks:
            lines["broker.rack"] = self.racks[index]
        text = "".join(f"{name}={value}\n" for name, value in (lines | self.more).items())
        return "".join(c if c < "\x7f" else f"\\u{ord(c):04x}" for c in text)

    def _format(self):
        """Formats the first node's directory, SCRAM users and all, and copies it to the others:
        one start of a Java machine instead of three."""
        for index in range(len(self.hosts)):
            node = self.directory / f"node-{index}"
            node.mkdir(parents=True)
            (node / "server.properties").write_text(self._properties(index))
        first = self.directory / "node-0"
        password = PASSWORD.replace('"', '\\"')
        scram = [word for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512") for word in
                 ("--add-scram", f'{mechanism}=[name={USER},password="{password}"]')]
        command = parts.java("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c",
                             first / "server.properties", *scram, classes=False)
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError((done.stdout + done.stderr).decode(errors="replace"))
        for index in range(1, len(self.hosts)):
            data = self.directory / f"node-{index}" / "data"
            shutil.copytree(first / "data", data)
            meta = data / "meta.properties"
            lines = [line for line in meta.read_text().splitlines()
                     if not line.startswith(("node.id=", "directory.id="))]
            unique = b64url(uuid.uuid4().bytes[:15] + b"\x41").replace("-", "a")
            lines += [f"node.id={self.numbers[index]}", f"directory.id={unique}"]
            meta.write_text("\n".join(lines) + "\n")

    def start(self):
        self.launch()
        self.wait_ready()

    def launch(self):
        """start() without the wait, so that others can start meanwhile."""
        self._format()
        for index in range(len(self.hosts)):
            self.start_node(index)

    def start_node(self, index):
        node = self.directory / f"node-{index}"
        options = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.jwks.as_uri()}",
                   "-Dorg.apache.kafka.sasl.oauthbearer.allowed.files=" + str(self.jwks)]
        command = parts.java("kafka.Kafka", node / "server.properties", heap_mib=384,
                             options=options, classes=False)
        self.nodes[index] = Process(command, node / "log")

    def stop_node(self, index):
        self.nodes[index].stop(signal.SIGTERM, 60)

    def kill_node(self, index):
        self.nodes[index].stop(signal.SIGKILL)

    def wait_ready(self, count=None, timeout_s=90):
        count = len(self.hosts) if count is None else count

        def answered():
            for node in self.nodes:
                if node is not None and not node.running() and node.returncode > 0:
                    raise RuntimeError(f"a broker ended: {node.output()[-3000:]}")
            try:
                found = self.admin.list_topics(timeout=2)
            except confluent_kafka.KafkaException:
                return False
            return len(found.brokers) == count
        wait_for(answered, timeout_s, f"{count} brokers answer", 0.1)

    def close(self):
        for node in self.nodes:
            if node is not None and node.running():
                node.send(signal.SIGKILL)
        for node in self.nodes:
            if node is not None:
                node.stop(signal.SIGKILL)

    # --- topics

    @property
    def admin(self):
        if self._admin is None:
            self._admin = confluent_kafka.admin.AdminClient(
                {"bootstrap.servers": ",".join(self.bootstrap()), "log_level": 0})
        return self._admin

    def create_topic(self, name, partitions=12, replication=3, assignment=None, **config):
        """Creates a topic and waits until all of its partitions have a leader."""
        options = {"replica_assignment": assignment} if assignment else \
            {"replication_factor": replication}
        new = confluent_kafka.admin.NewTopic(name, partitions, config=config, **options)
        self.admin.create_topics([new])[name].result(30)
        wait_for(lambda: all(leader >= 0 for leader in self.leaders(name, partitions).values()),
                 30, f"leaders of {name}", 0.05)

    def leaders(self, topic, expected=0):
        """Partition -> node id of its leader, -1 while there is none."""
        found = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        if expected and len(found) != expected:
            return {-1: -1}
        return {number: partition.leader for number, partition in found.items()}

    def in_sync(self, topic):
        found = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        return {number: sorted(partition.isrs) for number, partition in found.items()}
