"""Joins the validators' lines: a reason stands before the fallback of the same layer, each with half of the facts."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.parse.log import ValidatorMessage

_NAMELESS = frozenset({"reshape_next_to_slice_or_concat", "activation_type_unsupported", "batch_mismatch"})


def linked_messages(messages: list[ValidatorMessage]) -> tuple[ValidatorMessage, ...]:
    """Fill the layer of a nameless reason from the line after it, and types from the layer's other lines."""
    named = []
    for index, message in enumerate(messages):
        if not message.layer and message.reason in _NAMELESS and index + 1 < len(messages):
            follower = messages[index + 1]
            if follower.line - message.line <= 2:
                message = replace(message, layer=follower.layer)
        named.append(message)
    types = {message.layer: message.type for message in named if message.layer and message.type}
    return tuple(
        message if message.type or message.layer not in types else replace(message, type=types[message.layer])
        for message in named
    )
