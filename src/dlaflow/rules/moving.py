"""Layers that move data: Slice and Shuffle (reshape, transpose, flatten)."""

from __future__ import annotations

from typing import ClassVar

from dlaflow.graph.layer import Layer, Shuffle, Slice
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, by, dims, rank
from dlaflow.types import Confidence, Finding, Remedy


def _static(layer: Layer) -> Slice | None:
    return layer.attributes if isinstance(layer.attributes, Slice) and layer.attributes.size else None


class _SliceRule(Rule):
    kinds = ("SLICE",)
    good = Example("y, z = Split<axis=1, num_outputs=2>(x)", tensorrt="10.3.0")


class SliceAvailable(_SliceRule):
    """Slice and Split run on the DLA from TensorRT 8.4 on.

    Why: added by that release.
    Use instead: two convolutions with parts of the weights instead of one and a split.
    """

    id = "DLA230"
    remedy = Remedy.EXACT
    otherwise = Remedy.ELSEWHERE
    limit = "slice.available"
    bad = Example("y, z = Split<axis=1>(x)", board="xavier-nx", tensorrt="8.2.1")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if case.limit(self.limit) is not None:
            return None
        received = f"Slice under TensorRT {case.target.version}"
        return self.refuses(layer, received, expected="TensorRT 8.4 or later", source="NvInfer.h before 8.4")


class SliceStatic(_SliceRule):
    """Starts, sizes, axes and steps of a Slice must be known at build time.

    Why: the DLA copies fixed regions.
    Use instead: fixed shapes, and a simplified model.
    """

    id = "DLA231"
    remedy = Remedy.EXACT
    bad = Example("y = Slice(x, b, e)", more_inputs=(("b", "int64[4]"), ("e", "int64[4]")))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, Slice) or _static(layer):
            return None
        return self.refuses(layer, "computed bounds", expected="constants", source="NvInfer.h ISliceLayer")


class SliceSteps(_SliceRule):
    """The steps of a Slice must be 1.

    Why: the copy engine moves whole runs. The old YOLOv5 Focus block uses steps of 2.
    Use instead: a convolution with stride 2 that computes the same.
    """

    id = "DLA232"
    remedy = Remedy.EXACT
    bad = Example(
        "y = Slice(x, b, e, a, s)",
        constants=(("b", "int64[1]", "0"), ("e", "int64[1]", "32"), ("a", "int64[1]", "2"), ("s", "int64[1]", "2")),
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        part = _static(layer)
        if (
            part is None
            or all(step == 1 for step in part.stride)
            or part.mode != "STRICT_BOUNDS"
            or layer.op == "Expand"
        ):
            return None
        return self.refuses(layer, f"steps {by(part.stride)}", expected="1", source="NvInfer.h ISliceLayer")


class SliceBatch(_SliceRule):
    """The batch axis cannot be sliced.

    Why: a loadable works on one batch.
    Use instead: split the batch outside of the network.
    """

    id = "DLA233"
    remedy = Remedy.NONE
    bad = Example(
        "y = Slice(x, b, e, a)",
        x="4,8,8,8",
        constants=(("b", "int64[1]", "0"), ("e", "int64[1]", "2"), ("a", "int64[1]", "0")),
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        part = _static(layer)
        shape = layer.inputs[0].shape
        if part is None or not shape or shape[0] is None or part.size[0] == shape[0]:
            return None
        received = f"batch {shape[0]} to {part.size[0]}"
        return self.refuses(layer, received, expected="the whole batch", source="NvInfer.h ISliceLayer")


class SliceRank(_SliceRule):
    """Slice takes four dimensions.

    Why: the log says so in words: DLA only supports slicing 4 dimensional tensors.
    Use instead: keep NCHW.
    """

    id = "DLA234"
    remedy = Remedy.EXACT
    expected = "four dimensions"
    source = "build log of TensorRT 8.5.2: DLA only supports slicing 4 dimensional tensors"
    confidence = Confidence.MEASURED
    bad = Example("y, z = Split<axis=1, num_outputs=2>(x)", x="1,64,49", tensorrt="10.3.0")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        found = rank(layer.inputs[0])
        if found is None or found == 4:
            return None
        return self.refuses(layer, dims(layer.inputs[0]))


class SliceMode(_SliceRule):
    """A Slice must stay within its input ({slice.modes}).

    Why: Pad, Tile and Expand become slices that reach beyond; TensorRT 10.4 takes wrapping and zero filling. The zero
    must be a Constant layer that nothing else reads; the ONNX parser gives none for a Pad with zeros, so nobody knows.
    Use instead: padding as an attribute of the next Conv or Pool; a nearest Resize instead of Tile.
    """

    id = "DLA235"
    remedy = Remedy.EXACT
    limit = "slice.modes"
    behind_deconvolution: ClassVar[bool] = False
    """Whether it judges the slices that output padding of a ConvTranspose becomes, which have advice of their own."""
    bad = Example("y = Pad(x, p)", constants=(("p", "int64[8]", "0,0,1,1,0,0,1,1"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        part = layer.attributes
        if limit is None or not isinstance(part, Slice) or (layer.op == "ConvTranspose") != self.behind_deconvolution:
            return None
        if part.mode not in limit.names:
            return self.breaks(layer, limit, f"{part.mode} ({layer.op})")
        if part.mode == "FILL" and part.fill != 0:
            return self.breaks(layer, limit, f"filling with {part.fill:g}", expected="filling with 0")
        if part.mode != "FILL":
            return None
        received, expected = f"filling with 0 ({layer.op})", "a zero that is a Constant layer of its own"
        source = "NvInfer.h ISliceLayer, 10.4 and later; onnx-tensorrt's importer of Pad sets no fill value"
        return self.refuses(layer, received, expected=expected, source=source, confidence=Confidence.INFERRED)


class Repeat(_SliceRule):
    """Expand repeats data, which the DLA is not known to do.

    Why: it becomes a Slice with step 0.
    Use instead: let the element-wise operation broadcast, or use a nearest Resize or a 1x1 convolution.
    """

    id = "DLA236"
    remedy = Remedy.EXACT
    bad = Example("y = Expand(x, n)", x="1,64,1,1", constants=(("n", "int64[4]", "1,64,4,4"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.op not in {"Expand", "Tile"}:
            return None
        source = "Deep-Learning-Accelerator-SW operators/README.md: not exposed through TensorRT"
        return self.refuses(layer, layer.op, expected="a plain Slice", source=source)


class ShuffleAvailable(Rule):
    """Reshape and Transpose run on the DLA from TensorRT 8.5 on.

    Why: added around that release.
    Use instead: avoid them, or move to TensorRT 8.5 or later.
    """

    id = "DLA240"
    remedy = Remedy.EXACT
    otherwise = Remedy.ELSEWHERE
    kinds = ("SHUFFLE",)
    limit = "shuffle.available"
    expected = "TensorRT 8.5 or later"
    source = "no build before 8.5 shows one on the DLA; the headers do not mention it"
    confidence = Confidence.INFERRED
    good = Example("y = Transpose<perm=[0,1,3,2]>(x)")
    bad = Example("y = Transpose<perm=[0,1,3,2]>(x)", board="xavier-nx", tensorrt="8.2.1")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        received = f"Shuffle under TensorRT {case.target.version}"
        if limit is None:
            return self.refuses(layer, received)
        if limit.confidence is Confidence.INFERRED:
            return self.breaks(layer, limit, received, expected=self.expected)
        return None


class ShuffleRank(Rule):
    """Reshape and Transpose need four dimensions before and after; Flatten, Squeeze and Unsqueeze never have them.

    Why: logs show every other one on the GPU.
    Use instead: keep (N, C, H, W); a classifier's Flatten and Gemm as a 1x1 convolution.
    """

    id = "DLA241"
    of_rank = True
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("SHUFFLE", "SQUEEZE", "UNSQUEEZE")
    expected = "four dimensions before and after"
    source = "build logs of TensorRT 8.5.2 and 10.3.0"
    confidence = Confidence.MEASURED
    good = Example("y = Transpose<perm=[0,1,3,2]>(x)")
    bad = Example("y = Flatten(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not layer.inputs:
            return None
        before, after = rank(layer.inputs[0]), rank(layer.outputs[0])
        if before in {4, None} and after in {4, None}:
            return None
        return self.refuses(layer, f"{dims(layer.inputs[0])} to {dims(layer.outputs[0])}")


class ShuffleBatch(Rule):
    """The batch axis must keep its place and size through reshapes and transposes.

    Why: a loadable works on one batch.
    Use instead: keep N first; do channel shuffles with a 1x1 permutation convolution.
    """

    id = "DLA242"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("SHUFFLE",)
    expected = "the batch in its place"
    source = "TensorRT developer guide as remembered"
    confidence = Confidence.INFERRED
    good = Example("y = Transpose<perm=[0,1,3,2]>(x)")
    bad = Example("y = Transpose<perm=[1,0,2,3]>(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        shuffle = layer.attributes
        if not isinstance(shuffle, Shuffle) or not layer.inputs:
            return None
        moved = [perm for perm in (shuffle.first_transpose, shuffle.second_transpose) if perm and perm[0] != 0]
        before, after = layer.inputs[0].shape, layer.outputs[0].shape
        if not moved and (not before or not after or before[0] == after[0]):
            return None
        return self.refuses(
            layer, f"{dims(layer.inputs[0])} to {dims(layer.outputs[0])}" + (f" by {by(moved[0])}" if moved else "")
        )


class ShuffleBesideSlice(Rule):
    """Up to TensorRT 8.5 a reshape must not touch a Slice or a Concat; on Orin other reshapes that change C fail too.

    Why: 8.5.2 says `This version of DLA does not support reshape layers directly connected to Slice or Concat`.
    Use instead: TensorRT 10.3, or split the convolution before it instead of its output.
    """

    id = "DLA243"
    remedy = Remedy.EXACT
    otherwise = Remedy.ELSEWHERE
    kinds = ("SHUFFLE",)
    limit = "shuffle.beside_slice"
    further = ("shuffle.same_channels",)
    judges_candidates = True
    good = Example("t = Transpose<perm=[0,1,3,2]>(x)\ny, z = Split<axis=1, num_outputs=2>(t)", tensorrt="10.3.0")
    bad = Example("r = Reshape(x, n)\ny, z = Split<axis=1>(r)", constants=(("n", "int64[4]", "1,32,64,32"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        shuffle = layer.attributes
        if limit is None or not isinstance(shuffle, Shuffle) or not shuffle.reshape or not layer.inputs:
            return None
        if {rank(layer.inputs[0]), rank(layer.outputs[0])} != {4}:
            return None
        beside = [near for near in case.neighbours(layer) if near.kind in {"SLICE", "CONCATENATION"}]
        if beside:
            return self.breaks(layer, limit, f"connected to {beside[0].name}", expected="no Slice or Concat beside it")
        before, after = layer.inputs[0].shape, layer.outputs[0].shape
        kept = case.limit("shuffle.same_channels")
        if kept is None or (before and after and before[1] == after[1]):
            return None
        received = f"{dims(layer.inputs[0])} to {dims(layer.outputs[0])} on Orin"
        return self.breaks(layer, kept, received, expected="the same C")
