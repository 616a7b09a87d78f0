"""The commands `profile` and `parse` as a user types them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import msgspec
import pytest

from dlaflow.cli import main

STAMP = "[03/31/2022-10:00:00]"
HEAD = "TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback"


def write_log(path: Path, subgraphs: int, qps: float) -> Path:
    lines = [
        f"&&&& RUNNING {HEAD}",
        f"{STAMP} [I] === Build Options ===",
        f"{STAMP} [I] Precision: FP32+FP16",
        f"{STAMP} [W] [TRT] InstanceNormalization_5: DLA cores do not support AVG Reduce operation.",
        f"{STAMP} [I] [TRT] ---------- Layers Running on DLA ----------",
        *(f"{STAMP} [I] [TRT] [DlaLayer] {{ForeignNode[a{n}...b{n}]}}" for n in range(subgraphs)),
        f"{STAMP} [I] [TRT] ---------- Layers Running on GPU ----------",
        *(f"{STAMP} [I] [TRT] [GpuLayer] PLUGIN_V2: InstanceNormalization_{n}" for n in range(subgraphs - 1)),
        f"{STAMP} [I] Throughput: {qps} qps",
        f"&&&& PASSED {HEAD}",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def capture() -> Path:
    default = Path(__file__).resolve().parents[2].parent / "shared" / "evidence"
    folder = Path(os.environ.get("DLAFLOW_EVIDENCE", default)) / "artefacts" / "open"
    if not folder.is_dir():
        pytest.skip(f"no evidence folder at {folder}")
    return folder / "nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite"


def sample(name: str) -> str:
    """One of our logs of tests/parse/outcomes.toml."""
    cases = msgspec.toml.decode((Path(__file__).parents[1] / "parse" / "outcomes.toml").read_bytes())["case"]
    return next(case["log"] for case in cases if case["name"] == name)


def test_a_failed_log_ends_with_one_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, page, html = (tmp_path / name for name in ("failed.log", "failed.json", "failed.html"))
    log.write_text(sample("no scales"))
    assert main(["profile", str(log), "--json", str(page), "--html", str(html)]) == 1
    shown = html.read_text()
    assert all(text in shown for text in ("<h1>FAILED: INT8 was asked for", "line 2: Error[4]", "What to do: Give"))
    out = capsys.readouterr().out
    assert out.startswith("failed: FAILED: INT8 was asked for and no scale reached the builder")
    assert "line 2: Error[4]: [standardEngineBuilder.cpp" in out
    assert "What to do: Give --cache FILE" in out
    assert "`dlaflow explain no_scales`; `dlaflow check` foresees it by DLA005" in out
    assert json.loads(page.read_text())["profiles"][0]["outcome"]["id"] == "no_scales"
    assert main(["parse", str(log)]) == 0
    assert json.loads(capsys.readouterr().out)["artefacts"][0]["failure"]["id"] == "no_scales"
    assert main(["explain", "no_scales"]) == 0


def test_score_says_that_the_build_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "failed.log"
    log.write_text(sample("no scales"))
    assert main(["score", str(tmp_path / "m.onnx"), "--log", str(log)]) == 2
    assert "FAILED before it placed a layer: INT8 was asked for" in capsys.readouterr().err


def test_errors_of_a_run_that_passed_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "run.log"
    log.write_text(sample("headers of another release"))
    assert main(["profile", str(log)]) == 0
    out = capsys.readouterr().out
    assert "The DLA was asked for and no layer got it" in out
    assert "use the trtexec of JetPack" in out
    assert "Build for INT8" not in out


def test_refusals_without_lists_name_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "w.log"
    log.write_text(
        "W0324 10:00:00.000000 1 logging.cc:46] /a/Div: DLA cores do not support DIV ElementWise operation.\n"
        "W0324 10:00:00.000000 1 logging.cc:46] Layer '/a/R' (SHUFFLE): Unsupported on DLA. Switching to GPU.\n"
    )
    assert main(["profile", str(log)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the log does not tell how it ended, and no error is in it; 2 messages about layers and the DLA" in out
    assert "/a/Div: DLA cores do not support DIV ElementWise operation. [DLA180]" in out
    assert "[SHUFFLE: one of DLA240" in out


def test_a_log_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "gn.log", 5, 306.0)
    assert main(["profile", "--log", str(log)]) == 0
    out = capsys.readouterr().out
    assert "gn: PASSED: 5 DLA subgraphs, 4 GPU layers" in out
    assert "306 queries/s" in out
    assert "AVG Reduce" in out
    assert "Build for INT8" in out


def test_a_prediction_for_another_target_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name = "r"
    onnx.save(model, tmp_path / "m.onnx")
    built = "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0"
    log = tmp_path / "build.log"
    log.write_text(f"{built}\n[11/20/2026-09:00:00] [I] Selected Device: Orin\n{built.replace('RUNNING', 'PASSED')}\n")
    arguments = [
        "profile",
        str(log),
        "--model",
        str(tmp_path / "m.onnx"),
        "--board",
        "agx-orin-64gb",
        "--jetpack",
        "5.1.1",
    ]
    assert main(arguments) == 0
    assert "prediction is for precision int8, the log says fp16" in capsys.readouterr().out
    assert main([*arguments, "--precision", "fp16"]) == 0
    assert "prediction is for" not in capsys.readouterr().out


def test_two_logs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = write_log(tmp_path / "gn.log", 5, 306.0), write_log(tmp_path / "bn.log", 1, 650.0)
    assert main(["profile", str(slow), str(fast)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "bn is 2.12 times as fast as gn. InstanceNormalization runs on the GPU in gn" in out


def test_json_of_a_profile(tmp_path: Path) -> None:
    log, out = write_log(tmp_path / "a.log", 2, 10.0), tmp_path / "a.json"
    assert main(["profile", str(log), "--json", str(out), "--quiet"]) == 0
    body = json.loads(out.read_text())
    assert body["schema"] == "dlaflow.profile/1"
    assert body["dlaflow"]
    assert body["profiles"][0]["measured"]["loadables"] == 2


def test_a_capture_with_its_timeline(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, strip = tmp_path / "trace.json", tmp_path / "strip.svg"
    assert main(["profile", str(capture), "--trace", str(trace), "--svg", str(strip)]) == 0
    out = capsys.readouterr().out
    assert "12 changes of device along the list" in out
    assert "2 cold inferences" in out
    assert json.loads(trace.read_text())["schema"] == "dlaflow.trace/1"
    assert strip.read_text().startswith("<svg")


def test_the_commands_for_an_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "model.engine", "--jetpack", "5.1.2", "--print-command"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("nsys profile --trace=cuda,nvtx")
    assert lines[1].startswith("nsys export --type=sqlite")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["profile"], 2, "nothing to profile"),
        (["profile", "missing.log"], 2, "cannot read missing.log"),
        (["profile", "missing.engine"], 2, "cannot read missing.engine"),
        (["parse"], 2, "nothing to parse"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("dlaflow: ")
    assert message in error


def test_an_engine_without_nsys_is_an_environment_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"engine")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["profile", str(engine)]) == 3
    assert "nsys profile" in capsys.readouterr().err


def test_a_capture_is_made_with_the_nsys_at_hand(
    tmp_path: Path, capture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for nsys on the PATH, since none runs here: it logs its arguments and exports the real capture."""
    calls, out = tmp_path / "calls", tmp_path / "m.sqlite"
    program = tmp_path / "nsys"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n[ "$2" = --help ] && echo "   --accelerator-trace="\n'
        f'[ "$1" = export ] && /bin/cp {capture} {out}\nexit 0\n'
    )
    program.chmod(0o755)
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"engine")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert main(["profile", str(engine), "--jetpack", "6.2"]) == 0
    assert "12 changes of device along the list" in capsys.readouterr().out
    first, second, third = calls.read_text().splitlines()
    assert first == "profile --help"
    assert "--accelerator-trace=tegra-accelerators" in second
    assert third.startswith("export --type=sqlite")


def test_parse_prints_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "a.log", 2, 10.0)
    assert main(["parse", str(log)]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["schema"], body["artefacts"][0]["kind"]) == ("dlaflow.artefact/1", "trtexec-log")
    run = body["artefacts"][0]["record"]["runs"][0]
    assert run["tensorrt"] == "8.5.2"
    assert len(run["placement"]["dla"]) == 2


def test_parse_writes_a_file(tmp_path: Path) -> None:
    source, out = tmp_path / "t.log", tmp_path / "t.json"
    source.write_text("RAM 1/2MB (lfb 3x4MB) CPU [0%@1] A@1C VDD 5/6\n")
    assert main(["parse", str(source), "--json", str(out)]) == 0
    record = json.loads(out.read_text())["artefacts"][0]["record"]
    assert record["samples"][0]["rails"][0]["name"] == "VDD"


def test_a_row_without_its_time_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "examples/samples/model_gn.profile.json").read_text()
    damaged, page = tmp_path / "p.json", tmp_path / "p.html"
    damaged.write_text(re.sub(r'"averageMs" : [\d.]+', '"averageMs" : null', text, count=3))
    assert damaged.read_text() != text
    assert main(["profile", str(damaged), "--html", str(page)]) == 0
    assert "6 DLA subgraphs" in capsys.readouterr().out
    assert page.exists()


def test_a_profile_and_a_capture_of_two_engines(capsys: pytest.CaptureFixture[str]) -> None:
    samples = Path(__file__).parents[2] / "examples" / "samples"
    for name, told in (("bn", True), ("gn", False)):
        assert main(["profile", str(samples / "model_gn.sqlite"), str(samples / f"model_{name}.profile.json")]) == 0
        assert ("they are of two engines" in capsys.readouterr().out) == told


def test_torn_files_end_in_an_answer_or_one_line(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (
        "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log", "profile_8.5.2_dla_yolo11n.json",
        "times_7.1.3_resnet50_n2.json", "layerinfo_10.16_detailed.json", capture.name,
    )  # fmt: skip
    for name in names:
        whole = (capture.parent / name).read_bytes()
        for share in (0.02, 0.3, 0.7, 0.95):
            torn = tmp_path / "torn"
            torn.write_bytes(whole[: int(len(whole) * share)])
            code = main(["profile", str(torn)])
            error = capsys.readouterr().err
            assert code == 0 or (code == 2 and error.startswith("dlaflow: ")), (name, share, error)


def walkthrough_log(path: Path, evidence: Path) -> Path:
    """A run that the walk-through published: its lists and its throughput, as the log printed them."""
    told = json.loads(evidence.read_text())
    lines = ["---------- Layers Running on DLA ----------", *(f"[DlaLayer] {{{name}}}" for name in told["dla_layers"])]
    lines += ["---------- Layers Running on GPU ----------"]
    lines += [f"[GpuLayer] {layer['type']}: {layer['name']}" for layer in told["gpu_layers"]]
    text = "".join(f"{STAMP} [I] [TRT] {line}\n" for line in lines)
    path.write_text(f"{text}{STAMP} [I] Throughput: {told['throughput_qps']} qps\n")
    return path


def test_compare_names_the_cause_of_the_walkthroughs_two_runs(
    tmp_path: Path, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = capture.parents[2] / "placement"
    logs = [
        walkthrough_log(tmp_path / f"model_{name}.log", folder / f"tutorial_model_{name}-agx_orin-trt84-1.json")
        for name in ("gn", "bn")
    ]
    assert main(["compare", *map(str, logs), "--json", str(tmp_path / "out.json")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "model_bn is 2.12 times as fast as model_gn. GroupNorm runs on the GPU in model_gn" in out
    assert "5 subgraphs, against 2 in model_bn" in out
    (told,) = json.loads((tmp_path / "out.json").read_text())["comparisons"]
    assert told["changes"][0]["factor"] == pytest.approx(2.12, abs=0.01)


def test_parse_reads_caches_and_tells_what_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "calib.cache"
    cache.write_bytes(b"\xef\xbb\xbfTRT-8502-EntropyCalibration2\r\na:b: 3c010a01\r\nc: 7f800000\r\nd: 3c0")
    assert main(["parse", str(cache)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["artefacts"]
    assert (found["kind"], found["record"]["tensorrt"]) == ("calibration-cache", "8.5.2")
    assert [(entry["tensor"], entry["hex"]) for entry in found["record"]["entries"]][:2] == [
        ("a:b", "3c010a01"), ("c", "7f800000"),
    ]  # fmt: skip
    cache.write_text("a 2.640000104904175\nb 1.5\nc 2.5\n")
    assert main(["parse", str(cache)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["artefacts"]
    assert found["record"] is None
    assert "ONNX Runtime" in found["note"]


def test_the_guides_outputs_are_real(
    tmp_path: Path, capture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every `$ dlaflow` block of docs/profile.md is what the command prints on the real files."""
    for file in capture.parent.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for name in ("gn", "bn"):
        told = capture.parents[2] / "placement" / f"tutorial_model_{name}-agx_orin-trt84-1.json"
        walkthrough_log(tmp_path / f"model_{name}.log", told)
    (tmp_path / "failed.log").write_text(sample("first layer of another type"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    page = (Path(__file__).resolve().parents[2] / "docs" / "profile.md").read_text()
    blocks = [block.partition("\n```")[0] for block in page.split("```console\n$ dlaflow ")[1:]]
    assert len(blocks) >= 4
    for block in blocks:
        command, _, expected = block.partition("\n")
        assert main(command.split()) == (1 if ": FAILED: " in expected else 0)
        printed = [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()]
        assert printed == expected.splitlines(), command
