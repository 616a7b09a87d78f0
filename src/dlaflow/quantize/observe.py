"""Stream batches through onnxruntime and count the activations, batch by batch.

The observed tensors become outputs of the model, written into one fixed set of buffers. A batch runs in slices that
fill it, and memory stays the same however many images come. onnxruntime and the counting take turns, each on all
cores: side by side they would wait for each other, since every operator ends when its slowest thread does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.graph.load import Model
from dlaflow.quantize.feed import Batch, Feed, by_name
from dlaflow.quantize.histogram import Histogram
from dlaflow.quantize.session import Session, SessionOptions, available_cores

Activations = Sequence[NDArray[np.float32]]

_FLOAT = 1  # onnx.TensorProto.FLOAT
_BUDGET = 64 << 20
"""Bytes of observed activations in the buffers."""


class Observer:
    """Counts the tensors `names` of `model` over all batches that are handed to `add`."""

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        import onnx

        self.histograms = [Histogram(name) for name in names]
        proto = onnx.ModelProto()
        proto.CopyFrom(model.proto)
        fed = {value.name for value in proto.graph.input}
        # onnxruntime does not write an input that is also an output into a bound buffer: count what is fed instead.
        self._inputs = [index for index, name in enumerate(names) if name in fed]
        self._computed = [index for index, name in enumerate(names) if name not in fed]
        del proto.graph.output[:]
        for index in self._computed:
            proto.graph.output.add(name=names[index]).type.tensor_type.elem_type = _FLOAT
        self._runner = Session(replace(model, proto=proto), SessionOptions(spin=False))
        self._workers = ThreadPoolExecutor(max_workers=available_cores())
        self._image: tuple[tuple[int, ...], ...] = ()
        self._count = 0
        self._buffers: Activations = []
        self._shapes_vary = False

    def add(self, batch: Batch) -> None:
        """Count one batch.

        Raises InputError for activations that are not finite and for a batch that the model cannot take.
        """
        for images in self._slices(batch):
            values = self._values(images)
            pairs = [(self.histograms[index], value) for index, value in zip(self._computed, values, strict=True)]
            fed = by_name(images, self._runner.inputs)
            inputs = [self.histograms[index] for index in self._inputs]
            pairs += [(histogram, np.asarray(fed[histogram.name], np.float32)) for histogram in inputs]
            pairs.sort(key=lambda pair: -pair[1].size)
            for done in [self._workers.submit(histogram.add, value) for histogram, value in pairs]:
                done.result()

    def _values(self, images: Batch) -> Activations:
        """The observed activations of one slice. A full slice tells the shapes of the buffers for those after it:

        not every tensor grows with the number of images (anchors and means do not). Where shapes depend on the values
        themselves, there are no buffers.
        """
        if len(images) != self._count or self._shapes_vary:
            return self._runner.run_all(images)
        if not self._buffers:
            self._buffers = [np.require(value, requirements=["C", "W"]) for value in self._runner.run_all(images)]
            return self._buffers
        try:
            self._runner.run_into(images, self._buffers)
        except InputError:
            self._shapes_vary, self._buffers = True, []
            return self._runner.run_all(images)
        return self._buffers

    def close(self) -> None:
        """Stop the workers."""
        self._workers.shutdown(cancel_futures=True)

    def _slices(self, batch: Batch) -> Iterator[Batch]:
        """Cut a batch into slices of what the budget allows, which the first image tells."""
        start = 0
        while start < len(batch):
            step = self._runner.batch or self._images_a_slice(batch)
            yield batch[start : start + step]
            start += step

    def _images_a_slice(self, batch: Batch) -> int:
        arrays = batch.arrays.values() if isinstance(batch, Feed) else [batch]
        image = tuple(array.shape[1:] for array in arrays)
        if self._image == image:
            return self._count
        needed = 4 * sum(value.size for value in self._runner.run_all(batch[:1]))
        self._image = image
        room = max(1, _BUDGET // max(needed, 1))
        # Slices of one size: only those have buffers.
        self._count = max(count for count in range(1, len(batch) + 1) if len(batch) % count == 0 and count <= room)
        self._buffers = []
        return self._count
