"""The files of one profile, read: whatever is given, in any combination."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.exports import (
    LayerInfo,
    TimesFile,
    parse_dumped_layers,
    parse_layer_info,
    parse_profile,
    parse_times,
)
from dlaflow.parse.log import LogRun, Outcome, Profile
from dlaflow.parse.nsys import HardwareTask, read_hardware_tasks
from dlaflow.parse.tegrastats import Tegrastats, parse_tegrastats
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.capture import CaptureSummary, summarise_capture


@dataclass(frozen=True, slots=True)
class Files:
    """The paths of one profile; all optional."""

    log: Path | None = None
    layer_times: Path | None = None
    layer_info: Path | None = None
    times: Path | None = None
    nsys: Path | None = None
    tegrastats: Path | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the files hold. `name` is that of the first file; of the log's `runs` the first is taken.

    `outcome` is that of the first run that failed, else that of the first.
    """

    name: str
    run: LogRun | None = None
    runs: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    profile: Profile | None = None
    layer_info: LayerInfo | None = None
    times: TimesFile | None = None
    capture: CaptureSummary | None = None
    hardware: tuple[HardwareTask, ...] = ()
    power: Tegrastats | None = None


_EXPECTED = {
    "log": {Kind.TRTEXEC_LOG, Kind.TENSORRT_LOG},
    "layer_times": {Kind.PROFILE},
    "layer_info": {Kind.LAYER_INFO},
    "times": {Kind.TIMES},
    "nsys": {Kind.NSYS_SQLITE},
    "tegrastats": {Kind.TEGRASTATS},
}
_OPTION_OF = {kind: option for option, kinds in _EXPECTED.items() for kind in kinds}


def read_evidence(files: Files) -> Evidence:
    """Read the files. The profile comes from its own file, or else from the log's table.

    Raises InputError when a file cannot be read, is of another kind than its option says, or holds nothing.
    """
    log = parse_log(_checked("log", files.log)) if files.log else None
    run = log.runs[0] if log and log.runs else None
    kinds = (files.log, files.layer_times, files.nsys, files.layer_info, files.times, files.tegrastats)
    given = [path for path in kinds if path]
    table = run.profile if run else None
    found = Evidence(
        name=given[0].stem if given else "profile",
        run=run,
        runs=len(log.runs) if log else 0,
        outcome=log.outcome if log else Outcome(),
        profile=_profile(_checked("layer_times", files.layer_times)) if files.layer_times else table,
        layer_info=parse_layer_info(_checked("layer_info", files.layer_info)) if files.layer_info else _dumped(run),
        times=parse_times(_checked("times", files.times)) if files.times else None,
        capture=summarise_capture(_checked("nsys", files.nsys)) if files.nsys else None,
        hardware=read_hardware_tasks(files.nsys) if files.nsys else (),
        power=parse_tegrastats(_checked("tegrastats", files.tegrastats)) if files.tegrastats else None,
    )
    _check_one_engine(found)
    return found


_FEW = 3
"""Fewer names than this in a file prove nothing."""


def _check_one_engine(evidence: Evidence) -> None:
    """Refuse files that share no layer: they are of different engines, and any sum over both would be wrong."""
    run, profile, info, capture = evidence.run, evidence.profile, evidence.layer_info, evidence.capture
    names: dict[str, set[str]] = {
        "log": _names_in(run) if run else set(),
        "profile": {row.name for row in profile.rows} if profile else set(),
        "layer information": {layer.name for layer in info.layers} if info else set(),
        "capture": {layer.name for layer in capture.layer_times} if capture else set(),
    }
    telling = [(kind, each) for kind, each in names.items() if len(each) >= _FEW]
    for (one, here), (other, there) in combinations(telling, 2):
        if here.isdisjoint(there):
            raise InputError(
                f"the {one} and the {other} of {evidence.name} are of different engines",
                expected="shared layer names",
                received="none",
                then="Give files of one engine; with several profiles, the nth file of each kind belongs together.",
            )


def _names_in(run: LogRun) -> set[str]:
    """The names of the engine's layers that a log tells; the list of single layers of 10.x names no engine layers."""
    if run.engine_layers:
        return {layer.name for layer in run.engine_layers}
    on_dla = {node.raw for node in run.placement.dla} if run.placement.style != "layers" else set()
    return on_dla | {node.name for node in run.placement.gpu}


def option_for(path: Path) -> str:
    """The field of `Files` that a file belongs to, by its content.

    Raises InputError for a file that no profile is made of.
    """
    kind = detect(path)
    if kind is Kind.NSYS_REPORT:
        raise InputError(
            f"{path} is an Nsight Systems report",
            expected="its SQLite export",
            then=f"Run `nsys export --type sqlite --force-overwrite=true -o {path.stem}.sqlite {path}`.",
        )
    if kind not in _OPTION_OF:
        expected = "a trtexec log, an exported profile, layer information, times, an Nsight SQLite or tegrastats"
        raise InputError(f"{path} is nothing to profile with", expected=expected, received=kind.value)
    return _OPTION_OF[kind]


def _checked(option: str, path: Path | None) -> Path:
    assert path is not None
    if option_for(path) != option:
        kinds = " or ".join(sorted(kind.value for kind in _EXPECTED[option]))
        raise InputError(
            f"{path} does not fit --{option.replace('_', '-')}", expected=kinds, received=detect(path).value
        )
    return path


def _dumped(run: LogRun | None) -> LayerInfo | None:
    """The layer information that --dumpLayerInfo put into the log."""
    layers = parse_dumped_layers(run.layer_information) if run else ()
    return LayerInfo(layers, (), any(layer.type for layer in layers)) if layers else None


def _profile(path: Path) -> Profile:
    found = parse_profile(path)
    if not found.profiles:
        raise InputError(f"{path} holds no profile", expected="the file of --exportProfile", received="no rows")
    return found.profiles[0]
