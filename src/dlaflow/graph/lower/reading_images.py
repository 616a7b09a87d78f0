"""What the importers of image operators refuse: convolutions, pools, Resize and Pad that do not fit."""

from __future__ import annotations

from collections.abc import Iterator

from dlaflow.graph.layer import Dims
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    Checks,
    Objection,
    before,
    dims,
    has,
    is_computed,
    is_weights,
    misfit,
    opset,
    seen,
)
from dlaflow.graph.lower.sizes import parser_knows


def _spatial(shape: Dims) -> list[int | None]:
    """The spatial dimensions as the parser counts them: one becomes two."""
    return [*shape[2:], 1] if len(shape) == 3 else list(shape[2:])


def check_convolution(context: Context) -> Iterator[Objection]:
    """Conv: the ranks, the kernel and the channels must fit."""
    x, w = dims(context, 0), dims(context, 1)
    computed = is_computed(context, 1) or (is_computed(context, 2) and not before(context, "8.5"))
    if computed and "kernel_shape" not in context.attributes and before(context, "10.4"):
        what = "weights" if is_computed(context, 1) else "a bias"
        reason = f"{what} from another node and no attribute kernel_shape"
        yield Objection(reason, "10.4", "Fold the weights, or set kernel_shape.")
    if x is None or w is None or len(x) < 3 or len(w) < 3:
        return
    yield from _ranks(context, x, w)
    group = context.attributes.integer("group", 1)
    if parser_knows(x[1]) and parser_knows(w[1]) and int(w[1] or 0) * group != x[1]:
        yield misfit(context, f"{x[1]} channels do not fit weights for {int(w[1] or 0) * group}")
    yield from _kernel_and_bias(context, w, w[0])


def check_transposed_convolution(context: Context) -> Iterator[Objection]:
    """ConvTranspose: up to three spatial dimensions, a kernel and a bias that fit."""
    x, w = dims(context, 0), dims(context, 1)
    if x is not None and not 3 <= len(x) <= 5:
        yield Objection(f"{len(x)} dimensions are not taken, only 3 to 5")
    if x is None or w is None or len(w) < 3:
        return
    yield from _ranks(context, x, w)
    yield from _kernel_and_bias(
        context, w, None if w[1] is None else int(w[1]) * context.attributes.integer("group", 1)
    )


def _ranks(context: Context, x: Dims, w: Dims) -> Iterator[Objection]:
    if len(_spatial(x)) != len(_spatial(w)):
        yield misfit(context, f"{len(x)} dimensions do not fit a kernel of {len(w)}")


def _kernel_and_bias(context: Context, w: Dims, outputs: int | None) -> Iterator[Objection]:
    kernel, real = context.attributes.integers("kernel_shape"), _spatial(w)
    if kernel is not None:
        stated = [*kernel, *([1] * (len(real) - len(kernel)))][: len(real)]
        if any(size not in (None, own) for size, own in zip(real, stated, strict=True)):
            yield Objection("kernel_shape is not that of the weights", then="Leave the attribute away.")
    bias = dims(context, 2)
    if bias is None or not is_weights(context, 2):
        return
    length = bias[0] if len(bias) == 1 else 1
    if len(bias) > 1 or (length is not None and outputs is not None and length != outputs):
        yield Objection("its bias is not one number for each output", then="Store the bias as (outputs,).")


def check_negative_pads(context: Context) -> Iterator[Objection]:
    """Convolutions that crop: only the newest parser was asked."""
    if not seen(context) and min(context.attributes.integers("pads") or (0,)) < 0:
        yield Objection("negative pads are not taken", then="Crop with a Slice instead.")


def check_window(context: Context) -> Iterator[Objection]:
    """Pools: two or three spatial dimensions, one where the tensor has three in all."""
    kernel, x = context.attributes.integers("kernel_shape"), dims(context, 0)
    if kernel is None or x is None or len(kernel) in (2, 3) or (len(kernel) == 1 and len(x) == 3):
        return
    yield Objection(f"a window of {len(kernel)} dimensions on a tensor of {len(x)} is not taken")


def check_uneven_average(context: Context) -> Iterator[Objection]:
    """Up to 8.4 averages take one row or column more of padding behind, and nothing else that is uneven."""
    pads, kernel = context.attributes.integers("pads"), context.attributes.integers("kernel_shape") or ()
    if not before(context, "8.5") or not pads or context.attributes.text("auto_pad").startswith("SAME"):
        return
    half = len(pads) // 2
    uneven = [pads[half + axis] - pads[axis] for axis in range(min(half, len(kernel), 2))]
    if any(step not in (0, 1) for step in uneven):
        yield Objection("an average with these uneven pads is not taken", "8.5", "Put a Pad before it.")


def check_doubled_padding(context: Context) -> Iterator[Objection]:
    """`pads` beside auto_pad SAME: refused from 10.0 on."""
    same = context.attributes.text("auto_pad") in ("SAME_UPPER", "SAME_LOWER")
    if same and "pads" in context.attributes and not before(context, "10.0"):
        yield Objection("pads beside auto_pad is not taken", then="Leave one of the two away.")


_MAPPINGS = ("align_corners", "tf_half_pixel_for_nn", "pytorch_half_pixel", "half_pixel", "asymmetric")


def check_resize(context: Context) -> Iterator[Objection]:
    """Resize: modes, mappings of coordinates, and scales that fit the rank."""
    mode = context.attributes.text("mode", "nearest")
    if before(context, "8.5") and mode == "cubic" and opset(context) >= 11:
        yield Objection("mode cubic is not taken", "8.5", "Use linear, or export with another interpolation.")
    if mode not in ("nearest", "linear", "cubic"):
        yield Objection(f"mode {mode} is not taken")
    if opset(context) >= 11:
        yield from _mapping(context)
        yield from _newer_attributes(context)
    if dims(context, 0) == ():
        yield Objection("a scalar is not taken")
    elif opset(context) >= 11 and has(context, 3):
        yield from _sizes(context)
    else:
        yield from _scales(context, 2 if opset(context) >= 11 else 1)


def _mapping(context: Context) -> Iterator[Objection]:
    mapping = context.attributes.text("coordinate_transformation_mode", "half_pixel")
    if mapping not in _MAPPINGS:
        then = "Export with align_corners=False (half_pixel), or crop with a Slice first."
        yield Objection(f"coordinate_transformation_mode {mapping} is not taken", then=then)
    if mapping != "tf_half_pixel_for_nn":
        return
    if context.attributes.text("nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        yield Objection("tf_half_pixel_for_nn with another nearest_mode than round_prefer_floor is not taken")
    if has(context, 3) and not before(context, "8.5"):
        yield Objection("tf_half_pixel_for_nn with sizes is not taken", then="Give scales instead of sizes.")


def _newer_attributes(context: Context) -> Iterator[Objection]:
    """Attributes of opset 18, which 10.0 began to look at; before, they are passed over."""
    if before(context, "10.0"):
        return
    if context.attributes.integer("antialias"):
        yield Objection("antialias is not taken", then="Export with antialias=False, or resize outside the engine.")
    policy = context.attributes.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        yield Objection(f"keep_aspect_ratio_policy {policy} is not taken")


def _chosen_axes(context: Context) -> int:
    """How many axes the attribute chooses; 0 when that is all of them in order, or when the release passes it over."""
    axes, own = context.attributes.integers("axes"), dims(context, 0)
    if before(context, "10.0") or not axes or own is None:
        return 0
    whole = [axis % len(own) for axis in axes] == list(range(len(own)))
    return 0 if whole else len(axes)


def _sizes(context: Context) -> Iterator[Objection]:
    own, given, chosen = dims(context, 0), dims(context, 3), _chosen_axes(context)
    if before(context, "10.0") or own is None or given is None or len(given) != 1 or given[0] is None:
        return
    wanted = chosen or len(own)
    if (is_weights(context, 3) or chosen) and given[0] != wanted:
        yield Objection(f"{given[0]} sizes for {wanted} dimensions are not taken")


def _scales(context: Context, index: int) -> Iterator[Objection]:
    """One scale for each dimension; linear ones reach the last three dimensions, cubic ones the last two."""
    own, given, chosen = dims(context, 0), dims(context, index), _chosen_axes(context)
    if own is None or given is None or not is_weights(context, index) or None in given:
        return
    wanted = chosen or len(own)
    if len(given) != 1 or given[0] != wanted:
        since = "10.0" if "axes" in context.attributes and before(context, "10.0") else ""
        received = given[0] if len(given) == 1 else 0
        yield Objection(f"{received} scales for {wanted} dimensions", since, "Give one scale for each dimension.")
    reach = {"linear": 3, "bilinear": 3, "cubic": 2}.get(context.attributes.text("mode", "nearest"))
    scales = context.value(index)
    if chosen or reach is None or scales is None or bool((scales.reshape(-1)[:-reach] == 1.0).all()):
        return
    yield Objection(f"scales beyond the last {reach} dimensions are not taken", then="Resize those in another step.")


def check_upsample(context: Context) -> Iterator[Objection]:
    """Upsample: one scale for each dimension."""
    own, scales = dims(context, 0), context.attributes.numbers("scales")
    if own == ():
        yield Objection("a scalar is not taken")
    elif opset(context) >= 9:
        yield from _scales(context, 1)
    elif own is not None and scales is not None and len(scales) != len(own):
        yield Objection(f"{len(scales)} scales for {len(own)} dimensions")


def check_pad(context: Context) -> Iterator[Objection]:
    """Pad: its mode, its axes, and amounts that only add."""
    if opset(context) >= 11 and has(context, 3) and not before(context, "8.5") and before(context, "10.0"):
        yield Objection("the input axes is not taken", "10.0", "Export with opset 17.")
    amounts = _amounts(context)
    if amounts is not None and not any(amounts):
        return
    if amounts is not None and min(amounts) < 0 and seen(context):
        yield Objection("negative amounts are not taken", "11.4", "Crop with a Slice instead.")
    if before(context, "8.2"):
        yield from _old_pad(context, amounts or ())
    mode = context.attributes.text("mode", "constant")
    if mode == "wrap" and before(context, "10.0"):
        yield Objection(f"mode {mode} is not taken", "10.0", "Join slices with Concat instead.")
    elif mode not in ("constant", "reflect", "edge", "wrap"):
        yield Objection(f"mode {mode} is not taken")


def _amounts(context: Context) -> tuple[int, ...] | None:
    """The padding that the parser knows while it parses."""
    if opset(context) < 11:
        return context.attributes.integers("pads")
    return context.integers(1) if is_weights(context, 1) else None


def _old_pad(context: Context, amounts: tuple[int, ...]) -> Iterator[Objection]:
    """Up to 8.0: zeros on two dimensions."""
    value = context.value(2) if opset(context) >= 11 else None
    filled = context.attributes.number("value", 0.0) != 0.0 or (value is not None and bool(value.any()))
    if context.attributes.text("mode", "constant") != "constant" or filled:
        yield Objection("only zeros are padded", "8.2", "Let the convolution pad.")
    half = len(amounts) // 2
    if sum(1 for axis in range(half) if amounts[axis] or amounts[half + axis]) > 2:
        yield Objection("only two dimensions are padded", "8.2", "Use two Pad nodes.")


def check_image(context: Context) -> Iterator[Objection]:
    """DepthToSpace and SpaceToDepth: four dimensions."""
    shape = dims(context, 0)
    if shape is not None and len(shape) != 4:
        yield Objection(f"{len(shape)} dimensions are not taken, only 4")


def check_grid(context: Context) -> Iterator[Objection]:
    """GridSample: image and grid of one rank."""
    image, grid = dims(context, 0), dims(context, 1)
    if image is not None and grid is not None and len(image) != len(grid):
        yield Objection(f"an image of {len(image)} dimensions with a grid of {len(grid)} is not taken")


def check_regions(context: Context) -> Iterator[Objection]:
    """RoiAlign: regions as (number, 4)."""
    regions = dims(context, 1)
    if regions is not None and (len(regions) != 2 or regions[1] not in (4, None)):
        yield Objection("its regions are not of the shape (number, 4)")


CHECKS: Checks = (
    ("AveragePool LpPool MaxPool", check_window),
    ("AveragePool LpPool", check_uneven_average),
    ("Conv", check_convolution),
    ("ConvTranspose", check_transposed_convolution),
    ("AveragePool Conv ConvTranspose LpPool MaxPool", check_doubled_padding),
    ("Conv", check_negative_pads),
    ("DepthToSpace SpaceToDepth", check_image),
    ("GridSample", check_grid),
    ("Pad", check_pad),
    ("Resize", check_resize),
    ("RoiAlign", check_regions),
    ("Upsample", check_upsample),
)
