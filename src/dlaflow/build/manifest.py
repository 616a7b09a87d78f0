"""The JSON beside every engine: what it was built from, by whom and for what, checked before the engine is loaded.

An engine serves only the TensorRT release and the chip that built it, and TensorRT's own complaint says neither; the
manifest does. It also pins the model, the cache and every option by hash.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.build.config import BuildConfig
from dlaflow.build.tensors import EngineTensor, tensors_of
from dlaflow.errors import InputError, UsageError
from dlaflow.files import json_bytes, sha256_of, waiting, write_atomic
from dlaflow.reading import read_bytes
from dlaflow.targets.version import Version
from dlaflow.version import __version__

SCHEMA = "dlaflow.engine/1"


@dataclass(frozen=True, slots=True)
class FileMark:
    """A file by name and content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class BuiltFor:
    """What the engine was built for: `product` is tensorrt or tensorrt_rtx, `compute_capability` such as 8.7.

    Empty strings are unknown; for TensorRT-RTX `gpus` names the targets instead.
    """

    product: str
    tensorrt: str
    board: str = ""
    jetpack: str = ""
    compute_capability: str = ""
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """Everything known of an engine. `seconds` is the time of the build, `created` in UTC.

    `tensors` are its inputs and outputs: none where the model is no ONNX file, or in a manifest older than they.
    """

    schema: str
    dlaflow: str
    engine: FileMark
    bytes: int
    model: FileMark
    cache: FileMark | None
    built_for: BuiltFor
    via: str
    mode: str
    config: BuildConfig
    command: tuple[str, ...]
    seconds: float
    created: str
    cautions: tuple[str, ...] = ()
    tensors: tuple[EngineTensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Here:
    """The machine that is about to load an engine; empty strings are unknown and match anything."""

    product: str
    tensorrt: str
    compute_capability: str = ""


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """How an engine came about: the way, the command (trtexec's arguments, or empty), its seconds and its cautions."""

    via: str
    seconds: float
    command: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def manifest_path(engine: Path) -> Path:
    """`model.engine` → `model.engine.json`."""
    return engine.with_name(f"{engine.name}.json")


def write_manifest(
    engine: Path, model: Path, config: BuildConfig, built_for: BuiltFor, record: BuildRecord
) -> EngineManifest:
    """Write the manifest of a finished engine and return it.

    Raises InputError when a file cannot be read or written.
    """
    manifest = EngineManifest(
        schema=SCHEMA,
        dlaflow=__version__,
        engine=FileMark(engine.name, sha256_of(waiting(engine))),
        bytes=waiting(engine).stat().st_size,
        model=FileMark(str(model), sha256_of(model)),
        cache=FileMark(config.cache, sha256_of(config.cache)) if config.cache else None,
        built_for=built_for,
        via=record.via,
        mode=config.mode,
        config=config,
        command=record.command,
        seconds=round(record.seconds, 3),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        cautions=record.cautions,
        tensors=_tensors(model, config, built_for),
    )
    write_atomic(manifest_path(engine), json_bytes(manifest, indent=2))
    return manifest


def _tensors(model: Path, config: BuildConfig, built_for: BuiltFor) -> tuple[EngineTensor, ...]:
    """Of a Caffe model nothing is known; a manifest goes without rather than that a finished engine has none."""
    with suppress(InputError, UsageError):
        return tensors_of(model, config, built_for.tensorrt)
    return ()


def read_manifest(engine: Path) -> EngineManifest | None:
    """The manifest beside an engine; None when there is none.

    Raises InputError when it cannot be understood.
    """
    path = manifest_path(engine)
    return read_manifest_file(path) if path.exists() else None


def read_manifest_file(path: Path) -> EngineManifest:
    """A manifest by its own path.

    Raises InputError when it cannot be read or understood.
    """
    content = read_bytes(path)
    try:
        return msgspec.json.decode(content, type=EngineManifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{path} is not an engine manifest", expected=SCHEMA, received=str(error), then="Build the engine again."
        ) from None


def verify(engine: Path, here: Here) -> EngineManifest | None:
    """Check an engine against its manifest and this machine before it is loaded; None when it has no manifest.

    Raises InputError that explains the first mismatch: another file, a standalone loadable, another product, release or
    chip.
    """
    if not engine.is_file():
        raise InputError(f"cannot read {engine}", received="no such file", then="Build it with `dlaflow build`.")
    manifest = read_manifest(engine)
    if manifest is None:
        return None
    actual = sha256_of(engine)
    if actual != manifest.engine.sha256:
        raise InputError(
            f"{engine} is not the engine that its manifest describes",
            expected=f"sha256 {manifest.engine.sha256[:12]}...",
            received=f"{actual[:12]}...",
            then=f"Build it again, or remove {manifest_path(engine).name} if you replaced the engine on purpose.",
        )
    if manifest.mode == "standalone":
        raise InputError(
            f"{engine} is a standalone DLA loadable, which TensorRT's runtime cannot load",
            expected="a hybrid engine",
            received="standalone",
            then="Run it with cuDLA, or build it without --standalone.",
        )
    built = manifest.built_for
    _require_same("product", built.product, here.product, engine)
    if not manifest.config.version_compatible:
        _require_same("TensorRT release", _release(built.tensorrt), _release(here.tensorrt), engine)
    _require_same("compute capability", built.compute_capability, here.compute_capability, engine)
    gpu = f"sm{here.compute_capability.replace('.', '')}"
    if built.gpus and here.compute_capability and gpu not in built.gpus:
        _require_same("GPU", ", ".join(built.gpus), gpu, engine)
    return manifest


def _release(text: str) -> str:
    """Without the build number, which trtexec and the bindings do not both tell."""
    return str(Version.parse(text).release) if text else ""


def _require_same(what: str, built: str, here: str, engine: Path) -> None:
    if built and here and built != here:
        raise InputError(
            f"{engine} was built for another {what}",
            expected=f"{built} (as built)",
            received=f"{here} (this machine)",
            then="An engine serves only the release and the chip that built it: build it again here.",
        )
