"""What is generated for each system, read back as that system reads it."""

from __future__ import annotations

import ast
import configparser
import ctypes
import ctypes.util
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from dlaflow.api.deploy import DeployOptions, deploy_engine
from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.deploy.systems import SYSTEMS
from dlaflow.errors import InputError, UsageError
from tests.deploy.engines import HOSTILE, PLAIN

AT = "/opt/" + HOSTILE.replace("/", "")
ENGINE = HOSTILE.replace("/", "") + ".engine"


def made(engine: Path, system: str, **options: object) -> dict[str, str]:
    out = engine.parent / "out"
    files = deploy_engine(engine, system, out, DeployOptions(**options)).files
    return {str(path.relative_to(out)): path.read_text() for path in files}


def only(texts: dict[str, str]) -> str:
    (text,) = texts.values()
    return text


@pytest.mark.parametrize("system", SYSTEMS)
def test_comments_stay_comments_whatever_names_hold(engines, system):
    plain = made(engines.write(), system)
    hostile = made(engines.write(ENGINE, tensor=HOSTILE), system, at=AT)
    for before, after in zip(plain.values(), hostile.values(), strict=True):
        assert before.count("\n") == after.count("\n")
        assert not [line for line in after.splitlines() if line.startswith(("#", "//")) and not line.isprintable()]


def test_deepstream_by_the_key_file_reader_of_glib(engines):
    texts = made(engines.write(ENGINE, tensor=HOSTILE), "deepstream", at=AT, core="0,1")
    for core, text in enumerate(texts.values()):
        parser = configparser.RawConfigParser(delimiters="=", comment_prefixes="#", strict=True)
        parser.read_string(text)
        keys = dict(parser["property"])
        assert (keys["enable-dla"], keys["use-dla-core"], keys["network-mode"]) == ("1", str(core), "1")
        assert (keys["batch-size"], keys["infer-dims"]) == ("32", "3;32;32")
        assert "onnx-file" not in keys
        assert glib_string(text, "model-engine-file") == f"{AT}/{ENGINE}"
        assert glib_string(text, "int8-calib-file") == f"{AT}/calib.cache"


def glib_string(text: str, key: str) -> str:
    """A value as nvinfer gets it, by g_key_file_get_string of the real library."""
    name = ctypes.util.find_library("glib-2.0")
    if name is None:
        pytest.skip("no GLib here")
    glib = ctypes.CDLL(name)
    glib.g_key_file_new.restype = ctypes.c_void_p
    glib.g_key_file_get_string.restype = ctypes.c_char_p
    content = text.encode()
    file = ctypes.c_void_p(glib.g_key_file_new())
    assert glib.g_key_file_load_from_data(file, content, ctypes.c_size_t(len(content)), 0, None)
    found = glib.g_key_file_get_string(file, b"property", key.encode(), None)
    assert found is not None
    return bytes(found).decode()


def test_deepstream_takes_one_input_of_images(engines):
    engine = engines.write()
    path = engine.with_name(f"{engine.name}.json")
    told = json.loads(path.read_text())
    told["tensors"].append(told["tensors"][0] | {"name": "second"})
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"nvinfer feeds one input .* Use --for triton"):
        made(engine, "deepstream")


def parsed(text: str, message: Any) -> Any:
    """A message from protobuf's text format, by protobuf itself, which onnx brings along."""
    return onnx.serialization.registry.get("textproto").deserialize_proto(text.encode(), message)


def test_triton_by_its_own_schema(engines, model_config):
    texts = made(engines.write(ENGINE, tensor=HOSTILE), "triton", core="0,1", at=AT)
    config = parsed(only(texts), model_config.ModelConfig())
    assert next(iter(texts)) == f"{config.name}/config.pbtxt"
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 0)
    (source,), (answer,) = config.input, config.output
    assert (source.name, list(source.dims)) == (f"{HOSTILE}in", [32, 3, 32, 32])
    assert (answer.name, list(answer.dims)) == (f"{HOSTILE}out", [32, 10])
    assert source.data_type == answer.data_type == model_config.TYPE_FP32
    groups = config.instance_group
    assert [[(one.kind, one.device_id) for one in group.secondary_devices] for group in groups] == [[(0, 0)], [(0, 1)]]
    assert all(group.kind == model_config.ModelInstanceGroup.KIND_GPU and list(group.gpus) == [0] for group in groups)
    kinds = model_config.ModelInstanceGroup.SecondaryDevice
    assert kinds.SecondaryDeviceKind.Name(groups[0].secondary_devices[0].kind) == "KIND_NVDLA"


def test_triton_without_a_dla_names_no_secondary_device(engines, model_config):
    gpu = replace(PLAIN, dla_core=None, gpu_fallback=False)
    config = parsed(only(made(engines.write(config=gpu), "triton")), model_config.ModelConfig())
    assert [len(group.secondary_devices) for group in config.instance_group] == [0]


def test_isaac_ros_as_yaml_and_as_a_launch_file(engines, monkeypatch):
    texts = made(engines.write(ENGINE, tensor=HOSTILE), "isaac-ros", core="1", at=AT)
    parameters, launch = texts.values()
    values = yaml.safe_load(parameters)["/**"]["ros__parameters"]
    assert values["engine_file_path"] == f"{AT}/{ENGINE}"
    assert (values["dla_core"], values["force_engine_update"]) == (1, False)
    assert values["input_binding_names"] == [f"{HOSTILE}in"]
    assert values["output_binding_names"] == [f"{HOSTILE}out"]
    assert all(text.startswith("# Isaac ROS sets no DLA core at run time") for text in texts.values())
    nodes = []

    def noted(**given: object) -> object:
        nodes.append(given)
        return given

    for name, member in {
        "launch": "LaunchDescription",
        "launch_ros": "",
        "launch_ros.actions": "ComposableNodeContainer",
        "launch_ros.descriptions": "ComposableNode",
    }.items():
        module = types.ModuleType(name)
        if member:
            setattr(module, member, list if member == "LaunchDescription" else noted)
        monkeypatch.setitem(sys.modules, name, module)
    path = engines.folder / "out" / next(name for name in texts if name.endswith(".launch.py"))
    scope: dict[str, object] = {"__file__": str(path), "__name__": "launch_file"}
    exec(compile(launch, str(path), "exec"), scope)
    scope["generate_launch_description"]()
    assert nodes[0]["parameters"] == [str(path).replace(".launch.py", ".yaml")]
    assert Path(nodes[0]["parameters"][0]).is_file()


def test_onnxruntime_hands_the_options_over_and_refuses_the_cpu(engines, monkeypatch, capsys):
    text = only(made(engines.write(ENGINE), "onnxruntime", core="1", at=AT))
    assert text.startswith("# ONNX Runtime runs on DLA core 0 whatever trt_dla_core says")
    asked: list[tuple[str, Any]] = []

    class Session:
        def __init__(self, model: str, providers: list[object]) -> None:
            asked.append((model, providers))
            self.used = ["TensorrtExecutionProvider", "CPUExecutionProvider"]

        def get_providers(self) -> list[str]:
            return self.used

        def get_inputs(self) -> list[object]:
            return []

    double = types.SimpleNamespace(
        InferenceSession=Session, get_available_providers=lambda: ["TensorrtExecutionProvider"]
    )
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnxruntime", double)
        exec(compile(text, "program.py", "exec"), {"__name__": "__main__"})
    ((model, ((name, options), rest)),) = asked
    assert (model, name, rest) == (f"{AT}/model_bn.onnx", "TensorrtExecutionProvider", "CPUExecutionProvider")
    assert (options["trt_dla_enable"], options["trt_dla_core"], options["trt_int8_enable"]) == ("1", "1", "1")
    assert options["trt_int8_calibration_table_name"] == f"{AT}/calib.cache"
    assert all(isinstance(value, str) for value in options.values())
    # The real one, which has no TensorRT here.
    with pytest.raises(SystemExit, match="no TensorRT provider"):
        exec(compile(text, "program.py", "exec"), {"__name__": "__main__"})


def test_onnxruntime_splits_a_cache_at_its_first_colon(engines):
    with pytest.raises(InputError, match="cannot read the calibration cache of tensor a:in"):
        made(engines.write(tensor="a:"), "onnxruntime")
    made(engines.write(tensor="a:", config=replace(PLAIN, scales="qdq")), "onnxruntime")


@pytest.mark.parametrize("system", ["isaac-ros", "onnxruntime", "python", "cpp"])
def test_one_core_where_a_system_knows_one(engines, system):
    engine = engines.write(tensorrt="8.6.2")
    with pytest.raises(UsageError, match="takes one core"):
        made(engine, system, core="0,1")
    assert not (engines.folder / "out").exists()


@pytest.mark.parametrize("system", SYSTEMS)
def test_engines_of_the_gpu_name_no_core(engines, system):
    gpu = BuildConfig(precision="fp16", shapes=(InputShape("input", ShapeRange.fixed((32, 3, 32, 32))),))
    engine = engines.write(config=gpu, tensorrt="8.6.2")
    texts = made(engine, system)
    assert not [line for text in texts.values() for line in text.splitlines() if "nvdla*" in line.lower()]
    with pytest.raises(UsageError, match="built for the GPU alone"):
        made(engine, system, core="0")


@pytest.mark.parametrize("system", ["isaac-ros", "onnxruntime", "python", "systemd"])
def test_generated_python_is_python(engines, system):
    for name, text in made(engines.write(ENGINE, tensor=HOSTILE.replace(":", "")), system, at=AT).items():
        if name.endswith(".py"):
            ast.parse(text, feature_version=(3, 8))
