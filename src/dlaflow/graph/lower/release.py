"""What differs between the ONNX parsers of TensorRT's releases, each stated once.

What other packages ask too stands in targets/features.toml. Sources: onnx-tensorrt's branches and change log, real
build logs (8.4, 8.5.2 and 10.3), and the parser of TensorRT-RTX, which the tests run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dlaflow.targets.features import has
from dlaflow.targets.version import Version


def _since(first: str = "0", before: str = "99") -> cached_property[bool]:
    """Whether a parser is of the release `first` or a later one, and of one before `before`."""
    return cached_property(lambda parser: parser.release.since(first) and parser.release.before(before))


@dataclass(frozen=True)
class Parser:
    """TensorRT's ONNX parser of one release."""

    release: Version

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers."""
        return self.release.parts

    @cached_property
    def names_helpers(self) -> bool:
        """Helper layers are called ONNXTRT_Broadcast and the like instead of (Unnamed Layer* N) [Type]."""
        return has("helper_names", self.release)

    @cached_property
    def deepest_sizes(self) -> int:
        """How many dimensions a value may have with which the parser computes sizes."""
        return 8 if self.release.since("10.8") else 1

    @cached_property
    def narrow_indices(self) -> bool:
        """INT64 is known, yet TopK and NonMaxSuppression give 32 bits and need a CAST behind them."""
        return self.int64 and not self.names_every_layer

    @cached_property
    def int64(self) -> bool:
        """INT64 tensors stay what they are; before they become INT32."""
        return has("int64", self.release)

    @cached_property
    def casts_scatter_indices(self) -> bool:
        """ScatterND and ScatterElements cast their indices, whatever their type."""
        return self.int64 and not self.names_every_layer

    names_temporaries = _since("8.4")
    """Weights that the parser makes up are called tmp_weight, from the counter that all names share."""
    names_conversions = _since("8.4", before="9.0")
    """So are initializers that are converted (INT64 to INT32 above all): later suffixes jump."""
    shares_constants = _since("8.4")
    """Weights that several nodes take as a tensor become one CONSTANT; before, one for each use."""
    bool_constants = _since("8.5")
    """Boolean weights are a CONSTANT; before, an INT32 one and an IDENTITY."""
    tensors_follow_layers = _since("9.0")
    """A tensor that ONNX does not name is called after its layer; in 8.x it is `(Unnamed Layer* N) [Type]_output`
    even where the layer has a name. Caches of 8.4 to 8.5.2 and logs of 8.6.1 against those of 10.x.
    """
    names_every_layer = _since("10.8")
    """The second layer of a Gemm is named after the node; in 10.3 it was still `(Unnamed Layer* 125)`."""
    cast_layers = _since("8.6")
    """Cast is a CAST layer; before, an IDENTITY layer with an output type."""
    normalization_layers = _since("8.6")
    """Group and layer normalisation are known, as NORMALIZATION layers."""
    native_instance_norm = _since("10.0")
    """Instance normalisation is a NORMALIZATION layer; the flag for it is off by default until 10.0."""
    unary_is_nan = _since("10.0")
    """IsNaN is a UNARY of its own; the Python API of 8.6.1 has no ISNAN, a log of 10.3 shows one."""
    computes_slices = _since("9.3")
    """A Slice's bounds are computed in the network unless they are INT32 weights and the input's sizes fixed."""
    slices_axes_alone = _since("10.3")
    """The bounds of a Slice are computed for the axes that it names; before, for all."""
    casts_arg_input = _since("8.6", before="10.0")
    """ArgMax of integers works in FP32."""
    scalar_factors = _since(before="10.8")
    """Gemm's alpha and beta are scalars that a helper brings to the rank."""
    names_layer_normalization = _since("9.0")
    """LayerNormalization's layer is called after the node; 8.6 forgot to."""
    default_norm_constants = _since("10.0", before="10.8")
    """LayerNormalization makes constants for scale and bias before it looks whether they are given."""
    lifts_scalars = _since(before="8.6")
    """UNARY takes no scalars: they become vectors of one and scalars again."""
    casts_integer_abs = _since(before="8.5")
    """ABS of integers works in FP32."""
    skips_identity_transposes = _since(before="8.5")
    """A Transpose that leaves the order as it is makes no layer."""
    asserts_dimension_names = _since("8.2", before="8.5")
    """Inputs whose dimensions share a name get layers that compare them at run time."""
    checks_beforehand = _since("10.0", before="10.8")
    """Each node is checked before it is imported; what the check of ConstantOfShape makes takes a name."""
    pads_lines_wrongly = _since(before="8.5")
    """The output padding of a one-dimensional ConvTranspose goes to the axis that the parser added."""
    reads_opset_18 = _since("10.0")
    """What opsets 15 and 18 changed is read as meant: start and end of Shape, axes of a reduction as an input or
    none at all, axes of Resize, the shorter last part of Split. Before, all of it was passed over.
    """
    cast_helpers = _since("9.0")
    """The parser's own casts are CAST layers; in 8.6 only the operator Cast is, its own are still IDENTITY."""
    squeeze_layers = _since("10.8")
    """Squeeze and Unsqueeze have kinds of their own; before, they were SHUFFLE."""
    extracts_dimensions = _since("10.0")
    """The length of an axis is taken out of a SHAPE even when it is known; before, a known one is a constant."""
    native_cumulative = _since("10.8")
    """CumSum is a layer; before, a loop along the axis."""
    native_reverse_sequence = _since("8.6")
    """ReverseSequence is a layer; before, slices of each element of the batch."""
    native_nms = _since("8.5")
    """NonMaxSuppression is a layer; before, a plugin."""
    stretches_helpers = _since("8.6")
    """A constant that fills a shape is a helper SLICE; before, the SLICE is named after the node."""


def parser_of(tensorrt: str) -> Parser:
    """The parser of a release such as "8.5.2".

    Raises UsageError when `tensorrt` is not a version number.
    """
    return Parser(Version.parse(tensorrt))
