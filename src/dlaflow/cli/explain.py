"""`dlaflow explain`: the id of a rule, of a failure or of a log's message, or the message itself → its page."""

from __future__ import annotations

import sys

import msgspec

from dlaflow.api.claims import Written
from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE, UsageError, unknown_name
from dlaflow.files import record_json, write_atomic
from dlaflow.parse.failures import Failure, Reason, failures, head_of, is_generic_tail, meaning_of, reasons
from dlaflow.parse.line import Unwrapper, split_line
from dlaflow.parse.outcome import short
from dlaflow.rules.base import Rule
from dlaflow.rules.page import page, summary
from dlaflow.rules.registry import RULES

SCHEMA = "dlaflow.rules/1"


def explain(rule: str | None = None, /, *, json: Written | None = None, quiet: Quiet = False) -> int:
    """Print the page of a rule: what it asks, why, what to use instead, for which releases, and how it is known.

    The same for a failure of a build or a run, and for the code of a message in a log: what it means, what to do, and
    which rule foresees it. A line copied from a log (in quotes) tells the same. Without an id, list them all.

    For example:

        dlaflow explain DLA110

        dlaflow explain 110

        dlaflow explain no_dla_available

        dlaflow explain "[E] Cannot create DLA engine, 0 not available"

        dlaflow explain

    Parameters
    ----------
    rule
        A rule's id as `dlaflow check` prints it, such as DLA110, or its name, such as ConvKernelSize; or the id of a
        failure or message as `dlaflow parse` and `dlaflow profile` print it, such as unsupported_layer; or the line
        of a log, in quotes.
    json
        Also write the rule, or all of them, to this file (schema dlaflow.rules/1).
    """
    rules = [each for each in RULES if rule is None or _is(rule, each.id, each.__name__)]
    known = [each for each in failures() if rule is None or _is(rule, each.id, *each.aliases)]
    codes = [each for each in reasons() if rule is None or _is(rule, each.id)]
    if rule is not None and len(rule.split()) > 1:
        known, codes = _of_message(rule)
    elif rule is not None and not (rules or known or codes):
        others = [*(each.id for each in failures()), *(each.id for each in reasons())]
        aliases = [*(each.__name__ for each in RULES), *others, *(name for each in failures() for name in each.aliases)]
        raise unknown_name("rule", rule, [each.id for each in RULES], aliases)
    if json is not None:
        body = {
            "rules": [{"id": each.id, "summary": summary(each), "page": page(each)} for each in rules],
            "failures": [{**msgspec.to_builtins(each), "page": each.page} for each in known],
            "messages": [{**msgspec.to_builtins(each), "page": each.page} for each in codes],
        }
        write_atomic(json, record_json(SCHEMA, body))
    if not quiet:
        sys.stdout.write(_listing(rules, known, codes) if rule is None else _pages(rules, known, codes))
    return EXIT_DONE


def _is(wanted: str, *names: str) -> bool:
    """By name; the number of a rule is enough."""
    asked = wanted.strip().lower()
    return asked in {name.lower() for name in names} or f"dla{asked}" == names[0].lower()


def _of_message(pasted: str) -> tuple[list[Failure], list[Reason]]:
    """What the lines of a log mean. Raises UsageError where the tables hold none of them."""
    unwrap = Unwrapper()
    known: dict[str, Failure] = {}
    codes: dict[str, Reason] = {}
    texts = [split_line(unwrap.line(line))[2] for line in pasted.splitlines() if line.strip()]
    for text in texts:
        causes, said = meaning_of(text)
        known |= {each.id: each for each in causes}
        codes |= {each.id: each for each in said}
    if not (known or codes):
        then = "`dlaflow profile LOG` reads the whole log: the first error of it mostly tells more."
        if any(map(is_generic_tail, texts)):
            raise UsageError("the message says only that something before it failed", then=then)
        head = next(filter(None, map(head_of, texts)), None)
        place = f" (raised in {head.function} of {head.file})" if head and head.file else ""
        raise UsageError(f"no known cause for {short(texts[0])!r}{place}", then=then)
    return list(known.values()), list(codes.values())


def _pages(rules: list[type[Rule]], known: list[Failure], codes: list[Reason]) -> str:
    texts = [*map(page, rules), *(each.page for each in known), *(each.page for each in codes)]
    return "\n\n".join(texts) + "\n"


def _listing(rules: list[type[Rule]], known: list[Failure], codes: list[Reason]) -> str:
    lines = [f"{each.id}  {summary(each)}" for each in rules]
    lines += ["", "Failures of a build or a run:", *(f"{each.id}  {each.what}" for each in known)]
    lines += ["", "Messages about layers in a log:", *(f"{each.id}  {each.meaning}" for each in codes)]
    return "\n".join(lines) + "\n"
