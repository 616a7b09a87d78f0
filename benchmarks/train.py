"""Training: accuracy over seeds and seconds, beside the loop that tutorials show, in one job.

    python -P benchmarks/train.py --data-dir ~/data/cifar10            # on a GPU: the table of docs/verified.md
    python -P benchmarks/train.py --data-dir ~/data/cifar10 --cpu      # images/s on two CPU cores

-P, because torch imports the standard library's `profile`, which benchmarks/profile.py would hide.

`tutorial_rate` is written from the walk-through's description: Adam at 1e-3, batches of 64, images made one by one in
the training process, the loss read at each step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dlaflow.quantize.images import Preparation
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.models import build_model
from dlaflow.zoo.plan import TrainConfig
from dlaflow.zoo.training import train
from dlaflow.zoo.weights import Sidecar

CORES = 2
_WARM_UP_STEPS = 10


@dataclass(frozen=True)
class Goal:
    """A row of the table: at least `top1` in at most `seconds`, both as means over the seeds."""

    model: str
    epochs: int
    step: str
    top1: float
    seconds: float


GOALS = (
    Goal("model_bn", 146, "compile", 0.885, 10.0),
    Goal("model_bn", 30, "compile", 0.85, 2.5),
    Goal("model_gn", 160, "compile", 0.87, 15.0),
    Goal("model_bn", 100, "graph", 0.88, 15.0),
)


class OneByOne(TorchDataset[tuple[torch.Tensor, int]]):
    """Images cropped, flipped and scaled one at a time, as a DataLoader asks for them."""

    def __init__(self, split: Split, dataset: Dataset) -> None:
        self._split, self._dataset = split, dataset

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = np.pad(self._split.images[index], ((0, 0), (4, 4), (4, 4)))
        down, right = np.random.randint(0, 9, 2)
        image = image[:, down : down + 32, right : right + 32]
        if np.random.random() < 0.5:
            image = image[:, :, ::-1]
        scaled = Preparation(self._dataset.mean, self._dataset.std).normalised(image[None])[0]
        return torch.from_numpy(scaled), int(self._split.labels[index])


def tutorial_rate(model: str, dataset: Dataset, device: torch.device, images: int) -> float:
    """Images a second of the loop that tutorials show, over `images` images after a short warm-up."""
    loader = DataLoader(OneByOne(dataset.train, dataset), batch_size=64, shuffle=True)
    return _plain_rate(model, loader, device, images)


def in_memory_rate(model: str, dataset: Dataset, device: torch.device, images: int) -> float:
    """The same loop with its batches ready in memory: fp32, Adam, no augmentation. What the network alone costs."""
    head = dataset.train.head(6400)
    ready = torch.from_numpy(Preparation(dataset.mean, dataset.std).normalised(head.images)).to(device).split(64)
    labels = torch.from_numpy(head.labels).to(device).split(64)
    return _plain_rate(model, list(zip(ready, labels, strict=True)) * (1 + images // 6400), device, images)


def _plain_rate(model: str, batches: object, device: torch.device, images: int) -> float:
    network = build_model(model).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    began, seen = time.perf_counter(), 0
    for step, (inputs, labels) in enumerate(batches):  # type: ignore[call-overload]
        if step == _WARM_UP_STEPS:
            began, seen = time.perf_counter(), 0
        loss = nn.functional.cross_entropy(network(inputs.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        seen += len(inputs)
        if seen >= images and step >= _WARM_UP_STEPS:
            break
    return seen / (time.perf_counter() - began)


def rate(card: Sidecar) -> float:
    """Images a second of a run of dlaflow: validation, checkpoints and all."""
    return card.epochs * (card.images - max(1, round(card.images * 0.1))) / card.seconds


def run(goal: Goal, seeds: int, dataset: Dataset) -> list[Sidecar]:
    """One run for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            train(
                TrainConfig(
                    goal.model,
                    Path(folder) / f"{seed}.safetensors",
                    epochs=goal.epochs,
                    seed=seed,
                    step=goal.step,
                ),
                dataset=dataset,
            ).sidecar
            for seed in range(seeds)
        ]


def on_gpu(dataset: Dataset, seeds: int, goals: tuple[Goal, ...]) -> None:
    """The table of accuracies and seconds, and the factor over the tutorial's loop."""
    print("| network | epochs | step | GPUs | top-1, mean ± sd | least | seconds | warm-up s | images/s | goal |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    rates: dict[str, float] = {}
    for goal in goals:
        cards = run(goal, seeds, dataset)
        tops = [card.test_top1 for card in cards]
        seconds = [card.seconds for card in cards]
        rates[goal.model] = max(rates.get(goal.model, 0.0), statistics.mean(map(rate, cards)))
        met = statistics.mean(tops) >= goal.top1 and statistics.mean(seconds) <= goal.seconds
        print(
            f"| {goal.model} | {goal.epochs} | {cards[0].step} | {cards[0].devices} | {statistics.mean(tops):.2%} ± "
            f"{statistics.stdev(tops) if len(tops) > 1 else 0:.2%} | {min(tops):.2%} | {statistics.mean(seconds):.2f} "
            f"(at most {max(seconds):.2f}) | {max(card.warm_up_seconds for card in cards):.1f} first | "
            f"{statistics.mean(map(rate, cards)):,.0f} | ≥ {goal.top1:.1%} in ≤ {goal.seconds} s: "
            f"{'met' if met else 'MISSED'} |",
            flush=True,
        )
    for model, ours in rates.items():
        theirs = tutorial_rate(model, dataset, torch.device("cuda"), 20_000)
        memory = in_memory_rate(model, dataset, torch.device("cuda"), 60_000)
        print(f"{model}: {ours:,.0f} images/s; tutorial's loop {theirs:,.0f} ({ours / theirs:.0f} times)", end="; ")
        print(f"the same with images in memory {memory:,.0f} ({ours / memory:.0f} times)", flush=True)


def on_cpu(dataset: Dataset, turns: int) -> None:
    """Images a second on two cores, in turns, so that a busy machine slows all alike; the best turn of each counts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(CORES)
    for model in ("model_bn", "model_gn"):
        best = {"dlaflow": 0.0, "tutorial": 0.0, "in memory": 0.0}
        way = ""
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as folder:
                # 301 steps: the shortest run that is worth a probe.
                config = TrainConfig(
                    model, Path(folder) / "w.safetensors", epochs=7, limit=6200, batch_size=128, device="cpu"
                )
                card = train(config, dataset=dataset).sidecar
            way = card.arithmetic
            best["dlaflow"] = max(best["dlaflow"], rate(card))
            best["tutorial"] = max(best["tutorial"], tutorial_rate(model, dataset, torch.device("cpu"), 6_400))
            best["in memory"] = max(best["in memory"], in_memory_rate(model, dataset, torch.device("cpu"), 6_400))
        factors = ", ".join(f"{best['dlaflow'] / best[name]:.2f} times {name}" for name in ("tutorial", "in memory"))
        print(
            f"{model}: " + ", ".join(f"{name} {value:,.0f}" for name, value in best.items()) + " images/s; " + factors
        )
        print(f"  ({way})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--turns", type=int, default=3, help="with --cpu: how often each loop is timed")
    parser.add_argument("--goals", type=int, default=len(GOALS), help="how many rows of the table to measure")
    options = parser.parse_args()
    dataset = load_dataset("cifar10", options.data_dir)
    if options.cpu:
        print(f"CPU, {CORES} threads, torch {torch.__version__}", flush=True)
        on_cpu(dataset, options.turns)
    else:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
        on_gpu(dataset, options.seeds, GOALS[: options.goals])


if __name__ == "__main__":
    main()
