"""Calibration caches: TensorRT's own come back byte for byte."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError, UsageError
from dlaflow.quantize.cache import (
    CacheFile,
    Entry,
    cache_text,
    header_for,
    header_for_reader,
    hex_of,
    parse_cache,
    read_cache,
    save_cache,
    write_cache,
)

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).parents[2] / "../shared/evidence"))
CACHES = sorted((EVIDENCE / "artefacts/open").glob("calib_*.cache"))
REAL = [path for path in CACHES if "headerless" not in path.name]


@pytest.mark.skipif(not REAL, reason="the evidence folder is not there (DLAFLOW_EVIDENCE)")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_caches_round_trip(path: Path, tmp_path: Path) -> None:
    cache = read_cache(path)
    assert cache.tensorrt
    assert cache.scales
    save_cache(cache, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    rebuilt = CacheFile(cache.header, tuple(Entry(e.name, e.scale) for e in cache.entries), cache.tail)
    assert cache_text(rebuilt).encode() == path.read_bytes()


@pytest.mark.skipif(not REAL, reason="the evidence folder is not there (DLAFLOW_EVIDENCE)")
def test_counts_that_the_evidence_names() -> None:
    yolo = read_cache(EVIDENCE / "artefacts/open/calib_TRT-8502_yolo11n.cache")
    assert (len(yolo.scales), sum(scale == 0 for scale in yolo.scales.values())) == (408, 9)
    language = read_cache(EVIDENCE / "artefacts/open/calib_TRT-101000_llm.cache")
    assert (language.tensorrt, len(language.scales)) == ("10.10.0", 172)
    assert sum(math.isinf(scale) for scale in language.scales.values()) == 3


@pytest.mark.skipif(len(CACHES) == len(REAL), reason="the evidence folder is not there (DLAFLOW_EVIDENCE)")
def test_a_table_of_onnx_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="ONNX Runtime"):
        read_cache(EVIDENCE / "artefacts/open/calib_ort_headerless.cache")


@pytest.mark.parametrize(
    ("release", "header"),
    [
        ("7.2.3", "TRT-7203-EntropyCalibration2"),
        ("8.5.2", "TRT-8502-EntropyCalibration2"),
        ("8.6.2.3", "TRT-8602-EntropyCalibration2"),
        ("10.0.1", "TRT-100001-EntropyCalibration2"),
        ("10.3.0", "TRT-100300-EntropyCalibration2"),
        ("10.10.0", "TRT-101000-EntropyCalibration2"),
    ],
)
def test_headers(release: str, header: str) -> None:
    assert header_for(release) == header
    assert parse_cache(f"{header}\nx: 0\n").tensorrt == ".".join(release.split(".")[:3])


def test_a_release_that_is_none() -> None:
    with pytest.raises(UsageError, match="not a release number"):
        header_for("jetpack")
    with pytest.raises(UsageError, match="Q/DQ"):
        header_for_reader("11.4.1")


def test_known_digits(tmp_path: Path) -> None:
    assert hex_of(1 / 127) == "3c010204"
    assert hex_of(0.0) == "0"
    write_cache({"a: b": 1.0, "(Unnamed Layer* 1) [Shuffle]_output": 0.0}, "8.5.2", tmp_path / "c")
    expected = "TRT-8502-EntropyCalibration2\na: b: 3f800000\n(Unnamed Layer* 1) [Shuffle]_output: 0\n"
    assert (tmp_path / "c").read_text() == expected


@pytest.mark.parametrize("text", ["", "\n\n", "hello", "TRT-8502-EntropyCalibration2\nx: zz\n", "\x89PNG\r\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_cache(text)


NAMES = st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, st.floats(width=32, min_value=0, allow_nan=False), min_size=1), st.booleans())
def test_what_is_written_is_read(scales: dict[str, float], newline: bool) -> None:
    cache = CacheFile(header_for("10.3.0"), tuple(Entry(k, v) for k, v in scales.items()), "\n" if newline else "")
    assert parse_cache(cache_text(cache)).scales == scales


@pytest.mark.parametrize("name", ["a\ninput: 3c010a14", "a\r", "a\0b"])
def test_a_name_of_several_lines_adds_no_entry(tmp_path, name):
    with pytest.raises(InputError, match="a name of one line"):
        write_cache({"input": 1.0, name: 0.5}, "8.5.2", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_cache_of_endless_lines_is_told_before_it_is_split(monkeypatch):
    monkeypatch.setenv("DLAFLOW_MAX_LOG_LINES", "10")
    with pytest.raises(InputError, match="at most 10 lines, received 11"):
        parse_cache("TRT-8502-EntropyCalibration2" + "\n" * 11)
