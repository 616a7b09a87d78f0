"""Training: that it learns, that the test images have no say, that it can be interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dlaflow.errors import InputError, UsageError
from dlaflow.zoo.checkpoint import checkpoint_path
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.plan import TrainConfig, best_epoch, one_cycle, plan
from dlaflow.zoo.training import train
from dlaflow.zoo.weights import Epoch, read_sidecar, read_tensors


class Interrupt:
    """A progress that presses Ctrl-C after so many steps, and remembers what was shown."""

    def __init__(self, after: int | None = None) -> None:
        self.left: float | None = after
        self.total: float | None = None
        self.done = 0.0
        self.shown: list[str] = []

    @contextmanager
    def __call__(self, title: str, total: float | None, unit: str = "") -> Iterator[Interrupt]:
        self.total = total
        yield self

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        if self.left is not None:
            self.left -= amount
            if self.left <= 0:
                raise KeyboardInterrupt

    def describe(self, text: str) -> None:
        self.shown.append(text)


@pytest.fixture
def config(tiny_network: str, tmp_path: Path) -> TrainConfig:
    return TrainConfig(model=tiny_network, out=tmp_path / "w.safetensors", epochs=4, batch_size=20, device="cpu")


def test_it_learns_and_leaves_weights_and_sidecar_alone(config: TrainConfig, colours: Dataset) -> None:
    progress = Interrupt()
    result = train(config, progress, colours)
    card = result.sidecar
    assert card.test_top1 > 0.8
    assert card == read_sidecar(config.out)
    assert (card.data_fingerprint, card.images, card.epochs) == (colours.fingerprint, 200, 4)
    assert card.best_epoch == best_epoch(card.history)
    assert card.val_top1 == max(epoch.val_top1 for epoch in card.history)
    assert progress.done == progress.total == 4 * 9
    assert progress.shown[-1].startswith("epoch 4/4  loss ")
    assert not checkpoint_path(config.out).exists()


def test_the_same_seed_gives_the_same_weights(config: TrainConfig, colours: Dataset) -> None:
    first = train(config, dataset=colours).sidecar
    assert train(config, dataset=colours).sidecar.sha256 == first.sha256
    assert train(replace(config, seed=1), dataset=colours).sidecar.sha256 != first.sha256


def test_the_test_images_have_no_say(config: TrainConfig, colours: Dataset) -> None:
    first = train(config, dataset=colours).sidecar
    wrong = Split(colours.test.images, (colours.test.labels + 1) % 10)
    second = train(config, dataset=replace(colours, test=wrong)).sidecar
    assert second.sha256 == first.sha256
    assert second.test_top1 < first.test_top1


@pytest.mark.parametrize("step", [10, 30])
def test_ctrl_c_keeps_a_checkpoint_and_resume_ends_where_an_uninterrupted_run_does(
    step: int, config: TrainConfig, colours: Dataset
) -> None:
    straight = train(config, dataset=colours).sidecar
    config.out.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(config, Interrupt(after=step), colours)
    assert checkpoint_path(config.out).is_file()
    assert not config.out.exists()
    result = train(replace(config, resume=True), dataset=colours)
    assert result.resumed_from == step // 9
    assert result.epochs_run == 4 - step // 9
    assert result.sidecar.sha256 == straight.sha256
    assert result.sidecar.history == straight.history


def test_resume_of_a_finished_run_does_nothing(config: TrainConfig, colours: Dataset) -> None:
    first = train(config, dataset=colours)
    written = config.out.stat().st_mtime_ns
    again = train(replace(config, resume=True), dataset=colours)
    assert again.epochs_run == 0
    assert again.sidecar == first.sidecar
    assert config.out.stat().st_mtime_ns == written
    assert train(replace(config, resume=True, epochs=1), dataset=colours).epochs_run == 1


def test_resume_refuses_another_plan_and_a_damaged_checkpoint(config: TrainConfig, colours: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config, Interrupt(after=12), colours)
    with pytest.raises(UsageError, match="its seed differs: expected 0, received 5"):
        train(replace(config, resume=True, seed=5), dataset=colours)
    path = checkpoint_path(config.out)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        train(replace(config, resume=True), dataset=colours)


def test_limit_takes_so_many_images(config: TrainConfig, colours: Dataset) -> None:
    assert train(replace(config, limit=50, epochs=1), dataset=colours).sidecar.images == 50


def test_bf16_trains_too(config: TrainConfig, colours: Dataset) -> None:
    card = train(replace(config, precision="bf16"), dataset=colours).sidecar
    assert card.arithmetic.startswith("bf16")
    assert card.test_top1 > 0.5
    assert all(tensor.dtype != torch.bfloat16 for tensor in read_tensors(config.out)[0].values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is too small"),
        ({"limit": 5}, "limit is too small"),
        ({"batch_size": 1}, "batch size is too small"),
        ({"lr": -1.0}, "learning rate"),
        ({"lr": float("nan")}, "learning rate"),
        ({"seed": -1}, "seed"),
        ({"out": Path("weights.pt")}, "safetensors"),
        ({"precision": "fp8"}, "unknown precision"),
        ({"device": "tpu"}, "unknown device"),
        ({"step": "fast"}, "unknown way to run a step"),
        ({"devices": 0}, "uses one device: expected --devices 1, received 0"),
        ({"devices": 2}, "uses one device"),
        ({"model": "model_b"}, "unknown model"),
    ],
)
def test_options_that_make_no_sense(
    change: dict[str, object], message: str, config: TrainConfig, colours: Dataset
) -> None:
    with pytest.raises(UsageError, match=message):
        train(replace(config, **change), dataset=colours)
    assert not config.out.exists()


def test_torchrun_is_refused_before_its_processes_write_one_file(
    config: TrainConfig, colours: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="training uses one process: expected a start without torchrun"):
        train(config, dataset=colours)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train(replace(config, epochs=1), dataset=colours).sidecar.devices == 1


def test_divergence_is_told(config: TrainConfig, colours: Dataset) -> None:
    with pytest.raises(InputError, match="diverged in epoch"):
        train(replace(config, lr=1e18), dataset=colours)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("nn.Conv2d(3, 4, 3)", r"expected logits \[2, 10\], received \[2, 4, 30, 30\]"),
        ("nn.Conv2d(1, 4, 3)", r"fails on images of shape \[2, 3, 32, 32\]"),
        ("nn.Sequential(nn.Flatten(), nn.Linear(3072, 9))", r"received \[2, 9\]"),
    ],
)
def test_a_network_that_does_not_fit_is_told_before_training(
    network: str, message: str, config: TrainConfig, colours: Dataset, tmp_path: Path
) -> None:
    module = f"unfit_{abs(hash(network))}"
    (tmp_path / f"{module}.py").write_text(f"from torch import nn\ndef make(): return {network}\n")
    with pytest.raises((InputError, UsageError), match=message):
        train(replace(config, model=f"{module}:make"), dataset=colours)


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step, 1000, 0.4) for step in range(1000)]
    top = int(np.argmax(rates))
    assert 200 < top < 300
    assert abs(rates[top] - 0.4) < 0.002
    assert rates[0] < 0.004
    assert rates[-1] < 0.001
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_of_equal_epochs_the_latest_is_best() -> None:
    assert best_epoch((Epoch(2.0, 0.3), Epoch(1.0, 0.7), Epoch(0.5, 0.7), Epoch(0.4, 0.6))) == 3


def test_defaults_fit_the_size_of_the_data(colours: Dataset, tmp_path: Path) -> None:
    config = TrainConfig("model_bn", tmp_path / "w.safetensors")
    assert plan(config, colours).batch_size == 32
    many = Split(np.zeros((50_000, 3, 1, 1), np.uint8), np.zeros(50_000, np.int64))
    large = plan(config, replace(colours, train=many))
    assert (large.batch_size, large.images, large.validation_images) == (128, 50_000, 5_000)
    assert large.steps == 10 * (45_000 // 128)
    assert plan(replace(config, epochs=100), replace(colours, train=many)).batch_size == 512
    gn = plan(replace(config, model="model_gn"), replace(colours, train=many))
    assert gn.lr == pytest.approx(large.lr / 2)


def test_the_average_spans_a_share_of_the_run_and_never_overshoots(colours: Dataset, tmp_path: Path) -> None:
    config = TrainConfig("model_bn", tmp_path / "w.safetensors", batch_size=2, epochs=1)
    short = plan(replace(config, limit=20), colours)
    assert short.follow == 1
    assert plan(replace(config, epochs=50), colours).follow == pytest.approx(1 / (0.04 * 50 * 90))
