"""estimate --against: one model over boards, releases, power modes, precisions and batches, as rows of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.estimate.answer import Estimate
from dlaflow.estimate.clocks import power_modes
from dlaflow.estimate.latency import estimate
from dlaflow.fixed_shape import refuse_batch
from dlaflow.graph.load import Model, load_model
from dlaflow.placement.check import check_network, network_of
from dlaflow.targets.board import Board, boards, find_board
from dlaflow.targets.release import Release, find_release, releases
from dlaflow.targets.target import PRECISIONS, Target

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class AgainstOptions:
    """One table of many targets; what is not named stays as the target says."""

    against: bool = False
    """Make the table. Any of the lists below does too."""
    boards: str | Sequence[str] | None = None
    """Boards with commas, or all (that have a DLA)."""
    releases: str | Sequence[str] | None = None
    """JetPack or DRIVE OS releases with commas, or all of each board that can build for its DLA."""
    power_modes: str | Sequence[str] | None = None
    """Power modes with commas, or all of each board."""
    precisions: str | Sequence[str] | None = None
    """int8, fp16, or all."""
    batches: str | Sequence[int] | None = None
    """Batches with commas, such as 1,8,32."""

    @property
    def asked(self) -> bool:
        """Whether a table is wanted."""
        named = (self.boards, self.releases, self.power_modes, self.precisions, self.batches)
        return self.against or any(each is not None for each in named)


@dataclass(frozen=True, slots=True)
class Row:
    """One target of the table: the release, and the estimate with board, mode, precision and batch in it."""

    release: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class EstimateTable:
    """The rows in the order of boards, releases, precisions, batches, modes, and the choices that do not exist."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


def estimate_table(model: Path, target: Target, mode: str | None, options: AgainstOptions) -> EstimateTable:
    """Estimate a model for every target that `options` name; `target` and `mode` stand where they name nothing.

    Each target is placed anew. A release or a mode that a board lacks is left out and told.
    Raises UsageError for unknown names and where nothing is left, and InputError for an unusable file.
    """
    loaded = load_model(model, digest=False)
    left_out: dict[str, None] = {}
    rows: list[Row] = []
    for each, modes in targets_of(target, mode, options, left_out):
        rows += _rows(loaded, each, modes, left_out)
    if not rows:
        raise UsageError("no target is left to estimate for", received="; ".join(left_out))
    return EstimateTable(tuple(rows), tuple(left_out))


def targets_of(
    target: Target, mode: str | None, options: AgainstOptions, left_out: dict[str, None]
) -> list[tuple[Target, list[str | None]]]:
    """Every target that `options` name with its power modes; what a board lacks is told in `left_out`.

    Raises UsageError for unknown names.
    """
    return [(each, _modes(each.board, mode, options, left_out)) for each in _targets(target, options, left_out)]


def _rows(loaded: Model, target: Target, modes: Sequence[str | None], left_out: dict[str, None]) -> Iterator[Row]:
    """The rows of one placement; a target that cannot take the model is left out."""
    if not modes:
        return
    try:
        network = network_of(loaded, target)
        placement = check_network(loaded, network, target)
    except InputError as error:
        left_out[f"{target.board.id}, {target.release.name}: {error}"] = None
        return
    for mode in modes:
        yield Row(target.release.name, estimate(network, placement, target, mode))


def _targets(target: Target, options: AgainstOptions, left_out: dict[str, None]) -> Iterator[Target]:
    with_dla = [board.id for board in boards() if board.dla_version]
    found = _chosen(options.boards, with_dla, lambda name: find_board(name).id, target.board.id)
    precisions = _chosen(options.precisions, PRECISIONS, _precision, target.precision)
    batches: list[int | None] = [*map(_batch, _words(options.batches))] or [target.batch]
    for board in map(find_board, found):
        for release in _releases(board, target, options, left_out):
            for precision in precisions:
                for batch in batches:
                    yield replace(target, board=board, release=release, precision=precision, batch=batch)


def _releases(board: Board, target: Target, options: AgainstOptions, left_out: dict[str, None]) -> list[Release]:
    """The releases of a board; without a list the target's own where the board has it, else its newest usable one."""
    usable = [each for each in releases() if board.id in each.boards and each.usable != "no"]
    words = _words(options.releases)
    if words == [ALL]:
        return usable
    wanted = [find_release(name) for name in words] or ([target.release] if board == target.board else [])
    if not wanted and not usable:
        left_out[f"no release of {board.id} can build for its DLA"] = None
        return []
    if not wanted:
        return [target.release if board.id in target.release.boards else max(usable, key=lambda each: each.version)]
    for release in wanted:
        if board.id not in release.boards:
            left_out[f"{board.id} has no release {release.name}"] = None
    return [release for release in wanted if board.id in release.boards or not words]


def _modes(board: Board, mode: str | None, options: AgainstOptions, left_out: dict[str, None]) -> list[str | None]:
    known, words = power_modes(board), _words(options.power_modes)
    if words == [ALL]:
        return [*known]
    if mode is not None and mode not in known and not words:
        words = [mode]
    for word in words:
        if word not in known:
            left_out[f"{board.id} has no power mode {word}"] = None
    return [word for word in words if word in known] if words else [mode]


def _chosen(
    given: str | Sequence[str] | None, every: Sequence[str], known: Callable[[str], str], own: str
) -> Sequence[str]:
    words = _words(given)
    return every if words == [ALL] else [known(word) for word in words] or [own]


def _words(given: str | Sequence[str] | Sequence[int] | None) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else map(str, given or ())
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


def _batch(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(
            "--batches makes no sense", expected="numbers with commas, such as 1,8,32", received=repr(text)
        )
    batch = int(text)
    refuse_batch(batch)
    return batch
