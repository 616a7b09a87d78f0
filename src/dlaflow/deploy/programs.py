"""Programs that load an engine, bind by name, set the core, run and time: Python, C++, and services of the former.

They stand in templates/ as they are written out, with `{{NAME}}` where something of the engine goes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from importlib.resources import files

from dlaflow.deploy.plan import Deployment, Generated, require_plain, require_sizes
from dlaflow.deploy.text import commented, octal_text, python_text, unit_text
from dlaflow.errors import UsageError
from dlaflow.targets.version import Version

_MARK = re.compile(r"\{\{([A-Z0-9_]+)\}\}")
_NAMED_FROM = "8.5"
"""C++: setTensorAddress and enqueueV3 (header of 8.5.1)."""


def python(deployment: Deployment) -> Generated:
    """`run_NAME.py`, which needs numpy, tensorrt and CUDA's runtime library, and runs under Python 3.8.

    Raises InputError for formats of the DLA and for inputs of unknown size.
    """
    core = deployment.only_core("python")
    return Generated(((_program(deployment), _python_text(deployment, core)),))


def cpp(deployment: Deployment) -> Generated:
    """`run_NAME.cpp` and `CMakeLists.txt`.

    Raises InputError as `python` does, UsageError for a release before TensorRT 8.5.
    """
    _refuse_misfits(deployment, "the C++ program")
    core, config = deployment.only_core("cpp"), deployment.manifest.config
    tensorrt = deployment.manifest.built_for.tensorrt
    if Version.parse(tensorrt) < Version.parse(_NAMED_FROM):
        raise UsageError(
            "the C++ program binds tensors by name",
            expected=f"TensorRT {_NAMED_FROM} or later",
            received=tensorrt,
            then="Use --for python.",
        )
    inputs = [f"    {{{octal_text(one.name)}, {{{', '.join(map(str, one.shape))}}}}}," for one in deployment.inputs]
    values = {
        "HEAD": "\n".join(commented("//", deployment.facts())),
        "ENGINE": octal_text(deployment.path),
        "TENSORRT": octal_text(_release(tensorrt)),
        "CORE": str(-1 if core is None else core),
        "INPUTS": "\n".join(inputs),
        "PLUGINS": ", ".join(map(octal_text, config.plugins)),
        "ANY_RELEASE": str(config.version_compatible).lower(),
        "ALLOW": "  runtime->setEngineHostCodeAllowed(true);\n" if config.version_compatible else "",
    }
    name = f"run_{deployment.name}"
    cmake = _filled("CMakeLists.txt.in", {"NAME": name})
    return Generated(((f"{name}.cpp", _filled("run_engine.cpp.in", values)), ("CMakeLists.txt", cmake)))


def systemd(deployment: Deployment) -> Generated:
    """`run_NAME.py` and `NAME-dla1.service` for each core: one process a core, which is how two cores overlap for sure.

    Raises InputError as `python` does.
    """
    program = _program(deployment)
    units = []
    for core in deployment.cores or (None,):
        place = "gpu" if core is None else f"dla{core}"
        command = ["/usr/bin/python3", posixpath.join(deployment.folder, program), "--forever"]
        command += [] if core is None else ["--core", str(core)]
        values = {
            "HEAD": "\n".join(commented("#", deployment.facts())),
            "DESCRIPTION": f"{deployment.name} on {'the GPU' if core is None else f'DLA core {core}'}",
            "COMMAND": " ".join([command[0], *map(unit_text, command[1:])]),
            "NEEDS_DLA": "" if core is None else "ExecStartPre=/bin/sh -c 'ls /dev/nvhost*nvdla* >/dev/null'\n",
        }
        units.append((f"{deployment.name}-{place}.service", _filled("engine.service.in", values)))
    note = f"Put {program} and the engine into {deployment.folder}, the units into /etc/systemd/system."
    core = deployment.cores[0] if deployment.cores else None
    return Generated(((program, _python_text(deployment, core)), *units), (note,))


def _program(deployment: Deployment) -> str:
    return f"run_{deployment.name}.py"


def _python_text(deployment: Deployment, core: int | None) -> str:
    _refuse_misfits(deployment, "the Python program")
    config = deployment.manifest.config
    values = {
        "HEAD": "\n".join(commented("#", deployment.facts())),
        "FILE": _program(deployment),
        "ENGINE": python_text(deployment.path),
        "SHA256": python_text(deployment.manifest.engine.sha256),
        "TENSORRT": python_text(_release(deployment.manifest.built_for.tensorrt)),
        "CORE": str(core),
        "SHAPES": ascii({one.name: one.shape for one in deployment.inputs}),
        "SCALES": ascii({one.name: one.scale for one in deployment.tensors if one.scale is not None}),
        "PLUGINS": ascii(config.plugins),
        "VERSION_COMPATIBLE": str(config.version_compatible),
    }
    return _filled("run_engine.py.in", values)


def _refuse_misfits(deployment: Deployment, system: str) -> None:
    require_plain(deployment, system)
    require_sizes(deployment, system)


def _release(tensorrt: str) -> str:
    return str(Version.parse(tensorrt).release)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """A template with all its places filled in one pass, so that no name from outside is taken for a place."""
    text = (files("dlaflow.deploy") / "templates" / template).read_text(encoding="utf-8")
    return _MARK.sub(lambda found: values[found[1]], text)
