"""Why a build or a load failed, from the messages of trtexec or of the library's logger (they are the same sentences).

The causes stand in parse/failures.toml. Generic last lines ("Engine set up failed") are never a cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError
from dlaflow.parse.failures import Blame, Failure, failures, import_node_of, is_generic_tail
from dlaflow.parse.line import split_line

_KEPT = 400
_ERRORS: dict[Blame, type[DlaflowError]] = {
    "environment": EnvironmentLacksError,
    "model": InputError,
    "usage": UsageError,
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What went wrong: the known cause (`unknown` when none matched), the message that shows it and the next step."""

    id: str
    what: str
    evidence: str
    then: str
    blame: Blame = "model"

    def error(self) -> DlaflowError:
        """The exception that the command line prints."""
        what = f"{self.what} (TensorRT says: {self.evidence})" if self.evidence else self.what
        return _ERRORS[self.blame](what, then=self.then)


def explain(lines: Iterable[str]) -> Explanation:
    """The cause of a failed build or load, from the lines of its log."""
    causes = sorted((cause for cause in failures() if cause.blame != "none"), key=lambda cause: cause.general)
    harmless = [remark for remark in failures() if remark.blame == "none"]
    # The log is read once and only lines that show a cause are kept, so that a huge one costs no memory.
    errors: dict[str, str] = {}
    warnings: dict[str, str] = {}
    first_error = ""
    tail = ""
    for raw in lines:
        level, _, text = split_line(raw.rstrip("\n"))
        if level in {"V", "I"} or not text.strip() or any(remark.shows_in(text) for remark in harmless):
            continue
        found = warnings if level == "W" else errors
        for cause in causes:
            if cause.id not in found and cause.shows_in(text):
                found[cause.id] = text
        if level in {"E", "F"}:
            tail = text
            if not first_error and not is_generic_tail(text):
                first_error = text
    # A good hybrid build warns of much that it then works around: warnings speak only where no error does.
    shown = errors or ({} if first_error else warnings)
    for cause in causes:
        if cause.id in shown:
            return _explained(cause, shown[cause.id])
    evidence = _short(first_error or tail)
    if evidence:
        then = "Look for the first line marked [E] in the log; `--verbose` says more."
        return Explanation("unknown", "TensorRT gave up for an unknown reason", evidence, then)
    then = "Warnings and errors go to stderr: run it with 2>&1 so that the log holds them."
    return Explanation("silent", "TensorRT gave up and its log holds no error", "", then)


def explain_log(log: Path) -> Explanation:
    """The cause that a log file shows."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return explain(lines)


def _explained(cause: Failure, text: str) -> Explanation:
    node = import_node_of(text)
    what = f"{cause.what}: it stopped at node {node.index} ({node.operator})" if node else cause.what
    return Explanation(cause.id, what, _short(text), cause.then, cause.blame)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _KEPT else f"{line[: _KEPT - 3]}..."
