"""onnxslim as a step of `fix` and on its own: shape arithmetic and constants are folded, copies and dead nodes go.

What survives keeps its name. onnxslim folds whatever it meets, in files that anybody made, so it runs in a child
process whose memory, time and files are bounded; its result is read like any file and held to what the model computes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from dlaflow.errors import InputError, require
from dlaflow.graph.inputs import batch_of, fed_inputs, fix_inputs
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.lower.naming import node_name
from dlaflow.graph.piece import Wires, whole_piece
from dlaflow.process import run_logged
from dlaflow.reading import ONNX_BYTES, RUN_BYTES, SIMPLIFY_SECONDS
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.prove import Executable, bound_of, compare, holds
from dlaflow.rewrites.records import Applied, Refused
from dlaflow.rewrites.search import FixConfig, Search, gain_of
from dlaflow.targets.target import Target

ID = "simplify"
TITLE = "Shape arithmetic, constants and copies are folded away (onnxslim)"
_LARGEST_FOLD = 1 << 28
"""Bytes of a constant that onnxslim may compute; larger ones stay computed."""
_ROOM = 1 << 30
"""Bytes of memory for the child besides the models: what Python and its libraries reserve."""
_CHILD = """
import sys
seconds, memory, size, fold = map(int, sys.argv[1:])
try:
    import resource
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, size)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))
except ImportError:
    pass
import onnx, onnxslim
onnx.save(onnxslim.slim(onnx.load("model.onnx"), size_threshold=fold), "slim.onnx")
"""
"""It starts in an empty folder, so that nothing there is imported, and imports nothing of dlaflow."""


@dataclass(frozen=True)
class Slimmed:
    """A model after the step: its draft, the file that it came from (empty: nothing changed), and what the step did."""

    draft: Draft
    file: bytes = field(default=b"", repr=False)
    applied: tuple[Applied, ...] = ()
    refused: tuple[Refused, ...] = ()


@contextmanager
def slimmed(proto: onnx.ModelProto, source: Path) -> Iterator[Path]:
    """A file, there while this is open, that holds a model as onnxslim leaves it; open sizes stay open.

    Raises InputError for a model that onnxslim does not take or not within bounds, and when its inputs or outputs would
    be others afterwards; EnvironmentLacksError without onnxslim.
    """
    require("onnxslim", extra="simplify", what_for="--simplify")
    size = proto.ByteSize()
    ONNX_BYTES.check(size, f"{source} with its weights")
    seconds, memory = SIMPLIFY_SECONDS.most, _ROOM + RUN_BYTES.most + 8 * size
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as place:
        folder = Path(place)
        onnx.save(proto, folder / "model.onnx")
        words = [sys.executable, "-c", _CHILD, *map(str, (seconds, memory, ONNX_BYTES.most, _LARGEST_FOLD))]
        log = folder / "log"
        code = run_logged(words, log, timeout=2 * seconds, cwd=folder).exit_code
        if code:
            lines = log.read_text(errors="replace").splitlines() if code > 0 else []
            limit = (
                f"stopped after {seconds} s or beyond {memory >> 20} MiB; {SIMPLIFY_SECONDS.variable} raises the time"
            )
            raise _refused(source, next((line for line in reversed(lines) if line.strip()), limit))
        result = folder / "slim.onnx"
        found = load_model(result, digest=False)
        before, after = _ports(proto), _ports(found.proto)
        if before != after:
            raise _refused(source, f"{' '.join(sorted(set(map(str, before)) ^ set(map(str, after))))} differ")
        if _rename(proto, found.proto):
            onnx.save(whole_piece(Wires(found), found), result)
        yield result


def simplify(model: Model, start: Draft, target: Target, search: Search, config: FixConfig) -> Slimmed:
    """The draft `start` of `model` after onnxslim, or as it was, with the reason.

    The file is held to the class exact, and to a placement that is not worse. Where rewrites are not allowed, that is
    not asked, and InputError tells the reason.
    """
    try:
        with slimmed(_whole(model.path, target, keep_open=config.allow is Safety.NOTHING), model.path) as path:
            slim = load_model(path, digest=False)
            draft, _ = load_draft(slim, target.batch, target.shapes)
            if not config.dry_run:
                bound = bound_of(Safety.EXACT, start)
                sides = Executable.of(start, model.path), Executable.of(draft, path)
                evidence = compare(*sides, start.input_shapes, config.samples, bound=bound)
                if not holds(evidence):
                    worst = max(evidence, key=lambda each: each.used)
                    raise _refused(model.path, f"outputs that differ by {worst.relative:.1e} of their largest value")
            kept = {node_name(node) for node in slim.proto.graph.node}
            file = path.read_bytes()
    except InputError as error:
        if config.allow is Safety.NOTHING:
            raise
        return _kept(start, str(error))
    gone = [name for name in map(node_name, model.proto.graph.node) if name not in kept]
    scores = search.score(start), search.score(draft)
    if config.allow is not Safety.NOTHING and scores[0].beats(scores[1]):
        return _kept(start, "the placement would be worse")
    if not gone:
        return Slimmed(start)
    return Slimmed(draft, file, (Applied(ID, TITLE, Safety.EXACT.value, gone, gain_of(*scores)),))


def _whole(path: Path, target: Target, *, keep_open: bool) -> onnx.ModelProto:
    """The model of a file with the sizes that `target` names, and those that it leaves open where nobody keeps them."""
    model = load_model(path, digest=False)
    graph = model.proto.graph
    if target.shapes or target.batch or not keep_open:
        fix_inputs(graph, batch_of(graph, target.batch, target.shapes), target.shapes)
        del graph.value_info[:]  # they tell of the open sizes
    return whole_piece(Wires(model), model)


def _rename(before: onnx.ModelProto, after: onnx.ModelProto) -> bool:
    """Give nodes that took others in, and another name with them, their own back; whether there were any.

    A node is the old one of its operator that reads the same first tensor, or else writes the same one.
    """
    names = {node.name for node in before.graph.node}
    taken = {node.name for node in after.graph.node}
    old: dict[tuple[str, str], list[str]] = {}
    for node in before.graph.node:
        for tensor in (*node.input[:1], *node.output[:1]):
            old.setdefault((node.op_type, tensor), []).append(node.name)
    renamed = False
    for node in after.graph.node:
        keys = [(node.op_type, tensor) for tensor in (*node.input[:1], *node.output[:1])]
        own = [found[0] for key in keys if len(found := old.get(key, [])) == 1 and found[0] not in taken]
        if node.name not in names and own and own[0]:
            node.name, renamed = own[0], True
            taken.add(own[0])
    return renamed


def _kept(start: Draft, reason: str) -> Slimmed:
    return Slimmed(start, refused=(Refused(ID, "the whole model", reason),))


def _refused(source: Path, received: str) -> InputError:
    return InputError(
        f"{source} cannot be simplified",
        expected="a model that onnxslim takes",
        received=received.strip()[:300],
        then="Leave --simplify out.",
    )


def _ports(proto: onnx.ModelProto) -> list[tuple[str, int]]:
    """The names and element types of the inputs that are fed and of the outputs."""
    ports = [*fed_inputs(proto.graph), *proto.graph.output]
    return [(value.name, value.type.tensor_type.elem_type) for value in ports]
