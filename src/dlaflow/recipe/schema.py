"""A recipe as frozen records; `load.py` reads one from TOML. The comments are the recipe's reference."""

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
    """[target]: the board that the model is meant for, with the options of the commands.

    `shape` gives the size of inputs that a model leaves open, batch included: {images = [1, 3, 640, 640]}, or
    ["images:1x3x640x640"] as `--shape` spells it.
    """

    precision: Literal["fp16", "int8"] = "int8"
    mode: Literal["hybrid", "standalone"] = "hybrid"
    shape: dict[str, tuple[int, ...]] | tuple[str, ...] = ()


class DataSection(msgspec.Struct, frozen=True, kw_only=True):
    """[data]: the images. `auto` takes CIFAR-10 where it can be had, else the built-in digits, and says so.

    `source` are images of your own, in place of `name`: what `--data` of the commands takes, one for each input. One
    half of them calibrates, the other is for the evaluation. `resize`, `mean`, `std` and `layout` are those of
    `dlaflow calibrate`.
    """

    name: DataName = "auto"
    dir: str | None = None
    source: tuple[str, ...] = ()
    resize: str | int | None = None
    mean: str | tuple[float, ...] | None = None
    std: str | tuple[float, ...] | None = None
    layout: str | None = None


class VariantSection(msgspec.Struct, frozen=True, kw_only=True):
    """[[variant]]: one model of the run; its ONNX file comes from exactly one of three places.

    `model` is trained here (a name of the zoo or `package.module:factory`), `onnx` is a file of your own, and `from`
    takes the ONNX file of another variant and changes it: `rewrite` replaces each GlobalAveragePool and nothing else,
    `fix` is `dlaflow fix` for the recipe's target, its value how far that may go. `qat` fine-tunes the weights of a
    `model` with INT8 in it ([qat]): its scales are trained, and `calibrate` leaves them.
    """

    name: str
    model: str | None = None
    onnx: str | None = None
    source: str | None = msgspec.field(default=None, name="from")
    rewrite: Literal["average-pool"] | None = None
    fix: Literal["exact", "tolerance", "data"] | None = None
    qat: bool = False
    note: str = ""


class TrainSection(msgspec.Struct, frozen=True, kw_only=True):
    """[train]: `limit` takes only that many training images; `device` is auto, cpu, cuda or mps."""

    epochs: int = 2
    seed: int = 0
    batch_size: int | None = None
    limit: int | None = None
    device: str = "auto"


class QatSection(msgspec.Struct, frozen=True, kw_only=True):
    """[qat]: for variants with `qat`, the options of `dlaflow qat`.

    `releases` are what the result is also checked for, each with the file that it reads: plain.onnx and a cache, or
    Q/DQ.
    """

    epochs: int = 3
    lr: float = 1.0
    limit: int | None = None
    seed: int = 0
    batch_size: int = 128
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
    """[export]: `batch` is `dynamic` or a number, `opset` is `auto` (what the target's parser reads) or a number."""

    batch: int | Literal["dynamic"] = "dynamic"
    opset: int | Literal["auto"] = "auto"
    simplify: bool = False


class FixSection(msgspec.Struct, frozen=True, kw_only=True):
    """[fix]: for variants with `fix`. `images` training images are for statistics and the proof (not for `exact`).

    Statistics may cost at most `max_drop` points of accuracy; `output_4d` lets outputs become (N, C, 1, 1).
    """

    images: int = 256
    max_drop: float = 1.0
    output_4d: bool = False


class EstimateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[estimate]: the latency on the board; `power_mode` is one of the board's (default: MAXN with locked clocks)."""

    power_mode: str | None = None


class CalibrateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[calibrate]: INT8 scales from `samples` training images, `batch_size` of them at once."""

    samples: int = 512
    method: str = "entropy"
    batch_size: int = 64


class SensitivitySection(msgspec.Struct, frozen=True, kw_only=True):
    """[sensitivity]: which layers INT8 hurts, on `images`, and which to keep in FP16 to lose at most `max_drop` points.

    Takes training images that the calibration did not see, as far as there are enough.
    """

    images: int = 200
    max_drop: float = 1.0


class EvaluateSection(msgspec.Struct, frozen=True, kw_only=True):
    """[evaluate]: accuracy on the test images; `limit` takes only that many of them."""

    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    limit: int | None = None
    batch_size: int = 250


class RemoteSection(msgspec.Struct, frozen=True, kw_only=True):
    """[remote]: what `--on BOARD` does there with each variant; without --on nothing of it happens.

    `images` test images go to the board, `duration` (s) is the length of each measurement, `repeats` how often the
    bench measures each, `idle` (s) the baseline of power, `timeout` (s) the limit of a build. `lock_clocks` needs sudo.
    """

    steps: tuple[RemoteStep, ...] = ("build", "profile", "evaluate", "bench")
    images: int = 512
    duration: int = 10
    repeats: int = 3
    idle: float = 5.0
    power: bool = True
    lock_clocks: bool = False
    timeout: float = 21600.0


class ReportSection(msgspec.Struct, frozen=True, kw_only=True):
    """[report]: the name of the HTML file in the folder of the run, and whether it holds the network graph."""

    file: str = "report.html"
    graph: bool = True


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A whole recipe. `steps` is what to do, in the order of the journey; leave steps away to skip them."""

    name: str
    variant: tuple[VariantSection, ...]
    steps: tuple[StepName, ...] = STEPS
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
