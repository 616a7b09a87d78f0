"""What is known to fail is said before a command is printed or run, for every JetPack and kind of request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from dlaflow.build.capability import Caution
from dlaflow.build.config import BuildConfig, IOFormat, LayerOptions, standalone_format
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.precheck import precheck
from dlaflow.build.trtexec_arguments import build_arguments
from dlaflow.errors import InputError, UsageError
from dlaflow.targets.features import has, io_layouts, trtexec_options
from dlaflow.targets.release import Release, releases

TEXT = """
<ir_version: 8, opset_import: ["" : 11]>
net (float[4, 3, 32, 32] image) => (float[4, 8, 32, 32] last)
<float[8, 3, 3, 3] weight = {WEIGHTS}>
{
   hidden = Conv <pads = [1, 1, 1, 1]> (image, weight)
   last = {LAST} (hidden)
}
"""
HYBRID = BuildConfig(
    precision="int8", scales="cache", cache="calib.cache", fp16_too=True, dla_core=0, gpu_fallback=True
)
FULL = "image: 3c010a14\nhidden: 3c010a14\nlast: 3c010a14\n"


def formats(*texts: str) -> tuple[IOFormat, ...]:
    return tuple(map(IOFormat.parse, texts))


ALONE = replace(HYBRID, gpu_fallback=False, input_formats=formats("int8:chw32"), output_formats=formats("int8:chw32"))


def write_files() -> None:
    """A model that fits the DLA, one that does not, one that needs a plugin, and a cache, in the current folder."""
    weights = ", ".join(["0.1"] * 216)
    for name, last in (("fits", "Relu"), ("falls", "Softsign"), ("plugin", "TheirLayer")):
        text = TEXT.replace("{WEIGHTS}", f"{{{weights}}}").replace("{LAST}", last)
        model = onnx.parser.parse_model(text)
        for node in model.graph.node:
            node.name = f"node_{node.op_type}"
        onnx.save(model, f"{name}.onnx")
    Path("calib.cache").write_text(f"TRT-8502-EntropyCalibration2\n{FULL}")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()


def told(config: BuildConfig, model: str = "fits", tensorrt: str = "8.5.2", board: str = "agx-orin-64gb") -> str:
    cautions = precheck(Path(f"{model}.onnx"), config, BuiltFor("tensorrt", tensorrt, board), "trtexec", printed=True)
    return "\n".join(f"{one.message} {one.then}" for one in cautions)


def test_a_command_that_fits_passes_in_silence():
    assert told(HYBRID) == ""
    assert told(ALONE) == ""


def test_layers_that_fall_back_without_fallback():
    assert "node_Softsign cannot run on the DLA" in told(ALONE, "falls")
    assert "--no-gpu-fallback" in told(ALONE, "falls")
    assert told(HYBRID, "falls") == ""
    sent = replace(ALONE, layer_devices=(LayerOptions("node_Softsign", "GPU"),))
    assert "cannot run" not in told(sent, "falls", "10.3.0")


def test_a_first_layer_wants_its_own_type():
    wrong = replace(ALONE, input_formats=formats("fp16:chw16"))
    assert "node_Conv takes INT8" in told(wrong)
    assert "int8:dla_hwc4" in told(wrong)
    in_half = replace(wrong, layer_precisions=(LayerOptions("node_Conv", "fp16"),))
    assert told(in_half) == ""
    assert "takes FP16" in told(replace(ALONE, precision="fp16", scales="none", cache=None))
    Path("calib.cache").write_text("TRT-8502-EntropyCalibration2\nhidden: 3c010a14\nlast: 3c010a14\n")
    assert "takes FP16" in told(ALONE), "without a scale of its input it rises to FP16"


def test_image_layouts_are_for_convolutions_of_few_channels():
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 11]> g (float[1, 8, 4, 4] x) => (float[1, 8, 4, 4] y) { y = Relu (x) }'
        ),
        "relu.onnx",
    )
    config = replace(ALONE, scales="none", cache=None, input_formats=formats("int8:dla_hwc4"))
    assert "channels into a convolution" in told(config, "relu")
    assert "channels into a convolution" not in told(config)


def test_formats_come_once_or_for_every_input():
    with pytest.raises(UsageError, match="do not match the inputs"):
        told(replace(ALONE, input_formats=formats("int8:chw32", "int8:chw32")))
    text = "g (float[1, 4, 8, 8] a, float[1, 4, 8, 8] b) => (float[1, 4, 8, 8] c) { c = Add (a, b) }"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 11]> {text}'), "two.onnx")
    two = replace(ALONE, scales="none", cache=None)
    assert "match" not in told(two, "two")
    with pytest.raises(UsageError, match="expected 2, received 1"):
        told(two, "two", "7.1.3", "agx-xavier-32gb")


def test_plugins_need_their_library():
    assert "--plugin LIBRARY.so" in told(HYBRID, "plugin", "10.3.0")
    assert "--plugin" not in told(replace(HYBRID, plugins=("libtheirs.so",)), "plugin", "10.3.0")


def test_fp16_is_missed_only_where_a_scale_is():
    alone = replace(HYBRID, fp16_too=False)
    assert told(alone) == ""
    Path("calib.cache").write_text("TRT-8502-EntropyCalibration2\nimage: 3c010a14\nhidden: 3c010a14\n")
    assert "last has no scale" in told(alone)
    assert "INT8 alone" not in told(HYBRID)


def test_a_cache_of_another_release_is_renamed_by_the_command_for_it():
    text = told(HYBRID, tensorrt="10.3.0")
    assert "dlaflow cache rename calib.cache --tensorrt 10.3.0 --model fits.onnx" in text
    ours = precheck(Path("fits.onnx"), HYBRID, BuiltFor("tensorrt", "10.3.0", "agx-orin-64gb"), "trtexec")
    assert ours == [], "a build of ours fits the first line itself"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"TRT-8502-MinMaxCalibration\n{FULL}", "EntropyCalibration2 only"),
        (FULL, "no first line"),
        (f"TRT-8502-EntropyCalibration2\n{FULL}".replace("\n", "\r\n"), "CRLF"),
        (f"TRT-8502-EntropyCalibration2\n{FULL}hidden: 7f800000\n", "two scales"),
        (f"TRT-8502-EntropyCalibration2\n{FULL}stranger: 3c010a14\n", "no such tensor"),
    ],
)
def test_what_lint_finds_is_said(content, words):
    Path("calib.cache").write_bytes(content.encode())
    assert words in told(HYBRID)


def test_a_file_that_is_no_cache_is_refused_and_an_absent_one_told():
    Path("calib.cache").write_text('{"input": 0.1}')
    with pytest.raises(InputError, match="no entry"):
        told(HYBRID)
    Path("calib.cache").unlink()
    assert "is not here" in told(HYBRID)


JETPACKS = [release for release in releases() if release.family == "JetPack"]
BAD_FORMATS = ("int8:hwc4", "int8:chw", "fp16:chw32", "uint8:dla_linear", "int8:dla_hwc3")
HALF = replace(HYBRID, precision="fp16", scales="none", cache=None, fp16_too=False)
KINDS: dict[str, BuildConfig] = {
    "hybrid": HYBRID,
    "no scales": replace(HYBRID, scales="none", cache=None),
    "fp16": HALF,
    "fp16, no fallback": replace(
        HALF, gpu_fallback=False, input_formats=formats("fp16:chw16"), output_formats=formats("fp16:chw16")
    ),
    "fp16 standalone": replace(
        HALF,
        gpu_fallback=False,
        standalone=True,
        input_formats=formats("fp16:chw16"),
        output_formats=formats("fp16:chw16"),
    ),
    "q/dq": replace(HYBRID, scales="qdq", cache=None, fp16_too=False),
    "no fallback, no formats": replace(HYBRID, gpu_fallback=False),
    "no fallback": ALONE,
    "no fallback, wrong output": replace(ALONE, output_formats=formats("int8:dla_hwc4")),
    "no fallback, first layer of another type": replace(ALONE, input_formats=formats("fp16:chw16")),
    **{f"no fallback, {bad}": replace(ALONE, input_formats=formats(bad)) for bad in BAD_FORMATS},
    "standalone": replace(ALONE, standalone=True),
    "standalone, linear": replace(
        ALONE, standalone=True, input_formats=formats("int8:dla_linear"), output_formats=formats("int8:dla_linear")
    ),
    "standalone, no formats": replace(ALONE, standalone=True, input_formats=(), output_formats=()),
    "core 1": replace(HYBRID, dla_core=1),
    "one layer away": replace(HYBRID, layer_devices=(LayerOptions("node_Relu", "GPU"),)),
    "one layer in fp16": replace(HYBRID, layer_precisions=(LayerOptions("node_Relu", "fp16"),)),
    "levels": replace(HYBRID, optimization_level=3),
    "typed": replace(HALF, strongly_typed=True),
}
NEVER_SILENT = {kind for kind in KINDS if kind.startswith("no fallback, ")} | {
    "no scales",
    "standalone, no formats",
    "q/dq",
}


def outcome(release: Release, config: BuildConfig, model: str = "fits") -> tuple[list[str], list[Caution]] | str:
    """The arguments with their cautions, or the refusal."""
    built_for = BuiltFor("tensorrt", release.tensorrt, release.boards[0], release.name)
    try:
        cautions = precheck(Path(f"{model}.onnx"), config, built_for, "trtexec", printed=True)
        return build_arguments(f"{model}.onnx", "m.engine", config, release.tensorrt), cautions
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("release", JETPACKS, ids=lambda release: release.name)
def test_no_jetpack_gets_a_command_that_is_known_to_fail_in_silence(release):
    for kind, config in KINDS.items():
        found = outcome(release, config)
        if isinstance(found, str):
            continue
        arguments, cautions = found
        names = [argument[2:].partition("=")[0] for argument in arguments]
        assert all(trtexec_options()[name].known_to(release.version.release) for name in names), kind
        for argument in arguments:
            if "IOFormats" in argument:
                layout = argument.rpartition("=")[2].rpartition(":")[2]
                assert layout in io_layouts(release.version, safe="safe" in names), (kind, argument)
        assert cautions or kind not in NEVER_SILENT, kind
        falling = outcome(release, config, "falls")
        if config.gpu_fallback or isinstance(falling, str):
            continue
        assert any("without GPU fallback" in one.message for one in falling[1]), kind


@pytest.mark.parametrize("release", JETPACKS, ids=lambda release: release.name)
def test_every_jetpack_with_a_dla_has_a_command(release):
    if release.usable != "yes":
        pytest.skip("no usable DLA")
    typed = has("typed_only", release.version)
    found = outcome(release, HALF)
    assert not isinstance(found, str), found
    assert found[0][0] == "--onnx=fits.onnx"
    plain = (standalone_format("fp16", release.tensorrt),)
    alone = replace(HALF, gpu_fallback=False, standalone=True, input_formats=plain, output_formats=plain)
    found = outcome(release, alone)
    if not io_layouts(release.version):
        assert "cannot be told I/O formats" in str(found), "TensorRT 5"
    elif not typed:
        assert not isinstance(found, str), found
        assert {"--safe", "--buildDLAStandalone"} & set(found[0])
