"""The agent alone: old syntax, nothing but the standard library, nothing but its own commands."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

import dlaflow.remote.agent
from dlaflow.build.config import BuildConfig, InputShape, MemoryPools, ShapeRange, standalone_of
from dlaflow.build.trtexec_arguments import BUILD_ONLY, Measuring, build_arguments, load_arguments
from dlaflow.remote.agent.allowed import command_of
from dlaflow.remote.bundle import agent_bundle

FOLDER = Path(dlaflow.remote.agent.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))
GOOD = {
    "id": "build-0123456789ab-01234567",
    "kind": "build",
    "title": "t",
    "desk": "d",
    "files": {},
    "phases": [{"name": "a", "runs": [{"name": "a", "program": "trtexec", "arguments": ["--int8"], "seconds": 5}]}],
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_python_3_8_and_the_standard_library_only(module):
    text = module.read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    known = {"__future__"} | set(sys.stdlib_module_names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {name.name.partition(".")[0] for name in node.names} <= known
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert str(node.module).partition(".")[0] in known
    assert "from __future__ import annotations" in text or "def " not in text, "annotations must stay text in 3.8"


def test_a_linter_finds_nothing_newer_than_3_8():
    words = ["-m", "ruff", "check", "--isolated", "--target-version", "py38", "--select", "F,E9", str(FOLDER)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_names_that_came_after_3_8_are_not_used():
    newer = (
        "removeprefix",
        "removesuffix",
        "zip(*",
        "strict=True",
        "math.lcm",
        "functools.cache",
        "graphlib",
        "tomllib",
    )
    for module in MODULES:
        assert not [name for name in newer if name in module.read_text()], module


def test_it_travels_as_one_file_of_always_the_same_bytes():
    bundle = agent_bundle()
    agent_bundle.cache_clear()
    assert agent_bundle().content == bundle.content
    names = zipfile.ZipFile(BytesIO(bundle.content)).namelist()
    assert names == ["__main__.py", *(f"dlaflow_agent/{module.name}" for module in MODULES), "dlaflow_agent/cudla.py"]


@pytest.fixture
def agent(tmp_path):
    bundle = agent_bundle()
    path = tmp_path / "root" / bundle.name
    path.parent.mkdir()
    path.write_bytes(bundle.content)

    def ask(*words, request=None, text=None):
        line = text if text is not None else json.dumps(request or {})
        done = subprocess.run([sys.executable, path, *words], input=line + "\n", capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout.splitlines()[0])

    return ask


@pytest.mark.parametrize(
    "words", [(), ("sh",), ("hello", "more"), ("__import__",), ("../x",), ("bindings", "--onnx=/etc/passwd")]
)
def test_other_commands_are_refused(agent, words):
    assert agent(*words)["error"] == "refused"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("id", "../../x"),
        ("id", 5),
        ("kind", "shell"),
        ("title", "a\nb"),
        ("files", {"../x": "0" * 64}),
        ("files", {"x": "../../etc/passwd"}),
        ("phases", [{"name": "../a", "runs": []}]),
    ],
)
def test_jobs_that_are_none_of_ours_are_refused(agent, place, value, tmp_path):
    assert agent("start", request={"job": {**GOOD, place: value}})["error"] == "refused"
    assert not list((tmp_path / "root" / "jobs").iterdir())


@pytest.mark.parametrize(
    "run",
    [
        {"program": "sh", "arguments": ["-c", "touch x"]},
        {"program": "/bin/sh", "arguments": []},
        {"program": "trtexec", "arguments": ["--saveEngine=/etc/passwd"]},
        {"program": "trtexec", "arguments": ["--saveEngine=../x"]},
        {"program": "trtexec", "arguments": ["--saveEngine"]},
        {"program": "trtexec", "arguments": ["--plugins=/tmp/evil.so"]},
        {"program": "trtexec", "arguments": ["--plugins=evil.so"]},
        {"program": "trtexec", "arguments": ["--loadInputs=a:/etc/passwd"]},
        {"program": "trtexec", "arguments": ["--loadInputs=a:/etc/passwd,b:batch0.bin"]},
        {"program": "trtexec", "arguments": ["--timingCacheFile=x"]},
        {"program": "trtexec", "arguments": ["; touch x"]},
        {"program": "trtexec", "arguments": ["--int8\n--onnx=x"]},
        {"program": "nsys-profile", "flags": ["--output=/x"], "arguments": []},
        {"program": "nsys-profile", "flags": ["--env-var=A=B"], "arguments": []},
        {"program": "nsys-export", "report": "../x", "arguments": []},
        {"program": "trtexec", "arguments": ["--int8"], "seconds": 1e12},
    ],
)
def test_programs_and_options_that_are_none_of_ours_are_refused(agent, run):
    phases = [{"name": "a", "runs": [{"name": "a", "seconds": 5, **run}]}]
    assert agent("start", request={"job": {**GOOD, "phases": phases}})["error"] == "refused"


SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
MEASURING = Measuring(
    duration=1, warm_up=100, separate_profile_run=True, export_profile="p.json", export_layer_info="l.json",
    export_times="t.json", spin_wait=True, cuda_graph=True,
)  # fmt: skip


@pytest.mark.parametrize("tensorrt", ["8.4.1", "8.5.2", "8.6.1", "10.3.0", "10.16.1", "11.4.1"])
@pytest.mark.parametrize("standalone", [False, True])
def test_the_command_lines_of_every_release_pass(tensorrt, standalone):
    """Whatever `dlaflow remote` writes for a release, the agent takes."""
    typed = tensorrt.startswith("11")
    config = BuildConfig(
        precision="int8",
        scales="qdq" if typed else "cache",
        cache=None if typed else "model.cache",
        fp16_too=not typed,
        shapes=SHAPES,
        dla_core=0,
        gpu_fallback=True,
        pools=MemoryPools(workspace=1024, dla_sram=0.5),
        plugins=("./plugin0.so",),
    )
    config = standalone_of(config, tensorrt) if standalone else config
    lines = [
        build_arguments("model.onnx", "model.engine", config, tensorrt, MEASURING),
        build_arguments("model.onnx", "model.engine", config, tensorrt, BUILD_ONLY),
        [*load_arguments("model.engine", tensorrt, MEASURING, SHAPES, 1), "--loadInputs=input:batch0.bin"],
    ]
    for words in lines:
        run = {"program": "trtexec", "arguments": words}
        assert command_of(run, resolve=False) == ["trtexec", *words]


@pytest.mark.parametrize("text", ["", "[]", "nothing", '{"job": 5}', "{}", '{"id": null}'])
@pytest.mark.parametrize("command", ["start", "follow", "have", "adopt", "send"])
def test_requests_that_are_none_are_one_line(agent, command, text):
    assert agent(command, text=text)["error"] in {"refused", "unknown_job"}


def test_a_file_that_did_not_arrive_whole_is_dropped(agent, tmp_path):
    agent("hello")
    name = "a" * 64
    (tmp_path / "root" / "incoming" / name).write_bytes(b"half")
    assert agent("adopt", request={"files": [name]}) == {"wrong": [name]}
    assert not list((tmp_path / "root" / "incoming").iterdir())
    assert not list((tmp_path / "root" / "store").iterdir())


def test_a_job_whose_file_was_not_pushed_leaves_nothing(agent, tmp_path):
    answer = agent("start", request={"job": {**GOOD, "files": {"model.onnx": "0" * 64}}})
    assert answer["error"] == "missing_file"
    assert not list((tmp_path / "root" / "jobs").iterdir())


def test_clocks_are_put_back_after_a_restart_only_by_the_board_itself(agent, tmp_path):
    """A marker of an earlier boot is dropped without touching the clocks."""
    agent("hello")
    marker = tmp_path / "root" / "clocks.locked"
    marker.write_text(json.dumps({"boot": "an earlier one", "saved": "/nowhere"}))
    agent("hello")
    assert not marker.exists()


def test_sudo_is_named_for_clocks_alone():
    """`facts` asks where it is; only clocks.py starts it."""
    assert {module.name for module in MODULES if '"sudo"' in module.read_text()} == {"clocks.py", "facts.py"}
    assert '"sudo", "-n"' in (FOLDER / "clocks.py").read_text(), "never asks for a password"
