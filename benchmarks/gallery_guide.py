"""The tables of docs/guides/backbones.md and its Chinese page, from the survey in docs/gallery.jsonl: `make gallery`.

python benchmarks/gallery_guide.py
"""

from __future__ import annotations

import re
from pathlib import Path

from dlaflow.report.units import plain, si
from dlaflow.survey.page import Row, gallery_markdown, rows_of
from dlaflow.survey.store import read_results

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {
    DOCS / "guides/backbones.md": (" ({} to {})", ", "),
    DOCS / "zh/guides/backbones.md": ("（{} 到 {}）", "，"),
}
"""Each page with how it writes an interval and a comma."""
BEST_ON = "orin-nx-16gb, JetPack 6.2, INT8, MAXN"
BEST = 10


def main() -> None:
    """Replace the rows below the heads of both tables; the heads and all other words are the page's own."""
    results = read_results(DOCS / "gallery.jsonl")
    best = [row for row in rows_of(results)[BEST_ON] if row.whole][:BEST]
    counts = re.search(r"^\|--?.*?\n((?:\|.*\n)+)", gallery_markdown(results), re.MULTILINE)
    assert counts is not None
    for page, (interval, comma) in PAGES.items():
        text = page.read_text(encoding="utf-8")
        ranked = "".join(_line(place, row, interval) for place, row in enumerate(best, 1))
        text = _below("|--:|---|--:|--:|\n", ranked, text)
        page.write_text(_below("|---|--:|--:|--:|--:|--:|\n", counts[1].replace(", ", comma), text), encoding="utf-8")


def _line(place: int, row: Row, interval: str) -> str:
    rate = row.rate
    assert rate is not None
    ends = interval.format(plain(rate[0], 3), plain(rate[2], 3))
    name = row.result.model.name.replace("_", "&#95;")
    return f"| {place} | {name} | {si(row.result.macs)} | {plain(rate[1], 3)}{ends} |\n"


def _below(head: str, rows: str, text: str) -> str:
    """The text with other rows behind the one place where `head` stands."""
    return re.sub(f"(?<={re.escape(head)})(?:\\|.*\n)*", lambda _: rows, text, count=1)


if __name__ == "__main__":
    main()
