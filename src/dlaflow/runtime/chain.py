"""A detector in the two parts that `fix --cut` writes, run as one: its maps, and what makes boxes of them."""

from __future__ import annotations

from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.quantize.agreement import Floats, ManyOutputs
from dlaflow.quantize.feed import Batch, Feed
from dlaflow.runtime.ort import OrtRunner


class Chain:
    """A network whose outputs go through `decode`, an ONNX file that takes them by their names, on onnxruntime.

    `output_names` are those of the decode part. A network that makes them itself, a `whole` one, runs alone. Raises
    InputError where the network lacks an input of the decode part, and where both have a fixed batch and not the same.
    """

    def __init__(self, network: ManyOutputs, decode: Path, title: str) -> None:
        self._network, self._decode = network, OrtRunner(decode)
        self.output_names: list[str] = self._decode.output_names
        self.batch: int | None = network.batch or self._decode.batch
        self.whole = {*self.output_names} <= {*network.output_names}
        if self.whole:
            return
        lacking = [each.name for each in self._decode.inputs if each.name not in network.output_names]
        if lacking:
            raise InputError(
                f"{decode} does not fit behind {title}",
                expected=f"outputs named {', '.join(lacking)}",
                received=", ".join(network.output_names),
                then="`dlaflow fix MODEL --out backbone.onnx --cut auto` writes both parts.",
            )
        if self._decode.batch and self.batch != self._decode.batch:
            raise InputError(
                f"{decode} has another batch than {title}", expected=self.batch, received=self._decode.batch
            )

    def run_all(self, batch: Batch) -> list[Floats]:
        """The decode part's outputs for at most one fixed batch."""
        made = dict(zip(self._network.output_names, self._network.run_all(batch), strict=True))
        if self.whole:
            return [made[name] for name in self.output_names]
        return self._decode.run_all(Feed({each.name: made[each.name] for each in self._decode.inputs}))
