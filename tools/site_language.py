"""What MkDocs does for the Chinese pages (`hooks` of mkdocs.yml): their language, and the theme's words in Chinese."""

from __future__ import annotations

from mkdocs.structure.pages import Page

CHINESE = "zh/"
WORDS = {
    '<html lang="en"': '<html lang="zh"',
    "Table of contents": "目录",
    'title="Search"': 'title="搜索"',
    'placeholder="Search"': 'placeholder="搜索"',
    "Back to top": "回到页首",
    "Skip to content": "跳到正文",
    "Previous: ": "上一页：",
    "Next: ": "下一页：",
    ">\n                Previous\n": ">\n                上一页\n",
    ">\n                Next\n": ">\n                下一页\n",
}
"""English → Chinese, as the theme writes them."""


def on_post_page(output: str, page: Page, **_: object) -> str:
    """The page as it is written; MkDocs calls this once a page."""
    if page.file.src_uri.startswith(CHINESE):
        for english, chinese in WORDS.items():
            output = output.replace(english, chinese)
    return output
