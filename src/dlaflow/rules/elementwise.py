"""Element-wise operations: which ones, on which shapes."""

from __future__ import annotations

from dlaflow.graph.layer import ElementWise, Layer, Tensor
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, dims
from dlaflow.targets.features import has
from dlaflow.targets.limits import Limit
from dlaflow.types import Confidence, Device, Finding, Remedy

COMPARISONS = frozenset({"EQUAL", "GREATER", "LESS", "GREATER_EQUAL", "LESS_EQUAL"})
_SECOND = (("x2", "float[1,64,32,32]"),)


def _operation(layer: Layer) -> str | None:
    return layer.attributes.operation if isinstance(layer.attributes, ElementWise) else None


def refused_by_a_log(operation: str, case: Case) -> Limit | None:
    """The bound that a build log sets where the documents contradict each other: names that it refuses in FP16."""
    limit = case.limit("fp16.refused")
    return limit if limit and operation in limit.names and case.target.precision == "fp16" else None


def deciding(operation: str, limit: Limit, contradicted: Limit | None, case: Case) -> tuple[Limit, str]:
    """The bound that decides on an operation which `limit` leaves out, and in words what is allowed.

    `contradicted` names operations that only some of NVIDIA's documents list.
    """
    if told := refused_by_a_log(operation, case):
        return told, limit.text
    if contradicted and operation in contradicted.names:
        return contradicted, f"{limit.text} by NvInfer.h, {operation} too by other documents of NVIDIA's"
    return limit, limit.text


class ElementWiseOperation(Rule):
    """An element-wise operation must be one of {elementwise.operations}.

    Why: the point-wise engine adds, multiplies and compares; TensorRT offers no more of it. Of Div and Pow NVIDIA's
    documents say both yes and no from 8.6.12 on; logs of 10.3 refuse them in FP16.
    Use instead: division by a constant as multiplication by its reciprocal, Pow 2 as Mul, Neg as Mul by -1.
    """

    id = "DLA180"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("ELEMENTWISE",)
    limit = "elementwise.operations"
    further = ("elementwise.division", "fp16.refused")
    good = Example("y = Add(x, x2)", more_inputs=_SECOND)
    bad = Example("y = Div(x, x2)", more_inputs=_SECOND)

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        operation = _operation(layer)
        if limit is None or operation is None or operation in COMPARISONS or operation in limit.names:
            return None
        bound, allowed = deciding(operation, limit, case.limit("elementwise.division"), case)
        return self.breaks(layer, bound, operation, expected=allowed)


class Broadcast(Rule):
    """The second operand must have the same shape or broadcast as {elementwise.broadcast}.

    Why: the point-wise engine reads an operand per element, per channel, or one number per image.
    Use instead: repeat the operand beforehand, fold it into a convolution, or use a 1x1 convolution.
    """

    id = "DLA181"
    remedy = Remedy.EXACT
    kinds = ("ELEMENTWISE",)
    limit = "elementwise.broadcast"
    good = Example("y = Mul(x, s)", more_inputs=(("s", "float[1,64,1,1]"),))
    bad = Example("y = Mul(x, s)", more_inputs=(("s", "float[1,1,32,32]"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None or len(layer.inputs) != 2:
            return None
        form = broadcast_form(layer.inputs[0], layer.inputs[1], layer.outputs[0])
        if form in {None, "NCHW"}:
            return None
        received = f"{dims(layer.inputs[0])} with {dims(layer.inputs[1])}"
        if form in limit.names:
            measured = form == "1111"
            return self.notes(
                layer,
                received,
                expected=f"broadcasts as {form}",
                source=limit.source,
                confidence=Confidence.MEASURED if measured else Confidence.INFERRED,
            )
        return self.breaks(layer, limit, received, expected=f"equal shapes or {limit.text}")


def broadcast_form(first: Tensor, second: Tensor, output: Tensor) -> str | None:
    """How the smaller operand of a 4-D operation spreads: NCHW (not at all), NC11, N111, or another pattern like NC1W.

    None when a shape is unknown, or when the output or an operand does not fit four dimensions. A constant's batch of 1
    counts as N.
    """
    if output.shape is None or len(output.shape) != 4 or first.shape is None or second.shape is None:
        return None
    if max(len(first.shape), len(second.shape)) > 4:
        return None
    for operand in (second, first):
        shape = (1,) * (4 - len(operand.shape or ())) + tuple(operand.shape or ())
        if shape == output.shape:
            continue
        letters = [
            "1" if have == 1 and want != 1 else name
            for name, have, want in zip("NCHW", shape, output.shape, strict=True)
        ]
        # A dimension of 1 on both sides fits either reading; read it the way that is allowed.
        if letters[2:] == ["1", "1"] or all(have == 1 for have in shape[2:]):
            letters[2:] = ["1", "1"]
            if shape[1] == 1:
                letters[1] = "1"
        return "".join(letters)
    return "NCHW"


class SameTensorTwice(Rule):
    """An element-wise layer should not take the same tensor on both sides.

    Why: an author's standalone builds with TensorRT 10.3 did not compile with x * x and x + x.
    Use instead: x + x as x * 2, x * x through a 1x1 identity convolution on one side.
    """

    id = "DLA182"
    remedy = Remedy.EXACT
    kinds = ("ELEMENTWISE",)
    expected = "two different tensors"
    source = "an author's report on TensorRT 10.3 (Orin NX), without the log"
    confidence = Confidence.INFERRED
    good = Example("y = Add(x, x2)", more_inputs=_SECOND)
    bad = Example("y = Mul(x, x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if len(layer.inputs) != 2 or layer.inputs[0].name != layer.inputs[1].name:
            return None
        return self.refuses(layer, f"{layer.inputs[0].name} on both sides")


class ConstantOperand(Rule):
    """A constant operand of the full shape may not fold into a Scale.

    Why: what does not fold stays a Constant layer, which the DLA refuses; it would then enter the loadable as an input.
    Use instead: one value per channel, or fold the constant into the convolution before it.
    """

    id = "DLA183"
    remedy = Remedy.EXACT
    kinds = ("ELEMENTWISE",)
    unknown_runs_on = Device.DLA
    expected = "one value, or one per channel"
    source = "build logs list constants that were not folded among the refused layers"
    confidence = Confidence.INFERRED
    good = Example("y = Mul(x, s)", weights=(("s", "1,64,1,1"),))
    bad = Example("y = Add(x, s)", weights=(("s", "1,64,32,32"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, ElementWise) or layer.attributes.constant_input is None:
            return None
        constant = layer.inputs[layer.attributes.constant_input]
        if constant.shape is None or len(constant.shape) < 2 or constant.shape[-2:] == (1, 1):
            return None
        if all(dim == 1 for dim in constant.shape) or len(layer.outputs[0].shape or ()) != 4:
            return None
        return self.refuses(layer, f"a constant of {dims(constant)}")


class Comparison(Rule):
    """A comparison must be one of {comparison.operations}, in INT8, followed at once by one Cast.

    Why: TensorRT offers them to the DLA in that pattern alone, with device and precision set by hand on both layers.
    NvInfer.h lists none; builds of 10.3 refuse Greater and Less in FP16.
    Use instead: a steep clipped line in FP16, Max or Min for the larger or smaller of two, or leave the comparison
    behind the DLA.
    """

    id = "DLA184"
    remedy = Remedy.TOLERANCE
    otherwise = Remedy.NONE
    kinds = ("ELEMENTWISE",)
    limit = "comparison.operations"
    further = ("fp16.refused",)
    good = Example("y = Add(x, x2)", more_inputs=_SECOND)
    bad = Example("b = Greater(x, x2)\ny = Cast<to=1>(b)", more_inputs=_SECOND)

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        operation = _operation(layer)
        if operation not in COMPARISONS:
            return None
        limit = case.limit(self.limit)
        if limit is None or operation not in limit.names:
            source = limit.source if limit else "no comparison on the DLA before TensorRT 8.5"
            expected = limit.text if limit else "TensorRT 8.5 or later"
            return self.refuses(layer, operation, expected=expected, source=source)
        if told := refused_by_a_log(operation, case):
            return self.breaks(layer, told, operation, expected="INT8")
        return self.refuses(
            layer,
            operation,
            expected="INT8, one Cast behind it, device and precision set by hand",
            source=f"{limit.source}, against NvInfer.h to 11.1, which lists none",
            confidence=Confidence.INFERRED,
        )


class EqualRanges(Rule):
    """In INT8 the two inputs of an element-wise layer should have equal scales.

    Why: the point-wise engine reads both in one scale. With unequal ones TensorRT adds a change of scale, or computes
    in FP16; NvInfer.h tells to give both the larger range.
    Use instead: a cache that gives both the larger one: `dlaflow cache lint` names what is unequal.
    """

    id = "DLA185"
    remedy = Remedy.NONE
    kinds = ("ELEMENTWISE",)
    expected = "equal scales of both (`dlaflow cache lint`)"
    source = "NvInfer.h IElementWiseLayer, 8.0 to 11.1: the dynamic ranges of two input tensors shall be equal"
    good = Example("y = Add(x, x2)", more_inputs=_SECOND, precision="fp16")
    bad = Example("y = Add(x, x2)", more_inputs=_SECOND)

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit("elementwise.operations")
        if case.target.precision != "int8" or not has("implicit_int8", case.target.version) or limit is None:
            return None
        names = {tensor.name for tensor in layer.inputs if not tensor.constant}
        if _operation(layer) not in limit.names or len(names) < 2:
            return None
        return self.notes(layer, "two activations in INT8")
