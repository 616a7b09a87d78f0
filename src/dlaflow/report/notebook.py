"""Records as a notebook shows them: each is the record itself with a `_repr_html_` and the command's text as `str()`.

The pages stand inside somebody else's page, so they carry no style sheet and no script, every name is escaped, and the
text takes the notebook's own colours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TypeVar

from dlaflow.build.engine import BuildResult
from dlaflow.errors import InputError
from dlaflow.estimate.answer import Estimate, Range
from dlaflow.estimate.text import estimate_text, speed_text
from dlaflow.quantize.calibration import Calibration
from dlaflow.report.check_text import placement_text
from dlaflow.report.compare import Regression
from dlaflow.report.comparison_text import cells_of, sentences
from dlaflow.report.fix_text import fix_text
from dlaflow.report.grouping import group_findings
from dlaflow.report.interval import told
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.strip import strip_of
from dlaflow.report.text import run_markdown
from dlaflow.report.units import percent
from dlaflow.report.verdict import answer, headline
from dlaflow.rewrites.records import FixReport
from dlaflow.types import Device, Measurement, Placement

_COLOUR = {Device.DLA: "#6aa716", Device.GPU: "#9aa2a8"}
_SWITCH = "#d92d3a"
_SHOWN = 40
_Shown = TypeVar("_Shown")


def show(kind: type[_Shown], record: object) -> _Shown:
    """The record as its notebook kind, which has the same fields and is one of its subclasses."""
    names = [each.name for each in dataclasses.fields(record)]  # type: ignore[arg-type]
    return kind(**{name: getattr(record, name) for name in names})


class ShownPlacement(Placement):
    """A placement: the strip of layers, the answer and the reasons."""

    __slots__ = ()
    __str__ = placement_text

    def _repr_html_(self) -> str:
        rows = [
            [group.rule, group.verdict.value, group.count, group.first.layer, group.title, group.first.fix]
            for group in group_findings(self)
        ]
        name = Path(self.model.path).stem
        reasons = _table(("rule", "verdict", "layers", "first layer", "condition", "use instead"), rows)
        return _strip(self) + _line(answer(Variant(name, placement=self)).sentence) + (reasons if rows else "")


class ShownEstimate(Estimate):
    """An estimate: its ranges, and whether the DLA pays."""

    __slots__ = ()

    def __str__(self) -> str:
        return estimate_text(self, "model")

    def _repr_html_(self) -> str:
        ranges: list[tuple[str, Range | None, str]] = [
            ("latency", self.latency, "ms"),
            ("one core", self.throughput, "images/s"),
            ("both cores", self.two_cores, "images/s"),
            ("cores and GPU", self.with_gpu, "images/s"),
            ("GPU alone", self.gpu_alone, "ms"),
            ("after fix", self.after_fix, "ms"),
            ("energy", self.energy_mj, "mJ/image"),
        ]
        rows = [
            [name, f"{found.value:.3g}", f"{found.low:.3g} to {found.high:.3g}", unit]
            for name, found, unit in ranges
            if found
        ]
        summary = f"{self.board}, {self.mode}, {self.precision}, batch {self.batch}; rests on {self.basis}"
        advice = f"Worth it: {self.advice.worth.value}. {self.advice.reason}"
        return _table(("estimated", "median", "80% interval", "unit"), rows) + _line(advice) + _line(summary)


class ShownFix(FixReport):
    """What a fix did: before and after, and each rewrite with its gain."""

    __slots__ = ()
    __str__ = fix_text

    def _repr_html_(self) -> str:
        before, after = self.before, self.after
        counts = [
            ("switches", before.switches, after.switches),
            ("loadables", before.loadables, after.loadables),
            ("layers on the GPU", before.gpu_layers, after.gpu_layers),
            ("MACs on the DLA", percent(before.dla_mac_share), percent(after.dla_mac_share)),
        ]
        rewrites = [
            (each.rewrite, each.safety, len(each.sites), each.gain.switches, each.gain.loadables)
            for each in self.applied
        ]
        head = ("rewrite", "safety", "places", "switches less", "loadables less")
        speed = _line(speed_text(self.speed)) if self.speed else ""
        return _table(("", "before", "after"), counts) + speed + (_table(head, rewrites) if rewrites else "")


class ShownCalibration(Calibration):
    """A calibration: its tensors with their scales."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        rows = [
            [each.name, f"{each.scale:.6g}", f"{each.largest:.6g}", each.origin or each.method]
            for each in self.tensors[:_SHOWN]
        ]
        summary = f"{len(self.tensors)} tensors from {self.images} images by {self.method}" + (
            f", the first {_SHOWN} below" if len(self.tensors) > _SHOWN else ""
        )
        warnings = "".join(_line(f"warning: {each}") for each in self.warnings)
        return _line(summary) + warnings + _table(("tensor", "scale", "largest seen", "from"), rows)


class ShownBuild(BuildResult):
    """A finished engine: what it was built for, and the cautions."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        made = self.manifest
        summary = f"{self.engine}: {made.bytes / 1e6:.1f} MB in {made.seconds:.1f} s, {made.mode}"
        return _line(summary) + "".join(_line(f"caution: {each.message} {each.then}") for each in self.cautions)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` measured: `data` says on which images, `measurements` are top1, agreement (%) and images/s."""

    data: str
    measurements: list[Measurement]

    def top1(self, model: str | None = None) -> Measurement:
        """The top-1 of a model by the stem of its file name (None: of the first one), in percent.

        Raises InputError when there is no such model.
        """
        found = [each for each in self.measurements if each.quantity == "top1" and model in (None, each.subject)]
        if not found:
            known = [each.subject for each in self.measurements if each.quantity == "top1"]
            raise InputError("no such model was evaluated", expected=" or ".join(known), received=model)
        return found[0]

    def _repr_html_(self) -> str:
        rows = []
        for each in self.measurements:
            interval = told(each, "{:,.2f}", "{:.2f}")
            rows.append((each.subject, each.quantity, f"{each.value:,.2f}", interval, each.unit, each.n))
        return _line(self.data) + _table(("model", "quantity", "value", "95% interval", "unit", "images"), rows)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; `regressions` is what got worse from the first to the last, empty when nobody asked."""

    run: RunRecord
    regressions: list[Regression] = field(default_factory=list)

    def __str__(self) -> str:
        return run_markdown(self.run, self.regressions or None)

    def _repr_html_(self) -> str:
        checked = [(each.name, each.placement) for each in self.run.variants if each.placement]
        strips = "".join(_line(name) + _strip(placement) for name, placement in checked)
        totals = [(name, placed.summary) for name, placed in checked]
        rows = [(name, total.loadables, total.switches, percent(total.dla_mac_share)) for name, total in totals]
        worse = [[each.variant, each.what, each.before, each.after] for each in self.regressions]
        table = _table(("variant", "loadables", "switches", "MACs on the DLA"), rows)
        tail = _table(("worse", "what", "before", "after"), worse) if worse else ""
        for each in self.run.comparisons:
            tail += _table(("", *each.names), cells_of(each)) + "".join(map(_line, sentences(each)))
        return _line(headline(self.run)) + strips + table + tail


def _strip(placement: Placement) -> str:
    """The layers in order: green on the DLA, grey on the GPU, a red line where a tensor crosses."""
    strip = strip_of(placement)
    crossed = {each.place for each in strip.crossings}
    cells = []
    for run in strip.runs:
        if run.start in crossed:
            cells.append(f'<span title="switch" style="flex:none;width:4px;background:{_SWITCH}"></span>')
        summary = f"{run.device.value}: {run.layers[0].name} ... {run.layers[-1].name} ({len(run.layers)} layers)"
        style = f"flex:{len(run.layers)};min-width:2px;background:{_COLOUR[run.device]}"
        cells.append(f'<span title="{escape(summary)}" style="{style}"></span>')
    label = f"{placement.summary.loadables} loadables, {placement.summary.switches} switches"
    return f'<div role="img" aria-label="{label}" style="display:flex;height:24px;gap:1px">{"".join(cells)}</div>'


def _line(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
