"""Top-1 accuracy with its uncertainty, agreement with a reference, and how fast it went."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.progress import Progress, silent
from dlaflow.quantize.feed import Batch, Samples
from dlaflow.types import Measurement

Z95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution: 95% lie between minus and plus this."""


class Runner(Protocol):
    """What can be evaluated: onnxruntime here, TensorRT on a board."""

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The network's first output for a batch."""


@dataclass(frozen=True)
class Accuracy:
    """What an evaluation yields. `predictions` is int64 [total]; `seconds` counts the runner alone."""

    correct: int
    total: int
    seconds: float
    predictions: NDArray[np.int64] = field(repr=False)

    @property
    def top1(self) -> float:
        """Share of right answers, 0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share."""
        return wilson(self.correct, self.total)

    def agreement(self, reference: Accuracy) -> float:
        """Share of images, 0..1, on which both give the same answer.

        Raises InputError when they saw different numbers of images.
        """
        if self.total != reference.total:
            raise InputError(
                "evaluations cannot be compared", expected=f"{reference.total} images", received=self.total
            )
        return float(np.mean(self.predictions == reference.predictions))

    def measurements(self, subject: str, reference: Accuracy | None = None, detail: str = "") -> list[Measurement]:
        """The same as records: top1, throughput and, with a `reference`, agreement. Shares are in percent."""
        found = [self.top1_measurement(subject, detail)]
        if reference is not None:
            same = round(self.agreement(reference) * self.total)
            found.append(share_measurement("agreement", subject, (same, self.total), detail))
        rate = self.total / self.seconds
        return [*found, Measurement("throughput", subject, rate, "images/s", self.total, detail=detail)]

    def top1_measurement(self, subject: str, detail: str = "") -> Measurement:
        """top1 alone, in percent: all that counts where the runner's time is not that of the network."""
        return share_measurement("top1", subject, (self.correct, self.total), detail)


def share_measurement(quantity: str, subject: str, counts: tuple[int, int], detail: str = "") -> Measurement:
    """How many of how many, `counts`, in percent with Wilson's 95% interval."""
    successes, total = counts
    low, high = (100 * end for end in wilson(successes, total))
    value = 100 * successes / total
    return Measurement(quantity, subject, value, "%", total, (high - low) / 2, detail=detail, low=low, high=high)


def wilson(successes: int, total: int) -> tuple[float, float]:
    """The 95% interval of a proportion (E. B. Wilson, 1927): right also near 0 and 1, where the normal one is not."""
    share = successes / total
    z2 = Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(
    runner: Runner, images: Samples, labels: NDArray[np.int64], batch_size: int = 100, progress: Progress = silent
) -> Accuracy:
    """Run all `images`, as the model expects them (an array will do), against `labels`, int64 [n].

    Raises InputError when the numbers of images and labels differ, there are none, or the output has no class axis.
    """
    if len(images) != len(labels) or not len(labels):
        raise InputError(
            "images and labels do not match", expected=f"{len(images)} labels, at least 1", received=len(labels)
        )
    predictions = np.empty(len(labels), np.int64)
    correct, seconds = 0, 0.0
    with progress("evaluate", len(labels), "images") as task:
        for start in range(0, len(labels), batch_size):
            part = slice(start, min(start + batch_size, len(labels)))
            batch = images[part]
            began = time.perf_counter()
            scores = runner.run(batch)
            seconds += time.perf_counter() - began
            predictions[part] = classes(scores, part.stop - start)
            correct += int(np.sum(predictions[part] == labels[part]))
            task.advance(part.stop - start)
            task.describe(f"top-1 {correct / part.stop:.2%}")
    return Accuracy(correct, len(labels), seconds, predictions)


def classes(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The best class of each image from scores [count, classes] (further axes of size 1 are dropped)."""
    flat = scores.reshape(len(scores), -1) if scores.ndim > 1 else scores
    if flat.ndim != 2 or len(flat) != count or flat.shape[1] < 2 or flat.shape[1] != scores.shape[1]:
        raise InputError(
            "the model's output cannot be read as classes",
            expected=f"[{count}, classes]",
            received=list(scores.shape),
            then="Any other model than a classifier is compared with its float version, on images without labels.",
        )
    best: NDArray[np.int64] = np.argmax(flat, axis=1).astype(np.int64)
    return best
