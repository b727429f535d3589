"""sluice and HAProxy before the same real brokers, measured in one run, turn and turn about.

Prints Markdown: what was measured, medians of all rounds with the smallest and the largest, and
ratios. It judges nothing. `--only fetch,request` leaves the other parts out."""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))

import confluent_kafka  # noqa: E402

import gate as gates  # noqa: E402
import idp as idps  # noqa: E402
import kafka  # noqa: E402
import parts  # noqa: E402
import pki  # noqa: E402
from processes import DIES_WITH_US, Process, free_port, wait_for  # noqa: E402

LOAD = parts.BUILD / "bench-load"
TOPIC, PARTITIONS = "bench", 12
RECORD_BYTES = 1024
PARTS = ("fetch", "request", "handshake", "idle", "consumer")
FETCH_ANSWERS = 1024  # of 1 MiB
REQUESTS = 5000
HANDSHAKES = 500
IDLE_CONNECTIONS = 1000
IDLE_WARM_UP = 50
MIB, GIB = 1 << 20, 1 << 30
# Brokers as in production, not quick to start as the tests want them.
parts.JVM = ["java", "-XX:+UseSerialGC", "-Xshare:auto"]
LIMITS = {"connections": 20000, "connections_per_address": 20000,
          "connections_per_principal": 20000}


def cpu_s(pid):
    """User and system time of all threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    try:
        text, name = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), "Rss:"
    except PermissionError:  # only root may look into a process that leaves no core dumps
        text, name = pathlib.Path(f"/proc/{pid}/status").read_text(), "VmRSS:"
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError("the process tells nothing of its memory")


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Target:
    """What the load is sent to. pid None: nothing stands between, nobody's CPU is counted."""

    def __init__(self, name, port, pid, host="127.0.0.1", authority=None, token=None):
        self.name, self.pid = name, pid
        self.common = ["--host", host, "--port", port, "--topic", TOPIC]
        if authority:
            self.common += ["--ca", authority.certificate]
        if token:
            self.common += ["--token", token]

    def command(self, what, partitions, **options):
        command = [LOAD, what, *self.common, "--partitions", ",".join(map(str, partitions))]
        for name, value in options.items():
            command += [f"--{name}", value]
        return [str(word) for word in command]

    def load(self, what, partitions, **options):
        """Runs the load to its end; what it says, and the CPU seconds that it cost the target."""
        before = cpu_s(self.pid) if self.pid else 0
        done = subprocess.run(self.command(what, partitions, **options), capture_output=True,
                              check=False, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {done.stderr.strip()}")
        said = json.loads(done.stdout)
        said["cpu_s"] = cpu_s(self.pid) - before if self.pid else 0
        return said

    def warm_up(self, partitions):
        """Until one request is answered from each partition: the first may be told to try again."""
        for partition in partitions:
            wait_for(lambda p=partition: subprocess.run(self.command("request", [p], count=100),
                                                        capture_output=True,
                                                        check=False).returncode == 0,
                     20, f"{self.name} answers", 0.2)


class Bench:
    def __init__(self, directory, rounds):
        self.directory, self.rounds = directory, rounds
        self.stack = contextlib.ExitStack()
        self.authority = pki.Authority(directory / "ca", "bench authority")
        self.idp = idps.Idp(directory / "idp")
        self.stack.callback(self.idp.close)
        self.cluster = kafka.Cluster(directory / "kafka", self.authority, self.idp)
        self.stack.callback(self.cluster.close)
        self.pair = self.authority.issue("front", addresses=["127.0.0.1"])
        self.token = None
        self.leaders = []  # one partition for each broker

    def start(self):
        self.cluster.start()
        self.cluster.create_topic(TOPIC, PARTITIONS, replication=1)
        leaders = self.cluster.leaders(TOPIC, PARTITIONS)
        self.leaders = [next(p for p, leader in sorted(leaders.items()) if leader == node)
                        for node in kafka.NODES]
        self.token = self.idp.token("bench", ttl_s=7200)

    def sluice(self, name, tls=False):
        """A fresh gate. The audit trail is on, as it would be. tls: towards the brokers, too."""
        entry = gates.grant("bench", "bench", [TOPIC], "bench")
        upstream = {"connects_per_s": 10000}
        if tls:
            upstream |= {"security": "tls", "tls": {"ca": str(self.authority.certificate)}}
        made = gates.Gate(self.directory / name, self.cluster, self.idp, self.authority,
                          grants=[entry], upstream=upstream,
                          brokers=self.cluster.bootstrap("tls" if tls else "plaintext"),
                          config={"workers": 1, "limits": LIMITS, "log": {"level": "info"},
                                  "tls": {"certificate": str(self.pair.certificate),
                                          "key": str(self.pair.key)}})
        made.start()
        self.stack.callback(made.close)
        target = Target("sluice", made.port, made.process.pid, authority=self.authority,
                        token=self.token)
        target.gate = made
        target.warm_up(self.leaders)
        return target

    def haproxy(self, name, suites=None):
        """A fresh HAProxy before the first partition's leader."""
        host, broker = self.cluster.address(0)
        port, file = free_port(), self.directory / f"{name}.cfg"
        more = f" ciphersuites {suites}" if suites else ""
        file.write_text("global\n  nbthread 1\n  maxconn 4000\n"
                        "defaults\n  mode tcp\n  timeout connect 5s\n"
                        "  timeout client 1h\n  timeout server 1h\n"
                        f"listen kafka\n  bind 127.0.0.1:{port} ssl crt {self.pair.both}{more}\n"
                        f"  server broker {host}:{broker}\n")
        process = Process(["haproxy", "-db", "-f", file], self.directory / f"{name}.log")
        self.stack.callback(process.stop)
        target = Target(name, port, process.pid, authority=self.authority)
        target.warm_up(self.leaders[:1])
        return target

    def close(self):
        self.stack.close()

    # --- what is measured; each gives {target: {figure: [one a round]}}

    def turns(self, targets, what, measure):
        out = {target.name: {} for target in targets}
        for turn in range(self.rounds):
            order = targets if turn % 2 == 0 else targets[::-1]
            for target in order:
                for figure, value in measure(target).items():
                    out[target.name].setdefault(figure, []).append(value)
            note(f"{what}: round {turn + 1} of {self.rounds}")
        return out

    def fetch(self, targets):
        def measure(target):
            said = target.load("fetch", self.leaders[:1], count=FETCH_ANSWERS)
            return {"fetch_cpu": said["cpu_s"] / (said["bytes"] / GIB),
                    "fetch_rate": said["bytes"] / MIB / said["seconds"]}
        return self.turns(targets, "fetch", measure)

    def request(self, targets):
        def measure(target):
            said = target.load("request", self.leaders[:1], count=REQUESTS)
            return {"request_cpu": said["cpu_s"] / REQUESTS * 1e6, "p50": said["p50_us"],
                    "p99": said["p99_us"]}
        return self.turns(targets, "request", measure)

    def handshake(self, targets):
        def measure(target):
            said = target.load("handshake", self.leaders[:1], count=HANDSHAKES)
            return {"handshake_cpu": said["cpu_s"] / HANDSHAKES * 1e3}
        return self.turns(targets, "handshake", measure)

    def idle(self, target, partitions):
        """Growth of resident KiB per connection: [logged in, one request each to a first broker, a
        second, ...]. The first connections pay for what is shared; they are held throughout."""
        def begin(count):
            child = subprocess.Popen(
                [*DIES_WITH_US, *target.command("idle", partitions, count=count)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.stack.callback(child.wait)
            self.stack.callback(child.stdin.close)
            return child

        def step(child, first=False):
            if not first:
                child.stdin.write("\n")
                child.stdin.flush()
            if not child.stdout.readline():
                raise RuntimeError(f"{target.name}: the idle load ended")
            time.sleep(0.3)
            return resident_kib(target.pid)

        warm = begin(IDLE_WARM_UP)
        for number in range(len(partitions) + 1):
            before = step(warm, number == 0)
        load, out = begin(IDLE_CONNECTIONS), []
        for number in range(len(partitions) + 1):
            after = step(load, number == 0)
            out.append((after - before) / IDLE_CONNECTIONS)
            before = after
        note(f"idle: {target.name}")
        return out

    # --- a consumer of all partitions

    def fill(self, records):
        note(f"writing {records} records of {RECORD_BYTES} bytes")
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": ",".join(self.cluster.bootstrap()), "linger.ms": 50,
             "batch.size": 1000000, "queue.buffering.max.messages": 200000, "acks": 1})
        value = os.urandom(RECORD_BYTES)
        for number in range(records):
            while True:
                try:
                    producer.produce(TOPIC, value, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.05)
            if number % 1000 == 0:
                producer.poll(0)
        if producer.flush(60) != 0:
            raise RuntimeError("not all records were written")

    def consume(self, records, settings, pid=None):
        """Reads all records once."""
        consumer = confluent_kafka.Consumer(
            {"group.id": "bench", "enable.auto.commit": False, "log_level": 3,
             # else it rests for a second whenever it is ahead of us
             "fetch.queue.backoff.ms": 10} | settings)
        consumer.assign([confluent_kafka.TopicPartition(TOPIC, partition, 0)
                         for partition in range(PARTITIONS)])
        before, own, begin = cpu_s(pid) if pid else 0, os.times(), time.monotonic()
        left, last = records, begin
        while left > 0:
            found = consumer.consume(min(left, 10000), 1)
            if found:
                last = time.monotonic()
            elif time.monotonic() - last > 20:
                raise RuntimeError(f"no record in 20 s, {left} are missing")
            for message in found:
                if message.error():
                    raise RuntimeError(str(message.error()))
            left -= len(found)
        seconds, after = time.monotonic() - begin, os.times()
        spent = cpu_s(pid) - before if pid else 0
        consumer.close()
        size = records * RECORD_BYTES
        return {"rate": size / MIB / seconds, "client_cpu": (after.user + after.system - own.user -
                                                             own.system) / (size / GIB),
                "gate_cpu": spent / (size / GIB)}

    def consumer(self, target, records):
        def token(_):
            return self.token, time.time() + 3600
        def broker_token(_):
            return self.idp.token("bench", aud="kafka"), time.time() + 3600
        secure = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER",
                  "ssl.ca.location": str(self.authority.certificate)}
        ways = {
            "through sluice": (secure | {"oauth_cb": token, "bootstrap.servers":
                                         f"127.0.0.1:{target.gate.port}"}, target.pid),
            "direct, TLS": (secure | {"oauth_cb": broker_token, "bootstrap.servers":
                                      ",".join(self.cluster.bootstrap("sasl_tls"))}, None),
            "direct, plain": ({"bootstrap.servers": ",".join(self.cluster.bootstrap())}, None),
        }
        out = {name: {} for name in ways}
        for turn in range(self.rounds):
            for name, (settings, pid) in ways.items():
                for figure, value in self.consume(records, settings, pid).items():
                    out[name].setdefault(figure, []).append(value)
            note(f"consumer: round {turn + 1} of {self.rounds}")
        return out


# --- the tables

def shown(values, digits):
    """Median (smallest to largest)."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(ours, theirs):
    if not ours or not theirs or statistics.median(theirs) == 0:
        return "-"
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


FIGURES = (
    ("fetch_cpu", "Fetch of 1 MiB answers, CPU-s per GiB", 2),
    ("fetch_rate", "the same, MiB/s", 0),
    ("request_cpu", "ListOffsets, CPU µs per request", 1),
    ("p50", "the same, p50 µs", 0),
    ("p99", "the same, p99 µs", 0),
    ("handshake_cpu", "handshake, CPU ms", 2),
)


def print_sides(found, plain):
    if not any(found.values()):
        return
    print("| | sluice | HAProxy | ratio | HAProxy, AES-128-GCM | ratio |")
    print("|---|---|---|---|---|---|")
    for figure, title, digits in FIGURES:
        ours, theirs, same = (found[name].get(figure, []) for name in
                              ("sluice", "haproxy", "haproxy-aes128"))
        if ours:
            print(f"| {title} | {shown(ours, digits)} | {shown(theirs, digits)} | "
                  f"{ratio(ours, theirs)} | {shown(same, digits)} | {ratio(ours, same)} |")
    idle = found["idle"]
    if idle:
        ours, theirs, same = idle["sluice"], idle["haproxy"], idle["haproxy-aes128"]
        first = ours[0] + ours[1]
        print(f"| idle, logged in, no upstream, KiB | {ours[0]:.1f} | - | - | - | - |")
        print(f"| idle, one upstream connection, KiB | {first:.1f} | {sum(theirs):.1f} | "
              f"{first / sum(theirs):.2f} | {sum(same):.1f} | {first / sum(same):.2f} |")
        for number, value in enumerate(ours[2:], 2):
            print(f"| idle, for upstream connection {number}, KiB | {value:.1f} | - | - | - | - |")
        both = idle["sluice-tls"]
        print(f"| idle, one upstream connection with TLS, KiB | {both[0] + both[1]:.1f} | - | - |"
              " - | - |")
        for number, value in enumerate(both[2:], 2):
            print(f"| idle, for upstream connection {number} with TLS, KiB | {value:.1f} | - | - |"
                  " - | - |")
    if plain:
        print(f"\nThe same ListOffsets without a proxy or TLS: p50 {shown(plain['p50'], 0)} µs, "
              f"p99 {shown(plain['p99'], 0)} µs.")


def print_consumer(found):
    print("\n| consumer, 12 partitions on three brokers | MiB/s | client's CPU-s per GiB | "
          "sluice's CPU-s per GiB |")
    print("|---|---|---|---|")
    for name, figures in found.items():
        spent = shown(figures["gate_cpu"], 2) if name == "through sluice" else "-"
        print(f"| {name} | {shown(figures['rate'], 0)} | {shown(figures['client_cpu'], 2)} | "
              f"{spent} |")


def first_line(*command):
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return (done.stdout.splitlines() or ["unknown"])[0]


def print_head(rounds):
    model = next((line.partition(":")[2].strip() for line in
                  pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown processor")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}; "
          f"{first_line('openssl', 'version')}; {first_line('haproxy', '-v')}; "
          f"load average before: {load}.\nMedians of {rounds} rounds, smallest and largest in "
          "brackets.\n")


def measure(bench, only, records):
    found = {name: {} for name in ("sluice", "haproxy", "haproxy-aes128", "idle")}
    plain, read = {}, {}
    ours = bench.sluice("sluice")
    sides = [ours, bench.haproxy("haproxy"),
             bench.haproxy("haproxy-aes128", "TLS_AES_128_GCM_SHA256")]
    for part in ("fetch", "request", "handshake"):
        if part in only:
            for name, figures in getattr(bench, part)(sides).items():
                found[name] |= figures
    if "request" in only:
        host, port = bench.cluster.address(0)
        direct = Target("plain", port, None, host)
        plain = bench.request([direct])["plain"]
    if "consumer" in only:
        read = bench.consumer(ours, records)
    if "idle" in only:
        found["idle"] = {
            "sluice": bench.idle(bench.sluice("sluice-idle"), bench.leaders),
            "sluice-tls": bench.idle(bench.sluice("sluice-idle-tls", tls=True), bench.leaders),
            "haproxy": bench.idle(bench.haproxy("haproxy-idle"), bench.leaders[:1]),
            "haproxy-aes128": bench.idle(
                bench.haproxy("haproxy-aes128-idle", "TLS_AES_128_GCM_SHA256"),
                bench.leaders[:1])}
    return found, plain, read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=500000, help="that the consumer reads")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations")
    options = parser.parse_args()
    only = options.only.split(",")
    if set(only) - set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    print_head(options.rounds)
    bench = Bench(directory, options.rounds)
    try:
        bench.start()
        bench.fill(options.records if "consumer" in only else 60000)
        found, plain, read = measure(bench, only, options.records)
        print_sides(found, plain)
        if read:
            print_consumer(read)
    finally:
        bench.close()
        if options.keep:
            note(f"logs and configurations: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
