"""Known failures in plain words, on real logs and on the sentences that reports quote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.build.failures import explain
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.parse.failures import failures

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE") or Path(__file__).parents[3] / "shared" / "evidence")
LOGS = EVIDENCE / "artefacts" / "open"


def error(text: str) -> str:
    return f"[11/22/2025-10:00:00] [E] {text}"


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        ("Error[1]: Cannot create DLA engine, 0 not available", "no_dla_available", EnvironmentLacksError),
        ("1: [x.cpp::f::1] condition: dlaEngineCount > 0", "no_dla_available", EnvironmentLacksError),
        ("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)", "out_of_memory", EnvironmentLacksError),
        ("Cuda failure: 2", "out_of_memory", EnvironmentLacksError),
        (
            "1: [stdArchiveReader.cpp::StdArchiveReader::40] Error Code 1: Serialization (Serialization assertion "
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 232, "
            "Serialized Engine Version: 213)",
            "version_mismatch",
            InputError,
        ),
        ("3: getPluginCreator could not find plugin: GroupNormPlugin version: 1", "plugin_missing", InputError),
        ("Error Code 4: kDIRECT_IO specified but no conformant implementation", "direct_io_refused", UsageError),
        ("Safe DLA is enabled but not all layers are running on DLA", "safe_needs_one_subgraph", InputError),
        (
            "4: Layer 'Gemm' is not supported on DLA and GPU fallback is not enabled.",
            "dla_validation_failed",
            InputError,
        ),
        ("Calibration table does not match calibrator algorithm type.", "calibration_cache_header", InputError),
        ("Int8IO was specified but impossible to read tensor scales", "calibration_cache_header", InputError),
        ("Unknown option: --buildOnly", "unknown_option", UsageError),
        ("Cannot write engine: No space left on device", "disk_full", EnvironmentLacksError),
        ("Failure to submit program to DLA engine.", "dla_submit_failed", EnvironmentLacksError),
        (
            "Unable to open library: libnvinfer_plugin.so.10 due to libnvdla_compiler.so",
            "dla_compiler_missing",
            EnvironmentLacksError,
        ),
        (
            "Cannot deserialize serialized engine built with EngineCapability::kDLA_STANDALONE, use cuDLA APIs instead",
            "standalone_loadable_given",
            UsageError,
        ),
        ("CUDA initialization failure with error: 35", "no_driver", EnvironmentLacksError),
        ("Static model does not take explicit shapes since the shape is known", "shapes", UsageError),
        ("Something that nobody has seen yet", "unknown", InputError),
    ],
)
def test_known_sentences(text, expected, kind):
    generic = [error("Engine could not be created from network"), error("Engine set up failed")]
    known = explain([error(text), *generic])
    assert known.id == expected
    assert text[:30] in known.evidence
    assert type(known.error()) is kind
    assert known.then in str(known.error())


def test_the_environment_is_blamed_before_the_model():
    lines = [
        error("Safe DLA is enabled but not all layers are running on DLA"),
        error("Cannot create DLA engine, 1 not available"),
    ]
    assert explain(lines).id == "no_dla_available"


def test_generic_last_lines_and_noise_are_no_cause():
    known = explain(
        [
            error("kPREFER_PRECISION_CONSTRAINTS cannot be set if kOBEY_PRECISION_CONSTRAINTS is set."),
            error("the real one"),
            error("Engine set up failed"),
        ]
    )
    assert (known.id, known.evidence) == ("unknown", "the real one")


def test_warnings_of_a_hybrid_build_are_no_cause_beside_an_error():
    warned = "[11/22/2025-10:00:00] [W] [TRT] Validation failed for DLA layer: Gemm. Switching to GPU fallback."
    assert explain([warned, error("the real one")]).id == "unknown"
    assert explain([warned]).id == "dla_validation_failed"


def test_a_log_without_errors_says_so():
    known = explain(["[11/22/2025-10:00:00] [I] Start parsing network model"])
    assert known.id == "silent"
    assert "2>&1" in known.then


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
@pytest.mark.parametrize(
    ("name", "expected", "words"),
    [
        ("trtexec_10.3.0_orin_gpu_int8_qdq_parse_failed.log", "asymmetric_quantization", "node"),
        ("trtexec_8.2.3_failed_stdout_only.txt", "silent", ""),
        ("trtexec_x86_no_dla_core.log", "no_dla_available", ""),
    ],
)
def test_real_failures(name, expected, words):
    with (LOGS / name).open(errors="replace") as lines:
        known = explain(lines)
    assert known.id == expected
    assert words in known.what


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
def test_no_cause_is_seen_in_real_builds_that_passed():
    """Warnings of a good hybrid build must not read as the cause of a failure that came for another reason."""
    for log in LOGS.glob("trtexec_*passed*.log"):
        with log.open(errors="replace") as lines:
            assert explain(lines).id in {"silent", "unknown"}, log.name


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=12))
def test_any_text_is_survived(lines):
    assert explain(lines).id in {"unknown", "silent", *(cause.id for cause in failures())}
