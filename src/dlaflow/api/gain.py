"""What `dlaflow fix` would gain in time: the same search as in its dry run, then an estimate of what it ends with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dlaflow.estimate.answer import Estimate, Move, Speed
from dlaflow.estimate.latency import estimate
from dlaflow.estimate.moves import cheaper_on_gpu
from dlaflow.estimate.setting import setting_of
from dlaflow.graph.layer import Network
from dlaflow.graph.load import Model
from dlaflow.placement.check import network_of
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.fix import Fixed
from dlaflow.rewrites.load import draft_to_match
from dlaflow.rewrites.registry import allowed
from dlaflow.rewrites.search import Search, work_of
from dlaflow.targets.target import Target
from dlaflow.types import Placement


def choice_of_devices(fixed: Fixed, target: Target) -> Move | None:
    """What of a fixed model is cheaper on the GPU although the DLA takes it, at full clocks; None where nothing is."""
    target = replace(target, shapes=())  # the draft holds them
    network = network_of(fixed.draft.model(Path(fixed.report.model)), target)
    return cheaper_on_gpu(network, fixed.placement, setting_of(target, None, typed=network.typed))


def speed_of(fixed: Fixed, target: Target) -> Speed | None:
    """Images/s of the model before and after, at full clocks; None where nothing changed or no time is known."""
    if not fixed.report.read_before:
        return None
    target = replace(target, shapes=())  # the drafts hold them
    both = fixed.origin, (fixed.draft.model(Path(fixed.report.model)), fixed.placement)
    return speed_between(*(estimate(network_of(model, target), placement, target) for model, placement in both))


def speed_between(before: Estimate, after: Estimate) -> Speed | None:
    """Images/s of what was estimated before and after; None where they are equal or no time is known."""
    rates = [e.throughput or (e.gpu_alone and e.gpu_alone.inverse(1e3 * e.batch)) for e in (before, after)]
    if rates[0] is None or rates[1] is None or rates[0] == rates[1]:
        return None
    return Speed(rates[0], rates[1], before.split, after.split)


@dataclass(frozen=True, slots=True)
class FixedModel:
    """What `dlaflow fix` would make of a model: its layers, where they run, and the rewrites in order."""

    network: Network
    placement: Placement
    rewrites: tuple[str, ...]


def after_fix(model: Model, placement: Placement, target: Target, allow: Safety = Safety.EXACT) -> FixedModel | None:
    """The model after the rewrites of class `allow`; None when none helps.

    `placement` names the rewrites that match (`with_rewrites`); where none of that class does, nothing is searched.
    As in a dry run nothing is proven; the model's large weights are not even read.
    """
    rewrites = allowed(allow)
    named = {name for layer in placement.layers for finding in layer.findings for name in finding.rewrites}
    if named.isdisjoint(rewrite.id for rewrite in rewrites):
        return None
    draft = draft_to_match(model, target.batch, target.shapes)
    target = replace(target, shapes=())  # the draft holds them
    found = Search(target, rewrites, model.path, work=work_of(placement)).run(draft)
    if not found.steps:
        return None
    network = network_of(found.draft.model(model.path), target)
    return FixedModel(network, found.placement, tuple(step.applied.rewrite for step in found.steps))


def with_gain(
    now: Estimate,
    placement: Placement,
    model: Model,
    target: Target,
    mode: str | None = None,
    allow: Safety = Safety.EXACT,
) -> Estimate:
    """The estimate `now` of `model` with `after_fix` and `fixes` filled in; as it is when no rewrite helps.

    `mode` is the power mode of `now`; the rest is as `after_fix` takes it.
    """
    fixed = after_fix(model, placement, target, allow) if now.latency is not None else None
    if fixed is None:
        return now
    after = estimate(fixed.network, fixed.placement, replace(target, shapes=()), mode)
    return replace(now, after_fix=after.latency, fixes=fixed.rewrites)
