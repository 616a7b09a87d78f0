"""`dlaflow remote BOARD probe`: every `unknown` of `check` becomes a model of one layer, and the board answers."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.build.capability import examine
from dlaflow.build.config import BuildConfig
from dlaflow.build.failures import explain
from dlaflow.build.measuring import BUILD_ONLY
from dlaflow.build.model_types import takes_types_from_model
from dlaflow.build.trtexec_arguments import build_arguments
from dlaflow.errors import EnvironmentLacksError
from dlaflow.graph.layer import Layer, Network
from dlaflow.graph.load import Model, load_model
from dlaflow.parse.trtexec import parse_log
from dlaflow.placement.answers import Answer, Answered, AnswerFile, known_answers, signature
from dlaflow.placement.check import check_network, network_of
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.cut import BOUNDARY, cut_out, give_types
from dlaflow.remote.jobs import JobControl, JobOptions, performed
from dlaflow.remote.records import Phase, ProgramRun
from dlaflow.targets.target import Target
from dlaflow.types import Verdict


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe: the answers (None when nothing had to be asked), what was known before, what could not be asked."""

    answers: AnswerFile | None
    known: tuple[Answer, ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What to ask: `everything` takes all layers, not only unknown ones; `again` also what was answered before."""

    everything: bool = False
    again: bool = False
    seconds: float = 600.0
    control: JobControl = field(default_factory=JobControl)


def probe(board: RemoteBoard, path: Path, target: Target, options: ProbeOptions | None = None) -> Probed:
    """Ask the board about the layers of `path` that `check` cannot decide for `target`, its own release.

    Raises UsageError for a release without a DLA, EnvironmentLacksError when the board's trtexec
    refuses every model (then it is not the layers), InputError when the file cannot be used.
    """
    options = options or ProbeOptions()
    tensorrt = target.release.tensorrt
    int8, typed = target.precision == "int8", takes_types_from_model(BuildConfig(), tensorrt)
    config = BuildConfig(
        precision="int8" if int8 else "fp16",
        scales="qdq" if int8 and typed else "none",
        fp16_too=int8 and not typed,
        dla_core=0,
        gpu_fallback=True,
    )
    examine(config, tensorrt, "trtexec")
    model = load_model(path)
    network = network_of(model, target)
    wanted = _wanted(model, network, target, options)
    before = {} if options.again else known_answers(target.board.soc, tensorrt, target.precision)
    open_questions = {mark: layer for mark, layer in wanted.items() if mark not in before}
    known = tuple(before[mark].answer for mark in wanted if mark in before)
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as place:
        folder = Path(place)
        files: dict[str, Path] = {}
        asked: list[tuple[str, Layer]] = []
        skipped: list[tuple[str, str]] = []
        for mark, layer in open_questions.items():
            name = f"layer{len(asked)}.onnx"
            why = cut_out(model, network, layer, folder / name, tensorrt)
            if typed and not why:
                why = give_types(folder / name, target.precision)
            if why:
                skipped.append((layer.name, why))
                continue
            files[name] = folder / name
            asked.append((mark, layer))
        if not asked:
            return Probed(None, known, tuple(skipped))
        phases = tuple(_phase(number, config, tensorrt, options.seconds) for number in range(len(asked)))
        job = JobOptions("probe", f"{len(asked)} layers of {path.name}", files, phases)
        with performed(board, job, options.control) as (state, pulled):
            answers = tuple(
                _answer(mark, layer, pulled / f"layer{number}.log") for number, (mark, layer) in enumerate(asked)
            )
    if all(answer.device == "failed" for answer in answers):
        raise EnvironmentLacksError(
            f"trtexec on {board.name} built none of {len(answers)} layers: {answers[0].reason}",
            then="Nothing is kept of this. `dlaflow remote BOARD doctor` tells what is missing.",
        )
    found = AnswerFile(
        board=target.board.id,
        soc=target.board.soc,
        jetpack=target.release.name,
        tensorrt=tensorrt,
        precision=target.precision,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state.ended)),
        model=path.name,
        model_sha256=model.sha256,
        job=state.id,
        answers=answers,
    )
    return Probed(found, known, tuple(skipped))


def _wanted(model: Model, network: Network, target: Target, options: ProbeOptions) -> dict[str, Layer]:
    """Signature → a layer with it: equal layers are asked once."""
    verdicts = {layer.name: layer.verdict for layer in check_network(model, network, target, {}).layers}
    layers = [
        layer
        for layer in network.layers
        if not layer.folded and (options.everything or verdicts.get(layer.name) is Verdict.UNKNOWN)
    ]
    return {signature(layer): layer for layer in layers}


def _phase(number: int, config: BuildConfig, tensorrt: str, seconds: float) -> Phase:
    name = f"layer{number}"
    arguments = tuple(build_arguments(f"{name}.onnx", f"{name}.engine", config, tensorrt, BUILD_ONLY))
    return Phase(name=name, runs=(ProgramRun(name=name, arguments=arguments, seconds=seconds),), may_fail=True)


def _answer(mark: str, layer: Layer, log: Path) -> Answer:
    device, reason = _read(log)
    return Answer(signature=mark, layer=layer.name, kind=layer.kind, op=layer.op, device=device, reason=reason)


def _read(log: Path) -> tuple[Answered, str]:
    runs = parse_log(log).runs if log.is_file() else ()
    if not runs or runs[-1].result != "PASSED" or not runs[-1].placement.printed:
        with log.open(encoding="utf-8", errors="replace") as lines:
            known = explain(lines)
        return "failed", f"{known.what} ({known.evidence})" if known.evidence else known.what
    run = runs[-1]
    messages = "; ".join(dict.fromkeys(message.text for message in run.messages))[:300]
    gpu = [entry for entry in run.placement.gpu if not entry.name.endswith(BOUNDARY)]
    if run.placement.dla and gpu:
        return "both", messages
    return ("DLA", "") if run.placement.dla else ("GPU", messages)
