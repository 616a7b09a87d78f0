"""Every collected file is told by its content, and what looks alike is kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.read import read_artefact

BY_PREFIX = {
    "calib_TRT": Kind.CALIBRATION_CACHE,
    "calib_tiny": Kind.CALIBRATION_CACHE,
    "calib_ort": Kind.ORT_CALIBRATION,
    "device_identity": Kind.DEVICE,
    "hax_": Kind.UNKNOWN,
    "layerinfo_": Kind.LAYER_INFO,
    "nsys_20": Kind.NSYS_SQLITE,
    "nsys_ddl": Kind.SQL,
    "nsys_profile_help": Kind.NSYS_HELP,
    "output_": Kind.OUTPUT,
    "profile_": Kind.PROFILE,
    "tegrastats_": Kind.TEGRASTATS,
    "times_": Kind.TIMES,
    "trex_": Kind.TREX_METADATA,
    "trtexec_help": Kind.TRTEXEC_HELP,
    "trtexec_x86": Kind.TENSORRT_LOG,
    "trtexec_8.5.2_orin_conv_buffer": Kind.TENSORRT_LOG,
    "trtexec_": Kind.TRTEXEC_LOG,
}


def test_every_collected_file(artefacts: Path) -> None:
    files = sorted(artefacts.iterdir())
    assert len(files) >= 52
    for path in files:
        prefix = next(prefix for prefix in BY_PREFIX if path.name.startswith(prefix))
        assert detect(path) is BY_PREFIX[prefix], path.name


def test_every_collected_file_is_read(artefacts: Path) -> None:
    for path in sorted(artefacts.iterdir()):
        artefact = read_artefact(path)
        readable = artefact.kind not in {
            Kind.CALIBRATION_CACHE, Kind.ORT_CALIBRATION, Kind.SQL, Kind.UNKNOWN, Kind.TREX_METADATA,
        }  # fmt: skip
        assert (artefact.record is not None) is readable, path.name


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[01/23/2025-09:18:04] [TRT] [W] hello", Kind.TENSORRT_LOG),
        ("[TensorRT] WARNING: Default DLA is enabled but layer x", Kind.TENSORRT_LOG),
        ("TRT-8502-EntropyCalibration2\ninput: 3c010a14", Kind.CALIBRATION_CACHE),
        ("data 2.64\nconv 1.5", Kind.ORT_CALIBRATION),
        ('[ {"count": 1} ]', Kind.PROFILE),
        ('{"Layers": [], "Bindings": []}', Kind.LAYER_INFO),
        ("layer_name,start_ms,end_ms\na,1,2", Kind.CUDLA_CSV),
        ("NV Power Mode: MAXN\n0", Kind.DEVICE),
        ("", Kind.UNKNOWN),
        ("{}", Kind.UNKNOWN),
        ("just a letter to a friend", Kind.UNKNOWN),
    ],
)
def test_short_texts(text: str, kind: Kind) -> None:
    assert detect(text) is kind


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        detect(tmp_path / "nothing.log")


@pytest.mark.parametrize("piece", ["\n", " ", "\t\n", "a\n", "1", "ii "])
def test_a_text_of_one_piece_is_no_quadratic_search(piece: str) -> None:
    # Minutes before the expressions for a device's dump stopped at the end of a line; a moment now.
    assert detect(piece * (1 << 16)) is Kind.UNKNOWN
