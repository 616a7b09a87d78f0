"""Runs side by side, whatever files tell of them: what differs, by which factor, which layers moved, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from dlaflow.errors import InputError, UsageError
from dlaflow.observed.build import ObservedBuild
from dlaflow.observed.names import is_noise, is_unnamed, parts_of
from dlaflow.observed.overlay import ENOUGH, Overlay, lay_over
from dlaflow.observed.target import target_of
from dlaflow.parse.failures import reasons
from dlaflow.parse.log import Outcome
from dlaflow.profile.comparison import Change, Comparison, ComparisonRow, Moved, NamedAlone, SettingRow
from dlaflow.profile.names import cause_of
from dlaflow.profile.profile import Profiled
from dlaflow.types import Device, Measurement, PlacedLayer, Placement, Provenance, Verdict

TIMES = ("compute time", "stream time", "profiled latency")
"""The quantities that tell how long an inference takes, the best first: two runs are compared by one that both have."""


@dataclass(frozen=True, slots=True)
class Side:
    """One run to compare; None and empty are what its files do not tell.

    `build` is the engine as its files name it, `placement` the placed graph: predicted, or with the devices of the run
    where there is a build. `over` is the build laid over another side's graph. `settings` are what it was built for.
    The subject of a measurement is empty, or what it is of besides the run itself (a power rail).
    """

    name: str
    build: ObservedBuild | None = None
    placement: Placement | None = None
    over: Overlay | None = None
    measurements: tuple[Measurement, ...] = ()
    outcome: Outcome | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it is known that it failed."""
        return self.outcome is not None and self.outcome.state == "failed"

    @property
    def graph(self) -> Placement | None:
        """The placed graph that its layers are told over, if there is one."""
        return self.over.placement if self.over else self.placement

    @property
    def counted(self) -> Placement | None:
        """The graph whose sums hold for this run; none where names alone leave layers open."""
        if self.over is None:
            return self.placement
        sure = all(told.named for told in told_of(self).values() if told.device is not Device.FOLDED)
        return self.over.placement if sure else None


@dataclass(frozen=True, slots=True)
class ToldLayer:
    """Where a run has a layer, and why there; FOLDED: it names it, and it does no work that took any time.

    Not `named`: it only lies between the ends of a loadable.
    """

    device: Device
    kind: str
    why: str
    named: bool = True


Told: TypeAlias = dict[str, ToldLayer]
"""The layers of a run by name, as far as it tells them."""


def side_of(profile: Profiled) -> Side:
    """A profile as a side."""
    target = target_of(profile.run)
    settings = {"TensorRT": target.tensorrt, "precision": target.precision, "batch": target.batch and str(target.batch)}
    return Side(
        profile.name,
        profile.measured,
        profile.placement,
        measurements=tuple(
            replace(each, subject=each.subject.removeprefix(profile.name).strip()) for each in profile.measurements
        ),
        outcome=profile.outcome if profile.run else None,
        settings=tuple((name, value) for name, value in settings.items() if value),
    )


def compare_profiles(profiles: Sequence[Profiled]) -> Comparison:
    """Compare profiles with the first.

    Raises UsageError for fewer than two.
    """
    return compare_sides([side_of(each) for each in profiles])


def compare_sides(sides: Sequence[Side]) -> Comparison:
    """Compare runs with the first.

    Raises UsageError for fewer than two.
    """
    if len(sides) < 2:
        raise UsageError("nothing to compare", expected="two runs or more", received=len(sides))
    names = _unique([side.name for side in sides])
    sides = [replace(side, name=name) for side, name in zip(_over_one_graph(sides), names, strict=True)]
    rows = [
        _row("loadables", "", [_loadables(each) for each in sides]),
        _row("switches", "", [None if (graph := each.counted) is None else graph.summary.switches for each in sides]),
        _row("GPU layers", "", [_gpu_layers(each) for each in sides]),
    ]
    keys = dict.fromkeys((_label(each), each.unit) for side in sides for each in side.measurements)
    rows += [_row(label, unit, [_value(each, label, unit) for each in sides]) for label, unit in keys]
    told = [told_of(side) for side in sides]
    return Comparison(
        names=names,
        outcomes=tuple(side.outcome for side in sides),
        settings=_settings(sides),
        rows=tuple(row for row in rows if sum(value is not None for value in row.values) > 1),
        changes=tuple(
            _change((sides[0], told[0]), (last, after)) for last, after in zip(sides[1:], told[1:], strict=True)
        ),
        doubts=tuple(f"{side.name}: {side.build.doubt}" for side in sides if side.build and side.build.doubt),
    )


def _over_one_graph(sides: Sequence[Side]) -> list[Side]:
    """The builds without a graph of their own, laid over the first predicted one where they are of its network."""
    graph = next((side.placement for side in sides if side.placement is not None and side.build is None), None)
    found = []
    for side in sides:
        over = None
        if graph is not None and side.build is not None and side.placement is None:
            try:
                over = lay_over(side.build, graph)
            except InputError:
                over = None
        found.append(replace(side, over=over))
    return found


def told_of(side: Side) -> Told:
    """The layers of a run with their devices, over a graph where it has one, else by the names in its files."""
    graph = side.graph
    if graph is None:
        return _named_by(side.build) if side.build else {}
    named = None if side.over is None else {layer.name for each in side.over.named for layer in each.layers}
    predicted = side.build is None
    return {
        layer.name: ToldLayer(layer.device, layer.kind, _why(layer), named is None or _is_sure(layer, named))
        for layer in graph.layers
        if predicted or layer.verdict is not Verdict.UNKNOWN
    }


def _is_sure(layer: PlacedLayer, named: set[str]) -> bool:
    """Whether a build names a layer, or has it between two ends and the rules would have it there.

    A network of the same names may lack what lies between them.
    """
    return layer.name in named or all(finding.verdict is Verdict.NATIVE for finding in layer.findings)


def _named_by(build: ObservedBuild) -> Told:
    found: dict[str, ToldLayer] = {}
    said = {message.layer: _with_rules(message.text, message.reason) for message in reversed(build.messages)}
    for entry in build.entries:
        if is_noise(entry.name, entry.kind):
            continue
        device = Device.FOLDED if entry.device is Device.GPU and not entry.works else entry.device
        parts = entry.members or (parts_of(entry.name) if entry.device is Device.GPU else entry.ends)
        for name in (part for whole in parts for part in parts_of(whole) if not is_noise(part)):
            found.setdefault(name, ToldLayer(device, entry.kind, said.get(name, "")))
    return found


def _why(layer: PlacedLayer) -> str:
    """The first rule that speaks against the DLA, and what the log says of the layer."""
    logged = [f for f in layer.findings if f.source.startswith("log line")]
    ours = [f for f in layer.findings if f.verdict is not Verdict.NATIVE and f not in logged]
    texts = [f"{finding.rule} {finding.verdict.value}: {finding.message}" for finding in ours[:1]]
    return "; ".join([*texts, *(_with_rules(finding.message, finding.rule) for finding in logged[:1])])


def _with_rules(text: str, reason: str) -> str:
    """A log's message with the rules that foresee its kind."""
    rules = next((each.rules for each in reasons() if each.id == reason), ())
    return f"{text} [{', '.join(rules)}]" if rules else text


def _is_whole(side: Side) -> bool:
    """Whether a run that does not name a layer does not have it; a loadable that prints its ends alone hides some."""
    if side.over is None and side.placement is not None:
        return True
    on_dla = [layer for layer in side.build.entries if layer.device is Device.DLA] if side.build else []
    return all(layer.members is not None for layer in on_dla)


def _change(old: tuple[Side, Told], new: tuple[Side, Told]) -> Change:
    (first, before), (last, after) = old, new
    if first.graph is not None and last.graph is not None:
        after = _in_the_names_of(first.graph, last.graph, after)
    elif {name for name in before if not is_unnamed(name)} != {name for name in after if not is_unnamed(name)}:
        # Numbers of unnamed layers depend on all that was imported before: they mean the same in one network alone.
        before, after = ({name: told[name] for name in told if not is_unnamed(name)} for told in (before, after))
    working = [[name for name, each in told.items() if each.device is not Device.FOLDED] for told in (before, after)]
    shared = [name for name in working[0] if name in after]
    sure = [name for name in shared if _comparable(before[name], after[name])]
    known = min(map(len, working))
    same = len(shared) >= ENOUGH * known if known else None
    factor = _factor(first, last)
    told = known and (same or factor is not None)
    return Change(
        before=first.name,
        after=last.name,
        factor=factor,
        cause=_cause((first, before), (last, after), factor) if told else "",
        shared=len(sure if same else shared),
        known=known,
        same_network=same,
        moved=tuple(
            _moved(name, before[name], after[name])
            for name in (sure if same else ())
            if before[name].device is not after[name].device
        ),
        only_before=_alone(before, after, _is_whole(last)) if same else (),
        only_after=_alone(after, before, _is_whole(first)) if same else (),
        whole_before=_is_whole(first),
        whole_after=_is_whole(last),
    )


def _in_the_names_of(graph: Placement, other: Placement, told: Told) -> Told:
    """Layers of another graph under the names of the same ones in `graph`: the nth of a kind of an ONNX node.

    Releases number the layers of one node differently. What has no counterpart keeps its name, unless that is taken.
    """
    own, theirs = _places(graph), _places(other)
    known = {place: name for name, place in own.items()}
    renamed = {name: known.get(theirs[name], "" if name in own else name) for name in told}
    return {renamed[name]: each for name, each in told.items() if renamed[name]}


def _places(graph: Placement) -> dict[str, tuple[object, ...]]:
    """What a layer is, apart from its name; helpers that no node asked for are known by their name alone."""
    seen: Counter[tuple[object, ...]] = Counter()
    found = {}
    for layer in graph.layers:
        place = (tuple(layer.onnx_nodes), layer.kind) if layer.onnx_nodes else (layer.name,)
        found[layer.name] = (*place, seen[place])
        seen[place] += 1
    return found


def _comparable(here: ToldLayer, there: ToldLayer) -> bool:
    """Whether both surely name a layer that works; between the ends of a loadable it counts where nothing differs."""
    if Device.FOLDED in {here.device, there.device}:
        return False
    return here.device is there.device or (here.named and there.named)


def _alone(told: Told, others: Told, whole: bool) -> tuple[NamedAlone, ...]:
    """What the other run does not surely name. The DLA's are left out where they may lie inside its loadables."""
    return tuple(
        NamedAlone(name, each.kind, each.device, each.why if each.device is Device.GPU else "")
        for name, each in told.items()
        if each.device is Device.GPU or (whole and each.device is Device.DLA)
        if name not in others or (not others[name].named and others[name].device is not each.device)
    )


def _moved(name: str, before: ToldLayer, after: ToldLayer) -> Moved:
    on_gpu = before if before.device is Device.GPU else after
    return Moved(name, before.kind or after.kind, before.device, after.device, on_gpu.why)


def _unique(names: list[str]) -> tuple[str, ...]:
    """Files of the same name in two folders are told apart by their place."""
    return tuple(name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names, start=1))


def _settings(sides: Sequence[Side]) -> tuple[SettingRow, ...]:
    told = [dict(side.settings) for side in sides]
    keys = dict.fromkeys(key for each in told for key in each)
    rows = [SettingRow(key, tuple(each.get(key, "") for each in told)) for key in keys]
    return tuple(row for row in rows if len(set(filter(None, row.values))) > 1)


def _row(quantity: str, unit: str, values: Sequence[float | None]) -> ComparisonRow:
    first = values[0]
    ratios = tuple(None if value is None or not first else value / first for value in values)
    return ComparisonRow(quantity, unit, tuple(values), ratios)


def _label(measurement: Measurement) -> str:
    """The quantity, with what it is of besides the run itself (a power rail), and whether it is an estimate."""
    estimated = "" if measurement.provenance is Provenance.MEASURED else f" ({measurement.provenance.value})"
    return f"{measurement.quantity} {measurement.subject}".strip() + estimated


def _value(side: Side, label: str, unit: str | None = None) -> float | None:
    found = (m for m in side.measurements if _label(m) == label and unit in (None, m.unit))
    return next((each.value for each in found), None)


def _gpu_layers(side: Side) -> float | None:
    if (graph := side.counted) is not None:
        return float(graph.summary.gpu_layers)
    if side.build is None:
        return None
    on_gpu = [layer.name for layer in side.build.layers if layer.works and layer.device is Device.GPU]
    return float(sum(not name.startswith("Reformatting") for name in on_gpu))


def _factor(first: Side, last: Side) -> float | None:
    """How many times faster the last is than the first: by throughput, or else by time; of one batch alone."""
    batches = [dict(side.settings).get("batch", "") for side in (first, last)]
    if first.failed or last.failed or (all(batches) and batches[0] != batches[1]):
        return None
    before, after = _value(first, "throughput"), _value(last, "throughput")
    if before and after:
        return after / before
    for quantity in TIMES:
        before, after = _value(first, quantity), _value(last, quantity)
        if before and after:
            return before / after
    return None


def _cause(old: tuple[Side, Told], new: tuple[Side, Told], factor: float | None) -> str:
    """The operators that only the slower one runs on the GPU, and the loadables they cut; else what it was built for.

    Without a factor the one with more loadables is taken for the slower.
    """
    more = (_loadables(old[0]) or 0) - (_loadables(new[0]) or 0)
    faster = factor >= 1 if factor is not None else more >= 0
    (slow, here), (fast, there) = (old, new) if faster else (new, old)
    if slow.failed or fast.failed or (factor is None and not more):
        return ""
    others_gpu = set(_on_gpu(there))
    extra = [name for name in _on_gpu(here) if name not in others_gpu]
    many, few = _loadables(slow), _loadables(fast)
    if 0 in {many, few} and many != few:
        return f"Nothing of {(slow if many == 0 else fast).name} runs on the DLA."
    if extra:
        only = cause_of(extra) or extra[0]
        run, cut = ("run", "cut") if ", " in only else ("runs", "cuts")
        if many is not None and few is not None and many > few:
            return (
                f"{only} {run} on the GPU in {slow.name} and {cut} the DLA's work into {many:.0f} subgraphs, "
                f"against {few:.0f} in {fast.name}."
            )
        return f"{only} {run} on the GPU in {slow.name} alone."
    settings = dict(slow.settings), dict(fast.settings)
    others = [key for key in settings[0] if settings[0][key] != settings[1].get(key, settings[0][key])]
    if not others or many != few or here.keys() != there.keys():
        return ""
    differ = ", ".join(f"{key} {settings[0][key]} against {settings[1][key]}" for key in others)
    warning = ": to be on the DLA is not to be fast" if "precision" in others else ""
    return f"The placement is the same; {slow.name} is built otherwise than {fast.name} ({differ}){warning}."


def _on_gpu(told: Told) -> list[str]:
    return [name for name, each in told.items() if each.device is Device.GPU]


def _loadables(side: Side) -> float | None:
    if side.build is not None:
        return side.build.loadables
    return None if side.placement is None else side.placement.summary.loadables
