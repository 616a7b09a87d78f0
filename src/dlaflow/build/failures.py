"""Why a build or a load failed, from the messages of trtexec or of the library's logger (they are the same sentences).

The causes stand in parse/failures.toml, and parse/outcome.py finds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError
from dlaflow.parse.failures import Blame, failures
from dlaflow.parse.log import LogRun, TrtexecLog
from dlaflow.parse.outcome import why
from dlaflow.parse.trtexec import parse_log, read_lines

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
    return _of(read_lines(line.rstrip("\n") for line in lines))


def explain_log(log: Path) -> Explanation:
    """The cause that a log file shows."""
    return _of(parse_log(log))


def _of(log: TrtexecLog) -> Explanation:
    """Whoever asks knows that it failed; of several runs the first that shows a known cause tells it."""
    found = [why(run) for run in log.runs] or [why(LogRun())]
    known = next((each for each in found if each.id not in {"unknown", "silent"}), None)
    told = known or next((each for each in found if each.evidence), found[0])
    blame: Blame = next((cause.blame for cause in failures() if cause.id == told.id), "model")
    return Explanation(told.id, told.what, told.evidence, told.then, blame)
