"""tegrastats of JetPack 4 to 7: one sample a line; fields vary with board, release and root.

Names repeat between temperatures and rails (`GPU@31C`, `GPU 463/463`), so rails are read only after the last
temperature; a rail may repeat (`NC`), so they are kept by position. A field that is absent is None, not zero. Units
are read whatever their names, since every board has others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlaflow.parse.text import Source, integer, lines_of


@dataclass(frozen=True, slots=True)
class Cpu:
    """One core; None figures are a core that is off."""

    load_percent: int | None
    mhz: int | None


@dataclass(frozen=True, slots=True)
class TegrastatsEngine:
    """A clocked unit, named without `_FREQ` (`EMC`, `GR3D`, `NVDLA0`, `VIC`, ...); `off` where the line says so."""

    name: str
    off: bool
    load_percent: int | None
    mhz: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Temperature:
    """Degrees Celsius; -256 is a sensor that is off."""

    name: str
    celsius: float


@dataclass(frozen=True, slots=True)
class Rail:
    """Milliwatts of a power rail; a rail of the DLA may read negative. `maximum` is printed from JetPack 7 on."""

    name: str
    current_mw: int
    average_mw: int
    maximum_mw: int | None = None


@dataclass(frozen=True, slots=True)
class TegrastatsSample:
    """One line. `date` is as printed (empty in JetPack 4), `epoch` the prefix of a wrapper. Memory is MB;
    the largest free block is printed as a count of blocks of a size.
    """

    date: str
    epoch: float | None
    ram_used_mb: int
    ram_total_mb: int
    swap_used_mb: int | None
    swap_total_mb: int | None
    swap_cached_mb: int | None
    free_blocks: int | None
    free_block_kb: int | None
    cpus: tuple[Cpu, ...]
    engines: tuple[TegrastatsEngine, ...]
    temperatures: tuple[Temperature, ...]
    rails: tuple[Rail, ...]


@dataclass(frozen=True, slots=True)
class Tegrastats:
    """A log: its samples in order, and how many lines were none."""

    samples: tuple[TegrastatsSample, ...]
    other_lines: int


_HEAD = re.compile(
    r"(?:(\d+\.\d+)::)?(?:(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d) )?\bRAM (\d+)/(\d+)([kMG]?B)"
    r"(?: ?\(lfb (\d+)x(\d+)([kMG]?B)\))?"
)
_SWAP = re.compile(r"\bSWAP (\d+)/(\d+)([kMG]?B)(?: ?\(cached (\d+)([kMG]?B)\))?")
_CPU = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?", re.IGNORECASE)
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
_ENGINE = re.compile(
    r"(?<!\S)([A-Z][A-Z0-9]*)(?:_FREQ|_LOAD)? "
    r"(?:(off|OFF)\b|(?:(\d+)%)?@\[([^\]]*)\]|(?:(\d+)%)?@(\d+)|(\d+)%|(\d+))(?=\s|$)"
)
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?=\s|$)")
_RAIL = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]*) (-?\d+)(?:mW)?/(-?\d+)(?:mW)?(?:/(-?\d+)(?:mW)?)?(?=\s|$)")
_UNITS = {"kB": 1 / 1024, "B": 1 / (1024 * 1024), "MB": 1.0, "GB": 1024.0}


def parse_tegrastats(source: Source) -> Tegrastats:
    """Read a log from a path or from its text; never fails on text. Raises InputError when it cannot be read."""
    samples = []
    other = 0
    for line in lines_of(source):
        sample = sample_of(line)
        if sample is not None:
            samples.append(sample)
        elif line.strip():
            other += 1
    return Tegrastats(tuple(samples), other)


def sample_of(line: str) -> TegrastatsSample | None:
    """One line as a sample, or None."""
    head = _HEAD.search(line)
    if head is None:
        return None
    swap = _SWAP.search(line)
    cpus = _CPU.search(line)
    temperatures = list(_TEMPERATURE.finditer(line))
    after_cpus = cpus.end() if cpus else head.end()
    before, after = (temperatures[0].start(), temperatures[-1].end()) if temperatures else (len(line), after_cpus)
    return TegrastatsSample(
        date=head.group(2) or "",
        epoch=float(head.group(1)) if head.group(1) else None,
        ram_used_mb=_megabytes(head.group(3), head.group(5)),
        ram_total_mb=_megabytes(head.group(4), head.group(5)),
        swap_used_mb=_megabytes(swap.group(1), swap.group(3)) if swap else None,
        swap_total_mb=_megabytes(swap.group(2), swap.group(3)) if swap else None,
        swap_cached_mb=_megabytes(swap.group(4), swap.group(5)) if swap and swap.group(4) else None,
        free_blocks=int(head.group(6)) if head.group(6) else None,
        free_block_kb=round(int(head.group(7)) * _UNITS[head.group(8)] * 1024) if head.group(7) else None,
        # One clock a core, or in old releases one for all behind the bracket.
        cpus=tuple(_core(text, cpus.group(2)) for text in cpus.group(1).split(",")) if cpus and cpus.group(1) else (),
        engines=tuple(_engine(match) for match in _ENGINE.finditer(line, after_cpus, before)),
        temperatures=tuple(Temperature(match.group(1), float(match.group(2))) for match in temperatures),
        rails=tuple(_rail(match) for match in _RAIL.finditer(line, after)),
    )


def _megabytes(text: str, unit: str) -> int:
    return round(int(text) * _UNITS.get(unit, 1.0))


def _core(text: str, shared: str | None) -> Cpu:
    match = _CORE.search(text)
    if match is None:
        return Cpu(None, None)
    clock = match.group(2) or shared
    return Cpu(int(match.group(1)), int(clock) if clock else None)


def _engine(match: re.Match[str]) -> TegrastatsEngine:
    name, off, load, several, other_load, single, load_alone, clock = match.groups()
    # A clock of several that is off reads 0, so that the others keep their places.
    clocks = [integer(part.strip()) or 0 for part in (several or single or clock or "").split(",") if part.strip()]
    percent = load or other_load or load_alone
    return TegrastatsEngine(name, off is not None, int(percent) if percent else None, tuple(clocks))


def _rail(match: re.Match[str]) -> Rail:
    name, current, average, maximum = match.groups()
    return Rail(name, int(current), int(average), int(maximum) if maximum else None)
