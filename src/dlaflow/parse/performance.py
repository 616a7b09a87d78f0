"""The figures that a run prints: the performance summary, and the layer times of `--dumpProfile`.

The summary in every release's wording: averages (5.x, 6.x), blocks (7.x), lines (8.0 on). The table is read by its
header, with the layer's name first (7.x to 8.5) or last (8.6 on).
"""

from __future__ import annotations

import re
from typing import Any

from dlaflow.parse.log import Percentile, Performance, Profile, ProfileRow, Times, TraceAverage
from dlaflow.parse.text import number

_AVERAGE = re.compile(
    r"Average on (\d+) runs - GPU latency: (\S+) ms - Host latency: (\S+) ms"
    r" \((?:end to end (\S+) ms)?(?:, )?(?:enqueue (\S+) ms)?\)"
)
_OLD_AVERAGE = re.compile(r"Average over (\d+) runs is (\S+) ms \(host walltime is (\S+) ms")
_ROW = re.compile(
    r"(Latency|End-to-End Host Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): min = (.*)"
)
_FIELD = re.compile(r"(min|max|mean|median) = (\S+?) ms")
_PERCENTILE = re.compile(r"percentile\((\d+(?:\.\d+)?)%\) = (\S+?) ms")
_TOTAL = re.compile(r"(Total Host Walltime|Total GPU Compute Time|Throughput): (\S+) (?:s|qps)$")

_BLOCKS = {"host latency": "latency", "enqueue time": "enqueue", "gpu compute": "gpu_compute"}
_BLOCK_FIELD = re.compile(r"(min|max|mean|median): (\S+) ms(?: \(end to end (\S+) ms\))?$")
_BLOCK_PERCENTILE = re.compile(
    r"percentile: (\S+) ms at (\d+(?:\.\d+)?)%(?: \(end to end (\S+) ms at \d+(?:\.\d+)?%\))?$"
)
_BLOCK_TOTAL = re.compile(r"(throughput|walltime|total compute time): (\S+) (?:qps|s)$")

_NAMES = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu_compute",
    "D2H Latency": "d2h",
}
_TOTALS = {
    "Throughput": "throughput_qps",
    "throughput": "throughput_qps",
    "Total Host Walltime": "walltime_s",
    "walltime": "walltime_s",
    "Total GPU Compute Time": "gpu_total_s",
    "total compute time": "gpu_total_s",
}


def trace_average(text: str) -> TraceAverage | None:
    """One `Average on N runs` line (7.0 on) or `Average over N runs` line (5.x, 6.x), or None."""
    match = _AVERAGE.match(text) or _OLD_AVERAGE.match(text)
    if match is None:
        return None
    runs, gpu, host, end_to_end, enqueue = (*match.groups(""), "", "")[:5]
    gpu_ms, host_ms = number(gpu), number(host)
    if gpu_ms is None or host_ms is None:
        return None
    return TraceAverage(int(runs), gpu_ms, host_ms, number(end_to_end), number(enqueue))


class SummaryReader:
    """Collects the lines of one summary; `feed` returns whether a line belonged to it."""

    def __init__(self) -> None:
        self._statistics: dict[str, dict[str, float]] = {}
        self._percentiles: dict[str, list[Percentile]] = {}
        self._totals: dict[str, float] = {}
        self._block = ""

    def feed(self, text: str) -> bool:
        """Take `text` in if it is a line of a summary."""
        if match := _ROW.match(text):
            name, self._block = _NAMES[match.group(1)], ""
            self._statistics[name], self._percentiles[name] = {}, []
            for key, value in _FIELD.findall(f"min = {match.group(2)}"):
                self._put(name, key, value)
            for percent, value in _PERCENTILE.findall(match.group(2)):
                self._put_percentile(name, percent, value)
            return True
        if match := _TOTAL.match(text) or _BLOCK_TOTAL.match(text):
            total = number(match.group(2))
            if total is not None:
                self._totals[_TOTALS[match.group(1)]] = total
            return total is not None
        block = _BLOCKS.get(text.strip().lower())
        self._block = block or self._block
        return block is not None or (bool(self._block) and self._block_line(text))

    def _block_line(self, text: str) -> bool:
        if match := _BLOCK_FIELD.match(text):
            key, value, end_to_end = match.groups()
            self._put(self._block, key, value)
            self._put("end_to_end", key, end_to_end)
        elif match := _BLOCK_PERCENTILE.match(text):
            value, percent, end_to_end = match.groups()
            self._put_percentile(self._block, percent, value)
            self._put_percentile("end_to_end", percent, end_to_end)
        return match is not None

    def _put(self, name: str, key: str, text: str | None) -> None:
        value = number(text or "")
        if value is not None:
            self._statistics.setdefault(name, {})[key] = value

    def _put_percentile(self, name: str, percent: str, text: str | None) -> None:
        value = number(text or "")
        if value is not None:
            self._percentiles.setdefault(name, []).append(Percentile(float(percent), value))

    def finish(self) -> Performance | None:
        """The summary, or None when no line of one was seen."""
        if not self._statistics and not self._totals:
            return None
        times: dict[str, Any] = {
            name: Times(**self._statistics.get(name, {}), percentiles=tuple(self._percentiles.get(name, ())))
            for name in {**self._statistics, **self._percentiles}
        }
        totals: dict[str, Any] = self._totals
        return Performance(**times, **totals)


_TITLE = re.compile(r"=== Profile \((\d+) iterations ?\) ===")


def profile_title(text: str) -> int | None:
    """The number of iterations in a `=== Profile (N iterations ) ===` line, or None."""
    match = _TITLE.match(text)
    return int(match.group(1)) if match else None


class TableReader:
    """Reads the rows after the title; `feed` returns whether the line still belonged to the table."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._columns = 0
        self._name_last = False
        self._rows: list[ProfileRow] = []
        self._total: ProfileRow | None = None

    def feed(self, text: str) -> bool:
        """Take in a header or a row."""
        if not self._columns:
            return self._header(text)
        if self._total is not None:
            return False
        row = self._row(text)
        if row is None:
            return False
        if row.name == "Total":
            self._total = row
        else:
            self._rows.append(row)
        return True

    def _header(self, text: str) -> bool:
        words = text.split()
        if "Layer" not in words or not any(word.startswith("Time") for word in words):
            return False
        self._name_last = words[-1] == "Layer"
        self._columns = 4 if any(word.startswith("Median") for word in words) else 3
        return True

    def _row(self, text: str) -> ProfileRow | None:
        columns = self._columns
        parts = text.split(None, columns) if self._name_last else text.rsplit(None, columns)
        if len(parts) != columns + 1:
            return None
        name = parts.pop(-1 if self._name_last else 0).strip()
        values = [value for figure in parts if (value := number(figure.rstrip("%"))) is not None]
        if not name or len(values) != columns:
            return None
        median = values[2] if columns == 4 else None
        return ProfileRow(name, values[0], values[1], median, values[-1])

    def finish(self) -> Profile:
        """The table so far."""
        return Profile(self._iterations, tuple(self._rows), self._total)
