"""What a layer costs in multiply-accumulates.

Only convolutions, deconvolutions and matrix products count multiply-accumulates; everything else counts 0, as in the
usual MAC figures of model papers. A dimension that is not known counts as 0 MACs.
"""

from __future__ import annotations

from math import prod

from dlaflow.graph.layer import Convolution, Dims, Layer, MatrixMultiply


def elements(shape: Dims | None) -> int:
    """The number of elements; 0 when the shape is not wholly known."""
    if shape is None:
        return 0
    known = [size for size in shape if size is not None]
    return prod(known) if len(known) == len(shape) else 0


def layer_macs(layer: Layer) -> int:
    """Multiply-accumulates of one layer, for the whole batch."""
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
