"""The normalizations that need real images: frozen statistics where the accuracy allows, arithmetic for the rest.

Both happen before the search, since every exact rewrite behind them depends on their shape, not on how they were made.
They are kept only when the prediction afterwards is better.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.rewrites.base import SAFETIES, Bounds, Safety
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.frozen_statistics import ID as FROZEN
from dlaflow.rewrites.frozen_statistics import TITLE as FROZEN_TITLE
from dlaflow.rewrites.frozen_statistics import Block, find_blocks, freeze_all
from dlaflow.rewrites.normalization_arithmetic import ID as ARITHMETIC
from dlaflow.rewrites.normalization_arithmetic import TITLE as ARITHMETIC_TITLE
from dlaflow.rewrites.normalization_arithmetic import by_arithmetic
from dlaflow.rewrites.prove import Executable, Samples, bound_of, compare
from dlaflow.rewrites.records import Applied, Refused
from dlaflow.rewrites.search import FixConfig, Search, gain_of
from dlaflow.types import Measurement, Provenance


@dataclass(frozen=True)
class Changed:
    """The draft with its normalizations changed, what was applied and refused, and the accuracies measured."""

    draft: Draft
    applied: tuple[Applied, ...] = ()
    refused: tuple[Refused, ...] = ()
    measurements: tuple[Measurement, ...] = ()


def change_normalizations(draft: Draft, search: Search, config: FixConfig) -> Changed:
    """Bring the group, instance and layer normalizations of a draft onto the DLA as far as `config` allows."""
    blocks = find_blocks(draft)
    reach = SAFETIES.index(config.allow.value)
    if not blocks:
        return Changed(draft)
    if reach < SAFETIES.index(Safety.TOLERANCE.value):
        return Changed(draft, refused=_all(blocks, "it needs --allow tolerance, data or retrain"))
    if config.samples is None or len(draft.inputs) != 1:
        return Changed(draft, refused=_all(blocks, "it needs images of the model's one input: --data"))
    changed = Changed(draft)
    if config.allow is Safety.DATA and config.accuracy is not None:
        changed = _frozen(changed, search, config, config.samples)
    return _by_arithmetic(changed, search, config.samples)


def _all(blocks: list[Block], reason: str) -> tuple[Refused, ...]:
    return tuple(Refused(ARITHMETIC, block.site, reason) for block in blocks)


def _frozen(changed: Changed, search: Search, config: FixConfig, samples: Samples) -> Changed:
    """Freeze layer by layer while the accuracy falls by at most `max_drop` points in all."""
    accuracy = config.accuracy
    if accuracy is None:
        return changed
    before = accuracy(changed.draft.proto())
    reached = before

    def accepts(trial: Draft) -> str:
        nonlocal reached
        now = accuracy(trial.proto())
        if before - now > config.max_drop:
            return f"the accuracy would fall from {before:.2f}% to {now:.2f}%, more than --max-drop {config.max_drop:g}"
        reached = now
        return ""

    draft, blocks, refused = freeze_all(changed.draft, samples, accepts)
    numbers = tuple(
        Measurement("top1", subject, value, "%", config.tested, provenance=Provenance.MEASURED)
        for subject, value in (("before", before), ("with frozen statistics", reached))
    )
    refusals = tuple(Refused(FROZEN, site, reason) for site, reason in refused.items())
    applied = _applied(
        (FROZEN, FROZEN_TITLE, Safety.DATA), [block.site for block in blocks], changed.draft, draft, search
    )
    return Changed(draft, applied, refusals, numbers)


def _by_arithmetic(changed: Changed, search: Search, samples: Samples) -> Changed:
    """All remaining ones at once: one alone often brings nothing."""
    draft, sites, refused = changed.draft, [], list(changed.refused)
    bounds = Bounds(search.target)
    left_alone: set[str] = set()
    while block := next((each for each in find_blocks(draft) if each.site not in left_alone), None):
        made = by_arithmetic(draft, block, samples, bounds)
        if isinstance(made, str):
            refused.append(Refused(ARITHMETIC, block.site, made))
            left_alone.add(block.site)
        else:
            draft = made
            sites.append(block.site)
    if not sites:
        return Changed(draft, changed.applied, tuple(refused), changed.measurements)
    bound = bound_of(Safety.TOLERANCE, draft)
    sides = Executable.of(changed.draft), Executable.of(draft)
    evidence = compare(*sides, draft.input_shapes, samples, random=False, bound=bound)[0]
    reason = ""
    if evidence.used > 1:
        reason = f"taken back: the outputs differ by {evidence.relative:.1%} on {evidence.inputs}"
    elif not search.score(draft).beats(search.score(changed.draft)):
        reason = "it would bring neither fewer switches and loadables nor less work on the GPU"
    if reason:
        refused += [Refused(ARITHMETIC, site, reason) for site in sites]
        return Changed(changed.draft, changed.applied, tuple(refused), changed.measurements)
    applied = _applied((ARITHMETIC, ARITHMETIC_TITLE, Safety.TOLERANCE), sites, changed.draft, draft, search)
    number = Measurement(
        "largest error", f"of {ARITHMETIC}", 100 * evidence.relative, "%", sum(map(len, samples.batches))
    )
    return Changed(draft, (*changed.applied, *applied), tuple(refused), (*changed.measurements, number))


def _applied(
    what: tuple[str, str, Safety], sites: list[str], before: Draft, after: Draft, search: Search
) -> tuple[Applied, ...]:
    if not sites:
        return ()
    rewrite, title, safety = what
    return (Applied(rewrite, title, safety.value, sites, gain_of(search.score(before), search.score(after))),)
