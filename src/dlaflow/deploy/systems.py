"""The systems that files can be made for: the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from dlaflow.deploy.deepstream import deepstream
from dlaflow.deploy.isaac_ros import isaac_ros
from dlaflow.deploy.onnxruntime import onnxruntime
from dlaflow.deploy.plan import Deployment, Generated
from dlaflow.deploy.programs import cpp, python, systemd
from dlaflow.deploy.triton import triton

System = Literal["deepstream", "triton", "isaac-ros", "onnxruntime", "python", "cpp", "systemd"]
SYSTEMS: Mapping[str, Callable[[Deployment], Generated]] = {
    "deepstream": deepstream,
    "triton": triton,
    "isaac-ros": isaac_ros,
    "onnxruntime": onnxruntime,
    "python": python,
    "cpp": cpp,
    "systemd": systemd,
}
"""Name → what makes the files."""
