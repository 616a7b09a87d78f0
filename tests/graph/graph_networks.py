"""Small networks of every kind that vision models are made of, for the differential test."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Case:
    """A network to export: a module, its inputs and how."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...] = ((1, 3, 32, 32),)
    opset: int = 17
    dynamo: bool = False


def export(case: Case) -> bytes:
    """The ONNX file of a case."""
    torch.manual_seed(0)
    module = case.build().eval()
    arguments = tuple(torch.rand(shape) for shape in case.shapes)
    buffer = io.BytesIO()
    with torch.no_grad():
        if case.dynamo:
            program = torch.onnx.export(module, arguments, dynamo=True, opset_version=case.opset, verbose=False)
            program.save(buffer)
        else:
            torch.onnx.export(module, arguments, buffer, opset_version=case.opset, dynamo=False)
    return buffer.getvalue()


class Conv(nn.Sequential):
    """Convolution, normalisation, SiLU, as in the YOLO family."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outside),
            nn.SiLU(),
        )


class Bottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Conv(width, width, 3), Conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class C2f(nn.Module):
    """Split in two, bottlenecks, everything concatenated."""

    def __init__(self, width: int, count: int = 2) -> None:
        super().__init__()
        self.half = width // 2
        self.enter, self.leave = Conv(width, width), Conv((2 + count) * self.half, width)
        self.blocks = nn.ModuleList(Bottleneck(self.half) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        parts.extend(block(parts[-1]) for block in self.blocks)
        return self.leave(torch.cat(parts, 1))


class C2fSplit(C2f):
    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split((self.half, self.half), 1))
        parts.extend(block(parts[-1]) for block in self.blocks)
        return self.leave(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Three chained pools."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = Conv(width, width // 2), Conv(width * 2, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Focus(nn.Module):
    """Strided slices into channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


class Detector(nn.Module):
    """Two scales with a C2f neck and a decoded head with DFL."""

    def __init__(self, classes: int = 4, bins: int = 8) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.stem, self.deep = nn.Sequential(Conv(3, 16, 3, 2), C2f(16)), nn.Sequential(Conv(16, 32, 3, 2), Sppf(32))
        self.neck = C2fSplit(48)
        self.box = nn.ModuleList([nn.Conv2d(48, 4 * bins, 1), nn.Conv2d(32, 4 * bins, 1)])
        self.label = nn.ModuleList([nn.Conv2d(48, classes, 1), nn.Conv2d(32, classes, 1)])
        self.project = nn.Conv2d(bins, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x)
        coarse = self.deep(fine)
        maps = [self.neck(torch.cat([F.interpolate(coarse, scale_factor=2.0), fine], 1)), coarse]
        raw = [
            torch.cat([box(m), label(m)], 1).view(m.shape[0], 4 * self.bins + self.classes, -1)
            for m, box, label in zip(maps, self.box, self.label, strict=True)
        ]
        box, score = torch.cat(raw, 2).split((4 * self.bins, self.classes), 1)
        batch, _, anchors = box.shape
        box = self.project(box.view(batch, 4, self.bins, anchors).transpose(2, 1).softmax(1)).view(batch, 4, anchors)
        low, high = box.chunk(2, 1)
        grid = torch.arange(anchors, dtype=torch.float32).view(1, 1, -1)
        return torch.cat([(grid - low + grid + high) / 2, high + low, score.sigmoid()], 1)


class UNet(nn.Module):
    """Down, up by transposed convolution and by bilinear resize, skips."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (self._block(a, b) for a, b in ((3, 8), (8, 16), (16, 32)))
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.fuse, self.last = self._block(32, 16), self._block(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _block(inside: int, outside: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        three = self.three(F.max_pool2d(two, 2))
        up = self.fuse(torch.cat([self.up(three), two], 1))
        wide = F.interpolate(up, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(self.last(torch.cat([wide, one], 1)))


class SqueezeExcite(nn.Module):
    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 16, 3, padding=1), gate
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.conv(x))
        return x * self.gate(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class ShuffleUnit(nn.Module):
    """Channel shuffle by view and transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.deep = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.enter(x).chunk(2, 1)
        x = torch.cat([left, self.deep(right)], 1)
        batch, channels, height, width = x.shape
        return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


class Attention(nn.Module):
    """Multi-head attention written out, on a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.mix, self.out = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.place = nn.Parameter(torch.rand(1, 64, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        batch, tokens, width = x.shape
        query, key, value = self.mix(self.norm(x)).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * 0.5).softmax(-1)
        return x + self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class Recurrent(nn.Module):
    """A recurrent layer on a sequence."""

    def __init__(self, cell: type[nn.Module], bidirectional: bool = False) -> None:
        super().__init__()
        self.cell = cell(8, 16, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]


class Wrapped(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _classifier(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


CASES: dict[str, Case] = {
    "residual": Case(lambda: _classifier(nn.Conv2d(3, 16, 7, 2, 3), nn.MaxPool2d(3, 2, 1), Residual(16))),
    "residual_dynamo": Case(
        lambda: _classifier(nn.Conv2d(3, 16, 7, 2, 3), nn.MaxPool2d(3, 2, 1), Residual(16)), opset=18, dynamo=True
    ),
    "residual_opset11": Case(lambda: _classifier(nn.Conv2d(3, 16, 3), Residual(16), nn.Dropout()), opset=11),
    "separable": Case(
        lambda: _classifier(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6())
    ),
    "dilated": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=4, dilation=4), nn.LeakyReLU(0.1), nn.Conv2d(8, 8, 1))
    ),
    "group_norm": Case(lambda: _classifier(nn.Conv2d(3, 16, 3), nn.GroupNorm(8, 16), nn.ReLU())),
    "instance_norm": Case(lambda: _classifier(nn.Conv2d(3, 16, 3), nn.InstanceNorm2d(16, affine=True), nn.PReLU(16))),
    "group_norm_dynamo": Case(lambda: _classifier(nn.Conv2d(3, 16, 3), nn.GroupNorm(8, 16)), opset=21, dynamo=True),
    "local_response": Case(lambda: _classifier(nn.Conv2d(3, 16, 3), nn.LocalResponseNorm(5), nn.ELU())),
    "c2f": Case(lambda: nn.Sequential(Conv(3, 16, 3), C2f(16))),
    "c2f_split": Case(lambda: nn.Sequential(Conv(3, 16, 3), C2fSplit(16))),
    "c2f_dynamo": Case(lambda: nn.Sequential(Conv(3, 16, 3), C2f(16)), opset=20, dynamo=True),
    "sppf": Case(lambda: nn.Sequential(Conv(3, 16, 3), Sppf(16))),
    "focus": Case(lambda: nn.Sequential(Focus(), Conv(12, 16, 3))),
    "detector": Case(Detector),
    "detector_opset11": Case(Detector, opset=11),
    "detector_dynamo": Case(Detector, opset=18, dynamo=True),
    "unet": Case(UNet),
    "unet_opset11": Case(UNet, opset=11),
    "squeeze_excite": Case(lambda: SqueezeExcite(torch.sigmoid)),
    "squeeze_excite_hard": Case(lambda: SqueezeExcite(F.hardsigmoid)),
    "channel_shuffle": Case(ShuffleUnit),
    "pixel_shuffle": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.PixelUnshuffle(2))
    ),
    "deconvolution": Case(lambda: nn.Sequential(nn.ConvTranspose2d(3, 8, 3, 2, 1, 1), nn.Mish())),
    "deconvolution_groups": Case(lambda: nn.ConvTranspose2d(3, 6, 4, 2, 1, groups=3)),
    "attention": Case(Attention),
    "attention_dynamo": Case(Attention, opset=18, dynamo=True),
    "lstm": Case(lambda: Recurrent(nn.LSTM), ((5, 1, 8),)),
    "lstm_bidirectional": Case(lambda: Recurrent(nn.LSTM, True), ((5, 1, 8),)),
    "gru": Case(lambda: Recurrent(nn.GRU), ((5, 1, 8),)),
    "conv1d": Case(
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2)), ((1, 3, 32),)
    ),
    "conv3d": Case(lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.AvgPool3d(2)), ((1, 3, 8, 8, 8),)),
    "mlp": Case(lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.Softmax(-1)), ((2, 8),)),
    "mlp_3d": Case(lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Tanh()), ((2, 5, 8),)),
    "padding": Case(
        lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.ZeroPad2d(2), nn.ReplicationPad2d(1))
    ),
    "pools": Case(lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1), nn.LPPool2d(2, 2))),
    "resize": Case(
        lambda: Wrapped(lambda x: F.interpolate(F.interpolate(x, scale_factor=2.0), (48, 48), mode="bilinear"))
    ),
    "reductions": Case(
        lambda: Wrapped(
            lambda x: x.mean(1, True) + x.amax((2, 3), True) + x.norm(dim=1, keepdim=True) + x.logsumexp(1, True)
        )
    ),
    "arithmetic": Case(
        lambda: Wrapped(lambda x: (2.0 - x.abs().sqrt() + x.exp().log1p()).clamp(min=0.1).pow(2).reciprocal() / 3)
    ),
    "comparisons": Case(
        lambda: Wrapped(lambda x: torch.where((x > 0.5) & ~(x >= 0.9), x, -x).masked_fill(x < 0.1, 0.0))
    ),
    "indexing": Case(
        lambda: Wrapped(lambda x: x[:, 0] * x[:, [1, 2]].sum(1) + x[:, 1:2, ::2].repeat(1, 1, 2, 1)[:, 0])
    ),
    "expand": Case(
        lambda: Wrapped(lambda x: x.mean((2, 3), True).expand(-1, -1, 4, 4).permute(0, 2, 3, 1).reshape(1, -1))
    ),
    "topk": Case(lambda: Wrapped(lambda x: x.flatten(1).topk(5, 1)[0] + x.flatten(1).argmax(1, keepdim=True).float())),
    "einsum": Case(lambda: Wrapped(lambda x: torch.einsum("bchw,bdhw->bcd", x, x).softmax(-1))),
    "grid_sample": Case(
        lambda: Wrapped(lambda x, g: F.grid_sample(x, g, align_corners=False)), ((1, 3, 16, 16), (1, 8, 8, 2)), opset=17
    ),
    "two_inputs": Case(
        lambda: Wrapped(lambda x, y: torch.maximum(x @ y, x.new_zeros(1)) - y.mean()), ((1, 4, 8, 8), (8, 8))
    ),
}
