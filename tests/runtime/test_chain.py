"""A network and its decode part run as one, and only where they fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.errors import InputError
from dlaflow.runtime.chain import Chain
from dlaflow.runtime.ort import OrtRunner

NETWORK = """<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},2] x) => (float[{batch},2] a, float[{batch},2] b) {{ a = Neg(x)  b = Add(x, x) }}"""
DECODE = """<ir_version: 8, opset_import: ["" : 17]>
post (float[{batch},2] {first}, float[{batch},2] a) => (float[{batch},2] y) {{ y = Sub({first}, a) }}"""
WHOLE = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2] x) => (float[N,2] a, float[N,2] y) { a = Neg(x)  y = Mul(x, x) }"""
IMAGES = np.arange(6, dtype=np.float32).reshape(3, 2)


def saved(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


def chain(folder: Path, network: str, decode: str) -> Chain:
    return Chain(OrtRunner(saved(folder / "net.onnx", network)), saved(folder / "post.onnx", decode), "net.onnx")


@pytest.mark.parametrize(("ours", "theirs", "batch"), [("N", "N", None), ("N", "4", 4), ("4", "N", 4), ("4", "4", 4)])
def test_the_outputs_go_by_name(tmp_path: Path, ours: str, theirs: str, batch: int | None) -> None:
    both = chain(tmp_path, NETWORK.format(batch=ours), DECODE.format(batch=theirs, first="b"))
    assert (both.batch, both.output_names) == (batch, ["y"])
    (found,) = both.run_all(IMAGES)
    np.testing.assert_array_equal(found, 3 * IMAGES)


def test_a_network_that_has_the_outputs_itself_stays_whole(tmp_path: Path) -> None:
    both = chain(tmp_path, WHOLE, DECODE.format(batch="N", first="b"))
    (found,) = both.run_all(IMAGES)
    np.testing.assert_array_equal(found, IMAGES**2)


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not fit behind") as lacking:
        chain(tmp_path, NETWORK.format(batch="N"), DECODE.format(batch="N", first="c"))
    assert "outputs named c" in str(lacking.value)
    with pytest.raises(InputError, match="another batch"):
        chain(tmp_path, NETWORK.format(batch="2"), DECODE.format(batch="3", first="b"))
