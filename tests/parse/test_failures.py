"""The one table of failures: whole, unambiguous, and with every code that its readers ever met."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.parse.failures import failure_of, failures, reasons
from dlaflow.parse.messages import PLACEMENT_RULES
from dlaflow.rules.registry import RULES

OPTIONS = Path(__file__).parents[2] / "docs" / "commands" / "build.md"
OF_EARLIER_JSON = {
    *("no_dla_available", "safe_needs_one_subgraph", "direct_io_refused", "io_consumer_not_on_dla", "noise"),
    *("builder_internal_error", "dla_submit_failed", "dla_runtime_error", "out_of_memory", "crashed"),
    *("standalone_loadable_given", "dla_compiler_missing", "calibration_cache_header", "missing_scale"),
    *("calibrator_restriction", "no_implementation_for_dla_node", "made_up_ranges", "onnx_import_error"),
    "unknown_option",
}
OF_EARLIER_BUILDS = {
    *("disk_full", "no_driver", "dla_compiler_missing", "library_missing", "no_dla_core", "out_of_memory"),
    *("version_mismatch", "standalone_loadable", "plugin_missing", "wrong_io_format", "format_not_supported"),
    *("dla_validation_failed", "calibration_cache", "dla_submit_failed", "unknown_option", "shapes"),
    *("onnx_import", "no_implementation"),
}


def test_no_name_stands_for_two_causes():
    names = [name for failure in failures() for name in (failure.id, *failure.aliases)]
    assert len(names) == len(set(names))


def test_codes_of_earlier_versions_are_known():
    ids = {failure.id for failure in failures()}
    assert ids >= OF_EARLIER_JSON
    assert ids | {name for failure in failures() for name in failure.aliases} >= OF_EARLIER_BUILDS


@pytest.mark.parametrize("failure", failures(), ids=lambda failure: failure.id)
def test_an_entry_is_found_by_its_own_patterns(failure):
    for pattern in failure.patterns:
        assert failure_of(" and ".join(pattern)) is failure, pattern


@pytest.mark.parametrize("failure", failures(), ids=lambda failure: failure.id)
def test_an_entry_says_what_to_do_and_where_it_is_from(failure):
    assert failure.source
    assert bool(failure.then) or failure.blame == "none"
    assert set(failure.rules) <= {rule.id for rule in RULES}
    assert not failure.option or f"`{failure.option}" in OPTIONS.read_text(encoding="utf-8")


def test_every_reason_of_a_message_is_explained_and_its_rules_exist():
    assert {reason.id for reason in reasons()} == {each.reason for each in PLACEMENT_RULES} | {"other_restriction"}
    assert {rule for reason in reasons() for rule in reason.rules} <= {rule.id for rule in RULES}
