"""Group, instance and layer normalization by what the DLA has: AveragePool, convolutions, Mul and Add.

    -mu     = Conv(AveragePool(x), -1 / k)            over the k channels of the group
    v       = Conv(AveragePool((x - mu)^2), 1 / k) + epsilon
    r(0)    a constant from calibration images
    r(n+1)  = r(n) (3/2 - v r(n)^2 / 2)               Newton's steps towards 1 / sqrt(v)
    y       = gamma (x - mu) r + beta

The statistics stay those of each image. Newton converges where v r(0)^2 < 3, so the constant comes from the variances
that calibration images have, with a margin, and v is cut off there. As many steps are made as the accuracy asks for.
The means and r are tensors of a few numbers whose range is wide: they want FP16 in an INT8 network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.building_blocks import Floats, affine, convolved, depthwise, squared
from dlaflow.rewrites.draft import Draft, Edit, Shape
from dlaflow.rewrites.frozen_statistics import Block, activations
from dlaflow.rewrites.prove import Samples
from dlaflow.rewrites.reductions import mean_over

ID = "normalization-arithmetic"
TITLE = "Normalization becomes pools, convolutions and Newton steps (keep these layers in FP16)"
_MARGIN = 2.0
"""How far beyond the largest variance of the calibration images the steps must still converge."""
_REACH = 2.5
"""v r(0)^2 at that variance; from 3 on the steps diverge."""
_ACCURACY = 1e-3
_MOST_STEPS = 16


@dataclass(frozen=True, eq=False)
class _Newton:
    """The start and the largest variance for each channel, and how many steps follow."""

    start: Floats
    limit: Floats
    steps: int


def by_arithmetic(draft: Draft, block: Block, samples: Samples, bounds: Bounds) -> Draft | str:
    """The draft with one normalization in that form, or the reason why not."""
    newton = _plan(_variances(draft, block, samples))
    if isinstance(newton, str):
        return newton
    edit = Edit(draft, list(block.nodes))
    image = draft.image(block.x)
    if image is None:
        return "its input is not (N, C, H, W)"
    if block.groups:
        negative = _group_mean(edit, block.x, block.groups, -1.0, None, bounds)
        if negative is None:
            return f"no windows make up {image[2]}x{image[3]}"
        centred = edit.add("Add", [block.x, negative], image)
        spread = _group_mean(edit, squared(edit, centred), block.groups, 1.0, block.epsilon, bounds)
        if spread is None:
            return f"no windows make up {image[2]}x{image[3]}"
    else:
        channels = image[1]
        away = np.eye(channels) - 1 / channels
        centred = _dense(edit, block.x, away, None, image)
        spread = _dense(edit, squared(edit, centred), np.full((channels, channels), 1 / channels), block.epsilon, image)
    inverse = _inverse_root(edit, spread, newton)
    normal = edit.add("Mul", [centred, inverse], image)
    affine(edit, normal, block.scale, block.bias, output=block.y)
    return draft.apply([edit])


def _group_mean(edit: Edit, x: str, groups: int, sign: float, offset: float | None, bounds: Bounds) -> str | None:
    """Append the mean over H, W and the channels of each group, for every channel: (N, C, 1, 1)."""
    n, c, h, w = edit.image(x)
    pooled = mean_over(edit, x, (h, w), bounds)
    if pooled is None:
        return None
    kernel = np.full((c, c // groups, 1, 1), sign * groups / c)
    bias = None if offset is None else ("epsilon", np.full(c, offset))
    return convolved(edit, pooled, kernel, (n, c, 1, 1), label="mean", bias=bias, group=groups)


def _dense(edit: Edit, x: str, matrix: Floats, offset: float | None, shape: Shape) -> str:
    bias = None if offset is None else ("epsilon", np.full(len(matrix), offset))
    return convolved(edit, x, matrix[:, :, None, None], shape, label="matrix", bias=bias)


def _inverse_root(edit: Edit, v: str, newton: _Newton) -> str:
    shape = edit.shape(v) or ()
    # Beyond the margin the steps would run away; a variance cut off there only loses a little of its effect.
    limit = edit.weight("limit", np.repeat(newton.limit.reshape(1, -1, 1, 1), shape[0], 0), v)
    v = edit.add("Min", [v, limit], shape)
    # The first step is linear in v, since r(0) is constant.
    root = depthwise(edit, v, -0.5 * newton.start**3, 1.5 * newton.start)
    for _ in range(newton.steps - 1):
        product = edit.add("Mul", [squared(edit, root), v], shape)
        root = edit.add("Mul", [root, depthwise(edit, product, -0.5, 1.5)], shape)
    return root


def _variances(draft: Draft, block: Block, samples: Samples) -> Floats:
    """v of every image (and pixel) for each channel: (count, channels)."""
    found = []
    for x in activations(draft, block.x, samples):
        n, c, _, _ = x.shape
        if block.groups:
            variance = x.reshape(n, block.groups, -1).var(2) + block.epsilon
            found.append(np.repeat(variance, c // block.groups, 1))
        else:
            pixels = (x.var(1) + block.epsilon).reshape(-1)
            extremes = np.quantile(pixels, [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0])
            found.append(np.repeat(extremes[:, None], c, 1))
    return np.concatenate(found)


def _plan(variances: Floats) -> _Newton | str:
    start = np.sqrt(_REACH / (_MARGIN * variances.max(0)))
    root = start * (1.5 - 0.5 * variances * start**2)
    for steps in range(1, _MOST_STEPS + 1):
        error = float(np.abs(root * np.sqrt(variances) - 1).max())
        if error <= _ACCURACY:
            return _Newton(start, _MARGIN * variances.max(0), steps)
        root = root * (1.5 - 0.5 * variances * root**2)
    spread = float((variances.max(0) / variances.min(0)).max())
    return f"the variances of the images differ {spread:.0f}-fold: {_MOST_STEPS} Newton steps leave {error:.1%}"
