"""`dlaflow explain`: a rule's id → its page."""

from __future__ import annotations

import sys

from dlaflow.errors import EXIT_DONE
from dlaflow.rules.page import page
from dlaflow.rules.registry import RULES, find_rule


def explain(rule: str | None = None, /) -> int:
    """Print the page of a rule: what it asks, why, what to use instead, for which releases, and how it is known.

    Without a rule, list them all.

    Examples:

        dlaflow explain DLA110

        dlaflow explain

    Parameters
    ----------
    rule
        A rule's id as `dlaflow check` prints it, such as DLA110, or its name, such as ConvKernelSize.
    """
    if rule is None:
        from dlaflow.rules.page import summary

        sys.stdout.write("\n".join(f"{each.id}  {summary(each)}" for each in RULES) + "\n")
    else:
        sys.stdout.write(page(find_rule(rule)) + "\n")
    return EXIT_DONE
