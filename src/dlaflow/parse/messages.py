"""TensorRT's messages about layers and the DLA: reason codes, the text they are known by, and what they mean.

Reason codes are those of the collected message templates of real logs. A template is found by plain substrings first;
its expression then takes the values out. Named groups: layer, type, op, received, limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Effect(str, Enum):
    """What a message means for the layer it names."""

    REASON = "reason"
    """Why a layer is refused; the fallback line follows."""
    FALLBACK = "fallback"
    """The layer goes to the GPU."""
    FAILURE = "failure"
    """The build or the run fails."""
    REMARK = "remark"
    """Worth knowing; the layer stays where it is."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """One message template. `fragment` must occur in the text; `expression` takes its values out."""

    reason: str
    effect: Effect
    fragment: str
    expression: re.Pattern[str]
    meaning: str


def _template(reason: str, effect: Effect, fragment: str, expression: str, meaning: str) -> MessageTemplate:
    return MessageTemplate(reason, effect, fragment, re.compile(expression), meaning)


_R, _F, _X, _N = Effect.REASON, Effect.FALLBACK, Effect.FAILURE, Effect.REMARK

PLACEMENT_RULES: tuple[MessageTemplate, ...] = (
    _template("unsupported_layer", _F, "Unsupported on DLA",
        r"Layer '(?P<layer>.+)' \((?P<type>[A-Za-z_0-9]+)\): Unsupported on DLA",
        "The layer runs on the GPU; the line before it says why, if TensorRT gives a reason."),
    _template("not_supported_no_fallback", _X, "falling back to GPU is not enabled",
        r"layer (?P<layer>.+) is not supported on DLA and falling back to GPU is not enabled",
        "The layer cannot run on the DLA and the GPU is not allowed: add --allowGPUFallback or change the layer."),
    _template("not_supported_no_fallback", _X, "but GPU fallback is not enabled",
        r"Layer '?(?P<layer>.+?)'? is not supported on DLA but GPU fallback is not enabled",
        "The layer cannot run on the DLA and the GPU is not allowed: add --allowGPUFallback or change the layer."),
    _template("not_supported_generic", _F, "falling back to GPU",
        r"layer (?P<layer>.+) is not (?:supported|running) on DLA, falling back to GPU",
        "The layer runs on the GPU (wording of TensorRT 5 to 7)."),
    _template("subgraph_limit", _F, "subgraphs per DLA core",
        r"DLA supports only (?P<limit>\d+) subgraphs per DLA core\. Switching to GPU for layer (?P<layer>.+?)\.?$",
        "More DLA subgraphs than a core takes: fewer, longer subgraphs help."),
    _template("dla_validation_failed", _F, "Validation failed for DLA layer",
        r"Validation failed for DLA layer: (?P<layer>.+)\. Switching to GPU fallback",
        "The DLA compiler refused the layer in its place in the graph."),
    _template("dla_validation_split", _F, "Splitting DLA subgraph at",
        r"Splitting DLA subgraph at: (?P<layer>.+) because DLA validation failed",
        "The subgraph is cut at this layer: one more loadable."),
    _template("precision_not_fp16_int8", _F, "only supports FP16 and Int8 precision",
        r"only supports FP16 and Int8 precision type\. Switching (?P<layer>.+) device type to GPU",
        "The layer works on a type that the DLA has not (INT32, FP32)."),
    _template("elementwise_op_unsupported", _R, "ElementWise operation",
        r"(?P<layer>.+?): DLA cores do not support (?P<op>\w+) ElementWise operation",
        "The DLA has no such element-wise operation in this release."),
    _template("reduce_avg_unsupported", _R, "AVG Reduce operation",
        r"(?P<layer>.+?): DLA cores do not support (?P<op>AVG) Reduce operation",
        "Average reductions run on the GPU: use AveragePool with a kernel the DLA takes."),
    _template("reduce_op_unsupported", _R, "Reduce operation",
        r"(?P<layer>.+?): DLA cores do not support (?P<op>\w+) Reduce operation",
        "The DLA has no such reduction in this release."),
    _template("operation_unsupported", _R, "DLA cores do not support",
        r"(?P<layer>.+?): DLA cores do not support (?P<op>\w+) ?(?P<type>[A-Za-z]*) ?operation",
        "The DLA has no such operation in this release."),
    _template("unary_op_unsupported", _R, "Unary operation",
        r"(?P<layer>.+?): Unary operation: (?P<op>\w+) is not supported on DLA",
        "The DLA has no such unary operation in this release."),
    _template("matmul_unsupported", _R, "MatMul is unsupported",
        r"(?P<layer>.+?): MatMul is unsupported on DLA",
        "Matrix products run on the GPU: a product with a constant can be a 1x1 convolution."),
    _template("concat_axis_not_c", _R, "concatenation on the C dimension",
        r"(?P<layer>.+?): DLA only supports concatenation on the C dimension",
        "Only concatenation along channels runs on the DLA."),
    _template("concat_single_input", _R, "requires at least two inputs",
        r"(?P<layer>.+?): Concatenation on DLA requires at least two inputs",
        "A concatenation of one tensor does nothing: remove it."),
    _template("slice_not_4d", _R, "slicing 4 dimensional",
        r"(?P<layer>.+?): DLA only supports slicing 4 dimensional tensors",
        "Slices of tensors that are not NCHW run on the GPU."),
    _template("slice_out_of_bounds_mode", _R, "out-of-bounds slice",
        r"(?P<layer>.+?): DLA does not support out-of-bounds slice operation",
        "A slice that reads beyond its input (Tile, padding) runs on the GPU."),
    _template("activation_type_unsupported", _R, "ActivationType",
        r"(?P<layer>.+?): ActivationLayer \(with ActivationType = (?P<op>\w+)\) not supported for DLA",
        "The DLA of this release has no such activation."),
    _template("activation_type_unsupported", _R, "Activation type",
        r"(?:(?P<layer>.+?): )?Activation type: (?P<op>\w+) is not supported on DLA",
        "The DLA of this release has no such activation."),
    _template("reshape_next_to_slice_or_concat", _R, "reshape layers directly connected",
        r"(?:(?P<layer>.+?): )?This version of DLA does not support reshape layers directly connected to",
        "A reshape beside a Slice or Concat is refused in this release."),
    _template("constant_layer_unsupported", _R, "is not supported on DLA",
        r"[Ll]ayer '(?P<layer>.+)' is not supported on DLA",
        "Constants are no DLA layers; usually folded, seldom work on the GPU."),
    _template("dynamic_shape", _R, "does not support dynamic shapes",
        r"DLA Layer (?P<layer>.+) does not support dynamic shapes in any dimension",
        "The DLA takes fixed shapes: export or build with a fixed batch."),
    _template("dynamic_shape", _R, "does not support dynamic shape tensor",
        r"DLA does not support dynamic shape tensor: (?P<layer>.+?)\.?$",
        "The DLA takes fixed shapes: export or build with a fixed batch."),
    _template("dynamic_shape_profile", _F, "profiles have same min, max",
        r"DLA requests all profiles have same min, max, and opt",
        "Give equal min, opt and max shapes."),
    _template("input_rank_below_4", _N, "less than 4 dimensions",
        r"Input tensor has less than 4 dimensions for (?P<layer>.+?)\. At least one shuffle",
        "A shuffle is put before the layer, and shuffles run on the GPU."),
    _template("batch_exceeds_max", _R, "exceeds max batch size",
        r"Batch size(?: \(.*?\))? (?P<received>\d+)? ?(?:for layer (?P<layer>.+?) )?exceeds max batch size allowed of "
        r"(?P<limit>\d+)",
        "Everything before CHW counts as batch: reduce it."),
    _template("batch_mismatch", _R, "mismatched batch size",
        r"Current layer has batch size: (?P<received>\d+) but the rest.*?(?P<limit>\d+)\.?$",
        "Layers of another batch size start another subgraph."),
    _template("softmax_approximate_mode_warning", _N, "DLA Softmax optimization",
        r"DLA Softmax optimization is enabled",
        "The softmax stays on the DLA, with a small error."),
    _template("no_layer_on_dla", _X, "no layer in the network can run on DLA",
        r"no layer in the network can run on DLA",
        "Nothing of this network runs on the DLA."),
    _template("dla_validation_failed", _R, "DLA validation failed",
        r"DLA validation failed",
        "The DLA compiler refused the subgraph."),
)  # fmt: skip
"""Messages that name or concern layers, most telling first."""


_LOOKED_AT = 4000
"""So many characters of a message are searched: the expressions are quadratic, and hostile lines have millions."""


def placement_message(text: str) -> tuple[MessageTemplate, re.Match[str]] | None:
    """The template that `text` follows, with its match, or None. Cheap for texts that do not speak of the DLA."""
    if "DLA" not in text and "atch size" not in text and "less than 4 dim" not in text:
        return None
    text = text[:_LOOKED_AT]
    for template in PLACEMENT_RULES:
        if template.fragment in text and (match := template.expression.search(text)):
            return template, match
    return None


def is_harmless(layer: str, kind: str) -> bool:
    """Whether a fallback of this layer mostly leaves no work: constants, shuffles, and broadcasts of the importer."""
    return kind in {"CONSTANT", "SHUFFLE"} or layer.startswith(("ONNXTRT_Broadcast", "ONNXTRT_ShapeShuffle"))
