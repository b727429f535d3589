"""The real clients, each as a function of a Door (where to go and with what token) that gives back
records or what the client said."""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import uuid

import confluent_kafka

import parts
from processes import DIES_WITH_US, Process, wait_for, watch
from records import Record

RUN_S = 60


class Door:
    """What a client is told: bootstrap address, authority, token. A `token` that is a function is
    asked anew at every login. Without an authority the door is a plain listener of the brokers,
    by which the test programs themselves are tried."""

    def __init__(self, directory, bootstrap, authority=None, token=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.bootstrap = bootstrap
        self.authority = authority
        self.token_file = self.directory / f"token-{uuid.uuid4().hex[:8]}"
        self._token = token
        self._count = 0
        self.renew_at_half = False
        self.new_token()

    def new_token(self, token=None):
        """Puts a fresh token where the clients look for it."""
        if token is not None:
            self._token = token
        if self._token is not None:
            text = self._token() if callable(self._token) else self._token
            spare = self.token_file.with_suffix(".new")
            spare.write_text(text)
            spare.rename(self.token_file)

    def token(self):
        return self.token_file.read_text()

    def file(self, suffix):
        self._count += 1
        return self.directory / f"{self.token_file.name}-{self._count}{suffix}"

    def librdkafka(self, **more):
        """Configuration of confluent-kafka; dots stand for underscores in `more`."""
        config = {"bootstrap.servers": self.bootstrap, "client.id": "e2e-confluent",
                  "log_level": 2, "reconnect.backoff.max.ms": 500}
        if self.authority:
            config |= {"security.protocol": "sasl_ssl", "sasl.mechanisms": "OAUTHBEARER",
                       "ssl.ca.location": str(self.authority), "oauth_cb": self._oauth}
        return config | {name.replace("_", "."): value for name, value in more.items()}

    def _oauth(self, _):
        token = self.token()
        end = expiry(token)
        if self.renew_at_half:  # librdkafka renews at 80 % of what it is told
            end = time.time() + (end - time.time()) * 0.6
        return token, end

    def properties(self, **more):
        """A Java properties file."""
        lines = {"bootstrap.servers": self.bootstrap, "client.id": "e2e-java"}
        if self.authority:
            lines |= {
                "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
                "ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.authority),
                "sasl.login.callback.handler.class": "FileTokenLogin",
                "sasl.login.refresh.min.period.seconds": 1,
                "sasl.login.refresh.buffer.seconds": 1,
                "sasl.jaas.config": "org.apache.kafka.common.security.oauthbearer."
                                    f"OAuthBearerLoginModule required file=\"{self.token_file}\";"}
        lines |= {name.replace("_", "."): value for name, value in more.items()}
        file = self.file(".properties")
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return file

    def kcat(self):
        """Arguments and environment of Debian's kcat."""
        arguments = ["-b", self.bootstrap, "-X", "broker.address.family=v4",
                     "-X", "client.id=e2e-kcat"]
        if self.authority:
            arguments += ["-X", "security.protocol=sasl_ssl", "-X", "sasl.mechanisms=OAUTHBEARER",
                          "-X", f"ssl.ca.location={self.authority}",
                          "-X", f"plugin.library.paths={parts.KCAT_TOKEN}"]
        env = dict(os.environ) | {"SLUICE_TOKEN_FILE": str(self.token_file)}
        return arguments, env

    def kafkajs(self):
        settings = {"brokers": self.bootstrap.split(",")}
        if self.authority:
            settings |= {"ca": str(self.authority), "token": str(self.token_file)}
        file = self.file(".json")
        file.write_text(json.dumps(settings))
        return file


def expiry(token):
    """The time at which a token ends, seconds since 1970."""
    body = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])


class Ran:
    """A client that has ended: status, standard output and error."""

    def __init__(self, done):
        self.status, self.out = done.returncode, done.stdout
        self.err = done.stderr.decode(errors="replace")

    @property
    def text(self):
        return self.out.decode(errors="replace") + self.err

    def lines(self, word):
        """The words after `word` of each of our own programs' lines."""
        return [line.split("\t")[1:] for line in self.out.decode(errors="replace").splitlines()
                if line.split("\t")[0] == word]

    def records(self):
        return [_record(words) for words in self.lines("record")]


def run(command, env=None, stdin=b"", timeout_s=RUN_S):
    """Runs a client to its end, with this standard input."""
    return _run(command, env, stdin, timeout_s)


def run_held(command, env=None, timeout_s=RUN_S):
    """Like run(), for programs that end when their standard input does: it is held open."""
    return _run(command, env, None, timeout_s)


def _run(command, env, stdin, timeout_s):
    words = [*DIES_WITH_US, *(str(word) for word in command)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=env) as child:
        kept = {}
        threads = [threading.Thread(target=_keep, args=(kept, name, stream), daemon=True)
                   for name, stream in (("out", child.stdout), ("err", child.stderr))]
        for thread in threads:
            thread.start()
        try:
            if stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(stdin)
                    child.stdin.close()
            wait_for(lambda: not any(thread.is_alive() for thread in threads), timeout_s,
                     f"the end of {' '.join(words[-6:])}")
        except BaseException:
            child.kill()
            raise
        return Ran(subprocess.CompletedProcess(words, child.wait(), kept["out"], kept["err"]))


def _keep(kept, name, stream):
    kept[name] = stream.read()


def new_group(prefix="bob"):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


# --- readers: (door, topic, count, group) -> records

def read_confluent(door, topic, count, group, protocol="classic", **more):
    settings = door.librdkafka(**{
        "group.id": group, "auto.offset.reset": "earliest", "group.protocol": protocol,
        "fetch.wait.max.ms": 300, "enable.auto.commit": False} | more)
    if protocol == "classic":
        settings["session.timeout.ms"] = 10000
    consumer = confluent_kafka.Consumer(settings)
    try:
        consumer.subscribe([topic])
        return poll(consumer, count)
    finally:
        consumer.close()


def poll(consumer, count, timeout_s=RUN_S):
    """`count` records of a confluent consumer; an error of the consumer raises."""
    out = []
    end = time.monotonic() + timeout_s
    while len(out) < count:
        for message in consumer.consume(min(500, count - len(out)), 0.2):
            if message.error():
                if not message.error().retriable():
                    raise confluent_kafka.KafkaException(message.error())
                continue
            out.append(Record(message.partition(), message.offset(), message.timestamp()[1],
                              message.key(), message.value(),
                              tuple((n, v) for n, v in message.headers() or ())))
        if time.monotonic() > end:
            raise TimeoutError(f"{len(out)} of {count} records within {timeout_s} s")
        watch()
    return out


KCAT_FORMAT = "%p %o %T %K %S %k%s %h\x02\n"


def read_kcat(door, topic, count, group):
    arguments, env = door.kcat()
    with_group = ["-G", group, "-X", "auto.offset.reset=earliest", "-c", count, topic] if group \
        else ["-C", "-t", topic, "-c", count]
    ran = run(["kcat", "-q", "-f", KCAT_FORMAT, *arguments, "-X", "fetch.wait.max.ms=300",
               *with_group], env)
    assert ran.status == 0, ran.err
    return parse_kcat(ran.out)


def parse_kcat(data):
    """Records as KCAT_FORMAT shows them; headers stay the one text that kcat makes of them."""
    out, at = [], 0
    while at < len(data):
        numbers = []
        for _ in range(5):
            end = data.index(b" ", at)
            numbers.append(int(data[at:end]))
            at = end + 1
        partition, offset, timestamp, key_length, length = numbers
        key = None if key_length < 0 else data[at:at + key_length]
        at += max(key_length, 0)
        value = None if length < 0 else data[at:at + length]
        at += max(length, 0)
        end = data.index(b"\x02\n", at)
        out.append(Record(partition, offset, timestamp, key, value, data[at + 1:end]))
        at = end + 2
    return out


def kcat_headers(headers):
    """Headers as kcat's %h shows them: each value up to its first zero byte."""
    return b",".join(name.encode() + b"=" + (b"NULL" if value is None else value.split(b"\0")[0])
                     for name, value in headers)


def read_java(door, topic, count, group, protocol="classic", libs=parts.KAFKA, flags=(), **more):
    settings = {"group.id": group, "auto.offset.reset": "earliest", "fetch.max.wait.ms": 300,
                "enable.auto.commit": "false"} if group else {}
    if group and protocol == "classic":
        settings["session.timeout.ms"] = 10000
    if protocol == "consumer":
        settings["group.protocol"] = "consumer"
    file = door.properties(**settings | more)
    ran = run_held(parts.java("Reader", file, topic, count, 0, *flags, libs=libs, heap_mib=192))
    assert ran.status == 0, ran.text[-3000:]
    return ran.records()


def read_java39(door, topic, count, group):
    return read_java(door, topic, count, group, libs=parts.KAFKA39)


def read_java_kip848(door, topic, count, group):
    return read_java(door, topic, count, group, "consumer")


def read_confluent_kip848(door, topic, count, group):
    return read_confluent(door, topic, count, group, "consumer")


def read_kafkajs(door, topic, count, group):
    ran = run(["node", parts.HERE / "node" / "client.js", "read", door.kafkajs(), topic, count,
               group], node_env())
    assert ran.status == 0, ran.text[-3000:]
    return ran.records()


def node_env():
    return dict(os.environ) | {"NODE_PATH": str(parts.NODE_MODULES), "NODE_NO_WARNINGS": "1"}


def sorted_headers(headers):
    """Headers as kafkajs has them: by name, in order of first appearance."""
    order = list(dict.fromkeys(name for name, _ in headers))
    return tuple(header for name in order for header in headers if header[0] == name)


CONSOLE_KEYS = ("print.timestamp", "print.partition", "print.offset", "print.headers", "print.key")
_CONSOLE = re.compile(rb"CreateTime:(\d+)<\|>Partition:(\d+)<\|>Offset:(\d+)<\|>(.*?)<\|>(.*?)<\|>"
                      rb"(.*)", re.S)


def console_consumer(door, topic, count, group, protocol="classic", timeout_ms=None, flags=()):
    """Kafka's own kafka-console-consumer."""
    settings = {"group.protocol": protocol}
    if protocol == "classic":
        settings["session.timeout.ms"] = 10000
    shown = [word for key in CONSOLE_KEYS for word in ("--formatter-property", f"{key}=true")]
    for key, text in (("key.separator", "<|>"), ("line.separator", "<#>"),
                      ("headers.separator", "<,>"), ("null.literal", "<null>")):
        shown += ["--formatter-property", f"{key}={text}"]
    command = parts.java(
        "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", door.bootstrap,
        "--command-config", door.properties(**settings), "--topic", topic, "--group", group,
        "--from-beginning", "--max-messages", count, *shown,
        *(["--timeout-ms", timeout_ms] if timeout_ms else []), *flags, heap_mib=192)
    return run(command)


def read_console(door, topic, count, group, protocol="classic"):
    ran = console_consumer(door, topic, count, group, protocol)
    assert ran.status == 0, ran.text[-3000:]
    out = []
    for entry in ran.out.split(b"<#>")[:-1]:
        found = _CONSOLE.fullmatch(entry)
        assert found, entry[:300]
        timestamp, partition, offset = (int(found.group(i)) for i in (1, 2, 3))
        key, value = (None if found.group(i) == b"<null>" else found.group(i) for i in (5, 6))
        out.append(Record(partition, offset, timestamp, key, value, found.group(4)))
    return out


def read_console_kip848(door, topic, count, group):
    return read_console(door, topic, count, group, "consumer")


def console_headers(headers):
    """Headers as the console consumer shows them."""
    return b"<,>".join(name.encode() + b":" + (b"<null>" if value is None else value)
                       for name, value in headers) or b"NO_HEADERS"


def _record(words):
    partition, offset, timestamp, key, value, headers = words
    pairs = (pair.partition("=") for pair in headers.split(",") if pair)
    return Record(int(partition), int(offset), int(timestamp), _bytes(key), _bytes(value),
                  tuple((name, _bytes(text)) for name, _, text in pairs))


def _bytes(text):
    return None if text == "-" else bytes.fromhex(text)


# name -> (reader, form in which it shows headers, does it need a group)
READERS = {
    "kcat": (read_kcat, kcat_headers),
    "confluent": (read_confluent, None),
    "confluent-kip848": (read_confluent_kip848, None),
    "java-console": (read_console, console_headers),
    "java-console-kip848": (read_console_kip848, console_headers),
    "java-4.3": (read_java, None),
    "java-4.3-kip848": (read_java_kip848, None),
    "java-3.9": (read_java39, None),
    "kafkajs": (read_kafkajs, sorted_headers),
}


# --- writers: (door, topic, count, prefix) -> Ran, or confluent's errors

def write_kcat(door, topic, count, prefix, flags=()):
    arguments, env = door.kcat()
    lines = "".join(f"{prefix}{i}:{prefix}{i}\n" for i in range(count)).encode()
    return run(["kcat", "-P", "-t", topic, "-K", ":", "-X", "message.timeout.ms=8000", *flags,
                *arguments], env, lines)


def write_confluent(door, topic, count, prefix, **more):
    """The errors of the deliveries; [] is success."""
    producer = confluent_kafka.Producer(door.librdkafka(**{
        "enable.idempotence": True, "message.timeout.ms": 8000} | more))
    errors = []
    for i in range(count):
        text = f"{prefix}{i}"
        producer.produce(topic, text, text,
                         on_delivery=lambda error, _: error and errors.append(error))
        producer.poll(0)
    assert producer.flush(30) == 0
    return errors


def write_console(door, topic, count, prefix, **more):
    lines = "".join(f"{prefix}{i}:{prefix}{i}\n" for i in range(count)).encode()
    file = door.properties(**{"max.block.ms": 8000, "delivery.timeout.ms": 8000,
                              "request.timeout.ms": 4000, "linger.ms": 0} | more)
    return run(parts.java("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server",
                          door.bootstrap, "--command-config", file, "--topic", topic,
                          "--reader-property", "parse.key=true",
                          "--reader-property", "key.separator=:"), stdin=lines)


def write_kafkajs(door, topic, count, prefix):
    return run(["node", parts.HERE / "node" / "client.js", "write", door.kafkajs(), topic, count,
                prefix], node_env())


def write_java(door, topic, count, prefix, mode="plain", end=(), libs=parts.KAFKA, **more):
    file = door.properties(**{"max.block.ms": 8000, "delivery.timeout.ms": 8000,
                              "request.timeout.ms": 4000, "linger.ms": 0} | more)
    return run(parts.java("Writer", mode, file, topic, count, prefix, *end, libs=libs))


# --- clients that keep running

class Follower:
    """The Java reader as a running process whose lines can be looked at while it reads."""

    def __init__(self, door, topic, group, protocol="classic", libs=parts.KAFKA, flags=("commit",),
                 **more):
        settings = {"group.id": group, "auto.offset.reset": "earliest", "fetch.max.wait.ms": 300,
                    "enable.auto.commit": "false"}
        if protocol == "consumer":
            settings["group.protocol"] = "consumer"
        else:
            settings |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
        file = door.properties(**settings | more)
        self.process = Process(parts.java("Reader", file, topic, 0, 0, *flags, libs=libs,
                                          heap_mib=192), door.file(".out"),
                               stdin=subprocess.PIPE)

    def lines(self, word):
        text = self.process.output()
        return [line.split("\t")[1:] for line in text[:text.rfind("\n") + 1].splitlines()
                if line.split("\t")[0] == word]

    def records(self):
        return [_record(words) for words in self.lines("record")]

    def finish(self):
        """Asks it to leave its group and waits for its end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait(20)
        self.process.stop()
        return status

    def kill(self):
        self.process.stop(signal.SIGKILL)
