"""A draft's content: what is said and every weight count, by name, type, shape and value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.load import load_draft

WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4)


@pytest.fixture
def draft(build: Callable[..., Path]) -> Draft:
    return load_draft(build("y = Gemm(x, w)", (1, 4), {"w": WEIGHT}), None)[0]


def test_one_content_for_drafts_that_say_the_same(draft: Draft) -> None:
    turned = np.asfortranarray(WEIGHT)
    assert replace(draft, weights={"w": turned}).content == draft.content


@pytest.mark.parametrize(
    "weight",
    [
        WEIGHT + np.eye(4, dtype=np.float32) * 1e-6,
        WEIGHT.T,
        WEIGHT.reshape(2, 8),
        WEIGHT.astype(np.float64),
        np.array(1.0, np.float32),
        np.array([["a", "b"]], object),
    ],
    ids=["value", "order", "shape", "type", "scalar", "texts"],
)
def test_another_weight_is_another_content(draft: Draft, weight: np.ndarray) -> None:
    assert replace(draft, weights={"w": weight}).content != draft.content
    assert replace(draft, weights={"v": WEIGHT}).content != draft.content
    assert replace(draft, nodes=()).content != draft.content
