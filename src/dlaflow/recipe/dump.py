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
    pairs = ((key, json.dumps(value, ensure_ascii=False)) for key, value in table.items() if value is not None)
    return [f"{key} = {value}" for key, value in pairs]
