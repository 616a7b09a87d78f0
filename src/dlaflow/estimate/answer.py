"""The answer of an estimate: ranges rather than numbers, each with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import exp

from dlaflow.estimate.split import Split
from dlaflow.types import Measurement, Provenance

INTERVAL = "80% interval"


@dataclass(frozen=True, slots=True)
class Range:
    """A median with the ends of its 80% interval."""

    low: float
    value: float
    high: float

    @classmethod
    def around(cls, value: float, half_width: float) -> Range:
        """A range that is symmetric on the logarithm."""
        return cls(value * exp(-half_width), value, value * exp(half_width))

    def inverse(self, unit: float) -> Range:
        """`unit` divided by the range: a latency becomes a rate."""
        return Range(unit / self.high, unit / self.value, unit / self.low)

    def holds(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low <= value <= self.high


class Worth(str, Enum):
    """Whether moving to the DLA pays."""

    YES = "yes"
    TRADE = "a trade"
    """Slower than the GPU alone, yet it frees the GPU or saves energy."""
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer to "is it worth it?" with the reason in a sentence."""

    worth: Worth
    reason: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Images/s of a model and of what a fix made of it, at full clocks, and where the time of each goes (None: nothing
    of it runs on the DLA)."""

    before: Range
    after: Range
    split_before: Split | None
    split_after: Split | None

    @property
    def slower(self) -> bool:
        """Whether the result is estimated to be slower, by more than two per cent."""
        return self.after.value < 0.98 * self.before.value

    @property
    def clearly(self) -> bool:
        """Whether it is slower beyond the intervals."""
        return self.after.high < self.before.low


@dataclass(frozen=True, slots=True)
class Move:
    """Layers that are cheaper on the GPU although the DLA takes them; times in ms for the whole batch.

    `kinds` are those that are slow on the DLA, `layers` all that should go with them, `after` the latency then, `gain`
    how much less that is, with an interval of its own: what both placements have in common cancels.
    """

    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    after: float
    gain: Range

    def layer_devices(self) -> list[str]:
        """The layers as `dlaflow build --layer-device` and trtexec's `--layerDeviceTypes` take them."""
        return [f"{name}:GPU" for name in self.layers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What dlaflow expects of a model on a board. Times in ms for the whole batch, rates in images a second.

    `precision` and `batch` are those of the target, `mode` the power mode, `basis` what the numbers rest on. A field is
    None where no data supports an answer, and `unknown` says why. `split` adds up to `latency.value`. `throughput` is
    one core with one batch in flight; `two_cores` both cores of the board; `with_gpu` both cores and the GPU, each with
    batches of its own. `other_precision` is the latency in the precision that the target does not ask for. `after_fix`
    is the latency of what `dlaflow fix` makes of the model with the rewrites `fixes`; None when none helps or nobody
    searched. `move` is what is better left on the GPU. `energy_mj` is of one image on the accelerator rails,
    `gpu_energy_ratio` how many times that the GPU needs.
    """

    board: str
    mode: str
    precision: str
    batch: int
    basis: str
    latency: Range | None = None
    throughput: Range | None = None
    split: Split | None = None
    gpu_alone: Range | None = None
    two_cores: Range | None = None
    with_gpu: Range | None = None
    sparse: Range | None = None
    other_precision: Range | None = None
    dla_precision_ratio: float | None = None
    after_fix: Range | None = None
    energy_mj: Range | None = None
    gpu_energy_ratio: Range | None = None
    advice: Advice
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    move: Move | None = None

    def measurements(self) -> list[Measurement]:
        """The totals as the records that reports take."""
        rows = (
            ("latency", "DLA with fallback", self.latency, "ms"),
            ("throughput", "one DLA core", self.throughput, "images/s"),
            ("throughput", "all DLA cores", self.two_cores, "images/s"),
            ("throughput", "DLA cores and GPU", self.with_gpu, "images/s"),
            ("latency", "GPU alone", self.gpu_alone, "ms"),
            ("latency", "2:4 sparse weights", self.sparse, "ms"),
            ("latency", "after fix", self.after_fix, "ms"),
            ("energy", "DLA", self.energy_mj, "mJ/image"),
        )
        return [
            Measurement(
                quantity=quantity,
                subject=subject,
                value=found.value,
                unit=unit,
                n=0,
                spread=(found.high - found.low) / 2,
                spread_kind=INTERVAL,
                provenance=Provenance.ESTIMATED,
                detail=f"{self.board}, {self.mode}, {self.precision}, batch {self.batch}; {self.basis}",
                low=found.low,
                high=found.high,
            )
            for quantity, subject, found, unit in rows
            if found is not None
        ]
