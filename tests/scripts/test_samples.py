"""The samples are those that scripts/write_samples writes, and each of them is what its name says."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from dlaflow.observed.build import read_capture, read_layer_info, read_log, read_profile
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.evidence import Files
from dlaflow.profile.profile import read_profile as profile_of
from dlaflow.types import Device

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "examples" / "samples"
MOST_BYTES = 300_000


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_they_are_written_from_the_present_prediction(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the networks are exported by torch")
    loader = SourceFileLoader("write_samples", str(ROOT / "scripts" / "write_samples"))
    spec = importlib.util.spec_from_loader("write_samples", loader)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "write_samples", script)
        loader.exec_module(script)
        script.write(tmp_path)
    kept = contents(SAMPLES)
    kept.pop("README.md")
    stale = sorted(name for name, text in contents(tmp_path).items() if kept.pop(name, b"") != text)
    assert (stale, kept) == ([], {}), "run scripts/write_samples"


def test_they_are_small() -> None:
    assert sum(map(len, contents(SAMPLES).values())) < MOST_BYTES


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model_gn.log", Kind.TRTEXEC_LOG),
        ("model_gn.failed.log", Kind.TRTEXEC_LOG),
        ("model_gn.profile.json", Kind.PROFILE),
        ("model_gn.layers.json", Kind.LAYER_INFO),
        ("model_gn.sqlite", Kind.NSYS_SQLITE),
    ],
)
def test_each_is_known_by_its_content(name: str, kind: Kind) -> None:
    assert detect(SAMPLES / name) is kind


def test_all_files_of_a_network_tell_of_one_engine() -> None:
    log, run = read_log(SAMPLES / "model_gn.log")
    builds = [
        log,
        read_profile(SAMPLES / "model_gn.profile.json"),
        read_layer_info(SAMPLES / "model_gn.layers.json"),
        read_capture(SAMPLES / "model_gn.sqlite"),
    ]
    for build in builds:
        assert build.ends == log.ends
        on_gpu = {layer.name for layer in build.layers if layer.device is Device.GPU}
        assert {name for name in on_gpu if not name.startswith("Reformatting")} == {
            node.name for node in run.placement.gpu
        }
    files = Files(
        SAMPLES / "model_gn.log", layer_times=SAMPLES / "model_gn.profile.json", nsys=SAMPLES / "model_gn.sqlite"
    )
    numbers = {each.quantity: each.value for each in profile_of(files).measurements}
    assert numbers["compute time"] == pytest.approx(numbers["stream time"], rel=1e-3)
    assert numbers["compute time"] == pytest.approx(numbers["profiled latency"], rel=1e-3)
    assert numbers["throughput"] == pytest.approx(1000 / numbers["compute time"], rel=0.01)


def test_the_good_log_passed_and_the_other_failed_for_a_known_reason() -> None:
    assert parse_log(SAMPLES / "model_gn.log").outcome.state == "passed"
    failed = parse_log(SAMPLES / "model_gn.failed.log").outcome
    assert (failed.state, failed.id) == ("failed", "dla_validation_failed")
