"""What the importers of image operators refuse: convolutions, pools, Resize and Pad that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    Check,
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


def _spatial(shape: Sequence[int | None]) -> list[int | None]:
    """The spatial dimensions as the parser counts them: one becomes two."""
    return [*shape[2:], 1] if len(shape) == 3 else list(shape[2:])


def check_convolution(context: Context) -> Objection | None:
    """Conv: the ranks, the kernel and the channels must fit."""
    x, w = dims(context, 0), dims(context, 1)
    computed = is_computed(context, 1) or (is_computed(context, 2) and not before(context, "8.5"))
    kernel = context.attributes.integers("kernel_shape")
    if computed and kernel is None and before(context, "10.4"):
        what = "weights" if is_computed(context, 1) else "a bias"
        return Objection(
            f"{what} from another node and no attribute kernel_shape", "10.4", "Fold the weights, or set kernel_shape."
        )
    if x is None or w is None or len(x) < 3 or len(w) < 3:
        return None
    if len(_spatial(x)) != len(_spatial(w)):
        return misfit(context, f"{len(x)} dimensions do not fit a kernel of {len(w)}")
    group = context.attributes.integer("group", 1)
    if parser_knows(x[1]) and parser_knows(w[1]) and int(w[1] or 0) * group != x[1]:
        return misfit(context, f"{x[1]} channels do not fit weights for {int(w[1] or 0) * group}")
    return _kernel(kernel, w) or _bias(context, w[0])


def _kernel(kernel: tuple[int, ...] | None, w: Sequence[int | None]) -> Objection | None:
    if kernel is None:
        return None
    real = _spatial(w)
    told = [*kernel, *([1] * (len(real) - len(kernel)))][: len(real)]
    if all(size is None or size == own for size, own in zip(real, told, strict=True)):
        return None
    return Objection("kernel_shape is not that of the weights", then="Leave the attribute away.")


def _bias(context: Context, outputs: int | None) -> Objection | None:
    bias = dims(context, 2)
    if bias is None or not is_weights(context, 2):
        return None
    length = bias[0] if len(bias) == 1 else 1
    if len(bias) > 1 or (length is not None and outputs is not None and length != outputs):
        return Objection("its bias is not one number for each output", then="Store the bias as (outputs,).")
    return None


def check_transposed_convolution(context: Context) -> Objection | None:
    """ConvTranspose: up to three spatial dimensions, a kernel and a bias that fit."""
    x, w = dims(context, 0), dims(context, 1)
    if x is not None and not 3 <= len(x) <= 5:
        return Objection(f"{len(x)} dimensions are not taken, only 3 to 5")
    if x is None or w is None or len(w) < 3:
        return None
    if len(_spatial(x)) != len(_spatial(w)):
        return misfit(context, f"{len(x)} dimensions do not fit a kernel of {len(w)}")
    outputs = None if w[1] is None else int(w[1]) * context.attributes.integer("group", 1)
    return _kernel(context.attributes.integers("kernel_shape"), w) or _bias(context, outputs)


def check_negative_pads(context: Context) -> Objection | None:
    """Convolutions that crop: only the newest parser was asked."""
    if seen(context) or min(context.attributes.integers("pads") or (0,)) >= 0:
        return None
    return Objection("negative pads are not taken", then="Crop with a Slice instead.")


def check_window(context: Context) -> Objection | None:
    """Pools: two or three spatial dimensions, one where the tensor has three in all."""
    kernel, x = context.attributes.integers("kernel_shape"), dims(context, 0)
    if kernel is None or x is None or len(kernel) in (2, 3) or (len(kernel) == 1 and len(x) == 3):
        return None
    return Objection(f"a window of {len(kernel)} dimensions on a tensor of {len(x)} is not taken")


def check_uneven_average(context: Context) -> Objection | None:
    """Up to 8.4 averages take one row or column more of padding behind, and nothing else that is uneven."""
    pads, kernel = context.attributes.integers("pads"), context.attributes.integers("kernel_shape") or ()
    if not before(context, "8.5") or not pads or context.attributes.text("auto_pad").startswith("SAME"):
        return None
    half = len(pads) // 2
    uneven = [pads[half + axis] - pads[axis] for axis in range(min(half, len(kernel), 2))]
    if all(step in (0, 1) for step in uneven):
        return None
    return Objection("an average with these uneven pads is not taken", "8.5", "Put a Pad before it.")


def check_doubled_padding(context: Context) -> Objection | None:
    """`pads` beside auto_pad SAME: refused from 10.0 on."""
    if before(context, "10.0") or "pads" not in context.attributes:
        return None
    if context.attributes.text("auto_pad") in ("SAME_UPPER", "SAME_LOWER"):
        return Objection("pads beside auto_pad is not taken", then="Leave one of the two away.")
    return None


_MAPPINGS = ("align_corners", "tf_half_pixel_for_nn", "pytorch_half_pixel", "half_pixel", "asymmetric")


def check_resize(context: Context) -> Objection | None:
    """Resize: modes, mappings of coordinates, and scales that fit the rank."""
    mode = context.attributes.text("mode", "nearest")
    if before(context, "8.5") and mode == "cubic" and opset(context) >= 11:
        return Objection("mode cubic is not taken", "8.5", "Use linear, or export with another interpolation.")
    if mode not in ("nearest", "linear", "cubic"):
        return Objection(f"mode {mode} is not taken")
    if opset(context) >= 11 and (objection := _mapping(context) or _newer_attributes(context)):
        return objection
    if dims(context, 0) == ():
        return Objection("a scalar is not taken")
    sized = opset(context) >= 11 and has(context, 3)
    return (_sizes(context) if sized else _scales(context, 2 if opset(context) >= 11 else 1)) or None


def _mapping(context: Context) -> Objection | None:
    mapping = context.attributes.text("coordinate_transformation_mode", "half_pixel")
    if mapping not in _MAPPINGS:
        then = "Export with align_corners=False (half_pixel), or crop with a Slice first."
        return Objection(f"coordinate_transformation_mode {mapping} is not taken", then=then)
    if mapping != "tf_half_pixel_for_nn":
        return None
    if context.attributes.text("nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        return Objection("tf_half_pixel_for_nn with another nearest_mode than round_prefer_floor is not taken")
    if has(context, 3) and not before(context, "8.5"):
        return Objection("tf_half_pixel_for_nn with sizes is not taken", then="Give scales instead of sizes.")
    return None


def _newer_attributes(context: Context) -> Objection | None:
    """Attributes of opset 18, which 10.0 began to look at; before, they are passed over."""
    if before(context, "10.0"):
        return None
    if context.attributes.integer("antialias"):
        return Objection("antialias is not taken", then="Export with antialias=False, or resize outside the engine.")
    policy = context.attributes.text("keep_aspect_ratio_policy", "stretch")
    return None if policy == "stretch" else Objection(f"keep_aspect_ratio_policy {policy} is not taken")


def _chosen_axes(context: Context) -> int:
    """How many axes the attribute chooses; 0 when that is all of them in order, or when the release passes it over."""
    axes, own = context.attributes.integers("axes"), dims(context, 0)
    if before(context, "10.0") or not axes or own is None:
        return 0
    whole = [axis % len(own) for axis in axes] == list(range(len(own)))
    return 0 if whole else len(axes)


def _sizes(context: Context) -> Objection | None:
    if before(context, "10.0"):
        return None
    own, given = dims(context, 0), dims(context, 3)
    if own is None or given is None or len(given) != 1 or given[0] is None:
        return None
    wanted = _chosen_axes(context) or len(own)
    if is_weights(context, 3) or _chosen_axes(context):
        return None if given[0] == wanted else Objection(f"{given[0]} sizes for {wanted} dimensions are not taken")
    return None


def _scales(context: Context, index: int) -> Objection | None:
    own, given = dims(context, 0), dims(context, index)
    if own is None or given is None or not is_weights(context, index) or None in given:
        return None
    wanted = _chosen_axes(context) or len(own)
    if len(given) != 1 or given[0] != wanted:
        since = "10.0" if "axes" in context.attributes and before(context, "10.0") else ""
        received = given[0] if len(given) == 1 else 0
        return Objection(f"{received} scales for {wanted} dimensions", since, "Give one scale for each dimension.")
    return None if _chosen_axes(context) else check_enlarged_axes(context, index)


def check_enlarged_axes(context: Context, index: int) -> Objection | None:
    """Linear scales reach the last three dimensions, cubic ones the last two."""
    reach = {"linear": 3, "bilinear": 3, "cubic": 2}.get(context.attributes.text("mode", "nearest"))
    scales = context.value(index)
    if reach is None or scales is None:
        return None
    if all(float(scale) == 1.0 for scale in scales.reshape(-1)[:-reach]):
        return None
    return Objection(f"scales beyond the last {reach} dimensions are not taken", then="Resize those in another step.")


def check_upsample(context: Context) -> Objection | None:
    """Upsample: one scale for each dimension."""
    own = dims(context, 0)
    if own == ():
        return Objection("a scalar is not taken")
    if own is None:
        return None
    if opset(context) < 9:
        scales = context.attributes.numbers("scales")
        if scales is not None and len(scales) != len(own):
            return Objection(f"{len(scales)} scales for {len(own)} dimensions")
        return None
    return _scales(context, 1)


def check_pad(context: Context) -> Objection | None:
    """Pad: its mode, its axes, and amounts that only add."""
    if opset(context) >= 11 and has(context, 3) and not before(context, "8.5") and before(context, "10.0"):
        return Objection("the input axes is not taken", "10.0", "Export with opset 17.")
    amounts = _amounts(context)
    if amounts is not None and not any(amounts):
        return None
    if amounts is not None and min(amounts) < 0 and seen(context):
        return Objection("negative amounts are not taken", "11.4", "Crop with a Slice instead.")
    if objection := _old_pad(context, amounts):
        return objection
    mode = context.attributes.text("mode", "constant")
    if mode in ("constant", "reflect", "edge") or (mode == "wrap" and not before(context, "10.0")):
        return None
    since = "10.0" if mode == "wrap" else ""
    return Objection(f"mode {mode} is not taken", since, "Join slices with Concat instead." if since else "")


def _amounts(context: Context) -> tuple[int, ...] | None:
    """The padding that the parser knows while it parses."""
    if opset(context) < 11:
        return context.attributes.integers("pads")
    return context.integers(1) if is_weights(context, 1) else None


def _old_pad(context: Context, amounts: tuple[int, ...] | None) -> Objection | None:
    """Up to 8.0: zeros on two dimensions."""
    if not before(context, "8.2"):
        return None
    value = context.value(2) if opset(context) >= 11 else None
    filled = context.attributes.number("value", 0.0) != 0.0 or (value is not None and bool(value.any()))
    if context.attributes.text("mode", "constant") != "constant" or filled:
        return Objection("only zeros are padded", "8.2", "Let the convolution pad.")
    half = len(amounts or ()) // 2
    padded = [axis for axis in range(half) if amounts and (amounts[axis] or amounts[half + axis])]
    if len(padded) > 2:
        return Objection("only two dimensions are padded", "8.2", "Use two Pad nodes.")
    return None


def check_image(context: Context) -> Objection | None:
    """DepthToSpace and SpaceToDepth: four dimensions."""
    shape = dims(context, 0)
    return None if shape is None or len(shape) == 4 else Objection(f"{len(shape)} dimensions are not taken, only 4")


def check_grid(context: Context) -> Objection | None:
    """GridSample: image and grid of one rank."""
    image, grid = dims(context, 0), dims(context, 1)
    if image is None or grid is None or len(image) == len(grid):
        return None
    return Objection(f"an image of {len(image)} dimensions with a grid of {len(grid)} is not taken")


def check_regions(context: Context) -> Objection | None:
    """RoiAlign: regions as (number, 4)."""
    regions = dims(context, 1)
    if regions is None or (len(regions) == 2 and regions[1] in (4, None)):
        return None
    return Objection("its regions are not of the shape (number, 4)")


CHECKS: dict[str, tuple[Check, ...]] = {
    "AveragePool": (check_window, check_uneven_average, check_doubled_padding),
    "Conv": (check_convolution, check_doubled_padding, check_negative_pads),
    "ConvTranspose": (check_transposed_convolution, check_doubled_padding),
    "DepthToSpace": (check_image,),
    "GridSample": (check_grid,),
    "LpPool": (check_window, check_uneven_average, check_doubled_padding),
    "MaxPool": (check_window, check_doubled_padding),
    "Pad": (check_pad,),
    "Resize": (check_resize,),
    "RoiAlign": (check_regions,),
    "SpaceToDepth": (check_image,),
    "Upsample": (check_upsample,),
}
