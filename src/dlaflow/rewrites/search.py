"""Which rewrites to apply: try each kind on all its places, keep the one that lowers the score most, begin again.

The score comes from a prediction of the whole model. A rewrite that is legal and brings nothing is left out and
reported. Where no kind helps alone, all together are tried, then a few single places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import onnx

from dlaflow.estimate.latency import latency_ms
from dlaflow.graph.layer import Network
from dlaflow.graph.lower.naming import node_name
from dlaflow.placement.answers import Known, known_answers
from dlaflow.placement.check import check_network, network_of
from dlaflow.rewrites.base import Bounds, Rewrite, Safety
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.motions import move_down
from dlaflow.rewrites.prove import Samples
from dlaflow.rewrites.records import Applied, Gain, Refused
from dlaflow.rules.limits_of_model import leftovers
from dlaflow.rules.reading import no_engine
from dlaflow.rules.remedies import against
from dlaflow.targets.target import Target
from dlaflow.types import Device, Placement

_AGAIN = 20
_SINGLE_PLACES = 12
_TIMES_BARRED = 3
_NO_GAIN = "it would bring neither fewer switches and loadables nor less work on the GPU"


@dataclass(frozen=True, order=True)
class Score:
    """How good a placement is, what matters most first; less is better in each.

    `unread`: reasons why no engine comes out of the model. `refused`: no standalone build is possible, in that mode;
    `leftovers` counts what such a build ends at. `gpu_share`: percent of the work (`gpu_macs`, multiply-accumulates) on
    the GPU, whole ones, so that a hundredth does not outweigh a switch. `beyond`: loadables over the limit of a core.
    `unknown`: layers of which nobody knows.
    """

    unread: int
    refused: int
    gpu_share: int
    beyond: int
    loadables: int
    switches: int
    gpu_macs: int
    gpu_layers: int
    leftovers: int
    unknown: int

    def beats(self, other: Score) -> bool:
        """Whether this is better.

        Nothing on the DLA beats no placement that has something there. Something beats nothing, but for work so small
        that it does not count in the share and costs switches.
        """
        alike = (self.unread, self.refused, self.gpu_share) == (other.unread, other.refused, other.gpu_share)
        if not self.loadables and other.loadables and self.unread == other.unread:
            return False
        if self.loadables and not other.loadables and alike:
            return self.switches <= other.switches
        return self < other


@dataclass(frozen=True)
class FixConfig:
    """How far `dlaflow fix` may go.

    `output_4d` lets outputs become (N, C, 1, 1), which saves the last switch; `samples` are real inputs for the proof,
    and for statistics; `dry_run` predicts only, without a proof. Frozen statistics are kept while `accuracy` (percent
    right of a model) falls by at most `max_drop` points; `tested` is how many images that is measured on. Recurrences
    of at most `unroll` steps are unrolled. `simplify` lets onnxslim go first. `prefer_speed` ends the search at the
    step after which the model is estimated to be fastest.
    """

    allow: Safety = Safety.EXACT
    output_4d: bool = False
    samples: Samples | None = None
    accuracy: Callable[[onnx.ModelProto], float] | None = None
    tested: int = 0
    max_drop: float = 1.0
    dry_run: bool = False
    simplify: bool = False
    unroll: int = 0
    prefer_speed: bool = False


@dataclass(frozen=True)
class Taken:
    """One rewrite taken, and the draft after it."""

    applied: Applied
    draft: Draft


@dataclass(frozen=True)
class Found:
    """The end of a search: the draft, its placement, the steps in order, and the refused places."""

    draft: Draft
    placement: Placement
    steps: tuple[Taken, ...]
    refused: tuple[Refused, ...]


@dataclass
class Search:
    """A search for one target. `rewrites` are those that may be used, `finish` is applied before each prediction.

    `work` are the multiply-accumulates of the model that it started from (0: those of each placement itself), `barred`
    the (rewrite, site) that were taken back, with the reason: nothing is rewritten there again. `prefer_speed` as in
    `FixConfig`.
    """

    target: Target
    rewrites: Sequence[Rewrite]
    path: Path
    finish: Callable[[Draft], Draft] = lambda draft: draft
    report: Callable[[str], None] = lambda text: None
    work: int = 0
    barred: Mapping[tuple[str, str], str] = field(default_factory=dict)
    prefer_speed: bool = False
    _refused: dict[tuple[str, str], str] = field(default_factory=dict)
    _singles: int = _SINGLE_PLACES
    _barred_in_turn: tuple[str, ...] = ()
    _predicted: WeakKeyDictionary[Draft, tuple[Network, Placement]] = field(default_factory=WeakKeyDictionary)

    def run(self, draft: Draft) -> Found:
        """Rewrite until nothing lowers the score."""
        steps: list[Taken] = []
        start, placement = draft, self.place(draft)
        while True:
            taken = self._next(draft, placement)
            if not taken:
                break
            for step in taken:
                self.report(step.applied.title)
            steps += taken
            draft = taken[-1].draft
            placement = self.place(draft)
        done = {site for step in steps for site in step.applied.sites}
        refused = [Refused(rewrite, site, why) for (rewrite, site), why in self._refused.items() if site not in done]
        present = {node_name(node) for node in draft.nodes}
        found = Found(draft, placement, tuple(steps), tuple(each for each in refused if each.site in present))
        if not (steps and self.prefer_speed):
            return found
        times = [self.estimated(start), *(self.estimated(step.draft) for step in steps)]
        return self.ended(found, times.index(min(times)), start)

    def without(self, rewrite: str, sites: Sequence[str], reason: str) -> Search:
        """The same search with a rewrite barred at some places; everywhere once that has happened a few times."""
        barred = {**self.barred, **dict.fromkeys(((rewrite, site) for site in sites), reason)}
        times = (*self._barred_in_turn, rewrite)
        kept = [each for each in self.rewrites if each.id != rewrite or times.count(rewrite) < _TIMES_BARRED]
        fresh = replace(self, _refused={}, _singles=_SINGLE_PLACES)
        return replace(fresh, rewrites=kept, barred=barred, _barred_in_turn=times)

    def ended(self, found: Found, kept: int, start: Draft) -> Found:
        """What was found, after its first `kept` steps."""
        steps = found.steps[:kept]
        draft = steps[-1].draft if steps else start
        return Found(draft, self.place(draft), steps, found.refused)

    def part_of(self, step: Taken, draft: Draft, sites: Sequence[str]) -> Draft:
        """The draft after one step at some of its places alone."""
        rewrite = next(each for each in self.rewrites if each.id == step.applied.rewrite)
        return self._everywhere(rewrite, draft, frozenset(sites))[0]

    def place(self, draft: Draft) -> Placement:
        """The prediction for a draft."""
        return self._prediction(draft)[1]

    def score(self, draft: Draft) -> Score:
        """The score of a draft."""
        return score_of(self.place(draft), self.work)

    def estimated(self, draft: Draft) -> float:
        """The latency in ms that is estimated of a draft, by which options of one score are told apart."""
        return latency_ms(*self._prediction(draft), self.target) or math.inf

    def _prediction(self, draft: Draft) -> tuple[Network, Placement]:
        """Its layers and where they run, made once while the draft lives: most of a search's time goes into these."""
        if draft not in self._predicted:
            model = self.finish(draft).model(self.path)
            network = network_of(model, self.target)
            self._predicted[draft] = network, check_network(model, network, self.target, self._answers)
        return self._predicted[draft]

    @cached_property
    def _answers(self) -> Mapping[str, Known]:
        """What boards answered, read once for the many predictions of a search."""
        return known_answers(self.target.board.soc, self.target.release.tensorrt, self.target.precision)

    def _next(self, draft: Draft, placement: Placement) -> list[Taken]:
        score = score_of(placement, self.work)
        options: list[tuple[Score, Rewrite, Draft, list[str]]] = []
        for rewrite in self._relevant(placement):
            after, sites = self._everywhere(rewrite, draft)
            if sites:
                options.append((self.score(after), rewrite, after, sites))
        better = [option for option in options if option[0].beats(score)]
        if better:
            least = min(option[0] for option in better)
            alike = [option for option in better if option[0] == least]
            best = alike[0] if len(alike) == 1 else min(alike, key=lambda option: self.estimated(option[2]))
            return [_step(best[1], best[2], best[3], (score, best[0]))]
        together = self._together(draft, score, [option[1] for option in options])
        if together:
            return together
        single = self._single(draft, score, options)
        for _, rewrite, _, sites in options:
            for site in sites:
                self._refused.setdefault((rewrite.id, site), _NO_GAIN)
        return single

    def _relevant(self, placement: Placement) -> list[Rewrite]:
        rules = {finding.rule for layer in placement.layers for finding in against(layer)}
        if placement.target.mode == "standalone":  # a constant folds in a hybrid build alone
            rules |= {finding.rule for layer in leftovers(placement) for finding in layer.findings}
        return [rewrite for rewrite in self.rewrites if rules & set(rewrite.answers)]

    def _everywhere(
        self, rewrite: Rewrite, draft: Draft, only: frozenset[str] | None = None
    ) -> tuple[Draft, list[str]]:
        """Apply one rewrite until it finds nothing more."""
        sites: list[str] = []
        bounds = Bounds(self.target)
        for _ in range(_AGAIN):
            edits, refused = rewrite.find(draft, bounds)
            for site, reason in refused.items():
                self._refused[rewrite.id, site] = reason
            edits = [edit for edit in edits if only is None or edit.site in only]
            edits = [edit for edit in edits if (rewrite.id, edit.site) not in self.barred]
            if not edits:
                break
            sites += [edit.site for edit in edits]
            draft = move_down(draft.apply(edits))
        return draft, list(dict.fromkeys(sites))

    def _together(self, draft: Draft, score: Score, rewrites: list[Rewrite]) -> list[Taken]:
        """All kinds at once, and those that answer to what these leave: layers in a row may each need another one."""
        made: list[tuple[Rewrite, Draft, list[str]]] = []
        tried: set[str] = set()
        for _ in range(2 if rewrites else 0):
            for rewrite in rewrites:
                draft, sites = self._everywhere(rewrite, draft)
                if sites:
                    made.append((rewrite, draft, sites))
            tried |= {rewrite.id for rewrite in rewrites}
            rewrites = [rewrite for rewrite in self._relevant(self.place(draft)) if rewrite.id not in tried]
        if len(made) < 2:
            return []
        if not self.score(draft).beats(score):
            return []
        steps, before = [], score
        for rewrite, after, sites in made:
            now = self.score(after)
            steps.append(_step(rewrite, after, sites, (before, now)))
            before = now
        return steps

    def _single(
        self, draft: Draft, score: Score, options: list[tuple[Score, Rewrite, Draft, list[str]]]
    ) -> list[Taken]:
        """The best single place among the first ones; a whole search tries only a few, since each is a prediction."""
        best: tuple[Score, Taken] | None = None
        for _, rewrite, _, sites in options:
            for site in sites[: self._singles] if len(sites) > 1 else ():
                self._singles -= 1
                after, touched = self._everywhere(rewrite, draft, frozenset({site}))
                now = self.score(after) if touched else score
                if now.beats(score) and (best is None or now < best[0]):
                    best = now, _step(rewrite, after, touched, (score, now))
        return [best[1]] if best else []


def score_of(placement: Placement, work: int = 0) -> Score:
    """What a rewrite must lower; `work` are the multiply-accumulates to take a share of (0: the placement's own)."""
    on_gpu, summary = [layer for layer in placement.layers if layer.device is Device.GPU], placement.summary
    gpu_macs = sum(layer.macs for layer in on_gpu)
    alone = placement.target.mode == "standalone"
    return Score(
        unread=len(no_engine(placement.findings)),
        refused=int(alone and not summary.standalone_ok),
        gpu_share=100 * gpu_macs // max(1, work or work_of(placement)),
        beyond=summary.loadables_before_cap - summary.loadables,
        loadables=summary.loadables_before_cap,
        switches=summary.switches,
        gpu_macs=gpu_macs,
        gpu_layers=len(on_gpu),
        leftovers=len(leftovers(placement)) if alone else 0,
        unknown=summary.unknown_layers,
    )


def work_of(placement: Placement) -> int:
    """The multiply-accumulates of a model."""
    return sum(layer.macs for layer in placement.layers)


def _step(rewrite: Rewrite, draft: Draft, sites: list[str], scores: tuple[Score, Score]) -> Taken:
    before, after = scores
    return Taken(Applied(rewrite.id, rewrite.title, rewrite.safety.value, sites, gain_of(before, after)), draft)


def gain_of(before: Score, after: Score) -> Gain:
    """What went away between two scores."""
    return Gain(
        before.switches - after.switches,
        before.loadables - after.loadables,
        before.gpu_macs - after.gpu_macs,
        before.gpu_layers - after.gpu_layers,
    )
