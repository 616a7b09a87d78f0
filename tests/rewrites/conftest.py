"""Small graphs for the tests of rewrites: nodes as ONNX text, weights as arrays, both sides run on onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from dlaflow.placement.check import check_model
from dlaflow.rewrites.base import Bounds, Rewrite
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.motions import move_down
from dlaflow.rewrites.prove import Executable, compare
from dlaflow.rules.remedies import against
from dlaflow.targets.target import resolve_target


@dataclass(frozen=True)
class Outcome:
    """What a rewrite made of a graph: the operators afterwards, the refusals and the largest relative error."""

    ops: list[str]
    changed: bool
    refused: dict[str, str]
    error: float
    draft: Draft

    def against(self, tensorrt: str = "10.3.0", precision: str = "int8") -> set[str]:
        """The rules that speak against a layer of it, in hybrid and in standalone mode."""
        found: set[str] = set()
        for mode in ("hybrid", "standalone"):
            target = resolve_target("agx-orin-64gb", tensorrt=tensorrt, precision=precision, mode=mode)
            placement = check_model(self.draft.model(Path("after")), target)
            found |= {finding.rule for layer in placement.layers for finding in against(layer)}
        return found


Build = Callable[..., Path]
Rewritten = Callable[..., Outcome]


def _build(
    folder: Path,
    nodes: str,
    x: tuple[int | str, ...] = (1, 4, 8, 8),
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    outputs: tuple[str, ...] | Mapping[str, tuple[int, ...]] = ("y",),
) -> Path:
    made = [parser.parse_node(line) for line in nodes.strip().splitlines()]
    for index, node in enumerate(made):
        node.name = f"{node.op_type}_{index}"
    shapes = outputs if isinstance(outputs, Mapping) else {}
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(x))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes.get(name)) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Write a graph and give its path."""
    folder = tmp_path_factory.mktemp("graphs")

    def run(nodes: str, *arguments: object, **options: object) -> Path:
        return _build(folder, nodes, *arguments, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session")
def rewritten(build: Build) -> Rewritten:
    """Apply one rewrite until it finds nothing more, and compare the outputs."""

    def run(rewrite: Rewrite, nodes: str, *arguments: object, tensorrt: str = "10.3.0", **options: object) -> Outcome:
        board = "agx-orin-64gb" if tensorrt >= "8.4" or tensorrt.startswith("10") else "agx-xavier-64gb"
        target = resolve_target(board, tensorrt=tensorrt)
        path = build(nodes, *arguments, **options)
        first, _ = load_draft(path, None)
        draft = first
        bounds, refused, changed = Bounds(target), {}, False
        for _ in range(10):
            edits, refused = rewrite.find(draft, bounds)
            if not edits:
                break
            changed = True
            draft = move_down(draft.apply(edits))
        onnx.checker.check_model(draft.proto(), full_check=True)
        shapes = {name: first.shape(name) or () for name in first.inputs}
        evidence = compare(Executable(path), Executable(draft.proto()), shapes)
        error = max(each.relative for each in evidence)
        return Outcome([node.op_type for node in draft.nodes], changed, refused, error, draft)

    return run
