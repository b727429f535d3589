"""A plain TCP relay before a broker: it can be absent, cut its connections, let only so many bytes
through, fall silent, and count what came."""

import contextlib
import socket
import threading

from processes import free_port


class Forward:
    def __init__(self, target, host="127.0.0.1", start=True):
        self.target = target
        self.host, self.port = host, free_port(host)
        self.accepted = 0
        self.to_broker = 0
        self.to_gate = 0
        self.limit = None  # bytes towards the gate until all connections are cut
        self.silent = threading.Event()
        self._lock = threading.Lock()
        self._links = set()
        self._server = None
        if start:
            self.start()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def start(self):
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((self.host, self.port))
        server.listen(128)
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def stop(self):
        """No new connections, and the old ones are cut."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        self.cut()

    def cut(self):
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            for end in link:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self, server):
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                far = socket.create_connection(self.target, 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            link = (near, far)
            with self._lock:
                self._links.add(link)
            for one, other, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=(one, other, back, link),
                                 daemon=True).start()

    def _pump(self, source, sink, towards_gate, link):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if towards_gate:
                    while self.silent.is_set():
                        threading.Event().wait(0.02)
                    self.to_gate += len(data)
                    if self.limit is not None and self.to_gate > self.limit:
                        sink.sendall(data[:len(data) // 2])
                        self.limit = None
                        self.cut()
                        break
                else:
                    self.to_broker += len(data)
                sink.sendall(data)
        for end in link:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            known = link in self._links
            self._links.discard(link)
        if known:
            for end in link:
                end.close()
