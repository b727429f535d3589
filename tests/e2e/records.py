"""The records that the cases write and expect back, made from a seed: every codec, keys, null keys,
tombstones, empty values, headers with null, empty, binary and repeated entries, large values."""

import random
import typing

import confluent_kafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
START_MS = 1_750_000_000_000


class Record(typing.NamedTuple):
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple


def _value(rng, index):
    if index % 10 == 3:
        return None
    if index % 10 == 7:
        return b""
    if index % 25 == 11:
        return rng.randbytes(30_000)
    if index % 4 == 0:
        return rng.randbytes(rng.randrange(1, 900))
    part = (f'{{"catenaXId":"urn:uuid:{rng.getrandbits(128):032x}","localIdentifiers":[{{"key":'
            f'"manufacturerId","value":"BPNL{rng.randrange(10**12):012d}"}}],"index":{index}}}')
    return (part * rng.randrange(1, 6)).encode()


def _headers(rng, index):
    if index % 3:
        return ()
    kinds = (("trace", f"{rng.getrandbits(64):016x}".encode()), ("nothing", None), ("empty", b""),
             ("bytes", b"\x00\xff\x80\xfe"), ("trace", b"again"))
    return kinds[:1 + index % len(kinds)]


def make(partitions=12, per_codec=25, large_bytes=600_000, seed=4711):
    """{codec: [(partition, timestamp, key, value, headers)]}, to be written codec by codec. The
    first codec gets one large value for each partition."""
    rng = random.Random(seed)
    out = {}
    for codec in CODECS:
        rows = []
        for index in range(per_codec):
            for partition in range(partitions):
                key = None if index % 10 == 5 else f"{codec}-{partition}-{index}".encode()
                rows.append((partition, START_MS + len(rows), key, _value(rng, index),
                             _headers(rng, index)))
        if codec == "none" and large_bytes:
            rows += [(p, START_MS + len(rows) + p, b"large", rng.randbytes(large_bytes), ())
                     for p in range(partitions)]
        out[codec] = rows
    return out


def write(cluster, topic, data):
    """Writes `data` straight to the brokers; gives the records as they must come back."""
    offsets = {}
    expected = []
    for codec, rows in data.items():
        producer = confluent_kafka.Producer({
            "bootstrap.servers": ",".join(cluster.bootstrap()), "compression.codec": codec,
            "max.in.flight": 1, "acks": "all", "linger.ms": 20, "message.max.bytes": 4_000_000})
        failed = []
        for partition, timestamp, key, value, headers in rows:
            offset = offsets.get(partition, 0)
            offsets[partition] = offset + 1
            expected.append(Record(partition, offset, timestamp, key, value, tuple(headers)))
            producer.produce(topic, value, key, partition, timestamp=timestamp,
                             headers=list(headers),
                             on_delivery=lambda error, _: error and failed.append(error))
            producer.poll(0)
        assert producer.flush(60) == 0 and not failed, failed
    return expected


def by_partition(records):
    out = {}
    for record in records:
        out.setdefault(record.partition, []).append(record)
    return out


def assert_same(got, expected, headers=lambda h: h):
    """Complete, in order within each partition, and byte-identical. `headers` brings expected
    headers into the form that a client is able to show."""
    got, expected = by_partition(got), by_partition(expected)
    assert sorted(got) == sorted(expected)
    for partition, rows in expected.items():
        seen = got[partition]
        assert [r.offset for r in seen] == [r.offset for r in rows], f"partition {partition}"
        for one, other in zip(seen, rows):
            assert one == other._replace(headers=headers(other.headers)), (
                f"partition {partition} offset {other.offset}: got {str(one)[:300]} "
                f"instead of {str(other)[:300]}")
