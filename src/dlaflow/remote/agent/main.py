"""The agent's commands. Whatever else it is asked for is refused."""

from __future__ import annotations

import errno
import importlib
import json
import platform
import shutil
import socket
import sys

from . import bindings, facts, files, job
from .allowed import BINDINGS, LOADABLE, command_of
from .folder import Record, RefusedRequest, answer, free_bytes, prepare, root


def hello(request: Record) -> None:
    """The board's name, the agent's folder, and how much room there is."""
    job.release(job.recover())
    answer(
        {
            "host": socket.gethostname(),
            "root": root(),
            "python": platform.python_version(),
            "free": free_bytes(),
            "rsync": bool(shutil.which("rsync")),
        }
    )


COMMANDS = {
    "hello": hello,
    "facts": facts.facts,
    "have": files.have,
    "receive": files.receive,
    "adopt": files.adopt,
    "send": files.send,
    "start": job.start,
    "follow": job.follow,
    "stop": job.stop,
    "jobs": job.jobs,
    "clean": job.clean,
}


def main() -> int:
    """Answer one request; or be the program of a job that builds through TensorRT's Python API."""
    try:
        if sys.argv[1:2] == [BINDINGS]:
            command_of({"program": BINDINGS, "arguments": sys.argv[2:]})
            return bindings.main(sys.argv[2:])
        if sys.argv[1:2] == [LOADABLE]:
            command_of({"program": LOADABLE, "arguments": sys.argv[2:]})
            # dlaflow.runtime.cudla, which is packed beside this module.
            return int(importlib.import_module(f"{__package__}.cudla").main(sys.argv[2:]))
        command = COMMANDS.get(sys.argv[1] if len(sys.argv) == 2 else "")
        if command is None:
            raise RefusedRequest("refused", "not a command of this agent")
        prepare()
        request = json.loads(sys.stdin.buffer.readline() or b"{}")
        if not isinstance(request, dict):
            raise RefusedRequest("refused", "not a request")
        command(request)
    except BrokenPipeError:
        return 1
    except RefusedRequest as error:
        answer({"error": error.code, "text": str(error)})
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "system"
        answer({"error": code, "text": f"{error.strerror or error} {error.filename or ''}".strip()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        answer({"error": "refused", "text": f"the request cannot be read: {type(error).__name__} {error}"})
    return 0
