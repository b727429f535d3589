"""14. CX-0127 payloads of five kinds, with every codec, with headers and keys: what the provider wrote
is what the consumer gets, byte by byte."""

import pytest

import clients
import payloads
import plane as planes
import records


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider)


@pytest.fixture(scope="module")
def written(cluster):
    """A topic with every kind in every codec, and its records."""
    topic = planes.unique("industry-core")
    cluster.create_topic(topic, 3)
    data = {codec: payloads.rows(3, 4, seed=number) for number, codec in enumerate(records.CODECS)}
    return topic, records.write(cluster, topic, data)


@pytest.fixture(scope="module")
def edr(plane, bob_connector, provider, contracts, written):
    return bob_connector.transfer(provider, contracts(bob_connector, provider, written[0])).edr()


@pytest.mark.parametrize("name", clients.READERS)
def test_byte_identical(name, plane, edr, written):
    reader, headers = clients.READERS[name]
    topic, expected = written
    kinds = {dict(r.headers)["aspect"].decode() for r in expected}
    assert kinds == set(payloads.KINDS) and len(expected) == 3 * 4 * 5 * len(records.CODECS)
    got = reader(plane.door(edr), topic, len(expected),
                 f"{edr['kafka.group.prefix']}-{planes.unique(name)}")
    records.assert_same(got, expected, headers or (lambda h: h))
