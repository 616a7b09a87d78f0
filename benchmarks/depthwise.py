"""Depthwise networks of 32x32 images, trained here in torch: what INT8 with one scale a tensor really hurts.

    python -P benchmarks/depthwise.py v3 v1_slim --cifar ../shared/cifar10 --epochs 60 --out FOLDER

Of MobileNetV1's kind (`v1`), V2's (`v2`), V3's (`v3`: hard swish, squeeze and excite), EfficientNet's (`eff`: swish)
and MobileOne's (`one`: branches that are one convolution after training). Words behind the name say what else they are:

- `free`: no weight decay; `slim`: the L1 norm of BatchNorm's gammas is part of the loss (network slimming, Z. Liu et
  al., ICCV 2017); `spread`: no weight decay, and BatchNorm's gammas start apart by a log-normal factor; `linear`:
  nothing between depthwise and pointwise.

All named networks are trained at once, on the same batches; on a GPU in bfloat16, as one CUDA graph.
-P: torch looks for Python's own `profile`, and there is one in this folder.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

PLAIN = ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1))
INVERTED = ((24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1))
"""Channels before and behind each block, and its stride; the stem halves the image before."""
_EXPANSION = 4
_BATCH = 512
_RATE = 0.2


@dataclass(frozen=True)
class Kind:
    """What a network is made of and how it is trained."""

    block: str
    act: type[nn.Module] = nn.ReLU
    gate: type[nn.Module] | None = None
    decay: float = 5e-4
    slim: float = 0.0
    spread: float = 0.0


KINDS: Mapping[str, Kind] = {
    "v1": Kind("separable"),
    "v1_free": Kind("separable", decay=0.0),
    "v1_slim": Kind("separable", slim=5e-4),
    "v1_spread": Kind("separable", decay=0.0, spread=1.5),
    "v1_linear": Kind("linear"),
    "v1_linear_spread": Kind("linear", decay=0.0, spread=1.5),
    "v2": Kind("inverted", nn.ReLU6),
    "v2_slim": Kind("inverted", nn.ReLU6, slim=5e-4),
    "v2_spread": Kind("inverted", nn.ReLU, decay=0.0, spread=1.5),
    "v2_relu6_spread": Kind("inverted", nn.ReLU6, decay=0.0, spread=1.5),
    "v3": Kind("inverted", nn.Hardswish, nn.Hardsigmoid),
    "v3_free": Kind("inverted", nn.Hardswish, nn.Hardsigmoid, decay=0.0),
    "v3_spread": Kind("inverted", nn.Hardswish, nn.Hardsigmoid, decay=0.0, spread=1.5),
    "eff": Kind("inverted", nn.SiLU, nn.Sigmoid),
    "eff_spread": Kind("inverted", nn.SiLU, nn.Sigmoid, decay=0.0, spread=1.5),
    "swish_free": Kind("inverted", nn.SiLU, decay=0.0),
    "one": Kind("branches"),
    "one_free": Kind("branches", decay=0.0),
}


def _unit(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class Gate(nn.Module):
    """Squeeze and excite: each channel times a number in 0..1 that the means of all channels decide."""

    def __init__(self, channels: int, gate: type[nn.Module]) -> None:
        super().__init__()
        inner = channels // 4
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1), gate()
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[n, channels, h, w] to the same."""
        out: torch.Tensor = values * self.body(values)
        return out


class Inverted(nn.Module):
    """Expand, depthwise, project; added to its input where the sizes agree."""

    def __init__(self, before: int, after: int, stride: int, kind: Kind) -> None:
        super().__init__()
        inner = before * _EXPANSION
        gate = [Gate(inner, kind.gate)] if kind.gate else []
        self.body = nn.Sequential(
            *_unit(before, inner, 1),
            kind.act(),
            *_unit(inner, inner, 3, stride, inner),
            kind.act(),
            *gate,
            *_unit(inner, after, 1),
        )
        self.residual = stride == 1 and before == after

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[n, before, h, w] to [n, after, h / stride, w / stride]."""
        out: torch.Tensor = self.body(values)
        return values + out if self.residual else out


class Branches(nn.Module):
    """The sum of convolutions of one input, each with its BatchNorm, and of the input; `fused` makes one of them."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        sizes = (kernel, kernel, 1) if kernel > 1 else (1, 1)
        self.branches = nn.ModuleList(nn.Sequential(*_unit(before, after, size, stride, groups)) for size in sizes)
        self.skip = nn.BatchNorm2d(before) if stride == 1 and before == after else None
        self.shape = (before, after, kernel, stride, groups)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[n, before, h, w] to [n, after, h / stride, w / stride]."""
        out: torch.Tensor = sum(branch(values) for branch in self.branches)
        return out if self.skip is None else out + self.skip(values)

    def fused(self) -> nn.Conv2d:
        """One convolution that computes the same with the BatchNorms' running statistics."""
        before, after, kernel, stride, groups = self.shape
        conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups)
        weight, bias = torch.zeros_like(conv.weight), torch.zeros_like(conv.bias)
        one = torch.zeros_like(weight)
        inner = before // groups
        one[torch.arange(after), torch.arange(after) % inner, kernel // 2, kernel // 2] = 1
        parts: list[tuple[torch.Tensor, Any]] = [
            (own.get_parameter("weight"), norm) for own, norm in (branch.children() for branch in self.branches)
        ]
        parts += [] if self.skip is None else [(one, self.skip)]
        for own, norm in parts:
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            edge = (kernel - int(own.shape[-1])) // 2
            weight = weight + functional.pad(own, [edge] * 4) * factor.reshape(-1, 1, 1, 1)
            bias = bias + norm.bias - norm.running_mean * factor
        conv.weight.data, conv.bias.data = weight.detach(), bias.detach()
        return conv


def network(name: str) -> nn.Module:
    """Images float32 [n, 3, 32, 32], normalised → logits float32 [n, 10]."""
    kind = KINDS[name]
    widths = INVERTED if kind.block == "inverted" else PLAIN
    last = widths[-1][1]
    layers: list[nn.Module] = [*_unit(3, widths[0][0], 3, 2), kind.act()]
    for before, after, stride in widths:
        if kind.block == "inverted":
            layers.append(Inverted(before, after, stride, kind))
        elif kind.block == "branches":
            layers += [Branches(before, before, 3, stride, before), kind.act()]
            layers += [Branches(before, after, 1, 1, 1), kind.act()]
        else:
            between = [] if kind.block == "linear" else [kind.act()]
            layers += [*_unit(before, before, 3, stride, before), *between, *_unit(before, after, 1), kind.act()]
    if kind.block == "inverted":
        layers += [*_unit(last, 4 * last, 1), kind.act()]
        last *= 4
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 10))
    for norm in _norms(made) if kind.spread else ():
        nn.init.trunc_normal_(norm.weight, 0.0, kind.spread, -2 * kind.spread, 2 * kind.spread)
        norm.weight.data.exp_()
    return made


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def fused(model: nn.Module) -> nn.Module:
    """A copy for inference: branches as one convolution, BatchNorm by its running statistics."""
    made = copy.deepcopy(model).cpu().eval()
    for name, module in list(made.named_modules()):
        if isinstance(module, Branches):
            setattr(made, name, module.fused())
    return made


def _augmented(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to 4 pixels, mirrored at the edges, and turned left to right or not."""
    count, device = len(images), images.device
    padded = functional.pad(images, (4, 4, 4, 4), mode="reflect")
    rows = torch.randint(0, 9, (count, 1), device=device) + torch.arange(32, device=device)
    columns = torch.randint(0, 9, (count, 1), device=device) + torch.arange(32, device=device)
    columns = torch.where(torch.rand((count, 1), device=device) < 0.5, columns, columns.flip(1))
    which = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


class Together:
    """Several networks that see the same batches. On a GPU all their passes are one CUDA graph, each on its stream."""

    def __init__(self, names: Sequence[str], device: str) -> None:
        self.kinds = [KINDS[name] for name in names]
        self.models = [network(name).to(device).train() for name in names]
        self.gpu = device == "cuda"
        self.images = torch.zeros(_BATCH, 3, 32, 32, device=device)
        self.labels = torch.zeros(_BATCH, dtype=torch.int64, device=device)
        self.losses = [torch.zeros((), device=device)] * len(names)
        self.graph: torch.cuda.CUDAGraph | None = None

    def _passes(self) -> None:
        """Forward and backward of every network."""
        main = torch.cuda.current_stream() if self.gpu else None
        streams = [torch.cuda.Stream() for _ in self.models] if self.gpu else [None] * len(self.models)
        for position, (model, kind, stream) in enumerate(zip(self.models, self.kinds, streams, strict=True)):
            if stream is not None:
                stream.wait_stream(main)
            with torch.cuda.stream(stream):
                with torch.autocast("cuda" if self.gpu else "cpu", torch.bfloat16, self.gpu, cache_enabled=False):
                    scores = model(self.images)
                loss = functional.cross_entropy(scores.float(), self.labels)
                gammas = torch.cat([norm.weight for norm in _norms(model)])
                (loss + kind.slim * gammas.abs().sum()).backward()
                self.losses[position] = loss.detach()
            if stream is not None:
                main.wait_stream(stream)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Gradients of one batch."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        if not self.gpu:
            self._passes()
            return
        if self.graph is None:
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(3):
                    self._passes()
                    _forget(self.models)
            torch.cuda.current_stream().wait_stream(beside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self._passes()
        self.graph.replay()


def _forget(models: Sequence[nn.Module]) -> None:
    for model in models:
        model.zero_grad(set_to_none=True)


def train(
    names: Sequence[str], images: torch.Tensor, labels: torch.Tensor, epochs: int, seconds: float = float("inf")
) -> dict[str, nn.Module]:
    """Train on images float32 [n, 3, 32, 32] where they lie; fewer epochs where those would take more `seconds`."""
    torch.manual_seed(0)
    device = images.device.type
    began = time.perf_counter()
    all_of_them = Together(names, device)
    groups = [
        {"params": list(model.parameters()), "weight_decay": kind.decay}
        for model, kind in zip(all_of_them.models, all_of_them.kinds, strict=True)
    ]
    optimiser = torch.optim.SGD(groups, lr=_RATE, momentum=0.9, nesterov=True)
    epoch = 0
    while epoch < epochs:
        batches = torch.randperm(len(labels), device=images.device)[: len(labels) // _BATCH * _BATCH].split(_BATCH)
        for place, which in enumerate(batches):
            done = (epoch + place / len(batches)) / epochs
            rate = _RATE * min(done / 0.1, (1 - done) / 0.9)
            for group in optimiser.param_groups:
                group["lr"] = rate
            all_of_them.step(_augmented(images[which]), labels[which])
            for model in all_of_them.models:
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            if not all_of_them.gpu:  # a replayed graph overwrites its gradients
                _forget(all_of_them.models)
        epoch += 1
        spent = time.perf_counter() - began
        if epoch == 2 and spent / epoch * epochs > seconds:
            epochs = max(epoch + 1, int(seconds * epoch / spent))
        found = " ".join(f"{name} {float(loss):.3f}" for name, loss in zip(names, all_of_them.losses, strict=True))
        print(f"epoch {epoch} of {epochs}, {spent:.0f} s: {found}", flush=True)
    return dict(zip(names, all_of_them.models, strict=True))


def export(model: nn.Module, out: Path) -> None:
    """Write the ONNX file, opset 17, with an open batch and BatchNorm folded."""
    names = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(fused(model), (torch.zeros(1, 3, 32, 32),), str(out), opset_version=17, dynamo=False, **names)


def main() -> None:
    """Train some of them and write their ONNX files."""
    from dlaflow.quantize.images import Preparation
    from dlaflow.zoo.data import load_dataset

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(KINDS))
    parser.add_argument("--cifar", type=Path, required=True, help="folder with CIFAR-10")
    parser.add_argument("--images", type=int, default=30_000, help="the first so many training images")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args()
    data = load_dataset("cifar10", options.cifar)
    prepared = Preparation(data.mean, data.std).normalised
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.from_numpy(np.asarray(prepared(data.train.images[: options.images]), np.float32)).to(device)
    labels = torch.from_numpy(data.train.labels[: options.images]).to(device)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, model in train(options.names, images, labels, options.epochs).items():
        export(model, options.out / f"{name}.onnx")


if __name__ == "__main__":
    main()
