"""What a profile answers first, in sentences: whether the run worked, why not, and why layers left the DLA."""

from __future__ import annotations

from dlaflow.parse.failures import reasons
from dlaflow.parse.log import Outcome, ValidatorMessage
from dlaflow.parse.messages import is_harmless
from dlaflow.parse.nodes import brace_groups, foreign_ends
from dlaflow.parse.outcome import short
from dlaflow.profile.iteration import REFORMAT
from dlaflow.profile.profile import Profiled
from dlaflow.rules.registry import RULES
from dlaflow.types import Device

_ERRORS = 12
"""So many error lines are shown: the first tells most, and the last are about what follows from it."""
_REASONS = 8


def failure(outcome: Outcome) -> list[str]:
    """The error lines in their order, what to do, and what knows more; nothing unless the run failed."""
    return [*error_lines(outcome), *next_steps(outcome)]


def error_lines(outcome: Outcome) -> list[str]:
    """The error lines of a run that failed, in their order."""
    if outcome.state != "failed":
        return []
    shown = outcome.errors[:_ERRORS]
    more = len(outcome.errors) - len(shown)
    lines = [f"line {each.line}: {short(each.text)}" for each in shown]
    return [*lines, f"and {more} more error lines (--json has them all)"] if more else lines


def next_steps(outcome: Outcome) -> list[str]:
    """What to do about a failure, and what knows more."""
    if outcome.state != "failed":
        return []
    lines = [f"What to do: {outcome.then}"]
    if outcome.option:
        lines.append(f"`dlaflow build` has {outcome.option} for it.")
    foreseen = f"; `dlaflow check` foresees it by {', '.join(outcome.rules)}" if outcome.rules else ""
    if outcome.id not in {"unknown", "silent"}:
        lines.append(f"More: `dlaflow explain {outcome.id}`{foreseen}")
    return lines


def ended(outcome: Outcome) -> str:
    """How a run ended, behind its name, as far as its log tells."""
    if outcome.state == "failed":
        return f": FAILED: {outcome.what}"
    if outcome.state == "passed":
        return ": PASSED"
    return f": the log does not tell how it ended{'' if outcome.errors else ', and no error is in it'}"


def remarks(outcome: Outcome) -> list[str]:
    """What went wrong, or was ignored, in a run that worked."""
    return [
        f"{each.what[0].upper()}{each.what[1:]}"
        + (f" ({each.count} times)" if each.count > 1 else "")
        + (f": {each.text.removesuffix('.')}" if each.text else "")
        + (f". {each.then}" if each.then else "")
        for each in outcome.remarks
    ]


def refusals(profile: Profiled) -> list[str]:
    """Why layers that work are not on the DLA: one line for each kind of reason, with the first of its texts.

    Behind it the rules that foresee this kind. The plain "unsupported" line is left out where the line before it gave
    the reason.
    """
    messages = [
        each
        for each in (profile.run.messages if profile.run else ())
        if profile.measured is None or not is_harmless(each.layer, each.type)
    ]
    explained = {each.layer for each in messages if each.reason != "unsupported_layer"}
    alike: dict[tuple[str, str, str], list[ValidatorMessage]] = {}
    for each in messages:
        if each.reason != "unsupported_layer" or each.layer not in explained:
            alike.setdefault((each.reason, each.type, each.operation), []).append(each)
    return [
        group[0].text
        + (f" (and {len(group) - 1} more of this kind)" if len(group) > 1 else "")
        + f" [{_foreseen(reason, kind)}]"
        for (reason, kind, _), group in alike.items()
    ]


def _foreseen(reason: str, kind: str) -> str:
    """The rules that predict a message; of a refusal without a reason, those of the layer's kind."""
    rules = next((each.rules for each in reasons() if each.id == reason), ())
    if rules:
        return ", ".join(rules)
    of_kind = [rule.id for rule in RULES if kind and kind in rule.kinds]
    return f"{kind}: one of {', '.join(of_kind)}" if of_kind else f"`dlaflow explain {reason}`"


def lenient_names(lenient: tuple[tuple[str, str], ...]) -> str:
    """The sentence on names that no layer of the model bears as they were printed."""
    printed, layer = lenient[0]
    names = "1 name was" if len(lenient) == 1 else f"{len(lenient)} names were"
    return f"{names} matched to a layer of nearly the same name, such as {printed} to {layer}."


def notes(profile: Profiled) -> list[str]:
    """What to know of the numbers and of the files."""
    return [note.text for note in profile.notes] + ([lenient_names(profile.lenient)] if profile.lenient else [])


def headline(profile: Profiled) -> str:
    """One line: whether it worked, where the layers ran, and how that compares with the prediction."""
    return f"{profile.name}: {verdict(profile)}"


def verdict(profile: Profiled) -> str:
    """The headline without the name."""
    measured, outcome = profile.measured, profile.outcome
    how = ended(outcome).removeprefix(": ")
    if outcome.state == "failed":
        return how
    said = "" if profile.run is None else f"{how}: "
    if measured is None:
        if profile.run is not None and outcome.state == "unknown" and profile.run.messages:
            return f"{how}; {_count(len(profile.run.messages), 'message')} about layers and the DLA"
        return f"{said}the files do not tell where the layers ran"
    working = [layer for layer in measured.layers if layer.works and layer.device is Device.GPU]
    on_gpu = sum(not layer.name.startswith("Ref") for layer in working)
    loadables = "DLA subgraphs not told" if measured.loadables is None else _count(measured.loadables, "DLA subgraph")
    text = f"{said}{loadables}, {_count(on_gpu, 'GPU layer')}"
    if profile.predicted is not None and measured.switches is not None:
        expected = profile.predicted.summary
        text += f", {_count(measured.switches, 'switch', 'switches')} over the model's graph"
        text += (
            f" (predicted: {_count(expected.loadables, 'subgraph')}, {_count(expected.switches, 'switch', 'switches')})"
        )
    elif measured.device_changes is not None:
        text += f", {_count(measured.device_changes, 'change')} of device along the list"
    text = f"{text}, from {measured.source}"
    return f"{text} ({measured.doubt})" if measured.doubt else text


def engine_name(name: str) -> str:
    """A layer of an engine in the words of a reader: a DLA node by its ends, a reformat by what it feeds."""
    if name.startswith(REFORMAT) and (served := name.partition(" to ")[2]):
        return f"reformat for {engine_name(served)}"
    if ends := foreign_ends(name):
        return ends[0] if ends[0] == ends[1] else f"{ends[0]} … {ends[1]}"
    if name.startswith("{") and (members := [each for group in brace_groups(name) for each in group.members or ()]):
        return members[0] if len(members) == 1 else f"{members[0]} … {members[-1]} ({len(members)} layers)"
    return name


def _count(amount: int, one: str, many: str = "") -> str:
    return f"{amount} {one if amount == 1 else many or f'{one}s'}"
