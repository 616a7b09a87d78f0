"""Inferences per joule, DLA over GPU: the mean of published ratios by power mode, and how far models spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlaflow.estimate.energy import EnergyFile, ModeRatio
from dlaflow.files import write_atomic
from tools.fit.points import Ratio

Z80 = 1.2816
"""Half width of a normal 80% interval in standard deviations."""


def fit_ratios(ratios: Sequence[Ratio], before: EnergyFile) -> EnergyFile:
    """The energy file with ratios fitted anew; its measured power stays."""
    modes = []
    for mode in dict.fromkeys(ratio.power_mode for ratio in ratios):
        logs = np.log([ratio.dla_over_gpu_perf_per_watt for ratio in ratios if ratio.power_mode == mode])
        spread = Z80 * float(logs.std(ddof=1)) * float(np.sqrt(1 + 1 / logs.size))
        modes.append(ModeRatio(mode, round(float(np.exp(logs.mean())), 2), round(spread, 3), int(logs.size)))
    return EnergyFile(before.board, before.source, tuple(modes), before.power)


def write_energy(found: EnergyFile, path: Path) -> None:
    """Write the ratios into the file, keeping its remarks and the measured power."""
    head, rest = path.read_text().split("ratio = [\n", 1)
    rows = "".join(
        f'  {{ mode = "{r.mode}", ratio = {r.ratio}, half_width = {r.half_width}, models = {r.models} }},\n'
        for r in found.ratio
    )
    write_atomic(path, head + "ratio = [\n" + rows + "]\n" + rest.split("]\n", 1)[1])
