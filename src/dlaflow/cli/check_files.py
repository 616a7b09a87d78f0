"""`dlaflow check` over several models: what the pre-commit hook and the GitHub Action run.

    python -m dlaflow.cli.check_files --board orin-nx-16gb --fail-on fallback a.onnx 'models/**/*.onnx'

What ends in `.onnx` is a model or a pattern, `--out FOLDER` writes a SARIF and a JSON file a model and a Markdown table
of all of them, and every other argument goes to `dlaflow check` as it is. The exit code is the worst of all models.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from dlaflow.cli import main as dlaflow
from dlaflow.errors import EXIT_USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every model, print one answer after the other, and return the worst exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    folder = _take_folder(words)
    patterns = [word for word in words if word.endswith(".onnx")]
    options = [word for word in words if not word.endswith(".onnx")]
    models = [
        Path(name)
        for pattern in patterns  # a plain name stands for itself, so that a missing file is told
        for name in (sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern])
    ]
    if not models:
        sys.stderr.write(f"dlaflow: no model to check, expected ONNX files, received {' '.join(patterns) or 'none'}\n")
        return EXIT_USAGE
    stems = [folder / f"{number:02}_{model.stem}" for number, model in enumerate(models)] if folder else []
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.stderr.write(f"dlaflow: cannot write {folder}: {error.strerror}\n")
        return EXIT_USAGE
    codes = []
    for number, model in enumerate(models):
        files = ["--sarif", f"{stems[number]}.sarif", "--json", f"{stems[number]}.json"] if folder else []
        codes.append(dlaflow(["check", str(model), *options, *files]))
        sys.stdout.write("\n")
    records = [name for stem in stems if Path(name := f"{stem}.json").is_file()]
    if folder and records:
        dlaflow(["compare", *records, "--markdown", str(folder / "summary.md"), "--quiet"])
    return max(codes)


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
