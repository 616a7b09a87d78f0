"""`dlaflow score`: a model and the log of its real build → how right the prediction is, and where it is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from dlaflow.cli.options import Shape
from dlaflow.cli.terminal import Quiet, say_unread
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, UsageError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import fixed_shapes

if TYPE_CHECKING:
    from dlaflow.observed.build import ObservedBuild
    from dlaflow.parse.log import LogRun
    from dlaflow.targets.target import Target


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BuildFile:
    """The real build: one of these files."""

    log: Path | None = None
    """The log of the build (`trtexec ... --useDLACore=0`); --verbose adds the reasons."""
    layer_info: Path | None = None
    """A file of `trtexec --exportLayerInfo`."""
    profile: Path | None = None
    """A file of `trtexec --exportProfile`."""
    nsys: Path | None = None
    """An Nsight Systems export (SQLite) of a run of the engine."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the build was for, where the file does not tell it."""

    board: str | None = None
    """The board. A log tells Xavier or Orin, and the AGX module of that name is taken."""
    jetpack: str | None = None
    """The JetPack or DRIVE OS release."""
    tensorrt: str | None = None
    """The TensorRT version. Default: what the log's banner says."""
    precision: str | None = None
    """int8 or fp16. Default: int8 when the log's banner allows INT8."""
    batch: int | None = None
    """The batch. Default: that of the log's first input, else the model's own."""
    shape: Shape = ()


def score(
    model: Path,
    /,
    *,
    build: BuildFile | None = None,
    of: Overrides | None = None,
    json: Path | None = None,
    min_agreement: float | None = None,
    quiet: Quiet = False,
) -> int:
    """Compare the prediction for a model with a real build of it.

    Tells the agreement over the layers and their multiply-accumulates, whether the loadables are the same, and for each
    layer that runs elsewhere what the rules say and what the builder said.

    Examples:

        dlaflow score model.onnx --log build.log

        dlaflow score model.onnx --layer-info layers.json --board orin-nx-16gb --jetpack 6.2 --precision fp16

    Parameters
    ----------
    model
        The ONNX file that was built.
    json
        Write the score to this file (schema dlaflow.score/1).
    min_agreement
        Exit with 1 when less than this share of the named layers agrees (0..1), or the loadable count differs.
    """
    from dlaflow.observed.score import score as compare
    from dlaflow.placement.check import check
    from dlaflow.report.score_text import score_json, score_text

    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise UsageError("--min-agreement is a share", expected="0..1", received=min_agreement)
    real, run = _read(build or BuildFile())
    target = _target(of or Overrides(), run)
    placement = check(model, target)
    say_unread(placement, quiet=quiet)
    result = compare(placement, real)
    if json:
        write_atomic(json, score_json(result, placement))
    if not quiet:
        sys.stdout.write(score_text(result, placement) + "\n")
    wanting = min_agreement is not None and (result.named_share < min_agreement or not result.loadables_right)
    return EXIT_FINDINGS if wanting else EXIT_DONE


def _read(build: BuildFile) -> tuple[ObservedBuild, LogRun | None]:
    from dlaflow.observed.build import read_capture, read_layer_info, read_log, read_profile

    given = [each for each in (build.log, build.layer_info, build.profile, build.nsys) if each is not None]
    if len(given) != 1:
        raise UsageError(
            "score compares with one build",
            expected="one of --log, --layer-info, --profile, --nsys",
            received=f"{len(given)} of them",
        )
    if build.log is not None:
        return read_log(build.log)
    if build.layer_info is not None:
        return read_layer_info(build.layer_info), None
    if build.profile is not None:
        return read_profile(build.profile), None
    return read_capture(given[0]), None


def _target(of: Overrides, run: LogRun | None) -> Target:
    from dlaflow.observed.target import target_of
    from dlaflow.targets.target import resolve_target

    stated = target_of(run)
    board = of.board or stated.board
    if board is None:
        raise UsageError("the file does not tell the board", then="Name it with --board (`dlaflow boards` lists them).")
    version = of.tensorrt or (None if of.jetpack else stated.tensorrt)
    if version is None and of.jetpack is None:
        raise UsageError("the file does not tell the release", then="Name it with --jetpack or --tensorrt.")
    precision = of.precision or stated.precision
    if precision is None:
        raise UsageError("the file does not tell the precision", then="Name it with --precision (int8 or fp16).")
    # A shape tells the batch of this build more surely than the first input that the log happens to name.
    batch = of.batch or (None if of.shape else stated.batch)
    target = resolve_target(board, of.jetpack, precision=precision, batch=batch, tensorrt=version, mode=stated.mode)
    return replace(target, shapes=fixed_shapes(of.shape))
