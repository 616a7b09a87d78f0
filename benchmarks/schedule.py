"""How far `dlaflow schedule` is off against public runs of several engines at once, and whether its order is right.

    python benchmarks/schedule.py [--evidence FOLDER]

Three tables: the six ResNet-50 combinations of GPU, DLA 0 and DLA 1 by rate and by energy (from the ONNX file alone,
from measured times alone, and with their source held out of the contention), HaX-CoNN's splits of two networks, and
every fitted point with its source held out. Then the shares of pairs in the right order; pairs closer than 3% do not
count.
Needs the evidence folder (DLAFLOW_EVIDENCE, default ../shared/evidence).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import msgspec
from check import resnet50 as write_resnet50  # type: ignore[attr-defined]  # not scripts/check

from dlaflow.api.check import predict
from dlaflow.estimate.program import Assignment
from dlaflow.estimate.schedule import Demand, Hardware, Job, Schedule, judge
from dlaflow.estimate.schedule_constants import Sharing, shipped_sharing
from dlaflow.estimate.schedule_flow import GPU, flows
from dlaflow.estimate.schedule_measured import Bench, adjusted
from dlaflow.estimate.schedule_pieces import Option, Piece, cut_at, dla_piece, gpu_piece, options_of
from dlaflow.estimate.schedule_timeline import Chain, Link, simulate
from dlaflow.estimate.setting import Setting, setting_of
from dlaflow.graph.layer import Network
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.fit.cases import GPU_KINDS
from tools.fit.networks import NETWORKS
from tools.fit.together import fit, read_runs, told_of

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

_RESNETS = {False: 10.2 / 12.94, True: 632 / 778.844}
"""DLA times of ResNets, measured over modelled: AGX Xavier by the row GPU&DLA of GoogleNet + ResNet101 (so that row is
fitted), AGX Orin by ResNet-50 alone of another source."""


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


def main() -> None:
    """Print the tables and the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("DLAFLOW_EVIDENCE", _ROOT.parent / "shared" / "evidence"))
    parser.add_argument("--evidence", type=Path, default=default)
    text = (parser.parse_args().evidence / "perf" / "concurrent.json").read_bytes()
    entries = msgspec.json.decode(text, type=list[_Entry])
    runs = read_runs(_ROOT / "docs" / "schedule_points.csv")
    shipped = shipped_sharing()
    without = {
        name: Sharing(*map(float, fit([run for run in runs if name not in run.source]).values))
        for name in ("yyshin", "HaX-CoNN")
    }
    combinations_ = [entry for entry in entries if entry.source_id == "yyshin-katech"][:6]
    for title, sharing, measured in (
        ("from the ONNX file alone", shipped, False),
        ("from measured times of each engine alone", shipped, True),
        ("the same, their source held out of the contention", without["yyshin"], True),
    ):
        print(f"\nResNet-50 INT8, AGX Orin 64GB, MAXN: {title}")
        rates, energies = _six(combinations_, sharing, measured=measured)
        _shares("rate", rates), _shares("energy", energies)
    hax = [entry for entry in entries if entry.source_id == "HaX-CoNN" and entry.kind == "schedule"]
    for title, sharing, measured in (
        ("from the networks alone", shipped, False),
        ("DLA times scaled to a measured ResNet", shipped, True),
        ("the same, source held out of the contention", without["HaX-CoNN"], True),
    ):
        print(f"\nHaX-CoNN, ms until both networks are done: {title}")
        _shares("HaX-CoNN", [row for entry in hax if (row := _hax(entry, sharing, measured=measured)) is not None])
    print("\nEvery fitted point: together as measured, fitted, and with its source held out")
    for one in told_of(runs, shipped):
        stream = one.run.streams[one.index]
        errors = " ".join(f"{each:8.2f} {each / one.measured - 1:+5.0%}" for each in (one.fitted, one.held_out))
        name = f"{one.run.source[:22]:<23}{one.run.scenario:<19}{stream.core:<6}"
        print(f"  {name}{stream.alone_ms:8.2f}{one.measured:8.2f}{errors}")


def _shares(what: str, rows: Sequence[Row]) -> None:
    """How many pairs of a group, farther apart than 3%, are in the right order."""
    pairs = [
        (one, other)
        for one, other in combinations(rows, 2)
        if one.group == other.group and abs(one.measured / other.measured - 1) > _CLOSE
    ]
    right = [(one.measured < other.measured) == (one.modelled < other.modelled) for one, other in pairs]
    print(f"  order by {what}: {sum(right)} of {len(pairs)} pairs ({sum(right) / len(pairs):.0%})   goal 80%")
    for (one, other), good in zip(pairs, right, strict=True):
        if not good:
            print(f"    wrong: {one.name} against {other.name} ({one.group})")


def _six(entries: Sequence[_Entry], sharing: Sharing, *, measured: bool) -> tuple[list[Row], list[Row]]:
    setting, ways = _resnet50()
    if measured:
        alone = {GPU: 1e3 / 980.736, "DLA 0": 1e3 / 778.844, "DLA 1": 1e3 / 774.505}
        ways = adjusted(ways, Bench(alone, {}))
    hardware = Hardware.of(setting, sharing)
    rates, energies = [], []
    for entry in entries:
        cores = [str(engine.device).replace("DLA", "DLA ") for engine in entry.engines]
        found = _judged(cores, ways, hardware)
        rate, energy = sum(each.rate.value for each in found.networks), found.energy_mj
        known, known_energy = float(entry.aggregate["img_per_s"] or 0), entry.energy
        assert energy is not None
        print(
            f"  {' + '.join(cores):<22}{known:7.0f} img/s {rate:6.0f} {rate / known - 1:+5.0%}   "
            f"{known_energy:5.1f} mJ {energy.value:5.1f} {energy.value / known_energy - 1:+5.0%}   "
            + ", ".join(f"{each.rate.value:.0f}" for each in found.networks)
        )
        rates.append(Row("", " + ".join(cores), known, rate))
        energies.append(Row("", " + ".join(cores), known_energy, energy.value))
    return rates, energies


def _resnet50() -> tuple[Setting, tuple[Option, ...]]:
    target = resolve_target("agx-orin-64gb", "6.2", precision="int8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        write_resnet50(path)
        found = predict(path, target)
    setting = setting_of(target, None)
    return setting, options_of(found.network, found.placement, setting)


def _judged(cores: Sequence[str], ways: Sequence[Option], hardware: Hardware) -> Schedule:
    whole = {each.pieces[0].on_gpu: each for each in ways if len(each.pieces) == 1}
    jobs = [Job(Demand(core), 1, tuple(ways)) for core in cores]
    return judge(jobs, [(whole[core == GPU], (core,)) for core in cores], hardware)


def _hax(entry: _Entry, sharing: Sharing, *, measured: bool) -> Row | None:
    """A split of two networks in lock-step; None for what the facts say not to use."""
    aggregate, engines = entry.aggregate, entry.engines
    names = [engine.model for engine in engines]
    if str(aggregate["definition"]).startswith(_SUMS) or not all(name in _DRAWN for name in names):
        return None
    orin = "Orin" in entry.board
    if orin:
        target = resolve_target("agx-orin-64gb", "5.1.1", precision="int8")
    else:
        target = resolve_target("agx-xavier-32gb", "4.4", precision="fp16")
    setting = setting_of(target, None)
    chains = [_pieces(name, engine.assignment, setting) for name, engine in zip(names, engines, strict=True)]
    if measured:
        chains = [[piece if piece.on_gpu else piece.scaled(_RESNETS[orin]) for piece in chain] for chain in chains]
    found, known = _lock_step(chains, sharing), float(aggregate["latency_ms"] or 0)
    group = f"{' + '.join(names)}, {'Orin' if orin else 'Xavier'}"
    title = f"{entry.schedule}: " + ", ".join(engine.assignment.replace("split label ", "") for engine in engines)
    print(f"  {group:<31}{title:<34}{known:6.2f}{found:8.2f} {found / known - 1:+5.0%}")
    return Row(group, entry.schedule, known, found)


def _pieces(name: str, assignment: str, setting: Setting) -> list[Piece]:
    """The pieces of a network by HaX-CoNN's label: gpu@N begins on the GPU and goes on on the DLA from layer N on."""
    builder, size, layers = _DRAWN[name]
    network = NETWORKS[builder](1, size, size)
    gpu, dla = (lambda part: gpu_piece(part, setting)), (lambda part: dla_piece(part, _hybrid(part), setting))
    if "@" not in assignment:
        return [_known(gpu if assignment == GPU else dla, network)]
    first, _, number = assignment.removeprefix("split label ").partition("@")
    front, back, _ = cut_at(network, _place(network, int(number), layers))
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
    """The ms until all chains are done once, begun together; they slow each other by the share of the time they run."""
    cores = [[GPU if piece.on_gpu else "DLA 0" for piece in chain] for chain in chains]
    streams = [
        replace(piece.stream, core=core)
        for chain, own in zip(chains, cores, strict=True)
        for piece, core in zip(chain, own, strict=True)
    ]
    time = sum(stream.alone_ms for stream in streams)
    for _ in range(40):
        found = flows([replace(stream, wanted=1e3 / time) for stream in streams], sharing)
        links, place = [], 0
        for number, own in enumerate(cores):
            parts = tuple(Link(core, found[place + index].service_ms) for index, core in enumerate(own))
            links.append(Chain(str(number), parts, None))
            place += len(own)
        time = (time * max(span.end for span in simulate(links, 1e-9))) ** 0.5
    return time


if __name__ == "__main__":
    main()
