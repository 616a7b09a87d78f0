"""Run a model on the CPU with onnxruntime, computed as the DLA would as closely as onnxruntime can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import as_model
from dlaflow.quantize.numerics import as_on_dla, is_rounded
from dlaflow.quantize.session import Session, SessionOptions

if TYPE_CHECKING:
    import onnx


class OrtRunner(Session):
    """One model, ready to run.

    A Q/DQ or FP16 model is rounded where its file says so, which plain onnxruntime does not do (see
    `dlaflow.quantize.numerics`); a float32 model runs as it is. A model in memory is not changed. `shapes` fix the size
    of an input that a file leaves open, so that other images are refused.

    Raises InputError when the model cannot be read or has several inputs, UsageError for a shape that does not fit it,
    EnvironmentLacksError without onnxruntime.
    """

    def __init__(
        self,
        model: str | Path | onnx.ModelProto,
        options: SessionOptions | None = None,
        shapes: Sequence[FixedShape] = (),
    ) -> None:
        if not isinstance(model, (str, Path)):
            copy = type(model)()
            copy.CopyFrom(model)
            super().__init__(as_on_dla(copy), options)
            return
        # The structure alone tells whether to round; a float32 model then loads straight from its file.
        held = as_model(model, shapes)
        super().__init__(as_on_dla(held.whole()) if shapes or is_rounded(held.proto) else model, options)
