"""tools/site_language.py in a small site of two languages, built by MkDocs with the theme of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[2]
NAV = [
    {"Home": "index.md"},
    {"Reference": [{"Rules": "rules.md"}, {"Limits": "limits.md"}]},
    {"中文": [{"首页": "zh/index.md"}, {"参考": [{"上限": "zh/limits.md"}]}]},
]
FEATURES = ["navigation.sections", "navigation.footer"]
PALETTES = [{"scheme": name, "toggle": {"icon": "material/chip", "name": "?"}} for name in ("default", "slate")]
PAGES = ("index.md", "rules.md", "limits.md", "left_out.md", "zh/index.md", "zh/limits.md")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    for page in PAGES:
        (place / "docs" / page).parent.mkdir(parents=True, exist_ok=True)
        (place / "docs" / page).write_text(f"# {page}\n", encoding="utf-8")
    (place / "mkdocs.yml").write_text("site_name: two\n", encoding="utf-8")
    config = load_config(
        str(place / "mkdocs.yml"),
        docs_dir=str(place / "docs"),
        site_dir=str(place / "site"),
        use_directory_urls=False,
        theme={"name": "material", "font": False, "features": FEATURES, "palette": PALETTES},
        markdown_extensions=[{"toc": {"permalink": True}}],
        nav=NAV,
        hooks=[str(ROOT / "tools" / "site_language.py")],
        plugins=[],
    )
    build(config)
    return place / "site"


def menu(html: str) -> list[str]:
    """The entries of the navigation, in order."""
    (shown,) = re.findall(r'<nav class="md-nav md-nav--primary.*?</nav>\s*</div>', html, re.DOTALL)
    return re.findall(r'<span class="md-ellipsis">\s*([^<]+?)\s*</span>', shown)


def language(html: str) -> str:
    return re.findall(r'<html lang="(\w+)"', html)[0]


def others(html: str) -> dict[str, str]:
    """Where the menu of languages leads."""
    found = re.findall(r'<link rel="alternate" href="([^"]+)" hreflang="(\w+)"', html)
    return {language: address for address, language in found}


@pytest.mark.parametrize(
    ("page", "told", "entries", "ways"),
    [
        ("index", "en", ["Home", "Reference", "Rules", "Limits"], {"en": "index.html", "zh": "zh/index.html"}),
        ("rules", "en", ["Home", "Reference", "Rules", "Limits"], {"en": "rules.html", "zh": "zh/index.html"}),
        ("left_out", "en", ["Home", "Reference", "Rules", "Limits"], {"en": "left_out.html", "zh": "zh/index.html"}),
        (
            "zh/index",
            "zh",
            ["首页", "参考", "上限", "参考（英文）", "Rules"],
            {"en": "../index.html", "zh": "index.html"},
        ),
        (
            "zh/limits",
            "zh",
            ["首页", "参考", "上限", "参考（英文）", "Rules"],
            {"en": "../limits.html", "zh": "limits.html"},
        ),
    ],
)
def test_a_page(site: Path, page: str, told: str, entries: list[str], ways: dict[str, str]) -> None:
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    assert language(html) == told
    assert list(dict.fromkeys(menu(html))) == entries
    assert others(html) == ways


def test_no_word_of_the_frame_is_in_the_other_language(site: Path) -> None:
    english, chinese = ((site / f"{page}.html").read_text(encoding="utf-8") for page in ("limits", "zh/limits"))
    words = [re.findall(r'(?:title|aria-label|placeholder)="([^"]+)"', html) for html in (english, chinese)]
    assert {"Dark", "Light", "Permanent link"} < set(words[0])
    assert not [each for each in words[0] if re.search(r"[\u4e00-\u9fff]", each)]
    assert {each for each in words[1] if re.search(r"[A-Za-z]", each)} <= {"two", "zh/limits.md"}


def test_the_way_from_page_to_page_stays_in_a_language(site: Path) -> None:
    last = (site / "limits.html").read_text(encoding="utf-8")
    first = (site / "zh" / "index.html").read_text(encoding="utf-8")
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last
    assert 'rel="prev"' not in first
    assert 'rel="next"' in first
