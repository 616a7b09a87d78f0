"""Draw a network layer by layer, as the records that `dlaflow.graph` makes, without torch and without weights.

The fit needs the geometry of the networks that people measured, nothing else; a few lines of drawing per architecture
replace an ONNX file of a hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from dlaflow.graph.layer import (
    Activation,
    Attributes,
    Concatenation,
    Convolution,
    ElementWise,
    Layer,
    MatrixMultiply,
    Network,
    Pooling,
    Reduce,
    Resize,
    Shuffle,
    SoftMax,
    Tensor,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, padding on every side and groups; `across` is the width of a kernel that is not square."""

    kernel: int = 1
    stride: int = 1
    pad: int | None = None
    groups: int = 1
    dilation: int = 1
    across: int | None = None

    @property
    def padding(self) -> int:
        """The padding; by default the one that keeps the size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2 if self.pad is None else self.pad

    def output(self, size: int, *, ceil: bool = False) -> int:
        """The size of the output along one axis."""
        reach = self.dilation * (self.kernel - 1) + 1
        extra = self.stride - 1 if ceil else 0
        return (size + 2 * self.padding - reach + extra) // self.stride + 1


@dataclass
class Drawing:
    """A network in the making. Every method adds one layer and returns its output tensor."""

    layers: list[Layer] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)

    def input(self, *shape: int) -> Tensor:
        """A network input of NCHW shape."""
        tensor = Tensor(f"input{len(self.inputs)}", shape, "float32")
        self.inputs.append(tensor)
        return tensor

    def conv(self, x: Tensor, channels: int, window: Window, activation: str | None = "RELU") -> Tensor:
        """A convolution with batch normalisation folded in, and its activation."""
        n, c, h, w = dims(x)
        wide = replace(window, kernel=window.across or window.kernel)
        shape = (n, channels, window.output(h), wide.output(w))
        kernel, pads, s, d = (
            (window.kernel, wide.kernel),
            (window.padding, wide.padding),
            window.stride,
            window.dilation,
        )
        weights = channels * (c // window.groups) * prod(kernel)
        attributes = Convolution(kernel, (s, s), pads, pads, (d, d), window.groups, c, channels)
        macs = weights * n * shape[2] * shape[3]
        y = self._add("CONVOLUTION", (x,), shape, attributes, macs=macs, weights=weights)
        return self.activation(y, activation) if activation else y

    def scale(self, x: Tensor) -> Tensor:
        """Batch normalisation as the SCALE layer that TensorRT makes of it."""
        return self._add("SCALE", (x,), dims(x), None, weights=2 * dims(x)[1])

    def activation(self, x: Tensor, kind: str = "RELU") -> Tensor:
        """An activation, element by element. SILU becomes a sigmoid and a product."""
        if kind == "SILU":
            return self.elementwise(x, self.activation(x, "SIGMOID"), operation="PROD")
        return self._add("ACTIVATION", (x,), dims(x), Activation(kind))

    def elementwise(self, x: Tensor, y: Tensor, operation: str = "SUM") -> Tensor:
        """Two tensors of one shape."""
        return self._add("ELEMENTWISE", (x, y), dims(x), ElementWise(operation))

    def pool(self, x: Tensor, window: Window, mode: str = "MAX", *, ceil: bool = False) -> Tensor:
        """Max or average pooling."""
        n, c, h, w = dims(x)
        k, s, p = window.kernel, window.stride, window.padding
        attributes = Pooling(mode, (k, k), (s, s), (p, p), (p, p), (1, 1))
        shape = (n, c, window.output(h, ceil=ceil), window.output(w, ceil=ceil))
        return self._add("POOLING", (x,), shape, attributes)

    def mean(self, x: Tensor) -> Tensor:
        """GlobalAveragePool, which TensorRT reads as a reduction."""
        n, c = dims(x)[:2]
        return self._add("REDUCE", (x,), (n, c, 1, 1), Reduce("AVG", (2, 3), keep_dims=True))

    def linear(self, x: Tensor, features: int) -> Tensor:
        """A flattened Gemm."""
        n, inner = dims(x)[0], prod(dims(x)[1:])
        attributes = MatrixMultiply(1, inner, features)
        weights = inner * features
        return self._add("MATRIX_MULTIPLY", (x,), (n, features, 1, 1), attributes, macs=n * weights, weights=weights)

    def concat(self, parts: list[Tensor]) -> Tensor:
        """Concatenation of channels."""
        n, _, h, w = dims(parts[0])
        shape = (n, sum(dims(part)[1] for part in parts), h, w)
        return self._add("CONCATENATION", tuple(parts), shape, Concatenation(1))

    def upsample(self, x: Tensor, height: int, width: int) -> Tensor:
        """Nearest-neighbour upsampling."""
        n, c, h, w = dims(x)
        attributes = Resize("nearest", "asymmetric", "floor", (1, 1, height / h, width / w), sizes_given=False)
        return self._add("RESIZE", (x,), (n, c, height, width), attributes)

    def softmax(self, x: Tensor) -> Tensor:
        """Softmax over channels."""
        return self._add("SOFTMAX", (x,), dims(x), SoftMax(1))

    def lrn(self, x: Tensor) -> Tensor:
        """Local response normalisation."""
        return self._add("LRN", (x,), dims(x), None)

    def shuffle(self, x: Tensor, *shape: int) -> Tensor:
        """A reshape."""
        return self._add("SHUFFLE", (x,), shape, Shuffle(reshape=shape))

    def transpose(self, x: Tensor, order: Shape) -> Tensor:
        """Dimensions in another order."""
        shape = tuple(dims(x)[index] for index in order)
        return self._add("SHUFFLE", (x,), shape, Shuffle(first_transpose=order))

    def quantised(self, x: Tensor) -> Tensor:
        """A pair of QuantizeLinear and DequantizeLinear."""
        return self._add("DEQUANTIZE", (self._add("QUANTIZE", (x,), dims(x), None),), dims(x), None)

    def normalization(self, x: Tensor) -> Tensor:
        """The instance normalisation that a GroupNorm is exported to."""
        return self._add("NORMALIZATION", (x,), dims(x), None)

    def network(self, *outputs: Tensor) -> Network:
        """The finished network."""
        return Network(tuple(self.layers), tuple(self.inputs), outputs)

    def _add(
        self,
        kind: str,
        inputs: tuple[Tensor, ...],
        shape: Shape,
        attributes: Attributes | None,
        *,
        macs: int = 0,
        weights: int = 0,
    ) -> Tensor:
        index = len(self.layers)
        output = Tensor(f"t{index}", shape, "float32")
        name = f"{kind.lower()}_{index}"
        where = (index, name, kind, kind, (name,), inputs, (output,), attributes)
        self.layers.append(Layer(*where, macs=macs, weight_elements=weights))
        return output


def dims(tensor: Tensor) -> Shape:
    """The static shape of a drawn tensor."""
    return tuple(size or 0 for size in tensor.shape or ())
