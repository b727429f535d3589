"""The whole chain for real: connectors, Keycloak, Apache Kafka, and sluice between them. What is
started once a run is started at the same time, and only what the chosen cases ask for; authority,
cluster, workspace and the rest come from the end-to-end tests (tests/e2e/shared.py)."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

pytest_plugins = ("shared",)

import connector  # noqa: E402
import forward  # noqa: E402
import keycloak as keycloaks  # noqa: E402
import plane as planes  # noqa: E402
import trust  # noqa: E402

# fixture -> (participant, version); each is one control plane
CONNECTORS = {"provider": ("provider", "0.15.1"), "bob_connector": ("bob", "0.15.1"),
              "alice_connector": ("alice", "0.15.1"), "old_provider": ("old-provider", "0.14.0")}


@pytest.fixture(scope="session")
def java_trust(workspace, authority):
    return trust.JavaTrust(workspace / "trust", authority.certificate)


@pytest.fixture(scope="session", autouse=True)
def lab(request, workspace, authority, java_trust):
    """Starts, without waiting, what some case will need."""
    wanted = {name for item in request.session.items for name in item.fixturenames}
    started = {}
    try:
        for name, (participant, version) in CONNECTORS.items():
            if name in wanted:
                started[name] = connector.ControlPlane(workspace / name, participant, version,
                                                       java_trust).start()
        if "keycloak" in wanted:
            started["keycloak"] = keycloaks.Keycloak(workspace / "keycloak", authority).start()
        yield started
    finally:
        for part in started.values():
            part.close()


def _connector(name):
    @pytest.fixture(scope="session", name=name)
    def ready(lab):
        return lab[name].wait_ready()
    return ready


provider, bob_connector, alice_connector, old_provider = map(_connector, CONNECTORS)


@pytest.fixture(scope="session")
def keycloak(lab):
    return lab["keycloak"].wait_ready()


@pytest.fixture(scope="module")
def relay(keycloak):
    """Keycloak by another port, which can be out of order."""
    made = forward.Forward(("127.0.0.1", keycloak.port))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def make_plane(request, make_gate, workspace, authority):
    """make_plane(connector, name="", ...) -> Plane, registered and AVAILABLE. All planes of a
    connector have one id unless told otherwise; each takes the place of the one before it, which
    is ended first, since two with one id would each renew its registration."""
    running = {}

    def make(connector, name="plane", identity="sluice", start=True, gate=None, judge=True,
             **arguments):
        former = running.pop((connector, identity), None)
        if former is not None:
            former.gate.close()
        plane = planes.Plane(workspace / f"{request.path.stem}-{name}-signaling", authority,
                             connector, identity, **arguments)
        plane.gate = make_gate(name, start=start, config=plane.config, **(gate or {}))
        plane.gate.judge = planes.lines_say_whose if judge else None
        running[connector, identity] = plane
        return plane.wait_available() if start else plane
    return make


@pytest.fixture(scope="session")
def contracts():
    """contracts(consumer, provider, topic, ...) -> the consumer's agreement over a new asset."""
    def make(consumer, provider, topic, expires_s=None, **more):
        asset = planes.unique("asset")
        provider.offer(asset, planes.address(topic, **more), expires_s=expires_s)
        return consumer.negotiate(provider, asset)
    return make
