"""What differs between the ONNX parsers of TensorRT's releases, each stated once.

What other packages ask too stands in targets/features.toml. Sources: onnx-tensorrt's branches and change log, real
build logs (8.4, 8.5.2 and 10.3), and the parser of TensorRT-RTX, which the tests run.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.targets.features import has
from dlaflow.targets.version import Version


@dataclass(frozen=True, slots=True)
class Parser:
    """TensorRT's ONNX parser of one release."""

    release: Version

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers."""
        return self.release.parts

    @property
    def names_helpers(self) -> bool:
        """Helper layers are called ONNXTRT_Broadcast and the like instead of (Unnamed Layer* N) [Type]."""
        return has("helper_names", self.release)

    @property
    def names_temporaries(self) -> bool:
        """Weights that the parser makes up are called tmp_weight, from the counter that all names share."""
        return self.release.since("8.4")

    @property
    def names_conversions(self) -> bool:
        """So are initializers that are converted (INT64 to INT32 above all): later suffixes jump."""
        return self.release.since("8.4") and self.release.before("9.0")

    @property
    def shares_constants(self) -> bool:
        """Weights that several nodes take as a tensor become one CONSTANT; before, one for each use."""
        return self.release.since("8.4")

    @property
    def bool_constants(self) -> bool:
        """Boolean weights are a CONSTANT; before, an INT32 one and an IDENTITY."""
        return self.release.since("8.5")

    @property
    def tensors_follow_layers(self) -> bool:
        """A tensor that ONNX does not name is called after its layer; in 8.x it is `(Unnamed Layer* N) [Type]_output`
        even where the layer has a name. Caches of 8.4 to 8.5.2 and logs of 8.6.1 against those of 10.x.
        """
        return self.release.since("9.0")

    @property
    def names_every_layer(self) -> bool:
        """The second layer of a Gemm is named after the node; in 10.3 it was still `(Unnamed Layer* 125)`."""
        return self.release.since("10.8")

    @property
    def cast_layers(self) -> bool:
        """Cast is a CAST layer; before, an IDENTITY layer with an output type."""
        return self.release.since("8.6")

    @property
    def normalization_layers(self) -> bool:
        """Group and layer normalisation are known, as NORMALIZATION layers."""
        return self.release.since("8.6")

    @property
    def native_instance_norm(self) -> bool:
        """Instance normalisation is a NORMALIZATION layer; the flag for it is off by default until 10.0."""
        return self.release.since("10.0")

    @property
    def unary_is_nan(self) -> bool:
        """IsNaN is a UNARY of its own; the Python API of 8.6.1 has no ISNAN, a log of 10.3 shows one."""
        return self.release.since("10.0")

    @property
    def computes_slices(self) -> bool:
        """A Slice's bounds are computed in the network unless they are INT32 weights and the input's sizes fixed."""
        return self.release.since("9.3")

    @property
    def slices_axes_alone(self) -> bool:
        """The bounds of a Slice are computed for the axes that it names; before, for all."""
        return self.release.since("10.3")

    @property
    def casts_arg_input(self) -> bool:
        """ArgMax of integers works in FP32."""
        return self.release.since("8.6") and self.release.before("10.0")

    @property
    def scalar_factors(self) -> bool:
        """Gemm's alpha and beta are scalars that a helper brings to the rank."""
        return self.release.before("10.8")

    @property
    def names_layer_normalization(self) -> bool:
        """LayerNormalization's layer is called after the node; 8.6 forgot to."""
        return self.release.since("9.0")

    @property
    def default_norm_constants(self) -> bool:
        """LayerNormalization makes constants for scale and bias before it looks whether they are given."""
        return self.release.since("10.0") and self.release.before("10.8")

    @property
    def deepest_sizes(self) -> int:
        """How many dimensions a value may have with which the parser computes sizes."""
        return 8 if self.release.since("10.8") else 1

    @property
    def lifts_scalars(self) -> bool:
        """UNARY takes no scalars: they become vectors of one and scalars again."""
        return self.release.before("8.6")

    @property
    def casts_integer_abs(self) -> bool:
        """ABS of integers works in FP32."""
        return self.release.before("8.5")

    @property
    def skips_identity_transposes(self) -> bool:
        """A Transpose that leaves the order as it is makes no layer."""
        return self.release.before("8.5")

    @property
    def asserts_dimension_names(self) -> bool:
        """Inputs whose dimensions share a name get layers that compare them at run time."""
        return self.release.since("8.2") and self.release.before("8.5")

    @property
    def checks_beforehand(self) -> bool:
        """Each node is checked before it is imported; what the check of ConstantOfShape makes takes a name."""
        return self.release.since("10.0") and self.release.before("10.8")

    @property
    def pads_lines_wrongly(self) -> bool:
        """The output padding of a one-dimensional ConvTranspose goes to the axis that the parser added."""
        return self.release.before("8.5")

    @property
    def reads_opset_18(self) -> bool:
        """What opsets 15 and 18 changed is read as meant: start and end of Shape, axes of a reduction as an input or
        none at all, axes of Resize, the shorter last part of Split. Before, all of it was passed over.
        """
        return self.release.since("10.0")

    @property
    def cast_helpers(self) -> bool:
        """The parser's own casts are CAST layers; in 8.6 only the operator Cast is, its own are still IDENTITY."""
        return self.release.since("9.0")

    @property
    def squeeze_layers(self) -> bool:
        """Squeeze and Unsqueeze have kinds of their own; before, they were SHUFFLE."""
        return self.release.since("10.8")

    @property
    def narrow_indices(self) -> bool:
        """INT64 is known, yet TopK and NonMaxSuppression give 32 bits and need a CAST behind them."""
        return self.int64 and not self.names_every_layer

    @property
    def int64(self) -> bool:
        """INT64 tensors stay what they are; before they become INT32."""
        return has("int64", self.release)

    @property
    def extracts_dimensions(self) -> bool:
        """The length of an axis is taken out of a SHAPE even when it is known; before, a known one is a constant."""
        return self.release.since("10.0")

    @property
    def native_cumulative(self) -> bool:
        """CumSum is a layer; before, a loop along the axis."""
        return self.release.since("10.8")

    @property
    def native_reverse_sequence(self) -> bool:
        """ReverseSequence is a layer; before, slices of each element of the batch."""
        return self.release.since("8.6")

    @property
    def native_nms(self) -> bool:
        """NonMaxSuppression is a layer; before, a plugin."""
        return self.release.since("8.5")

    @property
    def casts_scatter_indices(self) -> bool:
        """ScatterND and ScatterElements cast their indices, whatever their type."""
        return self.int64 and not self.names_every_layer

    @property
    def stretches_helpers(self) -> bool:
        """A constant that fills a shape is a helper SLICE; before, the SLICE is named after the node."""
        return self.release.since("8.6")


def parser_of(tensorrt: str) -> Parser:
    """The parser of a release such as "8.5.2".

    Raises UsageError when `tensorrt` is not a version number.
    """
    return Parser(Version.parse(tensorrt))
