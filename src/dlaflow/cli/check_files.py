"""`dlaflow check` over several models: what the pre-commit hook and the GitHub Action run.

    python -I -m dlaflow.cli.check_files --board orin-nx-16gb --fail-on fallback a.onnx 'models/**/*.onnx'

What ends in `.onnx` is a model or a pattern, `--out FOLDER` writes a SARIF and a JSON file a model and a Markdown table
of all of them, and every other argument goes to `dlaflow check` as it is. The exit code is the worst of all models.
`-I` keeps Python from importing what lies in the current folder, which is the repository under test.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dlaflow.cli import main as dlaflow
from dlaflow.cli.faults import end_with
from dlaflow.cli.streams import harmless_output
from dlaflow.cli.terminal import say
from dlaflow.errors import InputError, UsageError

_LONGEST = 100
"""Characters of a model's name in the names of its files, which may have 255 bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every model, print one answer after the other, and return the worst exit code."""
    with harmless_output():
        try:
            return _check(list(sys.argv[1:] if arguments is None else arguments))
        except (Exception, KeyboardInterrupt) as error:
            return end_with(error, debug=False)


def _check(words: list[str]) -> int:
    folder = _take_folder(words)
    patterns = [word for word in words if word.endswith(".onnx")]
    options = [word for word in words if not word.endswith(".onnx")]
    models = [Path(name) for pattern in patterns for name in _named(pattern)]
    if not models:
        raise UsageError("no model to check", expected="ONNX files", received=" ".join(patterns) or "none")
    stems = [folder / f"{number:02}_{_slug(model)}" for number, model in enumerate(models)] if folder else []
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from None
    codes = []
    for number, model in enumerate(models):
        files = ["--sarif", f"{stems[number]}.sarif", "--json", f"{stems[number]}.json"] if folder else []
        codes.append(dlaflow(["check", *options, *files, "--", str(model)]))  # a file can be called --json=x.onnx
        say("")
    records = [name for stem in stems if Path(name := f"{stem}.json").is_file()]
    if folder and records:
        dlaflow(["compare", *records, "--markdown", str(folder / "summary.md"), "--quiet"])
    return max(codes)


def _named(pattern: str) -> list[str]:
    """The files of a pattern; a plain name, also one with brackets, stands for itself and may be missing."""
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    return sorted(glob.glob(pattern, recursive=True))


def _slug(model: Path) -> str:
    """The name of a model as a part of a file's name: short, and nothing but what is seen."""
    return re.sub(r"[^\w .-]", "_", model.stem)[:_LONGEST]


def _take_folder(words: list[str]) -> Path | None:
    """Take `--out FOLDER` out of the arguments."""
    if "--out" not in words[:-1]:
        return None
    at = words.index("--out")
    folder = Path(words[at + 1])
    del words[at : at + 2]
    return folder


if __name__ == "__main__":
    sys.exit(main())
