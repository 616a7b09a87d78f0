"""Every public point is computed or left out with a reason, and the shipped numbers come from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlaflow.errors import InputError
from dlaflow.estimate.parameters import dla_set, gpu_set
from tools.fit.cases import build_cases
from tools.fit.crossval import HeldOut, half_width, hold_out, spread_key
from tools.fit.plot import of_the_dla, plot, table
from tools.fit.points import Collection, read_collection, repository
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


def test_the_shipped_numbers_are_those_of_the_fit(collection: Collection, exported: Path) -> None:
    cases, _ = build_cases(collection.points, exported)
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
def test_held_out_sources_meet_the_goals(collection: Collection, exported: Path) -> None:
    cases, _ = build_cases(collection.points, exported)
    held = [one for one in hold_out(cases) if one.case.what == "dla"]
    layers = [one.error for one in held if one.case.scope != "network"]
    networks = [one.error for one in held if one.case.scope == "network" and one.case.use]
    assert float(np.median(layers)) <= 0.12
    assert float(np.median(networks)) <= 0.15
    assert float(np.quantile(networks, 0.9)) <= 0.40
    assert 0.75 <= sum(one.covered for one in held) / len(held) <= 0.92


def test_a_source_is_its_repository_whatever_the_year() -> None:
    name = "github.com/mlcommons/inference_results_v{} closed/NVIDIA/results"
    assert {repository(name.format(year)) for year in ("1.0", "3.1")} == {"mlcommons/inference_results"}
    assert repository("github 51hhh/YOLO11-pose @5eeef2a docs") == "51hhh/yolo11-pose"
    assert repository("a blog (a copy of it)") == "a blog"


def test_repeats_of_one_network_do_not_narrow_an_interval(collection: Collection) -> None:
    cases, _ = build_cases(collection.points)
    own = [case for case in cases if spread_key(case) == ("v2-int8", "network") and case.use]
    sources = {(case.source, case.subject): case for case in own}
    once = [(case, case.measured * (1.3 if index % 2 else 1.02)) for index, case in enumerate(sources.values())]
    often = once + [pair for pair in once if pair[1] / pair[0].measured < 1.1] * 20
    assert len(once) >= 4
    assert half_width(once, ("v2-int8", "network")) == pytest.approx(half_width(often, ("v2-int8", "network")), abs=0.1)


def test_the_plot_and_the_table_hold_every_point(collection: Collection) -> None:
    cases, _ = build_cases(collection.points)
    held = [HeldOut(case, case.measured * 1.1, 0.2) for case in cases]
    shown = of_the_dla(held)
    assert plot(held, collection).count("<circle") == len(shown) + len({one.case.key for one in shown})
    rows = table(held, collection).splitlines()
    assert len(rows) == len(shown) + 1
    assert rows[0].startswith("source,model")


def test_a_file_that_is_no_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_collection(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"points": [{"model": 3}]}')
    with pytest.raises(InputError, match="not a collection"):
        read_collection(tmp_path / "bad.json")
