"""The eleven operators that NVIDIA's op_reconstruction scripts rewrite, and more: before, after `fix`, after theirs.

`python -P benchmarks/reconstructions.py` prints the table as Markdown. The models are built here; those of the eleven
have the shapes of NVIDIA's self-tests (github NVIDIA/Deep-Learning-Accelerator-SW, operators/op_reconstruction). And,
Or, Xor and Not stand inside a network, too: the scripts make boolean inputs and outputs floats, `fix` keeps the types.
`theirs` is what `dlaflow check` said of what the scripts made of these very models (TensorRT 8.5.2, FP16, 29 Nov 2026).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target
from dlaflow.types import Summary

IMAGE = (1, 5, 6, 7)
MASK = (1, 4, 1, 1)
WIDE = "1 / 0, with floats in place of booleans at its inputs and outputs"
BROKEN = "a model that onnxruntime refuses: a comparison makes floats"


@dataclass(frozen=True)
class Row:
    """One model: its nodes in ONNX text, what it holds, how `fix` is called, and what NVIDIA's script reaches."""

    name: str
    nodes: str
    theirs: str = "no script"
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"x": IMAGE})
    shape: tuple[int, ...] = IMAGE
    boolean: bool = False
    config: FixConfig = field(default_factory=FixConfig)


def longs(*values: int) -> np.ndarray:
    """An index tensor."""
    return np.array(values, np.int64)


def along(axis: int, values: list[int] | list[bool], like: tuple[int, ...]) -> np.ndarray:
    """Values along one axis of the shape `like`, the other axes as long as there."""
    shape = [len(values) if each == axis else size for each, size in enumerate(like)]
    return np.broadcast_to(np.array(values).reshape([-1 if each == axis else 1 for each in range(4)]), shape).copy()


def eleven() -> Iterator[Row]:
    """The models of NVIDIA's self-tests."""
    one = "1 / 0"
    yield Row("Neg", "y = Neg(x)", one, inputs={"x": (1, 2, 3, 4)}, shape=(1, 2, 3, 4))
    for mode in ("CRD", "DCR"):
        text = f'y = DepthToSpace<blocksize=4, mode="{mode}">(x)'
        yield Row(f"DepthToSpace {mode}", text, one, inputs={"x": (1, 512, 48, 48)}, shape=(1, 32, 192, 192))
    yield Row(
        "SpaceToDepth",
        "y = SpaceToDepth<blocksize=4>(x)",
        one,
        inputs={"x": (1, 5, 768, 768)},
        shape=(1, 80, 192, 192),
    )
    for axis in (1, 2, 3):
        part = tuple(3 if each == axis else size for each, size in enumerate(IMAGE))
        yield Row(f"Gather axis {axis}", f"y = Gather<axis={axis}>(x, i)", one, {"i": longs(3, 0, 4)}, shape=part)
        yield Row(
            f"ScatterElements axis {axis}",
            f"y = ScatterElements<axis={axis}>(x, i, u)",
            one,
            {"i": along(axis, [3, 0, 4], part).astype(np.int64)},
            {"x": IMAGE, "u": part},
        )
        mask = along(axis, [bool(each % 2) for each in range(IMAGE[axis])], (1, 1, 1, 1))
        yield Row(f"Where axis {axis}", "y = Where(m, x, u)", one, {"m": mask}, {"x": IMAGE, "u": IMAGE})
    yield from logic()
    for batch, bias in ((2, False), (2, True), (1, True)):
        weights = recurrent("GRU", 3, 5)
        text = f"h, y = GRU<hidden_size=5, layout=1>(x, w, r{', b' if bias else ''})"
        shapes = {"x": (batch, 4, 3)}
        name = f"GRU layout 1, batch {batch}{', bias' if bias else ''}"
        theirs = "5 / 8" if batch == 2 else "1 / 0, inputs and outputs in four dimensions"
        yield Row(name, text, theirs, weights, shapes, (batch, 1, 5), config=FixConfig(unroll=4))


def logic() -> Iterator[Row]:
    """The boolean operators by themselves, and between comparisons and the Cast of a mask."""
    for op in ("And", "Or", "Xor", "Not"):
        inputs = {"p": MASK} if op == "Not" else {"p": MASK, "q": MASK}
        yield Row(f"{op}, boolean input", f"y = {op}({', '.join(inputs)})", WIDE, {}, inputs, MASK, boolean=True)
        weights = {"w": np.full((5, 5, 1, 1), 0.2, np.float32), "k": np.array(0.25, np.float32)}
        text = "c = Conv(x, w)\na = Greater(c, x)\nb = Less(x, k)\n"
        text += f"m = {op}({'a' if op == 'Not' else 'a, b'})\nf = Cast<to=1>(m)\ng = Mul(c, f)\ny = Conv(g, w)"
        yield Row(f"{op} inside", text, BROKEN, weights)
        tolerant = FixConfig(allow=Safety.TOLERANCE)
        yield Row(f"{op} inside, --allow tolerance", text, BROKEN, weights, config=tolerant)


def recurrent(op: str, width: int, hidden: int) -> dict[str, np.ndarray]:
    """Random weights of one direction."""
    generator, gates = np.random.default_rng(0), {"GRU": 3, "LSTM": 4, "RNN": 1}[op] * hidden
    shapes = {"w": (1, gates, width), "r": (1, gates, hidden), "b": (1, 2 * gates)}
    return {name: generator.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}


def further() -> Iterator[Row]:
    """What has no script there."""
    around = "c = Conv(x, w)\n{}\ny = Conv(g, w)"
    w = {"w": np.full((5, 5, 1, 1), 0.2, np.float32)}
    for axis in (1, 2, 3):
        text = around.format("g = CumSum(c, a)")
        yield Row(f"CumSum axis {axis}", text, weights={**w, "a": np.array(axis, np.int64)})
        places = {"i": along(axis, list(reversed(range(IMAGE[axis]))), IMAGE).astype(np.int64)}
        yield Row(
            f"GatherElements axis {axis}",
            around.format(f"g = GatherElements<axis={axis}>(c, i)"),
            weights={**w, **places},
        )
    yield Row(
        "Tile of rows", "c = Conv(x, w)\ny = Tile(c, t)", weights={**w, "t": longs(1, 1, 2, 1)}, shape=(1, 5, 12, 7)
    )
    yield Row(
        "Tile of channels", "c = Conv(x, w)\ny = Tile(c, t)", weights={**w, "t": longs(1, 2, 1, 1)}, shape=(1, 10, 6, 7)
    )
    text = around.format("p = GlobalMaxPool(c)\ne = Expand(p, n)\ng = Sigmoid(e)")
    yield Row("Expand of a pixel", text, weights={**w, "n": longs(*IMAGE)})
    text = "c = Conv(x, w)\na = Reshape(c, s)\nb = Expand(a, n)\nd = Reshape(b, u)\ny = Conv(d, w)"
    shapes = {"s": longs(1, 5, 6, 1, 7, 1), "n": longs(1, 5, 6, 2, 7, 2), "u": longs(1, 5, 12, 14)}
    yield Row("upsampling by Expand", text, weights={**w, **shapes}, shape=(1, 5, 12, 14))
    text = around.format("m = Greater(c, k)\ng = Where(m, c, k)")
    yield Row("Where as Relu", text, weights={**w, "k": np.array(0, np.float32)})
    for op in ("GRU", "LSTM", "RNN"):
        text, sizes = f"{'h, ' if op != 'RNN' else ', '}y = {op}<hidden_size=5>(x, w, r, b)", {"x": (4, 2, 3)}
        yield Row(
            f"{op} layout 0", text, "no script", recurrent(op, 3, 5), sizes, (1, 2, 5), config=FixConfig(unroll=4)
        )


def written(row: Row, path: Path) -> Path:
    """The model of a row as a file."""
    kind = TensorProto.BOOL if row.boolean else TensorProto.FLOAT
    nodes = [parser.parse_node(line) for line in row.nodes.splitlines()]
    for index, node in enumerate(nodes):
        node.name = f"{node.op_type}_{index}"
    graph = helper.make_graph(
        nodes,
        "before",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in row.inputs.items()],
        [helper.make_tensor_value_info("y", kind, row.shape)],
        [numpy_helper.from_array(value, name) for name, value in row.weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def counted(summary: Summary) -> str:
    """Loadables / switches, and how many layers run on the GPU."""
    return f"{summary.loadables} / {summary.switches}, {summary.gpu_layers} GPU"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tensorrt", default="8.5.2")
    options.add_argument("--precision", default="fp16", choices=("fp16", "int8"))
    options.add_argument("--mode", default="hybrid", choices=("hybrid", "standalone"))
    given = options.parse_args()
    target = resolve_target("agx-orin-64gb", tensorrt=given.tensorrt, precision=given.precision, mode=given.mode)
    print("| model | before (loadables / switches) | after `fix` | standalone | error | rewrites | NVIDIA's script |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for row in (*eleven(), *further()):
            report = fix(written(row, Path(folder) / "model.onnx"), target, row.config).report
            error = max(each.relative for each in report.proof)
            used = ", ".join(each.rewrite for each in report.applied) or "none"
            alone = "yes" if report.after.standalone_ok else "no"
            before, after = counted(report.before), counted(report.after)
            print(f"| {row.name} | {before} | {after} | {alone} | {error:.1g} | {used} | {row.theirs} |")


if __name__ == "__main__":
    main()
