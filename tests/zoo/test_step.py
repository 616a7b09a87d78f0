"""A step: the update it makes, and that every way of running it makes the same one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dlaflow.zoo.augment import DeviceImages, draw_epoch
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.device import Arithmetic
from dlaflow.zoo.plan import TrainConfig
from dlaflow.zoo.step import LABEL_SMOOTHING, MOMENTUM, WEIGHT_DECAY, TrainStep, make_learner, momentum
from dlaflow.zoo.training import train

FP32 = Arithmetic(bf16=False, channels_last=True)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

READS_BACK = """
from torch import nn

class Nosy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(512, 10))

    def forward(self, images):
        return self.body(images) * (1.0 if float(images.detach().abs().mean()) > 0 else 2.0)

def nosy():
    return Nosy()
"""


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


def learned(
    way: str, colours: Dataset, device: torch.device, steps: int = 4
) -> tuple[TrainStep, dict[str, torch.Tensor]]:
    """The step after `steps` batches of 20, and the average that it left behind."""
    learner = make_learner(small(), FP32, device)
    images = DeviceImages(colours.train, colours, device)
    step = TrainStep(learner, images, 0.5)
    batches = draw_epoch(len(images), 5).to(device).split(20, dim=1)
    step.prepare(way, batches[0], steps)
    for draws in batches[:steps]:
        step(draws, 0.05)
    return step, {name: tensor.cpu() for name, tensor in learner.average.state_dict().items()}


def test_the_update_is_nesterovs_with_decay_on_kernels_alone(colours: Dataset) -> None:
    """Against the formulas, written out."""
    learner = make_learner(small(), FP32, torch.device("cpu"))
    reference = copy.deepcopy(learner.model)
    images = DeviceImages(colours.train, colours, torch.device("cpu"))
    step = TrainStep(learner, images, 0.25)
    velocity = [torch.zeros_like(parameter) for parameter in reference.parameters()]
    average = [parameter.detach().clone() for parameter in reference.parameters()]
    for draws in draw_epoch(200, 1).split(20, dim=1)[:3]:
        step(draws, 0.1)
        logits = reference(images.augmented(draws))
        loss = nn.functional.cross_entropy(logits, images.labels[draws[0]], label_smoothing=LABEL_SMOOTHING)
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for weight, gradient, speed, mean in zip(reference.parameters(), gradients, velocity, average, strict=True):
                pull = gradient + (WEIGHT_DECAY * weight if weight.dim() > 1 else 0)
                speed.mul_(MOMENTUM).add_(pull)
                weight -= 0.1 * (pull + MOMENTUM * speed)
                mean += 0.25 * (weight - mean)
    for (name, got), wanted, mean in zip(
        learner.model.named_parameters(), reference.parameters(), average, strict=True
    ):
        torch.testing.assert_close(got, wanted, msg=name)
        torch.testing.assert_close(learner.average.get_parameter(name), mean, msg=name)


def test_preparing_changes_nothing(colours: Dataset) -> None:
    learner = make_learner(small(), FP32, torch.device("cpu"))
    before = copy.deepcopy(learner.model.state_dict())
    step = TrainStep(learner, DeviceImages(colours.train, colours, torch.device("cpu")), 0.5)
    step.prepare("auto", draw_epoch(20, 0), 10)
    assert step.way == "plain"
    assert float(step.loss) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.model.state_dict().items())
    assert all(float(tensor.abs().max()) == 0 for tensor in momentum(learner).values())


@pytest.mark.slow
def test_a_compiled_step_on_the_cpu_learns_the_same(colours: Dataset) -> None:
    step, average = learned("compile", colours, torch.device("cpu"))
    if step.way == "plain":
        pytest.skip("torch.compile finds no compiler here")
    for name, tensor in learned("plain", colours, torch.device("cpu"))[1].items():
        torch.testing.assert_close(average[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@needs_cuda
@pytest.mark.parametrize(("way", "name"), [("graph", "CUDA graph"), ("compile", "compiled, CUDA graph")])
def test_a_graph_on_cuda_learns_the_same(way: str, name: str, colours: Dataset) -> None:
    device = torch.device("cuda")
    step, average = learned(way, colours, device)
    assert step.way == name
    plain, reference = learned("plain", colours, device)
    torch.testing.assert_close(step.take_loss(), plain.take_loss(), rtol=1e-2, atol=1e-2)
    for key, tensor in reference.items():
        torch.testing.assert_close(average[key], tensor, rtol=2e-2, atol=5e-3, msg=key)


@needs_cuda
def test_a_network_that_no_graph_can_hold_trains_plainly(
    colours: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nosy_network.py").write_text(READS_BACK)
    monkeypatch.chdir(tmp_path)
    config = TrainConfig("nosy_network:nosy", tmp_path / "w.safetensors", epochs=4, batch_size=20, device="cuda")
    card = train(config, dataset=colours).sidecar
    assert card.step == "plain"
    assert card.test_top1 > 0.5


@needs_cuda
def test_a_resumed_run_on_cuda_goes_on_in_a_graph(colours: Dataset, tiny_network: str, tmp_path: Path) -> None:
    config = TrainConfig(tiny_network, tmp_path / "w.safetensors", epochs=4, batch_size=20, device="cuda")

    class Stop:
        def __enter__(self) -> Stop:
            self.left = 30
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def __call__(self, title: str, total: float | None, unit: str = "") -> Stop:
            return self

        def describe(self, text: str) -> None:
            return None

        def advance(self, amount: float = 1) -> None:
            self.left -= int(amount)
            if self.left <= 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, Stop(), colours)
    result = train(replace(config, resume=True), dataset=colours)
    assert (result.resumed_from, result.sidecar.step) == (3, "CUDA graph")
    assert result.sidecar.test_top1 > 0.8
