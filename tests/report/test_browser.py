"""The report in real Chromium: no console error, no request, and everything in it works."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dlaflow.profile.evidence import Evidence
from dlaflow.profile.profile import profile_of
from dlaflow.report.html import render
from dlaflow.report.profile_page import render_profiles
from dlaflow.report.records import RunRecord
from dlaflow.types import Measurement, Provenance
from tests.report.made_profiles import HOSTILE, capture_of, cold_profile, enqueue, logged_profile, placed


def write(tmp_path: Path, run: RunRecord) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def quiet(page, path: Path) -> None:
    assert page.errors == []
    assert page.requests == [path.as_uri()]


def test_the_walkthrough(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    path = write(tmp_path, walkthrough)
    page.open(path)
    assert page.run("document.querySelectorAll('section.variant').length") == 3
    assert page.run("document.querySelector('h1').textContent").startswith("model_bn_avgpool runs wholly on the DLA")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    quiet(page, path)


def test_what_scrolls_sideways_says_so(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    """Phones show no bar: a table that is cut off would look whole."""
    path = write(tmp_path, walkthrough)
    page.as_seen(420, "light")
    page.open(path)
    table = "document.querySelector('.overview .scroll')"
    cue = f"getComputedStyle({table}, '::after').content"
    assert page.run(f"{table}.scrollWidth > {table}.clientWidth")
    assert "Scrolls sideways" in page.run(cue)
    page.run(f"{table}.scrollLeft = 10000")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.run(cue) in ("none", "normal")
    page.as_seen(1280, "light")
    page.open(path)
    assert page.run(cue) in ("none", "normal")


def test_theme(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    path = write(tmp_path, walkthrough)
    page.open(path)
    colour = "getComputedStyle(document.body).backgroundColor"
    page.click("[data-theme-toggle]")
    light = page.run(colour)
    page.click("[data-theme-toggle]")
    assert page.run("document.querySelector('[data-theme-name]').textContent") == "Dark"
    assert page.run(colour) != light
    page.open(path)
    assert page.run("document.documentElement.dataset.theme") == "dark"


def test_strip_tooltip_keys_and_zoom(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    path = write(tmp_path, walkthrough)
    page.open(path)
    page.click(".strip .cell")
    tip = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
    assert "/cnn/cnn.0/Conv" in page.run(tip)
    page.run("document.querySelector('.strip-scroll').focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert "Switch: DLA → GPU" in page.run(tip)
    page.key("Escape")
    assert page.run(tip) == ""
    before = page.run("document.querySelector('.strip').getBoundingClientRect().width")
    page.click("[data-zoom=in]")
    assert page.run("document.querySelector('.strip').getBoundingClientRect().width") == pytest.approx(2 * before)
    quiet(page, path)


def test_graph_click_search_and_keys(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    path = write(tmp_path, walkthrough)
    page.open(path)
    page.click("[data-graph=v0] > summary")
    nodes = "document.querySelectorAll('[data-graph=v0] .node').length"
    assert page.run(nodes) == 31
    page.click("[data-graph=v0] [data-graph-none]")
    assert page.run(nodes) < 6
    page.click("[data-graph=v0] .node.module")
    assert page.run(nodes) > 6
    page.run("document.querySelector('[data-graph=v0] [data-graph-search]').focus()")
    page.type("instance dla601")
    assert page.run("document.querySelector('[data-graph=v0] .hits').textContent") == "4 found"
    side = page.run("document.querySelector('[data-graph=v0] .graph-side').textContent")
    assert "/cnn/cnn.1/InstanceNormalization" in side
    assert "Use instead: BatchNorm" in side
    page.run("document.querySelector('[data-graph=v0] .graph-svg').focus()")
    page.key("ArrowDown")
    assert page.run("document.querySelector('[data-graph=v0] .graph-side h4').textContent") == "/cnn/cnn.1/Reshape_1"
    page.click("[data-graph=v0] [data-graph-all]")
    page.click("[data-graph=v0] .node.dla")
    assert "CONVOLUTION" in page.run("document.querySelector('[data-graph=v0] .graph-side').textContent")
    quiet(page, path)


def test_nodes_of_the_graph_do_not_overlap(tmp_path: Path, long_run: RunRecord, page) -> None:
    path = write(tmp_path, long_run)
    page.open(path)
    page.click("[data-graph=v0] > summary")
    page.click("[data-graph=v0] [data-graph-all]")
    assignments = page.run(
        "[...document.querySelectorAll('[data-graph=v0] .node')].map((n) => n.getAttribute('transform')"
        ".match(/[-\\d.]+/g).map(Number))"
    )
    assert len(assignments) == 1000
    rows: dict[float, list[float]] = {}
    for x, y in assignments:
        rows.setdefault(y, []).append(x)
    for row in rows.values():
        row.sort()
        assert all(b - a >= 176 for a, b in pairwise(row))
    quiet(page, path)


def test_a_thousand_layers_stay_interactive(tmp_path: Path, long_run: RunRecord, page) -> None:
    path = write(tmp_path, long_run)
    assert path.stat().st_size < 2_000_000
    # The best of some tries: what is asked is what the page needs, not what its neighbours leave.
    seconds = min(page.open(path) for _ in range(5))
    opened = page.run(
        "(() => { const t = performance.now(); const d = document.querySelector('[data-graph=v0]'); d.open = true;"
        "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame("
        "() => done(performance.now() - t)))); })()"
    )
    assert seconds + opened / 1000 < 1.5
    assert page.errors == []
    assert set(page.requests) == {path.as_uri()}


def test_measured_strip_and_timeline(tmp_path: Path, measured_run: RunRecord, page) -> None:
    path = write(tmp_path, measured_run)
    page.open(path)
    assert page.run("document.querySelectorAll('.strip').length") == 3
    page.click(".timeline .span.dla")
    tip = "document.getElementById('tip').textContent"
    assert "{ForeignNode[a...b]}" in page.run(tip)
    page.run("document.querySelector('.timeline .strip-scroll').focus()")
    page.key("Home")
    assert "Reformatting <b>" in page.run(tip)
    before = page.run("document.querySelector('.timeline .strip').getBoundingClientRect().width")
    page.click(".timeline [data-zoom=in]")
    assert page.run("document.querySelector('.timeline .strip').getBoundingClientRect().width") == pytest.approx(
        2 * before
    )
    quiet(page, path)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_of_both_themes(tmp_path: Path, walkthrough: RunRecord, page, theme: str) -> None:
    """Kept where DLAFLOW_SHOTS says, as artefacts of the tests; told to be of the theme by their first pixel."""
    folder = Path(os.environ.get("DLAFLOW_SHOTS", tmp_path))
    page.open(write(tmp_path, walkthrough))
    page.run(f"document.documentElement.dataset.theme = '{theme}'")
    picture = page.picture(folder / f"report_{theme}.png")
    red, green, blue = picture.convert("RGB").getpixel((2, 2))
    assert (min(red, green, blue) > 200) is (theme == "light")
    assert (max(red, green, blue) < 60) is (theme == "dark")
    assert len(picture.convert("RGB").resize((64, 64)).getcolors(4096)) > 20


def test_filter_of_the_layer_table(tmp_path: Path, long_run: RunRecord, page) -> None:
    path = write(tmp_path, long_run)
    page.open(path)
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.run("document.querySelector('[data-filter=v0-layers]').focus()")
    page.type("gpu dla701")
    assert page.run("[...document.getElementById('v0-layers').tBodies[0].rows].filter((r) => !r.hidden).length") == 5
    quiet(page, path)


def test_hostile_names_stay_text(tmp_path: Path, hostile_run: RunRecord, page) -> None:
    path = write(tmp_path, hostile_run)
    page.open(path)
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.run(
        "for (const n of document.querySelectorAll('.cell')) n.dispatchEvent(new Event('pointerover', {bubbles: true}))"
    )
    page.click("[data-graph=v0] [data-graph-all]")
    page.click("[data-graph=v0] .node")
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('img, iframe, script[src], body [onload], body [onerror]').length") == 0
    assert page.run("document.querySelectorAll('script').length") == 2
    assert page.run("document.querySelector('.crumb').textContent") == "<script>window.hacked=1</script>"
    wide = (
        "[...document.querySelectorAll('main *, header *')].filter((e) => e.getBoundingClientRect().right > innerWidth)"
    )
    wide += ".filter((e) => !e.closest('.scroll, .graph-pane, .strip')).map((e) => e.outerHTML.slice(0, 80))"
    assert page.run(wide) == []
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    quiet(page, path)


def test_the_policy_stops_what_it_did_not_name(tmp_path: Path, walkthrough: RunRecord, page) -> None:
    path = write(tmp_path, walkthrough)
    path.write_text(path.read_text().replace("</main>", "<script>window.hacked=1</script></main>"))
    page.open(path)
    assert page.run("window.hacked === undefined")
    assert any("Content Security Policy" in error for error in page.errors)


@pytest.mark.parametrize("name", ["walkthrough", "hostile_run", "measured_run", "profile_page", "predicted_page"])
def test_axe_finds_nothing_serious(tmp_path: Path, request: pytest.FixtureRequest, name: str, page) -> None:
    axe = os.environ.get("DLAFLOW_AXE")
    if not axe:
        pytest.skip("DLAFLOW_AXE does not name axe.min.js (npm install axe-core)")
    made = request.getfixturevalue(name)
    page.open(made if isinstance(made, Path) else write(tmp_path, made))
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page.run(Path(axe).read_text() + "; 1")
    for _ in ("auto", "light", "dark"):
        found = page.run(
            "axe.run().then((r) => r.violations.map((v) => [v.impact, v.id, v.nodes[0].html.slice(0, 200)]))"
        )
        assert [each for each in found if each[0] in {"serious", "critical"}] == []
        page.click("[data-theme-toggle]")


@pytest.fixture
def profile_page(tmp_path: Path) -> Path:
    path = tmp_path / "profile.html"
    path.write_text(render_profiles([cold_profile(), logged_profile()]), encoding="utf-8")
    return path


def test_the_timeline_of_a_profile_zooms_and_names_its_spans(profile_page: Path, page) -> None:
    page.open(profile_page)
    width = "document.querySelector('.timeline .strip').getBoundingClientRect().width"
    tip = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
    labels = "[...document.querySelectorAll('.timeline .ticks')[0].children].map((each) => each.textContent)"
    pane = "document.querySelector('.timeline .strip-scroll')"
    whole = page.run(width)
    assert page.run(labels)[:2] == ["0 ms", "1"], "an inference of 8 ms"
    assert page.run(labels)[-1] == "8"
    assert page.run(tip) == ""
    page.hover(".timeline .span.dla")
    assert page.run(tip) == "{ForeignNode[a...b]}dla · DLA · 5 ms, from 1 ms"
    page.run(f"{pane}.focus({{focusVisible: true}})")
    assert "reformat" in page.run(tip), "the first span is named as soon as the keyboard is there"
    page.key("ArrowRight")
    assert page.run(tip).startswith('gemm <"&">gpu · host'), "the host works ahead: its span begins before the picture"
    page.key("ArrowRight")
    assert page.run(tip).startswith("{ForeignNode[a...b]}dla · DLA")
    page.key("End")
    assert page.run(tip).startswith("out copy")
    page.key("Escape")
    assert page.run(tip) == ""
    for _ in range(3):
        page.key("+")
    assert page.run(width) == pytest.approx(8 * whole)
    assert page.run(labels)[1] == "0.2", "eight times the width, ticks five times as fine"
    page.key("-")
    assert page.run(width) == pytest.approx(4 * whole)
    page.key("0")
    assert page.run(width) == pytest.approx(whole)
    page.wheel(".timeline .strip-scroll", -200)
    zoomed = page.run(width)
    assert zoomed == pytest.approx(whole * math.e, rel=1e-4)
    assert page.run(f"{pane}.scrollLeft") > 0, "what lies under the pointer stays there"
    page.click(".timeline [data-zoom=all]")
    assert page.run(width) == pytest.approx(whole)
    page.run("document.activeElement.blur()")
    page.wheel(".timeline .strip-scroll", 200)
    assert page.run(width) == pytest.approx(whole), "the page scrolls past a timeline that nobody works in"
    quiet(page, profile_page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1400])
def test_the_page_of_a_profile_fits_and_follows_the_system(profile_page: Path, page, scheme: str, width: int) -> None:
    page.as_seen(width, scheme)
    page.open(profile_page)
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    red = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(red) > 200) is (scheme == "light")
    reason = "[...document.querySelectorAll('td')].find((each) => each.textContent.includes('AVG Reduce'))"
    assert page.run(f"{reason}.getBoundingClientRect().right <= innerWidth"), "nobody scrolls sideways for the reason"
    quiet(page, profile_page)


def test_hostile_names_stay_text_in_a_profile(tmp_path: Path, page) -> None:
    path = tmp_path / "profile.html"
    enqueues = [enqueue(100 * at, name) for at, name in enumerate(HOSTILE)]
    profile = profile_of(Evidence(HOSTILE[0], capture=capture_of(enqueues)))
    path.write_text(render_profiles([profile]), encoding="utf-8")
    page.as_seen(420, "light")
    page.open(path)
    page.run(
        "for (const n of document.querySelectorAll('.span')) n.dispatchEvent(new Event('pointerover', {bubbles: true}))"
    )
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('img, iframe, script[src], body [onload], body [onerror]').length") == 0
    assert page.run("document.querySelectorAll('script').length") == 1
    assert page.run("document.querySelector('h2').textContent") == HOSTILE[0]
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    quiet(page, path)


@pytest.fixture
def predicted_page(tmp_path: Path) -> Path:
    """The board ran the pool on the GPU, which was predicted on the DLA."""
    rows = [(name, "CONVOLUTION", "DLA", 10) for name in ("a", "b", "pool", "fc")]
    made = placed(rows)
    layers = [replace(layer, inputs=[f"t{at}"], outputs=[f"t{at + 1}"]) for at, layer in enumerate(made.layers)]
    estimated = [Measurement("latency", "DLA with fallback", 5.0, "ms", 0, 1.0, provenance=Provenance.ESTIMATED)]
    profile = logged_profile(replace(made, layers=layers))
    times = (*profile.measurements, Measurement("latency", "logged", 7.0, "ms", 9))
    path = tmp_path / "predicted.html"
    path.write_text(render_profiles([replace(profile, measurements=times)], estimated), encoding="utf-8")
    return path


def test_prediction_and_measurement_layer_by_layer(predicted_page: Path, page) -> None:
    page.open(predicted_page)
    cells = "[...document.querySelectorAll('#v0-{} tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    said = "pool: DLA cores do not support AVG Reduce operation."
    assert page.run(cells.format("differing")) == [
        ["pool", "CONVOLUTION", "DLA 0", "GPU", "differs", said],
        ["fc", "CONVOLUTION", "DLA 0", "DLA 1", "regrouped", ""],
    ]
    assert [row[0] for row in page.run(cells.format("sides"))] == ["a", "b", "pool", "fc"]
    sides = page.run("[...document.querySelectorAll('.sides tbody tr')].map((r) => r.textContent.trim())")
    assert sides == ["Loadables12differs", "Switches02differs", "Latency5 (4 to 6) ms (estimated)7 msdiffers"]
    page.run("document.querySelector('[data-filter=v0-sides]').closest('details').open = true")
    page.run("document.querySelector('[data-filter=v0-sides]').focus()")
    page.type("agrees")
    rows = "[...document.getElementById('v0-sides').tBodies[0].rows].filter((r) => !r.hidden).length"
    assert page.run(rows) == 2
    page.click("[data-graph=v0] > summary")
    drawn = "document.querySelectorAll('[data-graph=v0] .node').length"
    page.run(f"new Promise((done) => {{ const look = () => {drawn} ? done() : requestAnimationFrame(look); look(); }})")
    assert page.run(drawn) == 4
    quiet(page, predicted_page)
