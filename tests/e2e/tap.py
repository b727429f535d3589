"""Between the clients and the gate: a relay that ends TLS towards the clients with the gate's own
certificate, speaks TLS to the gate, and looks at every clear byte that a client receives.

Text that must not leak (hosts, racks, the cluster's id, a broker's free text) is searched in every
byte, whole frames and fragments alike. Numbers that must not leak (ports, node ids) are searched as
int32 in every answer but Fetch, whose records may hold any bytes; a Fetch answer is decoded and
looked at field by field instead, as is each different answer of every other kind. All answers are
kept with their requests besides, for `sluice decode --leaks` (captures.py), which judges them by
the roles of its schema. Raw clients that go around the relay keep theirs themselves (Watcher)."""

import asyncio
import collections
import contextlib
import itertools
import re
import ssl
import struct
import threading

import captures
import messages

FREE_TEXT = (rb"connectionId=", rb"Request\(processor", rb"kafka\.server", rb"127\.0\.44\.")
_NUMBERS_OK = {0, -1}
NODE_FIELDS = {"NodeId", "BrokerId", "LeaderId", "ControllerId", "PreferredReadReplica"}
NODE_LISTS = {"ReplicaNodes", "IsrNodes", "OfflineReplicas", "EligibleLeaderReplicas",
              "LastKnownElr"}


class Findings:
    """What passed, and what should not have. Lives as long as the test run."""

    def __init__(self, texts, numbers, directory):
        self.text_pattern = re.compile(
            b"|".join([re.escape(t.encode()) for t in texts] + list(FREE_TEXT)))
        self.number_pattern = re.compile(
            b"|".join(re.escape(struct.pack(">i", n)) for n in numbers), re.S)
        self.leaks = []
        self.bytes = 0
        self.answers = collections.Counter()
        self.connections = collections.Counter()
        self.undecodable = []
        self.captures = {}  # advertised address -> Capture
        self._numbers = itertools.count(1)  # of conversations
        self._directory = directory
        self._seen = set()

    def _leak(self, where, what):
        if len(self.leaks) < 100:
            self.leaks.append(f"{where}: {what}")

    def fragment(self, data, where):
        for hit in self.text_pattern.finditer(data):
            self._leak(where, hit.group())

    def frame(self, name, version, data, advertised):
        """One whole answer, correlation id first."""
        self.bytes += len(data) + 4
        self.answers[name] += 1
        where = f"{name} v{version}"
        self.fragment(data, where)
        if name == "Fetch":
            self._shape(name, version, data, advertised)
            return
        body = bytes(data[4:])
        if (name, version, body) in self._seen:
            return
        self._seen.add((name, version, body))
        for hit in self.number_pattern.finditer(body):
            self._leak(where, f"{struct.unpack('>i', hit.group())[0]} at {hit.start()} of "
                              f"{body.hex()}")
        self._shape(name, version, data, advertised)

    def capture(self, advertised, gate=None):
        """The gate's capture; a relay without a gate has one as well."""
        if advertised not in self.captures:
            path = self._directory / f"{advertised[0]}-{advertised[1]}"
            self.captures[advertised] = captures.Capture(path, advertised, gate)
        return self.captures[advertised]

    def conversation(self, advertised, port):
        """`port`: which the gate sees its client at."""
        return self.capture(advertised).conversation(next(self._numbers), port)

    def _shape(self, name, version, data, advertised):
        try:
            if name == "ApiVersions" and data[4:6] == b"\0\x23":
                version = 0  # "unsupported version" is answered in the oldest form
            _, body = messages.decode_response(name, version, bytes(data))
        except (ValueError, struct.error, UnicodeDecodeError) as error:
            if len(self.undecodable) < 100:
                self.undecodable.append(f"{name} v{version}: {error}: {bytes(data[:200]).hex()}")
            return
        for path, field, value in _walk(body):
            problem = _problem(field, value, advertised)
            if problem:
                self._leak(f"{name} v{version} {path}", f"{value!r} {problem}")


def _walk(value, path=""):
    """Every field of a decoded body: (path, name, value)."""
    todo = [(path, value)]
    while todo:
        at, here = todo.pop()
        for name, inner in here.items():
            if isinstance(inner, dict):
                todo.append((f"{at}.{name}", inner))
            elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
                todo += [(f"{at}.{name}[{i}]", item) for i, item in enumerate(inner)]
            else:
                yield at, name, inner


def _problem(field, value, advertised):
    if field in NODE_FIELDS and value not in _NUMBERS_OK:
        return "is not the virtual node"
    if field in NODE_LISTS and not set(value or ()) <= {0}:
        return "names other nodes than the virtual one"
    if field == "Host" and value not in (advertised[0], ""):
        return "is not the advertised host"
    if field == "Port" and value not in (advertised[1], -1, 0):
        return "is not the advertised port"
    if field == "Rack" and value:
        return "is a rack"
    if field == "_tags":
        return "are tags that no definition knows"
    return None


class Tap:
    """The relay: an event loop in a thread of its own, a listener for each gate."""

    def __init__(self, findings):
        self.findings = findings
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def open(self, port, target, pair, authority):
        """Listens on 127.0.0.1:port for the gate at `target`."""
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(pair.certificate, pair.key)
        outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        outside.load_verify_locations(authority)
        return self._run(self._open(port, target, inside, outside))

    async def _open(self, port, target, inside, outside):
        async def serve(reader, writer):
            await self._relay(reader, writer, target, outside, ("127.0.0.1", port))
        return await asyncio.start_server(serve, "127.0.0.1", port, ssl=inside, backlog=256)

    def shut(self, server):
        async def stop():
            server.close()
        self._run(stop())

    def close(self):
        async def stop():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _relay(self, reader, writer, target, outside, advertised):
        self.findings.connections[advertised[1]] += 1
        try:
            upstream, gate = await asyncio.open_connection(*target, ssl=outside,
                                                           server_hostname=target[0])
        except OSError:
            writer.transport.abort()
            return
        pending = {}
        seen_at = gate.get_extra_info("sockname")[1]
        behind = self.findings.capture(advertised).gate
        if behind is not None and not behind.config["grants"]:
            self.loop.run_in_executor(None, behind.learn_rights)
        up = asyncio.create_task(_pump(reader, gate, _Requests(pending).feed))
        answers = _Answers(pending, self.findings, advertised,
                           self.findings.conversation(advertised, seen_at))
        down = asyncio.create_task(_pump(upstream, writer, answers.feed))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if up.done() and not down.done():
                # The client said goodbye; what the gate still sends is looked at, too.
                await asyncio.wait((down,), timeout=0.2)
        finally:
            for task in (up, down):
                task.cancel()
            answers.end()
            for end in (writer, gate):
                with contextlib.suppress(Exception):
                    end.transport.abort() if down.done() and down.exception() else end.close()


async def _pump(reader, writer, look):
    while data := await reader.read(262144):
        look(data)
        writer.write(data)
        await writer.drain()


class _Frames:
    """Cuts a stream into frames."""

    def __init__(self):
        self.rest = bytearray()

    def frames(self, data):
        self.rest += data
        while len(self.rest) >= 4:
            length = struct.unpack_from(">i", self.rest)[0]
            if length < 0 or len(self.rest) < 4 + length:
                return
            frame = bytes(self.rest[4:4 + length])
            del self.rest[:4 + length]
            yield frame


class _Requests(_Frames):
    def __init__(self, pending):
        super().__init__()
        self._pending = pending

    def feed(self, data):
        for frame in self.frames(data):
            if len(frame) >= 8:
                key, version, correlation = struct.unpack_from(">hhi", frame)
                self._pending[correlation] = (key, version, frame)


class _Answers(_Frames):
    def __init__(self, pending, findings, advertised, conversation):
        super().__init__()
        self._pending = pending
        self._findings = findings
        self._advertised = advertised
        self._conversation = conversation

    def feed(self, data):
        for frame in self.frames(data):
            correlation = struct.unpack_from(">i", frame)[0] if len(frame) >= 4 else None
            known = self._pending.pop(correlation, None)
            name = messages.names().get(known[0]) if known else None
            if name is None:
                self._findings.fragment(frame, "an answer that nobody asked for")
                continue
            self._findings.frame(name, known[1], frame, self._advertised)
            self._conversation.pair(name, known[1], known[2], frame)

    def end(self):
        self._findings.bytes += len(self.rest)
        self._findings.fragment(bytes(self.rest), "an unfinished frame")


class Watcher:
    """Looks at the clear bytes of a raw client that speaks to the gate itself."""

    def __init__(self, findings, advertised, port):
        pending = {}
        self._requests = _Requests(pending)
        self._answers = _Answers(pending, findings, advertised,
                                 findings.conversation(advertised, port))

    def sent(self, data):
        self._requests.feed(data)

    def received(self, data):
        self._answers.feed(data)

    def end(self):
        self._answers.end()
