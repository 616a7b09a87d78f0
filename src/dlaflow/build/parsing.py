"""ONNX file → TensorRT network, with the parser's complaints as our errors."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from dlaflow.build.api import Messages
from dlaflow.build.surface import ParserComplaint, ParserObject
from dlaflow.errors import InputError

_ADJUST = "ADJUST_FOR_DLA"
_ASYMMETRIC = "ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"


def parse_onnx(parser: ParserObject, model: Path, messages: Messages) -> None:
    """Parse `model` into the network of `parser`.

    Raises InputError with node, operator and reason of the first complaint; EnvironmentLacksError or InputError from
    the log when the parser itself says nothing.
    """
    if not model.is_file():
        raise InputError(f"cannot read {model}", received="no such file", then="Check the path.")
    # The path lets the parser find weights that lie beside the model.
    if parser.parse_from_file(str(model)):
        return
    if parser.num_errors:
        raise _parse_error(model, parser.get_error(0))
    raise messages.failure()


def flags_for_dla(trt: ModuleType, *, quantized_in_model: bool) -> list[object]:
    """The parser flags that a DLA build wants, as far as this release has them (10.11 and 10.16)."""
    known = getattr(trt, "OnnxParserFlag", None)  # came with 8.6
    wanted = [_ADJUST, *([_ASYMMETRIC] if quantized_in_model else [])]
    return [getattr(known, name) for name in wanted if hasattr(known, name)]


def _parse_error(model: Path, error: ParserComplaint) -> InputError:
    reason = " ".join(str(error.desc()).split())
    where = f"node {error.node()}" if error.node() >= 0 else "the file"
    # Names of node and operator came to the parser's errors with TensorRT 10.
    if hasattr(error, "node_operator") and error.node_operator():
        where += f" ({error.node_operator()} {error.node_name()!r})"
    return InputError(
        f"TensorRT cannot read {model}: {where}",
        expected="operators and attributes that this release imports",
        received=reason[:300],
        then="`dlaflow check` names unknown operators; a broken file is best exported again.",
    )
