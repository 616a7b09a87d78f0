"""How trtexec measures and reports once the engine is there. The defaults are trtexec's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlaflow.targets.features import trtexec_options
from dlaflow.targets.version import Version


@dataclass(frozen=True, slots=True)
class Measuring:
    """Times in the units that trtexec takes: `warm_up` and `idle` in milliseconds, `duration` in seconds.

    None leaves trtexec's default. `data_transfers` False leaves the copies to and from the device out;
    `export_*` are files that trtexec writes.
    """

    skip: bool = False
    iterations: int | None = None
    duration: int | None = None
    warm_up: int | None = None
    idle: int | None = None
    average_runs: int | None = None
    spin_wait: bool = False
    cuda_graph: bool = False
    data_transfers: bool = True
    separate_profile_run: bool = False
    dump_profile: bool = False
    dump_layer_info: bool = False
    export_times: str | None = None
    export_profile: str | None = None
    export_layer_info: str | None = None
    export_output: str | None = None
    verbose: bool = False


BUILD_ONLY = Measuring(skip=True)
"""Build, save, leave."""

WALKTHROUGH = Measuring(spin_wait=True, separate_profile_run=True)
"""As the walk-through measures; add `export_profile`."""

CAPTURE = Measuring(iterations=10, idle=500, duration=0, spin_wait=True)
"""Ten runs half a second apart: a time line under nsys in which each run can be told apart."""


def measuring_for(tensorrt: str, profile: str) -> Measuring:
    """The walk-through's measurement with the layer profile in the file `profile`, as far as the release can do both.

    Before 7.2.1 a profile would disturb the measurement, so there is none.
    """
    if not trtexec_options()["separateProfileRun"].known_to(Version.parse(tensorrt)):
        return replace(WALKTHROUGH, separate_profile_run=False)
    return replace(WALKTHROUGH, export_profile=profile)
