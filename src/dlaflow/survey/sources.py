"""From the words of a command to models: files, folders, packages of public architectures, and programs that export."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import EnvironmentLacksError, InputError, UsageError, unknown_name
from dlaflow.files import sha256_of
from dlaflow.process import run_logged
from dlaflow.survey.records import Surveyed
from dlaflow.targets.target import Target
from dlaflow.zoo.export import choose_opset
from dlaflow.zoo.public import PACKAGES, Public, exported, listed

ULTRALYTICS = "ultralytics"
_PROGRAM = "yolo"
"""The command of the package ultralytics (AGPL): started where the user has it, and imported nowhere."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TASKS = {"seg": "segmentation", "pose": "pose", "cls": "classification", "obb": "detection"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: an ONNX file, or (`path` empty) what the package before the colon makes.

    `shape` is channels, height, width of what is exported; None: the one that it is meant for.
    """

    model: Surveyed
    path: str = ""
    public: Public | None = None
    shape: tuple[int, int, int] | None = None


def sources_of(words: Sequence[str], shape: tuple[int, int, int] | None = None) -> list[Source]:
    """The models that the words name, each once.

    Raises UsageError for a package that nobody knows, InputError for a path that holds no model and for a pattern that
    fits none, EnvironmentLacksError without the package or program.
    """
    found: dict[str, Source] = {}
    for word in words:
        for source in _sources(word, shape):
            found.setdefault(source.model.name, source)
    if not found:
        raise UsageError("nothing to survey", expected="ONNX files, folders, or timm:PATTERN")
    return list(found.values())


def _sources(word: str, shape: tuple[int, int, int] | None) -> list[Source]:
    package, colon, pattern = word.partition(":")
    path = Path(word)
    if path.is_dir():
        if not (files := sorted(path.rglob("*.onnx"))):
            raise InputError(f"{word} holds no model", expected="files that end with .onnx")
        return [_of_file(each) for each in files]
    if not colon or path.exists() or word.endswith(".onnx"):
        return [_of_file(path)]
    if package == ULTRALYTICS:
        return [_of_program(pattern, shape)]
    if package not in PACKAGES:
        raise unknown_name("source of models", package, [*PACKAGES, ULTRALYTICS])
    return [
        Source(Surveyed(f"{package}:{each.name}", each.family, each.task, each.version), public=each, shape=shape)
        for each in listed(package, pattern)
    ]


def _of_file(path: Path) -> Source:
    return Source(Surveyed(str(path), path.absolute().parent.name, "", sha256_of(path)), str(path.absolute()))


def _of_program(name: str, shape: tuple[int, int, int] | None) -> Source:
    if shutil.which(_PROGRAM) is None:
        raise EnvironmentLacksError(
            f"{ULTRALYTICS}:{name} needs the program {_PROGRAM}, which is not installed",
            then="It is the command of the package ultralytics, which you install yourself (its licence is AGPL).",
        )
    if not _NAME.fullmatch(name):
        raise UsageError("no model of ultralytics", expected="a name such as yolo11n or yolov8n-seg", received=name)
    base, _, kind = name.partition("-")
    return Source(Surveyed(f"{ULTRALYTICS}:{name}", base.rstrip("nsmlx"), _TASKS.get(kind, "detection")), shape=shape)


def model_file(source: Source, target: Target, folder: Path) -> Path:
    """The model as an ONNX file: the user's own, or one that is exported into `folder`.

    Raises InputError where it cannot be made, and what the package or program lacks.
    """
    if source.path:
        return Path(source.path)
    out, opset = folder / "model.onnx", choose_opset(None)
    if out.exists():
        return out
    if source.public is not None:
        out.write_bytes(exported(source.public, opset, target.batch or 1, source.shape))
        return out
    name = source.model.name.partition(":")[2]
    sides = source.shape or (3, 640, 640)
    # From a .yaml it exports the network with random weights, and fetches nothing.
    words = [f"model={name}.yaml", "format=onnx", f"imgsz={sides[1]},{sides[2]}", f"opset={opset}"]
    log = folder / "export.log"
    outcome = run_logged([_PROGRAM, "export", *words], log, cwd=folder)
    written = sorted(folder.glob("*.onnx"))
    if outcome.exit_code or not written:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise InputError(f"{_PROGRAM} exports no {name}: {lines[-1][:300] if lines else 'it says nothing'}")
    return written[0].rename(out)
