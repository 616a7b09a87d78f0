"""The gallery in real Chromium: sorted, filtered, searched with the keyboard, opened; nothing is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dlaflow.survey.page import gallery_page
from dlaflow.survey.records import Result
from tests.report.conftest import Page
from tests.report.made_profiles import HOSTILE
from tests.survey.conftest import made

NAMES = (
    "[...document.querySelectorAll('tbody:not([hidden]) tr[data-name]:not([hidden])')].map((row) => row.dataset.name)"
)


def write(folder: Path, results: list[Result]) -> Path:
    path = folder / "gallery.html"
    path.write_text(gallery_page(results), encoding="utf-8")
    return path


def opened(page: Page, path: Path) -> None:
    page.open(path)
    assert page.run("document.getElementById('shown').textContent")


def test_sort_filter_search_and_open(tmp_path: Path, page: Page) -> None:
    results = [
        made("fits", 300, fits=True, family="vgg"),
        made("slow", 100, fits=False),
        made("fast", 500, fits=False),
    ]
    slower = [replace(each, slower="Estimated slower: 200 -> 100 images/s") for each in results[1].boards]
    results[1] = replace(results[1], boards=slower)
    later = [replace(result, case=replace(result.case, release="5.1.3")) for result in results[:1]]
    later[0] = replace(later[0], before=replace(later[0].before, parsed=False))
    path = write(tmp_path, [*results, *later])
    opened(page, path)
    assert page.run(NAMES) == ["fits", "fast", "slow"], "what fits comes first"

    page.click("[data-key=name]")
    assert page.run(NAMES) == ["fast", "fits", "slow"]
    page.click("[data-key=name]")
    assert page.run(NAMES) == ["slow", "fits", "fast"]
    page.click("[data-key=rate]")
    assert page.run(NAMES) == ["fast", "fits", "slow"]
    assert page.run("document.querySelector('[data-key=rate]').getAttribute('aria-sort')") == "descending"
    page.click("#grouped")
    assert page.run(NAMES) == ["fast", "slow", "fits"], "family by family"
    page.click("#grouped")

    page.click("#find")
    page.type("estimated slower")
    assert page.run(NAMES) == ["slow"], "what a fix slows down is found"
    page.run(
        "(() => { const f = document.getElementById('find'); f.value = ''; f.dispatchEvent(new Event('input')); })()"
    )
    page.click("#whole")
    assert page.run(NAMES) == ["fits"]
    page.click("#whole")

    # The keyboard alone: search, walk, open.
    page.run("document.activeElement.blur()")
    page.key("/")
    page.type("resnet slow")
    assert page.run(NAMES) == ["slow"]
    assert page.run("document.getElementById('shown').textContent") == "1 of 3"
    page.key("ArrowDown")
    assert page.run("document.activeElement.textContent") == "slow"
    page.run("document.activeElement.click()")
    detail = page.run("document.querySelector('tr.detail').textContent")
    assert "DLA250, 2 layers, conditional: AVG reduction of <script>alert(1)</script>" in detail
    assert "mean-pooling, 2 places" in detail
    assert "dlaflow fix slow.onnx --out fixed.onnx" in detail
    page.click("tr.detail [data-goto]")
    assert page.run("document.activeElement.textContent") == "fits"
    assert page.run(NAMES) == ["fast", "fits", "slow"], "the filters make way for it"

    page.run(
        "(() => { const s = document.getElementById('target'); s.value = '2'; s.dispatchEvent(new Event('input')); })()"
    )
    assert page.run(NAMES) == ["fits"], "the other release"
    page.click("tbody:not([hidden]) .more")
    assert "before, were it read: " in page.run("document.querySelector('tbody:not([hidden]) tr.detail').textContent")
    row = page.run("document.querySelector('tbody:not([hidden]) tr[data-name]').textContent")
    assert "read after fix alone" in row
    assert "before" not in row, "no engine comes of it: there is no rate to compare"
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.errors == []
    assert page.requests == [path.as_uri()]


def test_hostile_names_do_nothing(tmp_path: Path, page: Page) -> None:
    path = write(tmp_path, [made(name, 100 + index, fits=False, family=name) for index, name in enumerate(HOSTILE)])
    opened(page, path)
    for button in range(len(set(HOSTILE))):
        page.run(f"document.querySelectorAll('tbody:not([hidden]) .more')[{button}].click()")
    assert page.run("document.querySelectorAll('tr.detail').length") == len(set(HOSTILE))
    assert page.errors == []
    assert page.requests == [path.as_uri()]


def test_an_empty_gallery(tmp_path: Path, page: Page) -> None:
    path = write(tmp_path, [])
    page.open(path)
    assert page.errors == []
