"""Our layers against what NVIDIA's ONNX parser makes of small models: kinds, names, order and shapes, by release.

`lowering_facts.txt` holds the models and the parser's layers; its head explains the form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dlaflow.graph.layer import Layer, Network, Reading
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

FACTS = Path(__file__).parent / "lowering_facts.txt"
RELEASES = {"8.4.1", "8.5.2", "8.6.1", "10.1.0", "11.4.1"}
OPEN = "/N"
REFUSED = "refused"
_UNNAMED = re.compile(r"\(Unnamed Layer\* (\d+)\) \[(\w+)\]")
_TYPES = {
    "ACTIVATION": "Activation",
    "ASSERTION": "Assertion",
    "CAST": "Cast",
    "CONCATENATION": "Concatenation",
    "CONSTANT": "Constant",
    "ELEMENTWISE": "ElementWise",
    "GATHER": "Gather",
    "IDENTITY": "Identity",
    "NORMALIZATION": "Normalization",
    "SELECT": "Select",
    "SHAPE": "Shape",
    "SHUFFLE": "Shuffle",
    "SLICE": "Slice",
    "UNARY": "Unary",
}


@dataclass(frozen=True)
class Entry:
    """One model and the parser's layers of it, by release (with OPEN behind it for an open batch)."""

    name: str
    opset: int
    text: str
    layers: dict[str, list[str]]


def _entry(block: str) -> Entry:
    opset, *lines = [line for line in block.strip().splitlines() if line and not line.startswith("#")]
    end = lines.index("}") + 1
    layers: dict[str, list[str]] = {}
    releases: list[str] = []
    for line in lines[end:]:
        if line.startswith(" "):
            for release in releases:
                layers[release].append(line.strip())
        else:
            releases = line.split()
            layers.update({release: [] for release in releases})
    text = "\n".join(lines[:end])
    return Entry(text.split(" ", 1)[0], int(opset.removeprefix("opset ")), text, layers)


ENTRIES = [_entry(block) for block in FACTS.read_text(encoding="utf-8").split("\n== ")[1:]]


def _model(entry: Entry, *, open_batch: bool) -> onnx.ModelProto:
    """The model of an entry; what it declares without values becomes an initializer."""
    inputs, rest = entry.text.split("=>", 1)
    if open_batch:
        inputs = inputs.replace("[1,", "[N,")
    version = 8 if entry.opset < 18 else 10
    model = onnx.parser.parse_model(f'<ir_version: {version}, opset_import: ["" : {entry.opset}]>\n{inputs}=>{rest}')
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in model.graph.value_info:
        tensor = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        number = 0.5 if np.issubdtype(dtype, np.floating) else 0
        values = np.full([dim.dim_value for dim in tensor.shape.dim], number, dtype)
        model.graph.initializer.append(numpy_helper.from_array(values, value.name))
    del model.graph.value_info[:]
    return model


@cache
def _network(name: str, release: str, folder: Path) -> Network:
    entry = next(entry for entry in ENTRIES if entry.name == name)
    path = folder / f"{name}.onnx"
    path.write_bytes(_model(entry, open_batch=release.endswith(OPEN)).SerializeToString())
    return lower(load_model(path), tensorrt=release.removesuffix(OPEN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("facts")


def _ours(network: Network) -> list[str]:
    """Our layers in the parser's order and in the form of the file."""
    if any(refusal.reading is not Reading.MISREAD for refusal in network.refusals):
        return [REFUSED]
    layers = sorted(network.layers, key=lambda layer: layer.index)
    assert [layer.index for layer in layers] == list(range(len(layers)))
    return [_line(layer) for layer in layers]


def _line(layer: Layer) -> str:
    name = layer.name
    if unnamed := _UNNAMED.fullmatch(name):
        assert unnamed[2] == _TYPES[layer.kind], name
        name = f"#{unnamed[1]}"
    if not layer.outputs:
        return f"{layer.kind} {name}"
    shape = layer.outputs[0].shape
    assert shape is not None
    return f"{layer.kind} {name} {'x'.join(str(size) for size in shape) or 'scalar'}"


def _with_unknown(ours: str, theirs: str) -> str:
    """Our layer with `?` for each dimension that the parser does not know."""
    mine, known = ours.split("x"), theirs.split("x")
    if "?" not in theirs or len(mine) != len(known):
        return ours
    head, _, first = mine[0].rpartition(" ")
    known_first = known[0].rpartition(" ")[2]
    sizes = [
        "?" if size == "?" else other for size, other in zip([known_first, *known[1:]], [first, *mine[1:]], strict=True)
    ]
    return f"{head} {'x'.join(sizes)}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_layers(entry: Entry, folder: Path) -> None:
    for release, theirs in entry.layers.items():
        ours = _ours(_network(entry.name, release, folder))
        if len(ours) == len(theirs):
            ours = [_with_unknown(mine, other) for mine, other in zip(ours, theirs, strict=True)]
        assert ours == theirs, f"{entry.name} for TensorRT {release}"


def test_each_model_is_told_for_each_release() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        fixed = {release for release in entry.layers if not release.endswith(OPEN)}
        opened = {release.removesuffix(OPEN) for release in entry.layers if release.endswith(OPEN)}
        assert fixed == RELEASES, entry.name
        assert opened in (set(), RELEASES), entry.name


@pytest.mark.parametrize("release", sorted({*RELEASES, *(release + OPEN for release in RELEASES)}))
def test_each_layer_stands_behind_what_it_reads(release: str, folder: Path) -> None:
    for entry in ENTRIES:
        if release not in entry.layers:
            continue
        network = _network(entry.name, release, folder)
        made = {tensor.name for tensor in network.inputs}
        for layer in network.layers:
            later = [
                tensor.name for tensor in layer.inputs if tensor.name not in made and _is_made(network, tensor.name)
            ]
            assert later == [], f"{entry.name}: {layer.name} reads {later} before it is there"
            made |= {tensor.name for tensor in layer.outputs}


def _is_made(network: Network, name: str) -> bool:
    """Weights that a layer holds itself come from no layer."""
    return any(tensor.name == name for layer in network.layers for tensor in layer.outputs)
