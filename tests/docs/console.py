"""Console blocks of the documentation: their commands, run in a folder of their own, and the output that they show.

A block is fenced as `console`. A line that begins with `$ dlaflow` is a command; the lines up to the next one are its
output, in which `...` stands for anything. A command that shows nothing may print nothing.
"""

from __future__ import annotations

import difflib
import io
import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from dlaflow.cli import main
from dlaflow.errors import EXIT_DONE

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROMPT = "$ "
ANY = "..."


@dataclass(frozen=True)
class Step:
    """One command, what the page shows of its output, and the exit code that the page tells (`# exits with 1`)."""

    command: str
    shown: str
    code: int


def steps_of(page: Path) -> list[Step]:
    """Every command of a page, in order."""
    found = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
            if not part.startswith(_PROMPT):
                assert not part.strip(), f"{page.name}: a block begins with output: {part[:80]!r}"
                continue
            command, _, shown = part.removeprefix(_PROMPT).partition("\n")
            command, _, told = command.partition("  # exits with ")
            found.append(Step(command.strip(), shown, int(told or EXIT_DONE)))
    return found


def wrong(step: Step, printed: str) -> str:
    """How what was printed differs from what the page shows; empty when it does not. White space does not count."""
    if not step.shown.strip():
        return f"printed although nothing is shown: {printed}" if printed.strip() else ""
    pattern = "".join(
        r"(?:.* )?" if word == ANY else re.escape(word).replace(re.escape(ANY), ".*?") + " "
        for word in step.shown.split()
    )
    if re.fullmatch(pattern, " ".join(printed.split()) + " "):
        return ""
    return "\n".join(
        difflib.unified_diff(step.shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm="")
    )


def follow(page: Path) -> int:
    """Run every command of a page in the present folder, and compare what it prints; returns how many there were."""
    steps = steps_of(page)
    for step in steps:
        words = shlex.split(step.command)
        assert words[0] == "dlaflow", f"{page.name}: only dlaflow's commands can be followed: {step.command}"
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words[1:])
        assert code == step.code, f"$ {step.command}\n{out.getvalue()}\n{err.getvalue()}"
        assert not (told := wrong(step, out.getvalue())), f"{page.name}: $ {step.command}\n{told}"
    return len(steps)
