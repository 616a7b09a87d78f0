"""No text makes a parser fail or hang: real files cut, shuffled and byte-flipped, and texts of Hypothesis."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.device import parse_device
from dlaflow.parse.exports import (
    parse_cudla_csv,
    parse_dumped_layers,
    parse_layer_info,
    parse_output,
    parse_profile,
    parse_times,
)
from dlaflow.parse.messages import placement_message
from dlaflow.parse.nodes import brace_groups, gpu_names, list_entry
from dlaflow.parse.nsys import read_enqueues, read_info
from dlaflow.parse.read import read_artefact
from dlaflow.parse.rows import classified, device_changes, dla_regions
from dlaflow.parse.sections import dla_layer, engine_layer
from dlaflow.parse.tegrastats import parse_tegrastats
from dlaflow.parse.text import lines_of
from dlaflow.parse.trtexec import parse_log

LONGEST_SECONDS = 2.0

PIECES = st.sampled_from(
    [
        "[01/23/2025-09:18:04] ", "[I] ", "[V] ", "[W] ", "[E] ", "[TRT] ", "&&&& RUNNING TensorRT.trtexec # x",
        "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # x", "=== Performance summary ===",
        "=== Profile (3 iterations ) ===", "Latency: min = 1 ms, max = nan ms",
        "Layer(DLA): {ForeignNode[a...b]}, Tactic: 0x3, x (Half[1,2:16]) -> y", "Engine Layer Information:",
        "---------- Layers Running on DLA ----------", "--------------- Layers running on GPU:",
        "[DlaLayer] {ForeignNode[a...b]}", "[GpuLayer] SHUFFLE: a", "{a,b}, {c", "PWN(a, PWN(b",
        "Layer 'a' (X): Unsupported on DLA", " Time(ms) Avg.(ms) Median(ms) Time(%) Layer", "1 2 3 4 a",
        "Average on 10 runs - GPU latency: x ms", "min: 1 ms", "RAM 1/2MB CPU [0%@1]", "VDD 1mW/2mW", "\n", "\n",
        "\n", "\t", " ", "\0", "\x1b[31m", "é", "\ud7ff", ": ", "{", "}", "layer_name,start_ms,end_ms",
        "'a, b',0.1,0.2", '{"log":"x', "trt | ", "2025-02-14T10:33:45Z ", "\r", "NV Power Mode: MAXN",
        "Name: a, LayerType: DLA",
        "NVPM VERB: PARAM DLA0_CORE: ARG MAX_FREQ: PATH /a: REAL_VAL: 1 CONF_VAL: -1", "GR3D_FREQ @[1,off]",
        "nvidia,tegra234", '"', '{ "count" : 3 }',
        ', { "name" : "a", "timeMs" : 1, "averageMs" : nan, "percentage" : -nan }', '"Layers": [', "Host Latency",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=12), max_size=40).map("".join)


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_no_text_fails(text: str) -> None:
    parse_log(text + "\n")
    parse_layer_info(text + "\n")
    parse_times(text + "\n")
    parse_output(text + "\n")
    parse_tegrastats(text + "\n")
    parse_device(text + "\n")
    parse_cudla_csv(text + "\n")
    for profile in parse_profile(text + "\n").profiles:
        rows = classified(profile)
        assert len(dla_regions(rows)) <= len(rows)
        assert device_changes(rows) <= len(rows)
    if detect(text + "\n") is not Kind.NSYS_SQLITE:
        read_artefact(text + "\n")


@given(TEXTS)
@settings(deadline=None, max_examples=100)
def test_no_line_fails(text: str) -> None:
    engine_layer(text)
    dla_layer(text, "node")
    placement_message(text)
    list_entry(text)
    list_entry("[DlaLayer] " + text)
    list_entry("[DlaLayer] {" + text + "}")
    brace_groups(text)
    gpu_names(text)
    parse_dumped_layers([text])


@given(st.lists(st.text(alphabet="abc/_.0", min_size=1, max_size=8), min_size=1, max_size=6))
@settings(deadline=None)
def test_groups_give_back_their_layers(names: list[str]) -> None:
    (group,) = brace_groups("{" + ",".join(names) + "}, ")
    assert group.members == tuple(names)
    assert [node.name for node in gpu_names(", ".join(names) + ", ")] == names


def variants(files: list[Path], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Cut, shuffled (lines) and byte-flipped copies of real files, the smaller ones more often."""
    chance = random.Random(seed)
    weights = [1 / (path.stat().st_size + 4096) for path in files]
    for _ in range(count):
        path = chance.choices(files, weights)[0]
        data = bytearray(path.read_bytes())
        how = chance.choice(("cut", "shuffle", "flip", "splice"))
        if how == "cut":
            begin = chance.randrange(len(data))
            data = data[begin:] if chance.random() < 0.5 else data[:begin]
        elif how == "shuffle" and path.suffix != ".sqlite":
            lines = bytes(data).split(b"\n")
            chance.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif how == "splice":
            begin = chance.randrange(len(data))
            del data[begin : begin + chance.randrange(200)]
        else:
            for _ in range(chance.randrange(1, 50)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        yield f"{path.name} ({how})", bytes(data)


def survive(artefacts: Path, folder: Path, count: int, seed: int) -> float:
    """Read `count` variants through the front door and through the parser of the original; the slowest in seconds."""
    slowest = 0.0
    path = folder / "variant"
    for name, data in variants(sorted(artefacts.iterdir()), count, seed):
        path.write_bytes(data)
        begin = time.perf_counter()
        try:
            read_artefact(path)
            if ".sqlite" in name:
                read_info(path)
                list(read_enqueues(path))
            elif name.startswith("trtexec"):
                parse_log(path)
            elif name.startswith(("profile", "layerinfo", "times", "output")):
                parse_profile(path)
                parse_layer_info(path)
                parse_times(path)
                parse_output(path)
            else:
                parse_tegrastats(path)
                parse_device(path)
        except InputError:
            # A damaged database is the one thing that is told rather than read.
            assert ".sqlite" in name, name
        slowest = max(slowest, time.perf_counter() - begin)
    return slowest


def test_a_hundred_variants(artefacts: Path, tmp_path: Path) -> None:
    assert survive(artefacts, tmp_path, 100, seed=1) < LONGEST_SECONDS


@pytest.mark.slow
def test_two_thousand_variants(artefacts: Path, tmp_path: Path) -> None:
    assert survive(artefacts, tmp_path, 2000, seed=2) < LONGEST_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "RAM {0}/30536MB (lfb 16x4MB) CPU [5%@729]\n",
        "RAM 1/30536MB (lfb {0}x4MB) CPU [5%@{0},off] EMC_FREQ {0}%@2133 VDD_A {0}mW/1mW cpu@{0}C\n",
        "&&&& RUNNING TensorRT.trtexec [TensorRT v{0}] # trtexec\n[01/23/2025-09:18:04] [I] DLACore: {0}\n",
        "NV Power Mode: MAXN\n{0}\n",
        "[01/23/2025-09:18:04] [I] === Profile ({0} iterations ) ===\n",
    ],
)
def test_numbers_without_end(text: str, tmp_path: Path) -> None:
    """Python reads no integer of more than 4,300 digits: it would be a fault, and no tool prints one."""
    path = tmp_path / "a.log"
    path.write_text(text.format("9" * 5000))
    read_artefact(path)
    read_artefact(text.format("9" * 5000))


def test_half_a_surrogate_pair_can_be_written_again(tmp_path: Path) -> None:
    text = '[{"count": 1}, {"name": "a\\ud800b \\ud83d\\ude00", "timeMs": 1, "averageMs": 1, "percentage": 100}]'
    ((row,),) = [profile.rows for profile in parse_profile(text).profiles]
    assert row.name.encode() == "a\ufffdb \U0001f600".encode()


def test_json_nested_without_end_is_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ' + "[" * 200_000)
    assert detect(tmp_path / "a.json") is Kind.UNKNOWN


def test_one_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * (40 << 20) + b"\nend\r\n")
    lines = list(lines_of(tmp_path / "a.log"))
    assert lines[-1] == "end"
    assert sum(map(len, lines[:-1])) == 40 << 20
    assert max(map(len, lines)) < 20 << 20
