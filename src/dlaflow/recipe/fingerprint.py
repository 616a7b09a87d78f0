"""What a step depends on, as one hash: its options, the content of its inputs, and the code that does it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from dlaflow.files import sha256_of

_SOURCES = {".py", ".toml", ".css", ".js", ".j2"}


def fingerprint(options: Mapping[str, str], inputs: Mapping[str, Path], distributions: tuple[str, ...]) -> str:
    """The hex digest of a step.

    `options` are texts by name, `inputs` files by name, `distributions` the installed packages (such as `torch`) that
    do the work. All of dlaflow's own code counts for every step: which parts of it a step needs is what its imports
    say, and a list kept by hand beside them once left old accuracies standing after an upgrade.
    """
    facts = {
        "options": dict(options),
        "inputs": {name: sha256_of(path) for name, path in inputs.items()},
        "dlaflow": code_hash(Path(__file__).resolve().parents[1]),
        "distributions": {name: distribution_version(name) for name in distributions},
    }
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


@lru_cache(maxsize=4)
def code_hash(folder: Path) -> str:
    """The content hash of all sources and data files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SOURCES:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def distribution_version(name: str) -> str:
    """The version of an installed distribution (empty: not installed)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
