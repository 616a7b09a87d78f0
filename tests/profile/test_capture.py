"""Captures in numbers: windows, crossings, cold inferences, spreads; the real run and made records."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.parse.nsys import CaptureInfo, Enqueue, LayerRange
from dlaflow.profile.capture import CaptureSummary, summarise_capture, summarise_enqueues
from dlaflow.profile.evidence import Evidence
from dlaflow.profile.iteration import iteration_of
from dlaflow.profile.profile import profile_of
from dlaflow.profile.spread import Running

MS = 1_000_000
INFO = CaptureInfo("2023.4.4", "3.7.2", "35.4.1", "trtexec", "Orin", ("TensorRT", "cuDLA"), (), cuda_graphs=False)
REFORMAT_IN = "Reformatting CopyNode for Input Tensor 0 to {ForeignNode[a...b]}"
REFORMAT_OUT = "Reformatting CopyNode for Input Tensor 0 to gemm"


def gpu(name: str, at: float, start: float, end: float) -> LayerRange:
    """A GPU layer handed over at `at`, busy from `start` to `end`; all in milliseconds."""
    begin, finish = int(start * MS), int(end * MS)
    return LayerRange(name, int(at * MS), int(at * MS) + 1000, "GPU", 0, 1, finish - begin, begin, finish)


def dla(name: str, at: float) -> LayerRange:
    return LayerRange(name, int(at * MS), int(at * MS) + 1000, "DLA", 1)


def inference(origin: float = 0.0, host: float = 1.0, last: float = 10.0) -> Enqueue:
    """Reformat (1 ms), DLA (5 ms with its hand-over), reformat (1 ms), gemm (`last` - 8 ms)."""
    layers = (
        gpu(REFORMAT_IN, origin + 0.1, origin + 1, origin + 2),
        dla("{ForeignNode[a...b]}", origin + 0.2),
        LayerRange("noop", int((origin + 0.25) * MS), int((origin + 0.26) * MS), ""),
        gpu(REFORMAT_OUT, origin + 0.3, origin + 7, origin + 8),
        gpu("gemm", origin + 0.4, origin + 8, origin + last),
    )
    return Enqueue(7, int(origin * MS), int((origin + host) * MS), layers)


def test_one_inference() -> None:
    found = iteration_of(inference())
    assert [run.device for run in found.runs] == ["GPU", "DLA", "GPU"]
    (window,) = found.windows
    assert (window.start, window.end) == (2 * MS, 7 * MS)
    assert (found.dla_ns, found.gpu_ns, found.reformat_ns) == (5 * MS, 2 * MS, 2 * MS)
    assert (found.span_ns, found.idle_ns) == (9 * MS, 0)
    assert [(crossing.into_dla, crossing.reformats, crossing.reformat_ns) for crossing in found.crossings] == [
        (True, 1, MS), (False, 1, MS),
    ]  # fmt: skip
    assert found.crossings[1].to == "gemm"


def test_a_dla_task_at_the_end_needs_a_copy_to_have_an_end() -> None:
    layers = (gpu("conv", 0.1, 1, 2), dla("{ForeignNode[a...b]}", 0.2))
    later = Enqueue(7, 0, MS, layers, gpu_after=500 * MS, after_is_copy=False)
    assert iteration_of(later).dla_ns is None
    copied = Enqueue(7, 0, MS, layers, gpu_after=9 * MS, after_is_copy=True)
    assert iteration_of(copied).dla_ns == 7 * MS


def test_reformats_between_two_dla_tasks_belong_to_the_side_they_name() -> None:
    layers = (
        dla("{ForeignNode[a...b]}", 0.1),
        gpu("Reformatting CopyNode for Input Tensor 0 to reshape", 0.2, 3, 4),
        gpu("Reformatting CopyNode for Input Tensor 0 to {ForeignNode[c...d]}", 0.3, 4, 6),
        dla("{ForeignNode[c...d]}", 0.4),
        gpu("end", 0.5, 9, 10),
    )
    crossings = iteration_of(Enqueue(7, 0, MS, layers)).crossings
    assert [(crossing.into_dla, crossing.reformat_ns) for crossing in crossings] == [
        (False, MS), (True, 2 * MS), (False, 0),
    ]  # fmt: skip


def summary_of(hosts: list[float]) -> CaptureSummary:
    return summarise_enqueues(INFO, [inference(1000.0 * place, host) for place, host in enumerate(hosts)])


def test_cold_inferences_are_apart() -> None:
    found = summary_of([900.0, 16.0, *[1.4] * 20])
    assert (found.inferences, found.cold, found.cold_host_ms) == (22, 2, (900.0, 16.0))
    assert found.host_ms is not None
    assert (found.host_ms.n, found.host_ms.largest) == (20, pytest.approx(1.4))
    assert (found.layers, found.submits, found.switches, found.pattern) == (5, 1, 2, "GDGG")


def test_a_slow_inference_in_the_middle_is_not_cold() -> None:
    found = summary_of([1.0, 1.0, 50.0, 1.0, 1.0])
    assert found.cold == 0
    assert found.host_ms is not None
    assert found.host_ms.largest == pytest.approx(50.0)


def test_irregular_inferences_are_counted() -> None:
    odd = Enqueue(7, 10**12, 10**12 + MS, inference().layers[:2])
    found = summarise_enqueues(INFO, [*[inference(1000.0 * place) for place in range(4)], odd])
    assert (found.irregular, found.layers) == (1, 5)


def test_an_empty_capture() -> None:
    found = summarise_enqueues(INFO, [])
    assert (found.inferences, found.switches, found.host_ms, found.windows) == (0, 0, None, ())


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
@settings(deadline=None)
def test_running_agrees_with_the_textbook(values: list[float]) -> None:
    running = Running()
    for value in values:
        running.add(value)
    spread = running.finish()
    assert spread is not None
    mean = math.fsum(values) / len(values)
    assert spread.mean == pytest.approx(mean, abs=1e-6)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert spread.deviation == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-3)
    assert spread.interval is not None


def test_intervals_of_few_numbers_are_wide() -> None:
    running = Running()
    for value in (1.0, 2.0, 3.0):
        running.add(value)
    spread = running.finish()
    assert spread is not None
    assert spread.interval == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)


def test_the_real_dla_run() -> None:
    default = Path(__file__).resolve().parents[2].parent / "shared" / "evidence"
    folder = Path(os.environ.get("DLAFLOW_EVIDENCE", default)) / "artefacts" / "open"
    if not folder.is_dir():
        pytest.skip(f"no evidence folder at {folder}")
    found = summarise_capture(folder / "nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite")
    assert (found.inferences, found.cold, found.irregular) == (6, 2, 0)
    assert (found.layers, found.submits, found.switches) == (48, 6, 12)
    assert (found.reformats, found.launches_of_reformats) == (16, 14)
    assert [round(ms, 1) for ms in found.cold_host_ms] == [923.5, 15.9]
    assert found.dla_ms is not None
    assert found.span_ms is not None
    assert found.gpu_ms is not None
    assert found.reformat_ms is not None
    assert found.idle_ms is not None
    # The parts of the stream add up to the whole, and the six windows to the DLA's part.
    parts = (found.dla_ms, found.gpu_ms, found.reformat_ms, found.idle_ms)
    assert sum(part.mean for part in parts) == pytest.approx(found.span_ms.mean, rel=1e-6)
    assert sum(window.ms.mean for window in found.windows if window.ms) == pytest.approx(found.dla_ms.mean)
    assert found.dla_ms.mean == pytest.approx(22.3, abs=0.1)
    assert len(found.windows) == 6
    assert sum(crossing.reformat_ms.mean for crossing in found.crossings) < found.reformat_ms.mean


def test_every_thread_warms_up_by_itself() -> None:
    runs = [inference(1000.0 * place, host) for place, host in enumerate([90.0, 1.0, 1.0, 1.0])]
    other = [replace(each, thread=8) for each in runs]
    found = summarise_enqueues(INFO, [*runs, *other])
    assert (found.threads, found.inferences, found.cold, found.first_warm) == (2, 8, 2, 1)
    assert found.host_ms is not None
    assert found.host_ms.largest == pytest.approx(1.0)


def test_an_untraced_dla_is_told() -> None:
    silent = LayerRange("{ForeignNode[a...b]}", 1, 2, "")
    blind = Enqueue(7, 0, MS, (gpu("conv", 0.1, 1, 2), silent))
    found = profile_of(Evidence("blind", capture=summarise_enqueues(INFO, [blind])))
    assert "dla_not_traced" in {note.code for note in found.notes}
    seen = profile_of(Evidence("seen", capture=summarise_enqueues(INFO, [inference()])))
    assert "dla_not_traced" not in {note.code for note in seen.notes}
