"""What a reader must know before trusting a log: the traps that real logs have set."""

from __future__ import annotations

import re

from dlaflow.parse.log import LogRun, Note

_ARGUMENT = re.compile(r"--(\w+)(?:=(\S+))?")
_POOL_SUFFIX = re.compile(r"(dla\w+|workspace):(\d+(?:\.\d+)?)([A-Za-z]+)")


def flags_of(command: str) -> dict[str, str]:
    """The options of a trtexec command line; an option without a value maps to an empty string."""
    return {name: value or "" for name, value in _ARGUMENT.findall(command)}


def notes_of(run: LogRun) -> tuple[Note, ...]:
    """All that applies to `run`."""
    return tuple(note for check in _CHECKS for note in check(run))


def _ending(run: LogRun) -> list[Note]:
    if run.command and not run.result:
        return [Note("truncated", "The run has no PASSED or FAILED line: the log is cut, or the program was stopped.")]
    return []


def _version(run: LogRun) -> list[Note]:
    if run.command and run.tensorrt is None:
        return [
            Note("version_unknown", "TensorRT 5.x to 7.x do not print their version: the package manager tells it.")
        ]
    return []


def _stderr(run: LogRun) -> list[Note]:
    counts = dict(run.levels)
    if any(counts.get(level) for level in "WEF") or not counts.get("I"):
        return []
    if run.result == "FAILED":
        text = "The run failed and holds no error line: stderr was not captured, so the cause is not here."
    elif run.placement.gpu and flags_of(run.command).get("useDLACore") is not None:
        text = (
            "Layers fell back to the GPU but no warning is here: stderr was not captured, so the reasons are missing."
        )
    else:
        text = "No warning or error line: either there was none, or stderr was not captured."
    return [Note("stderr_missing", f"{text} Run trtexec with 2>&1.")]


def _calibration(run: LogRun) -> list[Note]:
    notes = []
    flags = flags_of(run.command)
    if any(problem.reason == "made_up_ranges" for problem in run.problems):
        notes.append(
            Note("made_up_ranges", "INT8 without calibration: the ranges are invented. Speed is real, accuracy is not.")
        )
    elif ("int8" in flags or "best" in flags) and not flags.get("calib") and flags.get("loadEngine") is None:
        notes.append(
            Note(
                "no_calibration",
                "INT8 was asked for without --calib: unless the model has Q/DQ nodes, every range is invented.",
            )
        )
    if flags.get("calib") and run.figures.calibrated:
        notes.append(
            Note(
                "random_calibration",
                f"{flags['calib']} was not read but made: trtexec calibrated on one random batch. Check the file.",
            )
        )
    missing = sum(problem.reason == "missing_scale" for problem in run.problems)
    if missing:
        text = f"{missing} tensors have no scale and keep their layers from INT8."
        cache = " If these are nearly all, the cache was refused: see its first line." if flags.get("calib") else ""
        notes.append(Note("missing_scales", text + cache))
    if any(problem.reason == "calibration_cache_header" for problem in run.problems):
        notes.append(Note("calibration_cache_header", "The calibration cache was refused: see its first line."))
    return notes


def _names(run: LogRun) -> list[Note]:
    foreign = [layer for layer in run.engine_layers if "{ForeignNode[" in layer.name and layer.kind == "Myelin"]
    if not foreign:
        return []
    text = f"{len(foreign)} ForeignNode layers are Myelin nodes on the GPU: the name alone does not mean DLA."
    return [Note("foreign_node_on_gpu", text)]


def _candidates(run: LogRun) -> list[Note]:
    offloaded, candidates = run.dla.offloaded, run.dla.candidates
    if offloaded is None or candidates is None or offloaded >= candidates:
        return []
    text = f"The DLA compiler took {offloaded} of {candidates} candidates: the printed placement is not the final one."
    return [Note("candidates_refused", text)]


def _release(run: LogRun) -> list[Note]:
    if not (run.tensorrt or "").startswith(("11.0", "11.1")) or "useDLACore" not in flags_of(run.command):
        return []
    return [Note("release_without_dla", f"TensorRT {run.tensorrt} has no DLA support.")]


def _pools(run: LogRun) -> list[Note]:
    pools = flags_of(run.command).get("memPoolSize", "")
    suffixed = [match.group(0) for match in _POOL_SUFFIX.finditer(pools)]
    if not suffixed:
        return []
    text = (
        f"{', '.join(suffixed)}: 8.4 to 10.0 ignore the suffix, later releases read its last letter alone "
        "(MiB means bytes). Give a plain number of MiB."
    )
    return [Note("pool_suffix", text)]


def _timing(run: LogRun) -> list[Note]:
    notes = []
    for problem in run.problems:
        if "GPU compute time is unstable" in problem.text:
            notes.append(Note("unstable", problem.text.strip(" *")))
        elif "Throughput may be bound by" in problem.text:
            notes.append(Note("bound", problem.text.strip(" *")))
    if run.profile is not None and run.performance is None:
        notes.append(
            Note("profiled", "The profiler was on, so no summary is printed: add --separateProfileRun for both.")
        )
    return notes


def _rows(run: LogRun) -> list[Note]:
    if run.profile is None or not any(_is_old_copy(row.name) for row in run.profile.rows):
        return []
    text = "This release books the DLA's time on the copies beside the DLA node: rows are summed per DLA region."
    return [Note("time_on_neighbour_row", text)]


def _is_old_copy(name: str) -> bool:
    return name.endswith((" to nvm", " from nvm")) or "} output reformatter" in name or "} output to be ref" in name


_CHECKS = (_ending, _version, _stderr, _calibration, _names, _candidates, _release, _pools, _timing, _rows)
