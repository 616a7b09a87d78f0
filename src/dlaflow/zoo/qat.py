"""Quantisation-aware training for the DLA: rounding where its layers round, a short fine-tune around it, Q/DQ.

BatchNorm is folded first, as TensorRT does. Weights get a scale for each output channel, activations one for a tensor
(`zoo.rounding`). A convolution and its ReLU are one layer, and tensors that the DLA wants on one scale
(`quantize.plan`: a Concat, the operands of a sum) share a rounding. `zoo.tuning` trains.

With training code of your own: `quantised`, `calibrate_quantisers`, train with `StepAdam`, `export_quantised`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError, require
from dlaflow.graph.verify import replace_nodes
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import share_measurement, wilson
from dlaflow.quantize.model import drop_unused_constants, index
from dlaflow.types import Measurement
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.distillation import DistillationConfig, check_config
from dlaflow.zoo.models import build_model
from dlaflow.zoo.plan import VALIDATION_SHARE
from dlaflow.zoo.weights import load_weights

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

    from dlaflow.zoo.augment import DeviceImages

_LEAST, _MOST = -128, 127
_CALIBRATION_BATCHES = 8
_HELD_OUT = 2_000
_PARITY_IMAGES = (1, 4)
_MOVES = frozenset(
    {"flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "getitem", "size", "contiguous"}
    | {"chunk", "split", "max_pool2d", "dropout", "dropout2d", "pixel_shuffle", "Flatten", "Unflatten", "Identity"}
    | {"MaxPool2d", "Dropout", "Dropout2d", "PixelShuffle"}
)
"""Functions, methods and modules that put out values they took in, or none."""
_RELUS = frozenset({"relu", "relu6", "ReLU", "ReLU6"})
_SUMS = frozenset({"add", "iadd"})
_TIED = _SUMS | {"sub", "isub", "maximum", "minimum"}
_CONCATS = frozenset({"cat", "concat", "concatenate"})


@dataclass(frozen=True, slots=True)
class Qat:
    """The quantised network in evaluation mode, and how many of the `tested` images it and others got right.

    `untrained` is the network with the scales of a calibration and no training: what the training is worth is told
    beside it. `module` is the best by the `held_out` training images, that one included: it was so after `epoch` (0:
    no training helped) at `rate`; `slowed` when a training at ten times the rate went wrong.
    """

    module: nn.Module
    float_right: int
    untrained_right: int
    trained_right: int
    tested: int
    seconds: float
    epoch: int
    rate: float
    held_out: int
    slowed: bool

    @property
    def gain(self) -> float:
        """What the training added to top-1, in percentage points."""
        return 100 * (self.trained_right - self.untrained_right) / self.tested

    @property
    def spread(self) -> float:
        """Half of the 95% interval of the trained network's top-1, in percentage points."""
        low, high = wilson(self.trained_right, self.tested)
        return 50 * (high - low)

    def in_words(self, epochs: int) -> str:
        """top-1 of the three networks; the last is that of the best of `epochs` epochs."""
        rights = (self.float_right, self.untrained_right, self.trained_right)
        shares = [f"{right / self.tested:.2%}" for right in rights]
        return (
            f"top-1 on {self.tested:,} test images: {shares[0]} in float, {shares[1]} in INT8 without training, "
            f"{shares[2]} after {self.epoch} of {epochs} epochs (± {self.spread:.2f})"
        )

    def measurements(self, subject: str) -> list[Measurement]:
        """top-1 of the three networks, in percent."""
        rights = {
            "float": self.float_right,
            "int8, not trained": self.untrained_right,
            "int8, trained": self.trained_right,
        }
        return [share_measurement("top1", subject, (right, self.tested), detail) for detail, right in rights.items()]


def train_quantised(
    config: DistillationConfig,
    progress: Progress = silent,
    dataset: Dataset | None = None,
    input_shape: tuple[int, int, int] = (3, 32, 32),
) -> Qat:
    """Quantise the network of `config`, calibrate its scales, fine-tune it, and measure on the test images.

    `input_shape` is what it will be exported for, tried before the training.

    Raises UsageError for options that make no sense, InputError for weights or a shape that do not fit, for a network
    that torch.fx cannot trace, EnvironmentLacksError without torch.
    """
    check_config(config)
    require("torch", "safetensors", extra="train", what_for="training")
    import torch

    from dlaflow.zoo.augment import DeviceImages
    from dlaflow.zoo.export import DEFAULT_OPSET, onnx_of
    from dlaflow.zoo.loop import accuracy, try_out
    from dlaflow.zoo.tuning import fine_tune

    began = time.monotonic()
    teacher = build_model(config.model)
    load_weights(teacher, config.weights)  # before the data, which may be a long download
    teacher.eval()
    onnx_of(teacher, config.model, opset=DEFAULT_OPSET, batch=None, input_shape=input_shape)
    data = dataset or load_dataset(config.data, config.data_dir, progress)
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = (*_held_apart(data.train, config.seed), data.test)
    train, held_out, test = (DeviceImages(split, data, device) for split in parts)
    teacher.to(device)
    classes = len(data.classes)
    try_out(teacher, test, classes)
    student = quantised(teacher, test.plain(slice(0, 2))).to(device)
    calibrate_quantisers(student, _plain_batches(train, config.batch_size, progress))
    tuned = fine_tune(student, teacher, (train, held_out), classes, config, progress)
    float_right, untrained_right, trained_right = (
        round(accuracy(each, test, classes) * len(test)) for each in (teacher, student, tuned.network)
    )
    return Qat(
        tuned.network.eval().cpu(),
        float_right,
        untrained_right,
        trained_right,
        len(test),
        round(time.monotonic() - began, 1),
        tuned.epoch,
        tuned.rate,
        len(held_out),
        tuned.ended,
    )


def _held_apart(split: Split, seed: int) -> tuple[Split, Split]:
    """The images that train, and those that choose among epochs."""
    count = min(_HELD_OUT, max(1, round(len(split) * VALIDATION_SHARE)))
    order = np.random.default_rng(seed).permutation(len(split))
    train, held_out = (Split(split.images[part], split.labels[part]) for part in (order[count:], order[:count]))
    return train, held_out


def quantised(network: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """A copy of a network with BatchNorm folded and a `Rounding` at each place, which has no scale yet.

    `images` [n, c, h, w] are what it takes, on its device. A layer that is called twice becomes two with weights of
    their own, as it is two on the DLA.

    Raises InputError for a network that torch.fx cannot trace: one whose way depends on its input.
    """
    from torch import fx
    from torch.fx.passes.shape_prop import ShapeProp
    from torch.nn.utils import parametrize

    from dlaflow.zoo.rounding import Rounding

    try:
        traced = fx.symbolic_trace(copy.deepcopy(network).eval())
        ShapeProp(traced).propagate(images)
    except Exception as error:  # torch raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"torch.fx cannot trace {type(network).__name__}: {reason}",
            then="Give a network whose forward() takes one tensor and decides nothing by its values or its shape.",
        ) from None
    _fold(traced)
    for parameter in traced.parameters():
        parameter.requires_grad_(True)
    for module in list(traced.modules()):
        axis = _weight_axis(module)
        if axis is not None:
            parametrize.register_parametrization(module, "weight", Rounding(axis))
    quantisers = _Shared(traced)
    for node in list(traced.graph.nodes):
        if _is_quantised(node, traced):
            name = quantisers.of(node)
            with traced.graph.inserting_after(node):
                pair = traced.graph.call_module(name, (node,))
            node.replace_all_uses_with(pair, delete_user_cb=lambda user, pair=pair: user is not pair)
    traced.recompile()
    return traced


def _fold(traced: fx.GraphModule) -> None:
    """Give each call of a layer a module of its own, then fold BatchNorm into the convolution before it."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    called: set[str] = set()
    for place, node in enumerate(traced.graph.nodes):
        if node.op == "call_module" and node.target in called and list(_module(node, traced).parameters()):
            name = f"again_{place}"
            traced.add_module(name, copy.deepcopy(_module(node, traced)))
            node.target = name
        called.add(str(node.target))
    for node in list(traced.graph.nodes):
        before = node.all_input_nodes[0] if node.all_input_nodes else node
        if node.op != "call_module" or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = _module(before, traced), _module(node, traced)
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or norm.running_mean is None:
            continue
        turned = isinstance(conv, nn.ConvTranspose2d) and conv.groups == 1  # torch folds no grouped one
        if turned or isinstance(conv, (nn.Conv1d, nn.Conv2d)):
            assert isinstance(conv, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d))
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm, transpose=turned))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()


def _module(node: fx.Node, traced: fx.GraphModule) -> nn.Module:
    return traced.get_submodule(str(node.target))


def _kind(node: object, traced: fx.GraphModule) -> str | None:
    """What a node calls: the name of a module's class, a function or a method (`add` for `add_`); None for others."""
    from torch import fx

    if not isinstance(node, fx.Node) or not node.op.startswith("call_"):
        return None
    if node.op == "call_module":
        return type(_module(node, traced)).__name__
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    return name.rstrip("_")


def _weight_axis(module: nn.Module) -> int | None:
    """The axis of a layer's weights that holds its output channels; None for a layer without such weights."""
    from torch import nn

    if isinstance(module, nn.ConvTranspose2d):
        return 1
    return 0 if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) else None


def _is_quantised(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether the DLA writes this tensor as INT8: an input, or what a layer of its own puts out."""
    from torch.fx.passes.shape_prop import TensorMetadata

    made = node.meta.get("tensor_meta")
    if not isinstance(made, TensorMetadata) or not made.dtype.is_floating_point:
        return False
    if node.op in {"output", "get_attr"}:
        return False
    if node.op == "placeholder":
        return True
    kind = _kind(node, traced)
    if len(node.users) == 1 and _kind(next(iter(node.users)), traced) in _RELUS:
        linear = node.op == "call_module" and _weight_axis(_module(node, traced)) is not None
        return not (linear or kind in _SUMS | {"BatchNorm2d"})
    return kind not in _MOVES


class _Shared:
    """One quantiser for tensors that the DLA wants on one scale: a Concat with its inputs, the operands of a sum."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._traced = traced
        self._same: dict[fx.Node, fx.Node] = {}
        for node in traced.graph.nodes:
            kind = _kind(node, traced)
            if kind in _CONCATS | _TIED:
                members = [*node.all_input_nodes, *([node] if kind in _CONCATS else [])]
                ends = [end for each in members if (end := self._written(each)) is not None]
                for other in ends[1:]:
                    self._same[self._root(other)] = self._root(ends[0])

    def of(self, node: fx.Node) -> str:
        """The name of the quantiser of a node, made where it is the first of its group."""
        from dlaflow.zoo.rounding import Rounding

        name = f"quantise_{self._root(node).name}"
        if not hasattr(self._traced, name):
            self._traced.add_module(name, Rounding())
        return name

    def _root(self, node: fx.Node) -> fx.Node:
        while self._same.get(node, node) is not node:
            node = self._same[node]
        return node

    def _written(self, node: fx.Node) -> fx.Node | None:
        """The node whose quantised values reach `node`; None where there is none, such as for a constant."""
        while not _is_quantised(node, self._traced):
            if _kind(node, self._traced) not in _MOVES or not node.all_input_nodes:
                return None
            node = node.all_input_nodes[0]
        return node


def calibrate_quantisers(student: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Let the quantisers of activations see some `batches` [n, c, h, w], then hold their scales and those of weights.

    Raises InputError without a batch, and for one that does not fit or brings NaN or infinite values.
    """
    import torch

    from dlaflow.zoo.rounding import roundings

    student.eval()
    for each in roundings(student):
        each.mode = "observe"
    seen = 0
    with torch.no_grad():
        for images in batches:
            try:
                student(images)
            except RuntimeError as error:
                raise InputError(f"the scales cannot be calibrated: {' '.join(str(error).split())[:200]}") from None
            seen += len(images)
    if not seen:
        raise InputError("there are no images to calibrate the scales on", expected="a batch or more")
    for each in roundings(student):
        each.hold()


def _plain_batches(images: DeviceImages, size: int, progress: Progress) -> Iterator[torch.Tensor]:
    """The first training images as they are, in a few batches."""
    count = min(_CALIBRATION_BATCHES, math.ceil(len(images) / size))
    with progress("Calibrating", count, "batches") as task:
        for start in range(0, count * size, size):
            yield images.plain(slice(start, start + size))
            task.advance()


def export_quantised(module: nn.Module, name: str, batch: int | None, input_shape: tuple[int, int, int]) -> bytes:
    """The quantised network, on the CPU, as ONNX with Q/DQ (opset 17) and its weights in INT8.

    `name` is what an error calls it; `batch` None leaves the batch open. Scales that still learn are held.

    Raises InputError without calibrated scales, when torch cannot export it, and for a file that answers otherwise than
    torch by more than roundings.
    """
    from dlaflow.zoo.export import DEFAULT_OPSET, onnx_of
    from dlaflow.zoo.rounding import roundings

    require("onnxruntime", extra="run", what_for="comparing the exported network with torch")
    module.eval()
    for each in roundings(module):
        if each.mode == "learn":
            each.hold()
        if each.mode != "round":
            raise InputError("the network has no scales yet", then="Call calibrate_quantisers on it first.")
    exported = _stored(onnx_of(module, name, opset=DEFAULT_OPSET, batch=batch, input_shape=input_shape))
    for count in (batch,) if batch else _PARITY_IMAGES:
        _compare(module, exported, (count, *input_shape))
    return exported


def _compare(module: nn.Module, exported: bytes, shape: tuple[int, int, int, int]) -> None:
    """Raise InputError where the file's outputs on images of `shape` are not those of torch.

    Both round the same way, but a value half-way between two steps falls to either side by its last bit, and moves the
    layers behind it: in the mean over the outputs they may differ by a step of INT8, or by as much as INT8 itself
    changes. onnxruntime runs as `evaluate` runs it: left alone it rounds the biases too, to products of two scales,
    which was 13 steps on a network of uneven channels.
    """
    import onnx
    import torch

    from dlaflow.runtime.ort import OrtRunner
    from dlaflow.zoo.export import example_images
    from dlaflow.zoo.rounding import unrounded

    images = example_images(shape[0], shape[1:])
    found = OrtRunner(onnx.load_from_string(exported)).run(images)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(images)).numpy()
        with unrounded(module):
            exact = module(torch.from_numpy(images)).numpy()
    step = max(float(np.abs(wanted).max(initial=0.0)), float(np.finfo(np.float32).tiny)) / _MOST
    caused = float(np.abs(exact - wanted).mean()) / step
    apart = float(np.abs(found - wanted).mean()) / step if found.shape == wanted.shape else np.inf
    if not apart <= max(1.0, caused):
        raise InputError(
            "the exported network differs from torch, nothing was written",
            expected=f"outputs within {max(1.0, caused):.1f} steps of INT8 on average",
            received=f"{apart:.1f}",
        )


def _stored(exported: bytes) -> bytes:
    """Quantised weights as INT8 in the file; constants that torch shares through Identity nodes by their own names."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(exported)
    graph = index(model)
    same = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in graph.stored
    }
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    kept = []
    for node in model.graph.node:
        values = [graph.value(name) for name in node.input[:2]] if node.op_type == "QuantizeLinear" else [None, None]
        weights, scale = (None if each is None else each.astype(np.float32) for each in values)
        if weights is not None and scale is not None:
            wide = [1] * weights.ndim
            if scale.size > 1:
                wide[next((each.i for each in node.attribute if each.name == "axis"), 1)] = -1
            # As torch does: by the reciprocal, or weights half-way between two steps would fall to the other side.
            steps = np.clip(np.rint(weights * (1 / scale).reshape(wide)), _LEAST, _MOST).astype(np.int8)
            model.graph.initializer.append(numpy_helper.from_array(steps, node.output[0]))
        elif not set(node.output) <= same.keys():
            kept.append(node)
    replace_nodes(model.graph, kept)
    drop_unused_constants(model)
    stored: bytes = model.SerializeToString()
    return stored
