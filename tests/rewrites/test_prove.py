"""The proof: what can be compared is, and what cannot is told."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from dlaflow.errors import InputError
from dlaflow.rewrites.prove import Executable, compare

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
TAKEN_APART = "net (float[4] x) => (seq(float[M]) y) <int64 two = {2}> { y = SplitToSequence(x, two) }"
FIRST = "net (float[1,{length}] x) => (float[1,K] y) <int64[2] keep = {{1, {keep}}}> {{ y = Expand(x, keep) }}"


def network(text: str) -> Executable:
    return Executable(onnx.parser.parse_model(HEADER + text))


def test_outputs_that_are_no_tensors_are_told() -> None:
    with pytest.raises(InputError, match=r"cannot be compared.*seq\(tensor\(float\)\).*--dry-run"):
        network(TAKEN_APART)


def test_an_output_without_values_is_equal_to_itself() -> None:
    """A detector that found nothing; the class of no value is no class."""
    text = "net (float[1,3] x) => (float[K,3] y) <bool[1] none = {0}> { y = Compress<axis=0>(x, none) }"
    found = compare(network(text), network(text), {"x": (1, 3)})
    assert [(each.relative, each.agreement) for each in found] == [(0.0, None)] * 3


def test_another_number_of_values_is_a_difference() -> None:
    before, after = network(FIRST.format(length=1, keep=3)), network(FIRST.format(length=1, keep=4))
    assert all(each.relative == np.inf for each in compare(before, after, {"x": (1, 1)}))


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "uint32", "uint64"])
def test_integer_inputs_are_fed(kind: str) -> None:
    text = f"net ({kind}[1,5] x) => (float[1,5] y) {{ y = Cast<to=1>(x) }}"
    assert all(each.relative == 0 for each in compare(network(text), network(text), {"x": (1, 5)}))
