"""Every client reads twelve partitions led by three brokers: complete, in order, byte-identical."""

import pytest

import clients
import gate as gates
import records


@pytest.fixture(scope="module")
def gate(request, make_gate, serial_parts):
    if request.config.getoption("--direct"):
        return None
    return make_gate("read", grants=[gates.grant("read-bob", "bob", ["serial-parts"], "bob")])


@pytest.mark.direct
@pytest.mark.parametrize("name", clients.READERS)
def test_reads_everything_unchanged(name, gate, doors, serial_parts):
    read, headers = clients.READERS[name]
    got = read(doors(gate), "serial-parts", len(serial_parts), clients.new_group())
    records.assert_same(got, serial_parts, headers or (lambda h: h))


@pytest.mark.direct
def test_kcat_reads_without_a_group(gate, doors, serial_parts):
    got = clients.read_kcat(doors(gate), "serial-parts", len(serial_parts), None)
    records.assert_same(got, serial_parts, clients.kcat_headers)


@pytest.mark.direct
@pytest.mark.parametrize("libs", ["4.3", "3.9"])
def test_java_assigns_partitions_without_a_group(libs, gate, doors, serial_parts):
    chosen = clients.parts.KAFKA if libs == "4.3" else clients.parts.KAFKA39
    got = clients.read_java(doors(gate), "serial-parts", len(serial_parts), None, libs=chosen)
    records.assert_same(got, serial_parts)


@pytest.mark.direct
def test_small_fetches_read_the_same(gate, doors, serial_parts):
    """Answers far smaller than the records' sum: many rounds, one partition's large value each."""
    got = clients.read_confluent(doors(gate), "serial-parts", len(serial_parts),
                                 clients.new_group(),
                                 **{"fetch.message.max.bytes": 50_000, "fetch.max.bytes": 100_000,
                                    "message.max.bytes": 100_000})
    records.assert_same(got, serial_parts)
