"""Who the device is and how fast it may run: release file, packages, nvpmodel, jetson_clocks, device tree, jtop.

Read the clock, not the name of the power mode: a public "15W" run shows its DLA at 1369 MHz.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlaflow.parse.text import Source, lines_of

UNCAPPED = frozenset({-1, 2**31 - 1, 2**63 - 1})
"""The frequencies by which nvpmodel and its configuration mean no cap."""


@dataclass(frozen=True, slots=True)
class L4tRelease:
    """The release of Linux for Tegra, such as 36.4.4. `board` and `date` are empty where dpkg names it."""

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
class NvpMode:
    """A power mode. `id` is None where only the name is printed."""

    name: str
    id: int | None


@dataclass(frozen=True, slots=True)
class ModeLimit:
    """A cap of a mode: unit `DLA0_CORE`, setting `MAX_FREQ`. None is no cap.

    From `nvpmodel -p --verbose`, its configuration file, or `nvpmodel -q --verbose`, which alone prints the value
    in force (`real`).
    """

    mode: NvpMode
    unit: str
    setting: str
    value: int | None
    real: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceText:
    """All that a text states about a device; what it lacks is None or empty.

    `model` is the board's own name, `module` the number of its module (`p3701-0005`), `tensorrt` the installed release.
    """

    release: L4tRelease | None
    jetpack: str
    soc: str
    machine: str
    mode: NvpMode | None
    modes: tuple[NvpMode, ...]
    limits: tuple[ModeLimit, ...]
    clocks: tuple[Clock, ...]
    model: str = ""
    module: str = ""
    tensorrt: str = ""


_RELEASE = re.compile(
    r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+\d)(?:,.*?BOARD:\s*(\S+?),.*?DATE:\s*(.*?))?(?:,|\s*$)"
)
_CORE_PACKAGE = re.compile(r"(?:nvidia-l4t-core[\s:a-z0-9]*?\s|l4t-core\s*: )(\d+\.\d+(?:\.\d+)?)-")
_OTHER_L4T = re.compile(r"\[L4T (\d+\.\d+(?:\.\d+)?)\]|\bL4T(?:_VERSION)?[:= ]\s*R?(\d+\.\d+(?:\.\d+)?)")
_JETPACK = re.compile(
    r"\bnvidia-jetpack\s+(\d+\.\d+(?:\.\d+)?)|\bJet[Pp]ack(?:_VERSION)?\s*[:= ]\s*(\d+\.\d+(?:\.\d+)?)", re.IGNORECASE
)
_VERSION = re.compile(r"Version: (\d+\.\d+(?:\.\d+)?)")
_MACHINE = re.compile(r"SOC family:(\S+)\s+Machine:(.*)")
_MODEL = re.compile(
    r"(?:^|\bmodel\s*: |: )((?:NVIDIA )?(?:Jetson|Orin|DRIVE|IGX)\b.*?)(?: - Jetpack .*)?$", re.IGNORECASE
)
_MODULE = re.compile(r"\b(p\d{4}-\d{4})\b")
_SOC = re.compile(r"nvidia,(tegra\d{3})")
_TENSORRT = re.compile(
    r"\bTensorRT: *(\d+(?:\.\d+)+)|\b(?:libnvinfer\d+|tensorrt)(?::\w+)?\s+(\d+\.\d+\.\d+(?:\.\d+)?)"
)
_MODE = re.compile(r"NV Power Mode(?:\[(\d+)\])?:\s*(\S+)")
_MODE_ENTRY = re.compile(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)")
_LIMIT = re.compile(r"(?:NVPM VERB: |^\s*)([A-Z]\w+) ([A-Z][A-Z0-9_]*) +(-?\d+)\s*$")
_PARAMETER = re.compile(r"PARAM (\w+): ARG (\w+): PATH \S+ REAL_VAL: (-?\d+) CONF_VAL: (-?\d+)")
_CLOCK = re.compile(
    r"\s*(\w+?):?\s+(?:Online=(\d) )?(?:Gon?vernor=\S+ )?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)(?:\s|$)"
)
# The module's number of a carrier board is no module: p3737 (AGX Orin), p3768 (Orin Nano), p2822 (AGX Xavier), ...
_CARRIERS = ("p3737", "p3768", "p2822", "p3509", "p2972", "p2597", "p3449", "p3542", "p4071")


def parse_device(source: Source) -> DeviceText:
    """Read the output of one or several of these commands, mixed in any order; never fails on text.

    Raises InputError when the file cannot be read.
    """
    reader = _DeviceReader()
    for line in lines_of(source):
        reader.feed(line)
    texts, modes, limits, clocks = reader.texts, tuple(reader.modes), tuple(reader.limits), tuple(reader.clocks)
    return DeviceText(reader.release, mode=reader.mode, modes=modes, limits=limits, clocks=clocks, **texts)


class _DeviceReader:
    def __init__(self) -> None:
        self.release: L4tRelease | None = None
        self.texts = dict.fromkeys(("jetpack", "soc", "machine", "model", "module", "tensorrt"), "")
        self.mode: NvpMode | None = None
        self.modes: list[NvpMode] = []
        self.limits: list[ModeLimit] = []
        self.clocks: list[Clock] = []
        self._await_id = self._await_version = False

    def feed(self, line: str) -> None:
        stripped = line.strip("\0 \t\r\n")
        if self._await_id and stripped.isdigit() and self.mode is not None:
            self.mode = NvpMode(self.mode.name, int(stripped))
            self._await_id = False
        elif match := _MODE.search(line):
            self.mode = NvpMode(match.group(2), int(match.group(1)) if match.group(1) else None)
            self._await_id = match.group(1) is None
        elif match := _MODE_ENTRY.search(line):
            self.modes.append(NvpMode(match.group(2), int(match.group(1))))
        elif match := _MACHINE.search(line):
            self.texts["soc"], self.texts["machine"] = match.group(1), match.group(2).strip()
        elif not self._limit_or_clock(line):
            self._identity(stripped)

    def _identity(self, text: str) -> None:
        """Names and releases; one line may hold several. The first of each stays, the release file beats all."""
        if match := _RELEASE.search(text):
            major, revision, board, date = match.groups()
            self.release = L4tRelease(f"{major}.{revision}", board or "", date or "")
        elif match := _CORE_PACKAGE.search(text) or _OTHER_L4T.search(text):
            self.release = self.release or L4tRelease(_first_group(match))
        if match := (_VERSION.match(text) if self._await_version else None) or _JETPACK.search(text):
            self._keep("jetpack", _first_group(match))
        self._await_version = text == "Package: nvidia-jetpack" or (self._await_version and bool(text))
        if match := _TENSORRT.search(text):
            self._keep("tensorrt", _first_group(match))
        if match := _SOC.search(text):
            self._keep("soc", match.group(1))
        for name in _MODULE.findall(text):
            if not name.startswith(_CARRIERS):
                self._keep("module", name)
        if not text.startswith(("ii ", "#")) and "Module:" not in text and (match := _MODEL.search(text)):
            self._keep("model", match.group(1).strip())

    def _keep(self, name: str, text: str) -> None:
        self.texts[name] = self.texts[name] or text

    def _limit_or_clock(self, line: str) -> bool:
        if match := _CLOCK.match(line):
            name, online, low, high, current = match.groups()
            unit = 1000 if name.startswith("cpu") else 1
            is_online = None if online is None else online == "1"
            self.clocks.append(Clock(name, is_online, int(low) * unit, int(high) * unit, int(current) * unit))
            return True
        if self.mode is not None and (found := _PARAMETER.findall(line)):
            for unit_name, setting, real, wanted in found:
                self.limits.append(ModeLimit(self.mode, unit_name, setting, _cap(wanted), int(real)))
            return True
        if self.modes and (match := _LIMIT.search(line)):
            self.limits.append(ModeLimit(self.modes[-1], match.group(1), match.group(2), _cap(match.group(3))))
            return True
        return False


def _first_group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group)


def _cap(text: str) -> int | None:
    value = int(text)
    return None if value in UNCAPPED else value


_JETPACKS = (
    ("32.1", "4.2"), ("32.2.3", "4.2.3"), ("32.2.1", "4.2.2"), ("32.2", "4.2.1"), ("32.3", "4.3"), ("32.4.4", "4.4.1"),
    ("32.4.3", "4.4"), ("32.5.0", "4.5"), ("32.5", "4.5.1"), ("32.6", "4.6"), ("32.7.1", "4.6.1"), ("32.7.2", "4.6.2"),
    ("32.7.3", "4.6.3"), ("32.7.4", "4.6.4"), ("32.7.5", "4.6.5"), ("32.7.6", "4.6.6"), ("34.1", "5.0.1"),
    ("35.1", "5.0.2"), ("35.2", "5.1"), ("35.3", "5.1.1"), ("35.4", "5.1.2"), ("35.5", "5.1.3"), ("35.6.0", "5.1.4"),
    ("35.6.1", "5.1.5"), ("36.2", "6.0"), ("36.3", "6.0"), ("36.4.0", "6.1"), ("36.4.3", "6.2"), ("36.4.4", "6.2.1"),
    ("36.4.7", "6.2.1"), ("36.5", "6.2.2"), ("38.2", "7.0"), ("38.4", "7.1"), ("39.2", "7.2"),
)  # fmt: skip


def jetpack_of(l4t: str) -> str | None:
    """The JetPack of a release of Linux for Tegra (`36.4.3` → 6.2), or None when it is not known."""
    for prefix, jetpack in _JETPACKS:
        if l4t == prefix or l4t.startswith(f"{prefix}.") or f"{l4t}.0" == prefix:
            return jetpack
    return None
