"""One plain model in the forms that quantisation tools write it in, and what must stay equal between them.

The tools themselves run in benchmarks/typed_networks.py; here are their forms, with made-up scales.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dlaflow.estimate.answer import Range
from dlaflow.estimate.latency import estimate
from dlaflow.graph.load import as_model, without_weights
from dlaflow.graph.typed import PAIR
from dlaflow.graph.verify import replace_nodes
from dlaflow.placement.check import check_network, network_of
from dlaflow.quantize.calibration import Calibration, TensorScale
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.fp16 import IoTypes, fp16_model
from dlaflow.quantize.model import add_constant, for_qdq, index
from dlaflow.quantize.plan import LINEAR
from dlaflow.quantize.qdq import weight_axis, write_qdq
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement

SCALE = 0.05


@dataclass(frozen=True)
class Summary:
    """What of a placement must not depend on how the INT8 types are written."""

    layers: tuple[tuple[str, str, int | None, int], ...]
    loadables: int
    switches: int
    mac_share: float | None
    standalone: bool
    latency: Range | None

    @property
    def placed(self) -> Summary:
        """All but the time."""
        return replace(self, latency=None)

    def without_casts(self) -> tuple[tuple[str, str, int | None, int], ...]:
        """The layers without the Casts at float32 outputs, and without reshapes, of which a Cast may save the last."""
        return tuple(layer for layer in self.layers if layer[0] not in {"CAST", "SHUFFLE"})


def placed(model: onnx.ModelProto, precision: str = "int8", jetpack: str = "7.2.2") -> tuple[Summary, Placement]:
    """The summary of a model on an AGX Orin, and its placement."""
    target = resolve_target("agx-orin-64gb", jetpack, precision=precision)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        held = as_model(path)
        network = network_of(held, target)
        placement = check_network(held, network, target, {})
        took = estimate(network, placement, target).latency
    running = [layer for layer in placement.layers if layer.device is not Device.FOLDED and layer.kind not in PAIR]
    layers = tuple((layer.kind, layer.device.value, layer.loadable, layer.macs) for layer in running)
    found = placement.summary
    ended = (found.loadables, found.switches, found.dla_mac_share, found.standalone_ok)
    return Summary(layers, *ended, took), placement


def with_weights(path: Path) -> onnx.ModelProto:
    """A drawn model in memory; weights that the drawing left out are zeros."""
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tuple(tensor.dims), kind), tensor.name))
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(without_weights(model)).graph.output}
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(known[value.name])
    return model


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that may be changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def made_up_scales(model: onnx.ModelProto) -> Calibration:
    """One scale for every activation: enough where only the placement is looked at."""
    graph = index(model)
    names = [*graph.inputs, *(name for node in model.graph.node for name in node.output)]
    tensors = tuple(TensorScale(name, SCALE, 127 * SCALE, "") for name in names if graph.is_activation(name))
    return Calibration(tensors, "made up", 1, "", "")


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float model with BatchNormalization folded, as our writer folds it."""
    copy = for_qdq(copied(model))
    fold_batch_norm(copy)
    return copy


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in FP16, inputs and outputs too."""
    return fp16_model(copied(model), "float16")


@dataclass(frozen=True)
class Form:
    """How a tool writes pairs.

    `weights`: `stored` INT8 values behind DequantizeLinear, `fake` float values behind a pair; `inputs`: of `linear`
    operators or of `all`; `outputs`: pairs behind operators too; `axis`: one scale a channel; `bias`: also of biases,
    in INT32; `shared`: one pair a tensor rather than one a reader; `twice`: each pair twice; `between`: an operator
    between the pair and its reader.
    """

    weights: str = "fake"
    inputs: str = "all"
    outputs: bool = False
    axis: bool = True
    bias: bool = False
    shared: bool = True
    twice: bool = False
    between: str = ""


MODELOPT = Form()
"""nvidia-modelopt, `--target_dla`: pairs at all inputs, none behind the last operator; its FP16 comes from `half`."""
PYTORCH = Form(inputs="linear", shared=False)
"""pytorch-quantization and NVIDIA's QAT exports: pairs at convolutions and products, one for each reader."""
ONNXRUNTIME = Form(weights="stored", outputs=True)
"""onnxruntime's QDQ format with float biases; by default it writes INT32 ones, which TensorRT refuses."""


def written(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """The model in a tool's form."""
    copy = for_qdq(copied(model))
    writer = _Writer(copy, form)
    writer.write()
    return copy


class _Writer:
    def __init__(self, model: onnx.ModelProto, form: Form) -> None:
        self.model, self.form, self.graph = model, form, index(model)
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[str, str] = {}
        self.count = 0

    def write(self) -> None:
        for node in list(self.model.graph.node):
            linear = node.op_type in LINEAR
            weighted = linear and len(node.input) > 1 and self.graph.value(node.input[1]) is not None
            if weighted:
                self._weights(node)
            if linear or self.form.inputs == "all":
                count = 2 if linear else len(node.input)
                for position in range(min(count, len(node.input))):
                    if self.graph.is_activation(node.input[position]):
                        node.input[position] = self._activation(node.input[position])
            self.nodes.append(node)
            if self.form.outputs:
                self._outputs(node)
        replace_nodes(self.model.graph, self.nodes)

    def _outputs(self, node: onnx.NodeProto) -> None:
        for position, name in enumerate(node.output):
            if name in self.graph.outputs and self.graph.is_activation(name):
                node.output[position] = f"{name}_float"
                self._pair(f"{name}_float", name)

    def _activation(self, name: str) -> str:
        if self.form.shared and name in self.made:
            return self.made[name]
        self.count += 1
        target = f"{name}_dq{self.count}"
        if self.form.twice:
            self._pair(name, f"{target}_first")
            name_before = f"{target}_first"
        else:
            name_before = name
        self._pair(name_before, target)
        if self.form.between:
            self.nodes.append(helper.make_node("Identity", [target], [f"{target}_i"], name=f"{target}/Identity"))
            target = f"{target}_i"
        self.made[name] = target
        return target

    def _pair(self, source: str, target: str) -> None:
        scale = self._constant("scale", np.float32(SCALE))
        zero = self._constant("zero", np.int8(0))
        for op, left, right in (("QuantizeLinear", source, f"{target}_q"), ("DequantizeLinear", f"{target}_q", target)):
            self.nodes.append(helper.make_node(op, [left, scale, zero], [right], name=f"{target}/{op}"))

    def _constant(self, name: str, value: np.generic | np.ndarray) -> str:
        name = f"pairs.{name}"
        if not any(tensor.name == name for tensor in self.model.graph.initializer):
            add_constant(self.model, name, value)
        return name

    def _weights(self, node: onnx.NodeProto) -> None:
        weight, axis = self.graph.value(node.input[1]), weight_axis(node)
        assert weight is not None
        channels = weight.shape[axis] if self.form.axis else 1
        scale = np.full((channels,) if self.form.axis else (), 0.01, np.float32)
        stem = f"{node.output[0]}.weight"
        tail = [self._constant(f"{stem}.s", scale), self._constant(f"{stem}.z", np.zeros(scale.shape, np.int8))]
        keywords = {"axis": axis} if self.form.axis else {}
        source = node.input[1]
        if self.form.weights == "stored":
            source = self._constant(f"{stem}.q", np.clip(weight / 0.01, -127, 127).astype(np.int8))
        else:
            quantise = helper.make_node("QuantizeLinear", [source, *tail], [f"{stem}.wq"], f"{stem}/Q", **keywords)
            self.nodes.append(quantise)
            source = f"{stem}.wq"
        self.nodes.append(
            helper.make_node("DequantizeLinear", [source, *tail], [f"{stem}.wd"], f"{stem}/DQ", **keywords)
        )
        node.input[1] = f"{stem}.wd"
        if self.form.bias and node.op_type != "MatMul" and len(node.input) > 2 and node.input[2]:
            self._bias(node, stem)

    def _bias(self, node: onnx.NodeProto, stem: str) -> None:
        bias = self.graph.value(node.input[2])
        if bias is None:
            return
        stored = self._constant(f"{stem}.b", np.zeros(bias.shape, np.int32))
        scale = self._constant("bias_scale", np.float32(0.001))
        self.nodes.append(helper.make_node("DequantizeLinear", [stored, scale], [f"{stem}.bd"], f"{stem}/BDQ"))
        node.input[2] = f"{stem}.bd"


def own(model: onnx.ModelProto, io_types: IoTypes = "float16", float_nodes: tuple[str, ...] = ()) -> onnx.ModelProto:
    """What `calibrate --qdq` writes."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(source))
        write_qdq(source, made_up_scales(copied(model)), target, float_nodes=float_nodes, io_types=io_types)
        return onnx.load(str(target))
