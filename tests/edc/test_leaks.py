"""Runs last: what clients received here, judged as in the end-to-end tests."""

from judged import (  # noqa: F401 (cases)
    test_every_answer_was_well_formed, test_nothing_leaked,
    test_the_roles_of_fields_leak_nothing)
