"""What MkDocs does for two languages (`hooks` of mkdocs.yml): each page in its language, among pages of its language.

The theme brings its own words in both. The navigation of mkdocs.yml ends with one section that holds the Chinese
pages: a Chinese page shows what is in it, an English one the rest. The menu of languages leads to the same page in the
other language where there is one, else to its first page.
"""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure import StructureItem
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page
from mkdocs.utils.templates import TemplateContext

CHINESE = "zh/"


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
    items = [each for each in nav.items if is_chinese(first_page(each)) == chinese]
    pages = [each for each in nav.pages if is_chinese(each) == chinese]
    menu = Navigation(items[0].children or [] if chinese else items, pages)
    menu.homepage = pages[0]
    context["nav"] = menu
    config.theme["language"] = "zh" if chinese else "en"
    path = page.file.src_uri
    twin = path.removeprefix(CHINESE) if chinese else CHINESE + path
    urls = {each.file.src_uri: each.url for each in nav.pages} | {path: page.url}
    english, translated = (twin, path) if chinese else (path, twin)
    config.extra["alternate"] = [
        {"name": "English", "lang": "en", "link": urls.get(english, "index.html")},
        {"name": "中文", "lang": "zh", "link": urls.get(translated, f"{CHINESE}index.html")},
    ]
    return context


def is_chinese(page: Page) -> bool:
    """Whether it is one of the Chinese pages."""
    return page.file.src_uri.startswith(CHINESE)


def first_page(item: StructureItem) -> Page:
    """The page that an entry of the navigation is, or begins with."""
    while isinstance(item, Section):
        item = item.children[0]
    assert isinstance(item, Page)
    return item
