"""Child processes that are surely ended, waiting for events with a deadline, free ports."""

import atexit
import contextlib
import random
import signal
import socket
import subprocess
import threading
import time

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_children = set()
_lock = threading.Lock()
# Below Linux' ephemeral range, so that no outgoing connection takes a stopped node's port.
_PORTS = range(21000, 31000)
_given = {}
# Called while a case waits; each raises when waiting has become pointless.
watchers = []


def watch():
    for watcher in watchers:
        watcher()


def _claim(port):
    """A lock on the port's number, so that suites that run beside one another never get the same
    one; it goes with this process. None when another has it."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0sluice-test-port-{port}")
    except OSError:
        lock.close()
        return None
    return lock


def free_port(host="127.0.0.1", wanted=None):
    """A port that nobody listens on; `wanted` if that is one."""
    for turn in range(1000):
        port = wanted if wanted and turn == 0 else random.choice(_PORTS)
        if port in _given:
            continue
        lock = _claim(port)
        if lock is None:
            continue
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                lock.close()
                continue
        _given[port] = lock
        return port
    raise RuntimeError("no free port")


def wait_for(condition, timeout_s, what, interval_s=0.02):
    """Polls until `condition` gives something true, which is returned."""
    end = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        watch()
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(interval_s)


class Process:
    """A child whose output goes to a file; ended with the test run whatever happens, even when
    that is killed."""

    def __init__(self, command, log, env=None, cwd=None, stdin=None):
        self.command = [str(part) for part in command]
        self.log = log
        self._file = open(log, "ab")
        self._popen = subprocess.Popen([*DIES_WITH_US, *self.command], stdout=self._file, stderr=self._file,
                                       stdin=stdin or subprocess.DEVNULL, env=env, cwd=cwd)
        with _lock:
            _children.add(self)

    @property
    def pid(self):
        return self._popen.pid

    @property
    def stdin(self):
        return self._popen.stdin

    @property
    def returncode(self):
        return self._popen.poll()

    def running(self):
        return self._popen.poll() is None

    def output(self):
        return self.log.read_text(errors="replace")

    def send(self, number):
        if self.running():
            self._popen.send_signal(number)

    def wait(self, timeout_s):
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.command[0]} still runs after {timeout_s} s; its output "
                               f"ends with {self.output()[-2000:]}") from None

    def stop(self, number=signal.SIGTERM, timeout_s=20):
        """Ends the process and returns its status; kills it when it does not listen."""
        self.send(number)
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise TimeoutError(f"{self.command[0]} did not end on signal {number}") from None
        finally:
            self._file.close()
            with _lock:
                _children.discard(self)


@atexit.register
def _end_children():
    for child in list(_children):
        with contextlib.suppress(Exception):
            child.stop(signal.SIGKILL, 5)
