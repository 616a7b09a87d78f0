"""How far `dlaflow schedule` is off against public runs of several engines at once, and whether its order is right.

    python benchmarks/schedule.py [--evidence FOLDER]

The six ResNet-50 combinations of GPU, DLA 0 and DLA 1 by rate and by energy, and HaX-CoNN's splits of two networks:
from the ONNX files alone and from measured times of each network alone, both also with their source held out of every
fit. How many pairs are in the right order (pairs closer than 3% do not count), how many the intervals tell apart, and
how many of those are right; how many measured values lie inside the 80% intervals; of each wrong pair how far off its
two sides are. Then every fitted point of the contention with its source held out.
Needs the evidence folder (DLAFLOW_EVIDENCE, default ../shared/evidence).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import exp, log
from pathlib import Path

import msgspec
from check import resnet50 as write_resnet50  # type: ignore[attr-defined]  # not scripts/check

from dlaflow.api.check import predict
from dlaflow.estimate.program import Assignment
from dlaflow.estimate.schedule import SD, Demand, Hardware, Job, Schedule, apart, judge, shaken
from dlaflow.estimate.schedule_flow import GPU, Sharing, schedule_file, service, shipped_sharing, visiting
from dlaflow.estimate.schedule_measured import MEASURED_WIDTH, Bench, adjusted
from dlaflow.estimate.schedule_pieces import Option, Piece, cut_at, dla_piece, gpu_piece, options_of
from dlaflow.estimate.setting import Setting, setting_of
from dlaflow.graph.layer import Network
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.fit.cases import GPU_KINDS, read_cases
from tools.fit.networks import NETWORKS
from tools.fit.together import fit, read_runs, told_of
from tools.fit.train import Models, train

_ROOT = Path(__file__).resolve().parent.parent
_CLOSE = 0.03
_SUMS = ("SUM", "DOUBTFUL", "UNRELIABLE")
_DRAWN = {
    "GoogleNet": ("googlenet", 224, 1),
    "ResNet101": ("resnet101", 224, 3),
    "ResNet152": ("resnet152", 224, 3),
    "Inception": ("inception_v4", 299, 3),
    "AlexNet": ("alexnet", 227, 1),
}
"""Builder, input size, and how many layers a convolution is in the prototxt (3: with batch normalisation and scale)."""

_BOARD = {"Xavier": ("agx-xavier-32gb", "4.5", "fp16"), "Orin": ("agx-orin-32gb", "5.1.1", "int8")}
"""Board, JetPack and precision of HaX-CoNN's runs, as its README says."""

_REALLY = {("Orin", "Only GPU"): ("DLA0", "DLA0")}
"""What the scripts built where the label says otherwise: build_engine_orin.py puts every layer of its "only_gpu"
engines on the DLA (runs_on_gpu=True, transition=-1), and logs of two runs (@bb38a4e, @9b6e455) tell 3.55 ms where the
README tells 2.42. The order of its pairs is the same with either number."""

_ALONE = {
    ("GoogleNet", "Xavier"): {GPU: 1.959, "DLA 0": 3.681},
    ("AlexNet", "Xavier"): {GPU: 1.79, "DLA 0": 4.41},
    ("GoogleNet", "Orin"): {"DLA 0": 1.109},
}
"""Milliseconds alone by network and board, of the same source; AlexNet's are sums of its groups."""


class _Engine(msgspec.Struct):
    model: str
    device: str | None = None
    assignment: str = ""


class _Entry(msgspec.Struct):
    source_id: str
    kind: str
    board: str
    engines: tuple[_Engine, ...]
    aggregate: dict[str, float | str | None] = {}
    energy: float = msgspec.field(default=0.0, name="energy_mJ_per_inference_derived")
    schedule: str = ""


@dataclass(frozen=True)
class Row:
    """A schedule: its name, what was measured and what the model says."""

    group: str
    name: str
    measured: float
    modelled: float
    shaken: tuple[float, ...]

    @property
    def off(self) -> str:
        """How far the model is off."""
        return f"{self.name} ({self.modelled / self.measured - 1:+.0%})"

    @property
    def covered(self) -> bool:
        """Whether the 80% interval holds the measured value."""
        return not apart(log(self.modelled / self.measured), [log(each / self.measured) for each in self.shaken])


@dataclass(frozen=True)
class How:
    """What the model may know: how engines share, the sets of a fit (None: the shipped ones), times alone."""

    sharing: Sharing
    sets: Models | None
    measured: bool


def main() -> None:
    """Print the tables and the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("DLAFLOW_EVIDENCE", _ROOT.parent / "shared" / "evidence"))
    parser.add_argument("--evidence", type=Path, default=default)
    options = parser.parse_args()
    text = (options.evidence / "perf" / "concurrent.json").read_bytes()
    entries = msgspec.json.decode(text, type=list[_Entry])
    runs = read_runs(_ROOT / "docs" / "schedule_points.csv")
    shipped = shipped_sharing()
    without = {  # only HaX-CoNN tells of turns
        name: replace(
            Sharing(*map(float, fit([run for run in runs if name not in run.source]).values)), switching=switching
        )
        for name, switching in (("yyshin", shipped.switching), ("HaX-CoNN", 0.0))
    }
    _, cases, _ = read_cases(options.evidence)
    unseen = {name: train([case for case in cases if name.lower() not in case.source.lower()])[0] for name in without}
    combinations_ = [entry for entry in entries if entry.source_id == "yyshin-katech"][:6]
    hax = [entry for entry in entries if entry.source_id == "HaX-CoNN" and entry.kind == "schedule"]
    both, alone = "their source held out of every fit", "from measured times of each network alone"
    for title, held_out, measured in (
        ("from the ONNX files alone", False, False),
        (f"the same, {both}", True, False),
        (alone, False, True),
        (f"the same, {both}", True, True),
    ):
        how = [
            How(without[name] if held_out else shipped, unseen[name] if held_out else None, measured)
            for name in ("yyshin", "HaX-CoNN")
        ]
        print(f"\nResNet-50 INT8, AGX Orin 64GB, MAXN: {title}")
        rates, energies = _six(combinations_, how[0])
        told = [_shares("rate", rates), _shares("energy", energies)]
        print(f"\nHaX-CoNN, ms until both networks are done, beside the ms of each piece alone: {title}")
        chains = [row for entry in hax if (row := _hax(entry, how[1])) is not None]
        told.append(_shares("HaX-CoNN", chains))
        pairs, right, apart_, sure = map(sum, zip(*told, strict=True))
        rows = [*rates, *energies, *chains]
        print(
            f"\nAll pairs {title}: {right} of {pairs} in order ({right / pairs:.0%}); {apart_} told apart, {sure} of "
            f"them right ({sure / max(1, apart_):.0%}); {pairs - apart_} too close to tell; 80% intervals hold "
            f"{sum(row.covered for row in rows)} of {len(rows)} measured values"
        )
    print("\nEvery fitted point: together as measured, fitted, and with its source held out")
    for one in told_of(runs, shipped):
        stream = one.run.streams[one.index]
        errors = " ".join(f"{each:8.2f} {each / one.measured - 1:+5.0%}" for each in (one.fitted, one.held_out))
        name = f"{one.run.source[:22]:<23}{one.run.scenario:<19}{stream.core:<6}"
        print(f"  {name}{stream.alone_ms:8.2f}{one.measured:8.2f}{errors}")


def _shares(what: str, rows: Sequence[Row]) -> tuple[int, int, int, int]:
    """Of a group's pairs, farther apart than 3%: how many, in the right order, told apart, and right of those."""
    pairs = [
        (one, other)
        for one, other in combinations(rows, 2)
        if one.group == other.group and abs(one.measured / other.measured - 1) > _CLOSE
    ]
    right = [(one.measured < other.measured) == (one.modelled < other.modelled) for one, other in pairs]
    told = [_told(one, other) for one, other in pairs]
    good = sum(each and sure for each, sure in zip(right, told, strict=True))
    print(
        f"  order by {what}: {sum(right)} of {len(pairs)} pairs ({sum(right) / len(pairs):.0%})   goal 80%; "
        f"{sum(told)} told apart, {good} of them right; {len(pairs) - sum(told)} too close to tell"
    )
    for (one, other), fine, sure in zip(pairs, right, told, strict=True):
        if not fine:
            where = f" ({one.group})" if one.group else ""
            print(f"    wrong{' and sure' * sure}: {one.off} against {other.off}{where}")
    return len(pairs), sum(right), sum(told), good


def _told(one: Row, other: Row) -> bool:
    """Whether the 80% interval of the ratio of both excludes 1."""
    pairs = [(one.modelled, other.modelled), *zip(one.shaken, other.shaken, strict=True)]
    gap, *others = [log(mine / theirs) for mine, theirs in pairs]
    return apart(gap, others)


def _six(entries: Sequence[_Entry], how: How) -> tuple[list[Row], list[Row]]:
    setting, ways = _resnet50(how)
    if how.measured:
        alone = {GPU: 1e3 / 980.736, "DLA 0": 1e3 / 778.844, "DLA 1": 1e3 / 774.505}
        ways = adjusted(ways, Bench(alone, {}))
    hardware = Hardware.of(setting, how.sharing)
    rates, energies = [], []
    for entry in entries:
        cores = [str(engine.device).replace("DLA", "DLA ") for engine in entry.engines]
        jobs = [Job(Demand(core), 1, tuple(ways)) for core in cores]
        found = _judged(cores, jobs, hardware)
        rate, energy = sum(each.rate.value for each in found.networks), found.energy_mj
        known, known_energy = float(entry.aggregate["img_per_s"] or 0), entry.energy
        assert energy is not None
        cases = [_judged(cores, jobs, other, longer) for longer, other in shaken(jobs, hardware)]
        print(
            f"  {' + '.join(cores):<22}{known:7.0f} img/s {rate:6.0f} {rate / known - 1:+5.0%}   "
            f"{known_energy:5.1f} mJ {energy.value:5.1f} {energy.value / known_energy - 1:+5.0%}   "
            + ", ".join(f"{each.rate.value:.0f}" for each in found.networks)
        )
        name, power = " + ".join(cores), [case.energy_mj.value for case in cases if case.energy_mj]
        others = tuple(sum(each.rate.value for each in case.networks) for case in cases)
        rates.append(Row("", name, known, rate, others))
        energies.append(Row("", name, known_energy, energy.value, tuple(power)))
    return rates, energies


def _setting(target: Target, how: How) -> Setting:
    """The setting of a target, with the sets of a fit that has not seen a source."""
    found = setting_of(target, None)
    if how.sets is None or found.gpu is None:
        return found
    gpu = how.sets.gpus[found.clocks.gpu_generation or ""]
    engine = how.sets.engines[found.dla.source.key]
    return replace(found, dla=replace(found.dla, engine=engine), gpu=replace(found.gpu, parameters=gpu))


def _resnet50(how: How) -> tuple[Setting, tuple[Option, ...]]:
    target = resolve_target("agx-orin-64gb", "6.2", precision="int8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        write_resnet50(path)
        found = predict(path, target)
    setting = _setting(target, how)
    return setting, options_of(found.network, found.placement, setting)


def _judged(
    cores: Sequence[str], jobs: Sequence[Job], hardware: Hardware, longer: Mapping[Option, Option] | None = None
) -> Schedule:
    ways = [(longer or {}).get(each, each) for each in jobs[0].options if len(each.pieces) == 1]
    whole = {each.pieces[0].on_gpu: each for each in ways}
    return judge(jobs, [(whole[core == GPU], (core,)) for core in cores], hardware)


def _hax(entry: _Entry, how: How) -> Row | None:
    """A split of two networks in lock-step; None for what the facts say not to use."""
    aggregate, names = entry.aggregate, [engine.model for engine in entry.engines]
    if str(aggregate["definition"]).startswith(_SUMS) or not all(name in _DRAWN for name in names):
        return None
    board = next(name for name in _BOARD if name in entry.board)
    labels = [engine.assignment.removeprefix("split label ") for engine in entry.engines]
    assigned = _REALLY.get((board, entry.schedule), labels)
    setting = _setting(resolve_target(*_BOARD[board][:2], precision=_BOARD[board][2]), how)
    sharing = how.sharing if how.sets else shipped_sharing(setting.target.version)
    chains = [_pieces(name, label, setting) for name, label in zip(names, assigned, strict=True)]
    if how.measured:
        chains = [
            [_as_measured(piece, name, setting, _ALONE.get((name, board), {})) for piece in chain]
            for name, chain in zip(names, chains, strict=True)
        ]
    found, known = _lock_step(chains, sharing), float(aggregate["latency_ms"] or 0)
    group = f"{' + '.join(names)}, {board}"
    title = f"{entry.schedule}: {', '.join(assigned)}"
    alone = ", ".join(
        " then ".join(f"{piece.stream.alone_ms:.2f} {'GPU' if piece.on_gpu else 'DLA'}" for piece in chain)
        for chain in chains
    )
    mark = "" if assigned is labels else "   built otherwise than its label says"
    print(f"  {group:<31}{title:<34}{known:6.2f}{found:8.2f} {found / known - 1:+5.0%}   {alone}{mark}")
    return Row(group, entry.schedule, known, found, tuple(_lock_step(*case) for case in _shaken(chains, sharing)))


def _shaken(chains: Sequence[Sequence[Piece]], sharing: Sharing) -> Iterator[tuple[Sequence[Sequence[Piece]], Sharing]]:
    """The chains with one network's time on one engine longer by a standard deviation, then with dearer sharing."""
    for place, own in enumerate(chains):
        for on_gpu in (True, False):
            longer = [piece.scaled(exp(piece.width / SD)) if piece.on_gpu == on_gpu else piece for piece in own]
            yield [*chains[:place], longer, *chains[place + 1 :]], sharing
    yield chains, sharing.dearer(exp(schedule_file().doubt / SD))


def _as_measured(piece: Piece, name: str, setting: Setting, alone: Mapping[str, float]) -> Piece:
    """A piece with its time scaled as the whole network's on that engine is measured."""
    core = GPU if piece.on_gpu else "DLA 0"
    if core not in alone:
        return piece
    whole = _pieces(name, core, setting)[0].stream.alone_ms
    return replace(piece.scaled(alone[core] / whole), width=MEASURED_WIDTH)


def _pieces(name: str, assignment: str, setting: Setting) -> list[Piece]:
    """The pieces of a network by HaX-CoNN's label: gpu@N begins on the GPU and goes on on the DLA from layer N on."""
    builder, size, layers = _DRAWN[name]
    network = NETWORKS[builder](1, size, size)
    gpu, dla = (lambda part: gpu_piece(part, setting)), (lambda part: dla_piece(part, _hybrid(part), setting))
    if "@" not in assignment:
        return [_known(gpu if assignment == GPU else dla, network)]
    first, _, number = assignment.partition("@")
    # The Orin's script compares with <= where Xavier's has <.
    begins = int(number) + (setting.target.board.id == _BOARD["Orin"][0])
    front, back, _ = cut_at(network, _place(network, begins, layers))
    order = (gpu, dla) if first == "gpu" else (dla, gpu)
    pieces = [_known(of, part) for of, part in zip(order, (front, back), strict=True)]
    # Within one engine the copy at the cut belongs to the GPU's own piece: nobody waits for it twice.
    return [replace(piece, stream=replace(piece.stream, visits=max(0, piece.stream.visits - 1))) for piece in pieces]


def _known(of: Callable[[Network], Piece | None], part: Network) -> Piece:
    found = of(part)
    assert found is not None
    return found


def _place(network: Network, number: int, convolution: int) -> int:
    """The place among drawn layers of a layer of the prototxt."""
    seen = 0
    for place, layer in enumerate(network.layers):
        if seen >= number:
            return max(1, place)
        seen += convolution if layer.kind == "CONVOLUTION" else 1
    return len(network.layers) - 1


def _hybrid(network: Network) -> dict[str, Assignment]:
    """One loadable, and what is known to fall back on the GPU."""
    on_gpu = {layer.name for layer in network.layers if layer.kind in GPU_KINDS or layer.kind == "SOFTMAX"}
    return {
        layer.name: Assignment(Device.GPU) if layer.name in on_gpu else Assignment(Device.DLA, 0)
        for layer in network.layers
    }


def _lock_step(chains: Sequence[Sequence[Piece]], sharing: Sharing) -> float:
    """The ms until all chains are done once, begun together, each a process.

    At every moment what runs is as slow as `flows` says of engines that are always busy. Processes take turns on the
    GPU by slices; the DLA serves whole pieces, first come, first served, and who waits for it holds turns as well.
    """
    place, left, clock = [0] * len(chains), [1.0] * len(chains), 0.0
    line: list[int] = []
    while going := [chain for chain, own in enumerate(chains) if place[chain] < len(own)]:
        pieces = {chain: chains[chain][place[chain]] for chain in going}
        on_dla = [chain for chain in going if not pieces[chain].on_gpu]
        line = [chain for chain in line if chain in on_dla] + [chain for chain in on_dla if chain not in line]
        on_gpu = [chain for chain in going if pieces[chain].on_gpu]
        running = [*on_gpu, *line[:1]]
        streams = [replace(pieces[chain].stream, core=GPU) for chain in on_gpu]
        streams += [replace(pieces[chain].stream, core=f"DLA {number}") for number, chain in enumerate(line)]
        busy = [*(1.0 / len(on_gpu) for _ in on_gpu), *(1.0 for _ in line)]
        alone = [*busy[: len(running)], *(0.0 for _ in line[1:])]  # who waits in line loads no memory
        times = {
            chain: service(index, streams, busy if chain in on_gpu else alone, sharing)
            for index, chain in enumerate(running)
        }
        rates = [1e3 / times[chain] for chain in line[:1]]
        room = 1.0 - visiting(streams[len(on_gpu) : len(running)], rates, sharing)
        times |= {chain: times[chain] * len(on_gpu) / room for chain in on_gpu}
        passed = min(left[chain] * times[chain] for chain in running)
        clock += passed
        for chain in running:
            left[chain] -= passed / times[chain]
            if left[chain] < 1e-9:
                place[chain], left[chain] = place[chain] + 1, 1.0
    return clock


if __name__ == "__main__":
    main()
