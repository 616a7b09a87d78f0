"""`dlaflow remote BOARD probe`: every `unknown` of `check` becomes a model of one layer, and the board answers.

What cannot be cut out of its model is skipped with the reason.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.build.capability import examine
from dlaflow.build.config import BuildConfig
from dlaflow.build.failures import explain_log
from dlaflow.build.model import takes_types_from_model
from dlaflow.build.trtexec_arguments import BUILD_ONLY, build_arguments
from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.graph.inputs import dims_of
from dlaflow.graph.layer import Layer, Network
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.lower import lower
from dlaflow.graph.piece import Wires, piece_of, whole_piece
from dlaflow.graph.tensor_type import TensorType
from dlaflow.observed.build import ObservedLayer, Sources, observe
from dlaflow.parse.trtexec import parse_log
from dlaflow.placement.answers import Answer, Answered, AnswerFile, known_answers, signature
from dlaflow.placement.check import check_network, network_of
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, performed
from dlaflow.remote.records import Phase, ProgramRun
from dlaflow.targets.target import Target
from dlaflow.types import Device, Verdict

BOUNDARY = ("/Cast", "/QuantizeLinear", "/DequantizeLinear")
"""What the names of the nodes end with that `give_types` puts at the ends of a model."""
_SCALE = 1 / 16
"""Of every tensor: where a layer runs does not hang on the values."""


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
    """Where the one layer of a build ran, and what the builder gave as reasons."""
    runs = parse_log(log).runs if log.is_file() else ()
    build = observe(Sources(runs[-1])) if runs and runs[-1].result == "PASSED" else None
    if build is None or not build.entries:
        known = explain_log(log)
        return "failed", f"{known.what} ({known.evidence})" if known.evidence else known.what
    reasons = "; ".join(dict.fromkeys(message.text for message in build.messages))[:300]
    devices = {entry.device for entry in build.entries if not _is_boundary(entry)}
    if {Device.DLA, Device.GPU} <= devices:
        return "both", reasons
    return ("DLA", "") if Device.DLA in devices else ("GPU", reasons)


def _is_boundary(entry: ObservedLayer) -> bool:
    """Whether an entry is a cast or a scale that `give_types` put around the layer, not the layer itself."""
    return entry.device is not Device.DLA and entry.name.endswith(BOUNDARY)


def cut_out(model: Model, network: Network, layer: Layer, path: Path, tensorrt: str) -> str:
    """Write the ONNX nodes behind `layer`, with weights and fixed shapes, to `path`; returns why not (empty: done).

    What was cut is read back: it must hold the same layer, else a board's answer would be about something else.
    """
    import onnx

    own, wires = {tensor.name for tensor in layer.outputs}, Wires(model)
    numbers = [
        number
        for number, node in enumerate(wires.nodes)
        if (node.name in layer.onnx_nodes if node.name else not own.isdisjoint(node.output))
    ]
    if not numbers:
        return "no ONNX node stands behind it"
    tensors = [*(tensor for each in network.layers for tensor in (*each.inputs, *each.outputs)), *network.inputs]
    types = {tensor.name: TensorType(tensor.shape, tensor.dtype) for tensor in tensors}
    piece = piece_of(wires, numbers, types, {})
    for port in (*piece.proto.graph.input, *piece.proto.graph.output):
        dims = dims_of(port)
        if dims is None or None in dims:
            return f"the shape of {port.name} is not known"
    piece.proto.graph.name = "probe"
    try:
        onnx.save(whole_piece(wires, piece), path)
    except DlaflowError as error:
        return error.what
    try:
        again = lower(load_model(path), tensorrt=tensorrt)
    except DlaflowError as error:
        return error.what
    wanted = signature(layer)
    return "" if any(signature(found) == wanted for found in again.layers) else "alone it is another layer"


def give_types(path: Path, precision: str) -> str:
    """Write the types into a model that was cut out, for a TensorRT that chooses none; returns why not (empty: done).

    FP16 tensors for fp16, Q/DQ nodes with one scale for all for int8.
    """
    import onnx

    from dlaflow.quantize.calibration import Calibration, TensorScale
    from dlaflow.quantize.fp16 import fp16_model
    from dlaflow.quantize.qdq import qdq_model

    model = load_model(path).whole()
    names = dict.fromkeys(name for node in model.graph.node for name in (*node.input, *node.output) if name)
    scales = tuple(TensorScale(name, _SCALE, 127 * _SCALE, "probe") for name in names)
    try:
        typed = qdq_model(model, Calibration(scales, "probe", 0, "", "")) if precision == "int8" else fp16_model(model)
    except DlaflowError as error:
        return error.what
    onnx.save(typed, path)
    return ""
