"""`dlaflow score`: a model and the log of its real build → how right the prediction is, and where it is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dlaflow.api.claims import Written
from dlaflow.api.score import BuildFile, BuildTarget, Sharing, score_model, share_build
from dlaflow.cli.options import Shape, group
from dlaflow.cli.terminal import Quiet, say_unread
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, UsageError
from dlaflow.files import together, write_atomic


@group
@dataclass(frozen=True, kw_only=True)
class Build(BuildFile):
    """The real build: one of these files."""

    log: Path | None = None
    layer_info: Path | None = None
    profile: Path | None = None
    nsys: Path | None = None


@group
@dataclass(frozen=True, kw_only=True)
class Overrides(BuildTarget):
    """What the build was for, where the file does not tell it."""

    shape: Shape = ()


@group
@dataclass(frozen=True, kw_only=True)
class Share(Sharing):
    """What is passed on of a build, so that dlaflow's tests can hold it."""

    share: Written | None = None


def score(
    model: Path,
    /,
    *,
    build: Build | None = None,
    of: Overrides | None = None,
    pass_on: Share | None = None,
    json: Written | None = None,
    min_agreement: float | None = None,
    quiet: Quiet = False,
) -> int:
    """Compare the prediction for a model with a real build of it.

    Tells the agreement over the layers and their multiply-accumulates, whether the loadables are the same, and for each
    layer that runs elsewhere what the rules say and what the builder said. Of a build that placed its layers and failed
    then, the cause stands beside it; the exit code is then 1.

    Examples:

        dlaflow score model.onnx --log build.log

        dlaflow score model.onnx --layer-info layers.json --board orin-nx-16gb --jetpack 6.2 --precision fp16

        dlaflow score model.onnx --log build.log --share build.json --hash-names

    Parameters
    ----------
    model
        The ONNX file that was built.
    json
        Write the score to this file (schema dlaflow.score/1).
    min_agreement
        Exit with 1 when less than this share of the named layers agrees (0..1), or the loadable count differs.
    """
    from dlaflow.report.score_text import score_json, score_text

    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise UsageError("--min-agreement is a share", expected="0..1", received=min_agreement)
    found = score_model(model, build or Build(), of or Overrides())
    with together():
        share_build(model, found, pass_on or Share())
        if json:
            write_atomic(json, score_json(found.score, found.placement))
    say_unread(found.placement, quiet=quiet)
    if not quiet:
        sys.stdout.write(score_text(found.score, found.placement) + "\n")
    wanting = min_agreement is not None and (found.score.named_share < min_agreement or not found.score.loadables_right)
    failed = found.score.outcome is not None and found.score.outcome.state == "failed"
    return EXIT_FINDINGS if wanting or failed else EXIT_DONE
