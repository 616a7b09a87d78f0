"""A release: version and home stand in every place, the changelog has its section, and a tag cannot say otherwise."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("docs/index.md", "docs/zh/index.md", ".pre-commit-hooks.yaml")
FILES = ("pyproject.toml", "CHANGELOG.md", "src/dlaflow/version.py", *PLACES)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a release writes, in a repository of its own."""
    for name in (*FILES, "scripts/release"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "all")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "scripts" / "release"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_this_repository_agrees_with_itself() -> None:
    done = run(ROOT, "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_release_is_written_everywhere(copy: Path) -> None:
    done = run(copy, "0.2.0", "--repository", "https://github.com/somebody/dlaflow")
    assert done.returncode == 0, done.stderr
    assert "git tag v0.2.0" in done.stdout
    texts = {name: (copy / name).read_text(encoding="utf-8") for name in FILES}
    assert '__version__ = "0.2.0"' in texts["src/dlaflow/version.py"]
    assert "uses: somebody/dlaflow@v0.2.0" in texts["docs/index.md"]
    assert texts["docs/index.md"].count("v0.2.0") == 2
    assert not any("OWNER" in text for text in texts.values())
    changes = texts["CHANGELOG.md"]
    assert changes.index("## [Unreleased]") < changes.index("## [0.2.0] - ") < changes.index("### Added")
    assert (copy / "dist" / "notes.md").read_text(encoding="utf-8").startswith("### Added")
    assert run(copy, "--check").returncode == 0
    assert run(copy, "0.3.0").returncode == 2  # nothing is left under [Unreleased]


def test_a_tag_of_another_version_is_told(copy: Path) -> None:
    git(copy, "tag", "v9.9.9")
    done = run(copy, "--check")
    assert done.returncode == 1
    assert "tag v9.9.9 does not agree" in done.stdout


@pytest.mark.parametrize("words", [("1.2",), ("0.2.0", "--repository", "https://evil.example/x")])
def test_what_makes_no_sense_is_refused(copy: Path, words: tuple[str, ...]) -> None:
    done = run(copy, *words)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert run(copy, "--check").returncode == 0
