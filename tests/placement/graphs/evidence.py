"""Records of evidence/placement as builds, and cases as scores. The evidence is read in place and never copied."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from graphs.catalogue import Case

from dlaflow.graph.load import load_model
from dlaflow.observed.build import ObservedBuild, ObservedLayer, read_capture, read_log, read_profile
from dlaflow.observed.score import Score, score
from dlaflow.parse.log import ValidatorMessage
from dlaflow.parse.nodes import brace_groups, dla_node
from dlaflow.placement.check import check_model
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement


class Layer(msgspec.Struct):
    """A layer that a record names; `type` is its kind."""

    name: str
    type: str | None


class Reason(msgspec.Struct):
    """Why a layer was refused."""

    layer: str
    type: str
    reason_code: str
    message_gist: str


class Record(msgspec.Struct):
    """A file of evidence/placement, as far as it is used."""

    source: str
    model: str
    complete: bool
    evidence_strength: str
    dla_layers: list[str]
    gpu_layers: list[Layer]
    per_layer_reasons: list[Reason]
    n_dla_subgraphs: int | None
    notes: str | None


_REFUSED = {"matmul_unsupported", "unary_op_unsupported", "activation_type_unsupported", "reduce_avg_unsupported"}
_REFUSED |= {"elementwise_same_tensor_twice", "subgraph_limit"}


def read_record(folder: Path, case: Case) -> Record | None:
    """The record of a case, None for whole logs."""
    path = folder / "placement" / f"{case.record}.json"
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else None


def predicted(case: Case, model: Path) -> Placement:
    """The prediction for the build's target."""
    target = resolve_target(
        case.board, None, precision=case.precision, batch=case.batch, mode=case.mode, tensorrt=case.tensorrt
    )
    return check_model(load_model(model), target)


def run(case: Case, model: Path, folder: Path) -> tuple[Score, Placement]:
    """Predict and compare."""
    placement = predicted(case, model)
    return score(placement, build_of(case, folder, placement)), placement


def build_of(case: Case, folder: Path, placement: Placement) -> ObservedBuild:
    """What the evidence tells of a build."""
    artefact = folder / "artefacts" / "open" / case.record
    if artefact.suffix == ".sqlite":
        return read_capture(artefact)
    if artefact.suffix == ".json" and artefact.exists():
        return read_profile(artefact)
    if artefact.suffix in (".log", ".gz"):
        return read_log(artefact)[0]
    record = read_record(folder, case)
    assert record is not None, f"{case.record} is no record"
    dla, gpu = _lists(record, case)
    if case.all_dla:
        names = tuple(layer.name for layer in placement.layers if layer.device is not Device.FOLDED)
        dla = [ObservedLayer("all", "", Device.DLA, members=names)]
    stated = not case.all_dla and len(dla) == record.n_dla_subgraphs
    return ObservedBuild(
        layers=(*dla, *gpu),
        source="the record",
        ordered=False,
        loadables=None if case.part else record.n_dla_subgraphs,
        listed=(*dla, *gpu),
        ends=tuple(entry.ends for entry in dla) if stated else None,
        messages=tuple(
            ValidatorMessage(each.layer, each.type, each.reason_code, each.message_gist)
            for each in record.per_layer_reasons
        ),
        complete=record.complete and not case.part,
        file=case.record,
    )


def _lists(record: Record, case: Case) -> tuple[list[ObservedLayer], list[ObservedLayer]]:
    dla: list[ObservedLayer] = []
    for text in record.dla_layers:
        if (found := re.search(r"ForeignNode\[.*\]", text)) is not None and " and others" not in text:
            dla.append(ObservedLayer(found.group(), "", Device.DLA, members=dla_node(found.group()).members))
        elif text.startswith("{"):
            names = [name.strip() for group in brace_groups(text) for name in group.members or ()]
            whole = tuple(name for name in names if "..." not in name)
            kept = tuple(name for name in whole if not _skipped(name, case))
            ends = f"{{ForeignNode[{kept[0]}...{kept[-1]}]}}"
            members = kept if len(whole) == len(names) else None
            dla.append(ObservedLayer(ends, "", Device.DLA, members=members))
    gpu = [ObservedLayer(each.name, each.type or "", Device.GPU) for each in record.gpu_layers if _is_name(each.name)]
    gpu += [ObservedLayer(name, "", Device.GPU) for name in case.means]
    named = {entry.name for entry in gpu}
    gpu += [
        ObservedLayer(each.layer.removesuffix(" (original graph)"), each.type, Device.GPU)
        for each in record.per_layer_reasons
        if each.reason_code in _REFUSED and _is_name(each.layer) and each.layer not in named
    ]
    return dla, [entry for entry in gpu if not _skipped(entry.name, case)]


def _skipped(name: str, case: Case) -> bool:
    return any(part in name for part in case.skip)


def _is_name(text: str) -> bool:
    """Whether a record means a layer, not a family of them (`dec_deconv_* (all deconvs)`)."""
    return not re.search(
        r"\*[^ )]|\*$|\ball\b|\betc\b|\bevery\b|^decoder$|fallback mentions|nodes inserted|^overflow$|^57 ", text
    )
