"""How long `dlaflow check` takes as a whole process, beside trtcheck and plain `onnx.load` of the same file.

    python benchmarks/check.py [--repeat N] [MODEL.onnx ...]

Needs: trtcheck, beside dlaflow in one environment (`pip install trtcheck==1.1.0`); without it its columns are left out.

trtcheck is the static ONNX-to-TensorRT checker of the Python index. It answers a smaller question: whether TensorRT
converts the model at all, by a table of operators, and nothing of the DLA; its `CONVERSION BLOCKED` would be a failed
build here. The commands run with what they do by default, and their answers go to a pipe.

Models are made here with random weights: a CIFAR network like the walk-through's, a YOLO of 212 nodes, ResNet-50, a ViT
of 350 MB, a chain of 5,000 nodes. `check` steps over the weights; the others read them. The sides take turns (A B C,
A B C, ...): times are medians and minima, a ratio is the median of the rounds' own ratios. CPU is the processor time of
the whole process (user and system), which other work on the machine disturbs less than the time on the wall. MB is the
peak memory. A first run of each, which also compiles the byte code, is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDES = {
    "check": "from dlaflow.cli import main; sys.exit(main(['check', sys.argv[1]]))",
    "trtcheck": "from trtcheck.cli import main; sys.exit(main([sys.argv[1]]))",
    "onnx.load": "import onnx; onnx.load(sys.argv[1])",
}
"""What the installed commands run. Exit code 1 is an answer (trtcheck: blocked)."""
GOALS = "resnet50 0.80 of trtcheck and 1 s, vit-350MB 3 s and 400 MB, 5000-nodes 5 s"


class Graph:
    """A graph under construction with random float32 weights."""

    def __init__(self, shape: list[int]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shape = shape
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        """A random initializer."""
        return self.constant(self.rng.random(shape, dtype=np.float32))

    def constant(self, values: np.ndarray) -> str:
        """An initializer of these values."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        """A node; the name of its output."""
        name = f"/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def save(self, path: Path, output: str) -> None:
        """Write the model."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [x], [y], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def cifar(path: Path) -> None:
    """A network of the walk-through's kind: convolutions with BatchNormalization, three stages, Gemm."""
    g = Graph([1, 3, 32, 32])
    x, channels = "x", 3
    for width in (32, 64, 128):
        for stride in (1, 2):
            x = g.add("Conv", x, g.weight(width, channels, 3, 3), strides=[stride, stride], pads=[1, 1, 1, 1])
            x = g.add("Relu", g.add("BatchNormalization", x, *(g.weight(width) for _ in range(4))))
            channels = width
    x = g.add("Flatten", g.add("AveragePool", x, kernel_shape=[4, 4]))
    g.save(path, g.add("Gemm", x, g.weight(10, 128), g.weight(10), transB=1))


def resnet50(path: Path) -> None:
    """ResNet-50 with BatchNormalization folded."""
    g = Graph([1, 3, 224, 224])

    def conv(x: str, cin: int, cout: int, k: int, s: int = 1) -> str:
        return g.add("Conv", x, g.weight(cout, cin, k, k), g.weight(cout), strides=[s, s], pads=[k // 2] * 4)

    x = g.add("Relu", conv("x", 3, 64, 7, 2))
    x = g.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            s = stride if block == 0 else 1
            y = g.add("Relu", conv(x, channels, width, 1))
            y = g.add("Relu", conv(y, width, width, 3, s))
            y = conv(y, width, 4 * width, 1)
            x = conv(x, channels, 4 * width, 1, s) if block == 0 else x
            x = g.add("Relu", g.add("Add", y, x))
            channels = 4 * width
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    g.save(path, g.add("Gemm", x, g.weight(1000, 2048), g.weight(1000), transB=1))


def yolo(path: Path) -> None:
    """A YOLOv5n-like detector: SiLU, joined branches, a pooling pyramid, upsampling, three heads."""
    g = Graph([1, 3, 640, 640])
    twice = g.constant(np.array([1, 1, 2, 2], np.float32))

    def conv(x: str, cin: int, cout: int, k: int = 1, s: int = 1) -> str:
        y = g.add("Conv", x, g.weight(cout, cin, k, k), g.weight(cout), strides=[s, s], pads=[k // 2] * 4)
        return g.add("Mul", y, g.add("Sigmoid", y))

    def joined(x: str, cin: int, cout: int, depth: int, shortcut: bool = True) -> str:
        left, half = conv(x, cin, cout // 2), cout // 2
        for _ in range(depth):
            y = conv(conv(left, half, half), half, half, 3)
            left = g.add("Add", left, y) if shortcut else y
        return conv(g.add("Concat", left, conv(x, cin, half), axis=1), cout, cout)

    def up(x: str, skip: str) -> str:
        return g.add("Concat", g.add("Resize", x, "", twice, mode="nearest"), skip, axis=1)

    x, levels = conv(conv("x", 3, 16, 3, 2), 16, 32, 3, 2), []
    for width, depth in ((32, 1), (64, 2), (128, 3), (256, 1)):
        x = joined(x if width == 32 else conv(x, width // 2, width, 3, 2), width, width, depth)
        levels.append(x)
    pooled = [conv(x, 256, 128)]
    for _ in range(3):
        pooled.append(g.add("MaxPool", pooled[-1], kernel_shape=[5, 5], pads=[2, 2, 2, 2]))
    deep = conv(conv(g.add("Concat", *pooled, axis=1), 512, 256), 256, 128)
    middle = conv(joined(up(deep, levels[2]), 256, 128, 1, shortcut=False), 128, 64)
    small = joined(up(middle, levels[1]), 128, 64, 1, shortcut=False)
    medium = joined(g.add("Concat", conv(small, 64, 64, 3, 2), middle, axis=1), 128, 128, 1, shortcut=False)
    large = joined(g.add("Concat", conv(medium, 128, 128, 3, 2), deep, axis=1), 256, 256, 1, shortcut=False)
    heads = []
    for y, width, side in ((small, 64, 80), (medium, 128, 40), (large, 256, 20)):
        y = g.add("Conv", y, g.weight(255, width, 1, 1), g.weight(255))
        y = g.add("Transpose", g.add("Reshape", y, g.constant(np.array([1, 3, 85, side * side]))), perm=[0, 1, 3, 2])
        heads.append(g.add("Reshape", g.add("Sigmoid", y), g.constant(np.array([1, 3 * side * side, 85]))))
    g.save(path, g.add("Concat", *heads, axis=1))


def vit(path: Path) -> None:
    """A ViT-B-like encoder of about 350 MB: attention, LayerNormalization, GELU by Erf."""
    g = Graph([1, 197, 768])
    one, half, root = (
        numpy_helper.from_array(np.float32(v), n) for v, n in ((1, "one"), (0.5, "half"), (1.414, "root"))
    )
    heads = numpy_helper.from_array(np.array([1, 197, 12, 64]), "heads")
    rows = numpy_helper.from_array(np.array([1, 197, 768]), "rows")
    g.weights += [one, half, root, heads, rows]

    def linear(x: str, cin: int, cout: int) -> str:
        return g.add("Add", g.add("MatMul", x, g.weight(cin, cout)), g.weight(cout))

    x = "x"
    for _ in range(12):
        n = g.add("LayerNormalization", x, g.weight(768), g.weight(768), axis=-1)
        q, k, v = (
            g.add("Transpose", g.add("Reshape", linear(n, 768, 768), "heads"), perm=p)
            for p in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        a = g.add("MatMul", g.add("Softmax", g.add("MatMul", q, k), axis=-1), v)
        x = g.add("Add", x, linear(g.add("Reshape", g.add("Transpose", a, perm=[0, 2, 1, 3]), "rows"), 768, 768))
        n = linear(g.add("LayerNormalization", x, g.weight(768), g.weight(768), axis=-1), 768, 3072)
        e = g.add("Add", g.add("Erf", g.add("Div", n, "root")), "one")
        x = g.add("Add", x, linear(g.add("Mul", g.add("Mul", n, e), "half"), 3072, 768))
    g.save(path, g.add("LayerNormalization", x, g.weight(768), g.weight(768), axis=-1))


def chain(path: Path) -> None:
    """5,000 nodes: convolutions, activations, additions and refused layers in turn."""
    g = Graph([1, 8, 32, 32])
    x = "x"
    while len(g.nodes) < 5000:
        y = g.add("Relu", g.add("Conv", x, g.weight(8, 8, 3, 3), pads=[1, 1, 1, 1]))
        y = g.add("Add", y, x)
        x = g.add("Ceil", y) if len(g.nodes) % 100 > 96 else g.add("Sigmoid", y)
    g.save(path, x)


MODELS: Mapping[str, Callable[[Path], None]] = {
    "cifar": cifar,
    "yolo": yolo,
    "resnet50": resnet50,
    "vit-350MB": vit,
    "5000-nodes": chain,
}


@dataclass(frozen=True)
class Run:
    """One process: seconds of processor time and on the wall."""

    cpu: float
    wall: float


class Bench:
    """Runs the sides in turn. All keep byte code, in a folder of their own, as packages do where they are installed:
    PYTHONDONTWRITEBYTECODE would let a side that was never compiled compile itself in every run."""

    def __init__(self, sides: list[str], bytecode: Path) -> None:
        self.sides = sides
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}

    def run(self, side: str, path: Path) -> Run:
        """One side on one model, as a process of its own."""
        start = time.perf_counter()
        process = self._start(side, path)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            sys.exit(f"{side} {path.name}: exit code {process.returncode}")
        return Run(used.ru_utime + used.ru_stime, wall)

    def peak(self, side: str, path: Path) -> float:
        """The peak memory of one side in MB."""
        # VmHWM rather than ru_maxrss, which a process inherits from the one that started it.
        told = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        process = self._start(side, path, f"import atexit; atexit.register(lambda: {told}); ", subprocess.PIPE)
        return int(process.communicate()[0].split()[-1]) / 1024

    def _start(self, side: str, path: Path, first: str = "", out: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", f"{first}import sys; {SIDES[side]}", str(path)]
        return subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=self._environment)

    def row(self, path: Path, repeat: int) -> str:
        """A model's row of the table."""
        memory = {side: self.peak(side, path) for side in self.sides}
        rounds = [{side: self.run(side, path) for side in self.sides} for _ in range(repeat)]
        cells = [f"{path.stem:<12} {path.stat().st_size / 1e6:5.0f}"]
        for side in self.sides:
            cpu, wall = [one[side].cpu for one in rounds], [one[side].wall for one in rounds]
            times = f"{statistics.median(cpu):6.3f} {min(cpu):6.3f} {statistics.median(wall):6.3f} {min(wall):6.3f}"
            cells.append(f"{times} {memory[side]:5.0f}")
        if "trtcheck" in self.sides:
            cpu_share = statistics.median(one["check"].cpu / one["trtcheck"].cpu for one in rounds)
            wall_share = statistics.median(one["check"].wall / one["trtcheck"].wall for one in rounds)
            cells.append(f"{cpu_share:5.2f} {wall_share:5.2f}")
        return "   ".join(cells)


def main() -> None:
    """Make the models, measure all sides in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"ONNX files, or of those made here: {', '.join(MODELS)} (all)")
    parser.add_argument("--repeat", type=int, default=9, help="rounds (default 9)")
    given = parser.parse_args()
    sides = list(SIDES)
    try:
        print(f"trtcheck {metadata.version('trtcheck')}: it answers a smaller question, see --help")
    except metadata.PackageNotFoundError:
        print("trtcheck is not installed beside this Python: measured without it (pip install trtcheck==1.1.0)")
        sides.remove("trtcheck")
    print(f"goals of `check`: {GOALS}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(sides, Path(folder) / "bytecode")
        columns = f"{'cpu s':>6} {'min':>6} {'wall s':>6} {'min':>6} {'MB':>5}"
        titles, heads = [" " * 18, *(f"{side:<{len(columns)}}" for side in sides)], [f"{'model':<12} {'MB':>5}"]
        heads += [columns] * len(sides)
        if "trtcheck" in sides:
            titles.append("check / trtcheck")
            heads.append(f"{'cpu':>5} {'wall':>5}")
        print("   ".join(titles) + "\n" + "   ".join(heads))
        for name in given.models or MODELS:
            path = Path(folder) / f"{name}.onnx" if name in MODELS else Path(name)
            if name in MODELS:
                MODELS[name](path)
            for side in sides:
                bench.run(side, path)
            print(bench.row(path, given.repeat), flush=True)


if __name__ == "__main__":
    main()
