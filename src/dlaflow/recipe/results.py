"""From the files of a run to its record and its report."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.estimate.answer import Speed
from dlaflow.estimate.text import speed_text
from dlaflow.files import together, write_atomic
from dlaflow.placement.switches import edges
from dlaflow.progress import Progress
from dlaflow.reading import DOCUMENT_BYTES, read_bytes
from dlaflow.recipe.data import RunData
from dlaflow.recipe.files import Files
from dlaflow.recipe.fingerprint import distribution_version
from dlaflow.recipe.schema import Recipe, VariantSection
from dlaflow.report.json import read_measurements, read_placement, run_json
from dlaflow.report.records import RunRecord, Variant, utc_now

_TITLES = {"cifar10": "CIFAR-10", "digits": "handwritten digits (not CIFAR-10)"}
_SHOWN = ("torch", "onnxruntime", "onnx", "numpy")


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the report tells besides numbers: the loud ones, and a line a board."""

    notices: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()


NO_REMARKS = Remarks()


class _Fixed(msgspec.Struct):
    speed: Speed | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """What the report is made of. `done` are the steps whose files are there, `on_boards` those done on each board."""

    recipe: Recipe
    files: Mapping[str, Files]
    done: tuple[str, ...]
    on_boards: tuple[str, ...]
    remarks: Remarks


def write_report(sources: Sources, data: RunData | None, folder: Path, progress: Progress) -> str:
    """Write `run.json` and the HTML report."""
    recipe, remarks = sources.recipe, sources.remarks
    from dlaflow.report.html import render

    with progress("Writing the report", None):
        run = RunRecord(
            recipe.name,
            utc_now(),
            _TITLES.get(data.name, data.name) if data else "",
            [*([data.notice] if data and data.notice else []), *remarks.notices, *_slower(sources)],
            [*_environment(), *remarks.boards, *_build_lines(sources)],
            [_variant(variant, sources) for variant in recipe.variant],
        )
        with together():
            write_atomic(folder / "run.json", run_json(run))
            write_atomic(folder / recipe.report.file, render(run))
    return str(folder / recipe.report.file)


def _variant(section: VariantSection, sources: Sources) -> Variant:
    recipe, files = sources.recipe, sources.files[section.name]
    placement = read_placement(files.placement) if "check" in recipe.steps else None
    numbers = [path for path in files.results(sources.done, sources.on_boards) if path != files.placement]
    measurements = [measurement for path in numbers for measurement in read_measurements(path)]
    connections = edges(placement.layers) if placement and recipe.report.graph else []
    change = "qat" if section.qat else section.rewrite or f"fix {section.fix}"
    note = section.note or (f"{section.source}, {change}" if section.source else "")
    return Variant(section.name, note, placement, measurements, connections)


def _slower(sources: Sources) -> Iterator[str]:
    """Each variant that its fix is estimated to make slower."""
    for section in sources.recipe.variant:
        path = sources.files[section.name].fix
        if section.fix and path.is_file():
            speed = msgspec.json.decode(read_bytes(path, DOCUMENT_BYTES), type=_Fixed).speed
            if speed and speed.slower:
                yield f"{section.name}: {speed_text(speed)}"


def _build_lines(sources: Sources) -> list[str]:
    """The line that builds the engine of each variant on a board."""
    written = [(name, files.build_line) for name, files in sources.files.items() if "build" in sources.done]
    return [f"To build {name} on the board: {path.read_text(encoding='utf-8').strip()}" for name, path in written]


def _environment() -> list[str]:
    versions = [f"{name} {version}" for name in _SHOWN if (version := distribution_version(name))]
    return [f"Python {platform.python_version()}, {', '.join(versions)}", f"{platform.system()} {platform.machine()}"]
