"""7. An unmodified consumer application, streaming for as long as it likes: its connections and its
place in the group outlive many tokens, each of which comes from a transfer of its own, as today's
consumers do it (a whole new negotiation at every renewal)."""

import threading
import time

import pytest

import clients
import plane as planes
import streams
from processes import wait_for

LIFE_S = 16
LIVES = 3


@pytest.fixture(scope="module")
def plane(make_plane, provider):
    return make_plane(provider, life_s=LIFE_S)


@pytest.fixture(scope="module")
def topic(cluster):
    name = planes.unique("stream")
    cluster.create_topic(name, 3)
    return name


@pytest.fixture
def writer(cluster, topic):
    made = streams.Writer(cluster, topic)
    made.start()
    yield made
    made.stop()


class Application(threading.Thread):
    """A Java consumer whose login negotiates and transfers anew for every token."""

    def __init__(self, plane, consumer, provider, asset, topic, protocol):
        super().__init__(daemon=True)
        self._plane, self._consumer, self._provider, self._asset = plane, consumer, provider, asset
        self.transfers, self.problem, self._ending = [], None, threading.Event()
        self.door = plane.door(self._edr)
        self.follower = clients.Follower(self.door, topic, f"bob-{planes.unique(protocol)}",
                                         protocol)
        self.start()

    def _edr(self):
        agreement = self._consumer.negotiate(self._provider, self._asset)
        self.transfers.append(self._consumer.transfer(self._provider, agreement))
        return self.transfers[-1].edr()

    def run(self):
        """Renews often enough for Java, which takes what is there at four fifths of a token's
        life."""
        while not self._ending.wait(LIFE_S / 4):
            try:
                self.door.new_token()
            except Exception as error:  # shown by the case
                self.problem = error
                return

    def stop_renewing(self):
        self._ending.set()
        self.join(40)
        assert self.problem is None, self.problem

    def sessions(self):
        """Its sessions, by their number."""
        own = {t.id for t in self.transfers}
        return {s["session"]: s for s in self._plane.gate.sessions() if set(s["grants"]) & own}

    def in_use(self):
        """Numbers of the sessions that carry something. The connection by which Java began lies
        idle, is never renewed and ends with its token."""
        before = self.sessions()
        self.goes_on()
        return {number for number, s in self.sessions().items()
                if number in before and s["requests"] > before[number]["requests"]}

    def goes_on(self):
        count = len(self.follower.records())
        wait_for(lambda: len(self.follower.records()) > count + 10, 20, "the stream goes on")
        assert not self.follower.lines("error")


def test_one_connection_many_tokens(plane, bob_connector, provider, topic, writer):
    """Two applications, one for each of the two group protocols."""
    provider.offer(asset := planes.unique("asset"), planes.address(topic))
    apps = [Application(plane, bob_connector, provider, asset, topic, protocol)
            for protocol in ("classic", "consumer")]
    try:
        for app in apps:
            wait_for(app.follower.records, 40, "the consumer reads")
        first = [app.in_use() for app in apps]
        assert all(first)
        time.sleep(LIVES * LIFE_S)
        for app, before in zip(apps, first):
            now = app.sessions()
            assert before <= set(now), "the first connections are still the ones in use"
            assert not [s for s in now.values() if app.transfers[0].id in s["grants"]], \
                "they belong to later transfers"
            app.goes_on()
            assert len(app.follower.lines("assigned")) == 1, "no rebalance"
            assert not app.follower.lines("revoked")
            seen = [(r.partition, r.offset) for r in app.follower.records()]
            assert len(seen) == len(set(seen)), "nothing twice"
        # The transfers that are not in use end; the sessions are not theirs any more.
        for app in apps:
            used = {identity for s in app.sessions().values() for identity in s["grants"]}
            for transfer in app.transfers[:-2]:  # the latest one is about to be used
                if transfer.id not in used:
                    transfer.terminate()
            app.goes_on()
        # What is in use ends, and with it the stream.
        for app in apps:
            app.stop_renewing()
            for transfer in app.transfers:
                if transfer.at_provider()["state"] == "STARTED":
                    transfer.terminate()
        # Java says so each time that it tries; once it has gone back to its bootstrap address, the
        # consumer of the newer protocol does not always throw it as well.
        for app in apps:
            wait_for(lambda: "failed authentication" in app.follower.process.output(), 40,
                     "the consumer is shut out")
            thrown = app.follower.lines("error")
            assert not thrown or thrown[0][0] == "SaslAuthenticationException"
            assert not app.sessions()
    finally:
        for app in apps:
            app.stop_renewing()
            app.follower.kill()
