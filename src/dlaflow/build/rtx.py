"""`--via rtx`: an ahead-of-time engine for RTX GPUs with TensorRT-RTX, on any x86 computer, GPU or not.

The same parser, settings and progress as the builder for Jetson, so a real build exercises that code. TensorRT-RTX
has no DLA, takes all types from the model, and refuses Hopper (compute capability 9.0) when the engine runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from dlaflow.build.api import load_plugins
from dlaflow.build.config import BuildConfig
from dlaflow.build.parsing import parse_onnx
from dlaflow.build.plan import Plan, Session
from dlaflow.build.python_build import build_serialized
from dlaflow.build.settings import add_profile, apply_common
from dlaflow.build.surface import BuilderObject, ParserObject, RtxSettings
from dlaflow.errors import UsageError

_TYPED_SINCE = (11, 0, 0)
_GPU = re.compile(r"^sm\d{2,3}$")
_HOPPER = "sm90"


def build_for_rtx(session: Session, model: Path, config: BuildConfig, gpus: Sequence[str]) -> Plan:
    """Build `model` for the GPUs named (`sm86`, `sm89`, ...), which need not be here.

    Raises UsageError for a GPU that TensorRT-RTX does not serve, InputError when the model cannot be read or built.
    """
    trt = session.trt
    capabilities = [getattr(trt.ComputeCapability, name.upper()) for name in _checked(session, gpus)]
    load_plugins(trt, session.logger, config.plugins)
    builder: BuilderObject = trt.Builder(session.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser: ParserObject = trt.OnnxParser(network, session.logger)
    parse_onnx(parser, model, session.messages)
    settings = cast(RtxSettings, builder.create_builder_config())
    settings.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        settings.set_compute_capability(capability, index)
    apply_common(trt, settings, config, _TYPED_SINCE)
    add_profile(builder, settings, network, config.shapes)
    content, seconds, phases = build_serialized(session, builder, network, settings)
    return Plan(content, seconds, network.num_layers, phases=phases, messages=tuple(session.messages.lines))


def _checked(session: Session, gpus: Sequence[str]) -> Sequence[str]:
    known = sorted(name.lower() for name in dir(session.trt.ComputeCapability) if _GPU.match(name.lower()))
    if not gpus:
        raise UsageError("no GPU was named", expected=f"--gpu with some of {', '.join(known)}", received="none")
    for name in gpus:
        if name.lower() == _HOPPER:
            raise UsageError(
                "TensorRT-RTX does not run on Hopper (compute capability 9.0)",
                expected=f"some of {', '.join(known)}",
                received=name,
                then="Use full TensorRT there.",
            )
        if name.lower() not in known:
            raise UsageError("unknown GPU", expected=f"some of {', '.join(known)}", received=name)
    return gpus
