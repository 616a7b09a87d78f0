"""One self-contained HTML file: no network, names from the model stay text, a strict Content-Security-Policy.

The page is written by Jinja with autoescape on. Its only style and script stand in the page, and the policy names them
by hash, so nothing else can run; data for the graph is JSON in a block that browsers do not execute.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache, partial
from importlib import resources
from typing import TYPE_CHECKING

from dlaflow.report.accuracy import accuracy_facts, accuracy_rows, accuracy_scale, damage_rows
from dlaflow.report.against import against_of
from dlaflow.report.comparison_text import cells_of, sentences
from dlaflow.report.graph import graph_data
from dlaflow.report.grouping import group_findings, release_title
from dlaflow.report.interval import told, told_share
from dlaflow.report.profile_text import engine_name
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.strip import run_label, strip_of
from dlaflow.report.text import precisions_of
from dlaflow.report.timeline import timeline_of
from dlaflow.report.tradeoff import latency_of, tradeoff_of
from dlaflow.report.units import byte_size, count, percent, plain, si
from dlaflow.report.verdict import answer, headline, number
from dlaflow.types import Verdict
from dlaflow.version import __version__
from dlaflow.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SCRIPTS = ("page.js", "layout.js", "graph.js")
_STYLES = ("report.css", "graph.css")


def view_of(variant: Variant, anchor: str, scale: tuple[float, float] = (0.0, 1.0)) -> dict[str, object]:
    """What the template asks of one variant. `anchor` is its id in the page, `scale` the axis of accuracies."""
    placement = variant.placement
    groups = group_findings(placement) if placement else []
    return {
        "variant": variant,
        "anchor": anchor,
        "number": partial(number, variant),
        "placement": placement,
        "summary": placement.summary if placement else None,
        "answer": answer(variant),
        "strip": strip_of(placement) if placement else None,
        "groups": groups,
        "remarks": [group for group in groups if group.verdict is Verdict.NATIVE],  # of layers that stay on the DLA
        "macs": sum(layer.macs for layer in placement.layers) if placement else 0,
        "traffic": sum(switch.bytes for switch in placement.switches) if placement else 0,  # bytes in one run
        "accuracies": accuracy_rows(variant, scale),
        "damages": damage_rows(variant),
        "accuracy_facts": accuracy_facts(variant),
        "latency": latency_of(variant),
        "gain": _gain(variant),
        "against": against_of(variant),
        "timeline": timeline_of(variant.timeline),
    }


def _gain(variant: Variant) -> str:
    """What `dlaflow fix` would bring, where an estimate says so."""
    now, after = latency_of(variant), number(variant, "latency", "after fix")
    if after is None or now is None or after.value >= now.value:
        return ""
    before = f"{now.value:.2f} {now.unit}"
    return f"after `dlaflow fix` about {after.value:.2f} {after.unit} instead of {before} (estimated)"


def render(run: RunRecord) -> str:
    """The whole page of a run, with any number of variants."""
    scale = accuracy_scale(run)
    anchors = {f"v{index}": variant for index, variant in enumerate(run.variants)}
    placements = [variant.placement for variant in run.variants if variant.placement]
    on_dla = [placement.summary for placement in placements if placement.summary.loadables]
    return render_page(
        "report.html.j2",
        run=run,
        views=[view_of(variant, anchor, scale) for anchor, variant in anchors.items()],
        headline=headline(run),
        comparisons=[(each.names, cells_of(each), list(sentences(each))) for each in run.comparisons],
        target=placements[0].target if placements else None,
        best={name: min((getattr(each, name) for each in on_dla), default=-1) for name in ("loadables", "switches")},
        precisions=precisions_of(run),
        latency=any(map(latency_of, run.variants)),
        latency_source=latency_source(run),
        tradeoff=tradeoff_of(run.variants),
        graphs=graph_data(anchors),
    )


def render_page(template: str, *, graphs: str = "", scripts: tuple[str, ...] = (), **facts: object) -> str:
    """A template with the style, the script and the policy of all pages, and `scripts` of its own.

    `graphs` is what `graph_data` or `script_json` gives: data in a block that browsers do not execute.
    """
    from markupsafe import Markup

    folder = resources.files("dlaflow.report") / "templates"
    style, script = (
        "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
        for names in (_STYLES, scripts or _SCRIPTS)
    )
    return (
        _environment()
        .get_template(template)
        .render(
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
            graphs=Markup(graphs),
            **facts,
        )
    )


def latency_source(run: RunRecord) -> tuple[str, str] | None:
    """What the latencies are and what they rest on, from the first that says so."""
    for variant in run.variants:
        time = latency_of(variant)
        if time is not None:
            spread = f" (beside it its {time.spread_kind})" if time.spread is not None else ""
            return time.provenance.value, (time.detail or variant.name) + spread
    return None


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _shown(value: object) -> object:
    """What a template prints: names as text that neither acts nor turns its neighbours around."""
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _commands(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def _broken(name: str) -> Markup:
    """A long name that breaks before its slashes."""
    from markupsafe import Markup, escape

    return Markup("<wbr>/").join(escape(visible(part)) for part in name.split("/"))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dlaflow.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters.update(
        percent=percent, si=si, bytes=byte_size, count=count, label=run_label, release=release_title
    )
    environment.filters.update(
        told=told, told_share=told_share, commands=_commands, engine_name=engine_name, broken=_broken, plain=plain
    )
    return environment
