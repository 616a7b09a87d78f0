"""Pooling windows."""

from __future__ import annotations

from typing import ClassVar

from dlaflow.graph.layer import Layer, Pooling
from dlaflow.rules.base import AttributeRule, Bound, Example
from dlaflow.rules.case import Case, by
from dlaflow.types import Confidence, Finding, Remedy


class _PoolingRule(AttributeRule[Pooling]):
    kinds: ClassVar[tuple[str, ...]] = ("POOLING",)
    attributes = Pooling
    good = Example("y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)")


class _PoolingBound(_PoolingRule, Bound[Pooling]):
    """A bound on poolings."""


class PoolWindow(_PoolingBound):
    """Pooling windows must lie in {pool.window} on each side.

    Why: the pooling engine's line buffers.
    Use instead: chained smaller windows: three 5x5 maximum pools of stride 1 equal a 13x13, two equal a 9x9.
    """

    id = "DLA151"
    remedy = Remedy.EXACT
    limit = "pool.window"
    noun = "window"
    bad = Example("y = MaxPool<kernel_shape=[9,9], pads=[4,4,4,4]>(x)")
    fields = ("window",)


class PoolPadding(_PoolingBound):
    """Pooling padding must lie in {pool.padding} on each side.

    Why: the padding field of the pooling engine.
    Use instead: a smaller window.
    """

    id = "DLA152"
    remedy = Remedy.EXACT
    limit = "pool.padding"
    noun = "padding"
    bad = Example("y = MaxPool<kernel_shape=[17,17], pads=[8,8,8,8]>(x)")
    fields = ("pads_begin", "pads_end")


class PoolPaddingBelowWindow(_PoolingRule):
    """Pooling padding must be smaller than the window in the same direction.

    Why: otherwise a window would see padding alone.
    Use instead: less padding.
    """

    id = "DLA153"
    remedy = Remedy.TOLERANCE
    bad = Example("y = AveragePool<kernel_shape=[2,2], pads=[2,2,2,2], count_include_pad=1>(x)")

    def look(self, layer: Layer, pool: Pooling, case: Case) -> Finding | None:
        for window, begin, end in zip(pool.window, pool.pads_begin, pool.pads_end, strict=False):
            if max(begin, end) >= window:
                return self.refuses(
                    layer,
                    f"padding {max(begin, end)} with window {window}",
                    expected=f"at most {window - 1}",
                    source="derived from the rule for convolutions",
                    confidence=Confidence.INFERRED,
                )
        return None


class PoolStride(_PoolingBound):
    """Pooling strides must lie in {pool.stride}.

    Why: the stride field of the pooling engine.
    Use instead: two poolings with smaller strides.
    """

    id = "DLA154"
    remedy = Remedy.EXACT
    limit = "pool.stride"
    noun = "stride"
    bad = Example("y = MaxPool<kernel_shape=[2,2], strides=[17,17]>(x)")
    fields = ("stride",)


class PoolInclusive(_PoolingRule):
    """Average pooling with padding must count the padding (count_include_pad = 1) on Xavier and before TensorRT 8.4.

    Why: the pooling engine of that generation divides by the whole window.
    Use instead: count_include_pad=1, or no padding.
    """

    id = "DLA155"
    remedy = Remedy.TOLERANCE
    limit = "pool.inclusive_only"
    good = Example("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", board="xavier-nx")
    bad = Example("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", board="xavier-nx")

    def look(self, layer: Layer, pool: Pooling, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        padded = any(pool.pads_begin + pool.pads_end)
        if limit is None or pool.mode != "AVERAGE" or not padded or pool.count_include_pad:
            return None
        return self.breaks(layer, limit, "exclusive average padding", expected="inclusive padding or none")


class PoolDilation(_PoolingRule):
    """Pooling must not be dilated.

    Why: TensorRT has no dilated pooling layer.
    Use instead: an undilated window.
    """

    id = "DLA156"
    remedy = Remedy.RETRAIN
    expected = "1"
    source = "TensorRT's pooling layer has no dilation"
    confidence = Confidence.INFERRED
    bad = Example("y = MaxPool<kernel_shape=[3,3], dilations=[2,2]>(x)")

    def look(self, layer: Layer, pool: Pooling, case: Case) -> Finding | None:
        if all(number == 1 for number in pool.dilation):
            return None
        return self.refuses(layer, f"dilation {by(pool.dilation)}")


class PoolTwoDimensional(_PoolingRule):
    """Only two-dimensional pooling runs on the DLA.

    Why: the engine walks over H and W.
    Use instead: a 1-D window as a 2-D one with height 1.
    """

    id = "DLA157"
    remedy = Remedy.EXACT
    bad = Example("y = MaxPool<kernel_shape=[2,2,2]>(x)", x="1,8,8,8,8")

    def look(self, layer: Layer, pool: Pooling, case: Case) -> Finding | None:
        return self.two_dimensional(layer, len(pool.window), "NvInfer.h IPoolingLayer::setWindowSizeNd")
