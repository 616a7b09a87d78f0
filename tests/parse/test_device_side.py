"""tegrastats of JetPack 4 to 7, and what identifies a device and its clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.parse.device import jetpack_of, parse_device
from dlaflow.parse.exports import parse_cudla_csv
from dlaflow.parse.help_text import parse_help
from dlaflow.parse.tegrastats import Rail, TegrastatsEngine, TegrastatsSample, parse_tegrastats, sample_of


def engine(sample: TegrastatsSample, name: str) -> TegrastatsEngine | None:
    return next((one for one in sample.engines if one.name == name), None)


def only(line: str) -> TegrastatsSample:
    sample = sample_of(line)
    assert sample is not None
    return sample


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("tegrastats_jp4_tx2_excerpt.log", 30),
        ("tegrastats_jp5_xavier_dla0.txt", 31),
        ("tegrastats_jp5_xavier_negative_cv_excerpt.txt", 60),
        ("tegrastats_jp5_xavier_nx_b_excerpt.log", 40),
        ("tegrastats_jp6_teg_pm_15W_dla_int8.log", 60),
        ("tegrastats_orinagx_64gb_all.txt", 25),
        ("tegrastats_orinnx_16gb_all.txt", 25),
        ("tegrastats_xaviernx_8gb_all.txt", 25),
    ],
)
def test_every_line_is_a_sample(artefacts: Path, name: str, samples: int) -> None:
    found = parse_tegrastats(artefacts / name)
    assert (len(found.samples), found.other_lines) == (samples, 0)
    assert all(sample.cpus and sample.rails and sample.temperatures for sample in found.samples)


def test_xavier_dla_clock_without_a_load(artefacts: Path) -> None:
    first = parse_tegrastats(artefacts / "tegrastats_jp5_xavier_dla0.txt").samples[0]
    dla = engine(first, "NVDLA0")
    assert dla is not None
    assert (dla.off, dla.load_percent, dla.mhz) == (False, None, (1395,))
    assert [rail.name for rail in first.rails] == ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    assert next(rail for rail in first.rails if rail.name == "CV") == Rail("CV", 1705, 1705)


def test_negative_power_of_the_dla_rail(artefacts: Path) -> None:
    samples = parse_tegrastats(artefacts / "tegrastats_jp5_xavier_negative_cv_excerpt.txt").samples
    assert min(rail.current_mw for sample in samples for rail in sample.rails if rail.name == "CV") < 0


def test_loaded_dla_of_jetpack_6(artefacts: Path) -> None:
    samples = parse_tegrastats(artefacts / "tegrastats_jp6_teg_pm_15W_dla_int8.log").samples
    engines = [engine(sample, "NVDLA0") for sample in samples]
    assert engines[0] is not None
    assert engines[0].off
    loads = [one for one in engines if one is not None and one.load_percent is not None]
    assert loads
    assert {one.mhz for one in loads} == {(1369,)}
    gpu = engine(samples[0], "GR3D")
    assert gpu is not None
    assert gpu.mhz == (407, 305)


def test_jetpack_4_has_no_date_and_no_engines(artefacts: Path) -> None:
    first = parse_tegrastats(artefacts / "tegrastats_jp4_tx2_excerpt.log").samples[0]
    assert (first.date, first.engines, first.swap_used_mb) == ("", (), None)
    assert first.rails[0] == Rail("VDD_IN", 3624, 3624)


def test_a_log_that_begins_with_date() -> None:
    found = parse_tegrastats("Mon Jun 16 16:07:13 UTC 2025\nRAM 1/2MB (lfb 3x4MB) CPU [0%@1] A@1C VDD 5/6\n")
    assert (len(found.samples), found.other_lines) == (1, 1)


def test_three_figures_and_repeated_rails_of_jetpack_7() -> None:
    sample = only(
        "11-21-2025 08:49:48 RAM 13983/62780MB (lfb 424x4MB) SWAP 126/31390MB (cached 0MB) CPU [90%@2201,off] "
        "EMC_FREQ 1% GR3D_FREQ @[0,0,0] NVDLA0 82%@1369 NVDLA1 off cpu@-256C tj@52.562C VDD_GPU 10mW/11mW/12mW "
        "NC 0mW/0mW NC 1mW/1mW"
    )
    assert sample.rails[0] == Rail("VDD_GPU", 10, 11, 12)
    assert [rail.current_mw for rail in sample.rails if rail.name == "NC"] == [0, 1]
    assert [cpu.mhz for cpu in sample.cpus] == [2201, None]
    dla = engine(sample, "NVDLA0")
    assert dla is not None
    assert (dla.load_percent, dla.mhz) == (82, (1369,))


def test_device_identity(artefacts: Path) -> None:
    found = parse_device(artefacts / "device_identity_samples.txt")
    assert found.release is not None
    assert (found.release.version, found.release.board) == ("36.4.4", "generic")
    assert (found.soc, found.machine) == ("tegra234", "Jetson AGX Orin for DSBOARD-AGX")
    assert found.mode is not None
    assert (found.mode.name, found.mode.id) == ("MAXN", 0)
    clocks = {clock.name: clock for clock in found.clocks}
    assert clocks["DLA0_CORE"].current_hz == 1_600_000_000
    assert clocks["DLA1_FALCON"].max_hz == 844_800_000
    assert clocks["cpu0"].max_hz == 2_201_600_000


def test_power_modes_of_nvpmodel() -> None:
    found = parse_device(
        "NVPM VERB: POWER_MODEL: ID=1 NAME=MODE_15W\nNVPM VERB: DLA0_CORE MAX_FREQ 614400000\n"
        "NVPM VERB: POWER_MODEL: ID=0 NAME=MAXN\nNVPM VERB: DLA0_CORE MAX_FREQ 2147483647\n"
    )
    assert [(mode.id, mode.name) for mode in found.modes] == [(1, "MODE_15W"), (0, "MAXN")]
    assert [(limit.mode.name, limit.value) for limit in found.limits] == [("MODE_15W", 614400000), ("MAXN", None)]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("nvidia-l4t-core 36.4.4-20250616085344", "36.4.4"),
        ("nvidia-l4t-core\t35.4.1-20230801124926", "35.4.1"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64, DATE: Sat Feb 19", "32.7.1"),
    ],
)
def test_release_texts(text: str, version: str) -> None:
    release = parse_device(text).release
    assert release is not None
    assert release.version == version


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("35.4.1", "5.1.2"),
        ("36.4.3", "6.2"),
        ("36.4", "6.1"),
        ("32.7.2", "4.6.2"),
        ("32.5.1", "4.5.1"),
        ("35.6.1", "5.1.5"),
        ("35.6.4", None),
        ("99.1", None),
    ],
)
def test_jetpack_of_a_release(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


def test_jetpack_package_and_device_tree() -> None:
    assert parse_device("ii  nvidia-jetpack  6.2.1+b38  arm64  NVIDIA Jetpack Meta Package").jetpack == "6.2.1"
    device = parse_device("NVIDIA Jetson AGX Orin Developer Kit\0")
    assert device.model == "NVIDIA Jetson AGX Orin Developer Kit", "as /proc/device-tree/model has it"


def test_help_texts(artefacts: Path) -> None:
    old, new = (parse_help(artefacts / f"trtexec_help_{version}.txt") for version in ("8.6.1", "10.6.0"))
    assert {"--workspace", "--buildDLAStandalone", "--layerPrecisions", "--useDLACore"} <= old
    assert "--workspace" not in new
    assert {"--memPoolSize", "--stronglyTyped"} <= new
    nsys = parse_help(artefacts / "nsys_profile_help_2026.txt")
    assert "--trace" in nsys
    assert "--accelerator-trace" not in nsys


def test_cudla_statistics() -> None:
    layers = parse_cudla_csv(
        "layer_name,start_ms,end_ms,src_precision,compute_precision,dst_precision,uses_sram\n"
        '"conv, first",0.0,0.5,int8,int8,int8,1\nbroken\npool,0.5,x,int8,int8,int8,0\n'
    )
    assert [(layer.name, layer.start_ms, layer.end_ms) for layer in layers] == [
        ("conv, first", 0.0, 0.5),
        ("pool", 0.5, None),
    ]
    assert ("uses_sram", "1") in layers[0].other


def test_cudla_names_in_single_quotes() -> None:
    (layer,) = parse_cudla_csv("layer_name,start_ms,end_ms,compute_precisions\n'Conv_1, Relu_2',0.1,0.7,INT8\n")
    assert (layer.name, layer.end_ms, layer.compute_precision) == ("Conv_1, Relu_2", 0.7, "INT8")


def test_tegrastats_of_l4t_28() -> None:
    sample = only(
        "RAM 3468/3983MB (lfb 48x4MB) SWAP 873/8192MB (cached 295MB) cpu [17%,13%,off,5%]@408 EMC 1%@408 APE 25 "
        "GR3D 3%@76"
    )
    assert [(cpu.load_percent, cpu.mhz) for cpu in sample.cpus] == [(17, 408), (13, 408), (None, None), (5, 408)]
    assert [(unit.name, unit.load_percent, unit.mhz) for unit in sample.engines] == [
        ("EMC", 1, (408,)), ("APE", None, (25,)), ("GR3D", 3, (76,)),
    ]  # fmt: skip
    assert (sample.free_blocks, sample.free_block_kb, sample.swap_cached_mb) == (48, 4096, 295)


def test_tegrastats_of_thor() -> None:
    sample = only(
        "08-08-2026 20:58:23 RAM 8353/125749MB (lfb 31x512kB) CPU [0%@2601,off] EMC_FREQ @4266 "
        "GR3D_FREQ @[1574,off,1500] NVENC0_FREQ @1691 VIC off cpu@58.25C/61.75C gpu@56.937C/66.625C "
        "VDD_CPU_SOC_MSS 30059mW/12281mW/30060mW VIN 124486mW/36487mW/124486mW NEW_TOKEN value"
    )
    assert [(unit.name, unit.off, unit.mhz) for unit in sample.engines] == [
        ("EMC", False, (4266,)), ("GR3D", False, (1574, 0, 1500)), ("NVENC0", False, (1691,)), ("VIC", True, ()),
    ]  # fmt: skip
    assert [temperature.celsius for temperature in sample.temperatures] == [58.25, 56.937]
    assert [rail.name for rail in sample.rails] == ["VDD_CPU_SOC_MSS", "VIN"]
    assert sample.free_block_kb == 512


def test_jetson_release_of_jtop() -> None:
    found = parse_device(
        "Model: NVIDIA Jetson AGX Orin Developer Kit - Jetpack 6.2 [L4T 36.4.3]\nNV Power Mode[3]: MODE_50W\n"
        "Hardware:\n - P-Number: p3701-0005\n - Module: NVIDIA Jetson AGX Orin (64GB ram)\n - TensorRT: 10.3.0.30\n"
    )
    assert found.release is not None
    assert (found.release.version, found.jetpack, found.tensorrt) == ("36.4.3", "6.2", "10.3.0.30")
    assert (found.model, found.module) == ("NVIDIA Jetson AGX Orin Developer Kit", "p3701-0005")
    assert found.mode is not None
    assert (found.mode.name, found.mode.id) == ("MODE_50W", 3)


def test_nvpmodel_tells_caps_and_what_is_in_force() -> None:
    found = parse_device(
        "NVPM VERB: Current mode: NV Power Mode: MODE_15W\n2\nNVPM VERB: PARAM DLA0_CORE: ARG MAX_FREQ: PATH "
        "/sys/devices/platform/clk_cap/dla0_core: REAL_VAL: 614400000 CONF_VAL: 9223372036854775807\n"
    )
    (limit,) = found.limits
    assert (limit.mode.id, limit.unit, limit.value, limit.real) == (2, "DLA0_CORE", None, 614400000)


def test_nvpmodel_configuration() -> None:
    found = parse_device("< POWER_MODEL ID=1 NAME=MODE_15W >\nGPU MAX_FREQ -1\nDLA0_CORE MAX_FREQ 614400000\n")
    assert [(limit.unit, limit.value) for limit in found.limits] == [("GPU", None), ("DLA0_CORE", 614400000)]


@pytest.mark.parametrize(
    ("text", "module", "soc", "model"),
    [
        ("nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0", "p3701-0005", "tegra234", ""),
        ("NVIDIA Jetson AGX Orin Developer Kit\0", "", "", "NVIDIA Jetson AGX Orin Developer Kit"),
        ("Jetson-AGX\n", "", "", "Jetson-AGX"),
    ],
)
def test_device_tree_files(text: str, module: str, soc: str, model: str) -> None:
    found = parse_device(text)
    assert (found.module, found.soc, found.model) == (module, soc, model)


def test_packages_tell_jetpack_and_tensorrt() -> None:
    found = parse_device(
        "ii  libnvinfer8  8.5.2-1+cuda11.4  arm64\nii  nvidia-l4t-core  35.4.1-20230801124926  arm64\n"
    )
    assert found.release is not None
    assert (found.tensorrt, found.release.version) == ("8.5.2", "35.4.1")
    assert parse_device("Package: nvidia-jetpack\nVersion: 6.0+b106\n").jetpack == "6.0"
    assert parse_device("L4T_VERSION=38.4.0  JETPACK_VERSION=7.1  CUDA_VERSION=13.0\n").jetpack == "7.1"
