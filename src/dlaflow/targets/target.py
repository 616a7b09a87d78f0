"""A target: the board, the release, the precision, the batch and the mode that a prediction is for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlaflow.errors import UsageError, unknown_name
from dlaflow.fixed_shape import FixedShape, refuse_batch
from dlaflow.targets.board import Board, find_board
from dlaflow.targets.features import has
from dlaflow.targets.release import Release, find_release, release_of_tensorrt, releases
from dlaflow.targets.version import Version
from dlaflow.types import TargetInfo

PRECISIONS = ("fp16", "int8")
MODES = ("hybrid", "standalone")
LATEST = "latest"
"""As a release: the default, the newest of the board with a usable DLA."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a model is checked for. `batch` is None to keep the model's own; `mode` is hybrid or standalone.

    `shapes` are those of inputs that the model leaves open. An INT8 target stands for a build that allows FP16 too
    (trtexec `--int8 --fp16`).
    """

    board: Board
    release: Release
    precision: str = "int8"
    batch: int | None = None
    mode: str = "hybrid"
    shapes: tuple[FixedShape, ...] = ()

    @property
    def version(self) -> Version:
        """TensorRT's version."""
        return self.release.version

    @property
    def dla(self) -> str | None:
        """The generation of the DLA: v1 (Xavier), v2 (Orin) or None."""
        return self.board.dla_version

    def info(self, batch: int) -> TargetInfo:
        """The target as a record, with the batch that was used."""
        return TargetInfo(
            board=self.board.id,
            jetpack=self.release.name,
            tensorrt=self.release.tensorrt,
            dla=self.dla or "none",
            precision=self.precision,
            batch=batch,
            mode=self.mode,
        )

    def on_release(self, name: str) -> Target:
        """The same target under another JetPack or DRIVE OS release."""
        return replace(self, release=_fitting(find_release(name), self.board))


def resolve_target(
    board: str,
    jetpack: str | None = None,
    *,
    precision: str = "int8",
    batch: int | None = None,
    mode: str = "hybrid",
    tensorrt: str | None = None,
) -> Target:
    """Turn names into a target; without a release the newest whose DLA is usable on that board is taken.

    Raises UsageError for unknown names (with the nearest one) and for a release that the board never had.
    """
    found = find_board(board)
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    if batch is not None:
        refuse_batch(batch)
    if tensorrt is not None:
        release = release_of_tensorrt(tensorrt, found.id)
    elif jetpack is not None and jetpack.strip().lower() != LATEST:
        release = _fitting(find_release(jetpack), found)
    else:
        release = _newest(found)
    return Target(board=found, release=release, precision=precision, batch=batch, mode=mode)


def _fitting(release: Release, board: Board) -> Release:
    """The release itself, unless the board never had it.

    Raises UsageError with the releases that the board has.
    """
    if board.id in release.boards:
        return release
    known = [other.name for other in releases() if board.id in other.boards]
    raise UsageError(
        f"{release.family} {release.name} does not exist for {board.id}",
        expected=f"one of {', '.join(known)}" if known else "a release of that board",
        received=release.name,
        then="`dlaflow boards` lists which board has which release.",
    )


def _newest(board: Board) -> Release:
    """The newest release of a board, preferring one that can build for its DLA and takes FP32 models.

    11.4 needs a model whose types are already INT8 or FP16, so it must be asked for by name.
    """
    own = [release for release in releases() if board.id in release.boards]
    usable = [release for release in own if release.usable == "yes" and not has("typed_only", release.version)]
    if not own:
        raise UsageError(f"no release is known for {board.id}", then="Name one with --tensorrt.")
    return max(usable or own, key=_age)


def left_out(board: Board, taken: Release) -> list[Release]:
    """The newer releases of a board that are not its default: they have no DLA, or must be asked for by name."""
    return [one for one in releases() if board.id in one.boards and _age(one) > _age(taken)]


def _age(release: Release) -> tuple[Version, Version]:
    """Orders releases: by TensorRT without its build number, which not every source tells, then by name."""
    name = release.name.removeprefix("drive-")
    return release.version.release, Version.parse(name if name[0].isdigit() else "0")
