"""The roundings of the convolution buffer's formula, by numbers worked by hand at the borders."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.graph.layer import Convolution
from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rules.base import Example
from dlaflow.rules.convolution_buffer import Banks, ConvBuffer, convolution_banks
from dlaflow.targets.target import resolve_target
from dlaflow.types import Verdict
from tests.rules.test_examples import build, findings

INT8, FP16 = 1, 2


def convolution(kernel: tuple[int, int], dilation: int = 1) -> Convolution:
    return Convolution(
        kernel=kernel,
        stride=(1, 1),
        pads_begin=(0, 0),
        pads_end=(0, 0),
        dilation=(dilation, dilation),
        groups=1,
        in_channels=64,
        out_channels=64,
    )


@pytest.mark.parametrize(
    ("channels", "kernel", "size", "banks"),
    [
        # One bank is 32768 bytes: 3640 * 9 = 32760 fit it, 3641 * 9 = 32769 are one too many.
        (3640, (3, 3), INT8, 1),
        (3641, (3, 3), INT8, 2),
        # The same in FP16: 1820 * 9 * 2 = 32760, 1821 * 9 * 2 = 32778.
        (1820, (3, 3), FP16, 1),
        (1821, (3, 3), FP16, 2),
        # Exactly full: 4096 * 8 = 32768 and 8192 * 8 = 65536.
        (4096, (2, 4), INT8, 1),
        (4096, (2, 4), FP16, 2),
        # One byte still takes 128 of them, and with these a whole bank.
        (1, (1, 1), INT8, 1),
    ],
)
def test_weight_banks_round_up(channels: int, kernel: tuple[int, int], size: int, banks: int):
    assert convolution_banks(channels, 4, convolution(kernel), size).weights == banks


@pytest.mark.parametrize(
    ("channels", "width", "kernel", "dilation", "size", "banks"),
    [
        # 32 bytes of channels are one atom: 1 * 1024 / 4 = 256 entries fill a bank; 33 channels are 2 atoms, 512.
        (32, 1024, 1, 1, INT8, 1),
        (33, 1024, 1, 1, INT8, 2),
        (16, 1024, 1, 1, FP16, 1),
        (17, 1024, 1, 1, FP16, 2),
        # 4 pixels are one entry: 1025 / 4 = 256.25 are 257 entries, one more than a bank.
        (32, 1025, 1, 1, INT8, 2),
        # A row's entries are whole before rows are counted: 1 / 4 is 1 entry; 256 rows of it fill a bank, 257 do not.
        (32, 1, 2, 255, INT8, 1),
        (32, 1, 2, 256, INT8, 2),
        # 5 / 4 = 1.25 are 2 entries a row; 129 rows are 258 entries (161.25 without rounding, 129 rounded down).
        (32, 5, 2, 128, INT8, 2),
        (32, 5, 2, 127, INT8, 1),
        # Rows of a dilated kernel: (3 - 1) * 2 + 1 = 5, times 52 entries = 260; undilated 3 * 52 = 156.
        (32, 208, 3, 2, INT8, 2),
        (32, 208, 3, 1, INT8, 1),
        # Several banks: 3 atoms * 500 / 4 = 375 entries; 3 rows 1125 / 256 = 4.39.
        (96, 500, 3, 1, INT8, 5),
    ],
)
def test_data_banks_round_up(channels: int, width: int, kernel: int, dilation: int, size: int, banks: int):
    assert convolution_banks(channels, width, convolution((kernel, 1), dilation), size).data == banks


def test_both_add_up():
    # Weights: 256 * 9 * 2 = 4608 bytes. Data: 16 atoms * 56 / 4 = 224 entries, 3 rows 672 / 256 = 2.625.
    banks = convolution_banks(256, 56, convolution((3, 3)), FP16)
    assert banks == Banks(weights=1, data=3)
    assert banks.total == 4


@pytest.mark.parametrize(("width", "found"), [(7680, []), (7681, [Verdict.FALLBACK])])
def test_the_seventeenth_bank_is_one_column_away(width: int, found: list[Verdict], tmp_path: Path):
    """64 channels are 2 atoms: 7680 / 2 = 3840 entries fill 15 banks beside one of weights; 7681 give 3841."""
    path = tmp_path / "model.onnx"
    path.write_bytes(
        build(Example("y = Conv(x, w)", x=f"1,64,1,{width}", weights=(("w", "8,64,1,1"),))).SerializeToString()
    )
    placement = check_model(load_model(path), resolve_target("agx-orin-64gb", tensorrt="8.5.2"))
    assert [finding.verdict for finding in findings(placement, ConvBuffer)] == found
