"""From the evidence (logs, captures, records of reports) to the committed facts in tests/placement/builds.

The evidence lies outside of the repository and belongs to others: `scripts/collect_builds` reads it where it is there.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from graphs.builds import target
from graphs.catalogue import Case

from dlaflow.observed.build import ObservedBuild, ObservedLayer, read_capture, read_log, read_profile
from dlaflow.observed.shared import SharedBuild, facts_of
from dlaflow.parse.log import ValidatorMessage
from dlaflow.parse.nodes import brace_groups, dla_node
from dlaflow.types import Device


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


def collected(case: Case, folder: Path) -> SharedBuild:
    """The facts of a case as the evidence tells them."""
    facts = facts_of(_build(case, folder), target(case))
    everywhere = Device(case.everywhere) if case.everywhere else None
    return msgspec.structs.replace(facts, source=_source(case, folder), everywhere=everywhere)


def _source(case: Case, folder: Path) -> str:
    record = read_record(folder, case)
    if record is not None:
        text = re.sub(r" *\((?:copies in|public file)[^)]*\)| *\(\d{9,}\)", "", record.source)
        found = re.fullmatch(r"[a-z_ ]+\d[\d and]*\((.*?)(?:; sister files .*)?\)", text)
        return f"a public file: {found.group(1)}" if found else text
    rows = (folder / "artefacts" / "INDEX.md").read_text(encoding="utf-8").splitlines()
    return next(row.split(" | ")[4] for row in rows if row.startswith(f"| {case.record} |"))


def _build(case: Case, folder: Path) -> ObservedBuild:
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
    if case.everywhere:
        dla, gpu = [], []
    stated = not case.everywhere and len(dla) == record.n_dla_subgraphs
    return ObservedBuild(
        layers=(*dla, *gpu),
        source="the record",
        ordered=False,
        loadables=None if case.part else record.n_dla_subgraphs,
        listed=(*dla, *gpu),
        ends=tuple(_meant(entry.ends, case) for entry in dla) if stated else None,
        messages=tuple(
            ValidatorMessage(each.layer, each.type, each.reason_code, each.message_gist)
            for each in record.per_layer_reasons
        ),
        complete=record.complete and not case.part,
        file=case.record,
    )


def _meant(ends: tuple[str, str], case: Case) -> tuple[str, str]:
    first, last = (case.means_ends.get(name, name) for name in ends)
    return first, last


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
        r"^\d*$|layers switched|\*[^ )]|\*$|\ball\b|\betc\b|\bevery\b|^decoder$|fallback mentions|nodes inserted"
        r"|^overflow$|^57 ",
        text,
    )
