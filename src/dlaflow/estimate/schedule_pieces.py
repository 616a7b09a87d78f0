"""How one network can run: whole on the GPU or a DLA core, or cut in two at a loadable's border as a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlaflow.estimate.dla import HOST_BYTES
from dlaflow.estimate.program import Assignment, assemble, assignments_of, with_helpers
from dlaflow.estimate.schedule_flow import GPU, Stream, dla_stream, schedule_file
from dlaflow.estimate.setting import Setting
from dlaflow.estimate.split import Workload, gpu_only
from dlaflow.estimate.width import half_width
from dlaflow.graph.layer import Network, Tensor, elements
from dlaflow.types import Placement

_CUTS = 4
"""So many pipelines of a network are tried: those whose longer part is shortest."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A network or a part of it as one engine.

    `stream` is on "GPU" or "DLA 0" and holds what it costs to hand over what it makes; `width` is the half width of
    its time on the logarithm, `dla_ms` the part of it that a DLA core works.
    """

    stream: Stream
    width: float
    dla_ms: float

    @property
    def on_gpu(self) -> bool:
        """Whether the whole of it runs on the GPU."""
        return self.stream.core == GPU

    def scaled(self, factor: float) -> Piece:
        """The same with every time longer by `factor`."""
        stream = self.stream
        times = {name: getattr(stream, name) * factor for name in ("alone_ms", "crowded_ms", "gpu_ms")}
        return replace(self, stream=replace(stream, **times), dla_ms=self.dla_ms * factor)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a network: its pieces in order, and the tensors at which it is cut between them."""

    pieces: tuple[Piece, ...]
    cut: tuple[str, ...] = ()


def options_of(network: Network, placement: Placement, setting: Setting) -> tuple[Option, ...]:
    """Every way to run a placed network on a board, whole ones first. Empty without any known time."""
    placed = with_helpers(network, placement)
    where = assignments_of(placement)
    gpu, dla = gpu_piece(placed, setting), dla_piece(placed, where, setting)
    whole = [Option((piece,)) for piece in (gpu, dla) if piece]
    pipelines = [option for place in _borders(placed, where) for option in _cut(placed, where, place, setting)]
    pipelines.sort(key=lambda option: max(piece.stream.alone_ms for piece in option.pieces))
    return (*whole, *pipelines[:_CUTS])


def gpu_piece(network: Network, setting: Setting) -> Piece | None:
    """A network wholly on the GPU; None where its rates are not published or sizes are unknown."""
    work = Workload.of(assemble(network, {}))
    program = work.program
    if setting.gpu is None or setting.gpu_source is None or program.unknown or program.steering or not program.steps:
        return None
    time = gpu_only(work, setting.gpu, setting.target.precision)
    return Piece(Stream(GPU, time, time, time), setting.gpu_source.source.spread.network * setting.widening, 0.0)


def dla_piece(network: Network, where: dict[str, Assignment], setting: Setting) -> Piece | None:
    """A network on a DLA core with what falls back; None without a DLA, its clock, or a layer for it."""
    work = Workload.of(assemble(network, where))
    program, board = work.program, setting.target.board
    if not (board.dla_cores and board.dla_version and setting.clocks.dla_mhz and program.loadables):
        return None
    if program.unknown or program.steering:
        return None
    stream, split = dla_stream(work, setting.dla.engine, setting.conditions, setting.gpu)
    width = half_width(setting.dla.source, work, setting.dla.engine, setting.conditions) * setting.widening
    return Piece(stream, width, split.dla)


def cut_at(network: Network, place: int) -> tuple[Network, Network, tuple[Tensor, ...]]:
    """The layers before `place`, those from there on, and the tensors that pass from the first to the second."""
    first, second = network.layers[:place], network.layers[place:]
    made = {tensor.name: tensor for layer in first for tensor in layer.outputs if not tensor.constant}
    read = {tensor.name for layer in second for tensor in layer.inputs}
    passed = tuple(tensor for name, tensor in made.items() if name in read)
    ends = tuple(tensor for tensor in network.outputs if tensor.name in made)
    front = replace(network, layers=first, outputs=tuple(dict.fromkeys((*passed, *ends))))
    entering = tuple(tensor for tensor in network.inputs if tensor.name in read)
    rest = tuple(tensor for tensor in network.outputs if tensor.name not in made)
    return front, replace(network, layers=second, inputs=(*passed, *entering), outputs=rest), passed


def hand_over_ms(moved: int) -> float:
    """What so many bytes cost from one process to the next."""
    known = schedule_file().hand_over
    return known.ms + moved / (known.gb_s * 1e6)


def with_hand_over(piece: Piece, moved: int) -> Piece:
    """A piece that hands so many bytes to the next one."""
    cost, s = hand_over_ms(moved), piece.stream
    own = cost if piece.on_gpu else 0.0  # on the DLA's side it is the host's time, beside the GPU
    longer = replace(s, alone_ms=s.alone_ms + cost, crowded_ms=s.crowded_ms + cost, gpu_ms=s.gpu_ms + own)
    return replace(piece, stream=longer)


def _borders(network: Network, where: dict[str, Assignment]) -> list[int]:
    """Places between layers where a loadable begins or ends and none goes on beyond."""
    loadables = [where[layer.name].loadable if layer.name in where else None for layer in network.layers]
    last = {loadable: place for place, loadable in enumerate(loadables) if loadable is not None}
    first = {loadable: place for place, loadable in reversed(list(enumerate(loadables))) if loadable is not None}
    places = {*first.values(), *(place + 1 for place in last.values())} - {0, len(loadables)}
    return sorted(place for place in places if not any(first[one] < place <= last[one] for one in first))


def _cut(network: Network, where: dict[str, Assignment], place: int, setting: Setting) -> Sequence[Option]:
    """The pipelines that begin with the layers before `place`."""
    front, back, passed = cut_at(network, place)
    if not passed:
        return []
    # Between two engines lie float32 tensors, unless they are built with formats of the DLA.
    width = setting.dla.engine.bytes_per_element if setting.conditions.native_io else HOST_BYTES
    moved = sum(elements(tensor.shape) for tensor in passed) * width
    parts = [(gpu_piece(part, setting), dla_piece(part, where, setting)) for part in (front, back)]
    names = tuple(tensor.name for tensor in passed)
    return [
        Option((with_hand_over(one, moved), other), names)
        for one in parts[0]
        for other in parts[1]
        if one and other and not (one.on_gpu and other.on_gpu)
    ]
