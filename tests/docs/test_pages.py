"""The commands of README and documentation, run as they stand; test_chinese.py holds the Chinese pages to the same."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from dlaflow.cli import COMMANDS, main

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
                # cache COMMAND ..., remote BOARD COMMAND ...
                asked = words[1 : {"cache": 3, "remote": 4}.get(name, 2)]
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
