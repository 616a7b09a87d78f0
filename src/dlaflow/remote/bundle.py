"""The agent as the one file that travels: a zip of its modules that Python runs, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources

_MAIN = "import sys\nfrom dlaflow_agent.main import main\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The agent's file: its name on the board holds its hash, so that versions do not disturb each other."""

    name: str
    sha256: str
    content: bytes


@cache
def agent_bundle() -> Bundle:
    """Pack `dlaflow.remote.agent`."""
    folder = resources.files("dlaflow.remote") / "agent"
    modules = sorted((item for item in folder.iterdir() if item.name.endswith(".py")), key=lambda item: item.name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in [("__main__.py", _MAIN), *((f"dlaflow_agent/{m.name}", m.read_text()) for m in modules)]:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    sha = hashlib.sha256(content).hexdigest()
    return Bundle(f"agent-{sha[:12]}.pyz", sha, content)
