"""Before a build: whether the release's own parser will read the model at all."""

from __future__ import annotations

from pathlib import Path

from dlaflow.build.capability import Caution
from dlaflow.graph.layer import Reading
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.rules.reading import READING_RULES, described

_WORST_FIRST = (Reading.REFUSED, Reading.CONTRADICTION, Reading.MISREAD, Reading.PLUGIN)
_HEADS = {rule.reading: rule.head for rule in READING_RULES}


def examine_reading(model: Path, tensorrt: str) -> list[Caution]:
    """What the parser of that TensorRT refuses, misreads or wants plugins for; empty when it reads the model.

    Raises InputError when the model cannot be read.
    """
    refusals = lower(load_model(model), tensorrt=tensorrt).refusals
    cautions = []
    for reading in _WORST_FIRST:
        found = [refusal for refusal in refusals if refusal.reading is reading]
        if found:
            message = f"TensorRT {tensorrt}'s parser {_HEADS[reading].format(model=model)}: {described(found)}."
            cautions.append(Caution(message, f"`dlaflow check {model}` tells what to do."))
    return cautions
