"""Every option of every command that writes a file, found from the commands' own types, and what makes them write.

Used by the tests here and by benchmarks/full_disk.py and benchmarks/kills.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from cyclopts import App
from onnx import numpy_helper

from dlaflow.api.claims import Use, hints_of, use_of
from dlaflow.cli import COMMANDS

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2, 3, 16, 16] input) => (float[2, 10] output)
{
    a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (input, w)
    b = Relu (a)
    c = GlobalAveragePool (b)
    d = Flatten (c)
    output = Gemm (d, g)
}"""
LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
[I] === Build Options ===
[I] Precision: FP32+FP16
[I] Selected Device: Orin
[I] [TRT] ---------- Layers Running on DLA ----------
[I] [TRT] [DlaLayer] {ForeignNode[/a.../b]}
[I] [TRT] ---------- Layers Running on GPU ----------
[I] [TRT] [GpuLayer] REDUCE: /c
[I] Throughput: 650 qps
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
"""
NETWORK = """
from torch import nn

def tiny():
    pooled = [nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*pooled, nn.Flatten(), nn.Linear(8, 10))
"""
TRTEXEC = """#!{python}
import sys, time
engine = next(word.partition("=")[2] for word in sys.argv if word.startswith("--saveEngine="))
print("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec", *sys.argv[1:], flush=True)
time.sleep({seconds})
with open(engine, "wb") as file:
    file.write(b"engine" * 100_000)
print("&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec", *sys.argv[1:], flush=True)
"""
_TARGET = """[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
batch = 4
[data]
name = "digits"
[train]
epochs = 2
limit = 200
[calibrate]
samples = 16
[evaluate]
limit = 40
"""
RECIPE = f"""name = "tiny"
steps = ["train", "export", "check", "calibrate", "evaluate", "report"]
[[variant]]
name = "plain"
model = "tinynet_of_every_output:tiny"
{_TARGET}"""
SWEEP = f"""name = "tiny"
[cluster]
cpus = 1
[space]
model = ["tinynet_of_every_output:tiny"]
precisions = [["fp16"], ["fp16", "int8"]]
{_TARGET}"""

_DATA = "--data images.npy --samples 16"
EXAMPLES = {
    "train": "tinynet_of_every_output:tiny --data digits --limit 200 --epochs 1 --device cpu --precision fp32",
    "export": "tinynet_of_every_output:tiny --weights w.safetensors",
    "check": "m.onnx",
    "fix": "m.onnx",
    "score": "m.onnx --log build.log --board agx-orin-64gb --jetpack 5.1.2",
    "explain": "DLA110",
    "boards": "",
    "doctor": "",
    "estimate": "m.onnx",
    "calibrate": f"m.onnx {_DATA}",
    "build": "m.onnx --jetpack 5.1.2 --precision fp16 --trtexec bin/trtexec",
    "profile": "capture.sqlite",
    "parse": "build.log",
    "cache show": "c.cache",
    "cache lint": "c.cache",
    "cache merge": "c.cache",
    "cache rename": "c.cache --tensorrt 8.6",
    "cache diff": "c.cache c.cache",
    "cache from-qdq": "qdq.onnx",
    "cache to-qdq": "c.cache m.onnx",
    "sensitivity": f"m.onnx {_DATA}",
    "qat": "tinynet_of_every_output:tiny --weights w.safetensors --data digits --limit 128 --epochs 0 --batch 2",
    "evaluate": "qdq.onnx --data images.npz",
    "run": "tiny.toml",
    "sweep": "sweep.toml --cores 1",
    "survey": "m.onnx --out surveyed --releases 6.2",
    "compare": "placement.json",
    "schedule": "m.onnx@30 m.onnx@15 --board agx-orin-64gb --jetpack 6.2",
    "deploy": "model_bn.engine --for python",
    "config": "",
    "loadable inspect": "m.loadable",
    "loadable run": "m.loadable --input input=images.npy",
    "loadable bench": "m.loadable",
    "loadable evaluate": "m.loadable --data images.npz",
    "remote build": "local m.onnx",
    "remote profile": "local model.engine",
    "remote bench": "local --gpu model.engine",
    "remote power": "local",
    "remote evaluate": "local model.engine --data images.npz",
    "remote loadable inspect": "local m.loadable",
    "remote loadable run": "local m.loadable --input input=images.npy",
    "remote loadable bench": "local m.loadable",
    "remote loadable evaluate": "local m.loadable --data images.npz",
}
"""Command → words that make it work in the folder that `make_inputs` fills, without its outputs."""
NEEDED = {
    "train": {"--out": "out.safetensors"},
    "export": {"--out": "out.onnx"},
    "qat": {"--out": "out.onnx"},
    "fix": {"--out": "out.onnx"},
    "calibrate": {"--cache": "out.cache", "--qdq": "out.qdq.onnx"},
    "build": {"--out": "out.engine"},
    "cache merge": {"--out": "out.cache"},
    "cache rename": {"--out": "out.cache"},
    "cache to-qdq": {"--out": "out.onnx"},
    "cache from-qdq": {"--cache": "out.cache", "--plain": "out.onnx"},
    "remote build": {"--out": "out.engine"},
    "deploy": {"--out": "deployed"},
}
"""Outputs that a command asks for, besides the one that is looked at."""
BEFORE = {"--extract": ("/a",)}
"""What an option takes before the file."""
WITH = {"--outputs": ("--numerics", "dla")}
"""What an option does not work without."""


@dataclass(frozen=True)
class Case:
    """An option of a command that writes a file."""

    command: str
    option: str

    def words(self, target: str) -> list[str]:
        """The command line that writes this output to `target`."""
        words = [*self.command.split(), *EXAMPLES[self.command].split()]
        if self.command.startswith("remote"):
            kind = self.command.split()[1:]
            words[1 : len(kind) + 2] = [words[len(kind) + 1], *kind]  # the board comes first
        for option, name in NEEDED.get(self.command, {}).items():
            words += [] if option == self.option else [option, name]
        return [*words, *WITH.get(self.option, ()), self.option, *BEFORE.get(self.option, ()), target]

    def __str__(self) -> str:
        return f"{self.command} {self.option}"


def cases() -> list[Case]:
    """All of them, in the order of the commands."""
    return [
        Case(command, f"--{name.replace('_', '-')}")
        for command, function in functions().items()
        for name, use in file_options(hints_of(function))
        if use is Use.WRITTEN
    ]


def functions() -> dict[str, typing.Callable[..., object]]:
    """Command (`cache show`) → the function whose parameters are its options."""
    found: dict[str, typing.Callable[..., object]] = {}
    for name, (where, _) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, App):
            found[name] = command
            continue
        app = importlib.import_module("dlaflow.cli.remote").commands if name == "remote" else command
        for word in app:
            if not word.startswith("-"):
                found[f"{name} {word}"] = app[word].default_command
    return found


def file_options(hints: Mapping[str, object]) -> Iterator[tuple[str, Use]]:
    """The parameters that name files, those of groups of options too."""
    for name, hint in hints.items():
        record = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)
        if record is not None:
            own = hints_of(typing.cast("type", record))
            yield from file_options({field.name: own[field.name] for field in dataclasses.fields(record)})
        elif use := use_of(hint):
            yield name, use


def make_inputs(folder: Path, seconds: float = 0.0) -> None:
    """Fill a folder with what the examples read; the stand-in for trtexec takes `seconds`."""
    from dlaflow.cli import main
    from tests.deploy.engines import Engines
    from tests.parse.test_nsys import model as write_capture

    generator = np.random.default_rng(3)
    proto = onnx.parser.parse_model(MODEL)
    for name, shape in (("w", (8, 3, 3, 3)), ("g", (8, 10))):
        value = generator.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(proto, str(folder / "m.onnx"))
    images = generator.standard_normal((32, 3, 16, 16)).astype(np.float32)
    np.save(folder / "images.npy", images)
    np.savez(folder / "images.npz", images=images, labels=generator.integers(0, 10, 32))
    (folder / "build.log").write_text(LOG)
    (folder / "tinynet_of_every_output.py").write_text(NETWORK)
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "model.engine").write_bytes(b"engine")
    Engines(folder).write()
    (folder / "bin").mkdir()
    (folder / "bin" / "trtexec").write_text(TRTEXEC.format(python=sys.executable, seconds=seconds))
    (folder / "bin" / "trtexec").chmod(0o755)
    write_capture(folder / "capture.sqlite", [("{ForeignNode[a]}", 1.09, "D"), ("pool", 0.1, "G")], 1.5)
    model = str(folder / "m.onnx")
    made = ["--cache", str(folder / "c.cache"), "--qdq", str(folder / "qdq.onnx"), "--fp16-nodes", "/output"]
    assert main(["calibrate", model, "--data", str(folder / "images.npy"), "--samples", "8", "-q", *made]) == 0
    assert main(["check", model, "-q", "--json", str(folder / "placement.json")]) == 0


def make_weights(folder: Path) -> None:
    """Weights of the network in `folder`, which must be importable."""
    from dlaflow.zoo.models import build_model
    from dlaflow.zoo.weights import save_tensors

    save_tensors(folder / "w.safetensors", build_model("tinynet_of_every_output:tiny").state_dict())
