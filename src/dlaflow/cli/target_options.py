"""The options that name a target; every command that needs one takes the same."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Parameter

from dlaflow.targets.target import Target, resolve_target


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What the model is for."""

    board: str = "agx-orin-64gb"
    """The board, such as agx-orin-64gb, orin-nx-16gb or xavier-nx-8gb (`dlaflow boards` lists them)."""
    jetpack: str | None = None
    """The JetPack (5.1.1) or DRIVE OS (drive-6.0.9.0) release. Default: the newest of the board with a usable DLA."""
    tensorrt: str | None = None
    """The TensorRT version itself, such as 8.5.2, in place of --jetpack."""
    precision: str = "int8"
    """int8 or fp16."""
    batch: int | None = None
    """The batch to build for. Default: the model's own, 1 where it is open."""
    mode: str = "hybrid"
    """hybrid (the GPU may help) or standalone (everything in DLA loadables)."""

    def target(self) -> Target:
        """The target that these options name.

        Raises UsageError for unknown names.
        """
        return resolve_target(
            self.board,
            self.jetpack,
            precision=self.precision,
            batch=self.batch,
            mode=self.mode,
            tensorrt=self.tensorrt,
        )
