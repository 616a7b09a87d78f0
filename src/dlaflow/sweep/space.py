"""From a file to its choices, and on to trials: each is a recipe, named after what was chosen and a hash of its causes.

Each mistake in the file is one clear line, before any cluster is started.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import sha256_of
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.recipe.load import SECTIONS, check_recipe, check_sections, own_network
from dlaflow.recipe.plan import users_source
from dlaflow.recipe.schema import CalibrateSection, Recipe, StepName, TargetSection, TrainSection, VariantSection
from dlaflow.recipe.toml import check_keys, read_toml, struct_of
from dlaflow.sweep.schema import MOST, ClusterSection, Range, SearchSection, SpaceSection, Sweep

Value = str | int | float | tuple[str, ...] | Mapping[str, str | int]
Picked = Mapping[str, Value]
"""One value for each dimension that the space names."""

DIMENSIONS = ("model", "norm", "width", "precisions", "method", "samples", "target")
_OF_CALIBRATION = ("method", "samples")
VARIANT = "model"
"""The name of the one variant of each trial, so that trials can share what was trained."""

_WITH_NORM = {"batch": "model_bn", "group": "model_gn"}
_LONGEST_LABEL = 80


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe of a sweep. `picked` is what it was made from, `choices` the same as text."""

    name: str
    picked: Picked
    choices: dict[str, str]
    recipe: Recipe

    @property
    def training(self) -> str | None:
        """A hash of what its training depends on: trials with the same share the weights. None: nothing to train."""
        model = self.recipe.variant[0].model
        if model is None:
            return None
        return _digest(model, users_source(model), self.recipe.train, self.recipe.data)


def load_sweep(path: str | Path) -> Sweep:
    """Read and check the sweep at `path`. Paths inside it count from the folder where dlaflow was started.

    Raises InputError for a file that cannot be read, is not TOML, has unknown keys, or does not fit together,
    UsageError for unknown boards and calibration methods.
    """
    body, where = read_toml(path, "sweep"), f"sweep {path}"
    check_keys(body, Sweep, "", where)
    check_sections(body, SECTIONS | {"search": SearchSection, "cluster": ClusterSection, "space": SpaceSection}, where)
    space = body.get("space")
    for name in ("width", "samples"):
        check_keys(space.get(name) if isinstance(space, dict) else None, Range, f"[space] {name} ", where)
    sweep = struct_of(body, Sweep, where)
    models = tuple(each if each.endswith(".onnx") else own_network(each, path) or "" for each in sweep.space.model)
    sweep = msgspec.structs.replace(sweep, space=msgspec.structs.replace(sweep.space, model=models))
    if sweep.search.kind == "grid" and sweep.search.trials is not None:
        raise InputError("a grid has the trials that it has", expected="no search.trials", received=sweep.search.trials)
    found = values(sweep.space)
    if sweep.search.kind == "grid":
        trials = grid(sweep)
    else:
        # Each value once (of an endless range its ends) finds a wrong one, where combinations may have no end.
        most = max(map(len, found.values()), default=1)
        trials = [
            trial_of(sweep, {name: each[index % len(each)] for name, each in found.items()}) for index in range(most)
        ]
    for trial in trials:
        trial.recipe.target.target()
    for method in (sweep.calibrate.method, *sweep.space.method):
        CalibrationConfig(method)
    return sweep


def dimensions(space: SpaceSection) -> dict[str, tuple[Value, ...] | Range]:
    """What the space varies, in the order of `DIMENSIONS`."""
    return {name: found for name in DIMENSIONS if (found := getattr(space, name))}


def values(space: SpaceSection) -> dict[str, tuple[Value, ...]]:
    """The values of each dimension: those listed, a range counted up, or the ends of one that has no step."""
    return {
        name: found
        if isinstance(found, tuple)
        else tuple(map(round, found.numbers))
        if name == "samples"
        else found.numbers
        for name, found in dimensions(space).items()
    }


def every_pick(space: SpaceSection) -> Iterator[Picked]:
    """Every combination. Raises InputError for a range without a step, which has no end of values, and for too many."""
    for name, found in dimensions(space).items():
        if isinstance(found, Range) and found.step is None:
            raise InputError(f"space.{name} has no end of values", expected="a `step` above 0 (or kind = 'optuna')")
    named = values(space)
    if (trials := math.prod(map(len, named.values()))) > MOST:
        raise InputError(
            "the grid has too many trials",
            expected=f"at most {MOST:,}",
            received=f"{trials:,}",
            then="Try fewer values, or let Optuna choose: kind = 'optuna'.",
        )
    for combination in product(*named.values()):
        yield dict(zip(named, combination, strict=True))


def grid(sweep: Sweep) -> list[Trial]:
    """The trials of every combination; those that come to the same recipe are one.

    Raises InputError for what no recipe can be.
    """
    trials = (trial_of(sweep, picked) for picked in every_pick(sweep.space))
    return list({trial.name: trial for trial in trials}.values())


def trial_of(sweep: Sweep, picked: Picked) -> Trial:
    """The trial of one choice.

    Raises InputError for what no recipe can be.
    """
    precisions = picked.get("precisions")
    evaluate, target = sweep.evaluate, _target(sweep, picked.get("target"))
    if isinstance(precisions, tuple):
        evaluate = msgspec.structs.replace(evaluate, precisions=("fp32", *dict.fromkeys(precisions)))
        target = replace(target, precision="int8" if "int8" in precisions else "fp16")
    calibrated = "int8" in evaluate.precisions
    if not calibrated:
        picked = {name: value for name, value in picked.items() if name not in _OF_CALIBRATION}
    changed = {name: picked[name] for name in _OF_CALIBRATION if name in picked}
    model = _model(picked)
    own = model.endswith(".onnx")
    steps: list[StepName] = [] if own else ["train", "export"]
    steps += ["check", "estimate", *(("calibrate",) if calibrated else ()), "evaluate", "report"]
    recipe = Recipe(
        name="trial",
        variant=(VariantSection(name=VARIANT, onnx=model) if own else VariantSection(name=VARIANT, model=model),),
        steps=tuple(steps),
        target=target,
        data=sweep.data,
        train=TrainSection() if own else sweep.train,
        export=sweep.export,
        estimate=sweep.estimate,
        calibrate=msgspec.structs.replace(sweep.calibrate, **changed) if calibrated else CalibrateSection(),
        evaluate=evaluate,
        report=sweep.report,
    )
    choices = {name: _text(value) for name, value in picked.items()}
    # The name shows what differs between trials.
    varied = [name for name, found in dimensions(sweep.space).items() if isinstance(found, Range) or len(found) > 1]
    label = "-".join(_slug(name, choices[name]) for name in varied if name in choices)
    source = sha256_of(Path(model)) if own else users_source(model)
    name = f"{label[:_LONGEST_LABEL].strip('-') or 'trial'}-{_digest(recipe, source)}"
    recipe = msgspec.structs.replace(recipe, name=name)
    check_recipe(recipe)
    return Trial(name, picked, choices, recipe)


def _model(picked: Picked) -> str:
    """The model of a choice, with its arguments behind an @."""
    model, norm, width = (picked.get(name) for name in ("model", "norm", "width"))
    arguments = {} if width in (None, 1.0) else {"width": f"{width:g}"}
    if model is None:
        if norm is not None and norm not in _WITH_NORM:
            raise InputError("unknown space.norm", expected=f"one of {', '.join(_WITH_NORM)}", received=repr(norm))
        base = _WITH_NORM[str(norm or "batch")]
    else:
        base = str(model)
        if norm is not None and (":" not in base or base.endswith(".onnx")):
            then = "Leave space.model out for the network of the walk-through, or space.norm for models that have one."
            raise InputError(f"space.norm cannot change {base}", expected="package.module:factory", then=then)
        arguments |= {} if norm is None else {"norm": str(norm)}
    if base.endswith(".onnx") and arguments:
        raise InputError(f"space.width cannot change {base}", expected="a network that is trained here", received=base)
    joined = ",".join(f"{key}={value}" for key, value in arguments.items())
    return f"{base}{',' if '@' in base else '@'}{joined}" if joined else base


def _target(sweep: Sweep, table: Value | None) -> TargetSection:
    if not isinstance(table, Mapping):
        return sweep.target
    where = f"sweep {sweep.name}"
    check_keys(dict(table), TargetSection, "[space] target ", where)
    return struct_of({**msgspec.to_builtins(sweep.target), **table}, TargetSection, where)


def _text(value: Value) -> str:
    if isinstance(value, Mapping):
        return " ".join(str(part) if key != "batch" else f"batch {part}" for key, part in value.items())
    if isinstance(value, tuple):
        return "+".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(dimension: str, text: str) -> str:
    short = Path(text).stem if text.endswith(".onnx") else text.rpartition(":")[2]
    return {"width": "w", "samples": "s"}.get(dimension, "") + re.sub(r"[^A-Za-z0-9._]+", "-", short).strip("-.")


def _digest(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:8]
