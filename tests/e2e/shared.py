"""What the cases share: one authority, one issuer, one cluster, one tap for the whole run; a gate
for each module. Under --direct=plain or =login the clients go straight to the brokers, which tries
the test programs and the cluster without sluice; cases that need the gate are then skipped."""

import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import clients  # noqa: E402
import gate as gates  # noqa: E402
import idp as idps  # noqa: E402
import kafka  # noqa: E402
import parts  # noqa: E402
import pki  # noqa: E402
import processes  # noqa: E402
import records  # noqa: E402
import tap as taps  # noqa: E402

_failed = []
_gates = []


def pytest_addoption(parser):
    parser.addoption("--direct", choices=("plain", "login"),
                     help="no gate: try the clients against the brokers' own listeners, plain or "
                          "with TLS and OAUTHBEARER")
    parser.addoption("--keep", action="store_true", help="keep logs of a run without failures")


def pytest_configure(config):
    config.addinivalue_line("markers", "direct: also makes sense without a gate")
    if not config.getoption("--direct") and not parts.SLUICE.exists():
        raise pytest.UsageError(f"no {parts.SLUICE}: build it first, or name it in SLUICE")
    signal.signal(signal.SIGTERM, _end)
    processes.watchers.append(_gates_run)


def _end(*_):
    """Asked to end, pytest shall take the fixtures down, brokers included; asked again while it
    does so, it shall not leave that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _gates_run():
    for made in _gates:
        made.must_run()


@pytest.fixture(autouse=True)
def gates_survive(request):
    """A gate that ends during a case fails that case, and is started anew for the next."""
    yield
    ended = []
    for made in _gates:
        try:
            made.must_run()
        except AssertionError as error:
            ended.append(str(error))
            made.revive()
    assert not ended or request.node.nodeid in _failed, "\n".join(ended)


def pytest_collection_modifyitems(config, items):
    # What all the other cases let through is judged last.
    items.sort(key=lambda item: item.path.name == "test_leaks.py")
    if config.getoption("--direct"):
        skip = pytest.mark.skip(reason="needs the gate")
        for item in items:
            if "direct" not in item.keywords:
                item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        _failed.append(item.nodeid)


@pytest.fixture(scope="session")
def workspace(pytestconfig):
    """A directory for everything; it stays when something failed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
    yield directory
    if _failed or pytestconfig.getoption("--keep"):
        print(f"\nlogs, configurations and audit files: {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(workspace):
    return pki.Authority(workspace / "ca")


@pytest.fixture(scope="session")
def idp(workspace):
    issuer = idps.Idp(workspace / "idp")
    yield issuer
    issuer.close()


@pytest.fixture(scope="session")
def cluster(workspace, authority, idp):
    nodes = kafka.Cluster(workspace / "kafka", authority, idp)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()


@pytest.fixture(scope="session")
def findings(cluster, workspace):
    directory = workspace / "answers"
    directory.mkdir()
    return taps.Findings(*cluster.secrets(), directory)


@pytest.fixture(scope="session")
def tap(findings):
    relay = taps.Tap(findings)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def serial_parts(cluster):
    """The topic "serial-parts", 12 partitions led by three brokers, and its records."""
    cluster.create_topic("serial-parts", 12)
    # One broker may know of the leaders a moment before another one does.
    processes.wait_for(lambda: set(cluster.leaders("serial-parts").values()) == set(kafka.NODES),
                       20, "serial-parts has three leaders")
    return records.write(cluster, "serial-parts", records.make())


@pytest.fixture(scope="session")
def other_topic(cluster):
    """A topic that exists, holds something, and is granted to nobody."""
    cluster.create_topic("other-parts", 3)
    records.write(cluster, "other-parts", records.make(3, 2, 0))
    return "other-parts"


@pytest.fixture(scope="module")
def make_gate(request, workspace, cluster, idp, authority, tap, findings):
    """Starts gates that end with the module: make_gate(name, grants=..., ...)."""
    running = []

    def make(name, start=True, tapped=True, **arguments):
        directory = workspace / f"{request.path.stem}-{name}"
        made = gates.Gate(directory, cluster, idp, authority, tap=tap if tapped else None,
                          findings=findings, **arguments)
        running.append(made)
        _gates.append(made)
        return made.start() if start else made

    yield make
    errors = []
    for made in running:
        _gates.remove(made)
        try:
            made.close()
        except (AssertionError, TimeoutError) as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def doors(request, workspace, cluster, authority, idp):
    """Makes doors: doors(gate, subject=..., token=...) -> Door. Without a gate, the brokers."""
    directory = workspace / "doors"

    def make(gate=None, subject="bob", token=None, **claims):
        if request.config.getoption("--direct") == "plain":
            return clients.Door(directory, ",".join(cluster.bootstrap()))
        if request.config.getoption("--direct") == "login":
            return clients.Door(directory, ",".join(cluster.bootstrap("sasl_tls")),
                                authority.certificate,
                                lambda: idp.token(subject, **claims, aud="kafka"))
        return clients.Door(directory, f"{gate.host}:{gate.advertised_port}",
                            authority.certificate,
                            token or (lambda: gate.token(subject, **claims)))
    return make
