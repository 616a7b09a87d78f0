"""Inputs of `benchmarks/fuzz.py`: what each kind writes into a scratch folder, and the command that reads it.

A kind is a function of a `Scene` (a folder, a source of chance, the seeds) that returns the arguments of dlaflow. All
seeds are written here or by dlaflow itself; `--corpus` adds files of the user's own to those that are mutated.
"""

# ruff: noqa: E501 - tables of inputs, one a line

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import random
import socket
import sqlite3
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

HUGE = [0, -1, 1, 2, 3, 7, 1 << 16, 1 << 31, -(1 << 31), (1 << 31) - 1, 1 << 40, (1 << 62), (1 << 63) - 1, -(1 << 63)]
NAMES = [
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202eevil\u202c", "\u009b31m", "a\n::error file=x::FORGED",
    "a\nFORGED line", "a\rFORGED", "\x00", "", " ", "..", "../../x", "/etc/passwd", "%s%n{0}", "<img src=x onerror=alert(1)>",
    "'\"`$(touch FORGED);|&", "a" * 5000, "\ufeff", "\u2028FORGED", "|a|b|", "[link=file:///x]x[/link]", "-o", "名前",
    "${HOME}", "\\", "a/b:c,d;e", "C:\\con", "\u200b",
]  # fmt: skip
BOARD = ("--board", "agx-orin-64gb", "--jetpack", "5.1.1", "--precision", "int8")
TARGETS = (("5.1.1", "int8"), ("5.1.1", "fp16"), ("6.2", "fp16"), ("6.2", "int8"), ("7.2.2", "int8"))


@dataclass
class Seeds:
    """What mutation starts from: bytes by what they are, as `fuzz.py` made or found them."""

    models: list[bytes] = field(default_factory=list)
    placements: list[bytes] = field(default_factory=list)
    runs: list[bytes] = field(default_factory=list)
    logs: list[bytes] = field(default_factory=list)
    exports: list[bytes] = field(default_factory=list)
    caches: list[bytes] = field(default_factory=list)
    captures: list[bytes] = field(default_factory=list)
    tegrastats: list[bytes] = field(default_factory=list)


@dataclass
class Scene:
    """Where one input is made: all chance comes from `chance`, so that a seed gives the same bytes each time."""

    folder: Path
    chance: random.Random
    seeds: Seeds

    def write(self, name: str, data: bytes | str) -> str:
        """A file of that name in the folder; returns the name. Text may hold what UTF-8 has not."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return name

    def model(self) -> onnx.ModelProto:
        return onnx.ModelProto.FromString(self.chance.choice(self.seeds.models))

    def one(self, *choices: object) -> object:
        return self.chance.choice(choices)


Kind = Callable[[Scene], list[str]]


# Seeds that are written here.


def seed_models() -> list[bytes]:
    """Small networks of all families: convolutions, shape arithmetic, Q/DQ, control flow, recurrence, functions."""
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    stored = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.ones(8, np.float32), "scale"),
        numpy_helper.from_array(np.zeros(8, np.float32), "shift"),
        numpy_helper.from_array(np.float32(0.02), "step"),
        numpy_helper.from_array(np.int8(0), "zero"),
        numpy_helper.from_array(np.ones((8, 10), np.float32), "dense"),
        numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat"),
        numpy_helper.from_array(np.ones((1, 32, 8), np.float32), "gates"),
        numpy_helper.from_array(np.ones((8, 4, 2, 2), np.float32), "up"),
    ]
    bodies = [
        "c = Conv <pads = [1,1,1,1]> (x, w) b = BatchNormalization (c, scale, shift, shift, scale) r = Relu (b)"
        " m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r) g = GlobalAveragePool (m) f = Flatten (g)"
        " y = Gemm (f, dense)",
        "c = Conv <pads = [1,1,1,1]> (x, w) s = Shape (c) i = Constant <value = int64[1] {0}> ()"
        " n = Gather (s, i) m = Constant <value = int64[1] {-1}> () z = Concat <axis = 0> (n, m) y = Reshape (c, z)",
        "q = QuantizeLinear (x, step, zero) d = DequantizeLinear (q, step, zero) wq = QuantizeLinear (w, step, zero)"
        " wd = DequantizeLinear (wq, step, zero) c = Conv (d, wd) y = Relu (c)",
        "c = Conv <pads = [1,1,1,1]> (x, w) f = Reshape (c, flat) g = InstanceNormalization (f, scale1, scale1)"
        " s = Shape (c) y = Reshape (g, s)",
        "c = Conv <pads = [1,1,1,1]> (x, w) t = Transpose <perm = [0,2,3,1]> (c) l = LayerNormalization (t, scale, shift)"
        " k = Softmax <axis = -1> (l) u = Transpose <perm = [0,3,1,2]> (k) a = Sigmoid (u) h = Mul (a, u)"
        " p, v = Split <axis = 1, num_outputs = 2> (h) y = Concat <axis = 1> (v, p, x)",
        "c = Conv <pads = [1,1,1,1]> (x, w) y = ConvTranspose <strides = [2,2]> (c, up)",
        "c = Conv <pads = [1,1,1,1]> (x, w) k = ReduceMean <axes = [2,3], keepdims = 0> (c) t = Constant <value = bool {1}> ()"
        " y = If (t) <then_branch = a () => (float[N,8] o) { o = Relu (k) },"
        " else_branch = b () => (float[N,8] p) { p = Neg (k) }>",
        "c = Conv (x, w) k = ReduceMean <axes = [3], keepdims = 0> (c) t = Transpose <perm = [2,0,1]> (k)"
        " h, y = LSTM <hidden_size = 8> (t, gates, gates)",
        "a = HardSwish (x) b = Clip (a) c = Conv <pads = [1,1,1,1], dilations = [1,1], group = 1> (b, w)"
        " r = Resize <mode = \"nearest\"> (c, , scales) p = AveragePool <kernel_shape = [2,2]> (r) e = Elu (p)"
        " k, i = TopK <axis = 1> (e, one) y = Identity (k)",
    ]  # fmt: skip
    extra = [
        numpy_helper.from_array(np.ones(1, np.float32), "scale1"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    found = []
    for number, body in enumerate(bodies):
        batch = "N" if number % 3 == 0 else "4"
        opset = 13 if "ReduceMean" in body else 18
        text = f'<ir_version: 8, opset_import: ["" : {opset}]> net (float[{batch},3,8,8] x) => (float y) {{ {body} }}'
        proto = onnx.parser.parse_model(text.replace("(float y)", "(y)"))
        used = {name for node in proto.graph.node for name in node.input}
        proto.graph.initializer.extend(tensor for tensor in [*stored, *extra] if tensor.name in used)
        for index, node in enumerate(proto.graph.node):
            node.name = f"node{index}"
        found.append(_typed(proto).SerializeToString())
    functions = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18, "own" : 1]> net (float[4,3,8,8] x) => (y) { y = own.twice (x) }'
        ' <opset_import: ["" : 18], domain: "own"> twice (a) => (b) { c = Relu (a) b = Add (c, c) }'
    )
    return [*found, _typed(functions).SerializeToString()]


def _typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With the types of the outputs, which the texts leave open and onnx's checker asks for."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    del proto.graph.output[:]
    proto.graph.output.extend(inferred.graph.output)
    return proto


STAMP = "[01/23/2025-09:18:04] "
LOG = "\n".join(
    [
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0 --int8 --allowGPUFallback",
        f"{STAMP}[I] === Model Options ===", f"{STAMP}[I] Format: ONNX", f"{STAMP}[I] Model: m.onnx",
        f"{STAMP}[I] DLACore: 0", f"{STAMP}[I] === Device Information ===", f"{STAMP}[I] Selected Device: Orin",
        f"{STAMP}[I] [TRT] ---------- Layers Running on DLA ----------",
        f"{STAMP}[I] [TRT] [DlaLayer] {{ForeignNode[node0...node2]}}",
        f"{STAMP}[I] [TRT] ---------- Layers Running on GPU ----------", f"{STAMP}[I] [TRT] [GpuLayer] SHUFFLE: node5",
        f"{STAMP}[W] [TRT] Layer 'node5' (SHUFFLE): Unsupported on DLA. Switching this layer's device type to GPU.",
        f"{STAMP}[V] [TRT] Engine Layer Information:",
        "Layer(DLA): {ForeignNode[node0...node2]}, Tactic: 0x0000000000000003, x (Int8[4,3:32,8,8]) -> c (Int8[4,8:32,8,8])",
        f"{STAMP}[I] === Performance summary ===", f"{STAMP}[I] Throughput: 1650.3 qps",
        f"{STAMP}[I] Latency: min = 0.5 ms, max = 1.5 ms, mean = 0.7 ms, median = 0.6 ms, percentile(99%) = 1.1 ms",
        f"{STAMP}[I] GPU Compute Time: min = 0.5 ms, max = 1.5 ms, mean = 0.7 ms, median = 0.6 ms, percentile(99%) = 1.1 ms",
        f"{STAMP}[I] === Profile (1000 iterations ) ===",
        f"{STAMP}[I]    Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer",
        f"{STAMP}[I]      412.10       0.4121       0.4100      80.0   {{ForeignNode[node0...node2]}}",
        f"{STAMP}[I]      103.00       0.1030       0.1000      20.0   node5",
        "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx",
    ]
)  # fmt: skip
PROFILE = [
    {"count": 100},
    {"name": "{ForeignNode[node0...node2]}", "timeMs": 41.0, "averageMs": 0.41, "medianMs": 0.4, "percentage": 80.0},
    {"name": "node5", "timeMs": 10.0, "averageMs": 0.1, "medianMs": 0.1, "percentage": 20.0},
]
LAYER_INFO = {
    "Layers": [
        {
            "Name": "{ForeignNode[node0...node2]}", "LayerType": "DLA", "TacticName": "", "Metadata": "[ONNX Layer: node0]",
            "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [4, 3, 8, 8], "Format/Datatype": "Int8 NCHW32"}],
            "Outputs": [{"Name": "c", "Location": "Device", "Dimensions": [4, 8, 8, 8], "Format/Datatype": "Int8 NCHW32"}],
        },
        {"Name": "node5", "LayerType": "Reformat", "Inputs": [], "Outputs": []},
    ],
    "Bindings": ["x", "y"],
}  # fmt: skip
TIMES = [
    {"startH2dMs": 1.0, "endH2dMs": 1.1, "h2dMs": 0.1, "startComputeMs": 1.1, "endComputeMs": 1.6, "computeMs": 0.5}
] * 4
OUTPUT = [{"name": "y", "dimensions": "4x10", "values": [0.25, 0.5, 0.25, 0.0]}]
TEGRASTATS = "\n".join(
    f"01-23-2025 09:18:{second:02} RAM 5120/30536MB (lfb 16x4MB) SWAP 0/15268MB (cached 0MB) CPU [5%@729,0%@729,off,3%@1190]"
    " EMC_FREQ 2%@2133 GR3D_FREQ 34%@[611,off] NVDLA0_FREQ @1400 VIC_FREQ 729 cpu@45.5C gpu@42C tj@46.25C"
    " VDD_GPU_SOC 3200mW/3100mW VDD_CPU_CV 800mW/790mW VIN_SYS_5V0 4000mW/3900mW NC 0mW/0mW"
    for second in range(8)
)
CACHE = "TRT-8502-EntropyCalibration2\n" + "".join(
    f"{name}: 3c010a14\n" for name in ("x", "c", "b", "r", "m", "g", "y")
)
RECIPE = """name = "fuzz"
steps = ["check", "estimate", "report"]

[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
precision = "int8"
batch = 4

[data]
name = "digits"

[[variant]]
name = "a"
onnx = "m.onnx"
note = "as it is"

[[variant]]
name = "b"
from = "a"
rewrite = "average-pool"

[estimate]
power_mode = "MAXN"

[calibrate]
samples = 16
method = "entropy"
"""
SWEEP = """name = "fuzz"
[search]
kind = "grid"
[cluster]
cpus = 1
gpus = 0
retries = 1
[space]
norm = ["batch", "group"]
width = [0.25, 0.5]
precisions = [["fp16"], ["fp16", "int8"]]
method = ["entropy"]
target = [{ board = "agx-orin-64gb", jetpack = "5.1.1" }]
[target]
batch = 32
[data]
name = "digits"
[train]
epochs = 1
"""
INVENTORY = """[[board]]
name = "first"
host = "nobody@127.0.0.1:9"
root = ".dlaflow"

[[board]]
host = "replay:recording"
"""


def seed_capture(path: Path) -> None:
    """A small Nsight Systems export: two inferences of three layers each, with kernels and names."""
    base = sqlite3.connect(path)
    base.executescript(
        "CREATE TABLE META_DATA_EXPORT (name TEXT, value TEXT);"
        "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);"
        "CREATE TABLE NVTX_EVENTS (start, end, eventType, text, globalTid, textId, domainId);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start, end, globalTid, correlationId, nameId);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start, end, correlationId, globalPid);"
        "CREATE TABLE TRACE_PROCESS_EVENT_NVMEDIA (start, end, eventClass, globalTid, nameId, correlationId);"
    )
    thread = 282168144208242
    base.execute("INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_SCHEMA_VERSION', '3.7.2')")
    names = ["ExecutionContext::enqueue", "node0", "node1", "node5", "cudaLaunchKernel", "cuDLA::Submit"]
    base.executemany("INSERT INTO StringIds VALUES (?, ?)", list(enumerate(names, start=1)))
    base.execute("INSERT INTO NVTX_EVENTS VALUES (0, NULL, 75, 'TensorRT', ?, NULL, 3)", (thread,))
    for number in range(2):
        start = 1_000_000 * (number + 1)
        base.execute("INSERT INTO NVTX_EVENTS VALUES (?,?,59,NULL,?,1,3)", (start, start + 900_000, thread))
        for layer in range(3):
            at = start + 100_000 * layer
            base.execute("INSERT INTO NVTX_EVENTS VALUES (?,?,59,NULL,?,?,3)", (at, at + 90_000, thread, layer + 2))
            key = number * 3 + layer
            base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?,?,?,?,5)", (at + 9, at + 99, thread, key))
            process = thread // 0x1000000 * 0x1000000
            base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?,?,?,?)", (at + 200, at + 900, key, process))
    base.commit()
    base.close()


# Mutation of bytes, text and JSON.


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut, doubled, removed, or overwritten by lengths."""
    body = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(body) + 1) if body else 0
        match chance.randrange(7):
            case 0 if body:
                body[at - 1] ^= 1 << chance.randrange(8)
            case 1 if body:
                body[at - 1] = chance.choice([0, 0xFF, 0x7F, 0x80, chance.randrange(256)])
            case 2:
                del body[at : at + chance.choice([1, 2, 8, 64])]
            case 3:
                body[at:at] = body[at : at + chance.choice([1, 8, 64, 512])]
            case 4:
                body[at : at + 4] = struct.pack("<i", chance.choice([-1, 0, 1, 2**31 - 1, -(2**31), 65536]))
            case 5:
                body[at : at + 8] = struct.pack("<q", chance.choice(HUGE))
            case _ if chance.random() < 0.3:
                del body[at:]
    return bytes(body)


NUMBERS = ["9" * 5000, "-" + "1" * 4301, "nan", "inf", "-inf", "1e999", "1e-999", "0x10", "-0", "", "²", "٣", "1" * 19]


def mutated_text(chance: random.Random, text: str) -> bytes:
    """Lines moved, numbers made extreme, names hostile; then perhaps another encoding, damaged bytes, or gzip."""
    lines = text.split("\n")
    for _ in range(chance.choice([0, 1, 1, 2, 4, 8])):
        at = chance.randrange(len(lines))
        match chance.randrange(9):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines[at:at] = [lines[at]] * chance.choice([1, 2, 2000])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3 | 4:
                words = lines[at].replace("=", " = ").split(" ")
                words[chance.randrange(len(words))] = chance.choice([*NUMBERS, *NAMES])
                lines[at] = " ".join(words)
            case 5:
                lines[at] = _with_number(chance, lines[at])
            case 6:
                lines[at] = lines[at] * chance.choice([2, 1000])
            case 7:
                lines.insert(
                    at, chance.choice(["[" * 50_000, "(" * 50_000, "{" * 3000 + "}" * 3000, "a," * 20_000, "\ud800"])
                )
            case _:
                chance.shuffle(lines)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    match chance.randrange(12):
        case 0:
            return "\n".join(lines).encode("utf-16", "surrogatepass")
        case 1:
            return gzip.compress(data)
        case 2:
            return mutated(chance, gzip.compress(data))
        case 3 | 4 | 5:
            return mutated(chance, data)
        case 6:
            return data.replace(b"\n", b"\r\n")
    return data


def _with_number(chance: random.Random, line: str) -> str:
    digits = [index for index, char in enumerate(line) if char.isdigit()]
    if not digits:
        return line
    at = chance.choice(digits)
    return line[:at] + chance.choice([*NUMBERS, *map(str, HUGE)]) + line[at + 1 :]


def mutated_json(chance: random.Random, body: object) -> bytes:
    """Values replaced, keys lost, doubled and renamed; lists repeated; then perhaps text that no writer would make."""
    body = json.loads(json.dumps(body))
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        place = _anywhere(chance, body)
        if isinstance(place, dict) and place:
            key = chance.choice(list(place))
            match chance.randrange(4):
                case 0:
                    del place[key]
                case 1:
                    place[chance.choice(NAMES)] = place.pop(key)
                case _:
                    place[key] = _value(chance)
        elif isinstance(place, list) and place:
            at = chance.randrange(len(place))
            match chance.randrange(4):
                case 0:
                    del place[at]
                case 1:
                    place[at:at] = [place[at]] * chance.choice([1, 3, 1000])
                case _:
                    place[at] = _value(chance)
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5)
    match chance.randrange(14):
        case 0:
            depth = chance.choice([500, 5_000, 200_000, 1_000_000])
            text = text.replace(chance.choice(["0", "1", "null", '""']), "[" * depth + "]" * depth, 1)
        case 1:
            depth = chance.choice([500, 5_000, 100_000])
            text = text.replace(chance.choice(["0", "1", "null"]), '{"a":' * depth + "1" + "}" * depth, 1)
        case 2:
            text = text.replace(chance.choice("0123456789"), "9" * 5000, 1)
        case 3:
            text = text.replace(", ", ', "name": "twice", "schema": "twice", ', 1)
        case 4:
            text = text[: chance.randrange(len(text))]
        case 5:
            return mutated(chance, text.encode("utf-8", "surrogatepass"))
        case 6:
            text = text.replace(":", ": NaN, ", 1) if chance.random() < 0.5 else text.replace("1", "-Infinity", 1)
        case 7:
            text = "[" * chance.choice([1000, 1_000_000])
    return text.encode("utf-8", "surrogatepass")


def _anywhere(chance: random.Random, body: object) -> object:
    found = body
    while chance.random() < 0.8:
        inner = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
        inner = [each for each in inner if isinstance(each, dict | list)]
        if not inner:
            break
        found = chance.choice(inner)
    return found


def _value(chance: random.Random) -> object:
    return chance.choice(
        [
            None,
            True,
            [],
            {},
            "",
            -1,
            0,
            1.5,
            1e308,
            -1e308,
            float("nan"),
            float("inf"),
            1 << 31,
            1 << 63,
            1 << 64,
            10**4000,
            "�",
            [[[]]],
            {"a": {"b": []}},
            *NAMES,
            [1] * 1000,
            "9" * 5000,
        ]
    )


# ONNX.


def model_command(scene: Scene, name: str) -> list[str]:
    """A command that reads a model, with what else it needs."""
    jetpack, precision = scene.chance.choice(TARGETS)
    target = ["--board", "agx-orin-64gb", "--jetpack", jetpack, "--precision", precision]
    if scene.chance.random() < 0.1:
        target += ["--batch", str(scene.one(1, 4, 10**6))]
    match scene.chance.randrange(12):
        case 0 | 1 | 2:
            return ["check", name, *target, "--layers", "--json", "o.json", "--sarif", "o.sarif", "--html", "o.html"]
        case 3:
            return ["check", name, *target, "--fail-on", "unknown"]
        case 4 | 5:
            return ["fix", name, "--out", "fixed.onnx", *target]
        case 6:
            return ["estimate", name, *target, "--json", "o.json"]
        case 7 | 8:
            np.save(scene.folder / "x.npy", np.random.default_rng(0).random((8, 3, 8, 8), np.float32))
            outputs = ["--cache", "c.cache", "--qdq", "q.onnx"]
            return ["calibrate", name, "--data", "x.npy", "--samples", "4", "--batch", "4", *outputs]
        case 9:
            np.savez(scene.folder / "x.npz", images=np.ones((4, 3, 8, 8), np.float32), labels=np.array([0, 1, 2, 3]))
            return ["evaluate", name, "--data", "x.npz", "--batch", "4"]
        case 10:
            return ["build", name, "--out", "m.engine", "--print-command", *target]
    scene.write("c.cache", scene.chance.choice(scene.seeds.caches))
    return scene.chance.choice(
        [
            ["cache", "from-qdq", name, "--cache", "o.cache", "--plain", "plain.onnx"],
            ["cache", "to-qdq", "c.cache", name, "--out", "q.onnx"],
            ["cache", "lint", "c.cache", "--model", name],
            ["score", name, "--log", scene.write("a.log", LOG), "--precision", "int8"],
        ]
    )


def onnx_bytes(scene: Scene) -> list[str]:
    data = mutated(scene.chance, scene.chance.choice(scene.seeds.models))
    return model_command(scene, scene.write("m.onnx", data))


def onnx_structure(scene: Scene) -> list[str]:
    proto = scene.model()
    for _ in range(scene.chance.choice([1, 1, 1, 1, 2, 3, 6])):
        change(scene.chance, proto)
    return model_command(scene, scene.write("m.onnx", _serialized(proto)))


def _serialized(proto: onnx.ModelProto) -> bytes:
    return proto.SerializeToString()


SCHEMAS = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})


def change(chance: random.Random, proto: onnx.ModelProto) -> None:
    """One change of a model's structure, as protobuf allows it and no exporter makes it."""
    graph = proto.graph
    nodes = list(graph.node) or [graph.node.add(op_type="Relu")]
    node = chance.choice(nodes)
    names = [name for each in nodes for name in (*each.input, *each.output)] or ["x"]
    tensor = chance.choice(graph.initializer) if graph.initializer else graph.initializer.add(name="t", data_type=1)
    value = chance.choice([*graph.input, *graph.output]) if graph.input or graph.output else graph.input.add(name="x")
    match chance.randrange(22):
        case 0 | 1 | 2:
            change_attribute(chance, node)
        case 3:
            dims = list(tensor.dims)
            del tensor.dims[:]
            tensor.dims.extend(
                chance.choice([[*dims, chance.choice(HUGE)], dims[1:], dims[::-1], [chance.choice(HUGE)]])
            )
        case 4:
            tensor.data_type = chance.choice([0, *range(1, 27), -1, 2**31 - 1])
        case 5:
            tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
        case 6:
            node.op_type = chance.choice([*SCHEMAS, *NAMES])
        case 7:
            node.domain = chance.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "own", chance.choice(NAMES)])
        case 8 if node.input:
            node.input[chance.randrange(len(node.input))] = chance.choice([*names, "", "nobody"])
        case 9:
            node.input.append(chance.choice([*names, ""]))
        case 10 if node.input:
            del node.input[chance.randrange(len(node.input))]
        case 11:
            node.output.append(chance.choice([*names, "", "new"]))
        case 12:
            graph.node.append(node)
        case 13:
            graph.node.remove(node)
        case 14:
            change_type(chance, value.type)
        case 15:
            entry = chance.choice(proto.opset_import) if proto.opset_import else proto.opset_import.add()
            entry.version = chance.choice([*range(1, 28), 0, -1, 2**62])
        case 16:
            wrap(chance, graph, node)
        case 17:
            into_function(chance, proto, node)
        case 18:
            external(chance, tensor)
        case 19:
            insert(chance, graph, names)
        case 20 if graph.initializer:
            made = graph.node.add(op_type="Constant", output=[tensor.name])
            made.attribute.append(helper.make_attribute("value", tensor))
            if chance.random() < 0.5:
                graph.initializer.remove(tensor)
        case 21:
            extra = chance.choice([graph.value_info, graph.output, graph.input]).add(name=chance.choice(names))
            change_type(chance, extra.type)
        case _:
            chance.choice([graph.output, graph.input]).pop() if graph.output and graph.input else None


def change_attribute(chance: random.Random, node: onnx.NodeProto) -> None:
    """One attribute extreme, absent, doubled, or of another type."""
    if not node.attribute or chance.random() < 0.3:
        schema = defs.get_schema(node.op_type) if node.op_type in SCHEMAS else None
        known = list(schema.attributes) if schema else []
        node.attribute.append(random_attribute(chance, chance.choice([*known, "axis", "own"])))
        return
    at = chance.randrange(len(node.attribute))
    attribute = node.attribute[at]
    if attribute.ints and chance.random() < 0.6:
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(HUGE)
    elif chance.random() < 0.2:
        del node.attribute[at]
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = chance.choice(HUGE)
    else:
        attribute.CopyFrom(random_attribute(chance, attribute.name))


def random_attribute(chance: random.Random, name: str) -> onnx.AttributeProto:
    attribute = onnx.AttributeProto(name=name)
    match chance.randrange(9):
        case 0 | 1:
            attribute.type = onnx.AttributeProto.INT
            attribute.i = chance.choice(HUGE)
        case 2 | 3:
            attribute.type = onnx.AttributeProto.INTS
            attribute.ints.extend(chance.choices(HUGE, k=chance.choice([0, 1, 2, 4, 9])))
        case 4:
            attribute.type = onnx.AttributeProto.FLOAT
            attribute.f = chance.choice([0.0, float("nan"), float("inf"), -1.0, 1e38])
        case 5:
            attribute.type = onnx.AttributeProto.STRING
            attribute.s = chance.choice([*NAMES, "SAME_UPPER", "linear"]).encode(
                "utf-8", "surrogatepass"
            ) + chance.choice([b"", b"\xff"])
        case 6:
            attribute.type = onnx.AttributeProto.TENSOR
            attribute.t.CopyFrom(
                TensorProto(name="t", data_type=chance.choice([1, 7, 9, 99]), dims=[chance.choice(HUGE)])
            )
        case 7:
            attribute.type = onnx.AttributeProto.GRAPH
            attribute.g.node.add(op_type="Relu", input=["x"], output=["inner"])
        case _:
            attribute.type = onnx.AttributeProto.AttributeType.Value(chance.choice(["UNDEFINED", "STRING", "GRAPHS"]))
            attribute.ref_attr_name = "other"
    return attribute


def change_type(chance: random.Random, kind: onnx.TypeProto) -> None:
    match chance.randrange(5):
        case 0:
            kind.tensor_type.elem_type = chance.choice([0, *range(1, 27), -1, 2**31 - 1])
        case 1:
            kind.sequence_type.elem_type.tensor_type.elem_type = 1
        case 2:
            kind.optional_type.elem_type.tensor_type.elem_type = 1
        case 3:
            kind.tensor_type.ClearField("shape")
        case _:
            dims = kind.tensor_type.shape.dim
            dim = chance.choice(dims) if dims and chance.random() < 0.8 else dims.add()
            if chance.random() < 0.3:
                dim.dim_param = chance.choice([*NAMES, "N", "H"])
            else:
                dim.dim_value = chance.choice([*HUGE, 1, 2, 3, 8, 1000, 65536])


def wrap(chance: random.Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Put a node into a branch, a loop or a scan, perhaps several deep."""
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    for _ in range(chance.choice([1, 1, 2, 12, 28])):  # protobuf itself reads 30 deep
        body = onnx.GraphProto(
            name="body", node=[inner], output=[onnx.ValueInfoProto(name=name) for name in inner.output]
        )
        kind = chance.choice(["If", "Loop", "Scan"])
        inner = onnx.NodeProto(op_type=kind, input=["x"], output=list(node.output))
        for name in {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}[kind][
            : chance.choice([1, 2]) if inner.ByteSize() < 1 << 16 else 1
        ]:
            inner.attribute.append(helper.make_attribute(name, body))
    node.CopyFrom(inner)


def into_function(chance: random.Random, proto: onnx.ModelProto, node: onnx.NodeProto) -> None:
    function = proto.functions.add(name="own", domain="own", input=list(node.input), output=list(node.output))
    function.opset_import.extend(proto.opset_import)
    function.node.append(node)
    if chance.random() < 0.2:
        function.node.add(op_type="own", domain="own", input=list(node.input), output=["again"])
    node.op_type, node.domain = "own", "own"
    if chance.random() < 0.8:
        proto.opset_import.add(domain="own", version=1)


def external(chance: random.Random, tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key in ("location", "offset", "length"):
        text = chance.choice(["0", "w.bin", "²", "-1", "9" * 30, "a\0b", "../x", "/etc/passwd", "1e3", "", *NAMES[:8]])
        tensor.external_data.add(key=key, value=text.replace("\0", "\x00"))


def insert(chance: random.Random, graph: onnx.GraphProto, names: list[str]) -> None:
    """A node of any operator somewhere, with inputs and attributes that may or may not fit."""
    schema = defs.get_schema(chance.choice(SCHEMAS))
    count = chance.randint(schema.min_input, max(schema.min_input, min(schema.max_input, 4)))
    made = onnx.NodeProto(op_type=schema.name, name=chance.choice(["new", *NAMES]))
    made.input.extend(chance.choices(names, k=count))
    made.output.extend(f"made{chance.randrange(10**6)}" for _ in range(max(1, schema.min_output)))
    for name in schema.attributes:
        if chance.random() < 0.5:
            made.attribute.append(random_attribute(chance, name))
    nodes = list(graph.node)
    nodes.insert(chance.randrange(len(nodes) + 1), made)
    del graph.node[:]
    graph.node.extend(nodes)


def onnx_names(scene: Scene) -> list[str]:
    """Hostile names wherever a model has a name."""
    proto = scene.model()
    for _ in range(scene.chance.choice([1, 3])):
        name = scene.chance.choice(NAMES).replace("\0", "\x00")
        node = scene.chance.choice(proto.graph.node)
        match scene.chance.randrange(9):
            case 0 | 1:
                node.name = name
            case 2:
                node.op_type = name
            case 3:
                node.domain = name
            case 4 if node.output:
                rename(proto.graph, node.output[0], name)
            case 5 if proto.graph.initializer:
                rename(proto.graph, scene.chance.choice(proto.graph.initializer).name, name)
            case 6:
                rename(proto.graph, proto.graph.input[0].name, name)
            case 7 if proto.graph.initializer:
                tensor = scene.chance.choice(proto.graph.initializer)
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=name)
            case _:
                proto.graph.name = proto.producer_name = name
                proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = name
    return model_command(scene, scene.write("m.onnx", _serialized(proto)))


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for each in (*graph.input, *graph.output, *graph.initializer):
        if each.name == old:
            each.name = new


def bomb(scene: Scene) -> list[str]:
    """A few bytes that stand for very much: lists, shapes, nesting, functions, files."""
    made: onnx.ModelProto | bytes = scene.chance.choice(BOMBS)(scene.chance, scene)
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return model_command(scene, scene.write("m.onnx", data))


def text_model(body: str, head: str = "float[4,3,8,8] x", opset: int = 18, more: str = "") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}, "own" : 1]> net ({head}) => (y) {{ {body} }} {more}'
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return proto


def _size(chance: random.Random) -> int:
    return chance.choice([10**6, 10**8, 10**9, 10**12, 2**31 - 1, 2**31, 2**33, 2**62, 2**63 - 1, 70_000])


def _range(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    size = _size(chance)
    kind, zero = chance.choice([("int64", "0"), ("float", "0.0"), ("int32", "0")])
    size = min(size, 2**31 - 1) if kind == "int32" else size
    last = f"{size}.0" if kind == "float" else str(size)
    one = "1.0" if kind == "float" else "1"
    tail = chance.choice(["y = Identity (r)", "c = Cast <to = 7> (r) y = Reshape (x, c)", "c = Cast <to = 7> (r) y = Expand (x, c)",
                          "u = Unsqueeze (r, r) y = Identity (u)", "s = Shape (r) y = ConstantOfShape (s)"])  # fmt: skip
    return text_model(
        f"a = Constant <value = {kind} {{{zero}}}> () b = Constant <value = {kind} {{{last}}}> ()"
        f" c0 = Constant <value = {kind} {{{one}}}> () r = Range (a, b, c0) {tail}"
    )


def _of_shape(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    dims = [str(_size(chance)) for _ in range(chance.choice([1, 1, 2, 5]))]
    op = chance.choice(["z = ConstantOfShape (s)", "z = Expand (x, s)", "z = Tile (x, s)", "z = Reshape (x, s)", "z = Pad (x, s)",
                        "z = Resize <mode = \"nearest\"> (x, , , s)", "z = Unsqueeze (x, s)", "z = Slice (x, s, s, s)",
                        "i = Constant <value = int64 {5}> () v = Constant <value = float[2] {0.0, 1.0}> () z = OneHot (s, i, v)",
                        "z = Split (x, s)", "k, z = TopK (x, s)", "z = GatherND (x, s)", "z = ReduceSum (x, s)"])  # fmt: skip
    tail = chance.choice(
        [
            "y = Identity (z)",
            "h = Shape (z) y = ConstantOfShape (h)",
            "y = Add (z, z)",
            "n = NonZero (z) y = Reshape (x, n)",
        ]
    )
    return text_model(f"s = Constant <value = int64[{len(dims)}] {{{','.join(dims)}}}> () {op} {tail}")


def _doublings(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    count = chance.choice([10, 20, 30, 40, 60])
    start = chance.choice(["a0 = Shape (x)", "a0 = Constant <value = int64[1] {1}> ()", "a0 = Identity (x)"])
    step = chance.choice(["Concat <axis = 0> ({0}, {0})", "Concat <axis = -1> ({0}, {0})", "Add ({0}, {0})", "Mul ({0}, {0})",
                          "Tile ({0}, two)", "Unsqueeze ({0}, zero)", "Gather ({0}, {0})", "MatMul ({0}, {0})"])  # fmt: skip
    body = "two = Constant <value = int64[1] {2}> () zero = Constant <value = int64[1] {0}> () " + start
    for number in range(count):
        body += f" a{number + 1} = {step.format(f'a{number}')}"
    tail = chance.choice(
        ["y = Identity (a{0})", "y = ConstantOfShape (a{0})", "y = Reshape (x, a{0})", "y = Expand (x, a{0})"]
    )
    return text_model(f"{body} {tail.format(count)}")


def _functions(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    count = chance.choice([5, 15, 26, 60, 200])
    calls = chance.choice([1, 2, 3])
    more = []
    for number in range(count):
        inner = f"own.f{number + 1}" if number + 1 < count else "Relu"
        if chance.random() < 0.02:
            inner = f"own.f{chance.randrange(count)}"
        names = ["a", *(f"t{step}" for step in range(1, calls)), "b"]
        body = " ".join(f"{made} = {inner} ({given})" for given, made in itertools.pairwise(names))
        more.append(f'<opset_import: ["" : 18, "own" : 1], domain: "own"> f{number} (a) => (b) {{ {body} }}')
    return text_model("y = own.f0 (x)", more=" ".join(more))


def _nests(chance: random.Random, scene: Scene) -> bytes:
    """Subgraphs inside subgraphs, put together by hand: onnx itself would refuse so many."""
    depth = chance.choice([20, 31, 60, 500, 5_000, 20_000])
    node = helper.make_node("Relu", ["x"], ["y"]).SerializeToString()

    def field(number: int, payload: bytes) -> bytes:
        length, out = len(payload), bytearray([number << 3 | 2])
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([*out, length]) + payload

    kind = chance.choice([b"If", b"Loop", b"Scan"])
    name = {b"If": b"then_branch"}.get(kind, b"body")
    for _ in range(depth):
        graph = field(1, node) + field(2, b"g") + field(12, field(1, b"y"))
        attribute = field(1, name) + field(6, graph) + b"\xa0\x01\x05"
        node = field(1, b"x") + field(2, b"y") + field(4, kind) + field(5, attribute)
        if len(node) > 4 << 20:
            break
    outer = helper.make_model(text_model("y = Relu (x)").graph, opset_imports=[helper.make_opsetid("", 18)])
    del outer.graph.node[:]
    graph = outer.graph.SerializeToString() + field(1, node)
    outer.ClearField("graph")
    return outer.SerializeToString() + field(7, graph)


def _long(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    """Many nodes in a row, many inputs of one node, or a very long name."""
    proto = text_model("y = Relu (x)")
    graph = proto.graph
    count = chance.choice([100, 1_000, 3_000])
    match chance.randrange(4):
        case 0:
            del graph.node[:]
            names = ["x", *(f"t{n}" for n in range(count)), "y"]
            kind = chance.choice(["Relu", "Identity", "Reshape", "Transpose", "Add", "MaxPool"])
            graph.node.extend(
                helper.make_node(kind, [a, a] if kind in {"Add", "Reshape"} else [a], [b])
                for a, b in itertools.pairwise(names)
            )
        case 1:
            graph.node[0].CopyFrom(helper.make_node("Concat", ["x"] * count * 10, ["y"], axis=1))
        case 2:
            graph.node[0].CopyFrom(
                helper.make_node("Split", ["x"], ["y", *(f"o{n}" for n in range(count * 10))], axis=1)
            )
        case _:
            graph.node[0].name = "n" * (count * 1000)
    return proto


def _windows(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    """Kernels, strides, pads, groups and blocks that no device has."""
    size = _size(chance)
    any_of = [
        f"w = ConstantOfShape (s) y = Conv <kernel_shape = [{size}, {size}]> (x, w)",
        f"y = MaxPool <kernel_shape = [{size}, 1], strides = [{size}, 1]> (x)",
        "y = MaxPool <kernel_shape = [2, 2], strides = [0, 0]> (x)",
        "y = AveragePool <kernel_shape = [0, 0]> (x)",
        f"y = AveragePool <kernel_shape = [2, 2], pads = [{size}, {size}, {size}, {size}]> (x)",
        f"y = DepthToSpace <blocksize = {size}> (x)", "y = DepthToSpace <blocksize = 0> (x)",
        f"w = ConstantOfShape (s) y = Conv <group = {size}> (x, w)", "w = ConstantOfShape (s) y = Conv <group = 0> (x, w)",
        f"w = ConstantOfShape (s) y = ConvTranspose <strides = [{size}, {size}], output_shape = [{size}, {size}]> (x, w)",
        f"w = ConstantOfShape (s) y = Conv <dilations = [{size}, {size}]> (x, w)",
        f"y = EyeLike <k = {size}> (x)", f"y = RandomNormal <shape = [{size}, {size}]> ()",
        f"y = Softmax <axis = {size}> (x)", f"y = Flatten <axis = {size}> (x)", f"y = Transpose <perm = [{size}, 0, 1, 2]> (x)",
        f'y = Einsum <equation = "{"ab" * 1000},{"cd" * 1000}->a"> (x, x)', f"y = LRN <size = {size}> (x)",
        "y = Gemm (x, x) ", "y = CumSum (x, s)", f"y = LpPool <kernel_shape = [{size}, {size}], p = {size}> (x)",
        "y = BatchNormalization (x, x, x, x, x)", "y = GroupNormalization <num_groups = 0> (x, s, s)",
        f"y = Concat <axis = {size}> (x, x)", f"y = SpaceToDepth <blocksize = {size}> (x)",
    ]  # fmt: skip
    head = f"s = Constant <value = int64[4] {{8, 3, {chance.choice([3, size])}, 3}}> () "
    return text_model(head + chance.choice(any_of))


def _big_inputs(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    proto = scene.model()
    for dim in proto.graph.input[0].type.tensor_type.shape.dim:
        if chance.random() < 0.5:
            dim.ClearField("dim_param")
            dim.dim_value = chance.choice([*HUGE, 10_000, 65_536, 10**6])
    return proto


def _loops(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    count = _size(chance)
    body = (
        "body = g (int64 i, bool go, float[4,3,8,8] v) => (bool go2, float[4,3,8,8] w, float[4,3,8,8] s)"
        " { go2 = Identity (go) w = Relu (v) s = Identity (w) }"
    )
    return text_model(
        f"n = Constant <value = int64 {{{count}}}> () t = Constant <value = bool {{1}}> () a, y = Loop (n, t, x) <{body}>"
    )


def _external(chance: random.Random, scene: Scene) -> onnx.ModelProto:
    """External data: absent, short, sparse, a pipe, a link, out of the folder, with lengths that are none."""
    proto = text_model("y = Conv (x, w)")
    dims = chance.choice(
        [[8, 3, 3, 3], [-8, 3, 3, 3], [2**30, 3, 3, 3], [2**40, 3, 3, 3], [2**62], [0], [10**8, 3, 3, 1]]
    )
    tensor = proto.graph.initializer.add(
        name="w", data_type=chance.choice([1, 1, 1, 0, 8, 16, 17, 21, 23, 99]), dims=dims
    )
    tensor.data_location = TensorProto.EXTERNAL
    path = scene.folder / "w.bin"
    match chance.randrange(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to("/etc/passwd")
        case 3:
            _sparse(path, 10 << 30)
        case 4:
            path.write_bytes(bytes(864))
        case 5:
            _socket(path)
    location = chance.choice(
        ["w.bin", "w.bin", "w.bin", "./w.bin", "../w.bin", "/etc/passwd", "m.onnx", "", ".", "a\x00b", "w.bin/x"]
    )
    tensor.external_data.add(key="location", value=location)
    for key in ("offset", "length"):
        if chance.random() < 0.6:
            tensor.external_data.add(
                key=key,
                value=chance.choice(
                    ["0", "864", "-5", "²", "٣", "9" * 30, "9" * 4301, "1e3", "0x10", " 4", "4096", ""]
                ),
            )
    return proto


BOMBS: list[Callable[[random.Random, Scene], onnx.ModelProto | bytes]] = [
    _range,
    _of_shape,
    _doublings,
    _functions,
    _nests,
    _long,
    _windows,
    _big_inputs,
    _loops,
    _external,
]


# Everything that is no model.


def good_model(scene: Scene) -> str:
    return scene.write("good.onnx", scene.seeds.models[0])


def file_names(scene: Scene) -> list[str]:
    """Hostile names of files, good contents."""
    name = scene.chance.choice(NAMES).replace("/", "_").replace("\0", "") or "a"
    name = name[:200].lstrip("-")
    what = scene.chance.randrange(6)
    if what == 0:
        return ["check", scene.write(f"{name}.onnx", scene.seeds.models[0]), *_outputs(name)]
    if what == 1:
        return ["parse", scene.write(f"{name}.log", scene.seeds.logs[0])]
    if what == 2:
        one = scene.write(f"{name}.json", scene.seeds.placements[0])
        return ["compare", one, one, "--markdown", "o.md", "--html", "o.html"]
    if what == 3:
        return ["cache", "lint", scene.write(f"{name}.cache", scene.seeds.caches[0]), "--model", good_model(scene)]
    if what == 4:
        return [scene.chance.choice(["check", "estimate", "parse"]), f"./{name}.missing"]
    scene.write(f"imgs/{name}.png", scene.chance.choice([b"no image", _png(8, 8)]))
    return ["calibrate", good_model(scene), "--data", "imgs", "--cache", "c.cache", "--samples", "1", "--batch", "1"]


def _outputs(name: str) -> list[str]:
    return ["--json", f"{name}.json", "--sarif", "o.sarif"]


def arrays(scene: Scene) -> list[str]:
    """.npy and .npz: mutated, lying about shapes, pickled, structured, one-hot, not even a zip."""
    chance = scene.chance
    buffer = io.BytesIO()
    images = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    labels = np.array([0, 1, 2, 3])
    match chance.randrange(8):
        case 0:
            name, _ = "a.npy", np.save(buffer, images)
            data = mutated(chance, buffer.getvalue())
        case 1 | 2:
            name = "a.npz"
            (np.savez if chance.random() < 0.5 else np.savez_compressed)(buffer, images=images, labels=labels)
            data = mutated(chance, buffer.getvalue())
        case 3:
            name, data = chance.choice(["a.npy", "a.npz"]), _npy(chance)
        case 4:
            name, data = "a.npz", _zip({"images.npy": _npy(chance), chance.choice(["labels.npy", "x"]): _npy(chance)})
        case 5:
            odd = [
                images.astype(object), np.array([{"a": 1}], object), images.astype("S4"), images.astype("U4"), images.astype(complex),
                np.zeros(4, [("a", "f4"), ("b", "i4")]), np.float32(1), np.zeros((0, 3, 8, 8), np.float32), images[:, :, :0],
                images.astype(">f4"), images.astype("f2"), images.astype(np.longdouble), images * np.nan, np.full_like(images, np.inf),
                images.astype("M8[s]"), np.zeros((4,) + (1,) * 30, np.float32), images.astype(np.int64), images > 0,
            ]  # fmt: skip
            name = "a.npz"
            lied = [labels, np.eye(4), labels.astype(object), labels.astype("U1"), labels - 5, labels * 2**60, labels[:2],
                    labels + np.nan, labels.astype(complex), np.float64(3), np.array([[0], [1], [2], [3]])]  # fmt: skip
            np.savez(buffer, images=chance.choice([*odd, images, images, images]), labels=chance.choice(lied))
            data = buffer.getvalue()
        case 6:
            name, data = (
                "a.npz",
                chance.choice([b"", b"PK", b"no zip", b"PK\x03\x04" + bytes(40), _zip({}), _zip({"images": b"x"})]),
            )
        case _:
            name, data = (
                chance.choice(["a.npy", "a.npz"]),
                chance.choice([_pickle(), b"\x93NUMPY", b"\x93NUMPY\x09\x00" + bytes(90)]),
            )
    scene.write(name, data)
    command = ["--data", name, "--batch", "2"]
    return chance.choice(
        [
            ["calibrate", good_model(scene), *command, "--cache", "c.cache", "--samples", "4"],
            ["evaluate", good_model(scene), *command],
        ]
    )


def _npy(chance: random.Random) -> bytes:
    """A header by hand: any shape, any type, any text, before a little data."""
    shape = chance.choice(["(4, 3, 8, 8)", "(-4, 3, 8, 8)", f"({2**47},)", f"({2**62}, {2**62})", "(4, (3), 8)", "()", "(True, 4)",
                           "(4.5, 3)", "('a',)", "(" * 200 + ")" * 200, f"({'9' * 5000},)", "(1000000, 3, 8, 8)", "4"])  # fmt: skip
    descr = chance.choice(
        [
            "'<f4'",
            "'|O'",
            "'|u1'",
            "'<f8'",
            "[('a', '<f4')]",
            "'V8'",
            "'<M8[s]'",
            "None",
            "'|S0'",
            "'>f4'",
            "{}",
            "'<f4' * 9",
        ]
    )
    order = chance.choice(["False", "True", "1", "None"])
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text = chance.choice([text, text, text, "open('FORGED','w')", text[:-3], text.replace("'", '"'), "{" * 3000])
    body = text.encode() + b"\n"
    version = chance.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00"])
    length = struct.pack("<H", len(body) & 0xFFFF) if version == b"\x01\x00" else struct.pack("<I", len(body))
    return b"\x93NUMPY" + version + length + body + bytes(chance.choice([0, 64, 3072, 6144]))


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _pickle() -> bytes:
    """What runs a command when it is unpickled."""
    return b"cposix\nsystem\n(S'touch FORGED'\ntR."


def caches(scene: Scene) -> list[str]:
    text = scene.chance.choice(scene.seeds.caches).decode("utf-8", "surrogateescape")
    name = scene.write("a.cache", mutated_text(scene.chance, text))
    return scene.chance.choice(
        [
            ["cache", "show", name, "--json", "o.json"], ["cache", "lint", name, "--model", good_model(scene), "--json", "o.json"],
            ["cache", "merge", name, name, "--out", "o.cache"], ["cache", "diff", name, name, "--json", "o.json"],
            ["cache", "rename", name, "x=z", "--out", "o.cache", "--tensorrt", "10.3.0"], ["parse", name],
            ["cache", "to-qdq", name, good_model(scene), "--out", "q.onnx"], ["profile", name],
            ["build", good_model(scene), "--out", "m.engine", "--cache", name, "--jetpack", "5.1.1", "--print-command"],
        ]
    )  # fmt: skip


def logs(scene: Scene) -> list[str]:
    text = scene.chance.choice(scene.seeds.logs).decode("utf-8", "replace")
    name = scene.write("a.log", mutated_text(scene.chance, text))
    return scene.chance.choice(
        [
            ["parse", name], ["parse", name, "--json", "o.json"], ["profile", "--log", name, "--json", "o.json", "--html", "o.html"],
            ["score", good_model(scene), "--log", name, *BOARD, "--json", "o.json"], ["compare", name, name, "--json", "o.json"],
            ["estimate", good_model(scene), "--learn", name], ["profile", name, "--model", good_model(scene), *BOARD, "--html", "o.html"],
        ]
    )  # fmt: skip


def exports(scene: Scene) -> list[str]:
    body = json.loads(scene.chance.choice(scene.seeds.exports))
    name = scene.write("a.json", mutated_json(scene.chance, body))
    return scene.chance.choice(
        [
            ["parse", name], ["profile", name, "--json", "o.json", "--html", "o.html"], ["profile", "--layer-times", name],
            ["profile", "--layer-info", name, "--log", scene.write("a.log", LOG)], ["profile", "--times", name],
            ["score", good_model(scene), "--layer-info", name, *BOARD], ["score", good_model(scene), "--profile", name, *BOARD],
            ["compare", name, name], ["estimate", good_model(scene), "--learn", name],
        ]
    )  # fmt: skip


def placements(scene: Scene) -> list[str]:
    name = scene.write("a.json", mutated_json(scene.chance, json.loads(scene.chance.choice(scene.seeds.placements))))
    good = scene.write("b.json", scene.seeds.placements[0])
    outputs = ["--html", "o.html", "--markdown", "o.md", "--svg", "o.svg", "--json", "o.json"]
    return [
        "compare",
        *scene.chance.choice([(name, good), (good, name), (good, name, name)]),
        *outputs,
        "--fail-on",
        "switches",
    ]


def runs(scene: Scene) -> list[str]:
    body = mutated_json(scene.chance, json.loads(scene.chance.choice(scene.seeds.runs)))
    scene.write("one/run.json", body)
    scene.write("two/run.json", scene.seeds.runs[0])
    outputs = ["--html", "o.html", "--markdown", "o.md", "--svg", "o.svg", "--json", "o.json"]
    return [
        "compare",
        *scene.chance.choice([("one", "two"), ("two", "one"), ("one", "one", "two")]),
        *outputs,
        "--fail-on",
        "loadables",
    ]


def captures(scene: Scene) -> list[str]:
    """SQLite: damaged bytes, wrong types, tables that are something else, values that are too large."""
    chance, path = scene.chance, scene.folder / "a.sqlite"
    path.write_bytes(chance.choice(scene.seeds.captures))
    if chance.random() < 0.5:
        path.write_bytes(mutated(chance, path.read_bytes()))
    else:
        base = sqlite3.connect(path)
        tables = [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(chance.choice([1, 2, 4])):
            table = chance.choice(tables)
            column = chance.choice([row[1] for row in base.execute(f'PRAGMA table_info("{table}")')] or ["start"])
            hostile = chance.choice(
                [None, "text", b"\xff\xfe", 2**62, -(2**62), 1e308, float("inf"), *NAMES, "9" * 5000, "[" * 5000]
            )
            recursive = "WITH RECURSIVE c(start) AS (SELECT 1 UNION ALL SELECT start + 1 FROM c) SELECT * FROM c"
            with _quiet():
                base.execute(
                    *chance.choice(
                        [
                            (f'UPDATE "{table}" SET "{column}" = ?', (hostile,)),
                            (f'UPDATE "{table}" SET "{column}" = ? WHERE rowid % 2', (hostile,)),
                            (f'DROP TABLE "{table}"',),
                            (f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "other"',),
                            (f'CREATE TABLE "{chance.choice(NAMES)}" (a)',),
                            (f'ALTER TABLE "{table}" ADD COLUMN big AS (hex(zeroblob(400000000)))',),
                            (f"CREATE VIEW NVTX_VIEW AS {recursive}",),
                            (
                                f'INSERT INTO "{table}" ("{column}") SELECT ? FROM StringIds, StringIds, NVTX_EVENTS',
                                (hostile,),
                            ),
                            (f'UPDATE "{table}" SET "{column}" = rowid',),
                        ]
                    )
                )
        if chance.random() < 0.1:
            with _quiet():
                base.execute("DROP TABLE StringIds")
                base.execute(f"CREATE VIEW StringIds AS {recursive.replace('start', 'id')}")
        base.commit()
        base.close()
    return chance.choice(
        [
            ["parse", "a.sqlite"], ["profile", "a.sqlite", "--json", "o.json", "--html", "o.html", "--svg", "o.svg", "--trace", "t.json"],
            ["profile", "--nsys", "a.sqlite", "--model", good_model(scene), *BOARD], ["score", good_model(scene), "--nsys", "a.sqlite", *BOARD],
        ]
    )  # fmt: skip


class _quiet:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> bool:
        return isinstance(kind, type) and issubclass(kind, sqlite3.Error | OverflowError | UnicodeError)


def tegrastats(scene: Scene) -> list[str]:
    text = scene.chance.choice(scene.seeds.tegrastats).decode("utf-8", "replace")
    name = scene.write("a.txt", mutated_text(scene.chance, text))
    return scene.chance.choice(
        [
            ["parse", name],
            ["profile", name],
            ["profile", "--tegrastats", name, "--log", scene.write("a.log", LOG), "--json", "o.json"],
        ]
    )


FACTORIES = [
    "subprocess:getoutput@cmd=touch FORGED",
    "os:system@command=touch FORGED",
    "builtins:exec@x=1",
    "nobody:none",
    "a:b@c=d@e",
    ":",
]


def recipes(scene: Scene) -> list[str]:
    text = RECIPE
    if scene.chance.random() < 0.3:
        if scene.chance.random() < 0.5:
            text = text.replace("m.onnx", scene.chance.choice(["absent.onnx", "..", "/etc/passwd", "."]))
        else:
            text = text.replace("onnx =", "model =").replace('["check"', '["export", "check"')
            text = text.replace("m.onnx", scene.chance.choice(FACTORIES))
    scene.write("m.onnx", scene.seeds.models[0])
    return ["run", scene.write("r.toml", _mutated_toml(scene.chance, text)), "--out", "runs"]


def _mutated_toml(chance: random.Random, text: str) -> bytes:
    """As text, or one value changed to another that TOML can write."""
    if chance.random() < 0.4:
        return mutated_text(chance, text)
    lines = text.split("\n")
    for _ in range(chance.choice([1, 1, 3])):
        at = chance.choice([index for index, line in enumerate(lines) if "=" in line])
        key = lines[at].partition("=")[0]
        lines[at] = key + "= " + chance.choice(
            ["0", "-1", "1e400", "nan", "true", "[]", "{}", '""', "9" * 5000, "1979-05-27", "[" * 300 + "]" * 300, '"\\u0000"', "[[1], 2]",
             *(json.dumps(name, ensure_ascii=True) for name in NAMES), "{a = 1}", "99999999999999999999", '["check", "check"]']
        )  # fmt: skip
        if chance.random() < 0.2:
            lines[at] = f"{chance.choice(['own', 'a.b.c', chr(34) * 2])} = 1"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def sweeps(scene: Scene) -> list[str]:
    return ["@sweep", scene.write("s.toml", _mutated_toml(scene.chance, SWEEP))]


def inventories(scene: Scene) -> list[str]:
    return ["@inventory", scene.write("b.toml", _mutated_toml(scene.chance, INVENTORY))]


def _png(width: int, height: int, depth: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """A PNG by hand, so that its header may promise more than there is."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    stride = 1 + (width * depth * {0: 1, 2: 3, 6: 4}.get(colour, 1) + 7) // 8
    packer = zlib.compressobj(1)
    row, body = bytes(stride), b""
    for _ in range(height if rows is None else rows):
        body += packer.compress(row)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body + packer.flush()) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(touch FORGED) run\nshowpage\n%%EOF\n"


def images(scene: Scene) -> list[str]:
    """Folders of images: damaged, too large, of another format, links, pipes, one-pixel and sixteen-bit ones."""
    from PIL import Image

    chance = scene.chance
    for number in range(chance.choice([1, 2, 4])):
        suffix = chance.choice(["png", "jpg", "bmp", "ppm", "pgm", "webp", "tif", "PNG"])
        name = f"imgs/{chance.choice(['', '', 'cat/', 'dog/'])}{number}.{suffix}"
        kind = {"jpg": "JPEG", "pgm": "PPM", "tif": "TIFF"}.get(suffix, suffix.upper())
        mode = chance.choice(["RGB", "RGB", "L", "1", "CMYK", "RGBA", "P", "I;16"])
        buffer = io.BytesIO()
        size = chance.choice([(8, 8), (8, 8), (1, 1), (16, 9), (3000, 2), (1, 5000)])
        try:
            Image.new(mode, size).save(buffer, kind)
        except OSError:
            Image.new("RGB", size).save(buffer, kind)
        data = buffer.getvalue()
        match chance.randrange(10):
            case 0 | 1 | 2:
                data = mutated(chance, data)
            case 3:
                data = chance.choice(
                    [
                        EPS,
                        b"",
                        b"GIF89a" + bytes(20),
                        b"%PDF-1.4",
                        b"8BPS" + bytes(40),
                        b"\0\0\1\0" + bytes(30),
                        b"icns" + bytes(9),
                    ]
                )
            case 4:
                side = chance.choice([4000, 9000, 13_000, 20_000, 2**31 - 1])
                data = (
                    _png(side, side, depth=1, colour=0, rows=min(side, 20_000))
                    if side < 10**6
                    else _png(side, side, rows=0)
                )
            case 5:
                data = chance.choice(
                    [b"P6\n99999999 99999999\n255\n", b"P5 4000 4000 255\n" + bytes(16), b"P6\n" + b"#" * 10**6]
                )
            case 6:
                data = data[: chance.randrange(len(data))]
        scene.write(name, data)
    with _Ignored():
        match chance.randrange(12):
            case 0:
                os.mkfifo(scene.folder / "imgs" / "pipe.png")
            case 1:
                (scene.folder / "imgs" / "folder.png").mkdir()
            case 2:
                (scene.folder / "imgs" / "loop.png").symlink_to("loop.png")
            case 3:
                (scene.folder / "imgs" / "up").symlink_to("..")
            case 4:
                _sparse(scene.folder / "imgs" / "sparse.png", 10 << 30)
    resize = chance.choice([["--resize", "8x8"], ["--resize", "8"], ["--resize", "8x8"], []])
    command = ["--data", "imgs", "--batch", "2", *resize]
    return chance.choice(
        [
            ["calibrate", good_model(scene), *command, "--samples", "4", "--cache", "c.cache"],
            ["evaluate", good_model(scene), *command],
        ]
    )


class _Ignored:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> bool:
        return isinstance(kind, type) and issubclass(kind, OSError)


def weights(scene: Scene) -> list[str]:
    """safetensors: headers that lie, offsets that overlap, names that are hostile, pickles."""
    chance = scene.chance
    shape, end = chance.choice([([64, 3, 3, 3], 6912), ([2**40], 16), ([-1], 16), ([0], 0), ([4], 16), ([4.5], 16)])
    tensor = {
        "dtype": chance.choice(["F32", "F64", "I64", "BOOL", "X", "BF16"]),
        "shape": shape,
        "data_offsets": [0, end],
    }
    header: dict[str, object] = {chance.choice(["conv1.weight", *NAMES]): tensor}
    if chance.random() < 0.4:
        header["__metadata__"] = chance.choice([{"a": "b"}, {"a": 1}, [], {chance.choice(NAMES): chance.choice(NAMES)}])
    text = mutated_json(chance, header) if chance.random() < 0.5 else json.dumps(header).encode()
    length = chance.choice([len(text), len(text), len(text), 2**63, 0, 2**32, len(text) + 1])
    data = struct.pack("<Q", length) + text + bytes(min(end, 6912))
    data = chance.choice([data, data, data, mutated(chance, data), _pickle(), b"", _zip({"data.pkl": _pickle()})])
    name = scene.write(chance.choice(["w.safetensors", "w.safetensors", "w.pt", "w.json"]), data)
    if chance.random() < 0.3:
        scene.write(
            f"{name}.json",
            mutated_json(chance, {"schema": "dlaflow.weights/1", "model": "model_bn", "sha256": "0" * 64}),
        )
    return ["export", "model_bn", "--weights", name, "--out", "m.onnx"]


def cifar(scene: Scene) -> list[str]:
    """Archives under the name of CIFAR-10: links, paths, lies about sizes, bombs."""
    chance = scene.chance
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(chance.choice([1, 2, 4])):
            member = tarfile.TarInfo(
                chance.choice(["cifar-10-batches-bin/test_batch.bin", "data_batch_1.bin", "../x", "/etc/x", *NAMES[:7]])
            )
            body = bytes(chance.choice([0, 3073, 30_730]))
            member.size = len(body)
            member.type = chance.choice(
                [tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
            )
            member.linkname = chance.choice(["/etc/passwd", "../x", ""])
            if member.type != tarfile.REGTYPE:
                member.size = 0
            archive.addfile(member, io.BytesIO(body) if member.size else None)
    data = buffer.getvalue()
    if chance.random() < 0.3:  # a size that is not true
        data = (
            data[:124]
            + chance.choice([b"77777777777\0", b"00036053000\0", b"-0000000001\0", b"\x80" + bytes(10) + b"\xff"])
            + data[136:]
        )
    if chance.random() < 0.1:
        data += bytes(300 << 20)
    if chance.random() < 0.7:
        data = gzip.compress(data, 1)
    if chance.random() < 0.4:
        data = mutated(chance, data)
    folder = "d/cifar-10-binary.tar.gz"
    scene.write(folder, data)
    command = ["--data", "cifar10", "--data-dir", chance.choice(["d", folder])]
    return chance.choice(
        [
            ["calibrate", good_model(scene), *command, "--samples", "4", "--cache", "c.cache"],
            ["evaluate", good_model(scene), *command, "--samples", "4"],
        ]
    )


READERS: tuple[tuple[str, ...], ...] = (
    ("check", "{}"), ("fix", "{}", "--out", "o.onnx"), ("estimate", "{}"), ("estimate", "good.onnx", "--learn", "{}"),
    ("calibrate", "{}", "--data", "x.npy", "--cache", "c.cache"), ("calibrate", "good.onnx", "--data", "{}", "--cache", "c.cache"),
    ("evaluate", "good.onnx", "--data", "{}"), ("evaluate", "{}", "--data", "x.npy"), ("evaluate", "good.onnx", "--reference", "{}", "--data", "x.npy"),
    ("calibrate", "good.onnx", "--data", "cifar10", "--data-dir", "{}", "--cache", "c.cache"), ("parse", "{}"), ("profile", "{}"),
    ("profile", "--log", "{}"), ("profile", "--layer-times", "{}"), ("profile", "--layer-info", "{}"), ("profile", "--times", "{}"),
    ("profile", "--nsys", "{}"), ("profile", "--tegrastats", "{}"), ("profile", "--log", "a.log", "--model", "{}", *BOARD),
    ("score", "{}", "--log", "a.log"), ("score", "good.onnx", "--log", "{}", *BOARD), ("score", "good.onnx", "--layer-info", "{}", *BOARD),
    ("score", "good.onnx", "--profile", "{}", *BOARD), ("score", "good.onnx", "--nsys", "{}", *BOARD), ("compare", "{}", "{}"), ("cache", "show", "{}"),
    ("cache", "lint", "{}", "--model", "good.onnx"), ("cache", "lint", "c.cache", "--model", "{}"), ("cache", "merge", "{}", "{}", "--out", "o.cache"),
    ("cache", "diff", "{}", "c.cache"), ("cache", "rename", "{}", "a=b", "--out", "o.cache"), ("cache", "to-qdq", "{}", "good.onnx", "--out", "q.onnx"),
    ("cache", "to-qdq", "c.cache", "good.onnx", "--out", "q.onnx", "--layer-precisions", "{}"), ("cache", "from-qdq", "{}", "--cache", "o.cache", "--plain", "p.onnx"),
    ("build", "{}", "--out", "m.engine", "--print-command"), ("build", "good.onnx", "--jetpack", "5.1.1", "--out", "m.engine", "--cache", "{}", "--print-command"),
    ("run", "{}", "--out", "runs"), ("@sweep", "{}"), ("@inventory", "{}"), ("export", "model_bn", "--weights", "{}", "--out", "o.onnx"),
    ("sensitivity", "{}", "--data", "x.npy"), ("fix", "good.onnx", "--out", "o.onnx", "--weights", "{}"),
)  # fmt: skip
SUFFIXES = (
    ".onnx",
    ".npy",
    ".npz",
    ".json",
    ".log",
    ".toml",
    ".cache",
    ".sqlite",
    ".safetensors",
    ".tar.gz",
    "",
    ".txt",
)


def strange_files(scene: Scene) -> list[str]:
    """What is no plain file, or no plain size: pipes, devices of our own, folders, sockets, links, 10 GB of nothing."""
    chance = scene.chance
    reader = chance.choice(READERS)
    suffix = chance.choice(SUFFIXES)
    if "--data" in reader and reader[reader.index("--data") + 1] == "{}":
        suffix = chance.choice([".npy", ".npz", ""])
    path = scene.folder / f"odd{suffix}"
    make_strange(path, chance)
    good_model(scene)
    scene.write("a.log", LOG)
    scene.write("c.cache", CACHE)
    np.save(scene.folder / "x.npy", np.ones((4, 3, 8, 8), np.float32))
    return [word.replace("{}", path.name) for word in reader]


def make_strange(path: Path, chance: random.Random) -> None:
    match chance.randrange(14):
        case 0 | 1:
            os.mkfifo(path)
        case 2:
            path.mkdir()
        case 3:
            _socket(path)
        case 4 | 5:
            _device(path, chance.choice([3, 5, 7, 8]))
        case 6 | 7:
            _sparse(path, 10 << 30)
            if chance.random() < 0.7:
                head = chance.choice(
                    [
                        b"{",
                        b"TRT-8502-EntropyCalibration2\nx: 3c\n",
                        LOG.encode()[:300],
                        b"SQLite format 3\0",
                        b"\x08\x08:",
                        b'name = "',
                        b"\x1f\x8b",
                    ]
                )
                with path.open("r+b") as file:
                    file.write(head)
        case 8 | 9:
            line = chance.choice(
                [
                    b"\0",
                    b"a",
                    b"[",
                    b"\n",
                    b" ",
                    b"1",
                    STAMP.encode() + b"[I] a\n",
                    b"a: 3c010a14\n",
                    TEGRASTATS.encode()[:400] + b"\n",
                ]
            )
            packed = gzip.compress(line * ((1 << 20) // len(line)), 1)
            path.write_bytes(packed * 2000)
        case 10:
            path.symlink_to(path.name)
        case 11:
            path.symlink_to("nowhere")
        case 12:
            path.write_bytes(b"")
        case _:
            line = chance.choice(
                [b"[", b'{"a":', b"a\n", b"\n", b"\xff", b"0", b"a = [", b"- ", STAMP.encode() + b"[V] b\n"]
            )
            path.write_bytes(line * ((64 << 20) // len(line)))


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _socket(path: Path) -> None:
    """A name in the file system only; the socket itself is closed again. Paths of sockets are short, so from inside."""
    place = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(place)
        os.close(place)


def _device(path: Path, minor: int) -> None:
    """A node of our own (null, zero, full, random), where the system lets us; else a pipe."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor))
    except OSError:
        os.mkfifo(path)


KINDS: dict[str, tuple[Kind, int]] = {
    "onnx-bytes": (onnx_bytes, 8), "onnx-structure": (onnx_structure, 22), "onnx-bombs": (bomb, 12), "onnx-names": (onnx_names, 8),
    "file-names": (file_names, 3), "arrays": (arrays, 6), "caches": (caches, 4), "logs": (logs, 5), "exports": (exports, 5),
    "placements": (placements, 4), "run-records": (runs, 3), "captures": (captures, 5), "tegrastats": (tegrastats, 4),
    "recipes": (recipes, 4), "sweeps": (sweeps, 2), "inventories": (inventories, 2), "images": (images, 5), "safetensors": (weights, 2),
    "cifar-tars": (cifar, 2), "strange-files": (strange_files, 6),
}  # fmt: skip
"""Each kind, and how many of a hundred inputs are its."""


def dumped(body: object) -> bytes:
    return json.dumps(body).encode()


def is_json(path: Path) -> bool:
    """Whether Python reads it: what it does not cannot be mutated value by value."""
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def run_record(placement: Path) -> bytes:
    """The record of a run of two variants, as `dlaflow run` writes it."""
    from dlaflow.report.json import read_placement, run_json
    from dlaflow.report.records import RunRecord, Span, Variant
    from dlaflow.types import Measurement

    placed = read_placement(placement)
    rows = [Measurement("top1", "a", 0.87, "", 1000, 0.01)]
    spans = [Span("DLA", "dla", "node0", 0, 900), Span("GPU", "gpu", "node5", 900, 1000)]
    variants = [Variant("a", "as it is", placed, rows), Variant("b", "measured", placed, rows, [], placed, spans)]
    return run_json(RunRecord("fuzz", "2026-01-01T00:00:00Z", "digits", ["digits"], ["python"], variants))
