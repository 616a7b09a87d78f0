"""`import dlaflow` as a user of Python or a notebook has it."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import dlaflow
from dlaflow.api.images import ImageOptions
from dlaflow.targets.options import TargetOptions
from dlaflow.types import Device, Placement

FUNCTIONS = ("build", "build_command", "calibrate", "check", "compare", "estimate", "evaluate", "fix", "schedule")


def write_model(path, name="/conv"):
    """Convolution, global average, Flatten and Gemm for the built-in digits (3 x 32 x 32)."""
    rng = np.random.default_rng(0)
    weights = {"w": (8, 3, 3, 3), "f": (10, 8), "b": (10,)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], name=name, pads=[1, 1, 1, 1], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["r"], name="/relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="/pool"),
        helper.make_node("Flatten", ["p"], ["t"], name="/flatten"),
        helper.make_node("Gemm", ["t", "f", "b"], ["output"], name="/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), weight)
            for weight, shape in weights.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx")


class Page(HTMLParser):
    """A fragment of HTML: its tags (which must close in order), and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def open_model(model):
    """The same network with open height and width."""
    proto = onnx.load(model)
    for place, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    path = model.with_name("open.onnx")
    onnx.save(proto, path)
    return path


def html(record):
    return Page(record._repr_html_())


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_loads_nothing_heavy():
    heavy = ("torch", "onnxruntime", "onnx", "numpy", "rich", "cyclopts", "msgspec", "dlaflow.api")
    done = python(f"import sys, dlaflow; dir(dlaflow); print([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_every_name_is_there_and_listed():
    assert set(dlaflow.__all__) <= set(dir(dlaflow))
    assert all(callable(getattr(dlaflow, name)) for name in FUNCTIONS)
    with pytest.raises(AttributeError, match="chek"):
        dlaflow.chek  # noqa: B018


@pytest.mark.parametrize("first", ["", "import dlaflow.build.config;", "from dlaflow.estimate import latency;"])
def test_build_and_estimate_are_commands_and_packages_at_once(model, first):
    code = (
        f"{first} import dlaflow; print(dlaflow.estimate({str(model)!r}).board);"
        f"print(dlaflow.build_command({str(model)!r}, 'm.engine', batch=1));"
        "import dlaflow.build.config as c; print(c.BuildConfig().mode)"
    )
    lines = python(code.strip()).stdout.splitlines()
    assert lines[0] == "agx-orin-64gb"
    assert lines[1].startswith("trtexec --onnx=")
    assert lines[2] == "gpu"


@pytest.mark.parametrize("shape", [{"input": (4, 3, 32, 32)}, "4x3x32x32", ["input:4x3x32x32"]], ids=str)
def test_a_shape_stands_for_open_sizes(model, open_model, shape):
    found, fixed = dlaflow.check(open_model, shape=shape), dlaflow.check(model, batch=4)
    assert found.model.inputs == fixed.model.inputs == {"input": [4, 3, 32, 32]}
    assert found.summary.dla_mac_share == fixed.summary.dla_mac_share
    assert dlaflow.estimate(open_model, shape=shape).batch == 4
    assert "--shapes=input:4x3x32x32 " in dlaflow.build_command(open_model, "m.engine", shape=shape)
    fix = dlaflow.fix(open_model, shape=shape, dry_run=True)
    assert fix.after == dlaflow.fix(open_model, input_shape=(3, 32, 32), batch=4, dry_run=True).after
    assert fix.frozen_inputs == ["input"]


def test_without_a_shape_the_share_is_unknown(open_model):
    placement = dlaflow.check(open_model)
    assert placement.summary.dla_mac_share is None
    assert "unknown share of the multiply-accumulates" in str(placement)
    assert "--shape input:1x3x640x640" in str(placement)
    assert "How much of open runs on the DLA is not known: input leaves" in html(placement).text[0]
    with pytest.raises(dlaflow.DlaflowError, match="--shape input:1x3x640x640"):
        dlaflow.build_command(open_model, "m.engine")


def test_images_must_have_the_shape(open_model, tmp_path):
    images = np.random.default_rng(0).normal(size=(12, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(12) % 3)
    data = tmp_path / "data.npz"
    assert dlaflow.calibrate(open_model, data, shape="1x3x32x32").images == 12
    assert dlaflow.evaluate(open_model, data=data, shape={"input": (1, 3, 32, 32)}).measurements
    for run in (dlaflow.calibrate, dlaflow.evaluate):
        with pytest.raises(dlaflow.DlaflowError, match=r"expected input \[1, 3, 64, 64\]"):
            run(open_model, data=data, shape="1x3x64x64")


def test_check_gives_the_record_and_shows_it(model):
    placement = dlaflow.check(model, board="agx-orin-64gb", jetpack="5.1.1", batch=4)
    assert isinstance(placement, Placement)
    assert (placement.target.tensorrt, placement.target.batch) == ("8.5.2", 4)
    assert any(layer.device is Device.GPU for layer in placement.layers)
    assert "loadable" in str(placement)
    page = html(placement)
    assert page.tags.count("table") == 1
    assert "DLA250" in page.text
    assert "script" not in page.tags


def test_hostile_names_stay_text(tmp_path):
    name = '<script>alert(1)</script>"onload=x'
    placement = dlaflow.check(write_model(tmp_path / "<img src=x>.onnx", name))
    comparison = dlaflow.compare(placement)
    for page in (html(placement), html(comparison)):
        assert {"script", "img"}.isdisjoint(page.tags)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bord": "orin-nx-16gb"}, "Did you mean 'board'"),
        ({"board": "orin-nx-16g"}, "Did you mean 'orin-nx-16gb'"),
        ({"precision": "int4"}, "unknown precision"),
    ],
)
def test_mistakes_are_explained(model, options, said):
    with pytest.raises(dlaflow.UsageError, match=said):
        dlaflow.check(model, **options)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(dlaflow.InputError):
        dlaflow.check(tmp_path / "none.onnx")


def test_estimate_tells_ranges(model):
    found = dlaflow.estimate(model, board="agx-orin-64gb", power_mode="MAXN", batch=8)
    assert found.latency.low < found.latency.value < found.latency.high
    assert "latency" in html(found).text
    assert "latency" in str(found)


def test_fix_proves_and_writes(model, tmp_path):
    out = tmp_path / "fixed.onnx"
    report = dlaflow.fix(model, out, board="agx-orin-64gb", jetpack="5.1.1", batch=4)
    assert report.after.switches < report.before.switches
    assert report.proof
    assert report.out == str(out)
    assert dlaflow.check(out, board="agx-orin-64gb", jetpack="5.1.1", batch=4).summary == report.after
    assert html(report).tags.count("table") == 2
    dry = dlaflow.fix(model, board="agx-orin-64gb", jetpack="5.1.1", batch=4, dry_run=True)
    assert (dry.out, dry.proof) == ("", [])
    with pytest.raises(dlaflow.UsageError, match="safety class"):
        dlaflow.fix(model, allow="retrain")


def test_calibrate_and_evaluate(model, tmp_path):
    cache, qdq = tmp_path / "c.cache", tmp_path / "int8.onnx"
    found = dlaflow.calibrate(model, "digits", samples=20, method="minmax", cache=cache, qdq=qdq)
    assert found.images == 20
    assert cache.read_text().startswith("TRT-8502-EntropyCalibration2")
    assert "input" in html(found).text
    scores = dlaflow.evaluate(model, qdq, data="digits", samples=50, batch=25)
    assert [each.subject for each in scores.measurements if each.quantity == "agreement"] == ["model", "int8"]
    assert scores.top1("int8").n == scores.top1().n == 50
    assert "agreement" in html(scores).text
    with pytest.raises(dlaflow.InputError, match="no such model"):
        scores.top1("other")


def test_images_take_numbers_and_words_alike(model):
    as_numbers = dlaflow.evaluate(model, data="digits", samples=20, mean=(0.5, 0.5, 0.5), std=[0.2, 0.2, 0.2])
    as_words = dlaflow.evaluate(model, data="digits", samples=20, mean="0.5,0.5,0.5", std="0.2,0.2,0.2")
    assert as_numbers.top1() == as_words.top1()


def test_compare_takes_placements_and_files(model, tmp_path):
    before = dlaflow.check(model, board="agx-orin-64gb", jetpack="5.1.1")
    assert dlaflow.fix(model, tmp_path / "fixed.onnx", board="agx-orin-64gb", jetpack="5.1.1").applied
    after = dlaflow.check(tmp_path / "fixed.onnx", board="agx-orin-64gb", jetpack="5.1.1")
    files = {name: tmp_path / f"out.{name}" for name in ("html", "markdown", "svg", "json")}
    better = dlaflow.compare(before, after, fail_on="switches", **files)
    assert better.regressions == []
    assert all(path.stat().st_size for path in files.values())
    worse = dlaflow.compare(after, before, fail_on=["switches"])
    assert [each.what for each in worse.regressions] == ["more switches"]
    assert "worse" in html(worse).text
    assert dlaflow.compare(files["json"]).run == better.run
    with pytest.raises(dlaflow.UsageError, match="nothing to compare"):
        dlaflow.compare()


def test_build_says_what_is_missing_here(model, tmp_path):
    with pytest.raises(dlaflow.EnvironmentLacksError, match="trtexec"):
        dlaflow.build(model, tmp_path / "m.engine", batch=1, trtexec=tmp_path / "none")
    with pytest.raises(dlaflow.UsageError, match="no command to print"):
        dlaflow.build_command(model, "m.engine", via="rtx")
    assert "import tensorrt as trt" in dlaflow.build_command(model, "m.engine", via="python", precision="fp16", batch=1)


def names(function):
    return set(inspect.signature(function).parameters)


def fields(record):
    return {field.name for field in dataclasses.fields(record)}


@pytest.mark.parametrize("name", ["check", "fix", "estimate", "build", "build_command"])
def test_every_option_of_a_target_is_a_keyword(name):
    assert fields(TargetOptions) < names(getattr(dlaflow, name))


@pytest.mark.parametrize("name", ["calibrate", "evaluate"])
def test_every_option_of_images_is_a_keyword(name):
    function = getattr(dlaflow, name)
    assert fields(ImageOptions) < names(function)
    defaults = {each.name: each.default for each in inspect.signature(function).parameters.values()}
    assert all(defaults[each.name] == each.default for each in dataclasses.fields(ImageOptions))


def test_help_shows_the_options_and_what_they_mean():
    page = python("import dlaflow; help(dlaflow.estimate)").stdout
    assert "Help on function estimate" in page
    assert "estimate(model: str | os.PathLike[str], *, board: str = 'agx-orin-64gb', jetpack: str | None" in page
    assert "power_mode\n            The power mode of the board, such as MAXN" in page
    assert "jetpack\n            The release: JetPack (5.1.1)" in page


def test_packages_keep_their_attributes_behind_the_functions():
    code = (
        "import dlaflow, dlaflow.build.config, dlaflow.build.manifest as manifest, sys;"
        "from dlaflow.estimate import latency;"
        "print(dlaflow.build.config is sys.modules['dlaflow.build.config'], dlaflow.build.manifest is manifest,"
        "dlaflow.estimate.latency is latency, dlaflow.build.__name__, dlaflow.estimate.__name__)"
    )
    done = python(code)
    assert done.stdout.split() == ["True", "True", "True", "build", "estimate"], done.stderr


def test_files_may_be_texts_and_arguments_keep_their_places(model, tmp_path):
    out = tmp_path / "fixed.onnx"
    assert dlaflow.fix(str(model), str(out), batch=4).out == str(out)
    assert "--loadInputs" not in dlaflow.build_command(str(model), "m.engine", batch=4, timing_cache="t.cache")
    with pytest.raises(TypeError):
        dlaflow.check()  # type: ignore[call-arg]


def test_every_function_is_documented():
    for name in FUNCTIONS:
        assert "Raises" in inspect.getdoc(getattr(dlaflow, name)), name


@pytest.mark.parametrize("name", [name for name in dlaflow.__all__ if name[0].islower() and name[0] != "_"])
def test_help_shows_types_and_no_names_of_them(name: str) -> None:
    parameters = inspect.signature(getattr(dlaflow, name)).parameters.values()
    assert not [each.name for each in parameters if isinstance(each.annotation, str)]
