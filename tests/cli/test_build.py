"""`dlaflow build`: the walk-through's commands for each release, real RTX builds, and errors in one line."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import onnx
import pytest

from dlaflow.cli import main
from dlaflow.targets.features import trtexec_options
from dlaflow.targets.version import Version

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[{BATCH}, 3, 32, 32] input) => (float[{BATCH}, 3, 32, 32] output) { output = Relu (input) }
"""
QDQ = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 32, 32] input) => (float[N, 3, 32, 32] output)
<float scale = {0.1}, int8 zero = {0}>
{
   quantised = QuantizeLinear (input, scale, zero)
   output = DequantizeLinear (quantised, scale, zero)
}
"""
BUILD = (
    "trtexec --onnx=model_{0}.onnx --shapes=input:32x3x32x32 --saveEngine=model_{0}.engine "
    "--exportProfile=model_{0}.json --int8 --useDLACore=0 --allowGPUFallback --useSpinWait --separateProfileRun "
    "> model_{0}.log"
)
CAPTURE = (
    "nsys profile --trace=cuda,nvtx,cublas,cudnn,cudla,nvmedia --force-overwrite=true --output=model_gn "
    "--accelerator-trace=nvmedia /usr/src/tensorrt/bin/trtexec --loadEngine=model_gn.engine --useDLACore=0 "
    "--iterations=10 --idleTime=500 --duration=0 --useSpinWait"
)


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, batch in (("model_gn", "N"), ("model_bn", "N"), ("fixed", "8")):
        onnx.save(onnx.parser.parse_model(TEXT.replace("{BATCH}", batch)), f"{name}.onnx")


def printed(capsys, *words):
    assert main(["build", *words, "--print-command"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("jetpack", "expected"),
    [
        ("4.2", "--batch=4 --engine=m.engine --fp16 --useDLACore=0 --allowGPUFallback --useSpinWait > m.log"),
        ("4.2.1", "--batch=4 --saveEngine=m.engine --fp16 --useDLACore=0 --allowGPUFallback --useSpinWait > m.log"),
        (
            "4.3",
            "--shapes=input:4x3x32x32 --saveEngine=m.engine --fp16 --useDLACore=0 --allowGPUFallback --useSpinWait",
        ),
    ],
)
def test_jetpack_4_2_and_4_3(capsys, jetpack, expected):
    words = ("model_gn.onnx", "--out", "m.engine", "--board", "agx-xavier-32gb", "--jetpack", jetpack, "--batch", "4")
    (line,) = printed(capsys, *words, "--precision", "fp16")
    assert line.startswith(f"trtexec --onnx=model_gn.onnx {expected}")
    steps = printed(capsys, *words, "--all-steps")
    assert not any("--via python" in step for step in steps), "its bindings are not covered"
    assert any(step.startswith("dlaflow calibrate") for step in steps)


@pytest.mark.parametrize("model", ["gn", "bn"])
def test_the_walk_throughs_builds_for_8_5_2(capsys, model):
    words = (f"model_{model}.onnx", "--out", f"model_{model}.engine", "--tensorrt", "8.5.2", "--batch", "32")
    (line,) = printed(capsys, *words)
    assert line == f"{BUILD.format(model)} 2>&1", "the walk-through's own line, with warnings kept"


def test_all_steps_for_8_5_2(capsys):
    words = ("model_gn.onnx", "--out", "model_gn.engine", "--tensorrt", "8.5.2", "--batch", "32", "--all-steps")
    lines = [line for line in printed(capsys, *words) if not line.startswith("#")]
    assert lines[0] == f"{BUILD.format('gn')} 2>&1"
    assert "--safe" in lines[1]
    assert lines[2] == CAPTURE
    assert lines[3] == "nsys export --type=sqlite --force-overwrite=true --output=model_gn.sqlite model_gn.nsys-rep"
    assert lines[4] == (
        "dlaflow build model_gn.onnx --out model_gn.engine --via python --tensorrt 8.5.2 --precision int8 "
        "--data cifar10 --batch 32 --dla-core 0"
    )
    assert lines[5] == "dlaflow evaluate model_gn.engine --data cifar10"


@pytest.mark.parametrize("jetpack", ["5.1.1", "5.1.2", "6.2", "7.2.2"])
def test_the_time_line_is_that_of_profile(capsys, jetpack):
    """One line, whoever prints it, whose export `profile` reads."""
    words = ("model_gn.onnx", "--out", "m.engine", "--jetpack", jetpack, "--precision", "fp16", "--all-steps")
    steps = [line for line in printed(capsys, *words) if line.startswith("nsys ")]
    assert main(["profile", "m.engine", "--jetpack", jetpack, "--print-command"]) == 0
    assert capsys.readouterr().out.splitlines() == steps
    assert "--output=m.sqlite" in steps[1].split()


@pytest.mark.parametrize("release", ["8.5.2", "8.6.2", "10.3.0", "11.4.1"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_all_steps_hold_only_what_the_release_knows(capsys, release, precision):
    scales = ("--scales", "qdq") if release == "11.4.1" and precision == "int8" else ()
    words = ("model_gn.onnx", "--out", "m.engine", "--tensorrt", release, "--precision", precision, "--all-steps")
    lines = [line for line in printed(capsys, *words, *scales) if not line.startswith("#")]
    assert len(lines) == 6
    for line in lines[:3]:
        _, _, trtexec = line.partition("trtexec ")
        for word in shlex.split(trtexec):
            if word.startswith("--"):
                name = word[2:].partition("=")[0]
                assert trtexec_options()[name].known_to(Version.parse(release)), word
    assert ("--fp16" in lines[0].split()) == (precision == "fp16" and release != "11.4.1")
    assert ("tegra-accelerators" in lines[2]) == (release != "8.5.2")
    assert ("--scales qdq" in lines[4]) == bool(scales)


@pytest.mark.parametrize("step", [4, 5])
def test_the_printed_dlaflow_commands_are_understood(capsys, step):
    """What is printed for dlaflow parses: the build stops only at the missing bindings, not at its options."""
    words = ("model_gn.onnx", "--out", "m.engine", "--tensorrt", "10.3.0", "--batch", "32", "--all-steps")
    lines = [line for line in printed(capsys, *words) if not line.startswith("#")]
    if step == 5:
        assert shlex.split(lines[5])[:2] == ["dlaflow", "evaluate"]
        return
    arguments = shlex.split(lines[4])[1:]
    arguments[arguments.index("cifar10")] = "digits"
    code = main(arguments)
    if importlib.util.find_spec("tensorrt") is None:
        assert code == 3


def test_the_python_program_is_printed_and_runs(capsys, monkeypatch):
    _, machine = machine_of("10.3.0")
    Path("calib.cache").write_bytes(b"TRT-8502-EntropyCalibration2\ninput: 3c010a14\noutput: 3c010a14\n")
    words = ("model_gn.onnx", "--out", "m.engine", "--jetpack", "6.1", "--batch", "4", "--via", "python")
    text = "\n".join(printed(capsys, *words, "--cache", "calib.cache"))
    monkeypatch.setitem(sys.modules, "tensorrt", machine.trt)
    exec(compile(text, "program.py", "exec"), {"__name__": "__main__"})
    assert {"INT8", "GPU_FALLBACK"} <= set(machine.requests["flags"])
    assert Path("m.engine").stat().st_size > 100
    for others, said in (
        ((), "invents no INT8 scales"),
        (("--data", "digits"), "no images to calibrate with"),
        (("--precision", "fp16", "--all-steps"), "are trtexec's"),
    ):
        assert main(["build", *words, *others, "--print-command"]) == 2
        assert said in capsys.readouterr().err


def test_int8_without_scales_is_a_caution_on_stderr(capsys):
    assert main(["build", "model_gn.onnx", "--out", "m.engine", "--tensorrt", "8.5.2", "--print-command"]) == 0
    said = capsys.readouterr()
    assert "invents a range" in said.err
    assert "caution" not in said.out


def test_a_cache_of_another_release_is_a_caution_for_a_printed_command(capsys):
    Path("calib.cache").write_bytes(b"TRT-8502-EntropyCalibration2\ninput: 3c010a14\n")
    words = ["build", "model_gn.onnx", "--out", "m.engine", "--cache", "calib.cache", "--print-command", "--tensorrt"]
    assert main([*words, "10.3.0"]) == 0
    assert "`dlaflow cache rename calib.cache --tensorrt 10.3.0 --model model_gn.onnx" in capsys.readouterr().err
    assert main([*words, "8.5.2"]) == 0
    assert "names another release" not in capsys.readouterr().err


def test_a_fixed_batch_takes_no_shapes(capsys):
    (line,) = printed(capsys, "fixed.onnx", "--out", "m.engine", "--tensorrt", "10.3.0")
    assert "--shapes" not in line


def test_an_engine_without_a_suffix_does_not_lose_its_profile_to_its_manifest(capsys):
    (line,) = printed(capsys, "model_gn.onnx", "--out", "engine", "--tensorrt", "10.3.0")
    assert "--exportProfile=engine.profile.json" in line


def test_names_that_a_shell_would_split_are_quoted(capsys, tmp_path):
    Path("model_gn.onnx").rename("my model.onnx")
    (line,) = printed(capsys, "my model.onnx", "--out", "my.engine", "--tensorrt", "10.3.0")
    assert shlex.split(line)[1] == "--onnx=my model.onnx"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("model_gn.onnx", "--tensorrt", "11.4.1"), 2, "INT8 without Q/DQ nodes"),
        (("model_gn.onnx", "--tensorrt", "11.1.0", "--precision", "fp16"), 2, "has no DLA"),
        (("fixed.onnx", "--batch", "4"), 2, "batch is fixed to 8"),
        (("model_gn.onnx", "--board", "orin-nano-8gb", "--tensorrt", "10.3.0"), 2, "no DLA core 0"),
        (("model_gn.onnx", "--dla-core", "2"), 2, "no DLA core 2"),
        (("model_gn.onnx", "--shape", "input"), 2, "cannot read a shape"),
        (("model_gn.onnx", "--shape", "image:1x3x32x32"), 2, "unknown input 'image'. Known: input"),
        (("model_gn.onnx", "--input-format", "int8"), 2, "I/O format"),
        (("model_gn.onnx", "--layer-device", "conv:TPU"), 2, "request for a layer"),
        (("model_gn.onnx", "--gpu-only", "--standalone"), 2, "contradict"),
        (("model_gn.onnx", "--scales", "qdq", "--cache", "calib.cache"), 2, "takes the scales from the model"),
        (("model_gn.onnx", "--standalone", "--output-format", "int8:dla_hwc4"), 2, "no such output format"),
        (("nowhere.onnx",), 2, "nowhere.onnx"),
    ],
)
def test_mistakes_are_one_line(capsys, words, code, said):
    assert main(["build", *words, "--out", "m.engine", "--print-command"]) == code
    line = capsys.readouterr().err
    assert said in line
    assert "Traceback" not in line


def test_without_trtexec_the_way_out_is_named(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    if Path("/usr/src/tensorrt/bin/trtexec").exists():
        pytest.skip("there is a trtexec")
    assert main(["build", "model_gn.onnx", "--out", "m.engine", "--precision", "fp16"]) == 3
    assert "--print-command" in capsys.readouterr().err
    assert not Path("m.engine").exists()


def machine_of(release):
    path = Path(__file__).parents[1] / "build" / "tensorrt_machine.py"
    spec = importlib.util.spec_from_file_location("tensorrt_machine_of_cli", path)
    machines = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = machines
    spec.loader.exec_module(machines)
    if not machines.DUMPS.is_dir():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}")
    return machines, machines.load_machine(release)


@pytest.mark.parametrize("release", ["8.6.1", "10.3.0", "10.16.1"])
def test_python_api_with_images(capsys, monkeypatch, release):
    """The walk-through's fourth step, images to engine, with a strict double in the place of TensorRT."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    machines, machine = machine_of(release)
    monkeypatch.setattr("dlaflow.build.engine.import_tensorrt", lambda: machine.trt)
    monkeypatch.setattr("dlaflow.build.device_memory.open_memory", machines.HostMemory)
    words = ["build", "model_bn.onnx", "--out", "m.engine", "--via", "python", "--tensorrt", release, "--batch", "32"]
    words += ["--data", "digits", "--samples", "64", "--cache", "calib.cache", "--fp16-too"]
    assert main(words) == 0
    assert len(machine.calibrated) == 2
    assert machine.calibrated[0].shape == (32, 3, 32, 32)
    assert abs(machine.calibrated[0].mean()) < 1, "normalised"
    assert {"INT8", "FP16", "GPU_FALLBACK"} <= set(machine.requests["flags"])
    assert Path("calib.cache").read_bytes().startswith(b"TRT-")
    manifest = json.loads(Path("m.engine.json").read_text())
    assert (manifest["via"], manifest["mode"], manifest["built_for"]["compute_capability"]) == (
        "python",
        "hybrid",
        "8.7",
    )
    assert manifest["cache"]["path"] == "calib.cache"
    assert "`dlaflow check` foretold" in capsys.readouterr().out


def test_python_api_of_11_takes_types_from_the_model(capsys, monkeypatch):
    _, machine = machine_of("11.4.0")
    monkeypatch.setattr("dlaflow.build.engine.import_tensorrt", lambda: machine.trt)
    words = ["build", "model_bn.onnx", "--out", "m.engine", "--via", "python", "--tensorrt", "11.4.0", "--batch", "4"]
    assert main([*words, "--data", "digits"]) == 2
    assert "takes types and scales from the model alone" in capsys.readouterr().err
    assert not Path("m.engine").exists()
    assert main([*words, "--scales", "qdq"]) == 2
    assert "holds no Q/DQ nodes" in capsys.readouterr().err
    assert main([*words, "--precision", "fp16"]) == 2
    assert "holds no FP16 tensors" in capsys.readouterr().err
    onnx.save(onnx.parser.parse_model(QDQ), "model_bn.onnx")
    assert main([*words, "--scales", "qdq"]) == 0
    assert machine.requests["state"]["DLA_core"] == 0


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="no tensorrt_rtx")
def test_a_real_build_for_rtx_gpus(capsys):
    words = ["build", "model_gn.onnx", "--out", "m.engine", "--via", "rtx", "--gpu", "sm86,sm89", "--batch", "4"]
    assert main(words) == 0
    assert "TensorRT-RTX" in capsys.readouterr().out
    manifest = json.loads(Path("m.engine.json").read_text())
    assert manifest["bytes"] == Path("m.engine").stat().st_size > 1000
    assert manifest["built_for"]["gpus"] == ["sm86", "sm89"]
    assert manifest["built_for"]["board"] == ""
    assert manifest["config"]["precision"] == "model"
    assert main([*words[:6], "--gpu", "sm90"]) == 2
    assert "Hopper" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--dla-sram=nan", "--dla-sram makes no sense: expected 0.003906 to 1,048,576 MiB, received nan"),
        ("--dla-local-dram=-1", "--dla-local-dram makes no sense"),
        ("--dla-global-dram=inf", "--dla-global-dram makes no sense"),
        ("--workspace=-1", "--workspace makes no sense"),
        ("--timeout=nan", "--timeout makes no sense"),
        ("--samples=0", "--samples makes no sense"),
        ("--gpu=sm86", "--gpu is for --via rtx"),
        ("--data=cifar10", "a printed trtexec command cannot calibrate"),
        ("--jetpack=", "unknown JetPack or DRIVE OS release ''"),
        ("--tensorrt=", "not a release number"),
    ],
)
def test_values_that_no_command_may_hold(capsys, option, words):
    assert main(["build", "model_gn.onnx", "--out", "x.engine", "--print-command", option]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert not said.out
