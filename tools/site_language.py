"""What MkDocs does for two languages (`hooks` of mkdocs.yml): each page in its language, among pages of its language.

The theme brings its own words in both. The navigation of mkdocs.yml ends with one section that holds the Chinese
pages: a Chinese page shows what is in it and the last section of the English ones, the reference, as far as it is not
translated; an English page shows the rest. The menu of languages leads to the same page in the other language where
there is one, else to its first page.
"""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure import StructureItem
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page
from mkdocs.utils.templates import TemplateContext

CHINESE = "zh/"
REFERENCE = "参考（英文）"
DESCRIPTION = "把视觉模型放到 NVIDIA 的深度学习加速器（DLA）上，并证明它留在那里"
TOGGLES = {"en": ("Dark", "Light"), "zh": ("深色", "浅色")}
"""What the theme does not translate, since mkdocs.yml names it: the way to the other palette."""


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """The way from page to page ends where the language does."""
    for page in nav.pages:
        following = page.next_page
        if following and is_chinese(page) != is_chinese(following):
            page.next_page = following.previous_page = None
    return nav


def on_page_context(context: TemplateContext, page: Page, config: MkDocsConfig, nav: Navigation) -> TemplateContext:
    """The theme's language and the navigation of one page; MkDocs calls this before it writes the page."""
    chinese = is_chinese(page)
    path = page.file.src_uri
    urls = {each.file.src_uri: each.url for each in nav.pages} | {path: page.url}
    (translated,) = [each for each in nav.items if is_chinese(first_page(each))]
    items = [each for each in nav.items if each is not translated]
    if chinese:
        reference = [each for each in children(items[-1]) if twin(first_page(each).file.src_uri) not in urls]
        items = [*children(translated), Section(REFERENCE, reference)]
    menu = Navigation(items, [each for each in nav.pages if is_chinese(each) == chinese])
    menu.homepage = menu.pages[0]
    context["nav"] = menu
    config.theme["language"] = language = "zh" if chinese else "en"
    for palette, name in zip(config.theme.get("palette", ()), TOGGLES[language], strict=False):
        palette["toggle"]["name"] = name
    if chinese:
        page.meta.setdefault("description", DESCRIPTION)
        page.content = (page.content or "").replace('title="Permanent link"', 'title="永久链接"')
    here, there = page.url, urls.get(twin(path))
    config.extra["alternate"] = [
        {"name": "English", "lang": "en", "link": there or "index.html" if chinese else here},
        {"name": "中文", "lang": "zh", "link": here if chinese else there or f"{CHINESE}index.html"},
    ]
    return context


def is_chinese(page: Page) -> bool:
    """Whether it is one of the Chinese pages."""
    return page.file.src_uri.startswith(CHINESE)


def twin(path: str) -> str:
    """Where the page at a path below docs would stand in the other language."""
    return path.removeprefix(CHINESE) if path.startswith(CHINESE) else CHINESE + path


def children(item: StructureItem) -> list[StructureItem]:
    """What is in an entry of the navigation."""
    assert isinstance(item, Section)
    return list(item.children)


def first_page(item: StructureItem) -> Page:
    """The page that an entry of the navigation is, or begins with."""
    while isinstance(item, Section):
        item = item.children[0]
    assert isinstance(item, Page)
    return item
