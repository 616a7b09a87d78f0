"""Which layers are cheaper on the GPU although the DLA takes them, and what leaving them there would gain.

A step that takes long on the DLA and little on the GPU is a seed: a SoftMax over 400 x 400 is three milliseconds here
and a tenth there. Moving it alone trades its time for switches, so its neighbours are tried with it, a step further
each time, up to the convolutions and matrix products around. Every choice is placed anew, as the builder would, and
timed whole; seeds of all places move together, as blocks of a network repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, hypot

from dlaflow.estimate.answer import Move, Range
from dlaflow.estimate.dla import StepTable, step_times
from dlaflow.estimate.gpu import Kernels, kernel_times
from dlaflow.estimate.program import assemble, assignments_of, with_helpers
from dlaflow.estimate.setting import Setting
from dlaflow.estimate.split import Split, Workload, split_of
from dlaflow.graph.layer import PRODUCTS, Network
from dlaflow.placement.answers import known_answers
from dlaflow.placement.place import place
from dlaflow.types import Device, Placement

_SEED = 0.05
"""A step that costs at least this share of the whole more on the DLA than on the GPU is worth trying."""
_WORTH = 0.05
"""A gain below this share of the whole is not told."""
_FARTHEST = 6
"""How many steps around a seed are tried with it."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A choice: the layers left aside, and its time in parts."""

    aside: frozenset[str]
    split: Split


def cheaper_on_gpu(network: Network, placement: Placement, setting: Setting) -> Move | None:
    """What of a placed network is best left on the GPU; None where no choice gains enough, or there is no GPU.

    `network` and `placement` are those that the estimate is for; the gain is against that placement.
    """
    if setting.gpu is None or setting.target.mode == "standalone":
        return None
    before = _timed(network, placement, setting, frozenset())
    seeds = _seeds(network, placement, setting, before.split.total)
    if not seeds:
        return None
    answers = known_answers(setting.target.board.soc, setting.target.release.tensorrt, setting.target.precision)
    running = {layer.name for layer in placement.layers if layer.device is Device.DLA}
    around, best, tried = seeds, before, None
    neighbours = _neighbours(network, running)
    for _ in range(_FARTHEST + 1):
        if around == tried:
            break
        after = place(network, placement.model, setting.target, answers, around)
        found = _timed(network, after, setting, around)
        best = min(best, found, key=lambda one: one.split.total)
        tried, around = around, around | {name for each in around for name in neighbours.get(each, ())}
    gain = before.split.total - best.split.total
    if gain < _WORTH * before.split.total:
        return None
    order = [layer.name for layer in network.layers if layer.name in best.aside]
    doubt = _doubt(before.split, best.split, setting)
    kinds = {layer.name: layer.kind for layer in network.layers}
    seed_kinds = tuple(dict.fromkeys(kinds[name] for name in order if name in seeds))
    return Move(tuple(order), seed_kinds, best.split.total, Range(gain - doubt, gain, gain + doubt))


def _timed(network: Network, placement: Placement, setting: Setting, aside: frozenset[str]) -> _Timed:
    work = Workload.of(assemble(with_helpers(network, placement), assignments_of(placement)))
    return _Timed(aside, split_of(work, setting.dla.engine, setting.conditions, setting.gpu))


def _seeds(network: Network, placement: Placement, setting: Setting, total: float) -> frozenset[str]:
    """The layers of the steps that lose most on the DLA; convolutions and products belong there."""
    program = assemble(with_helpers(network, placement), assignments_of(placement))
    steps = [step for step in program.steps if step.assignment.device is Device.DLA]
    gpu = setting.gpu
    assert gpu is not None
    on_dla = step_times(StepTable.of(steps), setting.dla.engine, setting.conditions).total
    on_gpu = kernel_times(Kernels.of(steps), gpu.parameters, gpu.hardware, setting.dla.engine.precision, graphs=True)
    named = {layer.name for layer in network.layers}
    return frozenset(
        name
        for step, here, there in zip(steps, on_dla, on_gpu, strict=True)
        if step.kind not in PRODUCTS and here - there > _SEED * total
        for name in step.layers
        if name in named
    )


def _neighbours(network: Network, running: set[str]) -> Mapping[str, set[str]]:
    """For each layer those on the DLA that it touches, directly or through layers on the GPU; no products."""
    light = {layer.name for layer in network.layers if layer.name in running and layer.kind not in PRODUCTS}
    makers = {tensor.name: layer for layer in network.layers for tensor in layer.outputs}
    touching: dict[str, set[str]] = {layer.name: set() for layer in network.layers}
    for layer in network.layers:
        for source in (makers.get(tensor.name) for tensor in layer.inputs if not tensor.constant):
            if source is not None:
                touching[layer.name].add(source.name)
                touching[source.name].add(layer.name)
    return {name: _reached(name, touching, light, running) for name in light}


def _reached(start: str, touching: Mapping[str, set[str]], light: set[str], running: set[str]) -> set[str]:
    """The light layers next to `start`, where what already runs on the GPU does not count as a step."""
    reached, seen, edge = set(), {start}, [start]
    while edge:
        for name in touching[edge.pop()] - seen:
            seen.add(name)
            if name in light:
                reached.add(name)
            elif name not in running:
                edge.append(name)
    return reached


def _doubt(before: Split, after: Split, setting: Setting) -> float:
    """The half width of a gain in ms: what both have in common cancels, each part that changes has its own interval."""
    dla, gpu = setting.dla.source.spread.layer, setting.gpu_source.source.spread.network if setting.gpu_source else 0.0
    crossing = before.switches + before.launch - after.switches - after.launch
    parts = (
        (before.dla - after.dla) * expm1(dla),
        (before.gpu - after.gpu) * expm1(gpu),
        crossing * expm1(dla),
    )
    return hypot(*parts) * setting.widening
