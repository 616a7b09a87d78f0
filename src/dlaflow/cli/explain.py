"""`dlaflow explain`: a rule's id → its page."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE
from dlaflow.files import write_atomic
from dlaflow.rules.page import page, summary
from dlaflow.rules.registry import RULES, find_rule
from dlaflow.version import __version__

SCHEMA = "dlaflow.rules/1"


def explain(rule: str | None = None, /, *, json: Path | None = None, quiet: Quiet = False) -> int:
    """Print the page of a rule: what it asks, why, what to use instead, for which releases, and how it is known.

    Without a rule, list them all.

    For example:

        dlaflow explain DLA110

        dlaflow explain

    Parameters
    ----------
    rule
        A rule's id as `dlaflow check` prints it, such as DLA110, or its name, such as ConvKernelSize.
    json
        Also write the rule, or all of them, to this file (schema dlaflow.rules/1).
    """
    chosen = RULES if rule is None else (find_rule(rule),)
    if json is not None:
        rules = [{"id": each.id, "summary": summary(each), "page": page(each)} for each in chosen]
        body = {"schema": SCHEMA, "dlaflow": __version__, "rules": rules}
        write_atomic(json, msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n")
    if quiet:
        return EXIT_DONE
    lines = [f"{each.id}  {summary(each)}" for each in chosen] if rule is None else [page(chosen[0])]
    sys.stdout.write("\n".join(lines) + "\n")
    return EXIT_DONE
