"""A small client of the raw protocol: any request, exact answers, and every kind of rubbish."""

import contextlib
import socket
import ssl
import struct

import messages

TIMEOUT_S = 15


class Closed(Exception):
    """The other side closed the connection; `reset` tells how, where the TLS library does."""

    def __init__(self, reset, rest=b""):
        super().__init__("reset" if reset else "closed")
        self.reset = reset
        self.rest = rest


def client_context(authority, pair=None, minimum=None, maximum=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    if minimum is not None:
        context.minimum_version = minimum
    if maximum is not None:
        context.maximum_version = maximum
    return context


class Wire:
    """One connection. Speaks TLS when given an authority's certificate, else plain text."""

    def __init__(self, host, port, authority=None, context=None, receive_bytes=0):
        raw = socket.socket()
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.settimeout(TIMEOUT_S)
        self.socket = raw
        try:
            raw.connect((host, port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if authority is not None or context is not None:
                context = context or client_context(authority)
                self.socket = context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        self.correlation = 0
        self.watcher = None  # sees every byte: tap.Watcher
        self._buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        if self.watcher is not None:
            self.watcher.end()
            self.watcher = None
        with contextlib.suppress(OSError):
            self.socket.close()

    # --- bytes

    def send(self, data):
        if self.watcher is not None:
            self.watcher.sent(data)
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
            raise Closed(True) from error

    def receive(self, limit=65536):
        """Some bytes; raises Closed at the end."""
        try:
            data = self.socket.recv(limit)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
            raise Closed(True, bytes(self._buffer)) from error
        if not data:
            raise Closed(False, bytes(self._buffer))
        if self.watcher is not None:
            self.watcher.received(data)
        return data

    def receive_exactly(self, count):
        while len(self._buffer) < count:
            self._buffer += self.receive(max(65536, count - len(self._buffer)))
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def receive_frame(self):
        return self.receive_exactly(struct.unpack(">i", self.receive_exactly(4))[0])

    def wait_closed(self, timeout_s=TIMEOUT_S):
        """Waits for the end of the connection; what came before it, and whether by reset."""
        self.socket.settimeout(timeout_s)
        try:
            while True:
                self._buffer += self.receive()
        except Closed as closed:
            return bytes(self._buffer), closed.reset
        finally:
            with contextlib.suppress(OSError):
                self.socket.settimeout(TIMEOUT_S)

    def silent(self, seconds):
        """True when nothing arrives and nothing ends within that time."""
        self.socket.settimeout(seconds)
        try:
            self._buffer += self.receive()
            return False
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        finally:
            self.socket.settimeout(TIMEOUT_S)

    # --- requests

    def encode(self, name, version, body=None, **header):
        """The framed bytes of a request under the next correlation id."""
        self.correlation += 1
        return messages.framed(messages.encode_request(
            name, version, body or {}, correlation=self.correlation, **header))

    def post(self, name, version, body=None, **header):
        """Sends a request without waiting; answers come in order, see answer()."""
        self.send(self.encode(name, version, body, **header))
        return self.correlation

    def answer(self, name, version, correlation=None):
        seen, body = messages.decode_response(name, version, self.receive_frame())
        expected = self.correlation if correlation is None else correlation
        if seen != expected:
            raise ValueError(f"answer to {seen} where {expected} was due")
        return body

    def ask(self, name, version, body=None, **header):
        self.post(name, version, body, **header)
        return self.answer(name, version)

    def authenticate(self, token, version=2, extensions=""):
        """SASL/OAUTHBEARER as clients do it; gives the last answer to SaslAuthenticate. A refused
        token is answered as in RFC 7628: first a reason, which the client takes note of with one
        byte, then the failure itself."""
        handshake = self.ask("SaslHandshake", 1, {"Mechanism": "OAUTHBEARER"})
        if handshake["ErrorCode"]:
            return handshake
        return self.present(bearer(token, extensions), version)

    def present(self, message, version=2):
        answer = self.ask("SaslAuthenticate", version, {"AuthBytes": message})
        if answer["ErrorCode"] == 0 and answer["AuthBytes"]:
            answer = self.ask("SaslAuthenticate", version, {"AuthBytes": b"\x01"})
        return answer

    def login(self, token, **arguments):
        """authenticate(), and nothing but success will do."""
        answer = self.authenticate(token, **arguments)
        if answer["ErrorCode"]:
            raise PermissionError(answer["ErrorMessage"])
        return answer

    # --- what cases ask again and again

    def bytes_received(self):
        """How many bytes the kernel took in on this connection, read or not: struct tcp_info's
        tcpi_bytes_received."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return struct.unpack_from("=Q", info, 128)[0]


def bearer(token, extensions=""):
    """The client's first message of RFC 7628."""
    return f"n,,\x01auth=Bearer {token}{extensions}\x01\x01".encode()


def fetch_body(topic, offsets, max_wait_ms=500, min_bytes=1, max_bytes=50 << 20,
               partition_bytes=1 << 20, isolation=0):
    """A sessionless Fetch (up to version 12) of {partition: offset}."""
    return {"ReplicaId": -1, "MaxWaitMs": max_wait_ms, "MinBytes": min_bytes,
            "MaxBytes": max_bytes, "IsolationLevel": isolation, "SessionId": 0,
            "SessionEpoch": -1, "Topics": [{"Topic": topic, "Partitions": [
                {"Partition": partition, "FetchOffset": offset,
                 "PartitionMaxBytes": partition_bytes}
                for partition, offset in offsets.items()]}]}


def fetched(answer):
    """(topic, partition) -> (error, length of the records) of a Fetch answer."""
    return {(topic.get("Topic"), part["PartitionIndex"]):
            (part["ErrorCode"], len(part["Records"] or b""))
            for topic in answer["Responses"] for part in topic["Partitions"]}
