"""Is it worth it? The verdict and its reason from the ranges, in words that an engineer can act on."""

from __future__ import annotations

from dlaflow.estimate.answer import Advice, Range, Worth
from dlaflow.estimate.split import Split

_OVERHEAD = 0.4
"""A share of launches, crossings and copies above which they are the reason."""
_MOSTLY = 0.5
_NEAR = 1.15
"""Slower than the GPU by less than this counts as equal."""
_FAR = 3.0
"""Slower than the GPU by more than this does not pay, whatever it frees."""
FP16_TRAP = 3.0
"""From this ratio of FP16 to INT8 on, FP16 is the reason."""


def advise(
    split: Split | None,
    latency: Range | None,
    gpu_alone: Range | None,
    *,
    fp16_ratio: float | None,
    energy_ratio: Range | None,
    dla_mac_share: float,
) -> Advice:
    """Weigh one DLA core, with what falls back, against the GPU alone.

    `fp16_ratio` is FP16 over INT8 of the work inside the loadables when the target asks for FP16, else None.
    """
    if split is None or latency is None:
        return Advice(Worth.UNKNOWN, "no data supports an estimate of the DLA's time here")
    if fp16_ratio is not None and fp16_ratio >= FP16_TRAP:
        return Advice(
            Worth.NO,
            f"FP16 is slow on this DLA: the same layers take about {fp16_ratio:.0f} times as long as in INT8. "
            "Build in INT8.",
        )
    overhead = (split.launch + split.switches + split.formats) / split.total
    if dla_mac_share < _MOSTLY:
        return Advice(
            Worth.NO,
            f"only {dla_mac_share:.0%} of the multiply-accumulates run on the DLA; see what `fix` would change",
        )
    if gpu_alone is None:
        return Advice(Worth.UNKNOWN, "the GPU's time is not known on this board, so there is nothing to compare with")
    slower = latency.value / gpu_alone.value
    saves = f" and needs about {energy_ratio.value:.1f} times less energy" if energy_ratio else ""
    if slower <= _NEAR:
        return Advice(Worth.YES, f"about as fast as the GPU alone, which stays free{saves}")
    if overhead > _OVERHEAD and slower > _NEAR:
        return Advice(
            Worth.TRADE if slower <= _FAR else Worth.NO,
            f"{overhead:.0%} of the time goes into launches, crossings and format copies, not into work; "
            f"{slower:.1f} times slower than the GPU alone. Larger batches or fewer loadables help.",
        )
    if slower <= _FAR:
        return Advice(Worth.TRADE, f"{slower:.1f} times slower than the GPU alone, but it frees the GPU{saves}")
    return Advice(Worth.NO, f"{slower:.1f} times slower than the GPU alone")
