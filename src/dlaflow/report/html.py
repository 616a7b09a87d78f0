"""One self-contained HTML file: no network, names from the model stay text, a strict Content-Security-Policy.

The page is written by Jinja with autoescape on. Its only style and script stand in the page, and the policy names them
by hash, so nothing else can run; data for the graph is JSON in a block that browsers do not execute.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from dlaflow.report.accuracy import AccuracyRow, DamageRow, accuracy_facts, accuracy_rows, damage_rows
from dlaflow.report.against import Against, against_of
from dlaflow.report.graph import graph_data
from dlaflow.report.grouping import FindingGroup, group_findings, release_title
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.strip import Strip, run_label, strip_of
from dlaflow.report.timeline import Timeline, timeline_of
from dlaflow.report.tradeoff import latency_of, tradeoff_of
from dlaflow.report.units import byte_size, count, percent, si
from dlaflow.report.verdict import PRECISIONS, Answer, answer, headline, number
from dlaflow.types import Measurement, Placement, Summary, Verdict
from dlaflow.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

_SCRIPTS = ("page.js", "layout.js", "graph.js")
_STYLES = ("report.css", "graph.css")


@dataclass(frozen=True)
class VariantView:
    """What the template asks of one variant. `anchor` is its id in the page."""

    variant: Variant
    anchor: str
    scale: tuple[float, float]

    @property
    def placement(self) -> Placement | None:
        return self.variant.placement

    @property
    def summary(self) -> Summary | None:
        return self.placement.summary if self.placement else None

    @cached_property
    def answer(self) -> Answer:
        return answer(self.variant)

    @cached_property
    def strip(self) -> Strip | None:
        return strip_of(self.placement) if self.placement else None

    @cached_property
    def groups(self) -> list[FindingGroup]:
        return group_findings(self.placement) if self.placement else []

    @property
    def remarks(self) -> list[FindingGroup]:
        """Groups about layers that stay on the DLA."""
        return [group for group in self.groups if group.verdict is Verdict.NATIVE]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.placement.layers) if self.placement else 0

    @property
    def traffic(self) -> int:
        """Bytes that the switches move in one run."""
        return sum(switch.bytes for switch in self.placement.switches) if self.placement else 0

    @cached_property
    def accuracies(self) -> list[AccuracyRow]:
        return accuracy_rows(self.variant, self.scale)

    @cached_property
    def damages(self) -> list[DamageRow]:
        return damage_rows(self.variant)

    @cached_property
    def accuracy_facts(self) -> list[str]:
        return accuracy_facts(self.variant)

    @property
    def latency(self) -> Measurement | None:
        return latency_of(self.variant)

    @property
    def gain(self) -> str:
        """What `dlaflow fix` would bring, where an estimate says so."""
        after = number(self.variant, "latency", "after fix")
        if after is None or self.latency is None or after.value >= self.latency.value:
            return ""
        now = f"{self.latency.value:.2f} {self.latency.unit}"
        return f"after `dlaflow fix` about {after.value:.2f} {after.unit} instead of {now} (estimated)"

    def number(self, quantity: str, subject: str) -> Measurement | None:
        return number(self.variant, quantity, subject)

    @cached_property
    def against(self) -> Against | None:
        return against_of(self.variant)

    @cached_property
    def timeline(self) -> Timeline | None:
        return timeline_of(self.variant.timeline)


@dataclass(frozen=True, slots=True)
class _Best:
    loadables: int
    switches: int


def render(run: RunRecord) -> str:
    """The whole page of a run, with any number of variants."""
    from markupsafe import Markup

    scale = _accuracy_scale(run)
    views = [VariantView(variant, f"v{index}", scale) for index, variant in enumerate(run.variants)]
    placements = [variant.placement for variant in run.variants if variant.placement]
    on_dla = [placement.summary for placement in placements if placement.summary.loadables]
    graphs = graph_data({view.anchor: view.variant for view in views})
    return render_page(
        "report.html.j2",
        run=run,
        views=views,
        headline=headline(run),
        target=placements[0].target if placements else None,
        best=_Best(
            min((summary.loadables for summary in on_dla), default=-1),
            min((summary.switches for summary in on_dla), default=-1),
        ),
        precisions=[name for name in PRECISIONS if any(number(v, "top1", name) for v in run.variants)],
        latency=any(view.latency for view in views),
        latency_source=_latency_source(run),
        tradeoff=tradeoff_of(run.variants),
        graphs=Markup(graphs),
    )


def render_page(template: str, **facts: object) -> str:
    """A template with the style, the script and the policy of all pages."""
    from markupsafe import Markup

    style, script = (_joined(names) for names in (_STYLES, _SCRIPTS))
    return (
        _environment()
        .get_template(template)
        .render(version=__version__, style=Markup(style), script=Markup(script), policy=_policy(style, script), **facts)
    )


def _latency_source(run: RunRecord) -> tuple[str, str] | None:
    """What the latencies are and what they rest on, from the first that says so."""
    for variant in run.variants:
        time = latency_of(variant)
        if time is not None:
            spread = f" (± is the {time.spread_kind})" if time.spread is not None else ""
            return time.provenance.value, (time.detail or variant.name) + spread
    return None


def _accuracy_scale(run: RunRecord) -> tuple[float, float]:
    """One accuracy axis for all variants, so that their intervals can be compared by eye."""
    shown = [m for variant in run.variants for name in PRECISIONS if (m := number(variant, "top1", name))]
    low = min((m.value - (m.spread or 0) for m in shown), default=0.0)
    high = max((m.value + (m.spread or 0) for m in shown), default=1.0)
    margin = max(high - low, 0.02) * 0.15
    return max(low - margin, 0.0), min(high + margin, 1.0)


def _joined(names: tuple[str, ...]) -> str:
    folder = resources.files("dlaflow.report") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dlaflow.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        percent=percent, si=si, bytes=byte_size, count=count, label=run_label, release=release_title
    )
    return environment
