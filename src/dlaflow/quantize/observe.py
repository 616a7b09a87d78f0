"""Stream batches through onnxruntime and count the activations, batch by batch.

The observed tensors become outputs of the model. A batch runs in slices whose activations stay below a fixed budget;
while onnxruntime computes the next slice, a worker counts the last one, so that both cores are busy and no more than
two slices of activations exist at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.quantize.histogram import Histogram
from dlaflow.run.ort import OrtOptions, OrtRunner, available_cores

if TYPE_CHECKING:
    import onnx

_BUDGET = 24 << 20
"""Bytes of observed activations per slice."""


class Observer:
    """Counts the tensors `names` of `model` over all batches that are handed to `add`."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        self.histograms = [Histogram(name) for name in names]
        self._runner = OrtRunner(with_outputs(model, names), OrtOptions(spin=False))
        self._slice = 1
        self._workers = ThreadPoolExecutor(max_workers=available_cores())
        self._pending: list[Future[None]] = []

    def add(self, batch: NDArray[np.float32]) -> None:
        """Count one batch, float32 [n, ...].

        Raises InputError for activations that are not finite and for a batch that the model cannot take.
        """
        for images in self._slices(batch):
            values = self._runner.run_all(images)
            self.finish()
            self._pending = [
                self._workers.submit(histogram.add, value)
                for histogram, value in zip(self.histograms, values, strict=True)
            ]
            largest = sum(value.nbytes for value in values) / len(images)
            self._slice = max(1, int(_BUDGET // max(largest, 1)))

    def finish(self) -> None:
        """Wait until everything handed in is counted."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Stop the workers."""
        self._workers.shutdown(cancel_futures=True)

    def _slices(self, batch: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        start = 0
        while start < len(batch):
            step = self._runner.batch or self._slice
            yield batch[start : start + step]
            start += step


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` whose outputs are exactly the float tensors `names`, in that order."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in names:
        copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return copy
