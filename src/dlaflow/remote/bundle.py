"""The agent as the one file that travels: a zip of its modules that Python runs, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import textwrap
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources

from dlaflow.targets.features import features, trtexec_options
from dlaflow.targets.version import Version

_MAIN = "import sys\nfrom dlaflow_agent.main import main\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The agent's file: its name on the board holds its hash, so that versions do not disturb each other."""

    name: str
    sha256: str
    content: bytes


def agent_facts() -> str:
    """The text of the agent's module `generated`: what it must know of TensorRT without our tables."""
    since = {each.id: each.since for each in features()}
    until = {each.id: each.until for each in features()}
    lines = [
        '"""What the agent knows of TensorRT: written by scripts/generate_docs from targets/features.toml."""',
        "",
        f"TYPED_ONLY_SINCE = {_numbers(since['typed_only'])}",
        f"EXPLICIT_BATCH_UNTIL = {_numbers(until['explicit_batch_flag'])}",
    ]
    for kind in ("file", "files", "tensors", "text"):
        names = sorted(name for name, option in trtexec_options().items() if option.takes == kind)
        wrapped = textwrap.fill(" ".join(names), 110, initial_indent="    ", subsequent_indent="    ")
        lines.append(f'TAKES_{kind.upper()} = """\n{wrapped}\n"""')
    return "\n".join(lines) + "\n"


def _numbers(release: str | None) -> tuple[int, ...]:
    assert release is not None
    return Version.parse(release).parts


@cache
def agent_bundle() -> Bundle:
    """Pack `dlaflow.remote.agent`, and what runs a loadable."""
    folder = resources.files("dlaflow.remote") / "agent"
    modules = sorted((item for item in folder.iterdir() if item.name.endswith(".py")), key=lambda item: item.name)
    modules.append(resources.files("dlaflow.runtime") / "cudla.py")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in [("__main__.py", _MAIN), *((f"dlaflow_agent/{m.name}", m.read_text()) for m in modules)]:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    sha = hashlib.sha256(content).hexdigest()
    return Bundle(f"agent-{sha[:12]}.pyz", sha, content)
