"""Jobs on a board: pushed once, run apart, pulled whole, with clocks put back; on this machine and over ssh."""

from __future__ import annotations

from dlaflow.remote.jobs import JobControl, JobOptions, perform
from dlaflow.remote.records import Phase, PowerOptions, ProgramRun


def building(model, *more, name="build", power=None, clocks=False, seconds=60.0):
    run = ProgramRun(name=name, arguments=("--onnx=model.onnx", "--saveEngine=model.engine", *more), seconds=seconds)
    return JobOptions("build", "a test", {"model.onnx": model}, (Phase(name=name, runs=(run,)),), power, clocks)


def test_a_build_on_this_machine(here, tiny, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    heard = []
    state = perform(here, building(tiny), out, JobControl(on_line=lambda run, text: heard.append(text)))
    assert state.state == "done", state
    assert {"build.log", "model.engine", "device.txt"} == set(state.outputs)
    assert (out / "model.engine").stat().st_size == 64 * 200
    assert any("Engine built" in text for text in heard)
    assert (out / "build.log").read_text().splitlines()[-1] == heard[-1]


def test_a_build_over_ssh_and_nothing_is_sent_twice(connect, tiny, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = connect()
    assert perform(first, building(tiny, power=None), out).state == "done"
    with tiny.open("ab") as file:
        file.write(b"")
    again = connect()
    before = again.transport.sent
    assert perform(again, building(tiny), out).state == "done"
    assert again.transport.sent - before < 4000


def test_power_and_clocks(here, tiny, tmp_path, stand_in):
    out = tmp_path / "out"
    out.mkdir()
    stand_in.setting("samples", 5)
    state = perform(here, building(tiny, power=PowerOptions(idle_s=0.3, interval_ms=20), clocks=True), out)
    assert state.state == "done", state
    assert state.power == "tegrastats"
    assert [span.name for span in state.phases] == ["idle", "build"]
    assert stand_in.clocks == "own"
    assert (out / "tegrastats.log").read_text().count("RAM") > 3
