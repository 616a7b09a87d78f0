"""A recipe as the TOML file that `load.py` reads back."""

from __future__ import annotations

import json

import msgspec

from dlaflow.recipe.schema import Recipe


def recipe_toml(recipe: Recipe) -> str:
    """Every value of the recipe; what is None is left out. JSON's strings, numbers and lists are TOML's too."""
    plain: list[str] = []
    tables: list[str] = []
    for key, value in msgspec.to_builtins(recipe).items():
        if isinstance(value, dict):
            tables += ["", f"[{key}]", *_pairs(value)]
        elif key == "variant":
            for variant in value:
                tables += ["", "[[variant]]", *_pairs(variant)]
        else:
            plain += _pairs({key: value})
    return "\n".join([*plain, *tables]) + "\n"


def _pairs(table: dict[str, object]) -> list[str]:
    return [f"{key} = {_spelled(value)}" for key, value in table.items() if value is not None]


def _spelled(value: object) -> str:
    """A table in a table, such as the shapes of the target, is written inline; names of inputs need their quotes."""
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{{{', '.join(f'{json.dumps(key, ensure_ascii=False)} = {_spelled(own)}' for key, own in value.items())}}}"
