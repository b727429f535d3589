"""A stream that goes on while a case does other things: who writes it, and a consumer that tells what
happened to it."""

import threading

import confluent_kafka

from processes import wait_for


class Writer(threading.Thread):
    """The provider's application: so many events a second until told to stop."""

    def __init__(self, cluster, topic, per_second=10):
        super().__init__(daemon=True)
        self._producer = confluent_kafka.Producer({
            "bootstrap.servers": ",".join(cluster.bootstrap()), "linger.ms": 5, "log_level": 0})
        self._topic, self._pause_s = topic, 1 / per_second
        self.count, self._ending = 0, threading.Event()

    def run(self):
        while not self._ending.wait(self._pause_s):
            self._producer.produce(self._topic, f"event-{self.count}", str(self.count))
            self._producer.poll(0)
            self.count += 1
        self._producer.flush(10)

    def stop(self):
        self._ending.set()
        self.join(15)


class Stream(threading.Thread):
    """librdkafka's consumer in a group: what it read, was assigned, lost and was told."""

    def __init__(self, door, topic, group, **more):
        super().__init__(daemon=True)
        self.seen, self.assigned, self.revoked, self.errors = [], 0, 0, []
        self._ending = threading.Event()
        self._consumer = confluent_kafka.Consumer(door.librdkafka(**{
            "group.id": group, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 200,
            "session.timeout.ms": 6000})
            | {"error_cb": self.errors.append} | more)
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, *_):
        self.assigned += 1

    def _on_revoke(self, *_):
        self.revoked += 1

    def run(self):
        while not self._ending.is_set():
            for message in self._consumer.consume(100, 0.2):
                if message.error():
                    self.errors.append(message.error())
                else:
                    self.seen.append((message.partition(), message.offset()))
        if not self.told():  # who is refused would wait long to say goodbye
            self._consumer.close()
        self._consumer = None

    def goes_on(self, count=5, timeout_s=20):
        """Waits for so many more records."""
        before = len(self.seen)
        wait_for(lambda: len(self.seen) >= before + count, timeout_s, "the stream goes on")

    def undisturbed(self):
        """One assignment, nothing lost, nothing twice, no word of an error."""
        assert (self.assigned, self.revoked) == (1, 0), (self.assigned, self.revoked, self.errors)
        assert not self.errors, self.errors
        assert len(self.seen) == len(set(self.seen)), "nothing twice"

    def told(self, code=confluent_kafka.KafkaError._AUTHENTICATION):
        return any(error.code() == code for error in self.errors)

    def stop(self):
        self._ending.set()
        self.join(20)
