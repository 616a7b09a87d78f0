"""Calibrate: images in, one scale for every tensor of the network out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from dlaflow.errors import InputError
from dlaflow.files import sha256_of
from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize import auto
from dlaflow.quantize.calibration import LEVELS, Calibration, CalibrationConfig, TensorScale
from dlaflow.quantize.checkpoint import Checkpoint, RunningFingerprint, State, key_of, skip
from dlaflow.quantize.feed import Batch
from dlaflow.quantize.histogram import Histogram
from dlaflow.quantize.methods import AUTO, METHODS, percentile
from dlaflow.quantize.model import QUANTISED, Graph, for_qdq, index
from dlaflow.quantize.observe import Observer
from dlaflow.quantize.plan import Plan, plan

_FLOAT16 = 10
"""onnx.TensorProto.FLOAT16."""

Batches = Callable[[], Iterable[Batch]]
"""Called for each pass over the images; yields [n, C, H, W] as the model expects it, or a Feed for several inputs."""


def calibrate(
    model: Model | Path, batches: Batches, config: CalibrationConfig | None = None, progress: Progress = silent
) -> Calibration:
    """Scales for every activation of `model`, from one pass over `batches` (`auto`: a second one over a part of them).

    Raises InputError for a model or images that cannot be used: not float32, no images, NaN or infinite activations.
    """
    config = config or CalibrationConfig()
    held = as_model(model, config.shapes)
    graph = index(held.proto)
    tensors = plan(graph)
    _refuse_converted(held.path, graph)
    if not tensors.observed:
        raise InputError(f"{held.path} has no float32 activations", expected="a float32 model", received="none")
    model_sha256 = held.sha256 or sha256_of(held.path)
    checkpoint = Checkpoint(config.checkpoint, key_of(model_sha256, tensors.observed), config.checkpoint_seconds)
    seen = _observe(Observer(held, tensors.observed), batches, config, checkpoint, progress)
    if config.method == AUTO:
        again = index(for_qdq(held.whole()))
        chosen = _auto(again, seen, limited(batches(), min(seen.images, auto.IMAGES)), progress)
    else:
        chosen = {histogram.name: choose(histogram, config) for histogram in seen.histograms}
    calibration = assemble(tensors, chosen, Calibration((), config.method, seen.images, model_sha256, seen.fingerprint))
    checkpoint.remove()
    return calibration


def _refuse_converted(model: Path, graph: Graph) -> None:
    """A model that is quantised or FP16 already would yield the scales of something else than the user means."""
    quantised = sorted({node.op_type for node in graph.proto.graph.node} & QUANTISED)
    if quantised:
        then = "Calibrate the float model it was made from."
        if "QuantizeLinear" in quantised:
            then = f"{then[:-1]}, or take the scales out with `dlaflow cache from-qdq`."
        found = f"{', '.join(quantised)} nodes"
        raise InputError(f"{model} is quantised already", expected="a float32 model", received=found, then=then)
    if any(tensor.data_type == _FLOAT16 for tensor in graph.proto.graph.initializer):
        then = "Calibrate before converting to FP16."
        raise InputError(f"{model} is an FP16 model", expected="a float32 model", received="float16 weights", then=then)


def _observe(
    observer: Observer, batches: Batches, config: CalibrationConfig, checkpoint: Checkpoint, progress: Progress
) -> State:
    """Count all images, going on from the checkpoint where one fits."""
    remaining: Iterator[Batch] | None = None
    running, images = RunningFingerprint(), 0
    state = checkpoint.read([histogram.name for histogram in observer.histograms])
    if state is not None:
        remaining = skip(limited(batches(), config.images), state)
        if remaining is not None:
            observer.histograms = list(state.histograms)
            running.value, images = state.fingerprint, state.images
    try:
        with progress("calibrate", config.images, "images") as task:
            task.advance(images)
            for batch in remaining if remaining is not None else limited(batches(), config.images):
                running.add(batch)
                observer.add(batch)
                images += len(batch)
                task.advance(len(batch))
                if checkpoint.due():
                    checkpoint.write(observer.histograms, images, running.value)
            if config.method == AUTO:
                checkpoint.write(observer.histograms, images, running.value)
    finally:
        observer.close()
    if not images:
        raise InputError("no calibration images", expected="at least 1", received=0, then="Check --data and --samples.")
    return State(images, running.value, observer.histograms)


def limited(batches: Iterable[Batch], images: int | None) -> Iterator[Batch]:
    """At most `images` images; the last batch is cut."""
    left = images
    for batch in batches:
        if left is None:
            yield batch
            continue
        yield batch[:left]
        left -= len(batch)
        if left <= 0:
            return


def choose(histogram: Histogram, config: CalibrationConfig) -> TensorScale:
    """The scale of one observed tensor by the configured method."""
    if config.method == "percentile":
        threshold = percentile(histogram, config.percentile)
    else:
        threshold = METHODS[config.method](histogram)
    return _scale(histogram, threshold, config.method)


def _auto(graph: Graph, seen: State, batches: Iterable[Batch], progress: Progress) -> dict[str, TensorScale]:
    best = auto.best_proposals(graph, {item.name: auto.proposals(item) for item in seen.histograms}, batches, progress)
    nothing = auto.Proposal("none", 0.0)
    found = [(histogram, best.get(histogram.name, nothing)) for histogram in seen.histograms]
    return {histogram.name: _scale(histogram, chosen.threshold, chosen.method) for histogram, chosen in found}


def _scale(histogram: Histogram, threshold: float, method: str) -> TensorScale:
    # float32 as in the cache, so that both outputs carry the very same scale.
    return TensorScale(histogram.name, float(np.float32(threshold / LEVELS)), histogram.largest, method)


def assemble(tensors: Plan, chosen: Mapping[str, TensorScale], frame: Calibration) -> Calibration:
    """All tensors from the observed ones: groups take their largest scale, followers copy; `frame` gives the rest."""
    scales = dict(chosen)
    warnings = []
    for name, tensor in chosen.items():
        if tensor.scale == 0:
            # Every scale represents a tensor of zeros; one that divides by zero is of no use to anybody.
            scales[name] = TensorScale(name, 1 / LEVELS, tensor.largest, tensor.method)
            warnings.append(f"tensor {name!r} was zero for every image: its scale is arbitrary")
    for group in tensors.tied:
        widest = max(
            (scales[name] for name in group if scales[name].largest > 0), key=lambda item: item.scale, default=None
        )
        for name in group if widest else ():
            own = scales[name]
            if widest and name != widest.name:
                scales[name] = TensorScale(name, widest.scale, own.largest, widest.method, f"tied to {widest.name}")
    for name, leader in tensors.leader.items():
        source = scales[leader]
        scales[name] = TensorScale(name, source.scale, source.largest, source.method, f"follows {leader}")
    ordered = tuple(scales[name] for name in tensors.tensors)
    return Calibration(
        ordered, frame.method, frame.images, frame.model_sha256, frame.data_sha256, (*frame.warnings, *warnings)
    )
