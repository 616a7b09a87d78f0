"""What boards answered to `probe`: facts by layer, kept on the host with board, release and date.

A layer is known by its signature: kind, operator, attributes and the shapes and types of its tensors, not by its name.
An answer holds for the chip, the TensorRT release and the precision that it was given for, and for nothing else. It
settles what the rules leave `unknown`; where they do know, their word stands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import json_bytes, write_atomic
from dlaflow.graph.layer import Layer, Tensor
from dlaflow.reading import read_bytes
from dlaflow.rules.examine import verdict
from dlaflow.targets.version import agree
from dlaflow.types import Confidence, Finding, Verdict
from dlaflow.version import __version__

SCHEMA = "dlaflow.answers/1"
Answered = Literal["DLA", "GPU", "both", "failed"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """TensorRT's word on one layer. `reason` is what its log says where it refused."""

    signature: str
    layer: str
    kind: str
    op: str
    device: Answered
    reason: str = ""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with where it comes from, such as `probe of agx-orin-64gb, TensorRT 8.5.2, 2026-11-22`."""

    answer: Answer
    source: str


class AnswerFile(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of one probe: whose they are, and of which model the layers were."""

    schema: str = SCHEMA
    dlaflow: str = __version__
    board: str
    soc: str
    jetpack: str
    tensorrt: str
    precision: str
    date: str
    model: str
    model_sha256: str
    job: str
    answers: tuple[Answer, ...]

    @property
    def source(self) -> str:
        """Whose answers these are, for the findings that they settle."""
        return f"probe of {self.board}, TensorRT {self.tensorrt}, {self.date[:10]} ({self.job})"


def signature(layer: Layer) -> str:
    """The layer without its names, as a hash."""
    import hashlib  # only where a board answered

    tensors = [_text(tensor) for tensor in (*layer.inputs, *layer.outputs)]
    text = f"{layer.kind}|{layer.op}|{layer.attributes!r}|{len(layer.inputs)}|{'|'.join(tensors)}"
    return hashlib.sha256(text.encode()).hexdigest()


def answers_folder() -> Path:
    """$DLAFLOW_ANSWERS, else the user's data folder."""
    if named := os.environ.get("DLAFLOW_ANSWERS"):
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "dlaflow" / "answers"


def keep(answers: AnswerFile, folder: Path | None = None) -> Path:
    """Write the answers and return their file. Raises InputError when the folder cannot be written."""
    path = (folder or answers_folder()) / f"{answers.job}.json"
    write_atomic(path, json_bytes(answers))
    return path


def known_answers(soc: str, tensorrt: str, precision: str, folder: Path | None = None) -> dict[str, Known]:
    """Signature → answer for one chip, release and precision; a newer probe replaces an older one.

    Raises InputError for a file in the folder that is damaged.
    """
    files = sorted((folder or answers_folder()).glob("*.json"))
    read = [_read(path) for path in files]
    fitting = [one for one in read if (one.soc, one.precision) == (soc, precision) and agree(one.tensorrt, tensorrt)]
    return {
        answer.signature: Known(answer=answer, source=one.source)
        for one in sorted(fitting, key=lambda one: one.date)
        for answer in one.answers
    }


def settled(layer: Layer, findings: list[Finding], answers: Mapping[str, Known]) -> list[Finding]:
    """The findings on a layer, with a board's answer in place of what is `unknown` among them."""
    if not answers or verdict(findings) is not Verdict.UNKNOWN:
        return findings
    known = answers.get(signature(layer))
    if known is None or known.answer.device == "failed":
        return findings
    return [_said(finding, known) if finding.verdict is Verdict.UNKNOWN else finding for finding in findings]


_WORDS = {"DLA": "the board ran it on the DLA", "GPU": "the board ran it on the GPU", "both": "the board split it"}


def _said(finding: Finding, known: Known) -> Finding:
    answer = known.answer
    native = answer.device == "DLA"
    return replace(
        finding,
        verdict=Verdict.NATIVE if native else Verdict.FALLBACK,
        message=_WORDS[answer.device] + (f": {answer.reason}" if answer.reason else ""),
        source=known.source,
        fix="" if native else finding.fix,
        confidence=Confidence.MEASURED,
    )


def _read(path: Path) -> AnswerFile:
    try:
        return msgspec.json.decode(read_bytes(path), type=AnswerFile)
    except (ValueError, RecursionError) as error:  # of msgspec, of UTF-8
        raise InputError(
            f"{path} holds no answers", expected=SCHEMA, received=str(error), then="Remove it and probe again."
        ) from None


def _text(tensor: Tensor) -> str:
    shape = "?" if tensor.shape is None else "x".join("?" if size is None else str(size) for size in tensor.shape)
    return f"{shape}:{tensor.dtype}:{int(tensor.constant)}"
