"""The decode part of YOLOv5, v8, 11 and 26 in numpy: from the maps that the DLA hands over to boxes.

`dlaflow fix yolo.onnx --out backbone.onnx --cut auto` writes a backbone that stays on the DLA and tells what its
outputs hold. What stands here computes the rest, so that nothing but numpy runs behind the DLA; the tests hold it
against the whole networks. Maps are float32, (N, channels, rows, columns), the finest first: the backbone's outputs in
their order.

    python examples/decode_yolo.py backbone.onnx photo.jpg --version 8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
ANCHORS_V5 = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
"""Width and height in pixels of the anchors that YOLOv5's own weights were trained with, a map a row."""


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray((1 + np.tanh(x / 2)) / 2, np.float32)


def grid(rows: int, columns: int) -> Array:
    """The column and the row of each cell: (2, rows, columns)."""
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows))).astype(np.float32)


def decode_v5(maps: Sequence[Array], strides: Sequence[int], anchors: Sequence[object] = ANCHORS_V5) -> Array:
    """YOLOv5: (N, boxes, 5 + classes) as centre x, centre y, width, height in pixels, objectness and classes."""
    found = []
    for x, stride, sizes in zip(maps, strides, anchors, strict=True):
        size = np.asarray(sizes, np.float32)
        batch, channels, rows, columns = x.shape
        y = sigmoid(x).reshape(batch, len(size), channels // len(size), rows, columns)
        centre = (y[:, :, :2] * 2 - 0.5 + grid(rows, columns)) * stride
        extent = (y[:, :, 2:4] * 2) ** 2 * size[:, :, None, None]
        joined = np.concatenate((centre, extent, y[:, :, 4:]), 2)
        found.append(joined.transpose(0, 1, 3, 4, 2).reshape(batch, -1, channels // len(size)))
    return np.concatenate(found, 1)


def sides_of(x: Array) -> Array:
    """Distances to left, top, right and bottom in cells, (N, 4, ...), from as many channels or from distributions."""
    bins = x.shape[1] // 4
    if bins == 1:
        return x
    y = x.reshape(len(x), 4, bins, *x.shape[2:])
    y = np.exp(y - y.max(2, keepdims=True))
    weights = np.arange(bins, dtype=np.float32).reshape(bins, *(1 for _ in x.shape[2:]))
    return np.asarray((y * weights).sum(2) / y.sum(2), np.float32)


def corners_of(boxes: Array, stride: int) -> tuple[Array, Array]:
    """The two corners of the boxes of one map in pixels: (N, 2, cells) each."""
    sides = sides_of(boxes)
    centre = grid(*boxes.shape[2:]) + 0.5
    first, last = (centre - sides[:, :2]) * stride, (centre + sides[:, 2:]) * stride
    return first.reshape(len(boxes), 2, -1), last.reshape(len(boxes), 2, -1)


def levels_of(maps: Sequence[Array], bins: int) -> list[tuple[Array, Array]]:
    """Boxes and scores of each size of map, the finest first.

    Older exports join the two along the channels; where they come as two maps of a size, the boxes come first.
    """
    sizes: dict[tuple[int, ...], list[Array]] = {}
    for x in maps:
        sizes.setdefault(x.shape[2:], []).append(x)
    levels = [(each[0], each[1]) if len(each) == 2 else _split(each[0], 4 * bins) for each in sizes.values()]
    return sorted(levels, key=lambda level: -level[0].shape[2])


def _split(joined: Array, channels: int) -> tuple[Array, Array]:
    return joined[:, :channels], joined[:, channels:]


def decode_v8(maps: Sequence[Array], strides: Sequence[int], bins: int = 16) -> Array:
    """YOLOv8, 11, and 26 without `end2end`: (N, 4 + classes, boxes), centre x, centre y, width, height, and classes.

    `bins` says where the classes begin in maps that hold both.
    """
    found = decode_v26(maps, strides, bins)
    first, last = found[:, :2], found[:, 2:4]
    return np.concatenate(((first + last) / 2, last - first, found[:, 4:]), 1)


def decode_v26(maps: Sequence[Array], strides: Sequence[int], bins: int = 1) -> Array:
    """YOLO26 before its last choice: (N, 4 + classes, boxes) as two corners in pixels, and classes."""
    found = []
    for (boxes, scores), stride in zip(levels_of(maps, bins), strides, strict=True):
        first, last = corners_of(boxes, stride)
        found.append(np.concatenate((first, last, sigmoid(scores).reshape(len(scores), -1, first.shape[2])), 1))
    return np.concatenate(found, 2)


def best_of(found: Array, most: int = 300) -> Array:
    """What YOLO26 ends with (`end2end`): (N, best boxes, 6) as two corners, score and class, the best first."""
    chosen = []
    for places, chances in zip(found[:, :4].transpose(0, 2, 1), found[:, 4:].transpose(0, 2, 1), strict=True):
        cells = np.argsort(-chances.max(1), kind="stable")[:most]
        flat, classes = chances[cells].reshape(-1), chances.shape[1]
        best = np.argsort(-flat, kind="stable")[: min(most, len(cells))]
        told = np.stack((flat[best], best % classes), 1)
        chosen.append(np.concatenate((places[cells[best // classes]], told), 1))
    return np.asarray(chosen, np.float32)


def best_boxes(found: Array, *, objectness: bool, least: float = 0.25, overlap: float = 0.45) -> Array:
    """(boxes, 6) of one image, as YOLO26 gives them, from (cells, 4 + classes) by greedy suppression in each class."""
    scores = found[:, 5:] * found[:, 4:5] if objectness else found[:, 4:]
    classes, score = scores.argmax(1), scores.max(1)
    order = np.argsort(-score, kind="stable")[: np.count_nonzero(score >= least)]
    low, high = found[:, :2] - found[:, 2:4] / 2, found[:, :2] + found[:, 2:4] / 2
    kept: list[int] = []
    for one in order:
        same = [other for other in kept if classes[other] == classes[one]]
        shared = np.clip(np.minimum(high[one], high[same]) - np.maximum(low[one], low[same]), 0, None).prod(1)
        areas = (high[same] - low[same]).prod(1) + (high[one] - low[one]).prod()
        if not (shared > overlap * (areas - shared)).any():
            kept.append(int(one))
    return np.concatenate((low[kept], high[kept], score[kept, None], classes[kept, None]), 1)


def decode(maps: Sequence[Array], height: int, version: int) -> Array:
    """The boxes of the first image of maps for an input of `height`: (boxes, 6), two corners, score, class.

    26 is YOLO26 as exported with `end2end=True`; without it, its maps are decoded as those of 8 and 11.
    """
    strides = sorted({height // x.shape[2] for x in maps})
    if version == 26:
        found = best_of(decode_v26(maps, strides))[0]
        return np.asarray(found[found[:, 4] >= 0.25])
    if version == 5:
        return best_boxes(decode_v5(maps, strides)[0], objectness=True)
    return best_boxes(decode_v8(maps, strides)[0].T, objectness=False)


def main() -> None:
    """Print the boxes of one picture, found by the backbone on onnxruntime and decoded here."""
    import onnxruntime
    from PIL import Image

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--version", type=int, choices=(5, 8, 11, 26), required=True)
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.backbone)
    entry = session.get_inputs()[0]
    height, width = entry.shape[2:]
    pixels = np.asarray(Image.open(given.picture).convert("RGB").resize((width, height)), np.float32) / 255
    maps = session.run(None, {entry.name: pixels.transpose(2, 0, 1)[None]})
    for x1, y1, x2, y2, score, kind in decode(maps, height, given.version):
        print(f"{x1:7.1f} {y1:7.1f} {x2:7.1f} {y2:7.1f}  {score:.3f}  class {kind:.0f}")


if __name__ == "__main__":
    main()
