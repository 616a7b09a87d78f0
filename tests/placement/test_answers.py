"""Which of several answers holds: the newest of its chip, release and precision, in whatever order they are read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dlaflow.errors import InputError
from dlaflow.placement.answers import Answer, Answered, AnswerFile, keep, known_answers

OLDER, NEWER = "2026-03-01T08:00:00Z", "2026-11-22T10:00:00Z"


def probed(
    job: str, date: str, device: Answered, *, soc: str = "T234", tensorrt: str = "8.5.2", precision: str = "fp16"
) -> AnswerFile:
    return AnswerFile(
        board="agx-orin-64gb",
        soc=soc,
        jetpack="5.1.1",
        tensorrt=tensorrt,
        precision=precision,
        date=date,
        model="m.onnx",
        model_sha256="0" * 64,
        job=job,
        answers=(Answer(signature="a", layer="sin", kind="UNARY", op="Sin", device=device),),
    )


@pytest.mark.parametrize("newer_first", [True, False])
@pytest.mark.parametrize(("newer_name", "older_name"), [("probe-a", "probe-b"), ("probe-b", "probe-a")])
def test_a_newer_answer_replaces_an_older_one(
    tmp_path: Path, newer_name: str, older_name: str, newer_first: bool
) -> None:
    """Neither the names of the files nor the order of writing decides, only the date."""
    files = [probed(newer_name, NEWER, "DLA"), probed(older_name, OLDER, "GPU")]
    for answers in files if newer_first else reversed(files):
        keep(answers, tmp_path)
    known = known_answers("T234", "8.5.2", "fp16", tmp_path)
    assert known["a"].answer.device == "DLA"
    assert known["a"].source == f"probe of agx-orin-64gb, TensorRT 8.5.2, 2026-11-22 ({newer_name})"


@pytest.mark.parametrize("other", [{"soc": "T194"}, {"tensorrt": "10.3.0"}, {"precision": "int8"}])
def test_a_newer_answer_for_something_else_replaces_nothing(tmp_path: Path, other: dict[str, str]) -> None:
    keep(probed("probe-a", OLDER, "GPU"), tmp_path)
    keep(probed("probe-b", NEWER, "DLA", **other), tmp_path)
    assert known_answers("T234", "8.5.2", "fp16", tmp_path)["a"].answer.device == "GPU"


def test_what_a_newer_probe_did_not_ask_keeps_its_older_answer(tmp_path: Path) -> None:
    keep(probed("probe-a", OLDER, "GPU"), tmp_path)
    newer = probed("probe-b", NEWER, "DLA")
    keep(msgspec.structs.replace(newer, answers=()), tmp_path)
    assert known_answers("T234", "8.5.2", "fp16", tmp_path)["a"].answer.device == "GPU"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    keep(probed("probe-a", OLDER, "GPU"), tmp_path)
    (tmp_path / "probe-b.json").write_text('{"schema": "dlaflow.answers/1"')
    with pytest.raises(InputError, match=r"probe-b\.json holds no answers"):
        known_answers("T234", "8.5.2", "fp16", tmp_path)
