"""A recipe as frozen records; `load.py` reads one from TOML.

Each comment tells of the key beside or below it: docs/recipes.md is made of them, and of the sections' own texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from dlaflow.targets.options import TargetOptions
from dlaflow.zoo.distillation import DistillationConfig

StepName = Literal["train", "export", "check", "estimate", "calibrate", "sensitivity", "evaluate", "build", "report"]
RemoteStep = Literal["build", "profile", "evaluate", "bench"]
DataName = Literal["auto", "cifar10", "digits"]
Precision = Literal["fp32", "fp16", "int8"]

# What a recipe does unless it says otherwise. Asked for by name: `sensitivity`, which runs the network once a layer,
# and `build`, which writes the line that builds the engine on a board and stops at a model that the release refuses.
STEPS: tuple[StepName, ...] = ("train", "export", "check", "estimate", "calibrate", "evaluate", "report")


@dataclass(frozen=True, kw_only=True)
class TargetSection(TargetOptions):
    """[target]: the board that the model is meant for, with the options of the commands."""

    precision: Literal["fp16", "int8"] = "int8"  # what the engine computes in
    mode: Literal["hybrid", "standalone"] = "hybrid"  # whether the GPU may help, or all is in DLA loadables
    # The size of inputs that a model leaves open, batch included: {images = [1, 3, 640, 640]}, or
    # ["images:1x3x640x640"] as `--shape` spells it.
    shape: dict[str, tuple[int, ...]] | tuple[str, ...] = ()


class DataSection(msgspec.Struct, frozen=True, kw_only=True):
    """[data]: the images."""

    name: DataName = "auto"  # `auto` takes CIFAR-10 where it can be had, else the built-in digits, and says so
    dir: str | None = None  # where CIFAR-10 is, or is downloaded to; default: `$DLAFLOW_DATA`, else data/cifar10
    # Images of your own, in place of `name`: what `--data` of the commands takes, one for each input. One half of them
    # calibrates, the other is for the evaluation.
    source: tuple[str, ...] = ()
    resize: str | int | None = None  # of a folder: the shorter side before a centred cut (256), or a size ("224x224")
    mean: str | tuple[float, ...] | None = None  # of each channel of pixels in 0..1
    std: str | tuple[float, ...] | None = None  # the standard deviation of each channel
    layout: str | None = None  # of the model's input, nchw or nhwc; default: what its shape says


class VariantSection(msgspec.Struct, frozen=True, kw_only=True):
    """[[variant]]: one model of the run; its ONNX file comes from exactly one of `model`, `onnx` and `from`."""

    name: str  # names a folder, too: letters, digits, dot, dash and underscore
    model: str | None = None  # trained here: a name of the zoo or `package.module:factory@width=2`
    onnx: str | None = None  # a file of your own
    source: str | None = msgspec.field(default=None, name="from")  # another variant, whose ONNX file is changed
    rewrite: Literal["average-pool"] | None = None  # with `from`: replaces each GlobalAveragePool and nothing else
    fix: Literal["exact", "tolerance", "data"] | None = None  # with `from`: `dlaflow fix`, and how far it may go
    # Fine-tunes the weights of a `model` with INT8 in it ([qat]): its scales are trained, `calibrate` leaves them.
    qat: bool = False
    note: str = ""  # a few words for the report


class TrainSection(msgspec.Struct, frozen=True, kw_only=True):
    """[train]: the training of each variant with `model`."""

    epochs: int = 2  # passes over the training images
    seed: int = 0  # the same seed gives the same run on the same machine
    batch_size: int | None = None  # images a step; default: what suits the data set and the epochs
    limit: int | None = None  # takes only that many training images
    device: str = "auto"  # auto, cpu, cuda or mps


class QatSection(msgspec.Struct, frozen=True, kw_only=True):
    """[qat]: for variants with `qat`, the options of `dlaflow qat`."""

    epochs: int = 3  # passes over the training images
    lr: float = 1.0  # the learning rate, as `--lr`
    limit: int | None = None  # takes only that many training images
    seed: int = 0  # the same seed gives the same run on the same machine
    batch_size: int = 128  # images a step
    # What the result is also checked for, each with the file that it reads: plain.onnx and a cache, or Q/DQ.
    releases: tuple[str, ...] = ()

    def config(self, model: str, weights: Path) -> DistillationConfig:
        """What `zoo.qat` takes, for a `model` of the zoo and its trained `weights`."""
        return DistillationConfig(
            model,
            weights,
            epochs=self.epochs,
            seed=self.seed,
            batch_size=self.batch_size,
            lr=self.lr,
            limit=self.limit,
        )


class ExportSection(msgspec.Struct, frozen=True, kw_only=True):
    """[export]: the ONNX file of what was trained."""

    batch: int | Literal["dynamic"] = "dynamic"  # the first dimension: open, or this number
    opset: int | Literal["auto"] = "auto"  # `auto` is 17, or what the target's parser reads where that is less
    simplify: bool = False  # whether onnxslim folds constants and shape arithmetic


class FixSection(msgspec.Struct, frozen=True, kw_only=True):
    """[fix]: for variants with `fix`."""

    images: int = 256  # training images for statistics and the proof (not for `exact`)
    max_drop: float = 1.0  # points of accuracy that statistics may cost at most
    output_4d: bool = False  # lets outputs become (N, C, 1, 1)


class EstimateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[estimate]: the latency on the board."""

    power_mode: str | None = None  # one of the board's; default: MAXN with locked clocks


class CalibrateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[calibrate]: the INT8 scales."""

    samples: int = 512  # training images that calibrate
    method: str = "entropy"  # entropy, percentile, mse, minmax, or auto: the best for each tensor
    batch_size: int = 64  # images that run at once


class SensitivitySection(msgspec.Struct, frozen=True, kw_only=True):
    """[sensitivity]: which layers INT8 hurts, and which to keep in FP16."""

    images: int = 200  # training images that measure: others than calibrated, as far as there are enough
    max_drop: float = 1.0  # points of accuracy that INT8 may cost with those layers in FP16


class EvaluateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[evaluate]: accuracy on the test images."""

    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")  # the models that are measured
    limit: int | None = None  # takes only that many test images
    batch_size: int = 250  # images that run at once


class RemoteSection(msgspec.Struct, frozen=True, kw_only=True):
    """[remote]: what `--on BOARD` does there with each variant; without `--on` nothing of it happens."""

    steps: tuple[RemoteStep, ...] = ("build", "profile", "evaluate", "bench")  # what is done there; needs `build`
    images: int = 512  # test images that go to the board
    duration: int = 10  # seconds of each measurement
    repeats: int = 3  # how often the bench measures each engine
    idle: float = 5.0  # seconds of idling, the baseline of power
    power: bool = True  # whether power is measured, where the board has tegrastats
    lock_clocks: bool = False  # the highest clocks while it measures; needs sudo there
    timeout: float = 21600.0  # seconds that a build may take


class ReportSection(msgspec.Struct, frozen=True, kw_only=True):
    """[report]: the HTML page."""

    file: str = "report.html"  # its name in the folder of the run
    graph: bool = True  # whether it holds the graph of each network


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The keys above all sections.

    They stand before the first table of the file.
    """

    name: str  # names the folder of the run: letters, digits, dot, dash and underscore
    variant: tuple[VariantSection, ...]  # one or more `[[variant]]`
    steps: tuple[StepName, ...] = STEPS  # what to do, in the order of the journey; leave steps away to skip them
    target: TargetSection = TargetSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    export: ExportSection = ExportSection()
    qat: QatSection = QatSection()
    fix: FixSection = FixSection()
    estimate: EstimateSection = EstimateSection()
    calibrate: CalibrateSection = CalibrateSection()
    sensitivity: SensitivitySection = SensitivitySection()
    evaluate: EvaluateSection = EvaluateSection()
    remote: RemoteSection = RemoteSection()
    report: ReportSection = ReportSection()
