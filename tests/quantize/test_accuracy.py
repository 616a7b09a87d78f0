"""Accuracy: counting, intervals, agreement, and outputs that are no classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.quantize.accuracy import Accuracy, evaluate, wilson


class Shifted:
    """Answers the class that the image's first value names, plus `shift`."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def run(self, batch: np.ndarray) -> np.ndarray:
        return np.eye(10, dtype=np.float32)[(batch[:, 0].astype(int) + self.shift) % 10]


IMAGES = np.arange(25, dtype=np.float32).reshape(25, 1) % 10
LABELS = (np.arange(25) % 10).astype(np.int64)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_counts(batch: int) -> None:
    labels = LABELS.copy()
    labels[:5] += 1
    found = evaluate(Shifted(), IMAGES, labels, batch)
    assert (found.correct, found.total) == (20, 25)
    assert found.top1 == 0.8
    assert found.agreement(evaluate(Shifted(1), IMAGES, labels)) == 0


def test_measurements() -> None:
    found = evaluate(Shifted(), IMAGES, LABELS)
    records = {record.quantity: record for record in found.measurements("fp32", found, "here")}
    assert records["top1"].value == records["agreement"].value == 100
    assert records["top1"].unit == "%"
    assert records["top1"].n == 25
    assert records["throughput"].value > 0
    assert "agreement" not in {record.quantity for record in found.measurements("fp32")}


def test_wilson_against_published_values() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = wilson(successes, total)
    assert 0 <= low <= successes / total + 1e-12
    assert successes / total - 1e-12 <= high <= 1


def test_bad_input() -> None:
    with pytest.raises(InputError, match="do not match"):
        evaluate(Shifted(), IMAGES, LABELS[:3])
    short = Accuracy(1, 1, 0.1, np.zeros(1, np.int64))
    with pytest.raises(InputError, match="cannot be compared"):
        short.agreement(evaluate(Shifted(), IMAGES, LABELS))

    class Detector:
        def run(self, batch: np.ndarray) -> np.ndarray:
            return np.zeros((len(batch), 84, 8400), np.float32)

    with pytest.raises(InputError, match="cannot be read as classes"):
        evaluate(Detector(), IMAGES, LABELS)
