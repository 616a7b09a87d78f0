"""The files that a board leaves for one variant, in a folder of its own beside the variant's other files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BoardFiles:
    """`folder` is `RUN/VARIANT/on-BOARD`."""

    folder: Path

    @classmethod
    def of(cls, variant: Path, board: str) -> BoardFiles:
        """The files of `board` (any text) under the folder of a variant."""
        return cls(variant / f"on-{plain(board)}")

    @property
    def dla(self) -> Path:
        return self.folder / "dla.engine"

    @property
    def gpu(self) -> Path:
        return self.folder / "gpu.engine"

    @property
    def profile(self) -> Path:
        return self.folder / "profile.json"

    @property
    def accuracy(self) -> Path:
        return self.folder / "accuracy.json"

    @property
    def bench(self) -> Path:
        return self.folder / "bench.json"

    def results(self, steps: Collection[str]) -> list[Path]:
        """The files with numbers, of the steps that were done there."""
        found = {"profile": self.profile, "evaluate": self.accuracy, "bench": self.bench}
        return [path for step, path in found.items() if step in steps]


def plain(name: str) -> str:
    """A board's name as a part of a file name."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in name)
