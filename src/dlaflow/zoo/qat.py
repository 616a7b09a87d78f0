"""Quantisation-aware training for the DLA: fake quantisation where its layers quantise, a short fine-tune around it.

BatchNorm is folded first, as TensorRT does. Weights get a scale for each output channel, activations one for a tensor;
both are symmetric INT8 without zero points, and a convolution and its ReLU are one layer. The scales of activations
come from a calibration on training images (the histogram of least squared error) and stay; the weights learn around
them, after the float network (distillation). torch.ao's own fake quantisers are used: what they are exported to is what
TensorRT reads.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError, UsageError, require
from dlaflow.graph.verify import replace_nodes
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import wilson
from dlaflow.quantize.model import drop_unused_constants, index
from dlaflow.types import Measurement
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.distillation import DistillationConfig, learn
from dlaflow.zoo.models import build_model, check_name
from dlaflow.zoo.weights import load_weights

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

    from dlaflow.zoo.augment import DeviceImages

_LEAST, _MOST = -128, 127
_CALIBRATION_BATCHES = 8
_ROUNDINGS = 0.5
"""Of a logit: a value half-way between two steps of INT8 falls to either side, and moves the layers behind it."""
_MOVES = frozenset({"flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "getitem", "size"})
"""Functions and methods that put out values they took in, or none."""


@dataclass(frozen=True, slots=True)
class Qat:
    """The quantised network in evaluation mode, and how many of the `tested` images it and others got right.

    `untrained` is the network with the same scales and no training: what the training is worth is told beside it.
    """

    module: nn.Module
    float_right: int
    untrained_right: int
    trained_right: int
    tested: int
    seconds: float

    @property
    def gain(self) -> float:
        """What the training added to top-1, in percentage points."""
        return 100 * (self.trained_right - self.untrained_right) / self.tested

    @property
    def spread(self) -> float:
        """Half of the 95% interval of the trained network's top-1, in percentage points."""
        low, high = wilson(self.trained_right, self.tested)
        return 50 * (high - low)

    def measurements(self, subject: str) -> list[Measurement]:
        """top-1 of the three networks, in percent."""
        found = []
        for detail, right in (
            ("float", self.float_right),
            ("int8, not trained", self.untrained_right),
            ("int8, trained", self.trained_right),
        ):
            low, high = wilson(right, self.tested)
            found.append(
                Measurement(
                    quantity="top1",
                    subject=subject,
                    value=100 * right / self.tested,
                    unit="%",
                    n=self.tested,
                    spread=50 * (high - low),
                    detail=detail,
                )
            )
        return found


def train_quantised(config: DistillationConfig, progress: Progress = silent, dataset: Dataset | None = None) -> Qat:
    """Quantise the network of `config`, calibrate its scales, fine-tune it, and measure on the test images.

    Raises UsageError for options that make no sense, InputError for weights that do not fit, for a network that
    torch.fx cannot trace and for a training that diverges, EnvironmentLacksError without torch.
    """
    check_name(config.model)
    if config.epochs < 0:
        raise UsageError("the epochs make no sense", expected="0 or more", received=config.epochs)
    require("torch", "safetensors", extra="train", what_for="training")
    import torch

    from dlaflow.zoo.augment import DeviceImages
    from dlaflow.zoo.loop import accuracy, try_out

    began = time.monotonic()
    data = dataset or load_dataset(config.data, config.data_dir, progress)
    teacher = build_model(config.model)
    load_weights(teacher, config.weights)
    teacher.eval()
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = (DeviceImages(split, data, device) for split in (data.train, data.test))
    teacher.to(device)
    classes = len(data.classes)
    try_out(teacher, test, classes)
    student = quantised(teacher, test.plain(slice(0, 2))).to(device)
    _calibrate(student, train, config.batch_size, progress)
    right = [round(accuracy(network, test, classes) * len(test)) for network in (teacher, student)]
    if config.epochs:
        learn(student, teacher, train, config, progress, precision="fp32")
    right.append(round(accuracy(student, test, classes) * len(test)))
    module = student.eval().cpu()
    return Qat(module, right[0], right[1], right[2], len(test), round(time.monotonic() - began, 1))


def quantised(network: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """A copy of a network with BatchNorm folded and fake quantisers in it, which still learn their scales.

    `images` [n, c, h, w] are what it takes, on its device.

    Raises InputError for a network that torch.fx cannot trace: one whose way depends on its input.
    """
    from torch import fx, nn
    from torch.fx.experimental.optimization import fuse
    from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
    from torch.nn.utils import parametrize

    try:
        traced = fuse(fx.symbolic_trace(copy.deepcopy(network).eval()))
        assert isinstance(traced, fx.GraphModule)
        ShapeProp(traced).propagate(images)
    except Exception as error:  # torch raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"torch.fx cannot trace {type(network).__name__}: {reason}",
            then="Fine-tune it with your own code: examples/qat_own_model.py shows how.",
        ) from None
    for parameter in traced.parameters():
        parameter.requires_grad_(True)
    modules = dict(traced.named_modules())
    for module in modules.values():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", _for_weights())
    for place, node in enumerate(list(traced.graph.nodes)):
        made = node.meta.get("tensor_meta")
        is_float = isinstance(made, TensorMetadata) and made.dtype.is_floating_point
        if is_float and _is_quantised(node, modules):
            name = f"quantise_{place}"
            traced.add_module(name, _for_activations())
            with traced.graph.inserting_after(node):
                pair = traced.graph.call_module(name, (node,))
            node.replace_all_uses_with(pair, delete_user_cb=lambda user, pair=pair: user is not pair)
    traced.recompile()
    return traced


def _is_quantised(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the DLA writes this tensor as INT8: an input, or what a layer of its own puts out."""
    from torch import nn

    if node.op in {"output", "get_attr"}:
        return False
    if node.op == "placeholder":
        return True
    if node.op == "call_module":
        layer = modules[str(node.target)]
        if isinstance(layer, (nn.Flatten, nn.Dropout, nn.Identity, nn.MaxPool2d)):
            return False
        fused = isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) and len(node.users) == 1
        return not (fused and _is_relu(next(iter(node.users)), modules))
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    if name in {"add", "iadd"}:
        return not (len(node.users) == 1 and _is_relu(next(iter(node.users)), modules))
    return name.rstrip("_") not in _MOVES | {"max_pool2d", "dropout"}


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    from torch import nn

    if node.op == "call_module":
        return isinstance(modules[str(node.target)], nn.ReLU)
    return node.op == "call_function" and getattr(node.target, "__name__", "") in {"relu", "relu_"}


def _for_activations() -> nn.Module:
    import torch
    from torch.ao import quantization

    return quantization.FakeQuantize(  # type: ignore[no-untyped-call]
        quantization.HistogramObserver,
        quant_min=_LEAST,
        quant_max=_MOST,
        dtype=torch.qint8,
        qscheme=torch.per_tensor_symmetric,
    )


def _for_weights() -> nn.Module:
    """One scale for each output channel: its largest weight is 127, as TensorRT has it."""
    import torch
    from torch.ao import quantization

    fake = quantization.FakeQuantize(  # type: ignore[no-untyped-call]
        quantization.PerChannelMinMaxObserver,
        quant_min=_LEAST,
        quant_max=_MOST,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )
    fake.activation_post_process.quant_min = -_MOST
    return fake


def _calibrate(student: fx.GraphModule, images: DeviceImages, batch: int, progress: Progress) -> None:
    """Let the quantisers of activations see a few batches, then hold their scales; those of weights hold as well."""
    import torch
    from torch.ao import quantization

    student.eval()
    student.apply(quantization.enable_observer)
    student.apply(quantization.disable_fake_quant)
    with torch.no_grad(), progress("Calibrating", _CALIBRATION_BATCHES, "batches") as task:
        for start in range(0, min(_CALIBRATION_BATCHES * batch, len(images)), batch):
            student(images.plain(slice(start, min(start + batch, len(images)))))
            task.advance()
    student.apply(quantization.disable_observer)
    student.apply(quantization.enable_fake_quant)
    for module in student.modules():
        if isinstance(module, quantization.FakeQuantize):  # the only range of INT8 that torch can export
            module.activation_post_process.quant_min = _LEAST


def export_quantised(qat: Qat, name: str, batch: int | None, input_shape: tuple[int, int, int]) -> bytes:
    """The network as ONNX with Q/DQ (opset 17) and its weights in INT8; `batch` None leaves the batch open.

    Raises InputError when torch cannot export it, or onnxruntime answers otherwise than torch by more than roundings.
    """
    from dlaflow.zoo.export import DEFAULT_OPSET, largest_difference, onnx_of

    require("onnxruntime", extra="run", what_for="comparing the exported network with torch")
    exported = _stored(onnx_of(qat.module, name, opset=DEFAULT_OPSET, batch=batch, input_shape=input_shape))
    difference = largest_difference(qat.module, exported, input_shape, batch)
    if not difference <= _ROUNDINGS:
        raise InputError(
            "the exported network differs from torch, nothing was written",
            expected=f"logits within {_ROUNDINGS:g}",
            received=f"{difference:.3g}",
        )
    return exported


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
            steps = np.clip(np.rint(weights / scale.reshape(wide)), _LEAST, _MOST).astype(np.int8)
            model.graph.initializer.append(numpy_helper.from_array(steps, node.output[0]))
        elif not set(node.output) <= same.keys():
            kept.append(node)
    replace_nodes(model.graph, kept)
    drop_unused_constants(model)
    stored: bytes = model.SerializeToString()
    return stored
