"""TensorRT's own answers about the DLA before building, and how well `dlaflow check` predicted them.

Two ways to ask: `can_run_on_DLA` for every layer of the parsed network (all releases), and the parser's capability
report over ONNX nodes (REPORT_CAPABILITY_DLA, from 10.15). Both answer on a board only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dlaflow.build.surface import BuilderObject, NetworkObject, ParserObject, Settings
from dlaflow.types import Device, Placement, Verdict

_REPORT = "REPORT_CAPABILITY_DLA"


@dataclass(frozen=True, slots=True)
class LayerAnswer:
    """TensorRT's answer about one layer of its network; `kind` is its LayerType name."""

    name: str
    kind: str
    runs: bool


@dataclass(frozen=True, slots=True)
class RefusedNode:
    """An ONNX node that the parser reports as unfit for the DLA; `operator` and `reason` may be empty."""

    index: int
    operator: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A layer on which `check` and TensorRT differ."""

    layer: str
    predicted: bool
    actual: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """The score of a prediction. `unsaid` counts layers that `check` left open, `unmatched` those it does not name."""

    agreed: int
    disagreements: tuple[Disagreement, ...]
    unsaid: int
    unmatched: int

    @property
    def share(self) -> float | None:
        """The share of layers predicted rightly among those that `check` decided; None without any."""
        decided = self.agreed + len(self.disagreements)
        return self.agreed / decided if decided else None


def ask_layers(settings: Settings, network: NetworkObject) -> tuple[LayerAnswer, ...]:
    """`can_run_on_DLA` for each layer, in network order."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return tuple(LayerAnswer(layer.name, layer.type.name, bool(settings.can_run_on_DLA(layer))) for layer in layers)


def ask_parser(
    trt: ModuleType, builder: BuilderObject, settings: Settings, model: Path, logger: object
) -> tuple[RefusedNode, ...] | None:
    """The ONNX nodes that the parser reports as unfit for the DLA, in order; None where the release has no such report.

    Needs a builder config whose default device is the DLA. A network of its own is used, as the report spoils it.
    """
    if not hasattr(getattr(trt, "OnnxParserFlag", None), _REPORT) or not hasattr(trt.OnnxParser, "set_builder_config"):
        return None
    parser: ParserObject = trt.OnnxParser(builder.create_network(0), logger)
    parser.set_builder_config(settings)
    parser.set_flag(getattr(trt.OnnxParserFlag, _REPORT))
    parser.supports_model_v2(model.read_bytes(), str(model))
    complaints = [parser.get_error(index) for index in range(parser.num_errors)]
    complained = {one.node(): RefusedNode(one.node(), one.node_operator(), _line(one.desc())) for one in complaints}
    refused: list[int] = []
    for index in range(parser.num_subgraphs):
        if not parser.is_subgraph_supported(index):
            refused.extend(parser.get_subgraph_nodes(index))
    return tuple(complained.get(index, RefusedNode(index)) for index in sorted(refused))


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def score(answers: tuple[LayerAnswer, ...], placement: Placement) -> Agreement:
    """Compare TensorRT's answers with what `check` predicted; folded layers count as neither."""
    predicted = {layer.name: layer for layer in placement.layers}
    agreed, unsaid, unmatched = 0, 0, 0
    disagreements = []
    for answer in answers:
        layer = predicted.get(answer.name)
        if layer is None:
            unmatched += 1
        elif layer.verdict is Verdict.UNKNOWN or layer.device is Device.FOLDED:
            unsaid += 1
        elif (layer.verdict is Verdict.NATIVE) == answer.runs:
            agreed += 1
        else:
            disagreements.append(Disagreement(answer.name, layer.verdict is Verdict.NATIVE, answer.runs))
    return Agreement(agreed, tuple(disagreements), unsaid, unmatched)
