"""Two transcripts beside one another, and the differences that are meant (differences.py)."""

import re
import typing

KEYS = ("Name", "Topic", "TopicName", "GroupId", "Group", "TransactionalId", "Key", "ApiKey",
        "ResourceName", "PartitionIndex", "Partition", "Index", "NodeId", "BrokerId", "MemberId",
        "TopicId")
MISSING = "(not there)"


class Found(typing.NamedTuple):
    """One difference: where, and what each side says."""
    api: str
    version: int
    note: str
    path: str
    reference: object
    gate: object

    def __str__(self):
        return (f"{self.api} v{self.version} {self.note}: {self.path}: the broker says "
                f"{self.reference!r:.300}, the gate {self.gate!r:.300}")


class Difference(typing.NamedTuple):
    """A difference that is meant. `path` is a regular expression for the whole path; `reference`
    and `gate` are values, sets of them, tests of them, or ANY."""
    name: str
    reason: str
    apis: tuple
    path: str
    reference: object
    gate: object
    note: str = ".*"

    def covers(self, found):
        return ((not self.apis or found.api in self.apis)
                and re.fullmatch(self.path, found.path) is not None
                and re.fullmatch(self.note, found.note) is not None
                and _fits(self.reference, found.reference) and _fits(self.gate, found.gate))


def ANY(_):  # noqa: N802 (reads as a value in the list)
    return True


def _fits(wanted, value):
    if callable(wanted):
        return wanted(value)
    return value in wanted if isinstance(wanted, (set, frozenset)) else value == wanted


def _keyed(items):
    """Elements by what names them; None when they have no names, or two share one."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for key in KEYS:
        names = [item.get(key) for item in items]
        if None not in names and len({str(name) for name in names}) == len(names):
            return {str(name): item for name, item in zip(names, items)}
    return None


def _pairs(path, reference, gate):
    """The paths at which two values differ."""
    if type(reference) is type(gate) is dict:
        for name in [*reference, *(n for n in gate if n not in reference)]:
            yield from _pairs(f"{path}.{name}" if path else name, reference.get(name, MISSING),
                              gate.get(name, MISSING))
    elif type(reference) is type(gate) is list and reference != gate:
        yield from _lists(path, reference, gate)
    elif reference != gate:
        yield path, reference, gate


def _lists(path, reference, gate):
    left, right = _keyed(reference), _keyed(gate)
    if (left is None and reference) or (right is None and gate) or not (reference or gate):
        left = {str(i): item for i, item in enumerate(reference)}
        right = {str(i): item for i, item in enumerate(gate)}
    left, right = left or {}, right or {}
    both = [name for name in left if name in right]
    if both != [name for name in right if name in left]:
        yield f"{path}[order]", list(left), list(right)
    for name in [*left, *(n for n in right if n not in left)]:
        yield from _pairs(f"{path}[{name}]", left.get(name, MISSING), right.get(name, MISSING))


def differences(reference, gate):
    """Of two lists of steps: every Found."""
    out = []
    for (asked, one), (also, other) in zip(reference, gate):
        assert asked == also, f"the scripts went apart: {asked} and {also}"
        api, _, rest = asked.partition(" v")
        version, _, note = rest.partition(" ")
        out += [Found(api, int(version or 0), note, *found) for found in _pairs("", one, other)]
    assert len(reference) == len(gate), "one side's script is longer"
    return out


class Ledger:
    """Which of the meant differences were seen in this run."""

    def __init__(self, known):
        self.known = known
        self.seen = {entry.name: 0 for entry in known}
        assert len(self.seen) == len(known), "two differences of one name"

    def unexplained(self, found):
        out = []
        for one in found:
            entry = next((entry for entry in self.known if entry.covers(one)), None)
            if entry is None:
                out.append(one)
            else:
                self.seen[entry.name] += 1
        return out
