"""Every public build that can be re-created: the named layers on their devices, the loadables counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from graphs.builds import facts, file_of
from graphs.catalogue import BUILDS, CASES, CLASSIFIERS, DETECTORS, LATER, LOGS, OTHERS, TUTORIAL, Case
from graphs.not_recreated import NOT_RECREATED
from graphs.segmentation import parameters

from dlaflow.observed.score import Score
from dlaflow.types import Device, Placement, Verdict

Scored = Callable[[Case], tuple[Score, Placement]]
RECORDS = (*TUTORIAL, *CLASSIFIERS, *DETECTORS, *OTHERS)


def test_each_record_is_re_created_or_says_why_not(evidence: Path) -> None:
    records = {path.stem for path in (evidence / "placement").glob("*.json")} - {"messages"}
    drawn = {case.record for case in (*RECORDS, *LATER)} & records
    assert drawn | set(NOT_RECREATED) == records
    assert not drawn & set(NOT_RECREATED)


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.record)
def test_named_layers_run_where_predicted(case: Case, scored: Scored) -> None:
    result, _ = scored(case)
    assert {each.layer for each in result.disagreements} <= set(case.differs)
    assert result.loadables_right or case.count_differs, (result.loadables_predicted, result.loadables_real)
    if not case.differs and not case.count_differs:
        assert [match for match in result.loadables if match.predicted is None] == []
    assert bool(case.why) == bool(case.differs or case.count_differs)


def test_complete_builds_agree(scored: Scored) -> None:
    """What issue 3 asks for: 99% of the nodes that complete builds name, 90% of their loadable counts."""
    scores = [scored(case)[0] for case in (*LOGS, *RECORDS)]
    complete = [each for each in scores if each.complete and each.named]
    assert len(complete) >= 20
    assert sum(each.named_agreeing for each in complete) >= 0.99 * sum(each.named for each in complete)
    assert sum(each.layers_agreeing for each in complete) >= 0.99 * sum(each.layers for each in complete)
    told = [each for each in complete if each.loadables_real is not None]
    assert sum(each.loadables_right for each in told) >= 0.9 * len(told)


def test_refusals_are_not_called_native(scored: Scored) -> None:
    """No layer that a build refuses is predicted native without a stated doubt, but for the explained ones."""
    for case in RECORDS:
        result, _ = scored(case)
        certain = {each.layer for each in result.disagreements if each.certain and each.real is Device.GPU}
        assert certain <= set(case.differs), case.record


def test_first_refusal_of_the_strict_build(scored: Scored) -> None:
    """YOLO11n under 10.3 without fallback fails first at the attention's MatMul: all before it passed."""
    case = next(each for each in DETECTORS if each.record == "yolo11n_fp16_strict-orin_62gb-trt1030-1")
    _, placement = scored(case)
    refused = [layer for layer in placement.layers if layer.device is Device.GPU]
    assert refused[0].name == "/model.10/m/m.0/attn/MatMul"
    assert refused[0].verdict is Verdict.FALLBACK


@pytest.mark.parametrize("case", [case for case in RECORDS if case.mode == "standalone"], ids=lambda case: case.record)
def test_leftovers_break_standalone_builds(case: Case, scored: Scored) -> None:
    """The builds fail at a leftover constant or shape, though with fallback the slices stay on the DLA."""
    _, placement = scored(case)
    assert not placement.summary.standalone_ok
    assert "DLA011" in {finding.rule for finding in placement.findings}
    slices = [layer for layer in placement.layers if layer.name.startswith("/model.2/Slice")]
    assert all(layer.device is Device.DLA for layer in slices)


def test_the_leftover_is_the_one_that_the_log_names(scored: Scored) -> None:
    case = next(each for each in OTHERS if each.graph == "chunk")
    _, placement = scored(case)
    told = next(finding.message for finding in placement.findings if finding.rule == "DLA011")
    assert facts(case).reasons[0].layer in told


def test_the_limit_drops_the_layers_that_the_log_names(scored: Scored) -> None:
    """The untrained network's shared biases cut it into 20 candidates; the limit of 16 drops the later small ones."""
    case = next(each for each in OTHERS if each.record.startswith("paceseg_tiny"))
    _, placement = scored(case)
    assert placement.summary.loadables_before_cap > placement.summary.loadables == 16
    dropped = [layer.name for layer in placement.layers if any(each.rule == "DLA010" for each in layer.findings)]
    assert dropped[:2] == ["/fuse2/act_1/Relu", "/fuse1/act/Relu"]


@pytest.mark.parametrize(("level", "count"), [("tiny", 5483), ("small", 20611), ("medium", 55059), ("large", 126243)])
def test_the_segmentation_network_is_the_reported_one(level: str, count: int) -> None:
    """Its parameter counts stand in the report that the records come from."""
    assert parameters(level) == count


def test_the_dla_detector_has_the_reported_nodes(drawn: Callable[..., Path]) -> None:
    """89 Conv, 76 Sigmoid, 76 Mul, 9 Split, 14 Add, 20 Concat, 3 MaxPool, 2 Resize, 1 Softmax, says the record."""
    import onnx

    case = next(each for each in DETECTORS if each.graph == "yolo11n-dla")
    nodes = [node.op_type for node in onnx.load(drawn(case.graph, case.draw)).graph.node]
    counts = {
        op: nodes.count(op)
        for op in ("Conv", "Sigmoid", "Mul", "Split", "Add", "Concat", "MaxPool", "Resize", "Softmax")
    }
    assert list(counts.values()) == [89, 76, 76, 9, 14, 20, 3, 2, 1]


def test_each_case_has_its_facts() -> None:
    assert [case.record for case in CASES if not file_of(case).exists()] == []
    assert not {file_of(case).stem for case in CASES} & set(NOT_RECREATED)
    size = sum(path.stat().st_size for path in BUILDS.iterdir())
    assert size < 3 * 2**20, "the facts are to stay small"


def test_cases_name_whole_logs_once() -> None:
    assert len({case.record for case in CASES}) == len(CASES) == len(LOGS) + len(RECORDS) + len(LATER)
