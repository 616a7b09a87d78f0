"""Every command over files whose every name is hostile: nothing that is printed acts, and no name makes a line.

Each command runs twice, over hostile names and over plain ones of the same length on the screen: it must print as many
lines, end with the same code, and none of what a terminal or a CI runner would act on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from PIL import Image

from dlaflow.cli import COMMANDS, main
from dlaflow.visible import inert, visible

ACTS = (
    "\x1b[31m\x1b]8;;http:x\x07\x9b2J\u202e\u2066\u200b\ufeff\u2028\x7f\r\n::error::x\n##[add-mask]x\u3164[bold]:bug:"
)
"""Colours, a hyperlink, C1, bidirectional and zero-width marks, lines, commands of CI runners, rich's markup."""
IN_A_LINE = "\x1b\x07\x9b\u202e\u2066\u200b\ufeff\u2028\u3164"
"""What the lines of a text format can hold."""

MODEL = """<ir_version: 8, opset_import: ["" : 17, "odd" : 1]> net (float[N, 3, 32, 32] x) => (float[N, 10] y)
{ a = Conv (x, w)  b = Relu (a)  c = GlobalAveragePool (b)  y = Flatten (c) }"""
FOREIGN = MODEL.replace("Relu", "odd.Strange")
LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
[I] === Build Options ===
[I] Precision: FP32+FP16
[I] === Device Information ===
[I] Selected Device: Orin{0}
[W] [TRT] pool{0}: DLA cores do not support AVG Reduce operation.
[W] [TRT] Layer 'pool{0}' (REDUCE): Unsupported on DLA. Switching this layer's device type to GPU.
[I] [TRT] ---------- Layers Running on DLA ----------
[I] [TRT] [DlaLayer] {{ForeignNode[conv{0}...relu{0}]}}
[I] [TRT] ---------- Layers Running on GPU ----------
[I] [TRT] [GpuLayer] REDUCE: pool{0}
[I] [TRT] [GpuLayer] REDUCE: nowhere{0}
[I] Throughput: 100 qps
[I] Engine built in 1.0 sec.
[E] Error[2]: something{0} failed
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
"""
CACHE = "TRT-8502-EntropyCalibration2\nx{0}: 3c010204\na{0}: 3d010204\nnowhere{0}: 3d010204\n"
TIMES: list[dict[str, object]] = [
    {"count": 2},
    {"name": "conv", "timeMs": 1.0, "averageMs": 0.5, "medianMs": 0.5, "percentage": 100.0},
]
RECIPE = """
name = "r"
steps = ["check", "estimate", "calibrate", "sensitivity", "evaluate", "report"]
[data]
name = "digits"
[calibrate]
samples = 20
[sensitivity]
images = 10
[evaluate]
limit = 20
[[variant]]
name = "own"
onnx = {onnx}
note = {note}
"""


def write(folder: Path, acts: str, in_a_line: str) -> None:
    """All inputs, with names that end in these."""
    folder.mkdir()
    for name, text, end in (("m", MODEL, acts), ("odd", FOREIGN, acts), ("l", MODEL, in_a_line)):
        model = onnx.parser.parse_model(text)
        rename(model, end)
        onnx.save(model, folder / f"{name}{acts}.onnx")
    (folder / f"b{acts}.log").write_text(LOG.format(in_a_line))
    (folder / f"c{acts}.cache").write_text(CACHE.format(in_a_line))
    (folder / f"d{acts}.cache").write_text(CACHE.format(in_a_line).replace("3d", "3e"))
    (folder / f"broken{acts}.onnx").write_bytes(b"no model")
    (folder / f"t{acts}.json").write_text(json.dumps([TIMES[0], {**TIMES[1], "name": f"conv{acts}"}]))
    (folder / f"broken{acts}.json").write_text(json.dumps({"schema": acts, "model": {"path": acts}}))
    (folder / f"r{acts}.toml").write_text(RECIPE.format(onnx=json.dumps(f"n{acts}.onnx"), note=json.dumps(acts)))
    (folder / f"wrong{acts}.toml").write_text(
        f"name = 'r'\n{json.dumps(acts)} = 1\n[[variant]]\nname={json.dumps(acts)}\n"
    )
    (folder / f"boards{acts}.toml").write_text(f"[board.{json.dumps(acts)}]\nhost = {json.dumps(acts)}\n")
    (folder / f"images{acts}" / f"class{acts}").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"images{acts}" / f"class{acts}" / f"i{acts}.png")
    (folder / f"images{acts}" / f"class{acts}" / f"j{acts}.png").write_bytes(b"no image")
    for label in "pq":
        place = folder / f"good{acts}" / f"{label}{acts}"
        place.mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(place / f"i{acts}.png")
    rng = np.random.default_rng(0)
    np.savez(folder / f"a{acts}.npz", **{f"x{acts}": rng.normal(size=(4, 3, 32, 32)).astype(np.float32)})


def rename(model: onnx.ModelProto, acts: str) -> None:
    """Put the end behind each name of the model."""
    graph, rng = model.graph, np.random.default_rng(0)
    graph.initializer.append(numpy_helper.from_array(rng.normal(size=(10, 3, 1, 1)).astype(np.float32), "w"))
    for name, node in zip(("conv", "relu", "pool", "flat"), graph.node, strict=True):
        node.name = f"{name}{acts}"
        node.input[:], node.output[:] = ([f"{each}{acts}" for each in ends] for ends in (node.input, node.output))
        if node.domain:
            node.op_type += acts
    for value in (*graph.input, *graph.output):
        value.name += acts
        value.type.tensor_type.shape.dim[0].dim_param += acts
    for weight in graph.initializer:
        weight.name += acts
    model.producer_name = graph.name = graph.doc_string = acts


MADE = """
check m{}.onnx --json p{}.json
fix m{}.onnx --out n{}.onnx --batch 1
calibrate m{}.onnx --data a{}.npz --qdq q{}.onnx
"""
"""What later commands read."""

# One command a line; {} stands for the end of each name.
PLACED = "--board agx-orin-64gb --jetpack 5.1.1"
CALLS = f"""
check m{{}}.onnx --layers --against 6.2 {PLACED}
check m{{}}.onnx --json p{{}}.json --sarif p{{}}.sarif --html p{{}}.html
check odd{{}}.onnx --layers
check broken{{}}.onnx
check gone{{}}.onnx
check m{{}}.onnx --board no{{}}
check m{{}}.onnx --shape no{{}}:1x3x32x32
check m{{}}.onnx --no{{}}
check m{{}}.onnx no{{}}
no{{}}
estimate m{{}}.onnx
estimate odd{{}}.onnx
fix m{{}}.onnx --out n{{}}.onnx {PLACED} --batch 1 --shape x{{}}:1x3x32x32
fix odd{{}}.onnx --dry-run
fix m{{}}.onnx --out f{{}}.onnx --cut no{{}}
explain no{{}}
compare p{{}}.json p{{}}.json
compare p{{}}.json p{{}}.json --markdown p{{}}.md
compare broken{{}}.json
compare b{{}}.log b{{}}.log
score l{{}}.onnx --log b{{}}.log
score m{{}}.onnx --log p{{}}.json
profile b{{}}.log
profile b{{}}.log --model l{{}}.onnx --board agx-orin-64gb
profile gone{{}}.engine
profile gone{{}}.engine --print-command
profile t{{}}.json
profile gone{{}}.log
parse b{{}}.log c{{}}.cache t{{}}.json
parse m{{}}.onnx
cache show c{{}}.cache
cache diff c{{}}.cache d{{}}.cache
cache lint c{{}}.cache --model m{{}}.onnx
cache merge c{{}}.cache d{{}}.cache --out e{{}}.cache
cache rename c{{}}.cache x{{}}=z{{}} --out e{{}}.cache
cache from-qdq q{{}}.onnx --cache e{{}}.cache --plain u{{}}.onnx
cache to-qdq c{{}}.cache l{{}}.onnx --out v{{}}.onnx
cache show gone{{}}.cache
calibrate m{{}}.onnx --data a{{}}.npz --cache k{{}}.cache --qdq q{{}}.onnx --shape x{{}}:1x3x32x32
calibrate m{{}}.onnx --data images{{}} --cache k{{}}.cache
calibrate m{{}}.onnx --data gone{{}} --cache k{{}}.cache
evaluate m{{}}.onnx --data a{{}}.npz
evaluate m{{}}.onnx --data images{{}}
evaluate m{{}}.onnx --data good{{}}
calibrate m{{}}.onnx --data good{{}} --cache k{{}}.cache
evaluate m{{}}.onnx n{{}}.onnx --data digits --samples 20
sensitivity m{{}}.onnx --data a{{}}.npz --shape x{{}}:1x3x32x32
build m{{}}.onnx --out e{{}}.engine --print-command {PLACED}
build m{{}}.onnx --out e{{}}.engine --print-command --all-steps --cache c{{}}.cache {PLACED}
build m{{}}.onnx --out e{{}}.engine
run r{{}}.toml --out out{{}}
run wrong{{}}.toml
sweep wrong{{}}.toml
export no{{}} --weights w{{}} --out o{{}}.onnx
export a:b{{}} --weights w{{}} --out o{{}}.onnx
train no{{}} --data digits --out w{{}}.safetensors
schedule m{{}}.onnx@30 n{{}}.onnx --board agx-orin-64gb --jetpack 6.2
schedule gone{{}}.onnx@30
survey gone{{}}.onnx --out s{{}}
deploy gone{{}}.engine --for python --out d{{}}
loadable inspect gone{{}}.loadable
config no{{}}
qat no{{}} --weights w{{}} --out o{{}}.onnx
remote 127.0.0.1 no{{}}
remote boards{{}}.toml doctor
doctor --json d{{}}.json
boards
completion no{{}}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of hostile names and its plain twin."""
    top = tmp_path_factory.mktemp("names")
    write(top / "hostile", ACTS, IN_A_LINE)
    write(top / "plain", *("x" * len(visible(each)) for each in (ACTS, IN_A_LINE)))
    for folder, end in ((top / "hostile", ACTS), (top / "plain", "x" * len(visible(ACTS)))):
        for call in MADE.strip().splitlines():
            words = [word if "{}" not in word else str(folder / word.replace("{}", end)) for word in call.split()]
            assert main([*words, "--quiet"]) == 0
    return top / "hostile", top / "plain"


def acting(text: str) -> list[str]:
    """What of a printed text is more than what is seen, but for ends of lines."""
    found = [ascii(each) for each in text if visible(each) != each and each != "\n"]
    return found + [line for line in text.split("\n") if line.lstrip().startswith("::") or "##[" in line]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def called(folder: Path, *words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        code = main(list(words))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


def words_of(call: str, end: str) -> list[str]:
    return [word.replace("{}", end) for word in call.split()]


@pytest.mark.parametrize("call", CALLS.strip().splitlines())
def test_no_name_acts(call: str, folders: tuple[Path, Path], run: Run) -> None:
    hostile, plain = folders
    code, out, err = run(hostile, *words_of(call, ACTS))
    assert not acting(out), out
    assert not acting(err), err
    assert code in (0, 1, 2, 3), err
    twin, twins_out, twins_err = run(plain, *words_of(call, "x" * len(visible(ACTS))))
    if "a name of one line" in err:  # a cache is lines of text, in which tensors of such names cannot stand
        assert code == 2
        return
    assert code == twin, err + twins_err
    # A line may wrap elsewhere: Python's repr of a character has another length. A name's own lines would be two more.
    for printed, twins in ((out, twins_out), (err, twins_err)):
        assert abs(printed.count("\n") - twins.count("\n")) <= 1, printed + twins


def test_every_command_is_tried() -> None:
    assert {call.split()[0] for call in CALLS.strip().splitlines()} >= set(COMMANDS) - {"help"}


def test_nothing_of_a_name_is_lost(folders: tuple[Path, Path], run: Run) -> None:
    for words in (["check", f"m{ACTS}.onnx"], ["compare", f"p{ACTS}.json"], ["profile", f"t{ACTS}.json"]):
        _, out, _ = run(folders[0], *words)
        assert inert("\n" + visible(ACTS)).strip()[-30:] in out.replace("\n", "")


def test_json_stays_json_with_the_true_names(folders: tuple[Path, Path], run: Run) -> None:
    _, out, _ = run(folders[0], "parse", f"t{ACTS}.json", f"c{ACTS}.cache")
    first, second = json.loads(out)["artefacts"]
    assert first["path"] == f"t{ACTS}.json"
    assert second["record"]["entries"][0]["tensor"] == f"x{IN_A_LINE}"


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "ascii", "cp1252", "latin-1:strict", "ascii:surrogateescape"])
def test_every_encoding_takes_every_name(encoding: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    name = os.fsdecode("h\xe4\u6f22\u202e".encode() + b"\x9b\xff.onnx")
    (tmp_path / name).write_bytes((folders[0] / f"m{ACTS}.onnx").read_bytes())
    (tmp_path / "broken").write_bytes(b"")
    for words in (["check", name], ["check", f"{name}/none"], ["doctor"], ["explain"]):
        done = subprocess.run(
            [sys.executable, "-m", "dlaflow", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, 2), done.stderr
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|Traceback", done.stdout + done.stderr)
        shown = (done.stdout + done.stderr).decode(encoding.partition(":")[0])
        assert not acting(shown)
        assert name not in words or r"\u202e\udc9b\udcff.onnx" in shown
