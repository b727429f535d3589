"""Every answer that a client received, with its request, as packet captures for `sluice decode
--leaks`: a capture for each gate and each set of rights, since what may be named depends on them."""

import functools
import json
import struct
import subprocess
import threading

import messages
import parts

SEGMENT_BYTES = 60000
# Of the answers with many records, that many a connection: a client that streams for a while fills a
# disk otherwise. The relay's own look at fields (tap.py) leaves none out.
LARGE_BYTES, LARGE_KEPT = 65536, 50
CAPTURE_BYTES = 256 << 20  # for one run of the linter, which takes 1 GiB at most
_PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 17, 101)  # raw IP
# What the gate says itself beside error 58, and of SaslAuthenticate in an open session.
OWN_TEXTS = ("Authentication failed.", "Re-authentication must keep participant, topics, group "
             "prefix and operations.", "SaslAuthenticate request received after successful "
             "authentication")
NAMES = ("a foreign topic", "a foreign group", "a foreign transactional id")
NOBODY = (("",), ())  # the rights of who has not logged in
NO_GROUP = "\x7f"  # a prefix that no group has


def _packet(source, port, target, sequence, data):
    """One TCP segment, without checksums, which nobody looks at here."""
    tcp = struct.pack(">HHIIBBHHH", port if source else 9092, 9092 if source else port, sequence,
                      0, 0x50, 0x18, 65535, 0, 0) + data
    client, broker = struct.pack(">I", 0x0A000000 + target), bytes((192, 0, 2, 1))
    addresses = client + broker if source else broker + client
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses + tcp
    return struct.pack("<IIII", 0, 0, len(ip), len(ip)) + ip


class Conversation:
    """One client's connection: pairs of request and answer, in the gate's file."""

    def __init__(self, file, lock, index, port):
        self.index, self.port = index, port  # the port that the gate sees
        self.pieces = []  # (offset, length) in the file
        self._file, self._lock = file, lock  # the relay's thread and the cases' write to it
        self._sent = [0, 0]
        self._large = 0

    def pair(self, name, version, request, answer):
        if name == "ApiVersions" and answer[4:6] == b"\0\x23":
            # "Unsupported version" is answered in the oldest form.
            request, version = request[:2] + b"\0\0" + request[4:8] + b"\xff\xff", 0
        elif version not in messages.response(name).versions:
            return
        self._large += len(answer) > LARGE_BYTES
        if len(answer) > LARGE_BYTES and self._large > LARGE_KEPT:
            return
        for source, frame in ((True, request), (False, answer)):
            self._write(source, messages.framed(frame))

    def _write(self, source, data):
        with self._lock:
            self._append(source, data)

    def _append(self, source, data):
        for at in range(0, len(data), SEGMENT_BYTES):
            part = data[at:at + SEGMENT_BYTES]
            packet = _packet(source, 1024 + self.index % 60000, self.index, self._sent[source],
                             part)
            self._sent[source] = (self._sent[source] + len(part)) & 0xFFFFFFFF
            self.pieces.append((self._file.seek(0, 2), len(packet)))
            self._file.write(packet)

    def bytes(self):
        for offset, length in self.pieces:
            self._file.seek(offset)
            yield self._file.read(length)

    @functools.cached_property
    def asked(self):
        """Every text that the client itself sent, by the definitions. Looked at when all is over.
        """
        requests = b"".join(packet[16 + 40:] for packet in self.bytes()
                            if packet[16 + 20:16 + 22] != b"\x23\x84")  # from 9092: answers
        found, start = set(), 0
        while start < len(requests):
            length = struct.unpack_from(">i", requests, start)[0]
            key, version = struct.unpack_from(">hh", requests, start + 4)
            at = start + 14 + max(0, struct.unpack_from(">h", requests, start + 12)[0])
            message = messages.request(messages.names()[key])
            if version in message.flexible:
                at += 1  # header tags, which no client of ours sends
            start += 4 + length
            if version in message.versions and at < start:
                # librdkafka's Metadata for all topics has three bytes too many.
                _texts(message.decode(requests[at:start], version, may_be_left=3), found)
        return found


def _texts(value, found):
    todo = [value]
    while todo:
        here = todo.pop()
        if isinstance(here, dict):
            todo += here.values()
        elif isinstance(here, list):
            todo += here
        elif isinstance(here, str):
            found.add(here)


class Capture:
    """All conversations of one gate. `gate` tells whose rights were whose; None: nobody's."""

    def __init__(self, path, advertised, gate=None):
        self.advertised, self.gate = advertised, gate
        self.conversations = []
        self._path = path
        self._file, self._lock = open(path, "w+b"), threading.Lock()

    def conversation(self, index, port):
        made = Conversation(self._file, self._lock, index, port)
        self.conversations.append(made)
        return made

    def judged(self):
        """What the linter says: texts, one for each leak; how many conversations were judged by
        their names as well; and for how many of those that logged in the rights are not known."""
        said, groups = [], {}
        rights = self.gate.rights_by_port() if self.gate is not None else {}
        for one in self.conversations:
            if one.pieces:
                groups.setdefault(rights.get(one.port, NOBODY), []).append(one)
        for view, members in groups.items():
            for some in _parts(members):
                said += self._judge(view, some)
        unknown = len(groups.get(None, ()))
        return said, sum(map(len, groups.values())) - unknown, unknown

    def _judge(self, view, members):
        path = self._path.with_suffix(".pcap")
        with open(path, "wb") as out:
            out.write(_PCAP)
            for one in members:
                for packet in one.bytes():
                    out.write(packet)
        words = ["--leaks", "--node", "0"]
        for text in OWN_TEXTS:
            words += ["--own-text", text]
        words += ["--advertise", f"{self.advertised[0]}:{self.advertised[1]}"]
        if self.gate is not None:
            words += ["--cluster", self.gate.cluster_id]
        if view is not None:  # else any name
            for topic in view[0]:
                words += ["--topic", topic]
            prefixes = list(filter(None, view[1])) or [NO_GROUP]
            if len(prefixes) == 1:  # the linter knows one
                words += ["--group-prefix", *prefixes]
        ran = subprocess.run([parts.SLUICE, "decode", "--pcap", *words, path],
                             capture_output=True, text=True, check=False)
        if ran.returncode not in (0, 3):
            return [f"status {ran.returncode}: {ran.stderr[:2000]}{ran.stdout[-2000:]}"]
        by_address = {f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:{1024 + i % 60000}": one
                      for one in members for i in (one.index,)}
        return [text for line in ran.stdout.splitlines()
                for text in _explained(json.loads(line), by_address)]


def _parts(conversations):
    """Lists of them that make captures of a bounded size."""
    part, size = [], 0
    for one in conversations:
        length = sum(length for _, length in one.pieces)
        if part and size + length > CAPTURE_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    yield part


def _explained(document, by_address):
    """The leaks of an answer, but for names that the client itself had named before."""
    if "leaks" not in document:
        return [f"not decoded: {json.dumps(document)[:600]}"]
    kept = document["leaks"]
    if any(leak["why"] in NAMES for leak in kept):
        asked = by_address[document["to"]].asked
        kept = [leak for leak in kept if leak["why"] not in NAMES or leak["value"] not in asked]
    return [f"{document.get('api')} v{document.get('version')}: {leak}" for leak in kept]
