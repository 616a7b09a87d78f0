"""Whether a run worked and, if not, why: from its error lines, the outcome lines of every tool and the one table.

A tool that prints how it ended is believed. Where none does, an error that nothing good follows is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dlaflow.parse.failures import Failure, failures, import_node_of, is_generic_tail, outcome_lines
from dlaflow.parse.log import LogProblem, LogRun, Outcome, Remark, State
from dlaflow.parse.notes import flags_of

_LOOKED_AT = 2000
"""So many characters of a line tell what it is; hostile lines are longer."""
_KEPT = 400
_MANY = 500
_LEVELS = frozenset({"E", "F", ""})
"""Of errors; a line without a level is kept as a problem only where its words say so."""
_ASKED = re.compile(r"\d")

_NEW = re.compile(
    r"\d+: \[\w+\.(?:cpp|h|cc)::|I\w+::\w+: Error Code \d|Traceback \(most recent call last\)|terminate called"
    r"|Aborting\.\.\.|\[!\] |(?:\w+\.){0,8}\w{0,40}(?:Error|Exception): |NvDsInfer|\*\* ERROR|make: \*\*\*"
    r"|cudla\w* \w+.{0,80} FAILED"
)
"""How a line without a level begins that opens an error of its own, also behind another error."""
_BROKEN = re.compile(
    r"Error Code:? \d|\bERROR\b|\bFATAL\b|\bAssert(?:ion)?\b|\b[Ff]ail(?:ed|ure)\b|\bFAILED\b"
    r"|\b[Cc]ould ?n[o']t\b|\b[Cc]annot\b|\b[Uu]nable to\b|\b[Uu]ncaught\b|\b[Ee]xception\b|\bhas died\b|core dumped"
    r"|Segmentation fault|\bAborted\b|\bexit(?:ed with)?(?: code| status) -?[1-9]|UNAVAILABLE|\b[Ee]rror:|^[Ee]rror\b"
    r"|\bundefined symbol\b|not found$"
)
"""Words that make an error of a line without a level."""


def level_of(text: str, *, behind_error: bool) -> str:
    """`E` for a line without a level that is an error by its words; behind an error only what opens a new one."""
    head = text[:_LOOKED_AT]
    return "E" if _NEW.match(head) or (not behind_error and _BROKEN.search(head)) else ""


def state_in(text: str) -> State | None:
    """How the program says that it ended, where this line is the one that says so."""
    head = text[:_LOOKED_AT]
    lines = outcome_lines()
    if any(each in head for each in lines.failed):
        return "failed"
    return "passed" if any(each in head for each in lines.passed) else None


def outcome_of(run: LogRun, succeeded: int = 0) -> Outcome:
    """The outcome of a run; `succeeded` is the last line (from 1) that tells of success, 0 without one."""
    errors = _errors(run)
    state = _state(run, errors, succeeded)
    if state == "failed":
        return why(run)
    return Outcome(state, errors=errors, remarks=tuple(_remarks(run)))


def _errors(run: LogRun) -> tuple[LogProblem, ...]:
    """The error lines in their order; of very many the first and the last, which tell the cause and the end."""
    found = [each for each in run.problems if each.level in _LEVELS]
    return tuple(found if len(found) <= 2 * _MANY else found[:_MANY] + found[-_MANY:])


def _state(run: LogRun, errors: tuple[LogProblem, ...], succeeded: int) -> State:
    if run.result:
        return "passed" if run.result == "PASSED" else "failed" if run.result == "FAILED" else "unknown"
    harmful = [each for each in errors if not _is_harmless(each.text)]
    measured = run.performance is not None and run.performance.throughput_qps is not None
    # trtexec says itself how it ended: a log of it that is cut tells nothing by the steps that went well.
    succeeded = 0 if run.command else succeeded
    if harmful and not measured and harmful[-1].line > succeeded:
        return "failed"
    return "passed" if succeeded or measured else "unknown"


def _is_harmless(text: str) -> bool:
    return any(each.blame == "none" and each.shows_in(text) for each in failures())


def why(run: LogRun) -> Outcome:
    """The cause of a run that is known to have failed."""
    errors = _errors(run)
    telling = [each for each in errors if not _is_harmless(each.text)]
    # A good hybrid build warns of much that it then works around: warnings speak only where no error does.
    first = next((each.text for each in telling if not is_generic_tail(each.text)), "")
    shown = _cause(each.text for each in telling)
    if shown is None and not first:
        shown = _cause(each.text for each in run.problems if each.level == "W" and not _is_harmless(each.text))
    if shown is None:
        return _without_cause(run, first or (telling[-1].text if telling else ""), errors)
    cause, text = shown
    node = import_node_of(text) or next(filter(None, (import_node_of(each.text) for each in telling)), None)
    at = f": it stopped at node {node.index} ({node.operator})" if node and cause.blame == "model" else ""
    return Outcome("failed", cause.id, f"{cause.what}{at}", cause.then, cause.option, cause.rules, short(text), errors)


def _without_cause(run: LogRun, evidence: str, errors: tuple[LogProblem, ...]) -> Outcome:
    if not evidence:
        then = "Warnings and errors go to stderr: run it again with 2>&1 so that the log holds them."
        return Outcome("failed", "silent", "the log holds no error line", then)
    what = "for a reason that the table of failures does not hold"
    then = "Look at the first error line: those after it mostly follow from it."
    if not dict(run.levels).get("V"):
        then += " Run it again with --verbose (and 2>&1), which names the layer and the step before it."
    then += " `dlaflow check MODEL` tells what of the model does not suit the DLA."
    return Outcome("failed", "unknown", what, then, evidence=short(evidence), errors=errors)


def _cause(texts: Iterable[str]) -> tuple[Failure, str] | None:
    """The most telling cause in the texts and the first that shows it; what says only where it broke comes last."""
    found: dict[str, str] = {}
    causes = [each for each in failures() if each.blame != "none"]
    for text in dict.fromkeys(texts):
        for cause in causes:
            if cause.id not in found and cause.shows_in(text):
                found[cause.id] = text
    known = sorted((each for each in causes if each.id in found), key=lambda each: each.general)
    return (known[0], found[known[0].id]) if known else None


def _remarks(run: LogRun) -> Iterable[Remark]:
    """What a run that did not fail should still tell, one remark a cause."""
    if _got_nothing(run):
        yield _remark(_entry("nothing_on_dla"), "", 1)
    alike: dict[str, list[LogProblem]] = {}
    known: dict[str, Failure] = {}
    by_id = {each.id: each for each in failures()}
    for each in run.problems:
        is_error = each.level in _LEVELS
        entry = by_id.get(each.reason)
        if entry is None and each.level == "W" and "--" in each.text and " ignored" in each.text:
            entry = _entry("option_ignored")
        if entry is not None and (is_error or entry.outlived):
            known[entry.id] = entry
            alike.setdefault(entry.id, []).append(each)
        elif is_error and not is_generic_tail(each.text):
            alike.setdefault(each.text, []).append(each)
    for key, problems in alike.items():
        text = short(problems[0].text)
        if key in known:
            yield _remark(known[key], text, len(problems))
        else:
            yield Remark("", text, len(problems), "an error that the run outlived", "")


def _remark(entry: Failure, text: str, count: int) -> Remark:
    return Remark(entry.id, text, count, entry.outlived or entry.what, "" if entry.outlived else entry.then)


def _entry(id: str) -> Failure:
    return next(each for each in failures() if each.id == id)


def _got_nothing(run: LogRun) -> bool:
    """Whether the DLA was asked for and the printed lists give it no layer."""
    asked = "useDLACore" in flags_of(run.command) or any(
        each.key == "DLACore" and _ASKED.match(each.value) for each in run.options
    )
    return asked and run.placement.printed and not run.placement.dla and bool(run.placement.gpu)


def short(text: str) -> str:
    """A message on one line of bearable length."""
    line = " ".join(text[: 4 * _KEPT].split())
    return line if len(line) <= _KEPT else f"{line[: _KEPT - 3]}..."
