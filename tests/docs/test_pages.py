"""The commands of README and documentation, run as they stand; test_chinese.py holds the Chinese pages to the same."""

from __future__ import annotations

import ctypes
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from dlaflow.cli import COMMANDS, main
from dlaflow.quantize.cache import CacheFile, Entry, header_for, save_cache
from dlaflow.runtime.cudla import Tensor
from tests.runtime.stand_in_cudla import FLOAT16, WORK, StandIn, linear, loadable_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(Path(__file__).parent))

from console import Step, follow, wrong  # noqa: E402


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, with the repository's examples, in which a reader followed the tutorial from beginning to end."""
    place = tmp_path_factory.mktemp("tutorial")
    (place / "examples").symlink_to(ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("COLUMNS", "80")
        assert follow(DOCS / "tutorial.md") >= 25
    return place


def test_the_tutorial(followed: Path) -> None:
    written = ("report.html", "strips.svg", "table.md", "calib.cache", "model_int8.onnx")
    for name in (*written, "measured.html", "inference.svg", "runs.html", "failed.json", "measured/model_bn.sqlite"):
        assert (followed / name).stat().st_size > 100


def test_the_page_for_people_from_the_scripts(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(followed)
    assert follow(DOCS / "from_the_scripts.md") >= 7


def test_the_guide_to_check(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(followed)
    assert follow(DOCS / "guides" / "check.md") >= 7


def test_the_guide_to_training_with_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert follow(DOCS / "guides" / "qat.md") >= 9


def test_the_page_of_loadables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a pretended cuDLA, with a loadable of the walk-through's shapes that tells the class of each image."""
    from PIL import Image

    machine, image = StandIn(tmp_path), Tensor("input'", 32 * 128, (1, 4, 32, 32), 2, 4, 0, 12, 0, (1, 128, *[0] * 6))
    (tmp_path / "model.loadable").write_bytes(loadable_of([image], [linear("output'", (1, 10, 1, 1), FLOAT16)], 1))
    save_cache(CacheFile(header_for("8.5.2"), (Entry("input", 1 / 127),)), tmp_path / "calib.cache")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((8, 3, 32, 32), np.float32))
    for number in range(8):
        folder = tmp_path / "images" / f"class{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(folder / "one.png")

    def compute(inputs, outputs):  # type: ignore[no-untyped-def]  # as ctypes calls it
        red = (ctypes.c_int8 * image.size).from_address(inputs[0])[0]
        scores = (ctypes.c_uint16 * 320).from_address(outputs[0])
        scores[32 * min(9, round(red / 10))] = 0x3C00  # 1.0

    callback = WORK(compute)
    machine.dla.standin_set_compute(callback)
    monkeypatch.setattr("dlaflow.runtime.cudla._FOLDERS", (str(tmp_path),))
    monkeypatch.setattr("dlaflow.runtime.cudla._RUNTIMES", (str(tmp_path / "libcudart.so.13"),))
    monkeypatch.chdir(tmp_path)
    for page in (DOCS / "loadable.md", DOCS / "zh" / "loadable.md"):
        assert follow(page) == 5
    machine.dla.standin_set_compute(None)
    assert (machine.faults, machine.held) == ("", 0)


def test_readme(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is real, and its picture is the one that the tutorial ends with."""
    monkeypatch.chdir(followed)
    assert follow(ROOT / "README.md") >= 1
    assert (followed / "strips.svg").read_text() == (DOCS / "strips.svg").read_text()


def test_shell_blocks_use_commands_and_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot run here (a board, one's own files) must at least be spelt right."""
    told: dict[str, str] = {}
    for page in [*DOCS.glob("*.md"), *DOCS.glob("guides/*.md"), ROOT / "README.md"]:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] != ["dlaflow"]:
                    continue
                name = words[1]
                assert name in COMMANDS, f"{page.name}: {line}"
                # cache COMMAND ..., loadable COMMAND ..., remote BOARD COMMAND ..., remote BOARD loadable COMMAND ...
                depth = {"cache": 3, "loadable": 3, "remote": 4 + (words[3:4] == ["loadable"])}
                asked = words[1 : depth.get(name, 2)]
                key = " ".join(asked)
                if key not in told:
                    assert main([*asked, "--help"]) == 0, f"{page.name}: {line}"
                    told[key] = re.sub(r"\s+", " ", capsys.readouterr().out)
                for word in words[2:]:
                    option = word.partition("=")[0]
                    assert not option.startswith("--") or option in told[key], f"{page.name}: {option} in {line}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a ... c\n", "a b c\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("... ms, 2 x\n", "0.5 ms, 2 x\n", True),
        ("top-1 ...%\n", "top-1 94.4%\n", True),
        ("a ... c\n", "a b d\n", False),
        ("a\n", "a\nb\n", False),
        ("", "a\n", False),
        ("", "", True),
    ],
)
def test_what_a_page_shows_is_compared(shown: str, printed: str, same: bool) -> None:
    assert (wrong(Step("dlaflow", shown, 0), printed) == "") is same
