"""How a tensor of a loadable lies in memory: packing, unpacking, and INT8 by a scale. Pure numpy.

The descriptor's strides decide; the documented formula only checks them, and where the two disagree nothing is packed.

    dla_linear    [N][C][H][W]           each row padded to 64 bytes
    dla_hwc4      [N][H][W][C'], C' 1, 4  each row padded to 64 bytes (Orin) or 32 (Xavier), pixels to 4 elements
    chw16, chw32  [N][C/V][H][W][V]      V elements are 32 bytes: 16 of FP16, 32 of INT8; channels padded, rows not

Sources: TensorFormat in TensorRT's NvInfer.h 8.6.1 and 11.1, NVIDIA's cuDLA samples, the two descriptors that
cuda-samples#192 prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dlaflow.errors import InputError
from dlaflow.runtime.cudla import ELEMENT_BYTES, Tensor

Array = NDArray[np.generic]
Rounding = Literal["half-away", "half-even", "truncate"]

_TYPES: dict[int, DTypeLike] = {1: "<f4", 2: "<f2", 3: "<i2", 4: "i1", 5: "u1", 6: "<u2"}
_HALF, _INT8 = 2, 4
_NCHW, _NHWC, _NCXHWX = 1, 2, 3
_IMAGE, _FEATURE, _PLANAR = 0, 2, 3
_ONE_CHANNEL = (0, 5)
"""Pixel formats R8 and R16_F."""
_PITCH_LINEAR = 0
_ROW, _ROW_ON_XAVIER, _ATOM = 64, 32, 32
_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the elements of a tensor are: `name` as trtexec calls it, `shape` and byte `strides` of the padded array.

    `vector` is the number of channels that lie together (1 for dla_linear).
    """

    name: str
    tensor: Tensor
    dtype: np.dtype[np.generic]
    vector: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def pack(self, values: Array) -> bytes:
        """The bytes of values [n, c, h, w] of this layout's type; padding is zero.

        dla_hwc4 also takes 3 channels where the descriptor counts the padded 4. Raises InputError for other shapes.
        """
        n, c, h, w = self.tensor.dims
        given = values.shape
        if given != (n, c, h, w) and not (self.name == "dla_hwc4" and given == (n, 3, h, w) and c == self.vector):
            raise InputError(
                f"the values do not fit the loadable's {self.tensor.name}", expected=(n, c, h, w), received=given
            )
        held = np.zeros(self.tensor.size, np.uint8)
        view = self._view(held)
        if self.name == "dla_linear":
            view[...] = values
        elif self.name == "dla_hwc4":
            view[..., : given[1]] = values.transpose(0, 2, 3, 1)
        else:
            for group in range(self.shape[1]):
                part = values[:, group * self.vector : (group + 1) * self.vector]
                view[:, group, :, :, : part.shape[1]] = part.transpose(0, 2, 3, 1)
        return held.tobytes()

    def unpack(self, data: bytes) -> Array:
        """The values [n, c, h, w] in bytes of the tensor's size, without padding."""
        if len(data) != self.tensor.size:
            raise InputError(
                f"the bytes of {self.tensor.name} are not whole", expected=self.tensor.size, received=len(data)
            )
        n, c, h, w = self.tensor.dims
        values = self._view(np.frombuffer(data, np.uint8))
        if self.name == "dla_hwc4":
            values = values.transpose(0, 3, 1, 2)
        elif self.vector > 1:
            values = values.transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)
        return np.array(values[:, :c], order="C")

    def _view(self, held: NDArray[np.uint8]) -> Array:
        view: Array = np.ndarray(self.shape, self.dtype, held.data, 0, self.strides)
        return view


def layout_of(tensor: Tensor) -> Layout:
    """The layout that a descriptor describes.

    Raises InputError for one that is not known, or whose strides and size are not the documented ones.
    """
    n, c, h, w = tensor.dims
    size, line, surface = ELEMENT_BYTES[tensor.type], tensor.strides[1], tensor.strides[2]
    dtype = np.dtype(_TYPES[tensor.type])
    kind = tensor.format, tensor.category
    if tensor.strides[0] != size or tensor.pixel_mapping != _PITCH_LINEAR:
        raise _odd(tensor, f"element stride {size} in pitch-linear memory")
    if kind == (_NCHW, _PLANAR):
        _check(tensor, (_up(w * size, _ROW),), h * line, c * h * line)
        return Layout("dla_linear", tensor, dtype, 1, (n, c, h, w), (tensor.size // n, surface or h * line, line, size))
    if kind == (_NHWC, _IMAGE) and c <= 4:
        vector = 1 if tensor.pixel_format in _ONE_CHANNEL else 4
        if c > vector:
            raise _odd(tensor, f"{vector} channel for pixel format {tensor.pixel_format}")
        pixel = vector * size
        _check(tensor, (_up(w * pixel, _ROW), _up(w * pixel, _ROW_ON_XAVIER)), 0, h * line)
        return Layout("dla_hwc4", tensor, dtype, vector, (n, h, w, vector), (tensor.size // n, line, pixel, size))
    if (tensor.format == _NCXHWX or tensor.category == _FEATURE) and tensor.type in (_HALF, _INT8):
        vector = _ATOM // size
        groups = -(-c // vector)
        _check(tensor, (w * _ATOM,), h * line, groups * h * line)
        strides = (tensor.size // n, surface or h * line, line, _ATOM, size)
        return Layout(f"chw{vector}", tensor, dtype, vector, (n, groups, h, w, vector), strides)
    raise _odd(tensor, "dla_linear, dla_hwc4, chw16 or chw32")


def _check(tensor: Tensor, lines: tuple[int, ...], surface: int, image: int) -> None:
    """Compare line and surface strides and the size with the formula; a stride 0 of an only surface is none."""
    if tensor.strides[1] not in lines:
        raise _odd(tensor, f"rows of {' or '.join(map(str, dict.fromkeys(lines)))} bytes")
    if tensor.strides[2] not in ({surface, 0} if image == surface else {surface}) and surface:
        raise _odd(tensor, f"surfaces of {surface} bytes")
    # How images follow each other where bytes stand between them is nowhere documented.
    if tensor.size != tensor.dims[0] * image if tensor.dims[0] > 1 else tensor.size < image:
        raise _odd(tensor, f"{tensor.dims[0] * image} bytes")


def _odd(tensor: Tensor, expected: str) -> InputError:
    shown = f"format {tensor.format}, type {tensor.type}, category {tensor.category}, pixel {tensor.pixel_format}"
    received = f"{shown}, strides {tensor.strides[:4]}, {tensor.size} bytes for {tensor.dims}"
    then = "Packing it by guesswork would give wrong results: build with dla_linear, or report this line."
    return InputError(f"the layout of {tensor.name} is not known", expected=expected, received=received, then=then)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def to_elements(values: Array, layout: Layout, scale: float | None, rounding: Rounding) -> Array:
    """Values as the tensor holds them: INT8 divided by `scale` and rounded, FP16 rounded; of its own type, as they are.

    Raises InputError for values that are not finite, for INT8 without a scale, and for other integer types.
    """
    name = layout.tensor.name
    if values.dtype == layout.dtype:
        return values
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise InputError(f"the values of {name} are no finite numbers", received=values.dtype)
    if layout.dtype.kind == "f":
        # The DLA saturates where numpy would make an infinity.
        limit = float(np.finfo(layout.dtype).max)  # type: ignore[type-var]  # a float type
        return np.clip(values.astype(np.float64), -limit, limit).astype(layout.dtype)
    if layout.tensor.type != _INT8:
        raise InputError(f"{name} holds {layout.dtype}", expected=f"values of {layout.dtype}", received=values.dtype)
    steps = values.astype(np.float64) / require_scale(layout, scale)
    whole = np.rint(steps) if rounding == "half-even" else np.trunc(steps)
    if rounding == "half-away":
        # What is cut off is exact; adding 0.5 first would round the number just below 0.5 up.
        whole += np.copysign(np.abs(steps - whole) >= 0.5, steps)
    return np.clip(whole, -_LARGEST - 1, _LARGEST).astype(np.int8)


def from_elements(elements: Array, layout: Layout, scale: float | None) -> NDArray[np.float32]:
    """What elements stand for, float32. Raises InputError for INT8 without a scale."""
    return (elements.astype(np.float64) * require_scale(layout, scale)).astype(np.float32)


def require_scale(layout: Layout, scale: float | None) -> float:
    """The scale of a tensor, 1 for one that is not INT8. Raises InputError for INT8 without one."""
    if layout.tensor.type != _INT8:
        return 1.0
    if scale is None:
        raise InputError(
            f"{layout.tensor.name} is INT8 and has no scale",
            then="Give the calibration cache that it was built with (--cache), or --scale NAME=NUMBER.",
        )
    return scale
