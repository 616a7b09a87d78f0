"""What NVIDIA's open ONNX parser made of models, recorded outside of this repository, and how ours compares with it.

The recordings are a folder with `cases` (one operator each) and `networks` (whole ones): `NAME.tar.gz` holds the ONNX
files, `NAME.json.gz` by model and branch `ok`, `error` and `layers`. `DLAFLOW_PARSER` names the folder.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlaflow.errors import InputError
from dlaflow.graph.layer import Layer, Reading
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

BRANCHES = {"8.4.1": "8.4-GA", "8.5.2": "8.5-GA", "8.6.1": "8.6-GA", "10.1.0": "10.1-GA"}
"""The branch of onnx-tensorrt that stands for a release."""

KNOWN = {
    (name, "10.1.0"): "the recorder gives the plugin's output the channels of its input"
    for name in ("deformconv", "deformconv_N")
}
"""Shapes that the recorder has wrong."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Seen:
    """One layer: kind, name, shape of its first output (None where there is none)."""

    kind: str
    name: str
    shape: Shape | None

    def __str__(self) -> str:
        sizes = "" if self.shape is None else "x".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.kind} {self.name} {sizes}"


@dataclass(frozen=True)
class Goldens:
    """The recordings of one kind, their models unpacked into `folder`."""

    folder: Path
    records: dict[str, dict[str, Any]]

    def smallest(self, count: int) -> list[str]:
        """The models with the fewest layers."""
        return sorted(self.records, key=self._size)[:count]

    def _size(self, name: str) -> int:
        return max(len(record.get("layers", ())) for record in self.records[name].values())


def recordings() -> Path:
    """The folder of the recordings, whether it is there or not."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "parser"
    return Path(os.environ.get("DLAFLOW_PARSER", beside))


def unpack(which: str, folder: Path) -> Goldens:
    """`which` is `cases` or `networks`."""
    with tarfile.open(recordings() / f"{which}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    with gzip.open(recordings() / f"{which}.json.gz", "rt", encoding="utf-8") as file:
        return Goldens(folder / which, json.load(file))


def difference(goldens: Goldens, name: str, release: str) -> str | None:
    """In a few lines what we say otherwise than the parser; None when we agree or the recorder failed."""
    record = goldens.records[name].get(BRANCHES[release])
    if record is None or record["ok"] is None:
        return None
    try:
        network = lower(load_model(goldens.folder / f"{name}.onnx"), tensorrt=release)
    except InputError as error:
        return f"{name}: does not lower: {error}"
    refusals = [refusal for refusal in network.refusals if refusal.reading is not Reading.MISREAD]
    if not record["ok"]:
        return None if refusals else f"{name}: no refusal found, the parser says: {record['error'].strip()[:120]}"
    if refusals:
        return f"{name}: parsed, but {refusals[0].op} {refusals[0].node!r} is given as refused: {refusals[0].reason}"
    theirs = [_theirs(layer) for layer in record["layers"]]
    ours = [_ours(layer) for layer in sorted(network.layers, key=lambda layer: layer.index)]
    return _first_difference(name, theirs, ours, shapes=(name, release) not in KNOWN)


def _theirs(layer: dict[str, Any]) -> Seen:
    first = layer["outputs"][0] if layer["outputs"] else None
    shape = first.get("shape") if first else None
    known = None if shape is None else tuple(None if size < 0 else int(size) for size in shape)
    return Seen(layer["kind"], layer["name"], known)


def _ours(layer: Layer) -> Seen:
    return Seen(layer.kind, layer.name, layer.outputs[0].shape if layer.outputs else None)


def _first_difference(name: str, theirs: list[Seen], ours: list[Seen], *, shapes: bool) -> str | None:
    for place, (parser, mine) in enumerate(zip(theirs, ours, strict=False)):
        named = (parser.kind, parser.name) == (mine.kind, mine.name)
        if not named or (shapes and not _agree(parser.shape, mine.shape)):
            return f"{name}: layer {place}\n    parser {parser}\n    ours   {mine}"
    if len(theirs) != len(ours):
        return f"{name}: the parser makes {len(theirs)} layers, we {len(ours)}"
    return None


def _agree(theirs: Shape | None, ours: Shape | None) -> bool:
    """A size that the parser does not know agrees with any."""
    if theirs is None:
        return True
    if ours is None or len(theirs) != len(ours):
        return False
    return all(known is None or known == size for known, size in zip(theirs, ours, strict=True))
