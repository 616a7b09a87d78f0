"""Each Chinese page against the English one that it translates: what is not language is the same in both.

Held section by section, so that neither page can move on alone: headings, commands and what they print, tables and
lists, every figure, every name in code, and links, which lead to a Chinese page where there is one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import markdown  # type: ignore[import-untyped]
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CHINESE = DOCS / "zh"
README = ROOT / "README.zh.md"
PAGES = [README, *sorted(CHINESE.rglob("*.md"))]
TWINS = [page for page in PAGES if page.name != "glossary.md"]
HEADINGS = ("h1", "h2", "h3", "h4")
WITH_COMMENTS = ("sh", "bash", "python", "toml", "yaml")
"""Languages whose comments a block may have in Chinese. What a terminal shows is the same to the letter."""
BLOCKS = ("p", "ul", "ol", "pre", "div", "table")
BLANK = re.compile(r"[\u3001-\u303f\u4e00-\u9fff\uff01-\uff5e] [\u4e00-\u9fff]")
SPELT = 20
"""Numbers up to this one may be words in English and figures in Chinese."""


@dataclass
class Section:
    """What stands below one heading, as far as it is no language."""

    heading: str
    level: str
    blocks: list[str] = field(default_factory=list)
    tables: list[list[list[ElementTree.Element]]] = field(default_factory=list)
    items: int = 0
    words: str = ""
    names: set[str] = field(default_factory=set)


def tree(page: Path) -> ElementTree.Element:
    """The page as MkDocs reads it."""
    parts = ["tables", "attr_list", "def_list", "admonition", "pymdownx.superfences", "pymdownx.highlight"]
    settings = {"pymdownx.highlight": {"use_pygments": False}}
    html = markdown.markdown(page.read_text(encoding="utf-8"), extensions=parts, extension_configs=settings)
    return ElementTree.fromstring(f"<div>{html.replace('&nbsp;', ' ')}</div>")


def text(element: ElementTree.Element, code: bool = False) -> str:
    """The words of an element, with or without its names in code; an address is none of its words."""
    inner = "" if element.tag == "code" and not code else element.text or ""
    return inner + "".join(text(each, code) + (each.tail or "") for each in element)


def codes(element: ElementTree.Element) -> list[str]:
    """The names in code; a break of a line in one is a blank."""
    return [" ".join("".join(each.itertext()).split()) for each in element.iter("code")]


def figures(words: str) -> list[str]:
    return re.findall(r"\d+(?:[.,]\d+)*", words)


def sections(page: Path) -> list[Section]:
    found: list[Section] = []
    for element in tree(page):
        if element.tag in HEADINGS:
            found.append(Section(text(element, code=True), element.tag))
        elif element.tag == "table":
            rows = [[*row] for row in element.iter("tr")]
            found[-1].tables.append(rows)
        if element.tag == "table":
            continue
        section = found[-1]
        section.blocks += [block(each) for each in element.iter() if each.tag == "pre"]
        section.items += sum(each.tag in ("li", "dd") for each in element.iter())
        for pre in [each for each in element.iter() if each.tag == "pre"]:
            pre.clear()
        section.words += text(element) + "\n"
        section.names |= set(codes(element)) - {""}
    return found


def block(pre: ElementTree.Element) -> str:
    content = "".join(pre.itertext())
    kind = next((each.get("class", "") for each in pre.iter("code")), "").removeprefix("language-")
    return re.sub(r"[ ]*(?:^|[ ])#.*$", "", content, flags=re.MULTILINE) if kind in WITH_COMMENTS else content


def twin(page: Path) -> Path:
    """The English page."""
    return ROOT / "README.md" if page == README else DOCS / page.relative_to(CHINESE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


pairs = pytest.mark.parametrize("page", TWINS, ids=name_of)
every = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pairs
def test_headings_and_commands(page: Path) -> None:
    ours, theirs = sections(page), sections(twin(page))
    assert [each.level for each in ours] == [each.level for each in theirs], [each.heading for each in theirs]
    for own, english in zip(ours, theirs, strict=True):
        assert own.blocks == english.blocks, english.heading
        assert own.items == english.items, f"{english.heading}: entries of lists"


@pairs
def test_figures_and_names(page: Path) -> None:
    for own, english in zip(sections(page), sections(twin(page)), strict=True):
        ours, theirs = set(figures(own.words)), set(figures(english.words))
        assert not theirs - ours, f"{english.heading}: missing in Chinese: {sorted(theirs - ours)}"
        strange = {each for each in ours - theirs if not each.isdigit() or int(each) > SPELT}
        assert not strange, f"{english.heading}: not in English: {sorted(strange)}"
        assert not english.names ^ own.names, f"{english.heading}: names in code: {sorted(english.names ^ own.names)}"


@pairs
def test_tables(page: Path) -> None:
    for own, english in zip(sections(page), sections(twin(page)), strict=True):
        assert len(own.tables) == len(english.tables), english.heading
        for ours, theirs in zip(own.tables, english.tables, strict=True):
            assert [len(row) for row in ours] == [len(row) for row in theirs], english.heading
            for cell, original in zip(chain(*ours), chain(*theirs), strict=True):
                told = text(original, code=True)
                assert Counter(codes(cell)) == Counter(codes(original)), told
                more = Counter(figures(text(cell))) - Counter(figures(text(original)))
                missing = Counter(figures(text(original))) - Counter(figures(text(cell)))
                assert not missing, told
                assert all(each.isdigit() and int(each) <= SPELT for each in more), told


def links(page: Path) -> list[tuple[str, str]]:
    """Where each link leads, a file by its path in the repository, and the words that it is under."""
    found = []
    for link in tree(page).iter("a"):
        address, hash_, anchor = link.get("href", "").partition("#")
        target = address
        if "://" not in address:
            target = os.path.relpath(os.path.normpath(page.parent / address), ROOT) if address else name_of(page)
        if address or anchor:
            found.append((target + hash_ + anchor, text(link)))
    return found


@every
def test_links_stay_in_chinese(page: Path) -> None:
    for target, words in links(page):
        path = Path(target.partition("#")[0])
        english = path.suffix == ".md" and path.is_relative_to("docs") and not path.is_relative_to("docs/zh")
        translated = english and (CHINESE / path.relative_to("docs")).exists()
        assert not translated or words == "English", f"{target} is there in Chinese"


@pairs
def test_links_lead_to_the_same(page: Path) -> None:
    """Besides, a page leads to itself in the other language, and a Chinese one to the glossary where it likes."""
    ours, theirs = (
        {target.replace("docs/zh/", "docs/") for target, words in links(each) if words not in ("English", "中文")}
        for each in (page, twin(page))
    )
    assert ours - {"docs/glossary.md"} == theirs - {"docs/glossary.md"}


@every
def test_no_blank_stands_inside_a_sentence(page: Path) -> None:
    """Between two Chinese characters there is none; a browser shows the break of a line as one."""
    for element in tree(page).iter():
        if element.tag in ("p", "li", "td", "dd") and not any(each.tag in BLOCKS for each in element):
            told = "".join(element.itertext()).strip()
            assert "\n" not in told, told
            assert not (found := BLANK.search(told)), told[max(0, found.start() - 20) :]


@every
def test_emphasis_is_read_elsewhere_too(page: Path) -> None:
    """CommonMark, as GitHub reads these pages, takes ** for a mark only where no full stop stands before it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    words = [each.content for token in tokens for each in token.children or [] if each.type == "text"]
    assert not [each for each in words if "**" in each]


def test_the_glossary_has_every_word() -> None:
    """Its form is its own: it tells what the English words mean that stay."""
    words = [term for each in tree(DOCS / "glossary.md").iter("dt") for term in text(each).split(", ")]
    told = text(next(tree(CHINESE / "glossary.md").iter("table")))
    assert not [each for each in words if each not in told]
