"""Fixed partners in a watched folder: put, change, remove, and a bad file that changes nothing."""

import json
import signal

import pytest

import gate as gates
import parts
import wire
from processes import wait_for

REFUSED = 58


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts):
    made = make_gate("folder", start=False, tapped=False)
    folder = made.directory / "grants.d"
    folder.mkdir()
    made.config["grants_dir"] = str(folder)
    made.folder = folder
    write(made, "bob")
    return made.start()


def entry(gate, name, **more):
    return gate._fill(gates.grant(name, name, ["serial-parts"], name, **more))


def write(gate, name, *entries, text=None):
    """As it should be done: beside, then renamed."""
    beside = gate.folder / f".{name}"
    beside.write_text(text or json.dumps(list(entries) or entry(gate, name)))
    beside.rename(gate.folder / f"{name}.yaml")


def lets_in(gate, subject):
    return gate.login_error(gate.token(subject)) == 0


def test_a_file_is_a_partner(gate):
    assert lets_in(gate, "bob")
    assert not lets_in(gate, "carol")
    write(gate, "carol", entry(gate, "carol"), entry(gate, "dora"))
    wait_for(lambda: lets_in(gate, "carol") and lets_in(gate, "dora"), 8, "the new file is taken")
    assert lets_in(gate, "bob")


def test_a_file_that_goes_ends_its_partners(gate):
    write(gate, "eve")
    wait_for(lambda: lets_in(gate, "eve"), 8, "the new file is taken")
    with gate.wire(gate.token("eve")) as gone, gate.wire(gate.token("bob")) as stays:
        (gate.folder / "eve.yaml").unlink()
        gone.wait_closed(8)
        stays.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    assert not lets_in(gate, "eve")
    gate.wait_audit("grants_dir: done")


def test_a_bad_file_changes_nothing(gate):
    write(gate, "finn")
    wait_for(lambda: lets_in(gate, "finn"), 8, "the new file is taken")
    since, audited = len(gate.log()), len(gate.audit())
    with gate.wire(gate.token("finn")) as connection:
        (gate.folder / "finn.yaml").unlink()
        write(gate, "bad", text="id: gina\nprincipal: {subject: gina}\ntopic: x\n")
        gate.wait_log(r"bad\.yaml:3: .topic. is no option", timeout_s=8, since=since)
        gate.wait_audit("grants_dir: failed", since=audited)
        connection.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
        assert lets_in(gate, "finn") and not lets_in(gate, "gina")
        (gate.folder / "bad.yaml").unlink()
        connection.wait_closed(8)


def test_over_a_restart(gate):
    write(gate, "hans")
    wait_for(lambda: lets_in(gate, "hans"), 8, "the new file is taken")
    gate.restart()
    assert lets_in(gate, "hans") and lets_in(gate, "bob")


def test_the_example_is_good(gate):
    """examples/grants.d, under this gate's issuer."""
    text = next((parts.ROOT / "examples" / "grants.d").glob("*.yaml")).read_text()
    issuer = "https://idp.example.com/realms/dataspace"
    assert issuer in text
    write(gate, "example", text=text.replace(issuer, gate.idp.issuer))
    wait_for(lambda: lets_in(gate, "6c1f3b9e-bob"), 8, "the example is taken")


def test_a_reload_while_it_shuts_down(gate):
    """SIGHUP behind SIGTERM: the folder is watched no more, and nothing breaks."""
    with gate.wire(gate.token("bob")) as connection:
        connection.post("Fetch", 12, wire.fetch_body("serial-parts", {0: 1 << 40}, 2000))
        gate.process.send(signal.SIGTERM)
        gate.wait_log("shutting down")
        gate.reload()
        gate.wait_log("reload: ")
    gate.stop()
    gate.start()
