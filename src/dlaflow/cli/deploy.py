"""`dlaflow deploy`: an engine and its manifest → the files that make another system use it, on the right DLA core."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Claim, Use, Written, refuse_overwriting
from dlaflow.api.deploy import DeployOptions, deploy_engine
from dlaflow.build.manifest import manifest_path
from dlaflow.cli import terminal
from dlaflow.cli.options import OutFolder, group
from dlaflow.deploy.systems import System
from dlaflow.files import record_json, together, write_atomic


@group
@dataclass(frozen=True, kw_only=True)
class Deploying(DeployOptions):
    """Where it will run."""

    json: Written | None = None
    """Also write what was made to this file (schema dlaflow.deploy/1)."""
    quiet: terminal.Quiet = False


def deploy(
    engine: Path,
    /,
    *,
    system: Annotated[System, Parameter(name="--for")],
    out: OutFolder,
    how: Deploying = Deploying(),
) -> None:
    """Write the files that make another system use an engine, on this DLA core, at run time.

    They come from the manifest that stands beside each engine of dlaflow; the engine itself may be on the board only.
    Systems that ignore the core (Isaac ROS, ONNX Runtime) say so first, with the way round.

    Examples:

        dlaflow deploy model.engine --for triton --core 0,1 --out deploy/triton

        dlaflow deploy model.engine --for python --at /opt/models --out deploy/python

        dlaflow deploy model.engine --for deepstream --measured bench.json --out deploy/deepstream

    Parameters
    ----------
    engine
        The engine, with its manifest ENGINE.json beside it.
    system
        What will run it.
    out
        The folder to write into; what stands there under the same names is replaced.
    """
    with together():
        made = deploy_engine(engine, system, out, how)
        if how.json is not None:
            written = [Claim("out", path, Use.WRITTEN) for path in made.files]
            manifest = Claim("manifest", manifest_path(engine), Use.READ)
            refuse_overwriting([manifest, *written, Claim("json", how.json, Use.WRITTEN)])
            write_atomic(how.json, record_json("dlaflow.deploy/1", made))
    terminal.say(*(f"note: {note}" for note in made.notes), stderr=True, quiet=how.quiet)
    place = f"DLA core {', '.join(map(str, made.cores))}" if made.cores else "the GPU"
    terminal.say(f"{made.engine} for {made.system} on {place}:", *map(str, made.files), quiet=how.quiet)
