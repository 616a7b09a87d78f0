"""What is put somewhere: an engine by its manifest, where it will lie, on which cores. All generators read this."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from dlaflow.build.manifest import EngineManifest, manifest_path, read_manifest_file
from dlaflow.build.tensors import EngineTensor, tensors_of
from dlaflow.errors import InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.targets.board import boards
from dlaflow.version import __version__
from dlaflow.visible import visible

_LARGEST = 2**31 - 1
"""TensorRT's sizes are numbers of 32 bits before 10.0."""
_MOST_CORES = 16
"""Of a board that is not known; those that are have two at most."""
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Generated:
    """What a generator made: `files` are (name below the folder, text); `notes` are what to know first."""

    files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """An engine on its way into another system.

    `folder` is where the engine and what is generated will lie on the board, `cores` are the DLA cores to run on, empty
    for an engine of the GPU. `tensors` are never empty.
    """

    engine: str
    folder: str
    manifest: EngineManifest
    tensors: tuple[EngineTensor, ...]
    cores: tuple[int, ...]

    def on(self, cores: Sequence[int]) -> Deployment:
        """The same on other cores. Raises UsageError for cores that the engine or its board does not have."""
        if cores and self.manifest.config.dla_core is None:
            received = f"--core {cores[0]}"
            raise UsageError("the engine was built for the GPU alone", expected="no --core", received=received)
        board = next((each for each in boards() if each.id == self.manifest.built_for.board), None)
        count = _MOST_CORES if board is None else board.dla_cores
        if not all(0 <= core < count for core in cores) or len(set(cores)) < len(cores):
            expected = f"each once, of {count}" + (f" on {board.id}" if board else "")
            received = ",".join(map(str, cores))
            raise UsageError("the cores make no sense", expected=expected, received=received)
        return replace(self, cores=tuple(cores))

    @property
    def path(self) -> str:
        """The engine on the board."""
        return posixpath.join(self.folder, self.engine)

    @property
    def name(self) -> str:
        """A name for files, units and models: letters, digits, `_` and `-` only."""
        return _PLAIN_NAME.sub("_", self.engine.rpartition(".")[0] or self.engine).strip("-_") or "engine"

    def beside(self, path: str) -> str:
        """A file of the build, such as the calibration cache, where it will lie on the board: beside the engine."""
        return posixpath.join(self.folder, PurePath(path).name)

    @property
    def inputs(self) -> tuple[EngineTensor, ...]:
        """The inputs, in the model's order."""
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    @property
    def outputs(self) -> tuple[EngineTensor, ...]:
        """The outputs, in the model's order."""
        return tuple(tensor for tensor in self.tensors if not tensor.is_input)

    @property
    def place(self) -> str:
        """`DLA core 1`, `DLA cores 0, 1` or `the GPU`."""
        if not self.cores:
            return "the GPU"
        return f"DLA core{'s' if len(self.cores) > 1 else ''} {', '.join(map(str, self.cores))}"

    def only_core(self, system: str) -> int | None:
        """The one core, None for the GPU. Raises UsageError for several, which `system` has no word for."""
        if len(self.cores) > 1:
            raise UsageError(
                f"--for {system} takes one core", expected="such as --core 1", received=f"--core {self.cores}"
            )
        return self.cores[0] if self.cores else None

    def facts(self) -> list[str]:
        """What stands at the head of each file: one line each, whatever the names hold."""
        manifest, built = self.manifest, self.manifest.built_for
        board = f", {built.board}" if built.board else ""
        lines = [
            f"Made by dlaflow {__version__} for '{self.engine}' on {self.place}.",
            f"Engine sha256 {manifest.engine.sha256}: TensorRT {built.tensorrt}{board}, {manifest.mode}, "
            f"{manifest.config.precision}. It serves only the release and the chip that built it.",
        ]
        lines += [
            f"{'Input' if tensor.is_input else 'Output'} '{tensor.name}': {tensor.type or 'type unknown'} "
            f"{'x'.join(map(str, tensor.shape)) or 'scalar'}, {'+'.join(tensor.layouts)}."
            for tensor in self.tensors
        ]
        return [visible(line) for line in [*lines, *self._traps()]]

    def _traps(self) -> list[str]:
        config, traps = self.manifest.config, list[str]()
        if not self.cores:
            return traps
        traps.append("The core is no part of the engine: whoever loads it sets the core, or TensorRT takes core 0.")
        if config.gpu_fallback:
            traps.append(
                "Built with GPU fallback: layers that left the DLA run on the GPU, and nothing says so at run time."
            )
        if config.precision == "int8" and config.scales == "none":
            traps.append("INT8 without scales: TensorRT invented the ranges. Its speed is real, its answers are not.")
        traps.append(
            "In a container: --runtime nvidia (not --gpus), and /dev/nvhost*nvdla* must be there. Who is not root "
            "is in the group video (JetPack 6: render too)."
        )
        return traps


def plan(
    engine: Path, *, model: Path | None = None, cores: Sequence[int] | None = None, folder: str | None = None
) -> Deployment:
    """The deployment of an engine whose manifest lies beside it; the engine itself may be on the board only.

    `cores` None takes the core that it was built for. Raises InputError for what no other system can load (a standalone
    loadable, an engine of TensorRT-RTX) and for files that do not belong together, UsageError for a core that makes no
    sense.
    """
    manifest = _manifest(engine)
    if manifest.mode == "standalone":
        raise InputError(
            f"{engine} is a standalone DLA loadable, which TensorRT's runtime and all that use it cannot load",
            expected="a hybrid engine",
            then="Run it with `dlaflow loadable run`, or build without --standalone.",
        )
    if manifest.built_for.product != "tensorrt":
        raise InputError(
            f"{engine} is an engine of TensorRT-RTX, which knows no DLA",
            expected="an engine of TensorRT",
            received=manifest.built_for.product,
        )
    place = str(engine.parent.absolute()) if folder is None else folder
    _require_text(engine.name, place)
    built = () if manifest.config.dla_core is None else (manifest.config.dla_core,)
    tensors = _tensors(engine, manifest, model)
    _refuse_impossible(engine, tensors)
    return Deployment(engine.name, place, manifest, tensors, ()).on(built).on(built if cores is None else cores)


def _refuse_impossible(engine: Path, tensors: Sequence[EngineTensor]) -> None:
    """Raises InputError for tensors that no engine has, which would make files that no system can read."""
    names = [tensor.name for tensor in tensors]
    sides = {tensor.is_input for tensor in tensors}
    wrong = "no input or no output" if len(sides) < 2 else ""
    wrong = wrong or ("one name twice" if len(set(names)) < len(names) else "")
    for tensor in tensors:
        scale = tensor.scale
        if not tensor.name or "\0" in tensor.name:
            wrong = f"the name {tensor.name!r}"
        elif not all(size == -1 or 0 < size <= _LARGEST for size in tensor.shape):
            wrong = f"{tensor.name} as {'x'.join(map(str, tensor.shape))}"
        elif scale is not None and not 0 < scale < math.inf:
            wrong = f"{tensor.name} with scale {scale}"
    if wrong:
        raise InputError(
            f"the manifest of {engine} tells tensors that no engine has",
            received=wrong,
            then="Build the engine again with `dlaflow build`.",
        )


def _manifest(engine: Path) -> EngineManifest:
    path = manifest_path(engine)
    if not path.is_file():
        raise InputError(
            f"{engine} has no manifest beside it",
            expected=path.name,
            then="`dlaflow build` and `remote BOARD build` write it: build the engine with one of them.",
        )
    manifest = read_manifest_file(path)
    if engine.is_file() and sha256_of(engine) != manifest.engine.sha256:
        raise InputError(
            f"{engine} is not the engine that its manifest describes",
            expected=f"sha256 {manifest.engine.sha256[:12]}...",
            then="Take the two from one build.",
        )
    for named in (manifest.model.path, manifest.config.cache):
        if named is not None and ("\0" in named or PurePath(named).name in ("", "..")):
            raise InputError(
                f"the manifest of {engine} names a file of the build that is none",
                expected="a model and a cache, which will lie beside the engine",
                received=repr(named),
                then="Build the engine again with `dlaflow build`.",
            )
    return manifest


def _tensors(engine: Path, manifest: EngineManifest, model: Path | None) -> tuple[EngineTensor, ...]:
    if model is None:
        if manifest.tensors:
            return manifest.tensors
        raise InputError(
            f"the manifest of {engine} does not tell its inputs and outputs",
            expected="a manifest of this version of dlaflow",
            received=f"one of {manifest.dlaflow}",
            then=f"Name the model that it was built from: --model {Path(manifest.model.path).name}.",
        )
    if sha256_of(model) != manifest.model.sha256:
        raise InputError(
            f"{engine} was not built from {model}",
            expected=f"sha256 {manifest.model.sha256[:12]}... ({manifest.model.path})",
            then="Name the model of that build.",
        )
    return tensors_of(model, manifest.config, manifest.built_for.tensorrt)


def _require_text(name: str, folder: str) -> None:
    """Raises for paths that the files of other systems, which are UTF-8 text, cannot hold."""
    try:
        (name + folder).encode()
    except UnicodeEncodeError:
        raise InputError(
            "the engine's path is no UTF-8", received=posixpath.join(folder, name), then="Rename it."
        ) from None
    if not posixpath.isabs(folder) or "\0" in folder:
        raise UsageError("--at is where the engine lies on the board", expected="an absolute path", received=folder)


def require_plain(deployment: Deployment, system: str) -> None:
    """Raises InputError for an input or output in a format of the DLA, which `system` does not pack."""
    for tensor in deployment.tensors:
        if not tensor.is_plain:
            raise InputError(
                f"{'input' if tensor.is_input else 'output'} {tensor.name} has a format for the DLA, and {system} "
                "copies values as they are",
                expected="chw",
                received=f"{tensor.type}:{'+'.join(tensor.layouts)}",
                then="Build without --input-format and --output-format.",
            )


def require_sizes(deployment: Deployment, system: str) -> None:
    """Raises InputError for an input whose size the manifest does not tell."""
    for tensor in deployment.inputs:
        if -1 in tensor.shape or not tensor.shape:
            raise InputError(
                f"the size of input {tensor.name} is not known, and {system} needs it",
                received=tensor.shape or "no dimensions",
                then="Build with --batch and --shape for what the model leaves open.",
            )
