"""The pre-commit hook and the GitHub Action, run by their own files and scripts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TARGET = ("--board", "agx-orin-64gb", "--jetpack", "5.1.1")


def write_model(path: Path, pool: str) -> None:
    """A convolution and a pooling: AveragePool stays on the DLA, GlobalAveragePool does not."""
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    window = {"kernel_shape": [4, 4]} if pool == "AveragePool" else {}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/conv", pads=[1, 1, 1, 1]),
        helper.make_node(pool, ["c"], ["y"], name="/pool", **window),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository with a good and a bad model."""
    write_model(tmp_path / "models" / "good.onnx", "AveragePool")
    write_model(tmp_path / "models" / "deep" / "a bad one.onnx", "GlobalAveragePool")
    return tmp_path


def run(command: list[str], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def hook(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the hook as pre-commit does: its entry, the arguments, and the names of the changed files."""
    (described,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return run([*shlex.split(described["entry"]), *arguments], place)


def test_the_hook_fails_for_a_model_that_leaves_the_dla(place: Path) -> None:
    (described,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    good = hook(place, *described["args"], *TARGET, "models/good.onnx")
    assert good.returncode == 0, good.stdout + good.stderr
    both = hook(place, *described["args"], *TARGET, "models/good.onnx", "models/deep/a bad one.onnx")
    assert both.returncode == 1
    assert "DLA250" in both.stdout
    assert "/pool" in both.stdout


def test_mistakes_are_one_line(place: Path) -> None:
    nothing = hook(place)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr.count("\n") == 1
    missing = hook(place, "models/gone.onnx")
    assert missing.returncode == 2
    assert "gone.onnx" in missing.stderr
    assert "Traceback" not in missing.stderr


def action(place: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the action's own step, with its inputs put where action.yml puts them."""
    described = yaml.safe_load((ROOT / "action.yml").read_text())
    step = next(each for each in described["runs"]["steps"] if each.get("id") == "check")
    given = {name: inputs.get(name.replace("-", "_"), each["default"]) for name, each in described["inputs"].items()}
    environment = {}
    for name, expression in step["env"].items():
        source = expression.removeprefix("${{ inputs.").removesuffix(" }}")
        environment[name] = given[source]
    environment |= {
        "GITHUB_ACTION_PATH": str(ROOT),
        "RUNNER_TEMP": str(place / "temp"),
        "GITHUB_OUTPUT": str(place / "output"),
        "GITHUB_STEP_SUMMARY": str(place / "summary.md"),
    }
    return run(["bash", "-c", step["run"]], place, **environment)


def test_the_action_fails_and_leaves_its_files(place: Path) -> None:
    done = action(place, jetpack="5.1.1")
    assert done.returncode == 1, done.stderr
    folder = place / "temp" / "dlaflow"
    assert (place / "output").read_text() == f"folder={folder}\n"
    sarif = sorted(folder.glob("*.sarif"))
    assert [path.stem for path in sarif] == ["00_a bad one", "01_good"]
    runs = [json.loads(path.read_text())["runs"][0] for path in sarif]
    verdicts = {each["ruleId"]: each["properties"]["verdict"] for each in runs[0]["results"]}
    assert [rule for rule, verdict in verdicts.items() if verdict == "conditional"] == ["DLA250"]
    assert runs[0]["automationDetails"]["id"] == "dlaflow/models/deep/a%20bad%20one.onnx/"
    assert len({each["automationDetails"]["id"] for each in runs}) == 2
    assert all(
        place["physicalLocation"]["region"]["startLine"] == 1
        for each in runs
        for result in each["results"]
        for place in result["locations"]
    )
    summary = (place / "summary.md").read_text()
    assert "| good" in summary.replace("01\\_", "")
    assert "a bad one" in summary


def test_the_action_takes_what_it_is_told(place: Path) -> None:
    assert action(place, models="models/good.onnx", jetpack="5.1.1").returncode == 0
    assert action(place, jetpack="5.1.1", fail_on="never").returncode == 0
    wrong = action(place, board="agx-orin-46gb")
    assert wrong.returncode == 2
    assert "agx-orin-64gb" in wrong.stderr
    careful = action(place, models="models/good.onnx $(touch${IFS}hacked) `touch`", options="--batch 2")
    assert careful.returncode == 2
    assert not (place / "hacked").exists()


PLANTED = (
    "msgspec",
    "onnx",
    "json",
    "pip",
    "sitecustomize",
    "usercustomize",
    "dlaflow/__init__",
    "dlaflow/cli/check_files",
)
"""Modules that Python would import from the current folder, from PYTHONPATH or as the user's own, if it could."""


@pytest.fixture
def hostile(place: Path) -> tuple[Path, dict[str, str]]:
    """A repository that wants its own Python to be run, and the environment of a job that helps it."""
    for name in PLANTED:
        file = place / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("open('HIJACKED', 'w')\n")
    (place / "evil.pth").write_text("import sys; open('HIJACKED', 'w')\n")
    (place / "pyproject.toml").write_text("[project]\nname = 'evil'\nversion = '1'\n[tool.dlaflow]\nboard = 'x'\n")
    base = place / "user" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    base.mkdir(parents=True)
    (base / "usercustomize.py").write_text("open('HIJACKED', 'w')\n")
    (base / "evil.pth").write_text("import sys; open('HIJACKED', 'w')\n")
    return place, {"PYTHONPATH": str(place), "PYTHONUSERBASE": str(place / "user"), "PYTHONSTARTUP": "msgspec.py"}


def test_nothing_of_the_checked_repository_is_imported(hostile: tuple[Path, dict[str, str]]) -> None:
    place, helping = hostile
    described = yaml.safe_load((ROOT / "action.yml").read_text())
    (place / "empty").mkdir()
    steps = [each["run"] for each in described["runs"]["steps"] if "run" in each]
    assert len(steps) == 2
    for step in steps:  # pip finds nothing to install in the empty folder, and would have been hijacked before
        where = {"GITHUB_ACTION_PATH": str(ROOT if "action_check" in step else place / "empty")}
        done = run(["bash", "-c", step], place, **helping, **where, JETPACK="5.1.1", RUNNER_TEMP=str(place / "temp"))
        assert not (place / "HIJACKED").exists(), step
    assert done.returncode == 1, done.stderr
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    done = run([*shlex.split(hook["entry"]), *hook["args"], *TARGET, "models/good.onnx"], place, **helping)
    assert (done.returncode, (place / "HIJACKED").exists()) == (0, False), done.stderr
    run([sys.executable, "-m", "dlaflow.cli.check_files", "models/good.onnx"], place)
    assert (place / "HIJACKED").exists(), "the files do nothing, so this test showed nothing"


def test_actions_are_pinned_by_commit() -> None:
    text = (ROOT / "action.yml").read_text()
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 2
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)


EVIL = ("a\n::error file=x::pwned.onnx", "::error::pwned.onnx", "##[add-mask]pwned.onnx", "x\r::warning::pwned.onnx")


def commands_in(log: str) -> list[str]:
    """What GitHub's runner would obey in a log, as its own ActionCommand.cs reads it."""
    return [line for line in re.split(r"[\r\n]+", log) if line.lstrip().startswith("::") or "##[" in line]


def test_no_name_is_a_command_to_the_runner(tmp_path: Path) -> None:
    for name in EVIL:
        write_model(tmp_path / name, "GlobalAveragePool")
        model = onnx.load(tmp_path / name)
        for node in model.graph.node:
            node.name = f"\n::error file=x::{node.op_type}"
        onnx.save(model, tmp_path / name)
    done = action(tmp_path, models="*.onnx", jetpack="5.1.1")
    assert done.returncode == 1, done.stderr
    stop, *others, go = commands_in(done.stdout + done.stderr)
    token = stop.removeprefix("::stop-commands::")
    assert (len(token), go, others) == (32, f"::{token}::", [])
    told = hook(tmp_path, *TARGET, *EVIL, "gone\n::error::x.onnx")
    assert not commands_in(told.stdout + told.stderr)
    assert told.stdout.count("pwned") >= len(EVIL)


def test_a_files_name_is_no_option_and_no_pattern(place: Path) -> None:
    write_model(place / "--json=victim.onnx", "AveragePool")
    write_model(place / "a[1].onnx", "GlobalAveragePool")
    done = hook(place, *TARGET, "--fail-on", "fallback", "--json=victim.onnx", "a[1].onnx")
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (place / "victim.onnx").exists()
    assert "a[1].onnx on" in done.stdout


def test_the_action_names_its_inputs_once() -> None:
    described = yaml.safe_load((ROOT / "action.yml").read_text())
    text = json.dumps(described["runs"])
    assert all(f"inputs.{name}" in text for name in described["inputs"])
    for step in described["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), "an input in a script would be read as a command"
