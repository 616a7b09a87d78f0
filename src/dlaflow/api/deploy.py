"""deploy: an engine and its manifest → the files that make another system use it, on the right DLA core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from dlaflow.api.claims import Claim, Use, refuse_overwriting
from dlaflow.api.keywords import File, keywords
from dlaflow.build.manifest import manifest_path
from dlaflow.deploy.measured import choose_core
from dlaflow.deploy.plan import plan
from dlaflow.deploy.systems import SYSTEMS, System
from dlaflow.errors import UsageError, unknown_name
from dlaflow.files import is_stdout, together, write_atomic
from dlaflow.report.json import read_measurements


@dataclass(frozen=True, kw_only=True)
class DeployOptions:
    """Where and on which cores an engine will run."""

    core: str | Sequence[int] | None = None
    """The DLA core, such as 1; for triton, deepstream and systemd also several, 0,1. Default: the one it was built for,
    or what --measured says."""
    at: str | None = None
    """The folder on the board where the engine will lie. Default: where it lies here."""
    model: File | None = None
    """The ONNX model, for a manifest of an older dlaflow that does not tell inputs and outputs."""
    measured: File | None = None
    """Measurements of `dlaflow remote BOARD bench --dla ENGINE --json FILE`: the core that keeps most of its rate."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was made: `files` in the order of use, `cores` empty for the GPU, `notes` what to know first."""

    system: str
    engine: str
    cores: tuple[int, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def deploy_engine(engine: Path, system: str, out: Path, options: DeployOptions) -> Deployed:
    """Write the files for `system` into the folder `out`, all of them or none.

    Raises UsageError for what the system cannot be told and for a file that would go over an input, InputError for a
    manifest that is absent, too old or of another engine.
    """
    if system not in SYSTEMS:
        raise unknown_name("system", system, SYSTEMS)
    if is_stdout(out):
        raise UsageError("--out is a folder, and several files go into it", received=out, then="Name a folder.")
    model = Path(options.model) if options.model is not None else None
    deployment, notes = plan(engine, model=model, cores=_cores(options.core), folder=options.at), tuple[str, ...]()
    if options.measured is not None:
        measured = Path(options.measured)
        choice = choose_core(read_measurements(measured), measured, deployment.manifest.engine.sha256)
        notes = choice.notes
        if options.core is None and choice.core is not None:
            deployment = deployment.on((choice.core,))
    generated = SYSTEMS[system](deployment)
    texts = {out / name: text for name, text in generated.files}
    given = (engine, manifest_path(engine), model, options.measured)
    read = [Claim("what is read", Path(path), Use.READ) for path in given if path is not None]
    refuse_overwriting([*read, *(Claim("out", path, Use.WRITTEN) for path in texts)])
    with together():
        for path, text in texts.items():
            write_atomic(path, text)
    return Deployed(system, deployment.path, deployment.cores, tuple(texts), (*generated.notes, *notes))


def _cores(given: str | Sequence[int] | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    listed = given.split(",") if isinstance(given, str) else given if isinstance(given, Sequence) else [given]
    words = [str(core) for core in listed]
    if not words or not all(word.strip().isascii() and word.strip().isdigit() and len(word) < 4 for word in words):
        raise UsageError("cannot read the DLA cores", expected="such as 1 or 0,1", received=repr(given))
    return tuple(int(word) for word in words)


@dataclass(frozen=True, kw_only=True)
class DeployArguments(DeployOptions):
    """The arguments of `deploy`."""

    engine: File = field(kw_only=False)
    """The engine, with its manifest ENGINE.json beside it."""
    system: System
    """What will run it."""
    out: Annotated[File, Use.FOLDER]
    """The folder to write into."""


@keywords(DeployArguments)
def deploy(given: DeployArguments) -> Deployed:
    """Write the files that make a system use an engine on its DLA core; `notes` of the answer are to be read first.

    Raises UsageError and InputError for what cannot be put there.
    """
    return deploy_engine(Path(given.engine), given.system, Path(given.out), given)
