"""What a reader must know before trusting a log: the traps that real logs have set."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dlaflow.parse.log import LogRun, Note

_WITHOUT_DLA = ("11.0.", "11.1.", "11.2.", "11.3.")
"""As targets/features.toml has it (parse asks no other package)."""
_ARGUMENT = re.compile(r"--(\w+)(?:=(\S+))?")
_POOL_SUFFIX = re.compile(r"(dla\w+|workspace):(\d+(?:\.\d+)?)([A-Za-z]+)")


def flags_of(command: str) -> dict[str, str]:
    """The options of a trtexec command line; an option without a value maps to an empty string."""
    return {name: value or "" for name, value in _ARGUMENT.findall(command)}


def notes_of(run: LogRun) -> tuple[Note, ...]:
    """All that applies to `run`."""
    return tuple(note for check in _CHECKS for note in check(run))


def _of_output(run: LogRun) -> Iterator[Note]:
    """What is missing from the log itself."""
    if run.command and not run.result:
        yield Note("truncated", "The run has no PASSED or FAILED line: the log is cut, or the program was stopped.")
    if run.command and run.tensorrt is None:
        yield Note("version_unknown", "TensorRT 5.x to 7.x do not print their version: the package manager tells it.")
    counts = dict(run.levels)
    if any(counts.get(level) for level in "WEF") or not counts.get("I"):
        return
    if run.result == "FAILED":
        text = "The run failed and holds no error line: stderr was not captured, so the cause is not here."
    elif run.placement.gpu and flags_of(run.command).get("useDLACore") is not None:
        text = (
            "Layers fell back to the GPU but no warning is here: stderr was not captured, so the reasons are missing."
        )
    else:
        text = "No warning or error line: either there was none, or stderr was not captured."
    yield Note("stderr_missing", f"{text} Run trtexec with 2>&1.")


def _of_calibration(run: LogRun) -> Iterator[Note]:
    flags, reasons = flags_of(run.command), [problem.reason for problem in run.problems]
    if "made_up_ranges" in reasons:
        yield Note(
            "made_up_ranges", "INT8 without calibration: the ranges are invented. Speed is real, accuracy is not."
        )
    elif ("int8" in flags or "best" in flags) and not flags.get("calib") and flags.get("loadEngine") is None:
        text = "INT8 was asked for without --calib: unless the model has Q/DQ nodes, every range is invented."
        yield Note("no_calibration", text)
    if flags.get("calib") and run.figures.calibrated:
        text = f"{flags['calib']} was not read but made: trtexec calibrated on one random batch. Check the file."
        yield Note("random_calibration", text)
    if missing := reasons.count("missing_scale"):
        text = f"{missing} tensor{' has' if missing == 1 else 's have'} no scale, which keeps layers from INT8."
        cache = " If these are nearly all, the cache was refused: see its first line." if flags.get("calib") else ""
        yield Note("missing_scales", text + cache)
    if "calibration_cache_header" in reasons:
        yield Note("calibration_cache_header", "The calibration cache was refused: see its first line.")


def _of_placement(run: LogRun) -> Iterator[Note]:
    foreign = sum("{ForeignNode[" in layer.name and layer.kind == "Myelin" for layer in run.engine_layers)
    if foreign:
        text = f"{foreign} ForeignNode layers are Myelin nodes on the GPU: the name alone does not mean DLA."
        yield Note("foreign_node_on_gpu", text)
    taken, candidates = run.dla.offloaded, run.dla.candidates
    if taken is not None and candidates is not None and taken < candidates:
        text = f"The DLA compiler took {taken} of {candidates} candidates: the printed placement is not the final one."
        yield Note("candidates_refused", text)


def _of_options(run: LogRun) -> Iterator[Note]:
    flags = flags_of(run.command)
    if "useDLACore" in flags and (run.tensorrt or "").startswith(_WITHOUT_DLA):
        yield Note("release_without_dla", f"TensorRT {run.tensorrt} has no DLA support.")
    suffixed = [match.group(0) for match in _POOL_SUFFIX.finditer(flags.get("memPoolSize", ""))]
    if suffixed:
        text = (
            f"{', '.join(suffixed)}: 8.4 to 10.0 ignore the suffix, later releases read its last letter alone "
            "(MiB means bytes). Give a plain number of MiB."
        )
        yield Note("pool_suffix", text)


def _of_times(run: LogRun) -> Iterator[Note]:
    for problem in run.problems:
        if "GPU compute time is unstable" in problem.text:
            yield Note("unstable", problem.text.strip(" *"))
        elif "Throughput may be bound by" in problem.text:
            yield Note("bound", problem.text.strip(" *"))
    if run.profile is None:
        return
    if run.performance is None:
        text = "The profiler was on, so no summary is printed: add --separateProfileRun for both."
        yield Note("profiled", text)
    if any(_is_old_copy(row.name) for row in run.profile.rows):
        text = "This release books the DLA's time on the copies beside the DLA node: rows are summed per DLA region."
        yield Note("time_on_neighbour_row", text)


def _is_old_copy(name: str) -> bool:
    return name.endswith((" to nvm", " from nvm")) or "} output reformatter" in name or "} output to be ref" in name


_CHECKS = (_of_output, _of_calibration, _of_placement, _of_options, _of_times)
