"""`dlaflow compare` on runs of any kind: the samples of the repository against each other and against predictions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import dlaflow
from dlaflow.build.config import BuildConfig
from dlaflow.build.manifest import BuildRecord, BuiltFor, write_manifest
from dlaflow.cli import main
from dlaflow.observed.build import read_log
from dlaflow.parse.trtexec import parse_log
from dlaflow.report.json import placement_json, read_run
from dlaflow.types import (
    Confidence,
    Device,
    Finding,
    Loadable,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    TargetInfo,
    Verdict,
)

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "samples"
GN, BN, FAILED = (str(SAMPLES / f"model_{name}.log") for name in ("gn", "bn", "gn.failed"))


def rate_of(log: str) -> float:
    performance = parse_log(Path(log)).runs[0].performance
    assert performance is not None
    assert performance.throughput_qps is not None
    return performance.throughput_qps


FACTOR = rate_of(BN) / rate_of(GN)
"""The samples are written anew with every change of the estimate."""
FASTER = f"{FACTOR:.3g} times as fast"


def placement_of(log: str, moved: dict[str, Finding] | None = None) -> Placement:
    """The placed graph that a log tells of, one layer behind the other; `moved` layers are predicted on the DLA."""
    build, _ = read_log(Path(log))
    gpu = [(layer.name, layer.kind) for layer in build.layers if layer.device is Device.GPU]
    dla = [(end, "CONVOLUTION") for ends in build.ends or () for end in dict.fromkeys(ends)]
    layers = []
    for place, (name, kind) in enumerate([*dla, *gpu]):
        finding = (moved or {}).get(name)
        on_dla = place < len(dla) or finding is not None
        device, verdict = (Device.DLA, Verdict.NATIVE) if on_dla else (Device.GPU, Verdict.FALLBACK)
        layers.append(
            PlacedLayer(
                name, kind, [name], device, verdict, 0 if on_dla else None, 1, 1, [finding] if finding else [],
                [f"t{place}"], [f"t{place + 1}"],
            )
        )  # fmt: skip
    names = [layer.name for layer in layers if layer.device is Device.DLA]
    return Placement(
        ModelInfo("m.onnx", "00", {}),
        TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 32, "hybrid"),
        Summary(len(layers), len(names), len(layers) - len(names), 0, 0, 1.0, 6, 6, 11, False),
        layers,
        [Loadable(0, names[0], names[-1], names, len(names))],
        [],
    )


def out_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_two_logs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"c.{name}") for name in ("html", "json", "markdown")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert main(["compare", GN, BN, *options]) == 0
    out = out_of(capsys)
    assert re.search(r"loadables 6 2 \(x0.333\)", out)
    assert f"model_bn is {FASTER} as model_gn. GroupNorm runs on the GPU in model_gn" in out
    assert "5 of the 5 layers that both name are on the same device" in out
    assert "they may lie inside a loadable of model_bn" in out
    assert f"<h1>model_bn is {FASTER}" in Path(files["html"]).read_text()
    assert FASTER in Path(files["markdown"]).read_text()
    record = read_run(files["json"])
    assert main(["compare", GN, BN, "--svg", str(tmp_path / "c.svg")]) == 2
    assert "there is nothing to draw" in capsys.readouterr().err
    assert record.comparisons[0].changes[0].same_network is True


def test_a_run_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", GN, GN]) == 0
    assert "model_gn.log#2 is as fast as model_gn.log#1." in out_of(capsys)


def test_limits_hold_for_logs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", GN, BN, "--fail-on", "loadables,slower=5%", "-q"]) == 0
    assert main(["compare", BN, GN, "--fail-on", "loadables,slower=5%", "-q"]) == 1
    out = out_of(capsys)
    assert "more loadables, 2 → 6" in out
    assert re.search(r"slower, [\d.]+ ms → [\d.]+ ms", out)
    assert main(["compare", GN, BN, "--fail-on", "switches"]) == 2
    assert "switches cannot be compared" in capsys.readouterr().err


def test_limits_hold_between_a_prediction_and_a_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The log's switches are those over the prediction's graph."""
    placement = placement_of(GN)
    fewer = replace(placement, summary=replace(placement.summary, switches=0, loadables=1))
    (tmp_path / "check.json").write_bytes(placement_json(fewer))
    assert main(["compare", str(tmp_path / "check.json"), GN, "--fail-on", "switches,loadables", "-q"]) == 1
    out = out_of(capsys)
    assert "more switches, 0 → " in out
    assert "more loadables, 1 → 6" in out


def test_a_prediction_against_a_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What moved is told with what the log says of it and what the rule said."""
    name = "/pool/GlobalAveragePool"
    finding = Finding("DLA250", name, Verdict.CONDITIONAL, "AVG over axes 2, 3", "", "", "log", "", Confidence.MEASURED)
    (tmp_path / "check.json").write_bytes(placement_json(placement_of(GN, {name: finding})))
    assert main(["compare", str(tmp_path / "check.json"), GN, "--json", str(tmp_path / "c.json")]) == 0
    out = out_of(capsys)
    assert f"moved: {name} REDUCE: DLA → GPU (DLA250 conditional: AVG over axes 2, 3; {name}: DLA cores do not" in out
    (comparison,) = json.loads((tmp_path / "c.json").read_text())["comparisons"]
    assert [each["layer"] for each in comparison["changes"][0]["moved"]] == [name]


def test_a_layer_that_left_a_loadable_is_named_with_its_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """8.x prints the ends of a loadable alone, so the log before does not name what left it."""
    name = "/cnn/cnn.5/Relu"
    says = f"{name}: DLA cores do not support AVG Reduce operation."
    stamp = "[11/20/2026-09:00:04] [I] [TRT] "
    after = (
        Path(BN)
        .read_text()
        .replace(
            f"{stamp}---------- Layers Running on GPU ----------\n",
            f"{stamp}---------- Layers Running on GPU ----------\n{stamp}[GpuLayer] REDUCE: {name}\n",
        )
    )
    after = after.replace(
        f"{stamp}---------- Layers Running on DLA", f"[W] [TRT] {says}\n{stamp}---------- Layers Running on DLA"
    )
    (tmp_path / "after.log").write_text(after)
    assert main(["compare", BN, str(tmp_path / "after.log")]) == 0
    out = out_of(capsys)
    assert "after alone names 1 layer (Relu); they may lie inside a loadable of model_bn" in out
    assert f"{name} REDUCE on the GPU ({says} [DLA250])" in out


def test_the_same_prediction_has_nothing_that_moved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "check.json").write_bytes(placement_json(placement_of(GN)))
    assert main(["compare", str(tmp_path / "check.json"), GN]) == 0
    out = out_of(capsys)
    assert "moved" not in out
    assert "layers that both name are on the same device" in out


def test_another_networks_log_is_called_that(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = re.sub(r"/cnn/|/linear/|/pool/|reshape_after_", lambda m: f"/other{m.start()}/", Path(GN).read_text())
    (tmp_path / "other.log").write_text(other)
    (tmp_path / "check.json").write_bytes(placement_json(placement_of(BN)))
    for before in (BN, str(tmp_path / "check.json")):
        assert main(["compare", before, str(tmp_path / "other.log")]) == 0
        out = out_of(capsys)
        assert "they are different networks (0 of" in out
        assert "moved" not in out


def test_a_failed_run_is_told_with_its_cause(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compare", GN, FAILED, "--markdown", str(tmp_path / "c.md")]) == 1
    out = out_of(capsys)
    assert "outcome PASSED FAILED" in out
    assert "model_gn.failed: FAILED: the DLA refused part of the model" in out
    assert "What to do: `dlaflow check` names the layers" in out
    assert "times as fast" not in out
    assert "FAILED" in (tmp_path / "c.md").read_text()
    assert main(["profile", GN, FAILED]) == 1
    assert out_of(capsys).count("What to do: `dlaflow check`") == 1


def test_files_of_several_kinds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Files of one run go together when there are several of a kind; one of each kind are runs of their own."""
    both = [str(SAMPLES / f"model_{name}.profile.json") for name in ("gn", "bn")]
    assert main(["compare", GN, BN, *both]) == 0
    assert re.search(r"profiled latency \(ms\) [\d.]+ [\d.]+ \(x", out_of(capsys))
    kinds = [GN, str(SAMPLES / "model_gn.layers.json"), str(SAMPLES / "model_gn.sqlite"), both[0]]
    assert main(["compare", *kinds, "--json", str(tmp_path / "c.json")]) == 0
    (comparison,) = read_run(tmp_path / "c.json").comparisons
    assert len(comparison.names) == 4
    assert [change.moved for change in comparison.changes] == [(), (), ()]
    assert [row.values for row in comparison.rows if row.quantity == "loadables"] == [(6.0, 6.0, 6.0, 6.0)]


def test_profiles_alone_tell_what_is_slower(capsys: pytest.CaptureFixture[str]) -> None:
    gn, bn = (str(SAMPLES / f"model_{name}.profile.json") for name in ("gn", "bn"))
    assert main(["compare", gn, bn, "--fail-on", "slower=5%", "-q"]) == 0
    assert main(["compare", bn, gn, "--fail-on", "slower=5%", "-q"]) == 1
    assert re.search(r"slower, [\d.]+ ms → [\d.]+ ms", out_of(capsys))
    # A log and a profile share no such time: a profiler slows down what it watches.
    assert main(["compare", GN, bn, "--fail-on", "slower=5%", "-q"]) == 2


def test_one_log_alone_has_nothing_beside_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for more in ([], ["--html", str(tmp_path / "c.html")]):
        assert main(["compare", FAILED, *more]) == 2
        assert "expected at least two runs, received one. `dlaflow profile FILE`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_records_of_profile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["profile", GN, BN, "--json", str(tmp_path / "p.json")]) == 0
    assert main(["profile", str(SAMPLES / "model_gn.sqlite"), "--json", str(tmp_path / "q.json")]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "p.json"), str(tmp_path / "q.json")]) == 0
    out = out_of(capsys)
    assert FASTER in out
    assert re.search(r"loadables 6 2 \(x0.333\) 6", out)


def test_engines_by_their_manifests(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"m")
    for name, precision in (("a", "int8"), ("b", "fp16")):
        engine = tmp_path / f"{name}.engine"
        engine.write_bytes(name.encode() * (1 if name == "a" else 2))
        config = replace(BuildConfig(), precision=precision)  # type: ignore[arg-type]
        write_manifest(engine, tmp_path / "m.onnx", config, BuiltFor("tensorrt", "8.5.2"), BuildRecord("trtexec", 1.0))
    for files in (("a.engine.json", "b.engine.json"), ("a.engine", "b.engine")):
        assert main(["compare", *(str(tmp_path / file) for file in files)]) == 0
        out = out_of(capsys)
        assert "precision int8 fp16" in out
        assert re.search(r"engine size \(MB\) 1e-06 2e-06", out)
        assert "not both tell where the layers are" in out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello\n", "is no run: expected the folder of a `dlaflow run`"),
        (b"{}", "does not say what it is"),
        (b'{"schema": "dlaflow.other/1"}', "received dlaflow.other/1"),
        (b'{"schema": "dlaflow.profile/1"}', "does not have the expected contents"),
        (b'{"schema": "dlaflow.engine/1"}', "is not an engine manifest"),
        (b"QDSTRM\0", "nsys export --type sqlite"),
    ],
)
def test_what_is_no_run_is_told_in_one_line(
    content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert main(["compare", GN, str(tmp_path / "x.json")]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_python_compares_logs_and_records() -> None:
    shown = dlaflow.compare(GN, BN)
    (comparison,) = shown.run.comparisons
    assert FASTER in str(shown)
    assert f"(x{FACTOR:.3g})</td>" in shown._repr_html_()
    assert comparison.factor == pytest.approx(FACTOR)
    (mixed,) = dlaflow.compare(placement_of(GN), GN).run.comparisons
    assert mixed.changes[0].moved == ()
