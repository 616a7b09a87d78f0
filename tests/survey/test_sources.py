"""Words of the command → models, and one clear line for what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dlaflow.errors import DlaflowError
from dlaflow.survey.sources import model_file, sources_of
from dlaflow.targets.target import resolve_target

YOLO = """#!/bin/sh
[ "$1" = export ] && [ "$3" = format=onnx ] || { echo "wrong words $*"; exit 1; }
[ "$2" = model=yolo11n.yaml ] || { echo "no such network: $2"; exit 3; }
cp ORIGIN yolo11n.onnx
"""


def test_files_folders_and_patterns_each_once(place: Path) -> None:
    found = sources_of(["models", "models/one.onnx", "timm:g*"])
    names = [source.model.name for source in found]
    assert names == ["models/broken.onnx", "models/one.onnx", "models/two <b>|.onnx", "timm:good", "timm:greedy"]
    assert {source.model.version for source in found[3:]} == {"9"}
    assert found[1].model.version == found[2].model.version, "the sha256 of the same content"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("absent.onnx", "cannot read absent.onnx"),
        ("models/absent", "cannot read models/absent"),
        ("tim:resnet18", "Did you mean 'timm'"),
        ("timm:resnet[", "timm has no such model"),
        ("timm:", "timm has no such model"),
        ("ultralytics:yolo11n", "needs the program yolo"),
    ],
)
def test_what_is_no_model(place: Path, monkeypatch: pytest.MonkeyPatch, word: str, says: str) -> None:
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(DlaflowError, match=says) as caught:
        sources_of([word])
    assert "\n" not in str(caught.value)


def test_an_empty_folder(place: Path) -> None:
    (place / "empty").mkdir()
    with pytest.raises(DlaflowError, match="holds no model"):
        sources_of(["empty"])
    with pytest.raises(DlaflowError, match="nothing to survey"):
        sources_of([])


def test_a_missing_package_names_its_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "timm.py").write_text("import torchvision_that_is_missing")
    with pytest.raises(
        DlaflowError, match=r"timm, which does not load .*torchvision_that.*pip install 'dlaflow\[gallery\]'"
    ):
        sources_of(["timm:*"])


def test_ultralytics_is_a_program(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    yolo = programs / "yolo"
    yolo.write_text(YOLO.replace("ORIGIN", str(place / "models" / "one.onnx")))
    yolo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    target = resolve_target("orin-nx-16gb", "6.2")
    good, bad = sources_of(["ultralytics:yolo11n", "ultralytics:yolo99-seg"])
    assert (good.model.family, good.model.task, bad.model.task) == ("yolo11", "detection", "segmentation")
    assert model_file(good, target, work).read_bytes() == (place / "models" / "one.onnx").read_bytes()
    (work / "model.onnx").unlink()
    with pytest.raises(DlaflowError, match=r"yolo exports no yolo99-seg: no such network: model=yolo99-seg.yaml"):
        model_file(bad, target, work)
    for wrong in ("", "-x", "a/../b", "a=b", "a b", "a\nb"):
        with pytest.raises(DlaflowError, match="no model of ultralytics"):
            sources_of([f"ultralytics:{wrong}"])
    assert "ultralytics" not in sys.modules
