"""Measured artefacts become answers: how fast, where the time goes, what switched, and what to change first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from dlaflow.observed.build import ObservedBuild, ObservedLayer, Sources, observe
from dlaflow.observed.names import parts_of
from dlaflow.observed.overlay import Overlay, lay_over
from dlaflow.observed.target import contradictions
from dlaflow.parse.exports import Query, TimesFile
from dlaflow.parse.log import LogRun, Note, Outcome, Performance, Profile, Times
from dlaflow.parse.nsys import HardwareTask
from dlaflow.parse.read import UNTESTED
from dlaflow.parse.rows import dla_names
from dlaflow.profile.advice import Advice, advise, times_of
from dlaflow.profile.breakdown import Breakdown, TopLayer, breakdown_of, top_layers
from dlaflow.profile.capture import CaptureSummary
from dlaflow.profile.changes import DeviceChange, changes_of
from dlaflow.profile.evidence import Evidence, Files, read_evidence
from dlaflow.profile.spread import Running, Spread
from dlaflow.types import Device, Measurement, Placement

__all__ = ["Files", "Profiled", "profile_of", "read_profile"]


_SILENT = Note(
    "no_placement",
    "Where layers run is told by the log of the build (--verbose, with 2>&1), by --exportProfile, by --exportLayerInfo "
    "with --profilingVerbosity=detailed, or by a capture.",
)


@dataclass(frozen=True, slots=True)
class Profiled:
    """One profile. `placement` is the build laid over the model's graph, None without the model (`predicted`).

    `onnx_nodes` maps a layer of the engine to the ONNX nodes behind it, empty without the model; `lenient` are printed
    names that no layer bears as they stand, with the layers taken for them. `outcome` says whether the run worked and,
    if not, why: unknown without a log. `changes` are the changes of device in order.
    """

    name: str
    run: LogRun | None
    measured: ObservedBuild | None
    placement: Placement | None
    predicted: Placement | None
    measurements: tuple[Measurement, ...]
    breakdown: Breakdown | None
    capture: CaptureSummary | None
    hardware: tuple[HardwareTask, ...]
    top: tuple[TopLayer, ...]
    advice: tuple[Advice, ...]
    notes: tuple[Note, ...]
    onnx_nodes: dict[str, list[str]]
    lenient: tuple[tuple[str, str], ...] = ()
    outcome: Outcome = field(default_factory=Outcome)
    changes: tuple[DeviceChange, ...] = ()


def read_profile(files: Files, predicted: Placement | None = None) -> Profiled:
    """Read whatever is given and answer. `predicted` is `check`'s placement of the same model and target.

    Raises InputError when a file cannot be used.
    """
    return profile_of(read_evidence(files), predicted)


def profile_of(evidence: Evidence, predicted: Placement | None = None) -> Profiled:
    """Answer from evidence that is already read."""
    run = evidence.run
    known = dla_names(run.placement, run.engine_layers) if run else None
    breakdown = breakdown_of(evidence.profile, known) if evidence.profile else None
    measured = _observe(evidence)
    over = lay_over(measured, predicted) if measured and predicted else None
    if measured and over:
        counted = over.placement.summary
        measured = replace(measured, switches=counted.switches, loadables=counted.loadables)
    in_order = _in_model_order(measured, over) if measured and over and not measured.ordered else measured
    times = times_of(breakdown, evidence.capture)
    # A release that books the DLA's time on the copies beside it says nothing of what those cost.
    costs = {} if breakdown and breakdown.moved and evidence.capture is None else times
    return Profiled(
        name=evidence.name,
        run=run,
        measured=measured,
        placement=over.placement if over else None,
        predicted=predicted,
        measurements=tuple(_measurements(evidence, breakdown)),
        breakdown=breakdown,
        capture=evidence.capture,
        hardware=evidence.hardware,
        top=tuple(_top(breakdown, evidence.capture)),
        changes=tuple(changes_of(measured, costs, over, predicted)) if measured else (),
        advice=tuple(advise(in_order, run, times, predicted)),
        notes=(
            *_notes(evidence, breakdown),
            *_against(run, predicted),
            *([_SILENT] if _is_silent(evidence, measured) else []),
        ),
        onnx_nodes=_onnx_nodes(over) if over else {},
        lenient=tuple(sorted(over.lenient.items())) if over else (),
        outcome=evidence.outcome,
    )


def _observe(evidence: Evidence) -> ObservedBuild | None:
    """The build, from whatever tells it; names without types are no ground to speak of the DLA here."""
    capture, info = evidence.capture, evidence.layer_info
    inference = capture.sample[capture.first_warm].layers if capture and capture.sample else ()
    detailed = info if info and info.detailed else None
    return observe(Sources(evidence.run, detailed, evidence.profile, inference), evidence.name)


def _in_model_order(measured: ObservedBuild, over: Overlay) -> ObservedBuild:
    """The layers of the graph in the model's order, where the files have none: stretches on the GPU need one."""
    messages = {part: layer.messages for layer in measured.layers for part in (layer.name, *parts_of(layer.name))}
    layers = tuple(
        ObservedLayer(layer.name, layer.kind, layer.device, messages=messages.get(layer.name, ()))
        for layer in over.placement.layers
        if layer.device is not Device.FOLDED
    )
    return replace(measured, layers=layers, ordered=True)


def _onnx_nodes(over: Overlay) -> dict[str, list[str]]:
    """The ONNX nodes behind each layer of the engine; empty lists where the names do not match."""
    pairs = zip(over.build.layers, over.members, strict=True)
    return {
        entry.name: list(dict.fromkeys(node for layer in layers for node in layer.onnx_nodes))
        for entry, layers in pairs
    }


def _top(breakdown: Breakdown | None, capture: CaptureSummary | None) -> list[TopLayer]:
    if capture is not None and capture.layer_times and capture.span_ms is not None:
        total = capture.span_ms.mean or 1.0
        found = [
            TopLayer(window.name, "DLA", window.ms.mean, window.ms.mean / total)
            for window in capture.windows
            if window.ms
        ]
        found += [
            TopLayer(layer.name, "GPU", layer.gpu_ms, layer.gpu_ms / total)
            for layer in capture.layer_times
            if layer.device == "GPU"
        ]
        return sorted(found, key=lambda layer: -layer.ms)[:10]
    return top_layers(breakdown) if breakdown else []


def _measurements(evidence: Evidence, breakdown: Breakdown | None) -> list[Measurement]:
    found: list[Measurement] = []
    subject = evidence.name
    if evidence.run is not None and evidence.run.performance is not None:
        found += _of_summary(subject, evidence.run, evidence.run.performance)
    if evidence.times is not None and evidence.times.queries:
        queries, which = _timed_queries(evidence.times, evidence.run)
        for quantity, values in (
            ("latency", [query.latency_ms for query in queries]),
            ("compute time", [query.compute_ms for query in queries]),
        ):
            found += _of_spread(quantity, subject, _spread(values), "ms", f"{which} of --exportTimes")
    if breakdown is not None:
        n = breakdown.iterations or 0
        detail = "per-layer profile; the profiler waits after each layer"
        for quantity, value in (
            ("profiled latency", breakdown.total_ms),
            ("DLA time", breakdown.dla_ms),
            ("GPU time", breakdown.gpu_ms + breakdown.copy_ms),
            ("reformat time", breakdown.reformat_ms),
        ):
            found.append(Measurement(quantity, subject, value, "ms", n, detail=detail))
        found.append(Measurement("device changes", subject, breakdown.switches, "per inference", n, detail=detail))
    if evidence.capture is not None:
        found += _of_capture(subject, evidence.capture)
    busy = [(task.end - task.start) / 1e6 for task in evidence.hardware if task.engine.startswith("DLA")]
    found += _of_spread("DLA task", subject, _spread(busy), "ms", "the accelerator's own trace")
    if evidence.power is not None:
        found += _of_power(subject, evidence)
    return found


def _timed_queries(times: TimesFile, run: LogRun | None) -> tuple[tuple[Query, ...], str]:
    """The queries without the warm-up, which is in the file up to 8.4: the log tells how many there were."""
    warm = run.figures.warmup_queries if run else None
    timed = run.figures.timed_queries if run else None
    if warm and timed and len(times.queries) == warm + timed:
        return times.queries[warm:], "timed queries"
    old = any(query.end_to_end_ms is not None for query in times.queries)
    return times.queries, "every query, warm-up included," if old else "every query"


def _of_summary(subject: str, run: LogRun, performance: Performance) -> list[Measurement]:
    n = run.figures.timed_queries or 0
    detail = f"trtexec, TensorRT {run.tensorrt or 'of unknown version'}"
    found = []
    if performance.throughput_qps is not None:
        found.append(Measurement("throughput", subject, performance.throughput_qps, "queries/s", n, detail=detail))
    for quantity, times in (("latency", performance.latency), ("compute time", performance.gpu_compute)):
        if times is not None and times.mean is not None:
            found.append(Measurement(quantity, subject, times.mean, "ms", n, detail=f"{detail}; {_tail(times)}"))
    return found


def _tail(times: Times) -> str:
    parts = [] if times.median is None else [f"median {times.median:g}"]
    return ", ".join(parts + [f"{each.percent:g}% {each.ms:g}" for each in times.percentiles])


def _of_spread(quantity: str, subject: str, spread: Spread | None, unit: str, detail: str) -> list[Measurement]:
    if spread is None:
        return []
    return [Measurement(quantity, subject, spread.mean, unit, spread.n, spread.interval, detail=detail)]


def _of_capture(subject: str, capture: CaptureSummary) -> list[Measurement]:
    detail = f"Nsight Systems {capture.info.exporter}; {capture.cold} cold inferences left out"
    found: list[Measurement] = []
    for quantity, spread in (
        ("stream time", capture.span_ms),
        ("DLA time", capture.dla_ms),
        ("GPU time", capture.gpu_ms),
        ("reformat time", capture.reformat_ms),
        ("idle time", capture.idle_ms),
        ("enqueue time", capture.host_ms),
    ):
        found += _of_spread(quantity, subject, spread, "ms", detail)
    n = capture.inferences - capture.cold
    if capture.layers:
        found.append(Measurement("device changes", subject, capture.switches, "per inference", n, detail=detail))
    return found


def _of_power(subject: str, evidence: Evidence) -> list[Measurement]:
    """Mean power by rail; VDD_IN and VIN are the whole module and are not to be added to the others.

    A rail's name may come twice in a line (`NC`): then its place is told.
    """
    rails: dict[str, list[float | None]] = {}
    units: dict[str, list[float | None]] = {}
    for sample in evidence.power.samples if evidence.power else ():
        seen: list[str] = []
        for rail in sample.rails:
            seen.append(rail.name)
            place = seen.count(rail.name)
            name = rail.name if place == 1 else f"{rail.name} #{place}"
            rails.setdefault(name, []).append(float(rail.current_mw))
        for unit in sample.engines:
            short = unit.name.removeprefix("NV")
            if short.startswith("DLA") and unit.mhz:
                units.setdefault(f"{short} clock", []).append(float(unit.mhz[0]))
            if unit.load_percent is not None and (short.startswith("DLA") or unit.name == "GR3D"):
                quantity = "GPU load" if unit.name == "GR3D" else f"{short} load"
                units.setdefault(quantity, []).append(float(unit.load_percent))
    found: list[Measurement] = []
    for name, values in rails.items():
        found += _of_spread("power", f"{subject} {name}", _spread(values), "mW", "tegrastats")
    for quantity, values in units.items():
        unit_name = "MHz" if quantity.endswith("clock") else "%"
        found += _of_spread(quantity, subject, _spread(values), unit_name, "tegrastats, while it is powered")
    return found


def _spread(values: Iterable[float | None]) -> Spread | None:
    running = Running()
    for value in values:
        if value is not None and math.isfinite(value):
            running.add(value)
    return running.finish()


def _notes(evidence: Evidence, breakdown: Breakdown | None) -> list[Note]:
    notes = list(evidence.run.notes) if evidence.run else []
    if evidence.runs > 1:
        notes.append(Note("several_runs", f"The log holds {evidence.runs} runs; the first is taken."))
    if breakdown is not None and breakdown.assumed:
        text = "Rows count as DLA by their names alone, and GPU nodes may look the same: add the log of the build."
        notes.append(Note("dla_by_name", text))
    if breakdown is not None and breakdown.moved:
        text = "This release books the DLA's time on the copies beside its node: rows are summed per DLA region."
        notes.append(Note("time_on_neighbour_row", text))
    if evidence.layer_info is not None and any(layer.type == "DLA" for layer in evidence.layer_info.layers):
        notes.append(Note("untested", f"Layer information with DLA layers is {UNTESTED}."))
    if evidence.hardware:
        notes.append(Note("untested", f"Accelerator traces are {UNTESTED}."))
    capture = evidence.capture
    if capture is not None:
        if evidence.profile is not None and _strangers(evidence.profile, capture):
            text = "The profile and the capture name different layers: they are of two engines."
            notes.append(Note("two_engines", text))
        if not capture.layers:
            why = (
                "CUDA graphs hide them: capture without --useCudaGraph." if capture.info.cuda_graphs else _why(capture)
            )
            notes.append(Note("no_layer_ranges", f"The capture shows no layers of TensorRT. {why}"))
        elif capture.dla_ms is not None and capture.submits:
            text = "DLA time is the gap on the stream around each task: its work and the hand-over together."
            notes.append(Note("dla_window", text))
        if any(name.startswith("{ForeignNode[") for name in _silent(capture)):
            text = "DLA candidates ran without a trace of their tasks: CUDA tables do not show the DLA. Trace cudla."
            notes.append(Note("dla_not_traced", text))
        if capture.threads > 1:
            notes.append(Note("several_threads", f"{capture.threads} threads ran inferences; the sums are over all."))
        if capture.irregular:
            notes.append(Note("irregular", f"{capture.irregular} inferences differ from the usual one."))
    return notes


def _strangers(profile: Profile, capture: CaptureSummary) -> bool:
    """Whether they share less than half of the layers of the longer one; each prints the engine's own names."""
    ours, theirs = {row.name for row in profile.rows}, {layer.name for layer in capture.layer_times}
    return bool(theirs) and 2 * len(ours & theirs) < max(len(ours), len(theirs))


def _against(run: LogRun | None, predicted: Placement | None) -> list[Note]:
    """What the log says otherwise than the prediction that stands beside it."""
    found = contradictions(run, predicted.target) if predicted else []
    text = "The prediction is for {0.what} {0.expected}, the log says {0.received}: give the target of the build."
    return [Note("other_target", text.format(each)) for each in found]


def _is_silent(evidence: Evidence, measured: ObservedBuild | None) -> bool:
    """Whether nothing tells where layers ran, and no other note says how to learn it."""
    return measured is None and evidence.capture is None and evidence.outcome.state != "failed"


def _silent(capture: CaptureSummary) -> list[str]:
    """Layers that neither launched nor submitted anything."""
    return [layer.name for layer in capture.layer_times if not layer.device]


def _why(capture: CaptureSummary) -> str:
    if "cuDLA" in capture.info.domains and "TensorRT" not in capture.info.domains:
        return "It is of cuDLA without TensorRT: a loadable shows no layers here, its layer statistics (CSV) do."
    if capture.info.missing:
        return f"It lacks {', '.join(capture.info.missing)}: capture with --trace=cuda,nvtx,cudla."
    return "Capture with --trace=cuda,nvtx,cudla, and build the engine without stripping layer names."
