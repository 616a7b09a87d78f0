"""When calibration loses points: cheaper scales first, then changes of the network that cost nothing on the board.

In order of cost, each step measured on images of its own and kept only when the outputs come closer to the float ones:

- *method*: the calibration method whose scales do the least harm to the network's outputs, not to single tensors.
- *equalisation*: the DLA has one scale for all channels of an activation; `equalise` brings their ranges together.
- *bias*: what INT8 adds to a layer's outputs on average, its bias takes away.
- *rounding*: weights are rounded one after the other, and what each rounding did to the layer's outputs is made good by
  those that follow; biases take up what is left on average. Both go by what really enters the layer in INT8.
- *FP16*, only where a limit is given and more than that is still lost: the fewest layers that must not run in INT8.

In all of them weights are cut by which one step of the input fills INT8 anyway: `equalise.cut_weights` says why. A step
is kept by what `evaluate` reports, top-1 or agreement; where these images cannot tell, by the outputs' error.
What comes out is a plain float model; where rounding was kept its weights lie on their INT8 grid already: quantising
them changes nothing.

Sources: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019) for the
biases; E. Frantar et al., "GPTQ" (ICLR 2023) for the rounding.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, Task, silent
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import LEVELS, Calibration, CalibrationConfig
from dlaflow.quantize.equalise import cut_weights, equalise, groups_of, layer_weight, replace_operand, stretches
from dlaflow.quantize.feed import Batch
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.images import Images, in_batches
from dlaflow.quantize.methods import AUTO, METHODS
from dlaflow.quantize.model import Graph, drop_unused_constants, for_qdq, index
from dlaflow.quantize.numerics import as_on_dla
from dlaflow.quantize.plan import plan
from dlaflow.quantize.qdq import qdq_model, quantise, weight_axis
from dlaflow.quantize.sensitivity import Damage, Meter, Sample, search
from dlaflow.quantize.session import Session

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float64]
_IMAGES = 256
"""Images that roundings are computed on, at most."""
_POSITIONS = 64
"""Positions of a feature map that are taken of each image: neighbours say the same."""
_DAMPING = 0.01
"""Of the mean of the diagonal, added to it: inputs that never vary leave the matrix singular."""
_BLOCK = 128
"""Columns that are rounded before the others take up what they did."""
_NOTHING_LEFT = 1e-5
"""A relative squared error from which on no step is tried: 0.3% of the outputs."""
_BETTER = 0.98
"""Of the error before: what a step must come below to be kept."""


@dataclass(frozen=True, slots=True)
class RecoveryStep:
    """One step: the damage of the INT8 network behind it, whether it was kept, and the seconds it took."""

    name: str
    damage: Damage
    kept: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many points may be lost before layers go to FP16 (None: none does), and nodes that are in FP16 anyway."""

    max_drop: float | None = None
    float_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Recovered:
    """`model` is float32 with its weights on the INT8 grid where they were rounded, `calibration` belongs to it.

    `float_nodes` are all that stay in FP16. `drop` is the loss in points, of top-1 with labels, else of agreement.
    """

    model: onnx.ModelProto
    calibration: Calibration
    steps: tuple[RecoveryStep, ...]
    float_nodes: tuple[str, ...]
    drop: float


def recover(
    model: Model | Path,
    images: Images,
    sample: Sample,
    config: CalibrationConfig,
    wanted: Wanted = Wanted(),
    progress: Progress = silent,
) -> Recovered:
    """Look for a version of `model` that INT8 hurts less: calibrated on `images`, measured on `sample`.

    `config` says which method is tried first, and what its percentile is.

    Raises InputError for a model or images that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder, progress("recover", None, "runs") as task:
        tried = _Recovery(as_model(model, sample.shapes), images, sample, Path(folder) / "model.onnx", task)
        return tried.run(config, wanted)


class _Recovery:
    """The best version so far, and what is tried on it."""

    def __init__(self, model: Model, images: Images, sample: Sample, file: Path, task: Task) -> None:
        self._images = images
        self._file = file
        self._model = for_qdq(model.whole())
        fold_batch_norm(self._model)
        drop_unused_constants(self._model)
        self._meter = Meter(_copy(self._model), sample, task)
        self._batch = self._meter.step
        self._calibration = Calibration((), "", 0, "", "")
        self._damage: Damage | None = None
        self._float_nodes: tuple[str, ...] = ()
        self._steps: list[RecoveryStep] = []

    def run(self, config: CalibrationConfig, wanted: Wanted) -> Recovered:
        """All steps in their order."""
        # A BatchNormalization that was folded is no node any more.
        self._float_nodes = tuple(
            n for n in wanted.float_nodes if any(n == node.name for node in self._model.graph.node)
        )
        by = {
            method: CalibrationConfig(method, config.percentile, len(self._images))
            for method in (config.method, *METHODS, AUTO)
        }
        for method, how in by.items():
            self._try(f"scales by {method}", self._model, partial(self._recalibrated, config=how))
        equalised = self._equalised(_copy(self._model))
        if equalised is not None:
            for method, how in by.items():
                self._try(f"equalisation, {method}", equalised, partial(self._recalibrated, config=how))
        # Both start from weights and biases of the float network: rounding brings its own biases.
        exact = self._model
        self._try("bias", exact, lambda model: (self._corrected(model, rounding=False), self._calibration))
        self._try("rounding", exact, lambda model: (self._corrected(model, rounding=True), self._calibration))
        assert self._damage is not None
        if wanted.max_drop is not None and self._meter.drop(self._damage) > wanted.max_drop:
            self._keep_in_fp16(exact, wanted.max_drop)
        drop = self._meter.drop(self._damage)
        model = self._cut(self._model, self._calibration)
        return Recovered(model, self._calibration, tuple(self._steps), self._float_nodes, drop)

    def _try(
        self,
        name: str,
        start: onnx.ModelProto,
        change: Callable[[onnx.ModelProto], tuple[onnx.ModelProto, Calibration]],
    ) -> None:
        """Apply a change, which may be made in place, to a copy of `start`; keep it where it beats the best version."""
        if self._damage is not None and self._damage.error < _NOTHING_LEFT:
            return
        began = time.perf_counter()
        model, calibration = change(_copy(start))
        damage = self._meter.damage(self._quantised(model, calibration))
        kept = self._damage is None or self._meter.better(damage, self._damage, _BETTER)
        if kept:
            self._model, self._calibration, self._damage = model, calibration, damage
        self._steps.append(RecoveryStep(name, damage, kept, time.perf_counter() - began))

    def _cut(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        """A copy as it will be written."""
        copied = _copy(model)
        cut_weights(index(copied), calibration.scales, self._float_nodes)
        return copied

    def _quantised(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        return as_on_dla(qdq_model(self._cut(model, calibration), calibration, self._float_nodes))

    def _keep_in_fp16(self, exact: onnx.ModelProto, max_drop: float) -> None:
        """The last step: kept where it meets the limit and leaves a layer in INT8, being of no use otherwise.

        A layer in FP16 takes its `exact` weights, and those behind it make up for less: they are corrected anew.
        """
        began, before = time.perf_counter(), self._float_nodes
        steps = [step.name for step in self._steps if step.kept]

        def made(keep: Sequence[str]) -> onnx.ModelProto:
            self._float_nodes = (*before, *keep)
            return self._corrected(exact, rounding="rounding" in steps)

        corrected = made if {"bias", "rounding"}.intersection(steps) else None
        found = search(partial(_copy, exact), self._calibration, self._meter, max_drop, before, corrected)
        model = corrected(found.keep) if corrected else exact
        self._float_nodes = (*before, *found.keep)
        damage = self._meter.damage(self._quantised(model, self._calibration))
        everything = len(found.keep) == len(found.layers)
        kept = found.drop <= max_drop and not everything
        if kept:
            self._model, self._damage = model, damage
        else:
            self._float_nodes = before
        name = f"{'all ' if everything else ''}{len(found.keep)} in FP16"
        self._steps.append(RecoveryStep(name, damage, kept, time.perf_counter() - began))

    def _recalibrated(self, model: onnx.ModelProto, config: CalibrationConfig) -> tuple[onnx.ModelProto, Calibration]:
        self._file.write_bytes(model.SerializeToString())
        return model, calibrate(self._file, lambda: in_batches(self._images, self._batch), config)

    def _batches(self) -> Iterator[Batch]:
        return in_batches(self._images.only(slice(_IMAGES)), self._batch)

    def _equalised(self, model: onnx.ModelProto) -> onnx.ModelProto | None:
        """The model with its channels brought together, None where none can be."""
        graph = index(model)
        found = stretches(graph)
        # What a ReLU is fused with never exists: its negative values count for nothing.
        real = {*plan(graph).observed}
        ranges = self._channel_ranges(model, [name for each in found for name in each.tensors if name in real])
        for each in found:
            equalise(graph, each, ranges)
        return model if found else None

    def _channel_ranges(self, model: onnx.ModelProto, names: Sequence[str]) -> dict[str, Floats]:
        """The largest magnitude of each channel of some tensors."""
        found: dict[str, Floats] = {}
        for values in _outputs(model, names, self._batches()) if names else ():
            for name, value in zip(names, values, strict=True):
                largest = np.abs(value).max(axis=(0, *range(2, value.ndim))).astype(np.float64)
                found[name] = np.maximum(found.get(name, largest), largest)
        return found

    def _corrected(self, exact: onnx.ModelProto, *, rounding: bool) -> onnx.ModelProto:
        """A copy with other biases, and where `rounding` is asked for with rounded weights, layer by layer."""
        model = _copy(exact)
        for node in exact.graph.node:
            if node.op_type in {"Conv", "Gemm"} and node.name not in self._float_nodes:
                self._correct_layer(model, exact, node.name, rounding=rounding)
        return model

    def _correct_layer(self, model: onnx.ModelProto, exact: onnx.ModelProto, name: str, *, rounding: bool) -> None:
        """Correct one layer by what enters it in INT8, the layers before it being corrected already; `exact` none."""
        layer = _Layer.of(index(model), name)
        if layer is None:
            return
        quantised = self._quantised(model, self._calibration)
        entering = next(node.input[0] for node in quantised.graph.node if node.name == name)
        leaving = next(node.output[0] for node in exact.graph.node if node.name == name)
        moments, inputs, outputs, count = 0.0, 0.0, 0.0, 0
        streams = zip(
            _outputs(quantised, [entering], self._batches()), _outputs(exact, [leaving], self._batches()), strict=True
        )
        generator = np.random.default_rng(0)
        for (values,), (wanted,) in streams:
            columns, targets = layer.columns(values, wanted, generator)
            if rounding:
                moments = moments + np.einsum("gsk,gsl->gkl", columns, columns, optimize=True)
            inputs, outputs = inputs + columns.sum(axis=1), outputs + targets.sum(axis=0)
            count += columns.shape[1]
        weight = layer.rounded(np.asarray(moments, np.float64) / count) if rounding else layer.nearest()
        bias = np.asarray(outputs) / count - layer.product(weight, np.asarray(inputs) / count)
        layer.store(weight if rounding else layer.matrices(), bias)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A convolution or product with a constant weight, as one product for each group: weight [groups, out, in]."""

    graph: Graph
    node: onnx.NodeProto
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, graph: Graph, name: str) -> _Layer | None:
        """The layer of that name; None for one that is of another form."""
        node = next(node for node in graph.proto.graph.node if node.name == name)
        weight = layer_weight(graph, node)
        return None if weight is None else cls(graph, node, weight)

    @property
    def _groups(self) -> int:
        return groups_of(self.node)

    def matrices(self) -> Floats:
        """The weight as [groups, out, in]."""
        moved = np.moveaxis(self.weight, weight_axis(self.node), 0).astype(np.float64)
        return moved.reshape(self._groups, len(moved) // self._groups, -1)

    def columns(
        self, values: NDArray[np.float32], wanted: NDArray[np.float32], generator: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """What enters [groups, samples, in] and what should leave [samples, groups * out], at some positions."""
        if self.weight.ndim == 2:
            return values.reshape(1, len(values), -1).astype(np.float64), wanted.astype(np.float64)
        sizes = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
        sizes |= {each.name: tuple(each.ints) for each in self.node.attribute if each.name in sizes}
        (sy, sx), (dy, dx), (top, left, bottom, right) = sizes["strides"], sizes["dilations"], sizes["pads"]
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        ky, kx = self.weight.shape[2:]
        windows = np.lib.stride_tricks.sliding_window_view(padded, ((ky - 1) * dy + 1, (kx - 1) * dx + 1), axis=(2, 3))
        count = len(values) * min(_POSITIONS, wanted.shape[2] * wanted.shape[3])
        image = generator.integers(len(values), size=count)
        y, x = generator.integers(wanted.shape[2], size=count), generator.integers(wanted.shape[3], size=count)
        taken = windows[image, :, y * sy, x * sx][..., ::dy, ::dx].reshape(count, self._groups, -1)
        return taken.transpose(1, 0, 2).astype(np.float64), wanted[image, :, y, x].astype(np.float64)

    def nearest(self) -> Floats:
        """The weight [groups, out, in] as it is quantised."""
        axis = weight_axis(self.node)
        values, scale = quantise(self.weight, axis)
        steps = np.moveaxis(values, axis, 0).reshape(len(scale), -1).astype(np.float64)
        return (steps * scale.astype(np.float64)[:, None]).reshape(self._groups, len(scale) // self._groups, -1)

    def rounded(self, moments: Floats) -> Floats:
        """The weight [groups, out, in] on its grid, by the second moments [groups, in, in] of what enters."""
        return np.stack([round_by(matrix, moment) for matrix, moment in zip(self.matrices(), moments, strict=True)])

    def product(self, weight: Floats, inputs: Floats) -> Floats:
        """What leaves without a bias, [groups * out], for inputs [groups, in]."""
        left: Floats = np.einsum("goi,gi->go", weight, inputs)
        return left.reshape(-1)

    def store(self, weight: Floats, bias: Floats) -> None:
        """Put weight and bias into the graph."""
        axis = weight_axis(self.node)
        shape = np.moveaxis(self.weight, axis, 0).shape
        replace_operand(self.graph, self.node, 1, np.moveaxis(weight.reshape(shape), 0, axis))
        replace_operand(self.graph, self.node, 2, bias)


def round_by(weight: Floats, moment: Floats) -> Floats:
    """A weight [out, in] on its INT8 grid, one scale an output: the outputs for inputs of second moment [in, in] stay.
    Rows that the nearest values serve as well take those.

    The largest of each row keeps its value, so that the grid found from the result is the same one.
    """
    scale = quantise(np.asarray(weight, np.float32), 0)[1].astype(np.float64)[:, None]
    damped = moment + np.eye(len(moment)) * (_DAMPING * np.trace(moment) / len(moment) + 1e-12)
    # Large inputs first: what is rounded last finds nobody to make up for it.
    order = np.argsort(-np.diag(damped))
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest, found = weight[:, order].copy(), np.empty_like(weight)
    fixed = np.abs(weight[:, order]) >= LEVELS * scale * (1 - 1e-6)
    for start in range(0, len(order), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(order)))
        errors = np.zeros((len(weight), block.stop - start))
        for column in range(start, block.stop):
            ratio = rest[:, column] / scale[:, 0]
            steps = np.clip(np.rint(ratio), -LEVELS, LEVELS)
            steps = np.where(fixed[:, column], np.sign(weight[:, order[column]]) * LEVELS, steps)
            found[:, column] = steps * scale[:, 0]
            error = (rest[:, column] - found[:, column]) / upper[column, column]
            rest[:, column : block.stop] -= np.outer(error, upper[column, column : block.stop])
            errors[:, column - start] = error
        rest[:, block.stop :] -= errors @ upper[block, block.stop :]
    chosen, nearest = np.empty_like(found), np.clip(np.rint(weight / scale), -LEVELS, LEVELS) * scale
    chosen[:, order] = found

    def harm(rounded: Floats) -> Floats:
        """The mean square of what rounding does to each output."""
        return np.asarray(np.einsum("oi,ij,oj->o", rounded - weight, moment, rounded - weight, optimize=True))

    return np.where((harm(chosen) < harm(nearest))[:, None], chosen, nearest)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _outputs(
    model: onnx.ModelProto, names: Sequence[str], batches: Iterator[Batch]
) -> Iterator[list[NDArray[np.float32]]]:
    """Some tensors of a model, batch by batch; what none of them needs is not computed."""
    own = _copy(model)
    fed = {value.name for value in own.graph.input}
    del own.graph.output[:]
    for name in names:
        if name not in fed:
            own.graph.output.add(name=name).type.tensor_type.elem_type = 1
    runner = Session(own) if own.graph.output else None
    for batch in batches:
        computed = dict(zip(runner.output_names, runner.run_all(batch), strict=True)) if runner else {}
        yield [computed[name] if name in computed else np.asarray(batch) for name in names]
