"""What a log states of the target that it was built for."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.parse.log import LogRun
from dlaflow.targets.board import find_board
from dlaflow.types import TargetInfo


@dataclass(frozen=True, slots=True)
class StatedTarget:
    """What a log states of its target; None where it does not. `mode` is hybrid or standalone."""

    board: str | None = None
    tensorrt: str | None = None
    precision: str | None = None
    batch: int | None = None
    mode: str = "hybrid"


_BOARDS = (("Xavier", "agx-xavier-32gb"), ("Orin", "agx-orin-64gb"))


def target_of(run: LogRun | None) -> StatedTarget:
    """The target of a run, from its banner, its device and its command."""
    if run is None:
        return StatedTarget()
    device = run.device.name if run.device else ""
    board = next((board for word, board in _BOARDS if word in device), None)
    precision = next((option.value for option in run.options if option.key == "Precision"), "")
    words = run.command.split()
    inputs = [binding for binding in run.bindings if binding.role == "input" and binding.dimensions]
    batch = inputs[0].dimensions[0] if inputs and len(inputs[0].dimensions) >= 4 else None
    allowed = precision + " ".join(words).upper()
    return StatedTarget(
        board=board,
        tensorrt=run.tensorrt,
        precision="int8" if "INT8" in allowed else "fp16" if "FP16" in allowed else None,
        batch=batch if batch and batch > 0 else None,
        mode="standalone" if "--buildDLAStandalone" in words else "hybrid",
    )


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A log says another `what` than a target that it is laid beside."""

    what: str
    expected: str | int
    received: str | int


def contradictions(run: LogRun | None, target: TargetInfo) -> list[Contradiction]:
    """Where a run says that it is not of this target; what it does not say contradicts nothing."""
    stated = target_of(run)
    # A log names the chip, not the board: the generation of its DLA is what both know.
    generation = find_board(stated.board).dla_version if stated.board else None
    release = stated.tensorrt if stated.tensorrt and not target.tensorrt.startswith(stated.tensorrt) else None
    said = (
        ("DLA", target.dla, generation),
        ("TensorRT", target.tensorrt, release),
        ("precision", target.precision, stated.precision),
        ("batch", target.batch, stated.batch),
    )
    return [Contradiction(what, ours, theirs) for what, ours, theirs in said if theirs is not None and ours != theirs]
