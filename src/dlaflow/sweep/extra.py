"""The packages of the extra `sweep`, missed with the name of what to install."""

from __future__ import annotations

from importlib.util import find_spec

from dlaflow.errors import EnvironmentLacksError


def require(package: str) -> None:
    """Raise EnvironmentLacksError when ray or optuna is not installed."""
    if find_spec(package) is None:
        raise EnvironmentLacksError(
            f"this sweep needs the Python package {package}, which is not installed",
            then="Install it with: pip install 'dlaflow[sweep]'",
        )
