"""What a step depends on, as one hash: its options, the content of its inputs, and the code that does it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

import dlaflow
from dlaflow.files import sha256_of

_SOURCES = {".py", ".toml", ".css", ".js", ".html"}


def fingerprint(options: Mapping[str, str], inputs: Mapping[str, Path], packages: tuple[str, ...]) -> str:
    """The hex digest of a step.

    `options` are texts by name, `inputs` files by name, `packages` the parts of dlaflow (such as `zoo`) and the
    installed distributions (such as `torch`) that do the work.
    """
    facts = {
        "options": dict(options),
        "inputs": {name: sha256_of(path) for name, path in inputs.items()},
        "code": {name: code_version(name) for name in packages},
    }
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


@lru_cache(maxsize=64)
def code_version(name: str) -> str:
    """The content hash of a package of dlaflow, or the version of an installed distribution (empty: not installed)."""
    folder = Path(dlaflow.__file__).parent / name
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.suffix in _SOURCES:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
