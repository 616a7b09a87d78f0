"""What the release's ONNX parser makes of a model before it makes layers: what it refuses, and what it misreads.

The tables say which operators a release has importers for, and which of the others TensorRT's own plugins know.
Sources: the importers of onnx-tensorrt 7.1, 7.2.1, 8.0, 8.2, 8.4, 8.5, 8.6, 9.3, 10.0 and 10.1, its change log up to
10.6, the parser of TensorRT-RTX 1.7.1 for what came later; NVIDIA/TensorRT's plugin/api for the plugins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from dlaflow.graph.layer import Reading, Refusal, Tensor
from dlaflow.graph.lower import reading_inputs, reading_misread, reading_shapes
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.lower.naming import place_of
from dlaflow.graph.lower.reading_case import (
    TESTED_RELEASE,
    UNSEEN,
    Check,
    Objection,
    before,
    long_name,
    numbers,
    operator_names,
    type_advice,
    type_problem,
)
from dlaflow.graph.lower.reading_shapes import MOST_DIMENSIONS
from dlaflow.graph.tensor_type import elem_name

if TYPE_CHECKING:
    import onnx

_MODULES = (reading_inputs, reading_shapes, reading_misread)
_ENDS = frozenset({Reading.REFUSED, Reading.CONTRADICTION})

_FIRST_IN = {
    "7.2": "Celu CumSum EyeLike GatherElements GreaterOrEqual LessOrEqual LpNormalization LpPool ReverseSequence",
    "8.0": "NonMaxSuppression",
    "8.2": "Einsum GatherND IsNaN Round Scatter ScatterElements ScatterND Sign",
    "8.4": "HardSwish Shrink Xor",
    "8.5": "GridSample MeanVarianceNormalization Mod NonZero OneHot Trilu RandomNormal RandomNormalLike RoiAlign",
    "8.6": "GroupNormalization IsInf LayerNormalization TRT_FP8QuantizeLinear TRT_FP8DequantizeLinear",
    "9.0": "CastLike Hardmax",
    "10.0": "Gelu Mish TRT_INT4QuantizeLinear TRT_INT4DequantizeLinear",
    "10.1": "DeformConv",
    "10.4": "BlackmanWindow HammingWindow HannWindow",
    "10.5": "STFT",
    TESTED_RELEASE: "Attention CausalConvWithState LinearAttention RMSNormalization RotaryEmbedding Swish "
    "TensorScatter GroupQueryAttention SimplifiedLayerNormalization",
}
SINCE = {op: release for release, ops in _FIRST_IN.items() for op in ops.split()}
"""Operators by the first release with an importer, where that is not the oldest one that is known (7.1)."""

FIRST = operator_names(
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip "
    "Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh DepthToSpace DequantizeLinear Div Dropout Elu "
    "Equal Erf Exp Expand Flatten Floor GRU Gather Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater "
    "HardSigmoid Identity If ImageScaler InstanceNormalization LRN LSTM LeakyRelu Less Log LogSoftmax Loop "
    "MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN "
    "RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
    "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ScaledTanh Scan Selu Shape "
    "Sigmoid Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh "
    "ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where"
)
"""Operators that all known releases have an importer for."""

_SHIPPED = operator_names(
    "BatchTilePlugin_TRT BatchedNMS_TRT Clip_TRT CropAndResize DetectionLayer_TRT FlattenConcat_TRT "
    "GenerateDetection_TRT GridAnchor_TRT GridAnchorRect_TRT InstanceNormalization_TRT LReLU_TRT "
    "MultilevelCropAndResize_TRT MultilevelProposeROI_TRT NMS_TRT Normalize_TRT PriorBox_TRT ProposalLayer_TRT "
    "Proposal PyramidROIAlign_TRT RPROI_TRT Region_TRT Reorg_TRT ResizeNearest_TRT SpecialSlice_TRT Split "
    "BatchedNMSDynamic_TRT CoordConvAC CustomEmbLayerNormPluginDynamic CustomFCPluginDynamic "
    "CustomGeluPluginDynamic CustomQKVToContextPluginDynamic CustomSkipLayerNormPluginDynamic "
    "SingleStepLSTMPlugin RnRes2Br1Br2c_TRT RnRes2Br2bBr2c_TRT"
)
_SHIPPED_FIRST_IN = {
    "8.0": "EfficientNMS_TRT EfficientNMS_ONNX_TRT ScatterND ProposalDynamic CropAndResizeDynamic "
    "EfficientNMS_Explicit_TF_TRT EfficientNMS_Implicit_TF_TRT",
    "8.2": "DecodeBbox3DPlugin NMSDynamic_TRT PillarScatterPlugin VoxelGeneratorPlugin",
    "8.5": "DisentangledAttention_TRT MultiscaleDeformableAttnPlugin_TRT ROIAlign_TRT",
    "8.4": "GroupNormalizationPlugin",
    "8.6": "ModulatedDeformConv2d GroupNorm LayerNorm SeqLen2Spatial SplitGeLU fMHA_V2 fMHCA",
    "10.0": "ScatterElements ScatterReduction",
}
_SHIPPED_SINCE = {op: release for release, ops in _SHIPPED_FIRST_IN.items() for op in ops.split()}
"""Operators that TensorRT's own plugin library knows; where the sources of a release were not seen, by its notes."""

_EXPORT_17 = "Export with opset 17, so that it is written in simpler operators."
_ADVICE = {
    "Gelu": "`dlaflow fix` writes it out; with --allow tolerance in a form for the DLA on images (N, C, H, W).",
    "Mish": "`dlaflow fix` writes it out; with --allow tolerance in a form for the DLA on images (N, C, H, W).",
    "HardSwish": "`dlaflow fix` writes it as Clip and Mul.",
    "LayerNormalization": "`dlaflow fix` writes it out as ReduceMean, Sub, Pow and Sqrt, as opset 16 does.",
    "GroupNormalization": "Export with opset 17, which writes it as InstanceNormalization.",
    "MeanVarianceNormalization": "Write it out as ReduceMean, Sub, Pow and Sqrt.",
    "GridSample": "Resize or a fixed Gather where the grid is constant; else keep it outside the engine.",
    "OneHot": "Compare with a constant range (Equal) and Cast, or keep it outside the engine.",
    "NonZero": "Keep it, and what depends on it, outside the engine.",
    "RoiAlign": "ROIAlign or PyramidROIAlign as a plugin, or keep it outside the engine.",
    "Trilu": "Store the mask as a constant.",
    "Mod": "Sub, Mul and Floor of a Div compute it.",
    "IsInf": "Equal of Abs with a constant, or leave the check away.",
    "Swish": "`dlaflow fix` writes it as Sigmoid and Mul, as opset 23 does.",
    "RMSNormalization": "Export with opset 22, which writes it out.",
    "Attention": "Export with opset 22, which writes it as MatMul and Softmax.",
    "Hardmax": "ArgMax and Equal compute it.",
    "DeformConv": "A plugin library with a deformable convolution, or keep it outside the engine.",
    "MaxUnpool": "Upsample by Resize or ConvTranspose instead of the indices of a MaxPool.",
    "DynamicQuantizeLinear": "Quantize with fixed scales: QuantizeLinear, DequantizeLinear or a calibration cache.",
    "MatMulInteger": "Quantize with QuantizeLinear and DequantizeLinear around MatMul.",
    "ConvInteger": "Quantize with QuantizeLinear and DequantizeLinear around Conv.",
    "QLinearConv": "Quantize in the QDQ format: QuantizeLinear and DequantizeLinear around Conv.",
    "QLinearMatMul": "Quantize in the QDQ format: QuantizeLinear and DequantizeLinear around MatMul.",
}
_OTHERS = "Write it in operators that the release has, or keep it outside the engine."
_RUNTIME_DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
_STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training"})
PUBLIC_DOMAINS = _RUNTIME_DOMAINS | _STANDARD_DOMAINS
"""Those of ONNX and of ONNX Runtime; any other is somebody's own."""


def _by_operator() -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = defaultdict(list)
    for module in _MODULES:
        for operators, check in module.CHECKS:
            for operator in operators.split():
                found[operator].append(check)
    return found


CHECKS = _by_operator()


def refusals_of(context: Context) -> list[Refusal]:
    """What the parser refuses or misreads in the node at hand; without an importer nothing else is looked at."""
    missing = check_operator(context)
    checks = (
        *CHECKS.get(context.node.op_type, ()),
        check_names,
        reading_shapes.check_outputs,
        reading_shapes.check_ranks,
    )
    objections = [missing] if missing is not None else [each for check in checks for each in islice(check(context), 1)]
    refused = [each for each in objections if each.reading in _ENDS]
    # One refusal is enough: the parser stops at its first, and a node that is refused is not misread.
    return [
        Refusal(context.node_name, context.node.op_type, each.reason, each.reading, each.since, each.then)
        for each in (refused[:1] or objections)
    ]


def check_names(context: Context) -> Iterator[Objection]:
    """The layer and what it reads have names that TensorRT takes; one of an output alone may be longer."""
    if reason := long_name([context.node_name, *context.node.input]):
        yield Objection(reason, then="Export with shorter names.")


def stand_in(context: Context) -> None:
    """Bind the outputs of a node that is not read as ONNX means them, so that what follows can be lowered."""
    for name in context.node.output:
        if name:
            context.bind(name, Operand(context.inferred(name)))


def refused_graph(context: Context) -> list[Refusal]:
    """What is refused of the graph as a whole: sparse initializers, inputs that are no tensors, its own functions."""
    found = [
        Refusal(tensor.values.name, "initializer", "it is sparse", then="Store it as a dense tensor.")
        for tensor in context.model.proto.graph.sparse_initializer
    ]
    kinds = {value.name: value.type.WhichOneof("value") for value in context.model.proto.graph.input}
    found += [
        Refusal(name, "input", f"it is a {kind.removesuffix('_type')}, no tensor", then="Export it with tensors alone.")
        for name, kind in kinds.items()
        if kind not in ("tensor_type", None)
    ]
    if not before(context, "9.0"):
        return found
    for node, function in context.model.functions:
        if not has_importer(function, context.parser.version):
            reason = "it calls a function of the model's own, which this release takes for a plugin"
            then = "Inline the functions: onnx.inliner.inline_local_functions, or torch's own optimizer."
            found.append(Refusal(node, function, reason, since="9.0", then=then))
    return found


def refused_values(context: Context, tensors: Iterable[Tensor], what: str) -> list[Refusal]:
    """Network inputs or outputs of a type or a rank that the parser does not have."""
    found = []
    for tensor in tensors:
        reason, since = type_problem(context, tensor.dtype)
        if not reason and tensor.shape is not None and len(tensor.shape) > MOST_DIMENSIONS:
            reason = f"it has {len(tensor.shape)} dimensions, at most {MOST_DIMENSIONS} are taken"
        if what == "input":
            reason = reason or long_name([tensor.name])
        if reason:
            found.append(Refusal(tensor.name, what, reason, since=since, then=type_advice(tensor.dtype)))
    return found


def refused_weights(context: Context, tensors: Iterable[onnx.TensorProto]) -> list[Refusal]:
    """Initializers of a type that the parser cannot bring into one of its own: they end the build even unused."""
    found = []
    for tensor in tensors:
        dtype = elem_name(tensor.data_type) or "undefined"
        reason, since = type_problem(context, dtype, weights=True)
        if reason:
            found.append(Refusal(tensor.name, "initializer", reason, since=since, then=type_advice(dtype)))
        elif tensor.data_location == tensor.EXTERNAL and (missing := _missing_file(context, tensor)):
            then = f"Copy {missing} beside the model."
            found.append(Refusal(tensor.name, "initializer", f"its data file {missing!r} is not there", then=then))
    return found


def _missing_file(context: Context, tensor: onnx.TensorProto) -> str:
    """The file that should hold a tensor's data, "" where it is there or the tensor is a placeholder."""
    location, _ = place = place_of(tensor)
    if place in context.placeholders:
        return ""
    return location if location and not (context.model.path.parent / location).is_file() else ""


def has_importer(op: str, version: tuple[int, ...]) -> bool:
    """Whether the parser of a release reads this operator itself; it looks at the name, never at the domain."""
    if op in FIRST or (op.startswith("TRT_") and op not in SINCE):
        return True
    since = SINCE.get(op)
    if since is None:
        return False
    return version >= (UNSEEN if since == TESTED_RELEASE else numbers(since))


def is_public(node: onnx.NodeProto) -> bool:
    """Whether an operator's name is known from ONNX, ONNX Runtime or TensorRT, and not somebody's own."""
    import onnx.defs

    op = node.op_type
    of_tensorrt = op in FIRST or op in SINCE or op in _SHIPPED or op in _SHIPPED_SINCE or op.startswith("TRT_")
    return of_tensorrt or onnx.defs.has(op) or onnx.defs.has(op, node.domain) or node.domain in _RUNTIME_DOMAINS


def check_operator(context: Context) -> Objection | None:
    """Whether the release has an importer for the node's operator, or else a plugin."""
    op, version = context.node.op_type, context.parser.version
    if has_importer(op, version):
        return _needs_plugin_library(context)
    if op in _SHIPPED or version >= numbers(_SHIPPED_SINCE.get(op, "99")):
        return Objection(
            "the parser hands it to a plugin that TensorRT ships (libnvinfer_plugin)",
            then="trtexec loads that library by itself; a program of your own calls initLibNvInferPlugins first.",
            reading=Reading.PLUGIN,
        )
    if _is_foreign(context):
        return Objection(
            "no importer and no plugin of TensorRT's own has that name",
            _SHIPPED_SINCE.get(op, ""),
            "Load a plugin library that has it (trtexec --staticPlugins, --plugins before TensorRT 8.6), or export "
            "without it.",
            Reading.PLUGIN,
        )
    since = SINCE.get(op, "")
    if context.node.domain in _RUNTIME_DOMAINS and not since:
        then = "Export without ONNX Runtime's optimizer, whose own operators TensorRT does not have."
    else:
        then = _ADVICE.get(op, _EXPORT_17 if since else _OTHERS)
    return Objection("no importer in any release" if not since else f"no importer before {since}", since, then)


def _needs_plugin_library(context: Context) -> Objection | None:
    """RoiAlign is a plugin for the parser from the start; from 8.6 on it also opens a second library, and fails."""
    if context.node.op_type != "RoiAlign" or before(context, "8.6"):
        return None
    return Objection(
        "the parser makes it TensorRT's plugin ROIAlign_TRT and opens libnvinfer_vc_plugin for it",
        then="Install the package libnvinfer-vc-plugin beside libnvinfer-plugin.",
        reading=Reading.PLUGIN,
    )


def _is_foreign(context: Context) -> bool:
    """Whether an operator is none of ONNX's, so that only a plugin can be meant."""
    import onnx

    if context.node.domain in _RUNTIME_DOMAINS:
        return False
    return context.node.domain not in _STANDARD_DOMAINS or not onnx.defs.has(context.node.op_type)
