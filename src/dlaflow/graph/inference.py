"""onnx's shape inference with bounds: on what it is asked to keep, and on the memory that it may take.

It computes the values of small integer tensors on the way ("data propagation"), and it does so without a limit: of a
one-dimensional tensor of 10^12 elements it would keep each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.graph.bounds import check_growth, holds_long_list
from dlaflow.graph.inline import all_nodes, first_line, is_onnx_error

if TYPE_CHECKING:
    import numpy as np
    import onnx

MEMORY_BYTES = 2 << 30
"""What one inference may take beyond what the process holds. Weights are no part of it: real models take some MB."""


def infer_shapes(proto: onnx.ModelProto, constants: Mapping[str, np.ndarray], source: Path) -> onnx.ModelProto:
    """The model with the types that onnx infers, without strictness: what it cannot tell stays open.

    `constants` are the small tensors that are known. Raises InputError when shapes contradict each other, or when
    inference would take more memory than any network needs.
    """
    check_growth(proto.graph, source)
    _step_around_faults(proto)
    if not holds_long_list(proto.graph, constants):
        try:
            return _infer(proto, source, values=True)
        except MemoryError:
            pass  # sizes that only inference could know: without the values it gets by, and they stay open
    try:
        return _infer(proto, source, values=False)
    except MemoryError:
        raise InputError(
            f"the shapes of {source} cannot be inferred",
            expected=f"shapes that take at most {MEMORY_BYTES >> 30} GB to compute",
            then="A size in the model is far too large; export it again.",
        ) from None


_FAULTY = frozenset(
    {("", "RegexFullMatch"), ("ai.onnx.ml", "DictVectorizer"), ("ai.onnx.ml", "LabelEncoder")}
    | {("ai.onnx.ml", "TreeEnsemble"), ("", "EyeLike"), ("ai.onnx", "EyeLike"), ("ai.onnx", "RegexFullMatch")}
)
"""Operators whose inference in onnx (up to 1.23 at least) reads the type of an input that has none, which ends the
process. Any input behind an operator that onnx does not know has none."""
_ASIDE = "dlaflow.aside"


def _step_around_faults(proto: onnx.ModelProto) -> None:
    """Put what onnx fails on out of its sight: in an unknown domain, or as an operator whose types are the same."""
    found = [node for node, _ in all_nodes(proto.graph.node) if (node.domain, node.op_type) in _FAULTY]
    for node in found:
        if node.op_type == "EyeLike":
            node.op_type = "RandomNormalLike"
            kept = [attribute for attribute in node.attribute if attribute.name == "dtype"]
            del node.attribute[:]
            node.attribute.extend(kept)
        else:
            node.domain = _ASIDE
    if found and all(entry.domain != _ASIDE for entry in proto.opset_import):
        proto.opset_import.add(domain=_ASIDE, version=1)


def _infer(proto: onnx.ModelProto, source: Path, *, values: bool) -> onnx.ModelProto:
    from onnx import shape_inference

    try:
        with _bounded_memory(MEMORY_BYTES):
            return shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=values)
    except Exception as error:  # the C++ side raises its own InferenceError or RuntimeError
        if not is_onnx_error(error):
            raise
        raise InputError(f"the shapes of {source} cannot be inferred: {first_line(error)}") from None


@contextmanager
def _bounded_memory(more: int) -> Iterator[None]:
    """Let the process take at most so many bytes more while this is open; without effect where the system cannot.

    An allocation beyond it fails inside onnx, which ends in a MemoryError, where it would otherwise take the machine
    down. The limit is the process's, so this is opened for as short as can be, and far above what other threads take.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more
    others = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *others]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
