"""How long `dlaflow check` takes as a whole process, and how much memory, beside plain `onnx.load` of the same file.

    python benchmarks/check.py [--repeat N]

Models are made here with random weights: ResNet-50 (98 MB), a ViT of 350 MB, a chain of 5,000 nodes. The weights are
not read by `check`; `onnx.load` has no choice. Prints medians of N runs and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHECK = "import sys; from dlaflow.cli import main; sys.exit(main(['check', sys.argv[1], '--quiet']))"
LOAD = "import sys, onnx; onnx.load(sys.argv[1])"
GOALS = {"resnet50": (1.0, None), "vit-350MB": (3.0, 400), "5000-nodes": (5.0, None)}


class Graph:
    """A graph under construction with random float32 weights."""

    def __init__(self, shape: list[int]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shape = shape
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        """A random initializer."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.rng.random(shape, dtype=np.float32), name))
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


def measure(code: str, path: Path) -> tuple[float, float]:
    """Seconds and peak MB of one Python process."""
    # VmHWM rather than ru_maxrss, which a process inherits from the one that started it.
    peak = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    wrapped = f"{code.replace('sys.exit(main', '(main')}\n{peak}"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", wrapped, str(path)], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Make the models, measure both sides in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print(f"{'model':<12} {'MB':>5}   {'check s':>8} {'goal':>5} {'MB':>6} {'goal':>5}   {'onnx.load s':>11} {'MB':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("resnet50", resnet50), ("vit-350MB", vit), ("5000-nodes", chain)):
            path = Path(folder) / f"{name}.onnx"
            make(path)
            runs = [(measure(CHECK, path), measure(LOAD, path)) for _ in range(repeat)]
            seconds, memory = (statistics.median(run[0][i] for run in runs) for i in (0, 1))
            other, other_memory = (statistics.median(run[1][i] for run in runs) for i in (0, 1))
            goal, most = GOALS[name]
            size = path.stat().st_size / 1e6
            ours = f"{seconds:8.2f} {goal:5.1f} {memory:6.0f} {most or '-':>5}"
            print(f"{name:<12} {size:5.0f}   {ours}   {other:11.2f} {other_memory:6.0f}")


if __name__ == "__main__":
    main()
