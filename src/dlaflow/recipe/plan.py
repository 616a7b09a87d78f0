"""From a recipe to its steps, in the order of the journey: all training, all exports, and so on to the report."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.files import sha256_of
from dlaflow.quantize.calibration import sidecar_of
from dlaflow.recipe import work
from dlaflow.recipe.data import RunData
from dlaflow.recipe.results import write_report
from dlaflow.recipe.schema import Recipe, VariantSection
from dlaflow.recipe.step import Step
from dlaflow.recipe.work import Files

if TYPE_CHECKING:
    from dlaflow.targets.target import Target


class Planner:
    """Makes the steps of one run. Datasets load when the first step that needs one is planned, so ask one by one."""

    def __init__(self, recipe: Recipe, target: Target, folder: Path, data: RunData) -> None:
        self._recipe = recipe
        self._target = target
        self._folder = folder
        self._data = data
        self._files = {variant.name: self._files_of(variant) for variant in recipe.variant}

    def steps(self) -> Iterator[Step]:
        """The steps. The kinds come in the recipe's journey, the variants in the recipe's order."""
        recipe, wanted = self._recipe, self._recipe.steps
        trained = [variant for variant in recipe.variant if variant.model]
        if "train" in wanted:
            yield from map(self._train, trained)
        if "export" in wanted:
            yield from map(self._export, trained)
        yield from (self._rewrite(variant) for variant in recipe.variant if variant.source)
        if "check" in wanted:
            yield from map(self._check, recipe.variant)
        if "estimate" in wanted:
            yield from map(self._estimate, recipe.variant)
        if "calibrate" in wanted:
            yield from map(self._calibrate, recipe.variant)
        if "sensitivity" in wanted:
            yield from map(self._sensitivity, recipe.variant)
        if "evaluate" in wanted:
            if "fp16" in recipe.evaluate.precisions:
                yield from map(self._fp16, recipe.variant)
            yield from map(self._evaluate, recipe.variant)
        if "report" in wanted:
            yield self._report()

    def _files_of(self, variant: VariantSection) -> Files:
        folder = self._folder / variant.name
        return Files(folder, Path(variant.onnx) if variant.onnx else folder / "model.onnx")

    def _train(self, variant: VariantSection) -> Step:
        files, section = self._files[variant.name], self._recipe.train
        model = variant.model or ""
        return Step(
            f"train/{variant.name}",
            partial(work.train, model, section, self._data, files.weights),
            (files.weights, files.weights.with_name(files.weights.name + ".json")),
            options={"model": model, "source": users_source(model), "data": self._fingerprint, **_text(section)},
            packages=("zoo", "torch"),
        )

    def _export(self, variant: VariantSection) -> Step:
        files, section = self._files[variant.name], self._recipe.export
        model, reads = variant.model or "", str(self._target.release.max_opset)
        return Step(
            f"export/{variant.name}",
            partial(work.export, model, section, self._target, files),
            (files.model,),
            {"weights": files.weights},
            {"model": model, "source": users_source(model), "max_opset": reads, **_text(section)},
            ("zoo", "torch", "onnxruntime", "onnxslim"),
        )

    def _rewrite(self, variant: VariantSection) -> Step:
        source, out = self._files[variant.source or ""].model, self._files[variant.name].model
        return Step(
            f"rewrite/{variant.name}",
            partial(work.rewrite, source, out),
            (out,),
            {"source": source},
            {"rewrite": variant.rewrite or ""},
            ("rewrites", "onnx"),
        )

    def _check(self, variant: VariantSection) -> Step:
        files = self._files[variant.name]
        return Step(
            f"check/{variant.name}",
            partial(work.check, self._target, files),
            (files.placement,),
            {"model": files.model},
            {"target": repr(self._target)},
            ("graph", "targets", "rules", "placement", "onnx"),
        )

    def _estimate(self, variant: VariantSection) -> Step:
        files, mode = self._files[variant.name], self._recipe.estimate.power_mode
        return Step(
            f"estimate/{variant.name}",
            partial(work.estimate, mode, self._target, files),
            (files.estimate,),
            {"model": files.model, "placement": files.placement},
            {"target": repr(self._target), "power_mode": mode or ""},
            ("graph", "targets", "estimate"),
        )

    def _calibrate(self, variant: VariantSection) -> Step:
        files, section = self._files[variant.name], self._recipe.calibrate
        tensorrt = self._target.release.tensorrt
        return Step(
            f"calibrate/{variant.name}",
            partial(work.calibrate, section, tensorrt, self._data, files),
            (files.cache, sidecar_of(files.cache), files.int8),
            {"model": files.model},
            {"tensorrt": tensorrt, "data": self._fingerprint, **_text(section)},
            ("quantize", "run", "zoo", "onnxruntime"),
        )

    def _sensitivity(self, variant: VariantSection) -> Step:
        files, section, skip = self._files[variant.name], self._recipe.sensitivity, self._recipe.calibrate.samples
        return Step(
            f"sensitivity/{variant.name}",
            partial(work.sensitivity, section, skip, self._data, files),
            (files.sensitivity,),
            {"model": files.model, "calibration": sidecar_of(files.cache)},
            {"data": self._fingerprint, "skip": str(skip), **_text(section)},
            ("quantize", "run", "zoo", "onnxruntime"),
        )

    def _fp16(self, variant: VariantSection) -> Step:
        files = self._files[variant.name]
        name = f"fp16/{variant.name}"
        return Step(
            name, partial(work.fp16, files), (files.fp16,), {"model": files.model}, packages=("quantize", "onnx")
        )

    def _evaluate(self, variant: VariantSection) -> Step:
        files, section = self._files[variant.name], self._recipe.evaluate
        places: dict[str, Path] = {"fp32": files.model, "fp16": files.fp16, "int8": files.int8}
        models: dict[str, Path] = {name: path for name, path in places.items() if name in section.precisions}
        return Step(
            f"evaluate/{variant.name}",
            partial(work.evaluate, section, self._data, models, files.accuracy),
            (files.accuracy,),
            models,
            {"data": self._fingerprint, **_text(section)},
            ("measure", "run", "zoo", "onnxruntime"),
        )

    def _report(self) -> Step:
        recipe, files = self._recipe, self._files
        inputs = {f"{name}/{path.name}": path for name, each in files.items() for path in each.results(recipe.steps)}
        inputs |= {f"{name}/model": each.model for name, each in files.items()}
        needs_data = {"train", "calibrate", "sensitivity", "evaluate"} & set(recipe.steps)
        return Step(
            "report",
            partial(write_report, recipe, files, self._data if needs_data else None, self._folder),
            (self._folder / recipe.report.file, self._folder / "run.json"),
            inputs,
            {"recipe": msgspec.json.encode(recipe).decode()},
            ("report", "graph", "recipe"),
        )

    @property
    def _fingerprint(self) -> str:
        return self._data.dataset.fingerprint


def _text(section: msgspec.Struct) -> dict[str, str]:
    return {"section": msgspec.json.encode(section).decode()}


def users_source(model: str) -> str:
    """The hash of a user's own `package.module:factory` where it lies under the current folder (else empty)."""
    module = Path(*model.partition(":")[0].split(".")) if ":" in model else None
    if module is None:
        return ""
    places = (module.with_suffix(".py"), module / "__init__.py")
    return next((sha256_of(path) for path in places if path.is_file()), "")
