"""Every public point is computed or left out with a reason, and the shipped numbers come from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlaflow.errors import InputError
from dlaflow.estimate.parameters import dla_set, gpu_set
from tools.fit.cases import build_cases
from tools.fit.crossval import hold_out
from tools.fit.points import Collection, read_collection
from tools.fit.train import predict_with, train


def test_no_point_is_lost_and_no_setting_is_used(collection: Collection) -> None:
    cases, skipped = build_cases(collection.points)
    assert sorted([case.index for case in cases] + [one.index for one in skipped]) == list(
        range(len(collection.points))
    )
    assert all(one.why for one in skipped)
    assert not any(collection.points[case.index].kind for case in cases)
    assert all(case.why for case in cases if not case.use)
    assert all(case.measured > 0 for case in cases)


def test_the_shipped_numbers_are_those_of_the_fit(collection: Collection) -> None:
    cases, _ = build_cases(collection.points)
    models, fits = train(cases)
    errors = [abs(predict_with(case, models) / case.measured - 1) for case in cases if case.use and case.what == "dla"]
    assert float(np.median(errors)) < 0.12
    shipped = {key: dla_set(*key.split("-")) for key in models.engines}
    # the sets are fitted together: one new point moves them all
    for fit in fits:
        if fit.key in shipped and shipped[fit.key].source.points != fit.points:
            stored = shipped[fit.key].source.points
            pytest.skip(f"{fit.key} was fitted on {stored} points, the collection has {fit.points}: fit again")
    for key, engine in models.engines.items():
        for name in ("efficiency", "dram_gb_s", "launch_ms", "step_us"):
            fitted = getattr(engine.parameters, name)
            assert getattr(shipped[key].engine.parameters, name) == pytest.approx(fitted, rel=0.01)
    assert gpu_set("ampere").parameters.kernel_us == pytest.approx(models.gpus["ampere"].kernel_us, rel=0.01)


@pytest.mark.slow
def test_held_out_models_and_layer_kinds_meet_the_goals(collection: Collection) -> None:
    cases, _ = build_cases(collection.points)
    held = [one for one in hold_out(cases) if one.case.what == "dla"]
    layers = [one.error for one in held if one.case.scope != "network"]
    networks = [one.error for one in held if one.case.scope == "network" and one.case.use]
    assert float(np.median(layers)) <= 0.15
    assert float(np.quantile(layers, 0.9)) <= 0.40
    assert float(np.median(networks)) <= 0.17
    assert float(np.quantile(networks, 0.9)) <= 0.40
    assert 0.75 <= sum(one.covered for one in held) / len(held) <= 0.90


def test_a_file_that_is_no_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_collection(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"points": [{"model": 3}]}')
    with pytest.raises(InputError, match="not a collection"):
        read_collection(tmp_path / "bad.json")
