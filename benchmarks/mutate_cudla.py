"""Put defects into what runs a DLA loadable, one at a time, and tell which of them the tests do not find.

    python benchmarks/mutate_cudla.py                    # all of them
    python benchmarks/mutate_cudla.py drop turn chosen   # of these kinds
    python benchmarks/mutate_cudla.py --list

In the classes of runtime/cudla.py every call that stands alone is left out (drop), every two neighbouring arguments
change places (swap), every number is made one more (number), every condition is turned round (turn); what no rule
finds, an order of giving back, a stride, a scale, is `CHOSEN`. The tests run over a copy of src; a mutant that crashes
or hangs them counts as found.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis  # noqa: F401  # loaded once, for all the copies of this process
import numpy  # noqa: F401
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.runtime.stand_in_cudla import COMPILED, compile_to  # noqa: E402

CUDLA, LAYOUTS, LOADABLE = (f"runtime/{name}.py" for name in ("cudla", "layouts", "loadable"))
STAGES = (
    ("tests/runtime/test_cudla.py", "-k", "not nvidias and not program and not python_3_8 and not no_statistics"),
    (
        "tests/runtime/test_layouts.py",
        "tests/runtime/test_loadable.py",
        "-k",
        "not commands and not words and not top1",
    ),
    ("tests/runtime/test_cudla.py", "-k", "nvidias or program or no_statistics"),
)
"""From the quickest on; the next is run where the one before finds nothing."""
SECONDS = 600

CHOSEN = (
    (CUDLA, "for step in reversed(undo):", "for step in undo:", "give back in the order of taking"),
    (CUDLA, "in reversed(undo):", "in [*undo[:1], *undo[:0:-1]]:", "free before the handle goes"),
    (CUDLA, 'undo=("destroy_device",)', 'undo=("get_last_error",)', "keep the handle"),
    (CUDLA, 'undo=("module_unload", 0)', 'undo=("module_get_attributes", 0)', "keep the module"),
    (
        CUDLA,
        '"mem_unregister", self._device, registered',
        '"mem_unregister", self._device, buffer.address',
        "unregister CUDA's pointer",
    ),
    (CUDLA, "return buffer, registered", "return buffer, buffer.address", "tasks with CUDA's pointers"),
    (
        CUDLA,
        'self._buffers["input"] + self._buffers["output"], filled',
        'self._buffers["output"] + self._buffers["input"], filled',
        "fill outputs with inputs",
    ),
    (CUDLA, "filled = inputs +", "filled = inputs[::-1] +", "swap the inputs"),
    (
        CUDLA,
        "return [bytes(each) for each in downloads]",
        "return [bytes(each) for each in downloads[::-1]]",
        "swap the outputs",
    ),
    (CUDLA, "data[index * t.size : (index + 1) * t.size]", "data[: t.size]", "every task the first inputs"),
    (CUDLA, "[bytes(each.size) for each in self.outputs]", "[]", "do not clear the outputs"),
    (CUDLA, "return times[warm_up:]", "return times[: len(times) - warm_up]", "keep the warm-up's times"),
    (CUDLA, "return times[warm_up:]", "return times", "count the warm-up"),
    (
        CUDLA,
        'self._buffers["output"] + self._buffers.get("statistics", [])',
        'self._buffers.get("statistics", []) + self._buffers["output"]',
        "statistics before outputs",
    ),
    (CUDLA, "self._register(size, TASK_STATISTICS)", "self._register(size)", "statistics as common memory"),
    (CUDLA, "for queue in (work, lambda: None):", "for queue in (lambda: None, work):", "time nothing"),
    (
        CUDLA,
        '    _fields_ = [\n        ("moduleHandle", _PTR),',
        '    _fields_ = [\n        ("waitEvents_", _PTR),\n        ("moduleHandle", _PTR),',
        "a field too many in the task",
    ),
    (
        LAYOUTS,
        "tensor.size // n, surface or h * line, line, size)",
        "tensor.size // n, surface or h * line, line + size, size)",
        "dla_linear: another row",
    ),
    (
        LAYOUTS,
        "tensor.size // n, line, pixel, size)",
        "tensor.size // n, line, size, pixel)",
        "dla_hwc4: planes for pixels",
    ),
    (
        LAYOUTS,
        "strides = (tensor.size // n, surface or h * line, line, _ATOM, size)",
        "strides = (tensor.size // n, line, surface or h * line, _ATOM, size)",
        "chw32: surfaces for rows",
    ),
    (
        LAYOUTS,
        "values.astype(np.float64) / require_scale(layout, scale)",
        "values.astype(np.float64) * require_scale(layout, scale)",
        "multiply by the scale",
    ),
    (
        LAYOUTS,
        "elements.astype(np.float64) * require_scale(layout, scale)",
        "elements.astype(np.float64) / require_scale(layout, scale)",
        "divide by the scale",
    ),
    (LAYOUTS, "np.clip(whole, -_LARGEST - 1, _LARGEST)", "whole", "wrap instead of saturating"),
    (LAYOUTS, "np.abs(steps - whole) >= 0.5", "np.abs(steps - whole) > 0.5", "half towards zero"),
    (
        LOADABLE,
        "for name in self.input_layouts]",
        "for name in reversed(self.input_layouts)]",
        "inputs in another order",
    ),
    (
        LOADABLE,
        "from_elements(np.concatenate(parts), layout, self._how.scales.get(name))[:count]",
        "from_elements(np.concatenate(parts), layout, self._how.scales.get(name))",
        "keep the answers to the filling",
    ),
    (LOADABLE, "np.repeat(elements[-1:], missing, axis=0)", "elements[:0]", "do not fill the last task"),
)
"""File, text, what stands in its place, the defect."""


@dataclass(frozen=True)
class Mutant:
    """A file of src/dlaflow with one defect: the place among those of `_places` and the way there, or other text."""

    file: str
    kind: str
    what: str
    place: tuple[int, int] = (0, 0)
    change: tuple[str, str] = ("", "")

    def put_into(self, text: str) -> str:
        """The whole file."""
        if self.kind == "chosen":
            return text.replace(*self.change)
        tree, (index, way) = ast.parse(text), self.place
        node = _places(tree)[index]
        _WAYS[type(node)][1](node, way)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants() -> list[Mutant]:
    """All of them: by rule in the order of the file, then the chosen ones."""
    found = []
    for index, place in enumerate(_places(ast.parse((ROOT / "src" / "dlaflow" / CUDLA).read_text()))):
        kind, change = _WAYS[type(place)]
        for way in range(8):
            node = copy.deepcopy(place)
            if not change(node, way):
                break
            found.append(Mutant(CUDLA, kind, f"line {place.lineno}: {_line(place)} -> {_line(node)}", (index, way)))
    for file, old, new, what in CHOSEN:
        count = (ROOT / "src" / "dlaflow" / file).read_text().count(old)
        if count != 1:
            raise SystemExit(f"{file} has {count} times: {old}")
        found.append(Mutant(file, "chosen", what, change=(old, new)))
    return found


def _line(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:90]


def _places(tree: ast.Module) -> list[ast.expr | ast.stmt]:
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    nodes = [node for each in classes for node in ast.walk(each) if isinstance(node, ast.expr | ast.stmt)]
    return [node for node in nodes if type(node) in _WAYS]


def _drop(node: ast.Expr, way: int) -> bool:
    if way or not isinstance(node.value, ast.Call):
        return False
    node.value = ast.copy_location(ast.Constant(None), node)
    return True


def _swap(node: ast.Call, way: int) -> bool:
    if way + 1 >= len(node.args) or any(isinstance(each, ast.Starred) for each in node.args):
        return False
    node.args[way], node.args[way + 1] = node.args[way + 1], node.args[way]
    return True


def _one_more(node: ast.Constant, way: int) -> bool:
    if way or type(node.value) is not int:
        return False
    node.value += 1
    return True


def _turn(node: ast.If, way: int) -> bool:
    if not way:
        node.test = ast.UnaryOp(ast.Not(), node.test)
    return not way


_WAYS: dict[type, tuple[str, Callable[..., bool]]] = {
    ast.Expr: ("drop", _drop),
    ast.Call: ("swap", _swap),
    ast.Constant: ("number", _one_more),
    ast.If: ("turn", _turn),
}


def found_by_tests(mutant: Mutant, folder: Path) -> bool:
    """Whether a test fails over a copy of src with the mutant."""
    target = folder / "dlaflow" / mutant.file
    original = target.read_text()
    target.write_text(mutant.put_into(original))
    try:
        return any(fails(stage, folder) for stage in STAGES)
    finally:
        target.write_text(original)


def fails(stage: tuple[str, ...], folder: Path) -> bool:
    """Whether these tests fail, in a copy of this process, which has loaded what is slow to load."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        for name in [each for each in sys.modules if each.partition(".")[0] in {"dlaflow", "tests"}]:
            del sys.modules[name]  # to be loaded with the defect
        sys.path[:0] = [str(folder), str(ROOT)]
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        os.chdir(ROOT)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *stage])))
    return os.waitpid(child, 0)[1] != 0


def main(words: list[str]) -> int:
    """Print each mutant with what became of it; 1 when one lives."""
    chosen = [each for each in mutants() if each.kind in words or not {*words} - {"--list"}]
    if "--list" in words:
        print(*(f"{each.kind} {each.file} {each.what}" for each in chosen), sep="\n")
        return 0
    alive = 0
    with tempfile.TemporaryDirectory(prefix="dlaflow-mutants-") as place:
        shutil.copytree(ROOT / "src" / "dlaflow", Path(place) / "dlaflow")
        compiled = Path(place) / "compiled"
        compiled.mkdir()
        compile_to(compiled)
        os.environ[COMPILED] = str(compiled)
        for stage in STAGES:
            if fails(stage, Path(place)):
                raise SystemExit(f"these fail without any defect: {' '.join(stage)}")
        for mutant in chosen:
            killed = found_by_tests(mutant, Path(place))
            alive += not killed
            print(f"{'killed' if killed else 'ALIVE '} {mutant.kind} {mutant.file} {mutant.what}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} found, {alive} alive")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
