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
from dlaflow.types import Confidence, Verdict
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


def grouped(channels: int, width: int, groups: int = 32, kernel: int = 3) -> Example:
    weights = (("w", f"{channels},{channels // groups},{kernel},{kernel}"),)
    return Example(f"y = Conv<group={groups}>(x, w)", x=f"1,{channels},8,{width}", weights=weights)


def found_in(example: Example, tensorrt: str, precision: str, folder: Path) -> list[tuple[Verdict, Confidence]]:
    path = folder / "model.onnx"
    path.write_bytes(build(example).SerializeToString())
    target = resolve_target("agx-orin-64gb", tensorrt=tensorrt, precision=precision)
    return [(each.verdict, each.confidence) for each in findings(check_model(load_model(path), target), ConvBuffer)]


def test_32_kernels_of_all_channels_are_what_the_log_counts():
    """`Maximum allotted banks = 16; which is less than 5 + 12`: 32 * 256 * 9 * 2 bytes, three rows of 1024 entries."""
    assert convolution_banks(256, 256, convolution((3, 3)), FP16, kernels=32) == Banks(weights=5, data=12)


@pytest.mark.parametrize(("planes", "fails"), [((16, 32, 64), []), ((32, 64, 136), []), ((64, 128, 256), [1, 2])])
def test_the_widths_of_pyramid_fusion_that_build(planes: tuple[int, ...], fails: list[int], tmp_path: Path):
    """ResNeXt with 32 groups of planes * 4 / 64 channels on 128 x 256; each stage but the first halves the columns."""
    stages = [grouped(plane * 4 // 64 * 32, width) for plane, width in zip(planes, (256, 256, 128), strict=True)]
    found = [found_in(stage, "8.5.2", "fp16", tmp_path) for stage in stages]
    expected = [[(Verdict.FALLBACK, Confidence.MEASURED)] if number in fails else [] for number in range(3)]
    assert found == expected


@pytest.mark.parametrize(
    ("channels", "width"), [(128, 200), (256, 200), (256, 100), (512, 100), (512, 50), (1024, 50), (1024, 25)]
)
def test_the_backbone_of_retinanet_is_taken(channels: int, width: int, tmp_path: Path):
    """NVIDIA runs RetinaNet with ResNeXt50 on 800 x 800 wholly on the DLA, in INT8."""
    assert found_in(grouped(channels, width), "8.5.2", "int8", tmp_path) == []


_REMARK, _OPEN = (Verdict.NATIVE, Confidence.INFERRED), (Verdict.UNKNOWN, Confidence.INFERRED)


@pytest.mark.parametrize(
    ("example", "tensorrt", "precision", "found"),
    [
        # The same layer under other releases, in INT8 (where twice as many columns fail), and in fewer groups.
        (grouped(256, 256), "8.4.1", "fp16", [_OPEN]),
        (grouped(256, 256), "10.3.0", "fp16", [_OPEN]),
        (grouped(256, 1024), "8.5.2", "int8", [_OPEN]),
        (grouped(256, 256, groups=4), "8.5.2", "fp16", [_OPEN]),
        # SSD-MobileNetV1's deepest layer in INT8, which NVIDIA builds; MobileNetV2's and SAM 2.1's in FP16.
        (grouped(1024, 10, groups=1024), "8.5.2", "int8", []),
        (grouped(960, 7, groups=960), "8.5.2", "fp16", [_REMARK]),
        (grouped(256, 32, groups=256, kernel=7), "10.3.0", "fp16", [_REMARK]),
        # The rows of all channels alone do not fit: 512 * 2 / 32 * 256 / 4 * 3 / 256 = 24.
        (grouped(512, 256, groups=512), "8.5.2", "fp16", [_OPEN]),
        # A dense one passes NVIDIA's test of one kernel: 1 + 12 banks.
        (grouped(256, 256, groups=1), "8.5.2", "fp16", [_REMARK]),
    ],
)
def test_what_no_build_tells_is_unknown_or_a_remark(
    example: Example, tensorrt: str, precision: str, found: list[tuple[Verdict, Confidence]], tmp_path: Path
):
    assert found_in(example, tensorrt, precision, tmp_path) == found
