"""Typed networks (TensorRT 11): what the pairs of QuantizeLinear and DequantizeLinear make of the layers around them.

The types of the file alone decide, layer by layer. A pair is no work of its own: on constants it makes the weights of
the layer that reads them, on activations it is a scale. So weights and biases behind a pair become the layer's own,
readers read what stands before a pair, and each layer gets the precision that it computes in:

- int8: all that it reads comes out of pairs, all that it makes goes into them. A convolution or product with its
  point-wise followers (scale, ReLU, residual sum), which TensorRT fuses with it, counts as one layer.
- else the floating-point type of what it reads and makes directly. A convolution with INT8 inputs may write FP16.

A wholly float32 network stays as it is: nothing in it says what it will become. Pairs of other types than INT8 and
UINT8 are no INT8, and what a pair of a form that no source describes touches carries that as its doubt.
Sources: TensorRT's documentation, "Explicit Quantization" and "Strongly Typed Networks"; TensorRT-RTX's parser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isclose, isfinite

from dlaflow.graph.layer import (
    PRODUCTS,
    RESHAPES,
    Activation,
    ElementWise,
    Layer,
    Network,
    Quantize,
    Tensor,
    elements,
)

PAIR = frozenset({"QUANTIZE", "DEQUANTIZE"})
_HALVES = frozenset({"float16", "bfloat16"})
_EIGHT_BITS = frozenset({"int8", "uint8"})
_WEIGHT_AXES = {"CONVOLUTION": 0, "DECONVOLUTION": 1}
"""The dimension of output channels, along which weights have their scales."""
_HALF_ERROR = 2.0**-11
_HALF_STEP = 2.0**-24
"""What one scale may differ by in FP16 from itself in FP32: relative, and where FP16 has no more digits."""
_FUSED_ACTIVATIONS = frozenset({"RELU", "CLIP", "LEAKY_RELU"})


def typed(network: Network) -> Network:
    """The network with its pairs read as types; one without any type but float32 comes back as it is."""
    tensors = (*network.inputs, *(tensor for layer in network.layers for tensor in layer.outputs))
    halves = any(tensor.dtype in _HALVES for tensor in tensors)
    if not halves and not any(layer.kind in PAIR for layer in network.layers):
        return network
    return _Types(network).settled()


@dataclass(frozen=True, slots=True)
class _Read:
    """What a layer reads: the tensor before all pairs, and what it is quantised to ("" for nothing; UINT8 is int8)."""

    tensor: Tensor
    type: str

    @property
    def int8(self) -> bool:
        return self.type == "int8"


class _Types:
    """The tensors of one network, followed through the pairs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._makers = {tensor.name: layer for layer in network.layers for tensor in layer.outputs}
        self._work = [layer for layer in network.layers if layer.kind not in PAIR]
        self._direct: dict[str, list[Layer | None]] = defaultdict(list)
        """Who reads a tensor in its floating-point type, by its name; None is the network's output."""
        self._scales: dict[str, float] = {}
        """The scale of the first pair behind a tensor."""
        self._doubts: dict[str, str] = {}
        """What is doubtful about the pairs behind a tensor, by the name of what stands before them."""
        for layer in network.layers:
            if layer.kind in PAIR and layer.inputs:
                self._note_pair(layer)
        for layer in self._work:
            self._note_work(layer)
            for tensor in layer.inputs if not layer.folded and layer.kind != "SHAPE" else ():
                self._note_reader(tensor, layer)
        for tensor in network.outputs:
            self._note_reader(tensor, None)

    def settled(self) -> Network:
        """The network with own weights, without pairs between its layers, and with precisions."""
        precisions, renamed, dropped = self._precisions(), self._renamed(), self._dropped()
        behind = {after.name: before for before, after in renamed.items()}
        layers = []
        for layer in self._network.layers:
            if layer.index in dropped:
                continue
            inputs = [self._seen(tensor, renamed) for tensor in self._data(layer)]
            outputs = [self._made(tensor, renamed) for tensor in layer.outputs]
            if layer.kind in PAIR:
                outputs = [replace(tensor, name=behind.get(tensor.name, tensor.name)) for tensor in layer.outputs]
            own = sum(elements(tensor.shape) for tensor in layer.inputs if tensor not in self._data(layer))
            layers.append(
                replace(
                    layer,
                    inputs=tuple(inputs),
                    outputs=tuple(outputs),
                    folded=layer.folded or layer.kind in PAIR,
                    weight_elements=layer.weight_elements + own,
                    precision=precisions.get(layer.index, ""),
                    doubt=self._doubt(layer),
                )
            )
        return replace(self._network, layers=tuple(layers), typed=True)

    def _note_pair(self, pair: Layer) -> None:
        name, form = self._follow(pair.inputs[0]).tensor.name, pair.attributes
        if not isinstance(form, Quantize):
            return
        if form.scale is not None and not pair.folded:
            self._scales.setdefault(name, form.scale)
        if doubt := self._of_form(pair, form):
            self._doubts.setdefault(name, f"{pair.name}: {doubt}")

    def _of_form(self, pair: Layer, form: Quantize) -> str:
        """What no source says of a half of a pair, "" for nothing."""
        stored = (pair.outputs[0] if pair.kind == "QUANTIZE" else pair.inputs[0]).dtype
        if stored not in _EIGHT_BITS | {"int32"}:  # biases in INT32: the parser's refusal is told
            return f"a pair of {stored or 'unknown type'}"
        if form.blocked:
            return "a scale for each block"
        if not all(tensor.constant for tensor in pair.inputs[1:2]):
            return "a scale that is computed"
        if not all(map(isfinite, form.scales)):
            return "a scale that is not finite"
        before = self._makers.get(pair.inputs[0].name)
        if before is not None and isinstance(before.attributes, Quantize):
            first = before.attributes
            if first.axis != form.axis or not _alike(first.scales, form.scales):
                return f"other scales than {before.name} before it"
        return ""

    def _note_work(self, layer: Layer) -> None:
        """A layer that works on 8-bit values themselves: that is beside the form, for what it makes as well."""
        for tensor in layer.inputs if not layer.folded and layer.kind not in {"CAST", "SHAPE"} else ():
            if not tensor.constant and tensor.dtype in _EIGHT_BITS:
                for name in (self._follow(tensor).tensor.name, *(made.name for made in layer.outputs)):
                    self._doubts.setdefault(name, f"{layer.name} on the {tensor.dtype} tensor {tensor.name} itself")

    def _doubt(self, layer: Layer) -> str:
        """The first doubt about the pairs that a layer reads from or writes to."""
        if layer.folded or layer.kind in PAIR:
            return ""
        reads = [read.tensor.name for read in map(self._follow, layer.inputs) if read.type]
        axis = self._weight_axis(layer)
        found = [self._doubts[name] for name in (*reads, *(out.name for out in layer.outputs)) if name in self._doubts]
        if axis not in {None, _WEIGHT_AXES.get(layer.kind)}:
            found.append(f"weights with a scale for each place of axis {axis}, not of {_WEIGHT_AXES[layer.kind]}")
        return found[0] if found else ""

    def _weight_axis(self, layer: Layer) -> int | None:
        """The axis of the scales of a convolution's weights, None for one scale and for none."""
        for tensor in layer.inputs[1:2] if layer.kind in _WEIGHT_AXES else ():
            maker = self._makers.get(tensor.name)
            if tensor.constant and maker is not None and isinstance(maker.attributes, Quantize):
                return maker.attributes.axis
        return None

    def _note_reader(self, tensor: Tensor, reader: Layer | None) -> None:
        found = self._follow(tensor)
        if not found.int8:
            self._direct[found.tensor.name].append(reader)

    def _follow(self, tensor: Tensor) -> _Read:
        """What stands before the pairs on the way to a tensor."""
        kind = "int8" if tensor.dtype in _EIGHT_BITS else ""
        while (maker := self._makers.get(tensor.name)) is not None and maker.kind in PAIR and maker.inputs:
            stored = maker.outputs[0] if maker.kind == "QUANTIZE" else maker.inputs[0]
            if stored.dtype not in _EIGHT_BITS or not kind:
                kind = "int8" if stored.dtype in _EIGHT_BITS else stored.dtype or "undefined"
            tensor = maker.inputs[0]
        return _Read(tensor, kind)

    def _own(self, tensor: Tensor) -> bool:
        """Whether a constant reaches its reader through a pair, and through reshapes behind it at most."""
        while tensor.constant and (maker := self._makers.get(tensor.name)) is not None:
            if maker.kind == "DEQUANTIZE":
                return True
            if maker.kind not in RESHAPES or not maker.inputs:
                return False
            tensor = maker.inputs[0]
        return False

    def _data(self, layer: Layer) -> tuple[Tensor, ...]:
        """What a layer reads beside its own weights; of a pair what it converts."""
        if layer.kind in PAIR:
            return layer.inputs[:1]
        if layer.kind in {"CONVOLUTION", "DECONVOLUTION"}:
            return tuple(tensor for tensor in layer.inputs if not self._own(tensor))
        return layer.inputs

    def _dropped(self) -> set[int]:
        """Layers of constants that serve pairs alone: scales, zero points, weights that became a layer's own."""
        dropped: set[int] = set()
        read = {tensor.name for tensor in self._network.outputs}
        for layer in reversed(self._network.layers):
            served = any(tensor.name in read for tensor in layer.outputs)
            inputs = self._data(layer)
            if layer.folded and (layer.kind in PAIR or (not served and self._of_pair(layer))):
                dropped.add(layer.index)
                inputs = inputs if served else ()
            elif layer.kind in PAIR:
                inputs = ()
            read |= {tensor.name for tensor in inputs}
        return dropped

    def _of_pair(self, layer: Layer) -> bool:
        """Whether a constant is read by pairs, or by reshapes of what comes out of them."""
        return layer.kind == "CONSTANT" or (layer.kind in RESHAPES and self._own(layer.outputs[0]))

    def _renamed(self) -> dict[str, Tensor]:
        """Tensors that become an output of the network once the pair before it is gone: they take its name."""
        given = {tensor.name for tensor in (*self._network.inputs, *self._network.outputs)}
        found: dict[str, Tensor] = {}
        for tensor in self._network.outputs:
            before = self._follow(tensor).tensor
            if before.name != tensor.name and before.name not in given | found.keys() and not before.constant:
                found[before.name] = tensor
        return found

    def _seen(self, tensor: Tensor, renamed: Mapping[str, Tensor]) -> Tensor:
        """A tensor as its reader sees it."""
        found = self._follow(tensor)
        name = renamed.get(found.tensor.name, found.tensor).name
        scale = self._scales.get(found.tensor.name) if found.int8 and not tensor.constant else None
        return replace(found.tensor, name=name, scale=scale)

    def _made(self, tensor: Tensor, renamed: Mapping[str, Tensor]) -> Tensor:
        """A tensor as its maker writes it."""
        name = renamed.get(tensor.name, tensor).name
        scale = None if self._direct.get(tensor.name) else self._scales.get(tensor.name)
        return replace(tensor, name=name, scale=scale)

    # What a layer computes in.

    def _precisions(self) -> dict[int, str]:
        """The precision of each layer that works on floating-point or 8-bit values, by its index."""
        working = [layer for layer in self._work if not layer.folded and layer.kind != "CAST"]
        found: dict[int, str] = {}
        for layer in working:
            chain = self._chain(layer) if self._reads_int8(layer) else None
            if chain is not None:
                found |= {member.index: "int8" for member in chain}
        for layer in working:
            if layer.index not in found:
                found[layer.index] = self._float_precision(layer)
        return found

    def _reads_int8(self, layer: Layer) -> bool:
        """Whether everything that it computes with is INT8; other constants than weights may stay what they are."""
        reads = [self._follow(tensor) for tensor in layer.inputs if not tensor.constant]
        if layer.kind in PRODUCTS:
            held = layer.kind in {"CONVOLUTION", "DECONVOLUTION"} and len(layer.inputs) == 1
            weights = [tensor for tensor in layer.inputs[1:2] if tensor.constant]
            if held or not all(self._own(tensor) for tensor in weights):
                return False
        return bool(reads) and all(read.int8 for read in reads)

    def _chain(self, head: Layer) -> list[Layer] | None:
        """A layer with the followers that fuse with it up to the pair; None when it writes floating point."""
        chain = [head]
        while True:
            readers = [reader for tensor in chain[-1].outputs for reader in self._direct.get(tensor.name, ())]
            if not readers:
                return chain
            after = readers[0]
            starts = head.kind in PRODUCTS or _sums(head)
            if len(readers) > 1 or after is None or not starts or not self._fuses(after, chain[-1]):
                return None
            if any(self._scales.get(tensor.name) is not None for tensor in chain[-1].outputs):
                return None  # others read it through a pair: it exists in both types
            chain.append(after)

    def _fuses(self, layer: Layer, before: Layer) -> bool:
        made = {tensor.name for tensor in before.outputs}
        others = [tensor for tensor in layer.inputs if not tensor.constant and tensor.name not in made]
        pointwise = layer.kind in {"SCALE", "PARAMETRIC_RELU"} or _sums(layer) or _cuts(layer)
        return pointwise and all(self._follow(tensor).int8 for tensor in others)

    def _float_precision(self, layer: Layer) -> str:
        """The type of what it reads and makes in floating point; an INT8 product may write FP16."""
        reads = [self._follow(tensor) for tensor in layer.inputs if not tensor.constant]
        if others := {read.type for read in reads} - {"", "int8"}:
            return min(others)
        written = [out for out in layer.outputs if self._direct.get(out.name) or out.name not in self._scales]
        direct = {read.tensor.dtype for read in reads if not read.int8} | {tensor.dtype for tensor in written}
        if not direct & {"float32", "float16"}:
            direct = _restored(layer) or {tensor.dtype for tensor in layer.outputs}
        if "float32" in direct:
            return "float32"
        if layer.kind in PRODUCTS and self._reads_int8(layer):
            return "int8"
        return "float16" if "float16" in direct else ""


def _alike(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether scales are the same, as far as FP16 tells them; those that are not known may be."""
    if not first or not second:
        return True
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(isclose(*pair, rel_tol=_HALF_ERROR, abs_tol=_HALF_STEP) for pair in pairs)


def _restored(layer: Layer) -> set[str]:
    """The floating-point types that pairs give what a layer reads."""
    return {tensor.dtype for tensor in layer.inputs if not tensor.constant} & {"float32", "float16"}


def _sums(layer: Layer) -> bool:
    return isinstance(layer.attributes, ElementWise) and layer.attributes.operation == "SUM"


def _cuts(layer: Layer) -> bool:
    return isinstance(layer.attributes, Activation) and layer.attributes.type in _FUSED_ACTIVATIONS
