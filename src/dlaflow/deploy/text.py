"""Names from outside as literals of other languages: each comes back whole when that language reads it.

An engine's path and a tensor's name may hold quotes, newlines, `%`, `$` and backslashes. What is no printable ASCII
becomes an escape, so that no file depends on an encoding; only key files know none for it and hold it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

_KEY_FILE = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def python_text(text: str) -> str:
    """A literal of Python."""
    return ascii(text)


def octal_text(text: str) -> str:
    """A literal of C, C++ and protobuf's text format: UTF-8 bytes, three octal digits each, which end by themselves.

    A question mark is one too: two of them begin a trigraph of older C++.
    """
    return '"' + "".join(_octal(byte) for byte in text.encode()) + '"'


def _octal(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\?' else f"\\{byte:03o}"


def yaml_text(text: str) -> str:
    """A double-quoted scalar of YAML, which takes no pairs of surrogates as JSON does."""
    return '"' + "".join(map(_yaml, text)) + '"'


def _yaml(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    return f"\\U{ord(character):08x}"


def key_file_text(text: str) -> str:
    """A value of a key file of GLib, which DeepStream reads. A leading space would be passed over."""
    escaped = "".join(_KEY_FILE.get(each, each) for each in text)
    return f"\\s{escaped[1:]}" if escaped.startswith(" ") else escaped


def unit_text(text: str) -> str:
    """One argument of a systemd unit's command line: `%` and `$` doubled, so that neither is expanded."""
    return yaml_text(text).replace("%", "%%").replace("$", "$$")


def commented(mark: str, lines: Iterable[str]) -> list[str]:
    """Lines as comments. Each ends in a full stop or the like, never in a backslash, which would take in the next."""
    return [f"{mark} {line}".rstrip() for line in lines]
