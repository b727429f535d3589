"""One of the two that are asked the same: the reference broker, or the gate. It writes down every
answer, with what differs by nature (addresses, the cluster's id, ids of topics, of members and of
producers) replaced by what it stands for, so that answers can be compared value by value."""

import re
import struct
import time
import uuid
import zlib

import messages
import processes
import wire

ZERO = uuid.UUID(int=0)
UNKNOWN = uuid.UUID("7d1b6c2e-9a0f-4e53-8c41-5f6e0a9b3d27")
# What a broker makes up for a member without an id: its client id and a UUID, or a UUID alone.
_MADE_MEMBER = re.compile(r"(e2e-|instance-\w+-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"
                          r"[A-Za-z0-9_-]{22}")
CLOSED = "closed"


class Side:
    """connect(subject) -> Wire, logged in. leader(topic, partition) -> Wire straight to the broker
    that leads it, with all rights."""

    def __init__(self, name, cluster, connect, port, cluster_id=None):
        self.name, self.cluster, self._connect = name, cluster, connect
        self.port, self.cluster_id = port, cluster_id
        self.topic_ids = {}
        self.asked = set()  # (API, version) in all scripts
        self.steps = []     # of the script at hand: (what was asked, what came)
        self.subject = None
        self._connection = None
        self._symbols = {}
        self._brokers = {}  # node -> Wire with all rights

    # --- a script's life

    def begin(self, subject):
        self.end()
        self.subject, self.steps, self._symbols = subject, [], {}

    def end(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def close(self):
        self.end()
        for connection in self._brokers.values():
            connection.close()

    @property
    def connection(self):
        if self._connection is None:
            self._connection = self._connect(self.subject)
        return self._connection

    # --- asking

    def ask(self, api, version, body=None, note="", quiet=False):
        """The raw answer, or None when the connection was closed instead. quiet: not written
        down."""
        try:
            answer = self.connection.ask(api, version, body)
        except (wire.Closed, ConnectionError):
            self.end()
            answer = None
        if not quiet:
            self.record(f"{api} v{version} {note}".rstrip(),
                        CLOSED if answer is None else self.normal(answer))
        return answer

    def until(self, good, api, version, body, note="", timeout_s=10):
        """Asks until the answer is as wanted; that last one is written down."""
        end = time.monotonic() + timeout_s
        while True:
            answer = self.ask(api, version, body, quiet=True)
            if answer is None or good(answer) or time.monotonic() > end:
                self.record(f"{api} v{version} {note}".rstrip(),
                            CLOSED if answer is None else self.normal(answer))
                return answer
            time.sleep(0.02)

    def post_closed(self, api, version, body, note=""):
        """A request without an answer: whether the next one is still answered."""
        self.connection.post(api, version, body)
        after = self.ask("Metadata", 4, {"Topics": []}, quiet=True)
        self.record(f"{api} v{version} {note}", CLOSED if after is None else "nothing")

    def record(self, label, value):
        api, _, rest = label.partition(" v")
        self.asked.add((api, int(rest.partition(" ")[0])))
        self.steps.append((label, value))

    # --- what an answer says

    def _symbol(self, kind, value):
        known = self._symbols.setdefault(kind, {})
        return known.setdefault(value, f"<{kind} {len(known)}>")

    def normal(self, value, field=None):
        if isinstance(value, dict):
            return {name: self.normal(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.normal(inner, field) for inner in value]
        if isinstance(value, uuid.UUID):
            names = {identity: name for name, identity in self.topic_ids.items()}
            return f"<id of {names[value]}>" if value in names else str(value)
        if field == "Port" and value == self.port:
            return "<port>"
        if field == "ClusterId" and value == self.cluster_id:
            return "<cluster id>"
        if field == "ProducerId" and value > -1:
            return self._symbol("producer", value)
        if field == "SessionLifetimeMs":
            return round(value / 60000)
        if field in ("MemberId", "Leader") and value and _MADE_MEMBER.fullmatch(value):
            return self._symbol("member", value)
        if field == "Records" and value:
            return self._records(value)
        return value

    def _records(self, value):
        """Batches byte by byte, but for the producer's id and what it makes of the checksum."""
        out, at = [], 0
        while at + 61 <= len(value):
            size = 12 + struct.unpack_from(">i", value, at + 8)[0]
            batch = bytearray(value[at:at + size])
            producer = struct.unpack_from(">q", batch, 43)[0]
            if producer >= 0:
                batch[17:21] = batch[43:51] = b""
                out.append((self._symbol("producer", producer), bytes(batch).hex()))
            else:
                out.append(bytes(batch).hex())
            at += size
        return out + ([value[at:].hex()] if value[at:] else [])

    def identity(self, topic):
        """The id that this side's cluster gave a topic."""
        return {"unknown": UNKNOWN, "zero": ZERO}.get(topic) or self.topic_ids[topic]

    # --- straight at the brokers

    def brokers(self):
        for index, number in enumerate(self.cluster.numbers):
            if number not in self._brokers:
                self._brokers[number] = wire.Wire(*self.cluster.address(index))
        return self._brokers

    def wait_ended(self, transactional_id):
        """Until a transaction's end has been written to all partitions: brokers answer EndTxn
        before."""
        def state():
            for broker in self.brokers().values():
                found = broker.ask("DescribeTransactions", 0, {
                    "TransactionalIds": [transactional_id]})["TransactionStates"][0]
                if found["ErrorCode"] == 0:
                    return found["TransactionState"]
            return ""
        processes.wait_for(lambda: state() in ("CompleteCommit", "CompleteAbort"), 10,
                           f"the end of {transactional_id}")

    def warm(self):
        """The internal topics are there once a coordinator has been found."""
        def found(kind):
            return all(broker.ask("FindCoordinator", 4, {
                "KeyType": kind, "CoordinatorKeys": ["warm"]})["Coordinators"][0]["ErrorCode"] == 0
                       for broker in self.brokers().values())
        for kind in (0, 1):
            processes.wait_for(lambda: found(kind), 20, "a coordinator", 0.1)

    def make_anew(self, topic, former):
        """Deletes and creates a topic; its former id is known by the second name from now on."""
        def gone():
            return topic not in self.cluster.admin.list_topics(timeout=10).topics
        for future in self.cluster.admin.delete_topics([topic]).values():
            future.result(10)
        processes.wait_for(gone, 10, f"{topic} is gone")
        self.cluster.create_topic(topic, 3, assignment=self.turns())
        old = self.topic_ids[former] = self.topic_ids[topic]
        # A broker that is behind still has the old one.
        processes.wait_for(lambda: all(ids_at(broker, [topic]).get(topic, old) != old
                                       for broker in self.brokers().values()),
                           10, f"{topic} is there anew")
        self.learn_ids([topic])

    def turns(self):
        """Replicas of three partitions, each led by another broker where there are several."""
        numbers = self.cluster.numbers
        return [[numbers[(i + j) % len(numbers)] for j in range(len(numbers))] for i in range(3)]

    def write(self, topic, partition, data):
        leader = self.brokers()[self.cluster.leaders(topic)[partition]]
        answer = leader.ask("Produce", 9, produce_body([(topic, partition, data)]))
        error = answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
        assert error == 0, error

    def learn_ids(self, topics):
        self.topic_ids |= ids_at(next(iter(self.brokers().values())), topics)


def ids_at(broker, topics):
    """Name to id, of those of these topics that this broker knows."""
    answer = broker.ask("Metadata", 12, {"Topics": [{"Name": name} for name in topics]})
    return {t["Name"]: t["TopicId"] for t in answer["Topics"] if t["ErrorCode"] == 0}


# --- records

def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _varint(value):
    value = value << 1 ^ value >> 63
    out = bytearray()
    messages.put_unsigned(out, value)
    return bytes(out)


def batch(values, timestamp=1_750_000_000_000, producer=(-1, -1, -1), transactional=False):
    """A record batch of Kafka's current format; producer: id, epoch, first sequence."""
    rows = b""
    for index, value in enumerate(values):
        row = b"\0" + _varint(index) + _varint(index) + _varint(-1) + _varint(len(value)) \
            + value + _varint(0)
        rows += _varint(len(row)) + row
    count = len(values)
    rest = struct.pack(">hiqqqhii", 0x10 if transactional else 0, count - 1, timestamp,
                       timestamp + count - 1, *producer, count) + rows
    return struct.pack(">qiib", 0, 9 + len(rest), 0, 2) + struct.pack(">I", crc32c(rest)) + rest


def broken_batch():
    return zlib.compress(b"not a batch")


def produce_body(parts, acks=-1, transactional_id=None, ids=None):
    """parts: (topic, partition, batch). ids: a function from name to id, for version 13."""
    topics = {}
    for topic, partition, data in parts:
        topics.setdefault(topic, []).append({"Index": partition, "Records": data})
    return {"TransactionalId": transactional_id, "Acks": acks, "TimeoutMs": 5000,
            "TopicData": [({"TopicId": ids(topic)} if ids else {"Name": topic})
                          | {"PartitionData": rows} for topic, rows in topics.items()]}
