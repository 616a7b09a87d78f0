"""The heavy packages of this extra, imported on first use and missed with the name of what to install."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from dlaflow.errors import EnvironmentLacksError


def require(package: str, *, extra: str, what_for: str) -> None:
    """Import `package`, so that modules that need it at their top can be imported after this call.

    Raises EnvironmentLacksError, naming the extra to install, when it is absent or broken.
    """
    install = f"Install it with: pip install 'dlaflow[{extra}]'"
    if find_spec(package) is None:
        raise EnvironmentLacksError(
            f"{what_for} needs the Python package {package}, which is not installed", then=install
        )
    try:
        import_module(package)
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EnvironmentLacksError(
            f"{what_for} needs the Python package {package}, which does not load ({reason})", then=install
        ) from None


def require_torch(what_for: str) -> None:
    """`require` for torch and safetensors, which always go together here."""
    require("torch", extra="train", what_for=what_for)
    require("safetensors", extra="train", what_for=what_for)
