"""`dlaflow check`, `explain` and `boards` as a user types them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlaflow.cli import COMMANDS, main
from dlaflow.cli.check import Outputs


@pytest.fixture
def classifier(tmp_path):
    """Convolution, average reduction, Flatten and Gemm: two loadables on every DLA."""
    weights = {"w": (8, 3, 3, 3), "f": (10, 8), "b": (10,)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], name="/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="/relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="/pool"),
        helper.make_node("Flatten", ["p"], ["t"], name="/flatten"),
        helper.make_node("Gemm", ["t", "f", "b"], ["output"], name="/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()],
    )
    path = tmp_path / "classifier.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_answer_comes_first(classifier, capsys):
    assert main(["check", str(classifier), "--board", "agx-orin-64gb", "--jetpack", "5.1.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "agx-orin-64gb, JetPack 5.1.1 (TensorRT 8.5.2), int8, batch 1, hybrid" in lines[0]
    assert "100.0% of the multiply-accumulates" in lines[2]
    assert lines[3].split() == ["2", "loadables"]
    assert any("DLA250" in line and "/pool" in line for line in lines)
    assert any("use instead: AveragePool" in line for line in lines)
    assert "`dlaflow fix` does it: mean-pooling." in " ".join(map(str.strip, lines))


def test_why_no_standalone_build_is_possible_where_all_runs_on_the_dla(tmp_path, capsys):
    """A constant folds in a hybrid build alone, so that no layer on the GPU says why."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[1,4,1,1] k = {1.0, 2.0, 3.0, 4.0}> { y = Mul(x, k) }"""
    path = tmp_path / "scale.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    assert main(["check", str(path), "--jetpack", "6.2"]) == 0
    assert "no standalone build possible (1 layer left that a hybrid build folds, the first is k)" in (
        capsys.readouterr().out
    )
    assert main(["check", str(path), "--jetpack", "6.2", "--mode", "standalone"]) == 0
    assert "DLA284" in capsys.readouterr().out


def test_json_has_every_key_of_the_design(classifier, tmp_path):
    out = tmp_path / "placement.json"
    assert main(["check", str(classifier), "--json", str(out), "--quiet", "--batch", "4"]) == 0
    body = json.loads(out.read_text())
    assert body["schema"] == "dlaflow.placement/1"
    assert set(body) >= {"schema", "dlaflow", "model", "target", "summary", "layers", "loadables", "switches"}
    assert set(body["model"]) == {"path", "sha256", "inputs"}
    assert body["model"]["inputs"] == {"input": [4, 3, 32, 32]}
    assert set(body["target"]) == {"board", "jetpack", "tensorrt", "dla", "precision", "batch", "mode"}
    assert set(body["summary"]) == {
        "layers", "dla_layers", "gpu_layers", "folded_layers", "unknown_layers", "dla_mac_share",
        "loadables", "loadables_before_cap", "switches", "standalone_ok",
    }  # fmt: skip
    keys = {"name", "kind", "onnx_nodes", "device", "verdict", "loadable", "macs", "bytes", "findings"}
    keys |= {"inputs", "outputs"}
    assert all(set(layer) == keys for layer in body["layers"])
    assert set(body["loadables"][0]) == {"index", "first", "last", "layers", "macs"}
    assert set(body["switches"][0]) == {"from", "to", "tensor", "bytes"}
    found = next(finding for layer in body["layers"] for finding in layer["findings"])
    assert set(found) >= {"rule", "verdict", "message", "expected", "received", "source", "fix"}


def test_fail_on(classifier, capsys):
    assert main(["check", str(classifier), "--fail-on", "fallback"]) == 1
    assert main(["check", str(classifier), "--board", "orin-nano", "--jetpack", "6.2", "--fail-on", "unknown"]) == 1
    capsys.readouterr()


def test_comparison_of_two_releases_and_layers(classifier, capsys):
    assert main(["check", str(classifier), "--jetpack", "5.1.1", "--against", "6.2", "--layers"]) == 0
    out = capsys.readouterr().out
    assert "Under 6.2 (TensorRT 10.3.0.30) instead of 5.1.1" in out
    assert "GPU         conditional REDUCE           /pool" in out


def test_sarif_html_and_model_explorer(classifier, tmp_path):
    sarif, page, nodes = (tmp_path / name for name in ("f.sarif", "p.html", "n.json"))
    options = ["--sarif", str(sarif), "--html", str(page), "--model-explorer", str(nodes), "--quiet"]
    assert main(["check", str(classifier), *options]) == 0
    run = json.loads(sarif.read_text())["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert "DLA250" in rules
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert "/pool" in page.read_text()
    assert "Latency, estimated" in page.read_text()
    assert json.loads(nodes.read_text())["main_graph"]["results"]["/pool"]["value"] == "GPU"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is not a model at all, it is text", "not a readable ONNX"),
        (b"PK\x03\x04rest of a zip", "zip"),
        (None, "cannot read"),
    ],
)
def test_bad_files_are_one_line_and_exit_2(content, words, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    assert main(["check", str(path), "--json", str(tmp_path / "out.json")]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_truncated_model_is_told(classifier, tmp_path, capsys):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(classifier.read_bytes()[:-700])
    assert main(["check", str(cut)]) == 2
    error = capsys.readouterr().err
    assert "truncated" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "agx-orn-64gb"], "Did you mean 'agx-orin"),
        (["--jetpack", "5.9"], "JetPack"),
        (["--precision", "int4"], "precision"),
        (["--batch", "0"], "batch"),
        (["--bord", "x"], "--bord"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(classifier, arguments, words, capsys):
    assert main(["check", str(classifier), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [["check"], ["estimate"], ["fix", "--dry-run"], ["build", "--out", "m.engine"]])
@pytest.mark.parametrize(
    ("inputs", "batch", "said"),
    [
        ("float[1, 3, 8, 8] x", "64", "fixed to 1: expected --batch 1 or none, received 64"),
        ("float[1, 3, 8, 8] x", "99999999999999999999", "too large: expected 1 to 2147483647"),
        ("float[N, 3, 8, 8] x", "99999999999999999999", "too large"),
        ("float[4, 3, 8, 8] x, float[7] z", "2", "fixed to 4"),
        ("float[4, 3, 8, 8] x, float[7] z", "4", ""),
        ("float[N, 3, 8, 8] x, float[7] z", "64", ""),
        ("float[1, 3, 8, 8] x", "1", ""),
    ],
)
def test_a_batch_that_the_model_cannot_have_is_refused(command, inputs, batch, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float[n, 3, 8, 8] y) {{ y = Relu (x) }}'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    words = [command[0], "m.onnx", *command[1:], "--batch", batch]
    assert main([*words, "--print-command"] if command[0] == "build" else words) == (2 if said else 0)
    error = capsys.readouterr().err
    assert said in error
    assert not said or error.count("\n") == 1


def test_unknown_command_tells_the_nearest(capsys):
    assert main(["chek"]) == 2
    assert "Did you mean 'check'?" in capsys.readouterr().err


def test_explain_and_boards(capsys, tmp_path):
    assert main(["explain", "dla110"]) == 0
    assert "1..32" in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert "DLA250" in capsys.readouterr().out
    assert main(["explain", "DLA11O"]) == 2
    assert "Did you mean 'DLA" in capsys.readouterr().err
    assert main(["boards", "--json", str(tmp_path / "b.json")]) == 0
    assert "orin-nano              none" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["schema"] == "dlaflow.boards/1"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[04/22/2023-09:32:31] [E] Cannot create DLA engine, 0 not available", "no_dla_available"),
        ("Cannot create DLA engine, 0 not available", "no_dla_available"),
        ("[W] [TRT] /model.24/Pow: DLA cores do not support POW ElementWise operation.", "elementwise_op_unsupported"),
        (
            "2024-01-01T00:00:00Z [01/01/2024-00:00:00] [W] [TRT] Layer 'a' (CONSTANT): Unsupported on DLA. Switching",
            "# unsupported_layer",
        ),
        (
            "[E] Error[2]: [nvmediaTensorCache.cpp::registerTensor::80] Error Code 2: Internal Error (Assertion x)",
            "# builder_internal_error",
        ),
        (
            "[01/29/2026-15:42:41] [TRT] [W] Validation failed for DLA layer: a. Switching to GPU fallback.",
            "The DLA compiler refused the layer",
        ),
        ("[E] one line that nobody knows\n[E] [TRT] Cannot create DLA engine, 0 not available", "no_dla_available"),
    ],
)
def test_explain_takes_the_line_of_a_log(capsys, line, told):
    assert main(["explain", line]) == 0
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[E] Engine could not be created from network", "something before it failed"),
        ("[E] Error[2]: [foo.cpp::bar::80] Error Code 2: Internal Error (never seen)", "raised in bar of foo.cpp"),
        ("hello world", "no known cause for 'hello world'"),
        ("\x1b[31m \n", "unknown rule"),
    ],
)
def test_explain_says_when_a_line_is_not_known(capsys, line, told):
    assert main(["explain", line]) == 2
    assert told in capsys.readouterr().err


def test_explain_knows_failures_and_messages(capsys, tmp_path):
    assert main(["explain", "no_dla_core"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# no_dla_available\n")
    assert "--gpu-only" in page
    assert main(["explain", "reduce_avg_unsupported"]) == 0
    assert "dlaflow explain DLA250" in capsys.readouterr().out
    assert main(["explain", "unsuported_layer"]) == 2
    assert "Did you mean 'unsupported_layer'?" in capsys.readouterr().err
    out = tmp_path / "e.json"
    assert main(["explain", "subgraph_limit", "--json", str(out), "-q"]) == 0
    body = json.loads(out.read_text())
    assert (body["rules"], body["failures"], [each["rules"] for each in body["messages"]]) == ([], [], [["DLA010"]])
    assert main(["explain", "--json", str(out), "-q"]) == 0
    body = json.loads(out.read_text())
    assert min(len(body[key]) for key in ("rules", "failures", "messages")) > 20


def test_help_names_every_command_and_loads_nothing_heavy():
    code = (
        "import sys, dlaflow; from dlaflow.cli import main; main(['--help'])\n"
        "heavy = ('torch', 'onnxruntime', 'onnx', 'numpy', 'cyclopts', 'rich', 'tensorrt')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name}" in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_help():
    from importlib import import_module

    for path, _ in COMMANDS.values():
        module, function = path.split(":")
        command = getattr(import_module(module), function)
        assert getattr(command, "help", None) or command.__doc__


def test_check_loads_nothing_that_it_does_not_need(classifier):
    heavy = ["torch", "onnxruntime", "tensorrt", "onnxscript", "onnx_ir", "onnxslim", "sympy", "rich", "jinja2"]
    heavy += ["onnx.reference", "asyncio", "dlaflow.report.notebook", "dlaflow.report.html", "dlaflow.rewrites.search"]
    code = (
        f"import sys; from dlaflow.cli import main; main(['check', {str(classifier)!r}])\n"
        f"print([module for module in {heavy!r} if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_an_answer_in_a_file_reads_the_whole_model(classifier, tmp_path, monkeypatch, capsys):
    hashed = []
    monkeypatch.setattr("dlaflow.graph.load.sha256_of", lambda path: hashed.append(path) or "0" * 64)
    assert main(["check", str(classifier), "--layers"]) == 0
    assert hashed == []
    files = [field.name for field in dataclasses.fields(Outputs) if "Written" in str(field.type)]
    assert len(files) >= 4
    for count, name in enumerate(files, 1):
        out = tmp_path / name
        first = ["/flatten"] if name == "extract" else []
        assert main(["check", str(classifier), f"--{name.replace('_', '-')}", *first, str(out), "-q"]) == 0
        assert len(hashed) == count
    assert json.loads((tmp_path / "json").read_text())["model"]["sha256"] == "0" * 64
    assert "0" * 64 in (tmp_path / "sarif").read_text()


def test_a_conditional_layer_falls_back_until_it_is_rewritten(tmp_path, capsys):
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["c"], name="/conv"),
            helper.make_node("GlobalAveragePool", ["c"], ["output"], name="/pool"),
        ],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 8, 1, 1])],
        [numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")],
    )
    path, fixed, sarif, answer = (tmp_path / name for name in ("m.onnx", "fixed.onnx", "m.sarif", "m.json"))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    target = ["--board", "agx-orin-64gb", "--jetpack", "5.1.1"]
    for fail_on in ("fallback", "unknown"):
        options = ["--fail-on", fail_on, "--sarif", str(sarif), "--json", str(answer)]
        assert main(["check", str(path), *target, *options, "-q"]) == 1
    layers = json.loads(answer.read_text())["layers"]
    assert [layer["verdict"] for layer in layers if layer["device"] == "GPU"] == ["conditional"]
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["level"] == "warning"
    assert (result["properties"]["remedy"], result["properties"]["rewrites"]) == ("exact", ["mean-pooling"])
    assert main(["fix", str(path), "--out", str(fixed), *target, "-q"]) == 0
    assert main(["check", str(fixed), *target, "--fail-on", "unknown"]) == 0
    assert "DLA250" not in capsys.readouterr().out
