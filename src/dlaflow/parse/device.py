"""Who the device is and how fast it may run: nv_tegra_release, dpkg, nvpmodel, jetson_clocks, the device tree.

Read the clock, not the name of the power mode: a public "15W" run shows its DLA at 1369 MHz.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlaflow.parse.text import Source, lines_of, text_of

UNCAPPED = 2147483647
"""The frequency by which nvpmodel means no cap."""


@dataclass(frozen=True, slots=True)
class L4tRelease:
    """The release of Linux for Tegra, such as 36.4.4. `board` and `date` are empty where dpkg told it."""

    version: str
    board: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock of `jetson_clocks --show`, in Hz. `name` is as printed: `DLA0_CORE`, `GPU`, `EMC`, `cpu0`.

    The tool prints the CPUs' in kHz; the record has them in Hz too.
    """

    name: str
    online: bool | None
    min_hz: int
    max_hz: int
    current_hz: int


@dataclass(frozen=True, slots=True)
class PowerMode:
    """A power mode. `id` is None where only the name is printed."""

    name: str
    id: int | None


@dataclass(frozen=True, slots=True)
class ModeLimit:
    """A cap of a mode from `nvpmodel -p --verbose`: unit `DLA0_CORE`, setting `MAX_FREQ`. None is no cap."""

    mode: PowerMode
    unit: str
    setting: str
    value: int | None


@dataclass(frozen=True, slots=True)
class DeviceText:
    """All that a text tells of a device; what it lacks is None or empty."""

    release: L4tRelease | None
    jetpack: str
    soc: str
    machine: str
    mode: PowerMode | None
    modes: tuple[PowerMode, ...]
    limits: tuple[ModeLimit, ...]
    clocks: tuple[Clock, ...]


_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)(?:,.*?BOARD:\s*(\S+?),.*?DATE:\s*(.*?))?\s*$")
_CORE_PACKAGE = re.compile(r"nvidia-l4t-core[\s:a-z0-9]*?\s(\d+\.\d+(?:\.\d+)?)-")
_JETPACK = re.compile(r"(?:ii\s+)?nvidia-jetpack\s+(\d+\.\d+(?:\.\d+)?)")
_MACHINE = re.compile(r"SOC family:(\S+)\s+Machine:(.*)")
_MODE = re.compile(r"(?:NVPM (?:VERB|WARN): )?NV Power Mode:\s*(\S+)")
_MODE_ENTRY = re.compile(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)")
_LIMIT = re.compile(r"NVPM VERB: (\w+) (MAX_FREQ|MIN_FREQ|ONLINE|TPC_PG_MASK|\w+) (-?\d+)\s*$")
_CLOCK = re.compile(
    r"\s*(\w+?):?\s+(?:Online=(\d) )?(?:Governor=\S+ )?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)(?:\s|$)"
)


def parse_device(source: Source) -> DeviceText:
    """Read the output of one or several of these commands, mixed in any order; never fails on text.

    Raises InputError when the file cannot be read.
    """
    reader = _Reader()
    for line in lines_of(source):
        reader.feed(line)
    return DeviceText(
        release=reader.release,
        jetpack=reader.jetpack,
        soc=reader.soc,
        machine=reader.machine,
        mode=reader.mode,
        modes=tuple(reader.modes),
        limits=tuple(reader.limits),
        clocks=tuple(reader.clocks),
    )


class _Reader:
    def __init__(self) -> None:
        self.release: L4tRelease | None = None
        self.jetpack = self.soc = self.machine = ""
        self.mode: PowerMode | None = None
        self.modes: list[PowerMode] = []
        self.limits: list[ModeLimit] = []
        self.clocks: list[Clock] = []
        self._await_id = False

    def feed(self, line: str) -> None:
        stripped = line.strip()
        if self._await_id and stripped.isdigit() and self.mode is not None:
            self.mode = PowerMode(self.mode.name, int(stripped))
            self._await_id = False
        elif match := _MODE.search(line):
            self.mode = PowerMode(match.group(1), None)
            self._await_id = True
        elif match := _MODE_ENTRY.search(line):
            self.modes.append(PowerMode(match.group(2), int(match.group(1))))
        elif match := _RELEASE.match(stripped):
            major, revision, board, date = match.groups()
            self.release = L4tRelease(f"{major}.{revision}", board or "", date or "")
        elif match := _CORE_PACKAGE.search(stripped):
            self.release = self.release or L4tRelease(match.group(1))
        elif match := _JETPACK.match(stripped):
            self.jetpack = match.group(1)
        elif match := _MACHINE.search(line):
            self.soc, self.machine = match.group(1), match.group(2).strip()
        else:
            self._limit_or_clock(line)

    def _limit_or_clock(self, line: str) -> None:
        if match := _CLOCK.match(line):
            name, online, low, high, current = match.groups()
            unit = 1000 if name.startswith("cpu") else 1
            is_online = None if online is None else online == "1"
            self.clocks.append(Clock(name, is_online, int(low) * unit, int(high) * unit, int(current) * unit))
        elif self.modes and (match := _LIMIT.search(line)):
            value = int(match.group(3))
            cap = None if value == UNCAPPED else value
            self.limits.append(ModeLimit(self.modes[-1], match.group(1), match.group(2), cap))


_JETPACKS = (
    ("32.6", "4.6"), ("32.7", "4.6.1"), ("34.1", "5.0.1"), ("35.1", "5.0.2"), ("35.2", "5.1"), ("35.3", "5.1.1"),
    ("35.4", "5.1.2"), ("35.5", "5.1.3"), ("35.6", "5.1.4"), ("36.2", "6.0"), ("36.3", "6.0"), ("36.4.0", "6.1"),
    ("36.4.3", "6.2"), ("36.4.4", "6.2.1"), ("36.4.7", "6.2.1"), ("36.5", "6.2.2"), ("38.2", "7.0"), ("38.4", "7.1"),
    ("39.2", "7.2"),
)  # fmt: skip


def jetpack_of(l4t: str) -> str | None:
    """The JetPack of a release of Linux for Tegra (`36.4.3` → 6.2), or None when it is not known."""
    for prefix, jetpack in _JETPACKS:
        if l4t == prefix or l4t.startswith(f"{prefix}.") or f"{l4t}.0" == prefix:
            return jetpack
    return None


def parse_device_tree(source: Source) -> str:
    """The model of `/proc/device-tree/model`, which ends with a NUL."""
    return text_of(source).replace("\0", "").strip()
