"""From a recipe to its steps, in the order of the journey: all training, all exports, and so on to the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.api.fix import FixOptions
from dlaflow.build.engine import Request
from dlaflow.build.manifest import BuiltFor
from dlaflow.files import sha256_of
from dlaflow.placement.answers import known_answers
from dlaflow.quantize.calibration import sidecar_of
from dlaflow.recipe import work
from dlaflow.recipe.boards.plan import board_steps, engine_config, is_typed, source_of
from dlaflow.recipe.data import RunData
from dlaflow.recipe.engine import Step
from dlaflow.recipe.files import Files
from dlaflow.recipe.results import NO_REMARKS, Remarks, Sources, write_report
from dlaflow.recipe.schema import Recipe, VariantSection
from dlaflow.zoo.factory import reference
from dlaflow.zoo.models import base_name

if TYPE_CHECKING:
    from dlaflow.targets.target import Target

_RUNS = ("onnx", "onnxruntime", "numpy", "pillow")
"""What computes where a model is executed."""


class Planner:
    """Makes the steps of one run. Datasets load when the first step that needs one is planned, so ask one by one."""

    def __init__(self, recipe: Recipe, target: Target, folder: Path, data: RunData) -> None:
        self.recipe = recipe
        self.target = target
        self.data = data
        self._folder = folder
        self.files = {variant.name: self._files_of(variant) for variant in recipe.variant}

    def steps(self, *, half: bool = False) -> Iterator[Step]:
        """The steps up to the report. The kinds come in the recipe's journey, the variants in the recipe's order.

        `half` asks for FP16 models also where nothing is evaluated in FP16: a board wants typed models.
        """
        wanted, variants = self.recipe.steps, self.recipe.variant
        trained = [variant for variant in variants if variant.model]
        calibrated = [variant for variant in variants if not variant.qat]
        for asked, step_of, chosen in (
            ("train" in wanted, self._train, trained),
            ("export" in wanted, self._export, trained),
            (True, self._change, [variant for variant in variants if variant.source]),
            ("check" in wanted, self._check, variants),
            ("estimate" in wanted, self._estimate, variants),
            ("calibrate" in wanted, self._calibrate, calibrated),
            ("sensitivity" in wanted, self._sensitivity, calibrated),
            (half or self._wants_half, self._fp16, variants),
            ("evaluate" in wanted, self._evaluate, variants),
            ("build" in wanted, self._build_line, variants),
        ):
            if asked:
                yield from map(step_of, chosen)

    def _files_of(self, variant: VariantSection) -> Files:
        folder = self._folder / variant.name
        return Files(folder, Path(variant.onnx) if variant.onnx else folder / "model.onnx")

    def _train(self, variant: VariantSection) -> Step:
        files, section = self.files[variant.name], self.recipe.train
        model = variant.model or ""
        return Step(
            f"train/{variant.name}",
            partial(work.train, model, section, self.data, files.weights),
            (files.weights, files.weights.with_name(files.weights.name + ".json")),
            options={"model": model, "source": users_source(model), "data": self._fingerprint, **_text(section)},
            distributions=("torch",),
        )

    def _export(self, variant: VariantSection) -> Step:
        files, section = self.files[variant.name], self.recipe.export
        model, reads = variant.model or "", str(self.target.release.max_opset)
        return Step(
            f"export/{variant.name}",
            partial(work.export, model, section, self.target, files),
            (files.model,),
            {"weights": files.weights},
            {"model": model, "source": users_source(model), "max_opset": reads, **_text(section)},
            ("torch", "onnx", "onnxruntime", "onnxslim"),
        )

    def _change(self, variant: VariantSection) -> Step:
        if variant.qat:
            return self._qat(variant)
        return self._fix(variant) if variant.fix else self._rewrite(variant)

    def _qat(self, variant: VariantSection) -> Step:
        files, section, target = self.files[variant.name], self.recipe.qat, self.target
        model = next(each.model or "" for each in self.recipe.variant if each.name == variant.source)
        config = section.config(model, self.files[variant.source or ""].weights)
        batch = self.recipe.export.batch
        also = tuple(target.on_release(name) for name in section.releases)
        return Step(
            f"qat/{variant.name}",
            partial(work.qat, config, None if batch == "dynamic" else batch, (target, *also), self.data, files),
            (files.int8, files.model, files.cache),
            {"weights": config.weights},
            {
                "source": users_source(model),
                "data": self._fingerprint,
                "config": repr(replace(config, weights=Path())),
                "batch": str(batch),
                "targets": repr((target, *also)),
            },
            ("torch", *_RUNS),
        )

    def _rewrite(self, variant: VariantSection) -> Step:
        source, out = self.files[variant.source or ""].model, self.files[variant.name].model
        return Step(
            f"rewrite/{variant.name}",
            partial(work.rewrite, source, self.target, out),
            (out,),
            {"source": source},
            {"rewrite": variant.rewrite or "", "target": repr(self.target)},
            ("onnx",),
        )

    def _fix(self, variant: VariantSection) -> Step:
        source, files, section = self.files[variant.source or ""].model, self.files[variant.name], self.recipe.fix
        allow = variant.fix or "exact"
        options = FixOptions(allow=allow, max_drop=section.max_drop, output_4d=section.output_4d, write_anyway=True)
        data = None if allow == "exact" else self.data
        fed = {"data": self._fingerprint} if data else {}
        return Step(
            f"fix/{variant.name}",
            partial(work.fix, options, section.images, data, self.target, source, files),
            (files.model, files.fix),
            {"source": source},
            {"allow": allow, "target": repr(self.target), "answers": self._answers, **fed, **_text(section)},
            _RUNS,
        )

    def _check(self, variant: VariantSection) -> Step:
        files = self.files[variant.name]
        # One that another variant changes may be refused: the change may be what it needs.
        to_build = "build" in self.recipe.steps and all(each.source != variant.name for each in self.recipe.variant)
        return Step(
            f"check/{variant.name}",
            partial(work.check, self.target, files, to_build=to_build),
            (files.placement,),
            {"model": files.model},
            {"target": repr(self.target), "answers": self._answers, "to_build": str(to_build)},
            ("onnx",),
        )

    def _estimate(self, variant: VariantSection) -> Step:
        files, mode = self.files[variant.name], self.recipe.estimate.power_mode
        return Step(
            f"estimate/{variant.name}",
            partial(work.estimate, mode, self.target, files),
            (files.estimate,),
            {"model": files.model, "placement": files.placement},
            {"target": repr(self.target), "power_mode": mode or ""},
            ("onnx", "numpy"),
        )

    def _calibrate(self, variant: VariantSection) -> Step:
        files, section = self.files[variant.name], self.recipe.calibrate
        return Step(
            f"calibrate/{variant.name}",
            partial(work.calibrate, section, self.target, self.data, files),
            (files.cache, sidecar_of(files.cache), files.int8),
            {"model": files.model},
            {"tensorrt": self.target.release.tensorrt, **self._fed, **_text(section)},
            _RUNS,
        )

    def _sensitivity(self, variant: VariantSection) -> Step:
        files, section, skip = self.files[variant.name], self.recipe.sensitivity, self.recipe.calibrate.samples
        return Step(
            f"sensitivity/{variant.name}",
            partial(work.sensitivity, section, skip, self.target.shapes, self.data, files),
            (files.sensitivity,),
            {"model": files.model, "calibration": sidecar_of(files.cache)},
            {**self._fed, "skip": str(skip), **_text(section)},
            _RUNS,
        )

    def _fp16(self, variant: VariantSection) -> Step:
        files = self.files[variant.name]
        name = f"fp16/{variant.name}"
        return Step(name, partial(work.fp16, files), (files.fp16,), {"model": files.model}, distributions=("onnx",))

    def _evaluate(self, variant: VariantSection) -> Step:
        files, section = self.files[variant.name], self.recipe.evaluate
        places: dict[str, Path] = {"fp32": files.model, "fp16": files.fp16, "int8": files.int8}
        models: dict[str, Path] = {name: path for name, path in places.items() if name in section.precisions}
        return Step(
            f"evaluate/{variant.name}",
            partial(work.evaluate, section, self.target.shapes, self.data, models, files.accuracy),
            (files.accuracy,),
            models,
            {**self._fed, **_text(section)},
            _RUNS,
        )

    @property
    def _wants_half(self) -> bool:
        """Whether FP16 models are measured, or the release takes FP16 from the model that it builds."""
        recipe, target = self.recipe, self.target
        built = "build" in recipe.steps and target.precision == "fp16" and is_typed(target.release.tensorrt)
        return built or ("evaluate" in recipe.steps and "fp16" in recipe.evaluate.precisions)

    def _build_line(self, variant: VariantSection) -> Step:
        files, target = self.files[variant.name], self.target
        release = target.release
        source = source_of(files, target, release.tensorrt, calibrated="calibrate" in self.recipe.steps)
        config = engine_config(source, target, release.tensorrt, gpu=not target.board.dla_cores)
        built_for = BuiltFor("tensorrt", release.tensorrt, target.board.id, release.name)
        inputs = {"model": source.model} | ({"cache": source.cache} if source.cache else {})
        return Step(
            f"build/{variant.name}",
            lambda progress: work.build_line(Request(source.model, files.engine, config, built_for), files.build_line),
            (files.build_line,),
            inputs,
            {"target": repr(target)},
            ("onnx",),
        )

    def report(self, boards: tuple[str, ...] = (), about: Remarks = NO_REMARKS) -> Step:
        """The last step. `boards` are those whose numbers are there; `about` is told in the report."""
        recipe = self.recipe
        files = {name: replace(each, boards=boards) for name, each in self.files.items()}
        done, on_boards = recipe.steps, board_steps(recipe, self.target)
        inputs = {f"{name}/{path}": path for name, each in files.items() for path in each.results(done, on_boards)}
        inputs |= {f"{name}/model": each.model for name, each in files.items()}
        if "build" in done:
            inputs |= {f"{name}/build": each.build_line for name, each in files.items()}
        sources = Sources(recipe, files, done, on_boards, about)
        needs_data = {"train", "calibrate", "sensitivity", "evaluate"} & set(recipe.steps)
        needs_data |= {variant.name for variant in recipe.variant if variant.fix in ("tolerance", "data")}
        return Step(
            "report",
            partial(write_report, sources, self.data if needs_data else None, self._folder),
            (self._folder / recipe.report.file, self._folder / "run.json"),
            inputs,
            {"recipe": msgspec.json.encode(recipe).decode(), "about": repr(about)},
            ("jinja2",),
        )

    @property
    def _answers(self) -> str:
        """What boards answered to `probe`: a new answer makes a placement stale."""
        target = self.target
        return repr(known_answers(target.board.soc, target.release.tensorrt, target.precision))

    @property
    def _fed(self) -> dict[str, str]:
        """What onnxruntime gets: the images, and the sizes of the inputs that a model leaves open."""
        return {"data": self._fingerprint, "shapes": " ".join(map(str, self.target.shapes))}

    @property
    def _fingerprint(self) -> str:
        return self.data.fingerprint


def _text(section: msgspec.Struct) -> dict[str, str]:
    return {"section": msgspec.json.encode(section).decode()}


def users_source(model: str) -> str:
    """The hash of a user's own `package.module:factory` where it lies in its folder (else empty)."""
    base = base_name(model)
    source = reference(base).source if ":" in base else None
    return sha256_of(source) if source else ""
