"""The last cases of each suite (test_leaks.py): everything that clients received in all others."""


def linted(findings):
    """What `sluice decode --leaks` says of all answers; how many connections it could also hold
    against the names that they may see, and for how many it could not."""
    said, named, unknown = [], 0, 0
    for capture in findings.captures.values():
        found, more, less = capture.judged()
        said += [f"{capture.advertised}: {text}" for text in found]
        named, unknown = named + more, unknown + less
    return said, named, unknown


def test_the_roles_of_fields_leak_nothing(findings):
    """By the gate's own schema: every field that says something of the cluster, and every name."""
    said, named, unknown = linted(findings)
    print(f"{named} connections held against their names, {unknown} not")
    assert not said, f"{len(said)} leaks:\n" + "\n".join(said[:40])
    assert named > 4 * unknown, f"{named} connections held against their names, {unknown} not"


def test_nothing_leaked(findings):
    assert not findings.leaks, "\n".join(findings.leaks)


def test_every_answer_was_well_formed(findings):
    """Decoded by Kafka's own definitions, to the last byte."""
    assert not findings.undecodable, "\n".join(findings.undecodable)
