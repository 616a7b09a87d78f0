"""Joins the validators' lines: a reason stands before the fallback of the same layer, each with half of the facts."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.parse.log import Problem, ValidatorMessage

_NAMELESS = frozenset({"reshape_next_to_slice_or_concat", "activation_type_unsupported", "batch_mismatch"})
_FALLBACKS = frozenset({"unsupported_layer", "not_supported_generic", "not_supported_no_fallback"})

OTHER_RESTRICTION = "other_restriction"
"""A refusal in words that no rule knows, told by the line of the same layer's fallback behind it."""


def linked_messages(messages: list[ValidatorMessage], problems: list[Problem]) -> tuple[ValidatorMessage, ...]:
    """Fill the layer of a nameless reason from the line after it, and types from the layer's other lines.

    A line in unknown words right before the fallback of the layer that it names becomes a reason too.
    """
    named = []
    for index, message in enumerate(messages):
        if not message.layer and message.reason in _NAMELESS and index + 1 < len(messages):
            follower = messages[index + 1]
            if follower.line - message.line <= 2:
                message = replace(message, layer=follower.layer)
        named.append(message)
    named = _with_unknown_reasons(named, problems)
    types = {message.layer: message.type for message in named if message.layer and message.type}
    return tuple(
        message if message.type or message.layer not in types else replace(message, type=types[message.layer])
        for message in named
    )


def _with_unknown_reasons(messages: list[ValidatorMessage], problems: list[Problem]) -> list[ValidatorMessage]:
    places = {problem.line: place for place, problem in enumerate(problems)}
    found: list[ValidatorMessage] = []
    for message in messages:
        place = places.get(message.line, 0) if message.reason in _FALLBACKS and message.layer else 0
        told = []
        while place > 0 and problems[place - 1].text.startswith(f"{message.layer}: "):
            place -= 1
            if not problems[place].reason:
                told.append(problems[place])
        found += [
            ValidatorMessage(message.layer, "", OTHER_RESTRICTION, x.text, x.level, x.line) for x in reversed(told)
        ]
        found.append(message)
    return found
