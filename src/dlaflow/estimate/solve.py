"""Regularised, robust least squares on logarithms, with numpy only.

Every parameter is positive, so the fit works on logarithms: prior medians and spreads in, medians and spreads out. A
point's residual is the logarithm of predicted over measured, under Huber's loss, so that one odd measurement cannot
bend the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlaflow.estimate.dla import Array

RESIDUAL_SD = 0.10
"""What a good point's logarithmic residual is expected to be."""
HUBER = 0.25
"""Logarithmic residuals beyond this count linearly."""
_STEP = 1e-4
_LARGEST_MOVE = 0.7
_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a parameter before the fit: its median, the sd of its logarithm, and why."""

    name: str
    median: float
    sd: float
    why: str


@dataclass(frozen=True, slots=True)
class Solution:
    """Fitted medians and the sd of their logarithms, in the order of the priors."""

    values: Array
    sds: Array


def solve(predict: Callable[[Array], Array], measured: Array, weights: Array, priors: Sequence[Prior]) -> Solution:
    """Fit parameters so that `predict(values)` comes close to `measured` (both positive, shape [points])."""
    centre = np.log([prior.median for prior in priors])
    spread = np.array([prior.sd for prior in priors])
    target = np.log(measured)

    def model(theta: Array) -> Array:
        return np.asarray(np.log(predict(np.exp(theta))))

    theta = centre.copy()
    logs = model(theta)
    cost = _cost(target - logs, theta, weights, centre, spread)
    damping, hessian = 1e-3, np.diag(1 / spread**2)
    for _ in range(_ROUNDS):
        slope = np.column_stack([(model(theta + _STEP * axis) - logs) / _STEP for axis in np.eye(theta.size)])
        residual = target - logs
        pull = weights * np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-12)) / RESIDUAL_SD**2
        hessian = slope.T @ (pull[:, None] * slope) + np.diag(1 / spread**2)
        gradient = slope.T @ (pull * residual) - (theta - centre) / spread**2
        improved = False
        while not improved and damping < 1e8:
            move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            trial = theta + np.clip(move, -_LARGEST_MOVE, _LARGEST_MOVE)
            trial_logs = model(trial)
            trial_cost = _cost(target - trial_logs, trial, weights, centre, spread)
            improved = trial_cost < cost
            damping = damping / 5 if improved else damping * 5
        if not improved:
            break
        settled = cost - trial_cost < 1e-5 * cost
        theta, logs, cost = trial, trial_logs, trial_cost
        if settled:
            break
    sds = np.sqrt(np.diag(np.linalg.inv(hessian)))
    return Solution(np.asarray(np.exp(theta)), np.asarray(sds))


def _cost(residual: Array, theta: Array, weights: Array, centre: Array, spread: Array) -> float:
    size, knee = np.abs(residual) / RESIDUAL_SD, HUBER / RESIDUAL_SD
    loss = np.where(size < knee, size**2 / 2, knee * (size - knee / 2))
    return float((weights * loss).sum() + (((theta - centre) / spread) ** 2).sum() / 2)
