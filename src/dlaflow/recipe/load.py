"""Read a recipe from TOML and write one; each mistake in it is one clear line that names the place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dlaflow.errors import InputError, UsageError
from dlaflow.fixed_shape import fixed_shapes
from dlaflow.recipe.schema import Recipe, TargetSection, VariantSection
from dlaflow.recipe.toml import check_keys, nearest, read_toml, struct_of, tables
from dlaflow.zoo.distillation import check_config
from dlaflow.zoo.factory import beside
from dlaflow.zoo.models import base_name

SECTIONS: dict[str, type] = {
    field.name: type(field.default)
    for field in msgspec.structs.fields(Recipe)
    if isinstance(field.default, (msgspec.Struct, TargetSection))
}
"""The tables of a recipe by name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COUNTS = (
    "train.epochs",
    "train.limit",
    "train.batch_size",
    "target.batch",
    "export.batch",
    "fix.images",
    "calibrate.samples",
    "sensitivity.images",
    "evaluate.limit",
    "remote.images",
    "remote.duration",
    "remote.repeats",
    "evaluate.batch_size",
    "calibrate.batch_size",
)
"""Numbers of 1 or more, where they are given as numbers."""
_NEEDS = {
    "estimate": ("check", "an estimate needs a placement"),
    "sensitivity": ("calibrate", "the sensitivity needs a calibration"),
}
"""Steps that go on from another one."""


def load_recipe(path: str | Path) -> Recipe:
    """Read and check the recipe at `path`. Paths inside it count from the folder where dlaflow was started.

    Raises InputError for a file that cannot be read, is not TOML, has unknown keys, or does not fit together.
    """
    recipe = _recipe(read_toml(path, "recipe"), f"recipe {path}")
    variants = (replace(each, model=own_network(each.model, path)) for each in recipe.variant)
    return replace(recipe, variant=tuple(variants))


def recipe_of(text: str, where: str) -> Recipe:
    """The recipe that a TOML text holds; `where` says in errors what it is. Raises InputError."""
    return _recipe(tables(text), where)


def _recipe(body: dict[str, object], where: str) -> Recipe:
    check_keys(body, Recipe, "", where)
    check_sections(body, SECTIONS, where)
    variants = body.get("variant")
    for number, variant in enumerate(variants if isinstance(variants, list) else [], start=1):
        check_keys(variant, VariantSection, f"[[variant]] number {number} ", where)
    recipe = struct_of(body, Recipe, where)
    check_recipe(recipe)
    return recipe


def own_network(model: str | None, path: str | Path) -> str | None:
    """The `model` of a recipe or sweep at `path`, whose own networks may lie beside it. Raises UsageError."""
    if model is None or ":" not in base_name(model):
        return model
    return beside(model, Path(path).parent)


def check_recipe(recipe: Recipe) -> None:
    """Check what no single value shows: names, counts, and that each variant knows where its model comes from.

    Raises InputError.
    """
    if not recipe.variant:
        raise InputError("the recipe names no model", expected="at least one [[variant]]", received="none")
    if not recipe.steps:
        raise InputError("the recipe has nothing to do", expected="at least one name in `steps`", received="none")
    if "/" in recipe.report.file or "\\" in recipe.report.file or recipe.report.file in {"", ".", ".."}:
        raise InputError("report.file leaves the folder", expected="a file name", received=repr(recipe.report.file))
    for place in COUNTS:
        value = attrgetter(place)(recipe)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{place} is too small", expected="1 or more", received=value)
    try:
        fixed_shapes(recipe.target.shape)
    except UsageError as error:
        raise InputError(f"target.shape: {error}") from None
    trained = {variant.name: variant.model or "" for variant in recipe.variant}
    try:  # before anything is trained
        for variant in recipe.variant:
            if variant.qat and (model := trained.get(variant.source or "")):
                check_config(recipe.qat.config(model, Path()))
        for name in recipe.qat.releases:
            recipe.target.target().on_release(name)
    except UsageError as error:
        raise InputError(f"qat: {error}") from None
    _check_steps(recipe)
    seen: dict[str, VariantSection] = {}
    for variant in recipe.variant:
        _check_variant(variant, seen)
        seen[variant.name] = variant


def _check_steps(recipe: Recipe) -> None:
    steps, received = set(recipe.steps), ", ".join(recipe.steps)
    trained = next((variant.name for variant in recipe.variant if variant.model), None)
    _expect(
        trained is None or {"train", "export"} <= steps,
        f"variant {trained!r} has no ONNX file",
        "`train` and `export` among the steps (or `onnx`, a file of your own)",
        received,
    )
    what = "training takes a data set that is known by name"
    _expect(trained is None or not recipe.data.source, what, "data.name alone", "data.source")
    for step, (needed, what) in _NEEDS.items():
        _expect(step not in steps or needed in steps, what, f"`{needed}` among the steps", received)
    int8 = "evaluate" in steps and "int8" in recipe.evaluate.precisions
    tuned = next((variant.name for variant in recipe.variant if variant.qat), None)
    what = f"variant {tuned!r} has scales, and those that it comes from have none"
    _expect(tuned is None or "calibrate" in steps, what, "`calibrate` among the steps", received)
    what = "evaluating int8 needs a calibration"
    _expect(not int8 or "calibrate" in steps, what, "`calibrate` among the steps", received)
    on_board = recipe.remote.steps
    built = not on_board or "build" in on_board
    _expect(built, "the board has no engine", "`build` among remote.steps", ", ".join(on_board))
    expected = "letters, digits, dot, dash and underscore (it names a folder)"
    _expect(_NAME.fullmatch(recipe.name), "the recipe has an unusable name", expected, repr(recipe.name))


def _check_variant(variant: VariantSection, earlier: dict[str, VariantSection]) -> None:
    name, source = variant.name, variant.source
    expected = "letters, digits, dot, dash and underscore (it names a folder; `state` is taken)"
    _expect(_NAME.fullmatch(name) and name != "state", "a variant has an unusable name", expected, repr(name))
    _expect(name not in earlier, "two variants have one name", "a name of its own for each", repr(name))
    given = [key for key, value in (("model", variant.model), ("onnx", variant.onnx), ("from", source)) if value]
    expected, received = "exactly one of `model`, `onnx` and `from`", " and ".join(given) or "none"
    _expect(len(given) == 1, f"variant {name!r} is unclear", expected, received)
    changes = (("rewrite", variant.rewrite), ("fix", variant.fix), ("qat", variant.qat))
    change = [key for key, value in changes if value]
    if source:
        expected, then = f"a variant above it ({', '.join(earlier) or 'there is none'})", nearest(source, earlier)
        _expect(source in earlier, f"variant {name!r} comes from an unknown one", expected, repr(source), then)
        fault = "is changed in two ways from" if change else "would equal"
        what, received = f"variant {name!r} {fault} {source!r}", " and ".join(change) or "none"
        _expect(len(change) == 1, what, "a `rewrite`, a `fix` or `qat`", received)
        what, trained = f"variant {name!r} is fine-tuned from {source!r}, which is not trained here", "a `model`"
        _expect(not variant.qat or earlier[source].model, what, trained, repr(earlier[source].onnx or source))
    elif change:
        expected = "`from`, the variant that is changed"
        raise InputError(f"variant {name!r} has a {change[0]}", expected=expected, received=given[0])


def _expect(fine: object, what: str, expected: str, received: str, then: str | None = None) -> None:
    if not fine:
        raise InputError(what, expected=expected, received=received, then=then)


def check_sections(body: dict[str, object], sections: Mapping[str, type], where: str) -> None:
    """`check_keys` for each of these tables of a file."""
    for name, section in sections.items():
        check_keys(body.get(name), section, f"[{name}] ", where)


def recipe_toml(recipe: Recipe) -> str:
    """The TOML file with every value of the recipe; None is left out. JSON's strings, numbers and lists are TOML's."""
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
    return [f"{key} = {spelled(value)}" for key, value in table.items() if value is not None]


def spelled(value: object) -> str:
    """A value as TOML. A table in a table, such as the shapes of the target, stands in one line, its names quoted."""
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{{{', '.join(f'{json.dumps(key, ensure_ascii=False)} = {spelled(own)}' for key, own in value.items())}}}"
