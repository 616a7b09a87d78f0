"""The work itself on a stand-in board: build, profile, bench, evaluate, probe, doctor, fleet, replay."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.engine import Request
from dlaflow.build.manifest import BuiltFor, read_manifest
from dlaflow.build.trtexec_arguments import Measuring
from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.parse.notes import flags_of
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.profile import read_profile
from dlaflow.remote.bench import BenchOptions, bench
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.build import RemoteBuild, build_on_board
from dlaflow.remote.doctor import examine
from dlaflow.remote.evaluate import RemoteEvaluation, evaluate_on_board
from dlaflow.remote.inventory import boards_of, on_every_board, open_board
from dlaflow.remote.power import IdleOptions, power
from dlaflow.remote.profile import RemoteProfile, profile_on_board
from dlaflow.remote.records import PowerOptions
from dlaflow.remote.replay import RecordingTransport, ReplayTransport
from dlaflow.remote.transport import LocalTransport

SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
DLA = BuildConfig(precision="fp16", shapes=SHAPES, dla_core=0, gpu_fallback=True)
GPU = BuildConfig(precision="fp16", shapes=SHAPES)
BUILT_FOR = BuiltFor("tensorrt", "8.5.2", "agx-orin-64gb", "5.1.1")


def request(model, engine, config=DLA):
    return Request(model, engine, config, BUILT_FOR)


def test_a_build_brings_engine_log_profile_and_manifest(here, tiny, tmp_path):
    engine = tmp_path / "out" / "m.engine"
    profile = tmp_path / "out" / "m.json"
    engine.parent.mkdir()
    result = build_on_board(here, request(tiny, engine), RemoteBuild(Measuring(export_profile=str(profile))))
    assert read_manifest(engine) == result.manifest
    assert result.manifest.built_for.tensorrt == "8.5.2"
    assert f"--onnx={tiny}" in result.manifest.command
    assert result.run.performance.throughput_qps == 650.0
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        "m.engine", "m.engine.json", "m.engine.log", "m.json",
    ]  # fmt: skip


def test_the_core_that_was_asked_for_is_built_for_and_measured_on(here, stand_in, tiny, tmp_path):
    engine = tmp_path / "m.engine"
    result = build_on_board(here, request(tiny, engine, replace(DLA, dla_core=1)))
    assert "--useDLACore=1" in result.manifest.command
    assert result.manifest.config.dla_core == 1
    (built,) = parse_log(tmp_path / "m.engine.log").runs
    assert flags_of(built.command)["useDLACore"] == "1", "what trtexec on the board was given"
    for core, wanted in ((None, "1"), (0, "0")):
        files = profile_on_board(here, engine, tmp_path / "profile", RemoteProfile(duration=1, core=core, nsys=False))
        assert flags_of(parse_log(files.log).runs[-1].command)["useDLACore"] == wanted


def test_a_build_that_fails_says_why_and_leaves_the_log_alone(here, stand_in, tiny, tmp_path):
    stand_in.setting("fails", "yes")
    engine = tmp_path / "m.engine"
    with pytest.raises(EnvironmentLacksError, match="no such DLA core"):
        build_on_board(here, request(tiny, engine))
    assert not engine.exists()
    assert "Cannot create DLA engine" in (tmp_path / "m.engine.log").read_text()


def test_a_build_that_is_killed_says_so(here, stand_in, tiny, tmp_path):
    stand_in.setting("seconds", 60)

    def kill():
        while not (found := os.listdir(stand_in.folder / "busy")):
            time.sleep(0.05)
        os.kill(int(found[0]), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(EnvironmentLacksError, match="killed by signal 9"):
        build_on_board(here, request(tiny, tmp_path / "m.engine"))
    thread.join()
    assert not (tmp_path / "m.engine").exists()


def test_the_cache_gets_the_first_line_of_the_boards_release(here, tiny, tmp_path, stand_in):
    cache = tmp_path / "old.cache"
    cache.write_bytes(b"TRT-8400-EntropyCalibration2\ninput: 3c010a14\n")
    config = BuildConfig(precision="int8", scales="cache", cache=str(cache), shapes=SHAPES, dla_core=0, fp16_too=True)
    build_on_board(here, request(tiny, tmp_path / "m.engine", config))
    stored = [path.read_bytes() for path in (stand_in.root / "store").iterdir()]
    assert b"TRT-8502-EntropyCalibration2\ninput: 3c010a14\n" in stored


@pytest.fixture
def engine(here, tiny, tmp_path):
    path = tmp_path / "dla.engine"
    build_on_board(here, request(tiny, path))
    return path


def test_a_profile_answers_where_the_time_goes(here, engine, tmp_path, stand_in):
    stand_in.setting("samples", 5)
    how = RemoteProfile(duration=1, power=PowerOptions(idle_s=0.2, interval_ms=20))
    files = profile_on_board(here, engine, tmp_path / "profile", how)
    found = read_profile(files)
    assert found.breakdown is not None
    assert found.breakdown.dla_ms == pytest.approx(0.9)
    assert any(row.quantity == "power" for row in found.measurements)
    assert files.nsys is None, "a capture that is none is not kept"


def test_an_engine_of_another_release_is_not_even_pushed(here, engine, monkeypatch):
    monkeypatch.setattr("dlaflow.remote.profile.release_of", lambda machine: "10.3.0")
    with pytest.raises(InputError, match="another TensorRT release"):
        profile_on_board(here, engine, engine.parent / "profile")


def test_a_bench_tells_contention_and_energy(here, tiny, engine, tmp_path, stand_in):
    gpu = tmp_path / "gpu.engine"
    build_on_board(here, request(tiny, gpu, GPU))
    stand_in.setting("samples", 12)
    rows = bench(here, BenchOptions(gpu=gpu, dla=engine, duration=1, repeats=2, idle=1.0, interval_ms=20))
    found = {(row.quantity, row.subject): row for row in rows}
    assert found["throughput", "gpu"].value == 1650.0
    assert found["throughput", "gpu"].n == 2
    assert found["throughput kept beside the others", "gpu"].value < 100
    power = found["power", "together"]
    assert power.value > found["power", "gpu"].value > found["idle power", "gpu"].value
    assert found["energy per inference above idle", "dla0"].value == pytest.approx(4000 / 650, rel=0.4)
    assert "power mode MAXN" in power.detail
    assert "DLA0_CORE 1600 MHz" in power.detail
    assert "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0" in power.detail
    assert here.transport.sent < 60_000, "engines that were built there are not pushed back"
    for name, path in (("gpu", gpu), ("dla0", engine), ("together", None)):
        hashes = {row.sha256 for row in rows if row.subject in {name, f"{name} (together)"}}
        assert hashes == {sha256_of(path) if path else ""}, "deploy --measured asks which engine it was"


def test_power_as_it_is(here):
    rows = power(here, IdleOptions(seconds=1.5, interval_ms=20))
    found = {row.subject: row for row in rows}
    assert found["module"].value == pytest.approx(5.0 + 1.997 + 4.32)
    assert found["VDD_CPU_CV"].value == pytest.approx(1.997)
    assert found["module"].n > 5
    assert "power mode MAXN; tegrastats" in found["module"].detail
    with pytest.raises(UsageError, match="power needs time"):
        power(here, IdleOptions(seconds=0))


def test_a_bench_without_engines():
    with pytest.raises(UsageError, match="nothing to measure"):
        bench(RemoteBoard(LocalTransport(None)), BenchOptions())


def test_an_evaluation_counts_the_engines_own_answers(here, engine):
    labels = np.arange(10) % 7
    images = np.zeros((10, 3, 8, 8), np.float32)
    images[:, 0, 0, 0] = labels
    labels[3] = 9
    found = evaluate_on_board(here, engine, images, labels, RemoteEvaluation())
    assert (found.correct, found.total) == (9, 10)


def test_doctor_asks_the_board_and_not_the_host(here, stand_in):
    checkup = examine(here)
    works = {ability.name: ability.works for ability in checkup.abilities}
    assert works["remote build"]
    assert works["remote probe, profile, bench, evaluate"]
    assert checkup.machine.trtexec == str(stand_in.programs / "trtexec")
    assert checkup.machine.power_mode == "MAXN"


def test_a_recording_answers_like_the_board(stand_in, tiny, tmp_path):
    folder = tmp_path / "recording"
    with RemoteBoard(RecordingTransport(LocalTransport(stand_in.root), folder)) as board:
        first = build_on_board(board, request(tiny, tmp_path / "first.engine"))
    with RemoteBoard(ReplayTransport(folder)) as board:
        again = build_on_board(board, request(tiny, tmp_path / "again.engine"))
        assert again.manifest.engine.sha256 == first.manifest.engine.sha256
    with RemoteBoard(ReplayTransport(folder)) as board, pytest.raises(InputError, match="another job"):
        build_on_board(board, request(tiny, tmp_path / "other.engine", GPU))


def inventory(tmp_path, count):
    path = tmp_path / "boards.toml"
    one = '[[board]]\nname = "{0}"\nhost = "local"\nroot = "{1}/{0}"\n'
    path.write_text("".join(one.format(f"b{number}", tmp_path) for number in range(count)))
    return str(path)


def test_boards_of_an_inventory_work_side_by_side(stand_in, tiny, tmp_path):
    entries = boards_of(inventory(tmp_path, 3))

    def work(entry, interruption):
        with open_board(entry, Patience(), RemoteBoard(None).progress, interruption) as board:
            if entry.title == "b1":
                raise DlaflowError("on purpose")
            return build_on_board(board, request(tiny, tmp_path / f"{entry.title}.engine")).manifest.engine.sha256

    results = on_every_board(entries, work)
    assert [result.entry.title for result in results] == ["b0", "b1", "b2"]
    assert results[0].answer == results[2].answer is not None
    assert "on purpose" in str(results[1].error)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[[board]]\n", '[[board]]\nhost = "a"\nport = 5\n', '[[board]]\nhost="a"\n' * 2]
)
def test_inventories_that_cannot_be_used(tmp_path, text):
    (tmp_path / "boards.toml").write_text(text)
    with pytest.raises(InputError, match="inventory"):
        boards_of(str(tmp_path / "boards.toml"))
