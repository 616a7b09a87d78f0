"""The files of a run: of each variant, and of each board that built and measured it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

BUILD_LINE = "build.sh"
"""The file with the line that builds an engine on a board."""


class _Inside:
    """The path of a file with this name in the folder of its owner."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: BoardFiles | Files, kind: type | None = None) -> Path:
        return owner.folder / self._name


@dataclass(frozen=True, slots=True)
class BoardFiles:
    """What a board leaves for a variant; `folder` is `RUN/VARIANT/on-BOARD`."""

    folder: Path

    dla = _Inside("dla.engine")
    gpu = _Inside("gpu.engine")
    profile = _Inside("profile.json")
    accuracy = _Inside("accuracy.json")
    bench = _Inside("bench.json")

    @classmethod
    def of(cls, variant: Path, board: str) -> BoardFiles:
        """The files of `board` (any text) under the folder of a variant."""
        return cls(variant / f"on-{plain(board)}")

    def results(self, steps: Collection[str]) -> list[Path]:
        """The files with numbers, of the steps that were done on the board."""
        found = {"profile": self.profile, "evaluate": self.accuracy, "bench": self.bench}
        return [path for step, path in found.items() if step in steps]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one variant in the folder of the run; `model` may lie elsewhere (a file of the user's own).

    `boards` are those that left numbers of their own.
    """

    folder: Path
    model: Path
    boards: tuple[str, ...] = ()

    weights = _Inside("weights.safetensors")
    placement = _Inside("placement.json")
    fix = _Inside("fix.json")
    estimate = _Inside("estimate.json")
    cache = _Inside("calib.cache")
    sensitivity = _Inside("sensitivity.json")
    int8 = _Inside("model.int8.onnx")
    fp16 = _Inside("model.fp16.onnx")
    accuracy = _Inside("accuracy.json")
    build_line = _Inside(BUILD_LINE)
    engine = _Inside("model.engine")

    def results(self, steps: Collection[str], on_boards: Collection[str] = ()) -> list[Path]:
        """The files that the report reads: those of `steps`, and on each board those of `on_boards`."""
        found = {
            "check": self.placement,
            "estimate": self.estimate,
            "sensitivity": self.sensitivity,
            "evaluate": self.accuracy,
        }
        own = [path for step, path in found.items() if step in steps]
        return own + [path for board in self.boards for path in BoardFiles.of(self.folder, board).results(on_boards)]


def plain(name: str) -> str:
    """A board's name as a part of a file name."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in name)
