"""Public architectures with random weights: those of timm, torchvision and transformers. Nothing is downloaded.

A network that was never trained differs from a trained one where its values are special: tensors all alike are written
once, behind Identity nodes, and a scale that starts at 0 switches a branch off. So each gets values of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, require
from dlaflow.zoo.export import onnx_of

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGES = ("timm", "torchvision", "transformers")
_USUAL = (3, 224, 224)
_TASK = re.compile(
    r"(\w+?)For(ImageClassification|SemanticSegmentation|ObjectDetection|DepthEstimation|PoseEstimation)"
)
_TASKS = {
    "ImageClassification": "classification",
    "SemanticSegmentation": "segmentation",
    "ObjectDetection": "detection",
    "DepthEstimation": "depth",
    "PoseEstimation": "pose",
}
_OF_MODULES = {"segmentation": "segmentation", "detection": "detection", "optical_flow": "", "video": ""}
"""torchvision's packages → task; those of several images, and those whose weights are integers, are left out."""
_SEED = 0
_SPREAD = 0.1
"""Of biases and means that a fresh network has at 0."""


@dataclass(frozen=True, slots=True)
class Public:
    """An architecture of a package: its name there, the file of its family, what it does, and the package's version."""

    package: str
    name: str
    family: str
    task: str
    version: str


def load(package: str) -> None:
    """Import a package and what it needs. Raises EnvironmentLacksError where that is not possible."""
    purpose = f"a survey of {package}'s models"
    require("torch", extra="gallery", what_for=purpose)
    _import_torchvision()
    require(package, extra="gallery", what_for=purpose)


def listed(package: str, pattern: str) -> list[Public]:
    """The architectures of a package whose names fit the pattern (`*` and `?`), sorted.

    Raises EnvironmentLacksError without the package, InputError where none fits.
    """
    load(package)
    found = [each for each in _LISTS[package]() if fnmatchcase(each[0], pattern)]
    if not found:
        raise InputError(f"{package} has no such model", expected="a name or a pattern with *", received=repr(pattern))
    return [Public(package, *each, version(package)) for each in sorted(found)]


def exported(model: Public, opset: int, batch: int, shape: tuple[int, int, int] | None) -> bytes:
    """The architecture as an ONNX file with seeded random weights; `shape` None takes the one that it is meant for.

    Raises InputError where it cannot be made or exported.
    """
    import torch

    load(model.package)
    torch.manual_seed(_SEED)
    try:
        network, own = _MAKERS[model.package](model.name)
    except Exception as error:  # each package raises its own kinds
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"{model.package} cannot make {model.name}: {reason}") from error
    _randomise(network)
    return onnx_of(_plain(network).eval(), model.name, opset=opset, batch=batch, input_shape=shape or own, several=True)


def _import_torchvision() -> None:
    """Import torchvision where it is installed, also beside a torch that its own library was not built for.

    Its import fails there, and that of timm with it, for lack of two operators. Networks need them only where they
    choose boxes, and those say so when they run.
    """
    import torch

    try:
        import torchvision
    except ImportError:
        return  # `require` tells who asks for it
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def _of_timm() -> Iterator[tuple[str, str, str]]:
    import timm

    for name in timm.list_models():
        yield name, timm.model_entrypoint(name).__module__.rpartition(".")[2], "classification"


def _of_torchvision() -> Iterator[tuple[str, str, str]]:
    from torchvision import models

    for name in models.list_models():
        *_, package, family = models.get_model_builder(name).__module__.split(".")
        task = "" if name.startswith("quantized") else _OF_MODULES.get(package, "classification")
        if task:
            yield name, family, task


def _of_transformers() -> Iterator[tuple[str, str, str]]:
    import transformers

    for name in dir(transformers):
        if (match := _TASK.fullmatch(name)) and not name.startswith("Auto"):
            yield name, match[1].lower(), _TASKS[match[2]]


def _make_timm(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    import timm

    network = timm.create_model(name, pretrained=False, exportable=True)
    return network, network.default_cfg.get("input_size", _USUAL)


def _make_torchvision(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    from torchvision import models

    # Detectors and segmentations would load the weights of their backbones.
    whole = models.get_model_builder(name).__module__.count(".") > 2
    network = models.get_model(name, weights=None, **({"weights_backbone": None} if whole else {}))
    return network, (3, 299, 299) if name == "inception_v3" else _USUAL


def _make_transformers(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    import transformers

    kind = getattr(transformers, name)
    config = kind.config_class()
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False
    known = (getattr(each, "image_size", None) for each in (config, getattr(config, "backbone_config", None)))
    size = next(filter(None, known), _USUAL[1])
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return kind(config), (getattr(config, "num_channels", None) or 3, *sides)


_LISTS: Mapping[str, Callable[[], Iterator[tuple[str, str, str]]]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
    "transformers": _of_transformers,
}
_MAKERS = {"timm": _make_timm, "torchvision": _make_torchvision, "transformers": _make_transformers}


def _randomise(network: nn.Module) -> None:
    """Whatever holds one value all over (a scale of 1, a bias of 0, statistics) gets values as training leaves them."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    kept = [each for module in network.modules() if isinstance(module, _BatchNorm) for each in module.buffers()]
    with torch.no_grad():
        for tensor in (*network.parameters(), *kept):
            if tensor.is_floating_point() and tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
                value = float(tensor.flatten()[0])
                if value:
                    tensor.uniform_(*sorted((0.5 * value, 1.5 * value)))
                else:
                    tensor.normal_(0.0, _SPREAD)


def _plain(network: nn.Module) -> nn.Module:
    """The network, answering with tensors alone: one, or several where it names several (scores and boxes)."""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
            answer = self.network(images)
            if isinstance(answer, torch.Tensor):
                return answer
            parts = answer.values() if isinstance(answer, Mapping) else answer
            found = tuple(part for part in parts if isinstance(part, torch.Tensor))
            return found[0] if len(found) == 1 else found

    return Plain()
