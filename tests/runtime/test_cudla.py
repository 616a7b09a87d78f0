"""The ctypes runner: structures against NVIDIA's header, order and lifetimes against a library that checks them."""

from __future__ import annotations

import ast
import ctypes
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dlaflow.runtime import cudla
from dlaflow.runtime.cudla import STATUS, CudlaError, Library, ModuleAttribute, Session, Task, TensorDescriptor
from tests.runtime.stand_in_cudla import FLOAT16, WORK, StandIn, linear, loadable_of, packed

ROOT = Path(__file__).parents[2]
RELEASES, BINDING = ("13.2.51", "13.5.25"), "13.5.0"
IN, OUT = linear("input'", (1, 3, 5, 7)), linear("output'", (1, 3, 5, 7))


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    return StandIn(tmp_path_factory.mktemp("cudla"))


@pytest.fixture(autouse=True)
def clean(request):
    """No test breaks a rule of cuDLA, or keeps anything of it."""
    yield
    if "stand_in" in request.fixturenames:
        machine = request.getfixturevalue("stand_in")
        faults, held = machine.faults, machine.held
        machine.cuda.standin_reset()
        machine.dla.standin_set_error(0)
        machine.dla.standin_set_compute(None)
        assert not faults
        assert held == 0


@pytest.fixture(scope="session", params=RELEASES)
def wheel(request, tmp_path_factory):
    """NVIDIA's own package, which is not ours to ship."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", str(folder)]
    words += ["--platform", "manylinux2014_aarch64", f"nvidia-cudla=={request.param}"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nvidia-cudla {request.param} cannot be downloaded: {done.stderr.strip().splitlines()[-1][:120]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder)
    return folder


def compiled(wheel, expressions, tmp_path):
    """The values of C expressions with NVIDIA's header."""
    header = next(wheel.rglob("cudla.h"))
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc to compile NVIDIA's header with")
    lines = "".join(f'printf("%lld\\n", (long long)({each}));' for each in expressions)
    text = (
        f"#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <cudla.h>\nint main(void){{{lines}}}"
    )
    (tmp_path / "ask.c").write_text(text)
    words = [gcc, "-w", f"-I{header.parent}", str(tmp_path / "ask.c"), "-o", str(tmp_path / "ask")]
    subprocess.run(words, check=True, capture_output=True, text=True)
    told = subprocess.run([str(tmp_path / "ask")], check=True, capture_output=True, text=True)
    return [int(line) for line in told.stdout.split()]


STRUCTURES = {
    "cudlaModuleTensorDescriptor": TensorDescriptor,
    "cudlaModuleAttribute": ModuleAttribute,
    "cudlaTask": Task,
}


NUMBERS = {
    "CUDLA_CUDA_DLA": 0,
    "CUDLA_NUM_INPUT_TENSORS": cudla.NUM_INPUTS,
    "CUDLA_NUM_OUTPUT_TENSORS": cudla.NUM_OUTPUTS,
    "CUDLA_INPUT_TENSOR_DESCRIPTORS": cudla.INPUTS,
    "CUDLA_OUTPUT_TENSOR_DESCRIPTORS": cudla.OUTPUTS,
    "CUDLA_NUM_OUTPUT_TASK_STATISTICS": cudla.NUM_STATISTICS,
    "CUDLA_OUTPUT_TASK_STATISTICS_DESCRIPTORS": cudla.STATISTICS,
    "CUDLA_TASK_STATISTICS": cudla.TASK_STATISTICS,
}


def test_structures_are_those_of_nvidias_header(wheel, tmp_path):
    asked, ours = [], []
    for name, kind in STRUCTURES.items():
        asked.append(f"sizeof({name})")
        ours.append(ctypes.sizeof(kind))
        for field, *_ in vars(kind)["_fields_"]:
            asked += [f"offsetof({name}, {field})", f"sizeof((({name} *)0)->{field})"]
            ours += [getattr(kind, field).offset, getattr(kind, field).size]
    assert compiled(wheel, asked, tmp_path) == ours
    assert ours[0] == 168, "the table of the documents"


def test_numbers_are_those_of_nvidias_header(wheel, tmp_path):
    header = next(wheel.rglob("cudla.h")).read_text()
    known = {number: pair for number, pair in STATUS.items() if f"cudlaError{pair[0]} " in header}
    assert set(STATUS) - set(known) <= ({15} if "13.2" in str(next(wheel.glob("*.whl"))) else set())
    asked = {f"cudlaError{name}": number for number, (name, *_) in known.items()}
    asked |= NUMBERS
    assert compiled(wheel, list(asked), tmp_path) == list(asked.values())
    told = set(re.findall(r"^\s+cudlaError(\w+)\s*=", header, re.M))
    assert told == {name for name, *_ in known.values()}, "every status of the header has its words"


class Recorder:
    """A library that notes how it is called and fails nothing."""

    def __init__(self):
        self.calls = {}

    def __getattr__(self, name):
        def function(*arguments):
            self.calls[name] = arguments
            return 0

        return function


@pytest.fixture(scope="module")
def calls():
    """Every function that `Library` can call, with the arguments as ctypes hands them over."""
    recorder = Recorder()
    library = Library(recorder)
    numbers = dict.fromkeys(("device", "dev_handle", "h_module", "flags", "module_size", "ptr", "size"), 1)
    numbers |= dict.fromkeys(("dev_ptr", "ptr_to_tasks", "num_tasks", "stream", "attr_type"), 1)
    for name in functions_of(Library):
        function = getattr(library, name)
        wanted = inspect.signature(function).parameters
        function(*(b"1" if each == "p_module" else numbers[each] for each in wanted))
    assert len(recorder.calls) == 12
    return recorder.calls


def functions_of(kind):
    return [name for name in vars(kind) if not name.startswith("_")]


def width(argument):
    """Bytes of an argument; 0 for a pointer."""
    if isinstance(argument, bytes) or not hasattr(argument, "value"):
        return 4 if isinstance(argument, int) else 0
    return 0 if isinstance(argument, ctypes.c_void_p) else ctypes.sizeof(argument)


WIDTHS = {"uint64_t": 8, "size_t": 8, "uint32_t": 4, "cudlaModuleAttributeType": 4}


def test_calls_are_those_of_nvidias_header(wheel, calls):
    """How many arguments, which are pointers, how wide the others are: for each function, in order."""
    header = re.sub(r"/\*.*?\*/", "", next(wheel.rglob("cudla.h")).read_text(), flags=re.DOTALL)
    header += next(wheel.rglob("cudlaExternalEtbl.hpp")).read_text()
    for name, arguments in calls.items():
        (text,) = re.findall(rf"\b{name}\s*\(([^)]*)\)\s*;", header)
        kinds = [re.sub(r"\bconst\b", "", each).split() for each in text.split(",")]
        pointers = ("cudlaDevHandle", "cudlaModule")
        told = [0 if "*" in "".join(each) or each[0] in pointers else WIDTHS[each[0]] for each in kinds]
        assert [width(each) for each in arguments] == told, name


def test_functions_are_in_nvidias_library(wheel, calls):
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf")
    library = next(wheel.rglob("libcudla.so.1"))
    told = subprocess.run([readelf, "-Ws", "--dyn-syms", str(library)], check=True, capture_output=True, text=True)
    exported = set(re.findall(r"GLOBAL\s+DEFAULT\s+\d+ (cudla\w+)", told.stdout))
    assert set(calls) <= exported
    assert {"cudlaMemUnregister", "cudlaModuleUnload", "cudlaDestroyDevice"} <= set(calls)
    assert len(exported) >= 18


@pytest.fixture(scope="session")
def binding(tmp_path_factory):
    """Runs Python beside NVIDIA's own binding, cuda.bindings.cudla, which needs no library to be imported."""
    folder = tmp_path_factory.mktemp("binding")
    words = [sys.executable, "-m", "pip", "install", "--only-binary=:all:", "-q", "--target", str(folder)]
    done = subprocess.run([*words, f"cuda-bindings=={BINDING}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cuda-bindings {BINDING} cannot be had: {done.stderr.strip().splitlines()[-1][:120]}")

    def call(script, *words, **variables):
        paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-c", script, *map(str, words)]
        told = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": paths} | variables, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        return told.stdout

    return call


BINDINGS_NAMES = {TensorDescriptor: "module_tensor_descriptor", ModuleAttribute: "module_attribute", Task: "task"}


def test_structures_numbers_and_calls_are_those_of_nvidias_binding(binding):
    script = """
import json
from cuda.bindings import cudla
kinds = {name: getattr(cudla, name) for name in dir(cudla) if name.endswith("_dtype")}
print(json.dumps([
    {name: [kind.itemsize, {field: [where, each.itemsize] for field, (each, where) in kind.fields.items()}]
     for name, kind in kinds.items()},
    {each.name: each.value for name in ("Status", "Mode", "ModuleAttributeType", "AccessPermissionFlags")
     for each in getattr(cudla, name)},
    {name: getattr(cudla, name).__doc__ for name in dir(cudla)},
]))
"""
    layouts, numbers, calls = json.loads(binding(script))
    for kind, name in BINDINGS_NAMES.items():
        size, fields = layouts[f"{name}_dtype"]
        ours = {field: [getattr(kind, field).offset, getattr(kind, field).size] for field, *_ in vars(kind)["_fields_"]}
        spelt = {re.sub(r"(?<!^)(?=[A-Z])", "_", field).lower(): where for field, where in ours.items()}
        theirs = {field.removesuffix("_"): where for field, where in fields.items()}
        assert ctypes.sizeof(kind) == size
        assert spelt.items() <= theirs.items()
        assert len(spelt) == len(theirs) or kind is ModuleAttribute, "a union with two names for each of its two"
    known = {name.replace("_", "").lower(): number for name, number in numbers.items()}
    assert {f"error{name}".lower(): number for number, (name, *_) in STATUS.items()} == {
        name: number for name, number in known.items() if name.startswith("error")
    }
    for name, number in NUMBERS.items():
        assert numbers[name.removeprefix("CUDLA_")] == number
    for name in functions_of(Library):
        if name != "get_external_export_table":  # which the binding does not have: statistics go through ctypes
            names = [part.split()[-1] for part in calls[name].partition("(")[2].partition(")")[0].split(",") if part]
            assert list(inspect.signature(getattr(Library, name)).parameters)[1:] == names, name


def test_nvidias_binding_runs_a_loadable(binding, stand_in):
    """The real binding over the pretended library, which it loads by name as on a board."""
    script = """
import sys
from pathlib import Path
from dlaflow.runtime.cudla import CudlaError, Session
from tests.runtime.stand_in_cudla import Loaded, linear, loadable_of
machine = Loaded(Path(sys.argv[1]))

def said(function, given):
    try:
        function(given)
    except CudlaError as error:
        return str(error)

one, two = linear("x", (1, 2, 3, 5)), linear("y", (1, 2, 3, 5))
with Session(loadable_of([one], [two], 2), 1) as session:
    assert session.through == "cuda.bindings.cudla, memory by libcudart", session.through
    assert session.inputs == (one,) and session.outputs == (two,)
    assert session.run([b"x" * one.size + b"y" * one.size]) == [b"x" * one.size + b"y" * one.size]
    assert session.time([bytes(one.size)], 3, 1) == [1.5] * 3
    assert len(session.statistics([bytes(one.size)], 1000)) == 2
    for status, words in ((0x40000006, "GetLastError answered 0x40000006 DlaErrEngineTimeout"), (77, "0x4d")):
        machine.dla.standin_set_error(status)
        assert words in said(session.run, [bytes(one.size)])
hostile = bytearray(loadable_of([one], [two]))
hostile[4:8] = bytes([255] * 4)
assert "ModuleLoadFromMemory answered 0x7 Umd" in said(Session, b"ftrt" + bytes(99))
assert "counts 4294967295 tensors" in said(Session, bytes(hostile))
machine.dla.standin_refuse(77)
assert "cudlaCreateDevice failed: ValueError 77" in said(Session, loadable_of([one], [two]))
print(machine.faults, machine.held, "done")
"""
    assert binding(script, stand_in.folder, LD_LIBRARY_PATH=str(stand_in.folder)) == " 0 done\n"


def test_python_3_8_and_the_standard_library_only():
    text = Path(cudla.__file__).read_text()
    for node in ast.walk(ast.parse(text, feature_version=(3, 8))):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert {str(name).partition(".")[0] for name in names} <= {"__future__", *sys.stdlib_module_names}
    words = ["-m", "ruff", "check", "--isolated", "--target-version", "py38", "--select", "F,E9", cudla.__file__]
    assert subprocess.run([sys.executable, *words], capture_output=True).returncode == 0


def test_a_run_brings_each_task_its_own_bytes(stand_in):
    tasks = [os.urandom(IN.size) for _ in range(3)]
    with stand_in.open(loadable_of([IN], [OUT])) as session:
        assert session.version == "2.5.1"
        assert session.inputs == (IN,)
        assert session.outputs == (OUT,)
        assert session.run([b"".join(tasks)]) == [b"".join(tasks)]
        assert session.run([tasks[0]]) == [tasks[0]], "memory is registered once"
    session.close()


def test_several_tensors_stand_in_their_own_places(stand_in):
    first, second = linear("a", (1, 1, 2, 3)), linear("b", (1, 2, 3, 4), FLOAT16)
    small, large = linear("y", (1, 1, 1, 9)), linear("z", (1, 4, 4, 70))

    def swap(inputs, outputs):
        ctypes.memmove(outputs[0], inputs[1], small.size)
        ctypes.memmove(outputs[1], inputs[0], first.size)

    callback = WORK(swap)
    stand_in.dla.standin_set_compute(callback)
    one, two = os.urandom(first.size), os.urandom(second.size)
    with stand_in.open(loadable_of([first, second], [small, large]), core=1) as session:
        y, z = session.run([one, two])
    assert y == two[: small.size]
    assert z == one + bytes(large.size - first.size), "outputs are cleared before a task"


def test_times_and_statistics(stand_in):
    with stand_in.open(loadable_of([IN], [OUT], statistics=2)) as session:
        assert session.time([bytes(IN.size)], runs=3, warm_up=2) == [1.5, 1.5, 1.5]
        assert session.statistics([bytes(IN.size)], 1000) == [f"layer,microseconds\nconv{n},1.00\n" for n in (0, 1)]
        assert session.run([b"x" * IN.size]) == [b"x" * IN.size]


def test_the_warm_up_is_not_counted(stand_in):
    ramp = ctypes.c_float.in_dll(stand_in.cuda, "standin_ramp")
    with stand_in.open(loadable_of([IN], [OUT])) as session:
        before = ctypes.c_int.in_dll(stand_in.cuda, "standin_tasks").value
        ramp.value = 1.0
        times = session.time([bytes(IN.size)], runs=3, warm_up=2)
    assert times == [before + 1 + 2 + index + 1.5 for index in range(3)], "one task before, two to warm up"


def test_both_calls_of_nvidias_sample_make_the_context(stand_in):
    stand_in.open(loadable_of([IN], [OUT])).close()
    assert stand_in.cuda.standin_context() == 3


def test_an_interrupted_run_is_waited_for(stand_in):
    """The handle must not go with a task in flight."""
    session = stand_in.open(loadable_of([IN], [OUT]))
    wait, calls = session._cuda.synchronize, []

    def interrupted():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        wait()

    session._cuda.synchronize = interrupted
    with pytest.raises(KeyboardInterrupt):
        session.run([bytes(IN.size)])
    session.close()
    session.close()
    assert len(calls) == 2, "waited for once"


def test_a_time_that_fails_is_told_in_words(stand_in):
    with stand_in.open(loadable_of([IN], [OUT])) as session:
        session.run([bytes(IN.size)])
        stand_in.dla.standin_set_error(0x40000003)
        with pytest.raises(CudlaError, match="DlaErrNoMem"):
            session.time([bytes(IN.size)], runs=2, warm_up=0)


def test_no_statistics(stand_in, tmp_path):
    with stand_in.open(loadable_of([IN], [OUT])) as session, pytest.raises(CudlaError, match="keeps no statistics"):
        session.statistics([bytes(IN.size)], 1000)
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.runtime.stand_in_cudla import *
machine = StandIn(Path({str(tmp_path)!r}), "-DOLD")
tensor = linear("x", (1, 1, 1, 8))
with machine.open(loadable_of([tensor], [tensor], 1)) as session:
    print(session.run([b"y" * 64]) == [b"y" * 64])
    session.statistics([bytes(64)], 1000)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout == "True\n", told.stderr
    assert "this libcudla.so.1 has no cudlaGetExternalExportTable" in told.stderr


def test_a_task_that_failed_is_told_in_words(stand_in):
    with stand_in.open(loadable_of([IN], [OUT])) as session:
        stand_in.dla.standin_set_error(0x40000006)
        with pytest.raises(CudlaError, match=r"GetLastError answered 0x40000006 DlaErrEngineTimeout: .* took too long"):
            session.run([bytes(IN.size)])


def test_what_is_no_loadable_and_no_core(stand_in):
    with pytest.raises(CudlaError, match="a TensorRT engine is no loadable") as caught:
        stand_in.open(b"ftrt" + bytes(100))
    assert not caught.value.lacks
    for core in (2, -1):
        with pytest.raises(CudlaError, match=f"^there is no DLA core {core}; cuDLA counts 2. Choose --core 0 to 1.$"):
            stand_in.open(loadable_of([IN], [OUT]), core=core)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "n" * 81}, "does not end within 81 bytes"),
        ({"dims": (1, 3, 5, 1 << 40)}, "at most 4096 images and 8192"),
        ({"dims": (0, 3, 5, 7)}, "at most 4096 images and 8192"),
        ({"size": 1 << 60}, "which no memory layout needs"),
        ({"size": 3}, "which no memory layout needs"),
        ({"type": 77}, "data type 77"),
    ],
)
def test_a_hostile_descriptor_is_refused_before_any_allocation(stand_in, change, words):
    with pytest.raises(CudlaError, match=words) as caught:
        stand_in.open(loadable_of([IN._replace(**change)], [OUT]))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Build the loadable again, for this board's release.")
    assert not caught.value.lacks


def test_a_hostile_count_is_refused_before_any_allocation(stand_in):
    content = bytearray(loadable_of([IN], [OUT]))
    content[4:8] = b"\xff" * 4
    large = 3 << 30
    for given, words in (
        (bytes(content), "cuDLA counts 4294967295 tensors of a kind"),
        (loadable_of([], [OUT]), "the loadable has no input or no output"),
        (loadable_of([IN], []), "the loadable has no input or no output"),
        (
            loadable_of([IN._replace(size=large)], [OUT._replace(size=large)]),
            f"the loadable's tensors take {2 * large}",
        ),
    ):
        with pytest.raises(CudlaError) as caught:
            stand_in.open(given)
        assert str(caught.value).startswith(words)
        assert str(caught.value).endswith("Build the loadable again, for this board's release.")
        assert not caught.value.lacks


def test_hostile_statistics_are_refused_before_any_allocation(stand_in):
    content = bytearray(loadable_of([IN], [OUT], 2))
    for size in (0, 1 << 60):
        content[-168 + 88 : -168 + 96] = size.to_bytes(8, "little")
        with stand_in.open(bytes(content)) as session:
            with pytest.raises(
                CudlaError, match=rf"^cuDLA describes statistics buffers of \[64, {size}\] bytes\. Build"
            ):
                session.statistics([bytes(IN.size)], 1000)
            session.run([bytes(IN.size)])
    content[12:16] = (129).to_bytes(4, "little")
    with stand_in.open(bytes(content)) as session, pytest.raises(CudlaError, match="cuDLA counts 129 tensors"):
        session.statistics([bytes(IN.size)], 1000)


@pytest.mark.parametrize("sizes", [[], [IN.size - 1], [0], [IN.size, IN.size]])
def test_inputs_of_another_size(stand_in, sizes):
    with stand_in.open(loadable_of([IN], [OUT])) as session, pytest.raises(CudlaError, match="do not fit"):
        session.run([bytes(size) for size in sizes])


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(cudla, "_FOLDERS", ())
    with pytest.raises(CudlaError, match=r"cannot be loaded .* Run on a Jetson"):
        Session(b"")
    with pytest.raises(CudlaError, match=r"lib-of-nobody\.so cannot be loaded"):
        cudla.open_library("lib-of-nobody.so", folders=("/nowhere",))


def test_the_program_of_a_board(stand_in, tmp_path):
    (tmp_path / "m.loadable").write_bytes(loadable_of([IN], [OUT]))
    (tmp_path / "in.bin").write_bytes(bytes(range(256)) * (IN.size // 256) + bytes(IN.size % 256))
    program = f"import runpy, sys; m = runpy.run_path({cudla.__file__!r}); sys.exit(m['main'](sys.argv[1:]))"

    def call(*words):
        command = [sys.executable, "-c", program, "--loadable=m.loadable", *words]
        paths = os.environ | {"LD_LIBRARY_PATH": str(stand_in.folder)}
        return subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True)

    done = call("--core=1", "--inputs=in.bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "output0.raw").read_bytes() == (tmp_path / "in.bin").read_bytes()
    assert json.loads((tmp_path / "tensors.json").read_text())["inputs"][0][0] == "input'"
    assert call("--inputs=in.bin", "--runs=2").returncode == 0
    assert json.loads((tmp_path / "times.json").read_text()) == [1.5, 1.5]
    bad = call("--core=9")
    assert bad.returncode == 1
    assert "no DLA core 9" in json.loads(bad.stdout)["what"]


def test_a_descriptor_round_trip():
    assert cudla.tensor_of(TensorDescriptor.from_buffer_copy(packed(IN))) == IN
