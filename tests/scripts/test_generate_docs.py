"""scripts/generate_docs: the reference of recipes and sweeps says of each key what the code says."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import msgspec
import pytest

from dlaflow.recipe.load import SECTIONS
from dlaflow.sweep.schema import Range

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("generate_docs", str(ROOT / "scripts" / "generate_docs"))
    spec = spec_from_loader("generate_docs", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """[told]: what a section does."""

    beside: int  # told beside it
    # Told above it,
    # in two lines.
    above: Annotated[int, msgspec.Meta(ge=2)] | Literal["all"] = "all"
    named: tuple[float, ...] | None = msgspec.field(default=None, name="other")  # a "#" in it is no end
    below: bool = True
    """Told below it."""


class Untold(msgspec.Struct):
    """[untold]: a key of which nothing is told."""

    key: int = 0


def test_a_section(script: ModuleType) -> None:
    assert script.keys_of(Told, "told").splitlines() == [
        "### `[told]`",
        "",
        "What a section does.",
        "",
        "| key | value | default | |",
        "|---|---|---|---|",
        "| `beside` | whole number | must be named | Told beside it. |",
        '| `above` | whole number (2 or more) or `"all"` | `"all"` | Told above it, in two lines. |',
        '| `other` | list of numbers | none | A "#" in it is no end. |',
        "| `below` | `true` or `false` | `true` | Told below it. |",
    ]


def test_a_key_without_a_word_is_an_error(script: ModuleType) -> None:
    with pytest.raises(KeyError, match="key"):
        script.keys_of(Untold, "untold")


def test_the_page_is_current_and_holds_every_key(script: ModuleType) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert page == script.recipes_page()
    for kind in (*SECTIONS.values(), Range):
        for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
            assert f"| `{field.encode_name}` |" in page


ENGLISH = """Look:

```sh
dlaflow check m.onnx  # a comment
```

```console
$ dlaflow check m.onnx
2 loadables
```

```
done
```
"""


def test_a_translation_takes_the_output_of_its_original(script: ModuleType) -> None:
    chinese = ENGLISH.replace("Look:", "看：").replace("a comment", "注释")
    stale = chinese.replace("2 loadables", "3 loadables").replace("done", "begun")
    assert script.with_output(stale, ENGLISH) == chinese


def test_a_translation_of_other_blocks_is_left_to_its_test(script: ModuleType) -> None:
    assert script.with_output("```console\n$ dlaflow\n```\n", ENGLISH) == "```console\n$ dlaflow\n```\n"
