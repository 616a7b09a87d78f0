"""Put defects into what runs a DLA loadable, one at a time, and tell which of them the tests do not find.

    python benchmarks/mutate_cudla.py              # all: about half an hour on one core
    python benchmarks/mutate_cudla.py 40 60        # the mutants number 40 to 59
    python benchmarks/mutate_cudla.py --list

In the classes of runtime/cudla.py every call that stands alone is left out, every two neighbouring arguments are swapped,
every number is made one more, every condition is turned round; and `CHOSEN` has what no rule finds: an order of giving
back, a stride, a scale. The tests run over a copy of src; a mutant that crashes or hangs them counts as found.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDLA, LAYOUTS, LOADABLE = (f"runtime/{name}.py" for name in ("cudla", "layouts", "loadable"))
STAGES = (
    ("tests/runtime/test_cudla.py", "-k", "not nvidias"),
    ("tests/runtime/test_layouts.py", "tests/runtime/test_loadable.py"),
    ("tests/runtime/test_cudla.py", "tests/remote/test_loadable.py"),
)
"""From the quickest on; the next is run where the one before finds nothing."""
SECONDS = 300

CHOSEN = (
    (CUDLA, "for step in reversed(undo):", "for step in undo:", "give back in the order of taking"),
    (
        CUDLA,
        "self._undo.append(self._cuda.close)",
        "self._undo.insert(9, self._cuda.close)",
        "free before the handle goes",
    ),
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
    (LAYOUTS, "np.floor(np.abs(steps) + 0.5)", "np.rint(np.abs(steps))", "half to even for half away"),
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
    """A file of src/dlaflow as it is with one defect."""

    file: str
    text: str
    what: str


def mutants() -> list[Mutant]:
    """All of them, in the order of the file."""
    path = ROOT / "src" / "dlaflow" / CUDLA
    found = [Mutant(CUDLA, ast.unparse(tree), what) for tree, what in _by_rule(ast.parse(path.read_text()))]
    for file, old, new, what in CHOSEN:
        text = (ROOT / "src" / "dlaflow" / file).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{file} has {text.count(old)} times: {old}")
        found.append(Mutant(file, text.replace(old, new), what))
    return found


def _by_rule(tree: ast.Module) -> Iterator[tuple[ast.Module, str]]:
    """Copies of the module with one place changed, and where."""
    for index in range(len(_places(tree))):
        for way in range(8):
            changed = copy.deepcopy(tree)
            node = _places(changed)[index]
            before = ast.unparse(node).partition("\n")[0][:90]
            if not _WAYS[type(node)](node, way):
                break
            yield (
                ast.fix_missing_locations(changed),
                f"line {node.lineno}: {before} -> {ast.unparse(node).partition(chr(10))[0][:90]}",
            )


def _places(tree: ast.Module) -> list[ast.expr | ast.stmt]:
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    return [node for each in classes for node in ast.walk(each) if type(node) in _WAYS]


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


_WAYS = {ast.Expr: _drop, ast.Call: _swap, ast.Constant: _one_more, ast.If: _turn}


def found_by_tests(mutant: Mutant, folder: Path) -> bool:
    """Whether a test fails over a copy of src with the mutant."""
    target = folder / "dlaflow" / mutant.file
    original = target.read_text()
    target.write_text(mutant.text)
    paths = os.pathsep.join([str(folder), str(ROOT)])
    try:
        for stage in STAGES:
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *stage]
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, timeout=SECONDS
                )
            except subprocess.TimeoutExpired:
                return True
            if done.returncode:
                return True
    finally:
        target.write_text(original)
    return False


def main(words: list[str]) -> int:
    """Print each mutant with what became of it; 1 when one lives."""
    every = mutants()
    first, last = (int(words[0]), int(words[1])) if len(words) == 2 else (0, len(every))
    chosen = list(enumerate(every))[first:last]
    if words == ["--list"]:
        print(*(f"{number} {each.file} {each.what}" for number, each in chosen), sep="\n")
        return 0
    alive = 0
    with tempfile.TemporaryDirectory(prefix="dlaflow-mutants-") as place:
        shutil.copytree(ROOT / "src" / "dlaflow", Path(place) / "dlaflow")
        for number, mutant in chosen:
            killed = found_by_tests(mutant, Path(place))
            alive += not killed
            print(f"{'killed' if killed else 'ALIVE '} {number} {mutant.file} {mutant.what}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} found, {alive} alive")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
