"""score: a model and a file of its real build → how right the prediction is, and where it is not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlaflow.api.check import predict
from dlaflow.api.keywords import File, keywords
from dlaflow.errors import InputError, UsageError
from dlaflow.files import at_once, write_atomic
from dlaflow.fixed_shape import ShapesGiven, fixed_shapes
from dlaflow.graph.load import load_model
from dlaflow.observed.build import ObservedBuild, read_capture, read_layer_info, read_log, read_profile
from dlaflow.observed.score import Score
from dlaflow.observed.score import score as compare
from dlaflow.observed.shared import Agreement, SharedBuild, share
from dlaflow.observed.target import StatedTarget, target_of
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Placement


@dataclass(frozen=True, kw_only=True)
class BuildFile:
    """The real build: one of these files."""

    log: File | None = None
    """The log of the build (`trtexec ... --useDLACore=0`); --verbose adds the reasons."""
    layer_info: File | None = None
    """A file of `trtexec --exportLayerInfo`."""
    profile: File | None = None
    """A file of `trtexec --exportProfile`."""
    nsys: File | None = None
    """An Nsight Systems export (SQLite) of a run of the engine."""


@dataclass(frozen=True, kw_only=True)
class BuildTarget:
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
    shape: ShapesGiven = ()
    """The size of an input that the model leaves open, batch included: NAME:1x3x640x640."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What is passed on of a build, so that dlaflow's tests can hold it."""

    share: File | None = None
    """Write the build and the model's graph without weights to this file (schema dlaflow.build/1)."""
    hash_names: bool = False
    """Hash all names of the model in that file."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The prediction, and how it compares with the build."""

    placement: Placement
    score: Score
    build: ObservedBuild
    target: Target


def score_model(model: Path, file: BuildFile, built_for: BuildTarget) -> Scored:
    """Predict the placement for the target of the build and compare.

    Raises UsageError for more or fewer files than one and for a target that neither the file nor `built_for` tells,
    InputError for files that tell no placement or are of another model.
    """
    build, stated = _read(file)
    target = _target(built_for, stated)
    placement = predict(model, target).placement
    found = compare(placement, build)
    if not found.named:
        raise InputError(
            f"{build.file} names no layer that does any work",
            expected="a build of the model",
            received=f"{len(build.entries)} entries, all of them constants or copies",
        )
    return Scored(placement, found, build, target)


def share_build(model: Path, scored: Scored, how: Sharing) -> None:
    """Write the file of `how.share`, which is read back and scored before anybody gets it.

    Raises UsageError for `hash_names` without a file, InputError when the graph without weights is placed otherwise.
    """
    if how.share is None:
        if how.hash_names:
            raise UsageError("--hash-names is for the file of --share", then="Name the file with --share.")
        return
    loaded = load_model(model, digest=False)
    shared = share(loaded, scored.target, scored.build, scored.score, hash_names=how.hash_names)
    with tempfile.TemporaryDirectory() as folder, at_once():
        again = score_shared(shared, Path(folder) / "graph.onnx")[0]
    if shared.scored != Agreement.of(again):
        raise InputError(
            f"{model} cannot be shared: without its weights it is placed otherwise",
            expected=f"{scored.score.layers_agreeing} of {scored.score.layers} layers as built",
            received=f"{again.layers_agreeing} of {again.layers}",
        )
    write_atomic(how.share, shared.encoded())


def score_shared(shared: SharedBuild, graph: Path) -> tuple[Score, Placement]:
    """Predict a shared build's own graph, which is written to `graph`, and compare.

    Raises InputError or UsageError for a graph or a target that cannot be used.
    """
    placement = predict(shared.save_graph(graph), shared.target()).placement
    return compare(placement, shared.build(placement, graph.name)), placement


def _read(file: BuildFile) -> tuple[ObservedBuild, StatedTarget]:
    given = [each for each in (file.log, file.layer_info, file.profile, file.nsys) if each is not None]
    if len(given) != 1:
        raise UsageError(
            "score compares with one build",
            expected="one of --log, --layer-info, --profile, --nsys",
            received=f"{len(given)} of them",
        )
    if file.log is not None:
        build, run = read_log(Path(file.log))
        return build, target_of(run)
    read = read_layer_info if file.layer_info else read_profile if file.profile else read_capture
    return read(Path(given[0])), StatedTarget()


def _target(built_for: BuildTarget, stated: StatedTarget) -> Target:
    board = built_for.board or stated.board
    if board is None:
        raise UsageError("the file does not tell the board", then="Name it with --board (`dlaflow boards` lists them).")
    version = built_for.tensorrt or (None if built_for.jetpack else stated.tensorrt)
    if version is None and built_for.jetpack is None:
        raise UsageError("the file does not tell the release", then="Name it with --jetpack or --tensorrt.")
    precision = built_for.precision or stated.precision
    if precision is None:
        raise UsageError("the file does not tell the precision", then="Name it with --precision (int8 or fp16).")
    # A shape tells the batch of this build more surely than the first input that the log happens to name.
    batch = built_for.batch or (None if built_for.shape else stated.batch)
    found = resolve_target(
        board, built_for.jetpack, precision=precision, batch=batch, tensorrt=version, mode=stated.mode
    )
    return replace(found, shapes=fixed_shapes(built_for.shape or ()))


@dataclass(frozen=True, kw_only=True)
class ScoreArguments(BuildFile, BuildTarget, Sharing):
    """The arguments of `score`."""

    model: File = field(kw_only=False)
    """The ONNX file that was built."""


@keywords(ScoreArguments)
def score(given: ScoreArguments) -> Score:
    """Compare the prediction for a model with a real build of it.

    Returns a `dlaflow.observed.score.Score`. Raises UsageError for a target that nothing tells, InputError for a file
    that tells no placement or is of another model.
    """
    scored = score_model(Path(given.model), given, given)
    share_build(Path(given.model), scored, given)
    return scored.score
