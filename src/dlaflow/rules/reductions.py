"""Reductions, SoftMax and single-operand functions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from dlaflow.graph.layer import Layer, Reduce, SoftMax, Unary
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, dims, rank
from dlaflow.rules.elementwise import deciding
from dlaflow.types import Confidence, Finding, Remedy


class ReduceOperation(Rule):
    """A reduction must be a maximum, from TensorRT 8.6.12 on and on Orin; averages and sums never run on the DLA.

    Why: GlobalAveragePool becomes a Reduce, not a Pooling: logs say `DLA cores do not support AVG Reduce operation`.
    Use instead: AveragePool with the window of the feature map (up to 8x8, cascaded above); a sum as a convolution.
    """

    id = "DLA250"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("REDUCE",)
    limit = "reduce.operations"
    good = Example("y = ReduceMax<axes=[2,3], keepdims=1>(x)", tensorrt="10.3.0")
    bad = Example("y = GlobalAveragePool(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        reduce = layer.attributes
        if not isinstance(reduce, Reduce):
            return None
        if limit is None:
            return self.refuses(
                layer,
                f"{reduce.operation} over axes {', '.join(map(str, reduce.axes))}",
                expected="no reduction before TensorRT 8.6.12",
                source="Deep-Learning-Accelerator-SW operators/README.md; build logs of TensorRT 8.4 and 8.5.2",
                confidence=Confidence.MEASURED if reduce.operation == "AVG" else Confidence.DOCUMENTED,
            )
        if reduce.operation in limit.names:
            return None
        return self.breaks(layer, limit, f"{reduce.operation} reduction")


class ReduceAxes(Rule):
    """A maximum must reduce C, H or W of four dimensions and keep them.

    Why: the guide as remembered.
    Use instead: keepdims=1 and a reshape behind the DLA.
    """

    id = "DLA251"
    remedy = Remedy.EXACT
    kinds = ("REDUCE",)
    expected = "C, H, W of four dimensions, kept"
    source = "TensorRT developer guide as remembered"
    confidence = Confidence.INFERRED
    good = ReduceOperation.good
    bad = Example("y = ReduceMax<axes=[2,3], keepdims=0>(x)", tensorrt="10.3.0")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        reduce = layer.attributes
        if not isinstance(reduce, Reduce) or reduce.operation != "MAX":
            return None
        found = rank(layer.inputs[0])
        if reduce.keep_dims and 0 not in reduce.axes and found in {4, None}:
            return None
        received = f"axes {', '.join(map(str, reduce.axes))} of {dims(layer.inputs[0])}"
        return self.refuses(layer, received + ("" if reduce.keep_dims else ", dimensions dropped"))


class SoftmaxAvailable(Rule):
    """SoftMax runs on Orin's DLA alone, from TensorRT 8.4 on.

    Why: Xavier's DLA has no exponential.
    Use instead: leave SoftMax to the GPU or CPU behind the network; for the largest class it is not needed.
    """

    id = "DLA260"
    remedy = Remedy.NONE
    kinds = ("SOFTMAX",)
    limit = "softmax.available"
    good = Example("y = Softmax<axis=1>(x)", x="1,64,1,1", tensorrt="10.3.0")
    bad = Example("y = Softmax<axis=1>(x)", x="1,64,1,1", board="xavier-nx")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if case.limit(self.limit) is not None:
            return None
        source = "NvInfer.h ISoftMaxLayer; build log of TensorRT 8.5.2 on Xavier"
        received = f"{case.target.board.soc} with TensorRT {case.target.version}"
        found = self.refuses(layer, received, expected="Orin with TensorRT 8.4 or later", source=source)
        return replace(found, remedy=Remedy.ELSEWHERE) if case.target.dla == "v2" else found


class SoftmaxAxis(Rule):
    """SoftMax must run along C, H or W of four dimensions.

    Why: the batch is never normalised over; lower ranks are lifted by shuffles that the DLA refuses.
    Use instead: keep (N, C, 1, 1) up to the end.
    """

    id = "DLA261"
    remedy = Remedy.EXACT
    kinds = ("SOFTMAX",)
    good = SoftmaxAvailable.good
    bad = Example("y = Softmax<axis=0>(x)", x="4,8,4,4", tensorrt="10.3.0")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, SoftMax) or case.limit("softmax.available") is None:
            return None
        found = rank(layer.inputs[0])
        if found == 4 and layer.attributes.axis == 0:
            return self.refuses(layer, "axis N", expected="C, H or W", source="NvInfer.h ISoftMaxLayer")
        if found in {4, None}:
            return None
        return self.refuses(
            layer,
            dims(layer.inputs[0]),
            expected="four dimensions",
            source="reports of last-axis SoftMax of rank 3 on the GPU",
            confidence=Confidence.INFERRED,
        )


class SoftmaxSize(Rule):
    """SoftMax takes {softmax.axis_alone} values along its axis when all other dimensions are 1, else {softmax.axis}.

    Why: with other dimensions the DLA switches to an approximate mode with a smaller table.
    Use instead: leave a longer SoftMax to the GPU.
    """

    id = "DLA262"
    remedy = Remedy.NONE
    kinds = ("SOFTMAX",)
    good = SoftmaxAvailable.good
    bad = Example("y = Softmax<axis=1>(x)", x="1,2048,4,4", tensorrt="10.3.0")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        shape = layer.inputs[0].shape
        if not isinstance(layer.attributes, SoftMax) or not shape or len(shape) != 4 or None in shape:
            return None
        known = tuple(dim for dim in shape if dim is not None)
        axis = known[layer.attributes.axis]
        others = prod(known[1:]) // axis if layer.attributes.axis else 1
        limit = case.limit("softmax.axis_alone" if others == 1 else "softmax.axis")
        if case.limit("softmax.available") is None:
            return None
        if limit is None:
            source = "guide of TensorRT 8.4.0"
            return self.refuses(layer, dims(layer.inputs[0]), expected="batch and other dimensions 1", source=source)
        if not limit.allows(axis):
            return self.breaks(layer, limit, f"{axis} values along the axis")
        if others == 1 and case.precision(layer) == "fp16":
            return None
        if others == 1:
            return self.notes(
                layer,
                "SoftMax in an INT8 network",
                expected="it runs in FP16, which the build must allow beside INT8 (--int8 --fp16)",
                source="engine inspector of a TensorRT 10.3.0 build: 298 layers in INT8, the SoftMax in FP16",
                confidence=Confidence.MEASURED,
            )
        return self.notes(
            layer,
            dims(layer.inputs[0]),
            expected="an approximate mode with a small error",
            source="build log of TensorRT 10.3.0: DLA Softmax optimization is enabled",
            confidence=Confidence.MEASURED,
        )


class UnaryOperation(Rule):
    """A single-operand function must be one of {unary.operations}.

    Why: TensorRT offers no more, although the DLA's own compiler knows Ceil, Floor and others. Of Sin, Cos and the arc
    tangents NVIDIA's documents say both yes (in INT8) and no from 8.6.12 on; builds of 10.3 refuse Sin and Cos in FP16.
    Use instead: Neg as multiplication by -1; Sqrt, Exp and Log have no form on the DLA.
    """

    id = "DLA270"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("UNARY",)
    limit = "unary.operations"
    further = ("unary.contradicted", "fp16.refused")
    good = Example("y = Abs(x)")
    bad = Example("y = Ceil(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        unary = layer.attributes
        if not isinstance(unary, Unary):
            return None
        if limit is None:
            source = "NvInfer.h before 8.4 does not mention unary layers"
            return self.refuses(layer, unary.operation, expected="TensorRT 8.4 or later", source=source)
        if unary.operation in limit.names:
            return None
        bound, allowed = deciding(unary.operation, limit, case.limit("unary.contradicted"), case)
        return self.breaks(layer, bound, unary.operation, expected=allowed)
