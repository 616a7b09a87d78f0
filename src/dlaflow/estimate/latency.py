"""Estimate a model on a board: latency, rates and energy with 80% intervals, split by where the time goes."""

from __future__ import annotations

from dataclasses import replace
from math import hypot

from dlaflow.estimate.advice import advise
from dlaflow.estimate.answer import Estimate, Range
from dlaflow.estimate.energy import energy_per_image, gpu_over_dla
from dlaflow.estimate.moves import cheaper_on_gpu
from dlaflow.estimate.parameters import dla_set
from dlaflow.estimate.program import assemble, assignments_of, with_helpers
from dlaflow.estimate.schedule_flow import GPU, Stream, beside_itself, dla_stream, flows, shipped_sharing
from dlaflow.estimate.schedule_pieces import gpu_piece
from dlaflow.estimate.setting import MEASURED_BOARDS, Setting, setting_of
from dlaflow.estimate.split import Split, Workload, split_of
from dlaflow.estimate.width import half_width, kind_shares, unseen_kinds
from dlaflow.graph.layer import Network, Reading
from dlaflow.rules.case import judged
from dlaflow.targets.target import Target
from dlaflow.types import Placement

_TOLD = 0.02
"""From this share of the time on, kinds that no point tells of are named."""
_WHOLE, _ASIDE = 0.99, 0.2
"""Energy ratios are of networks wholly on the DLA: this share of the work, at most that share of time aside."""
_TOGETHER = 0.25
"""Half width of the sum of GPU and DLA rates on the logarithm, from held-out MLPerf Offline points."""


def estimate(
    network: Network, placement: Placement, target: Target, power_mode: str | None = None, *, moves: bool = False
) -> Estimate:
    """Estimate `network`, placed as `placement`, on `target` in `power_mode` (default MAXN with clocks locked).

    With `moves` also which layers are better left on the GPU: a few more placements where any layer asks for it.
    Raises UsageError for a power mode that the board does not have.
    """
    target = judged(network, target)
    setting = setting_of(target, power_mode, typed=network.typed)
    asked = placement.target.batch
    batch = batch_of(network) or asked
    if network.dynamic_inputs:
        return _unknown(setting, batch, None, (f"{', '.join(network.dynamic_inputs)}: no size, name one with --shape",))
    nonsense = [refusal for refusal in network.refusals if refusal.reading is Reading.CONTRADICTION]
    if nonsense:
        return _unknown(setting, batch, None, (f"{nonsense[0].node} contradicts itself: {nonsense[0].reason}",))
    gpu_alone = _gpu_alone(network, setting)
    work = Workload.of(assemble(with_helpers(network, placement), assignments_of(placement)))
    problem, mac_share = _why_unknown(setting, work), placement.summary.dla_mac_share
    if problem or mac_share is None:
        problem = problem or ("the sizes of some layers are not known",)
        return _unknown(setting, batch, gpu_alone, problem)
    width = _half_width(setting, work)
    split = split_of(work, setting.dla.engine, setting.conditions, setting.gpu)
    latency = Range.around(split.total, width)
    other, ratio = _other_precision(work, setting, split)
    whole = mac_share > _WHOLE and (split.gpu + split.switches) < _ASIDE * split.total
    energy_ratio = gpu_over_dla(target.board.id, setting.clocks.mode) if whole else None
    fp16_ratio = ratio if target.precision == "fp16" else None
    fixed = [f"the model's batch is fixed at {batch}, so a batch of {asked} does not apply"] if asked != batch else []
    return Estimate(
        board=target.board.id,
        mode=setting.clocks.mode,
        precision=target.precision,
        batch=batch,
        basis=_basis(setting),
        latency=latency,
        throughput=latency.inverse(1e3 * batch),
        split=split,
        gpu_alone=gpu_alone,
        two_cores=_two_cores(work, setting, batch, width),
        with_gpu=_with_gpu(work, setting, batch, gpu_alone),
        sparse=_sparse(work, setting, width),
        other_precision=other,
        dla_precision_ratio=ratio,
        energy_mj=energy_per_image(
            target.board.id, setting.dla.source.key, setting.clocks.dla_mhz or 0, split.dla / batch
        ),
        gpu_energy_ratio=energy_ratio,
        advice=advise(
            split, latency, gpu_alone, fp16_ratio=fp16_ratio, energy_ratio=energy_ratio, dla_mac_share=mac_share
        ),
        notes=(*_notes(setting, work), *fixed),
        move=cheaper_on_gpu(network, placement, setting) if moves else None,
    )


def latency_ms(network: Network, placement: Placement, target: Target) -> float | None:
    """The median latency in ms of a placed network at full clocks, without intervals or what else `estimate` answers.

    For comparing placements of one network with each other; about 2 ms for a hundred layers. Without anything on the
    DLA it is the GPU's time. None without an answer.
    """
    setting = setting_of(judged(network, target), None, typed=network.typed)
    work = Workload.of(assemble(with_helpers(network, placement), assignments_of(placement)))
    if not work.program.loadables:
        alone = _gpu_alone(network, setting)
        return alone.value if alone else None
    if _why_unknown(setting, work):
        return None
    return split_of(work, setting.dla.engine, setting.conditions, setting.gpu).total


def batch_of(network: Network) -> int | None:
    """The leading dimension of the network's image inputs; None when it is open or there is none."""
    sizes = {tensor.shape[0] for tensor in network.inputs if tensor.shape is not None and len(tensor.shape) == 4}
    return sizes.pop() if len(sizes) == 1 else None


def _why_unknown(setting: Setting, work: Workload) -> tuple[str, ...]:
    """Why the DLA's part has no answer; empty when it has one."""
    board = setting.target.board
    reasons = []
    if board.dla_version is None:
        reasons.append(f"{board.name} has no DLA")
    elif not setting.clocks.dla_mhz:
        reasons.append(f"the DLA clock of {board.name} in {setting.clocks.mode} is not published")
    elif not work.program.loadables:
        reasons.append("no layer runs on the DLA")
    for names, reason in (
        (work.program.unknown, "the size of {}'s output is not known"),
        (work.program.steering, "how often {} runs its steps, or which branch it takes, is not counted"),
    ):
        if names:
            reasons.append(reason.format(names[0]) + (f" (x{len(names)})" if len(names) > 1 else ""))
    return tuple(reasons)


def _half_width(setting: Setting, work: Workload) -> float:
    """The interval of the set for this work, wider for boards and clocks that nobody measured."""
    return half_width(setting.dla.source, work, setting.dla.engine, setting.conditions) * setting.widening


def _gpu_alone(network: Network, setting: Setting) -> Range | None:
    piece = gpu_piece(network, setting)
    return Range.around(piece.stream.alone_ms, piece.width) if piece else None


def _two_cores(work: Workload, setting: Setting, batch: int, width: float) -> Range | None:
    cores = setting.target.board.dla_cores
    if cores < 2:
        return None
    each = beside_itself(work, setting.dla.engine, replace(setting.conditions, cores=cores), setting.gpu)
    return Range.around(cores * batch * 1e3 / each, width)


def _with_gpu(work: Workload, setting: Setting, batch: int, gpu_alone: Range | None) -> Range | None:
    """Both cores and the GPU at once, each with batches of its own: the schedule of a network beside itself."""
    cores = setting.target.board.dla_cores
    if gpu_alone is None or not cores:
        return None
    stream, _ = dla_stream(work, setting.dla.engine, setting.conditions, setting.gpu)
    together = [Stream(GPU, gpu_alone.value, gpu_alone.value, gpu_alone.value)]
    together += [replace(stream, core=f"DLA {core}") for core in range(cores)]
    sharing = shipped_sharing(setting.target.version)
    rate = batch * sum(flow.rate for flow in flows(together, sharing))
    return Range.around(rate, hypot(_TOGETHER, (gpu_alone.high / gpu_alone.value - 1) / 2) * setting.widening)


def _sparse(work: Workload, setting: Setting, width: float) -> Range | None:
    if setting.dla.source.key != "v2-int8":
        return None
    split = split_of(work, setting.dla.engine, replace(setting.conditions, sparse=True), setting.gpu)
    return Range.around(split.total, width)


def _other_precision(work: Workload, setting: Setting, split: Split) -> tuple[Range | None, float | None]:
    """The latency in the other precision, and how many times longer FP16 takes inside the loadables.

    No latency where the user's own measurements tell of one precision alone: beside learned numbers shipped ones show
    the difference of two boards.
    """
    name = "fp16" if setting.target.precision == "int8" else "int8"
    other = dla_set(setting.dla.engine.generation, name, setting.target.board.id)
    swapped = split_of(work, other.engine, setting.conditions, setting.gpu)
    slow, fast = (swapped, split) if name == "fp16" else (split, swapped)
    latency = Range.around(swapped.total, other.source.spread.network * setting.widening)
    return (
        latency if other.source.learned == setting.dla.source.learned else None,
        slow.dla / fast.dla if fast.dla else None,
    )


def _basis(setting: Setting) -> str:
    source, board = setting.dla.source, setting.target.board
    if source.learned:
        return f"your own {source.points} measurement{'s' if source.points > 1 else ''} on this board"
    rest = (
        ""
        if board.id in MEASURED_BOARDS
        else f", scaled to {board.name} by clock and memory rate, which nobody measured"
    )
    return f"{source.points} public points of {source.key}{rest}"


def _notes(setting: Setting, work: Workload) -> tuple[str, ...]:
    notes = [f"DLA at {setting.clocks.dla_mhz:g} MHz ({setting.clocks.note}); clocks locked"]
    shares = kind_shares(work, setting.dla.engine, setting.conditions)
    unseen = unseen_kinds(shares, setting.dla.source.kinds)
    if sum(unseen.values()) >= _TOLD:
        names = ", ".join(sorted(unseen))
        notes.append(
            f"no measured network tells of {names} on the DLA: {sum(unseen.values()):.0%} of its time is a guess"
        )
    if not setting.conditions.shared_passes:
        notes.append("before TensorRT 8.5 weights are streamed anew for every image of a batch")
    if setting.gpu is None:
        notes.append("the GPU's rates are not published: layers that fall back count with their launch only")
    return tuple(notes)


def _unknown(setting: Setting, batch: int, gpu_alone: Range | None, reasons: tuple[str, ...]) -> Estimate:
    return Estimate(
        board=setting.target.board.id,
        mode=setting.clocks.mode,
        precision=setting.target.precision,
        batch=batch,
        basis="no data",
        gpu_alone=gpu_alone,
        advice=advise(None, None, gpu_alone, fp16_ratio=None, energy_ratio=None, dla_mac_share=0.0),
        unknown=reasons,
    )
