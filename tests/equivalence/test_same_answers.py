"""The same requests to both: the answers are equal, field by field, and so is what they did."""

import pytest

import compare
import effects
import scripts
from conftest import SUBJECTS

# In this order: what is listed and deleted at the end has been made before.
SCRIPTS = (scripts.api_versions, scripts.login_again, scripts.metadata, scripts.describe_topics,
           scripts.describe_cluster, scripts.find_coordinator, scripts.describe_configs,
           scripts.describe_acls, scripts.list_offsets, scripts.leader_epochs, scripts.fetch,
           scripts.offsets, scripts.classic_group, scripts.static_member, scripts.consumer_group,
           scripts.patterns, scripts.produce, scripts.produce_silently, scripts.idempotent,
           scripts.transactions, scripts.newer_transaction, scripts.made_anew, scripts.fetch,
           scripts.list_groups)
NAMES = [f"{i:02}-{s.__name__}" for i, s in enumerate(SCRIPTS)]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_same_answers(script, subject, same):
    same(script, subject)


def _same_effects(pair, ledger):
    found = compare.differences(*(effects.all_of_them(one) for one in pair))
    rest = ledger.unexplained(found)
    assert not rest, "\n".join(map(str, rest[:60]))


def test_same_effects(pair, ledger):
    _same_effects(pair, ledger)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_same_deletions(subject, same):
    same(scripts.deletions, subject)


def test_same_effects_of_deletions(pair, ledger):
    _same_effects(pair, ledger)


def test_something_happened(pair):
    """Equal would mean little if nothing had been let through."""
    for one in pair:
        made = effects.groups(one)
        assert {name.split("-")[0] for name in made} >= set(SUBJECTS)
        assert any(group["Positions"] for group in made.values())
        assert any(group["Type"] == "CONSUMER" for group in made.values())
        written = effects.records(one, "read_uncommitted")
        assert any("alice" in row for rows in written.values() for row in rows)
        assert not any("foreign" in row for rows in written.values() for row in rows)
        assert set(effects.transactions(one).values()) >= {"Ongoing", "CompleteCommit",
                                                           "CompleteAbort"}


def test_every_api_was_asked(pair, offered, request):
    """All of the gate's table, in every version that is offered."""
    if len(request.session.items) < len(SCRIPTS) * len(SUBJECTS):
        pytest.skip("only some scripts were run")
    wanted = {(api, v) for api, versions in offered.items() for v in versions}
    missing = wanted - pair[1].asked
    assert not missing, sorted(missing)


def test_no_difference_is_stale(ledger, request):
    if len(request.session.items) < len(SCRIPTS) * len(SUBJECTS):
        pytest.skip("only some scripts were run")
    unseen = [name for name, count in ledger.seen.items() if count == 0]
    assert not unseen, f"these differences are no more: {unseen}"
