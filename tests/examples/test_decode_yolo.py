"""The decode parts in numpy give what the whole networks give, from the maps that `fix --cut auto` hands over."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dlaflow.rewrites.fix import fix, write_cut
from dlaflow.rewrites.records import Channels
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

pytest.importorskip("torch")
from tests.examples.heads import ANCHORS, BINS, CLASSES, HEADS, SIDES, STRIDES, detector

ROOT = Path(__file__).parents[2]
TARGET = resolve_target("agx-orin-64gb", "6.2")


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decode_yolo = load("decode_yolo")


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Version → (path of the whole, path of the backbone, the record of the cut), each made once."""
    made = {}

    def make(version):
        if version not in made:
            folder = tmp_path_factory.mktemp(version)
            whole = detector(version, folder / "whole.onnx", batch=2)
            report = write_cut(fix(whole, TARGET, FixConfig()), folder / "backbone.onnx", [], TARGET).report
            made[version] = whole, folder / "backbone.onnx", report.cut
        return made[version]

    return make


def runs(whole: Path, backbone: Path):
    images = np.random.default_rng(0).standard_normal((2, 3, *SIDES)).astype(np.float32)
    return [onnxruntime.InferenceSession(path).run(None, {"images": images}) for path in (whole, backbone)]


@pytest.mark.parametrize("version", HEADS)
def test_the_decode_gives_what_the_whole_network_gives(cut, version):
    whole, backbone, _ = cut(version)
    (expected,), maps = runs(whole, backbone)
    if version == "v5":
        found = decode_yolo.decode_v5(maps, STRIDES, ANCHORS)
    elif version == "26":
        found = decode_yolo.best_of(decode_yolo.decode_v26(maps, STRIDES))
    else:
        found = decode_yolo.decode_v8(maps, STRIDES, BINS)
    assert found.shape == expected.shape
    assert np.ptp(expected) > 10  # not all one number
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


BOX = Channels(0, 3, "box", "sigmoid")
BOX_SIDES = Channels(0, 4 * BINS - 1, "box sides", f"softmax {BINS}")
CLASSES_ALONE = Channels(0, CLASSES - 1, "classes", "sigmoid")
SIDES_AND_CLASSES = [BOX_SIDES, Channels(4 * BINS, 4 * BINS + CLASSES - 1, "classes", "sigmoid")]
HOLDS = {
    "v5": [(3, [BOX, Channels(4, 4, "objectness", "sigmoid"), Channels(5, 4 + CLASSES, "classes", "sigmoid")])] * 3,
    "v8": [(1, SIDES_AND_CLASSES)] * 3,
    "11": [(1, [BOX_SIDES])] * 3 + [(1, [CLASSES_ALONE])] * 3,
    "26": [(1, [Channels(0, 3, "box", "")])] * 3 + [(1, [CLASSES_ALONE])] * 3,
}


@pytest.mark.parametrize("version", HEADS)
def test_the_cut_tells_what_its_tensors_hold(cut, version):
    _, backbone, told = cut(version)
    session = onnxruntime.InferenceSession(backbone)
    assert [each.name for each in told.outputs] == told.tensors == [value.name for value in session.get_outputs()]
    assert [each.shape for each in told.outputs] == [value.shape for value in session.get_outputs()]
    assert [(each.repeats, each.channels) for each in told.outputs] == HOLDS[version]
    assert told.summary.loadables == 1
    assert told.summary.switches == 0


@pytest.mark.parametrize("version", HEADS)
def test_boxes_of_one_picture(version, tmp_path, monkeypatch, capsys):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    single = tmp_path / "single.onnx"
    write_cut(fix(detector(version, tmp_path / "one.onnx"), TARGET, FixConfig()), single, [], TARGET)
    number = version.strip("v")
    monkeypatch.setattr(
        sys, "argv", ["decode_yolo.py", str(single), str(tmp_path / "picture.png"), "--version", number]
    )
    decode_yolo.main()
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[4]) for line in lines]
    assert lines
    assert all(0.25 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


def test_overlapping_boxes_of_a_class_are_suppressed():
    found = np.array(
        [[10, 10, 8, 8, 0.9, 0.1], [10.5, 10, 8, 8, 0.8, 0.1], [10, 10, 8, 8, 0.1, 0.7], [40, 40, 8, 8, 0.6, 0.1]],
        np.float32,
    )
    best = decode_yolo.best_boxes(np.concatenate((found, np.zeros((1, 6), np.float32))), objectness=False)
    np.testing.assert_allclose(best[:, 4:], [[0.9, 0], [0.7, 1], [0.6, 0]], rtol=1e-6)
    np.testing.assert_allclose(best[0, :4], [6, 6, 14, 14])
