"""Rules that can be checked only after the layers are placed: the limit of loadables, standalone builds."""

from __future__ import annotations

from typing import ClassVar

from dlaflow.graph.layer import RESHAPES, Layer, Slice, elements
from dlaflow.graph.typed import PAIR
from dlaflow.rules.base import Example, ModelRule
from dlaflow.rules.case import Case
from dlaflow.targets.limits import Limit
from dlaflow.types import Confidence, Device, Finding, PlacedLayer, Placement, Remedy, Verdict


class PlacementRule(ModelRule):
    """Shared frame: a rule that looks at the placement."""

    modes: ClassVar[tuple[str, ...]] = ("hybrid", "standalone")
    """The modes in which the finding counts; in the others it only tells that no standalone build is possible."""

    def examine_model(self, case: Case) -> Finding | None:
        return None

    def examine_placement(self, placement: Placement, case: Case) -> Finding | None:
        """The finding when the placed layers break the rule, else None. The limit of loadables is met while placing."""
        return None


class LoadableLimit(PlacementRule):
    """One DLA core takes {model.loadables} loadables; layers of further ones move to the GPU.

    Why: the limit counts over all engines that are loaded on a core. The builder keeps the larger loadables.
    Use instead: fewer fallbacks, so that fewer and longer loadables remain.
    """

    id = "DLA010"
    remedy = Remedy.NONE
    limit = "model.loadables"
    bad = Example(
        "\n".join(f"c{i + 1} = Ceil(r{i})\nr{i + 1} = Relu(c{i + 1})" for i in range(18)).replace("r0", "x")
        + "\ny = Relu(r18)"
    )

    def beyond(self, layer: Layer, limit: Limit, candidates: int) -> Finding:
        """The finding for a layer of a loadable beyond the limit."""
        return self.breaks(layer, limit, f"one of {candidates} loadables")


class StandaloneLeftovers(PlacementRule):
    """A standalone build needs every layer on the DLA, without Constant or shape layers left in the network.

    Why: there is no GPU to fall back to, and even a constant that would fold in a hybrid build ends it.
    Use instead: `dlaflow fix`; cut what comes before and after, fold constants, split convolutions instead of slicing.
    """

    id = "DLA011"
    remedy = Remedy.ELSEWHERE
    modes = ("standalone",)
    expected = "all layers on the DLA"
    source = "build logs of TensorRT 10.3.0: is not supported on DLA but GPU fallback is not enabled"
    confidence = Confidence.MEASURED
    bad = Example("y = GlobalAveragePool(x)")

    def examine_placement(self, placement: Placement, case: Case) -> Finding | None:
        """The finding that tells why a standalone build would fail, None when nothing speaks against it."""
        found = leftovers(placement)
        sliced = [
            layer
            for layer in case.network.layers
            if isinstance(layer.attributes, Slice) and layer.attributes.parameters_from_nodes
        ]
        if not found and not sliced:
            return None
        first = found[0].name if found else sliced[0].name
        return self.says(
            Verdict.FALLBACK, f"{len(found) or len(sliced)} layers that are not for the DLA, the first is {first}"
        )


class LoadableMemory(PlacementRule):
    """The weights of a loadable must stay below 512 MiB, its inner tensors below 1 GiB.

    Why: these are the default pools of global and local DRAM; beyond them TensorRT cuts the loadable or gives it up.
    Use instead: a smaller input or batch, or larger pools (--memPoolSize=dlaLocalDRAM:2048).
    """

    id = "DLA012"
    remedy = Remedy.ELSEWHERE
    bad = Example("a = Relu(x)\ny = Sigmoid(a)", x="64,64,512,512")

    def examine_placement(self, placement: Placement, case: Case) -> Finding | None:
        """The finding for the first loadable that is too large, None when all fit."""
        pools = ((case.limit("model.weight_bytes"), "weights"), (case.limit("model.activation_bytes"), "inner tensors"))
        layers = {layer.name: layer for layer in case.network.layers}
        for loadable in placement.loadables:
            members = [layers[name] for name in loadable.layers if name in layers]
            inner = {name for layer in members for name in (tensor.name for tensor in layer.inputs)}
            sizes = (
                sum(layer.weight_elements * case.bytes_of(layer) for layer in members),
                sum(
                    elements(tensor.shape) * case.bytes_of(layer)
                    for layer in members
                    for tensor in layer.outputs
                    if tensor.name in inner
                ),
            )
            for (limit, what), size in zip(pools, sizes, strict=True):
                if limit is not None and not limit.allows(size):
                    return self.says(
                        Verdict.UNKNOWN,
                        f"loadable {loadable.index} holds {size >> 20} MiB of {what}",
                        expected=f"below {((limit.max or 0) + 1) >> 20} MiB",
                        source=limit.source,
                    )
        return None


def leftovers(placement: Placement) -> list[PlacedLayer]:
    """The layers that a standalone build ends at.

    Reshapes that disappear between two DLA layers, and pairs, which are scales, are none; constants and the like are.
    """
    kinds = RESHAPES | PAIR
    outside = [layer for layer in placement.layers if layer.device is not Device.DLA]
    return [layer for layer in outside if layer.verdict is not Verdict.NATIVE or layer.kind not in kinds]
