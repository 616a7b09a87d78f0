"""The options that name a target: one record for commands, recipes and the Python API."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlaflow.errors import UsageError
from dlaflow.fixed_shape import ShapesGiven, fixed_shapes
from dlaflow.targets.release import refuse_unpublished
from dlaflow.targets.target import Target, resolve_target
from dlaflow.targets.version import agree


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What the model is for."""

    board: str = "agx-orin-64gb"
    """The board, such as agx-orin-64gb, orin-nx-16gb or xavier-nx-8gb (`dlaflow boards` lists them)."""
    jetpack: str | None = None
    """The release: JetPack (5.1.1), L4T (r35.3.1), DRIVE OS (drive-6.0.9.0) or latest, which is the default: the newest
    of the board with a usable DLA that takes models as they are (TensorRT 11.4 must be named)."""
    tensorrt: str | None = None
    """The TensorRT version itself, such as 8.5.2, in place of --jetpack."""
    precision: str = "int8"
    """int8 or fp16."""
    batch: int | None = None
    """The batch to build for. Default: the model's own; where it is open, that of --shape, else 1."""
    shape: ShapesGiven = ()
    """The size of an input that the model leaves open, batch included: NAME:1x3x640x640. Repeat it for further
    inputs; the name may be left out with one input."""
    mode: str = "hybrid"
    """hybrid (the GPU may help) or standalone (everything in DLA loadables)."""

    def target(self) -> Target:
        """The target that these options name.

        Raises UsageError for unknown names, a release that contradicts the TensorRT, and shapes that cannot be read.
        """
        if self.tensorrt is not None:
            refuse_unpublished(self.tensorrt)
        found = resolve_target(
            self.board,
            self.jetpack,
            precision=self.precision,
            batch=self.batch,
            mode=self.mode,
            tensorrt=self.tensorrt,
        )
        if self.tensorrt is not None and self.jetpack is not None:
            named = replace(self, tensorrt=None).target().release
            if not agree(named.tensorrt, self.tensorrt):
                raise UsageError(
                    "--jetpack and --tensorrt contradict each other",
                    expected=f"TensorRT {named.tensorrt}, which {named.family} {named.name} brings",
                    received=self.tensorrt,
                    then="Leave one of them out.",
                )
            found = replace(found, release=named)
        return replace(found, shapes=fixed_shapes(self.shape or ()))
