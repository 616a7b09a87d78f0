"""One layer of TensorRT's network, as its ONNX parser makes it: the record that `graph` hands to everyone else.

`kind` is TensorRT's LayerType name. What a layer computes stands in `attributes`, one small frozen record per family;
kinds without parameters of interest carry None. Dimensions are NCHW, batch included; None is an unknown dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

Dims = tuple[int | None, ...]

PRODUCTS = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED"})
"""Kinds of layers that multiply matrices."""
RESHAPES = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE"})
"""Kinds of layers that only change a tensor's form or order."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the network.

    `shape` is None when even the rank is unknown. `dtype` is ONNX's lower-case name (float32, float16, int64, bool).
    `constant` is true when the value is known before run time (an initializer, or shape arithmetic that folds).
    `scale` is that of the pair which makes it INT8 in a typed network (None: it is what `dtype` says).
    """

    name: str
    shape: Dims | None
    dtype: str
    constant: bool = False
    scale: float | None = None

    @property
    def rank(self) -> int:
        """How many dimensions it has, 0 when nobody knows."""
        return len(self.shape or ())


@dataclass(frozen=True, slots=True)
class Convolution:
    """CONVOLUTION and DECONVOLUTION. Pads are (top, left, ...) and (bottom, right, ...), one value per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    in_channels: int
    out_channels: int
    output_padding: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pooling:
    """POOLING. `mode` is MAX, AVERAGE or LP."""

    mode: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    dilation: tuple[int, ...]
    count_include_pad: bool = False


@dataclass(frozen=True, slots=True)
class Activation:
    """ACTIVATION. `type` is TensorRT's ActivationType name (RELU, SIGMOID, TANH, CLIP, LEAKY_RELU, ...)."""

    type: str
    alpha: float | None = None
    beta: float | None = None


@dataclass(frozen=True, slots=True)
class ElementWise:
    """ELEMENTWISE. `operation` is TensorRT's name (SUM, PROD, MAX, MIN, SUB, DIV, POW, FLOOR_DIV, AND, EQUAL, ...).

    `constant_input` is the index of the operand known at build time (None: both vary).
    """

    operation: str
    constant_input: int | None = None


@dataclass(frozen=True, slots=True)
class Reduce:
    """REDUCE. `operation` is AVG, MAX, MIN, SUM or PROD; `axes` are non-negative."""

    operation: str
    axes: tuple[int, ...]
    keep_dims: bool


@dataclass(frozen=True, slots=True)
class MatrixMultiply:
    """MATRIX_MULTIPLY. `constant_input` is 0 or 1 when that operand is known at build time, else None.

    `in_features` and `out_features` are the inner and outer sizes of the constant operand (0 when there is none).
    `inner` is the length of the dot products, with or without a constant (0 when it is not known).
    """

    constant_input: int | None
    in_features: int = 0
    out_features: int = 0
    inner: int = 0


@dataclass(frozen=True, slots=True)
class Shuffle:
    """SHUFFLE (and SQUEEZE, UNSQUEEZE): first transpose, then reshape, then second transpose.

    Permutations are () when absent; `reshape` is the resulting shape when there is one, () when the shape stays.
    `helper` marks a shuffle that the parser adds on its own (broadcasts, Gemm, Softmax) rather than an ONNX node.
    """

    first_transpose: tuple[int, ...] = ()
    reshape: Dims = ()
    second_transpose: tuple[int, ...] = ()
    helper: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """SLICE. Empty `start`, `size` and `stride` mean that they are not known at build time.

    `mode` is STRICT_BOUNDS, WRAP, CLAMP, FILL or REFLECT. `parameters_from_nodes` is true when starts, ends, axes or
    steps come from Constant nodes or shape arithmetic rather than attributes or initializers: such leftovers break
    standalone builds.
    """

    start: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    mode: str = "STRICT_BOUNDS"
    fill: float = 0.0
    parameters_from_nodes: bool = False


@dataclass(frozen=True, slots=True)
class Concatenation:
    """CONCATENATION along a non-negative axis."""

    axis: int


@dataclass(frozen=True, slots=True)
class Resize:
    """RESIZE. `mode`, `coordinates` and `rounding` are ONNX's values; `scales` is () when unknown."""

    mode: str
    coordinates: str
    rounding: str
    scales: tuple[float, ...]
    sizes_given: bool


@dataclass(frozen=True, slots=True)
class SoftMax:
    """SOFTMAX along a non-negative axis."""

    axis: int


@dataclass(frozen=True, slots=True)
class Unary:
    """UNARY. `operation` is TensorRT's UnaryOperation name (EXP, LOG, SQRT, RECIP, ABS, NEG, SIN, ..., NOT)."""

    operation: str


@dataclass(frozen=True, slots=True)
class Lrn:
    """LRN across channels with the given window."""

    window: int


@dataclass(frozen=True, slots=True)
class Cast:
    """CAST. `to` is ONNX's lower-case dtype name."""

    to: str


@dataclass(frozen=True, slots=True)
class Quantize:
    """QUANTIZE and DEQUANTIZE.

    `axis` is None for per-tensor scales. `scales` are the values where they are known, `blocked` tells one for each
    block. `unsigned` is UINT8, `bare` a type that nothing in the file names: UINT8 to ONNX, INT8 to TensorRT's parser.
    """

    axis: int | None
    scales: tuple[float, ...] = ()
    unsigned: bool = False
    blocked: bool = False
    bare: bool = False

    @property
    def scale(self) -> float | None:
        """The one scale, None where there are several or none is known."""
        return self.scales[0] if len(self.scales) == 1 else None


@dataclass(frozen=True, slots=True)
class ParametricRelu:
    """PARAMETRIC_RELU."""

    constant_slope: bool


Attributes = (
    Convolution
    | Pooling
    | Activation
    | ElementWise
    | Reduce
    | MatrixMultiply
    | Shuffle
    | Slice
    | Concatenation
    | Resize
    | SoftMax
    | Unary
    | Lrn
    | Cast
    | Quantize
    | ParametricRelu
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the network, in network order.

    `index` is its position in TensorRT's network (the N of `(Unnamed Layer* N) [Type]`), `op` the ONNX operator behind
    it, `onnx_nodes` the names of those nodes (a node may make several layers). `folded` marks constants and shape
    arithmetic: nothing of it is left at run time in hybrid mode. `macs` counts multiply-accumulates, `weight_elements`
    the constants that it holds itself. `precision` and `doubt`, what no source says of pairs at it, come from types.
    """

    index: int
    name: str
    kind: str
    op: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: Attributes | None = None
    folded: bool = False
    macs: int = 0
    weight_elements: int = 0
    precision: str = ""
    doubt: str = ""


class Reading(str, Enum):
    """What becomes of a node that the release's ONNX parser does not simply read."""

    REFUSED = "refused"
    """It ends the build."""
    PLUGIN = "plugin"
    """It is read once a plugin of that name is there."""
    CONTRADICTION = "contradiction"
    """It contradicts itself: no release builds it."""
    MISREAD = "misread"
    """It is read as something else than ONNX means."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One node, input or initializer that the release's parser does not read as ONNX means it.

    `node` is its name and `op` the operator ("input", "output" and "initializer" for those), `reason` what the parser
    misses, `since` the first release that reads it ("" when none is known), `then` what to do ("" for nothing better
    than another release).
    """

    node: str
    op: str
    reason: str
    reading: Reading = Reading.REFUSED
    since: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """TensorRT's view of a model: its layers and the tensors that enter and leave.

    Layers come in network order, but each one behind what it reads; `Layer.index` is TensorRT's own place.

    `dynamic_inputs` names inputs that had dimensions besides the batch left open; `unknown_ops` the operators that no
    TensorRT importer is known for; `refusals` what the release's parser does not read, in the order in which it meets
    it. The layers are those of the model as ONNX means it, for what comes behind a refusal too. `typed`: the file gives
    FP16 or INT8 types, so that they decide layer by layer.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dynamic_inputs: tuple[str, ...] = ()
    unknown_ops: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    typed: bool = False


def elements(shape: Dims | None) -> int:
    """The number of elements; 0 when the shape is not wholly known."""
    if shape is None:
        return 0
    known = [size for size in shape if size is not None]
    return prod(known) if len(known) == len(shape) else 0


def layer_macs(layer: Layer) -> int:
    """Multiply-accumulates of one layer, for the whole batch; a dimension that is not known counts as 0.

    Only convolutions, deconvolutions and matrix products count, as in the usual MAC figures of model papers.
    """
    attributes = layer.attributes
    if not layer.outputs or layer.folded:
        return 0
    if isinstance(attributes, Convolution):
        channels = attributes.out_channels if layer.kind == "DECONVOLUTION" else attributes.in_channels
        return elements(_counted_over(layer)) * (channels // max(attributes.groups, 1)) * prod(attributes.kernel)
    if isinstance(attributes, MatrixMultiply):
        return elements(_counted_over(layer)) * attributes.inner
    return 0


def has_known_macs(layer: Layer) -> bool:
    """Whether `layer_macs` could count: no dimension that it multiplies is open."""
    if not layer.outputs or layer.folded or not isinstance(layer.attributes, (Convolution, MatrixMultiply)):
        return True
    shape = _counted_over(layer)
    return shape is not None and None not in shape


def _counted_over(layer: Layer) -> Dims | None:
    # a deconvolution spreads each input element, a convolution gathers for each output element
    return layer.inputs[0].shape if layer.kind == "DECONVOLUTION" else layer.outputs[0].shape
