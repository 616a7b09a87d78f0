"""trtexec as a process, with a stand-in: success, failure, hang, crash, flood, full disk, Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import How, Request, build_engine
from dlaflow.build.manifest import BuiltFor, read_manifest
from dlaflow.build.trtexec import TrtexecOptions, find_trtexec
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.process import run_logged

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE") or Path(__file__).parents[3] / "shared" / "evidence")
LOGS = EVIDENCE / "artefacts" / "open"
CONFIG = BuildConfig(precision="fp16", dla_core=0, gpu_fallback=True)


@pytest.fixture
def stand_in(tmp_path):
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    source = Path(__file__).with_name("stand_in_trtexec.py").read_text()
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    return program


def build(stand_in, model, config=CONFIG, timeout=60.0, progress=None):
    engine = model.with_name("model.engine")
    how = How("trtexec", TrtexecOptions(str(stand_in), timeout))
    request = Request(model, engine, config, BuiltFor("tensorrt", "8.5.2", "agx-orin-64gb", "5.1.1"))
    return build_engine(request, how, progress) if progress else build_engine(request, how)


def nothing_half_written(folder):
    left = sorted(path.name for path in folder.iterdir() if path.is_file())
    return "model.engine" not in left and not [name for name in left if name.endswith(".tmp")]


def is_gone(pid):
    """Whether a process has ended (one that nobody has collected yet has); signals take a moment to arrive."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_success(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "passes")
    described = []

    @contextmanager
    def progress(title, total, unit=""):
        class Task:
            advance = staticmethod(lambda amount=1: None)
            describe = staticmethod(described.append)

        yield Task()

    result = build(stand_in, tiny, progress=progress)
    assert result.engine.read_bytes() == b"engine"
    assert described == ["reading the model", "placed the layers", "built"]
    assert result.run.performance.throughput_qps == 649.723
    assert (len(result.run.placement.dla), len(result.run.placement.gpu)) == (1, 1)
    manifest = read_manifest(result.engine)
    assert manifest == result.manifest
    assert manifest.mode == "hybrid"
    assert manifest.command[1:4] == (f"--onnx={tiny}", f"--saveEngine={result.engine}", "--fp16"), "no temporary name"
    assert result.engine.with_name("model.engine.log").read_text().startswith("&&&& RUNNING")


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
def test_a_recorded_log_is_replayed_and_its_release_noted(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "passes")
    monkeypatch.setenv("REPLAY", str(LOGS / "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log"))
    result = build(stand_in, tiny)
    assert result.run.performance.throughput_qps == 56.2678
    assert result.manifest.built_for.tensorrt == "10.3.0"
    assert result.manifest.built_for.compute_capability == "8.7"
    assert "10.3.0 built the engine" in result.cautions[-1].message


def test_failure_is_explained_and_leaves_no_engine(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "fails")
    with pytest.raises(EnvironmentLacksError, match=r"no such DLA core here.*model\.engine\.log"):
        build(stand_in, tiny)
    assert nothing_half_written(tiny.parent)
    assert "FAILED" in tiny.with_name("model.engine.log").read_text(), "the log stays"


def test_an_older_engine_survives_a_failed_build(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "fails")
    tiny.with_name("model.engine").write_bytes(b"older")
    with pytest.raises(EnvironmentLacksError):
        build(stand_in, tiny)
    assert tiny.with_name("model.engine").read_bytes() == b"older"


def test_a_hang_is_ended_with_all_its_children(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "hangs")
    started = time.monotonic()
    with pytest.raises(EnvironmentLacksError, match="took too long"):
        build(stand_in, tiny, timeout=4)
    assert time.monotonic() - started < 30
    assert nothing_half_written(tiny.parent)
    helper = int(tiny.with_name("model.engine.log").read_text().split("helper ")[1])
    assert is_gone(helper)


def test_a_crash(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "crashes")
    with pytest.raises(EnvironmentLacksError, match="ended by signal 6"):
        build(stand_in, tiny)
    assert nothing_half_written(tiny.parent)


def test_a_flood_of_output(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "talks")
    result = build(stand_in, tiny)
    assert result.run.performance.throughput_qps == 649.723
    assert tiny.with_name("model.engine.log").stat().st_size > 25_000_000


def test_passed_without_an_engine(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "says passed")
    with pytest.raises(EnvironmentLacksError, match="PASSED but saved no engine"):
        build(stand_in, tiny)
    assert nothing_half_written(tiny.parent)


def test_an_option_that_this_trtexec_does_not_know(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "unknown option")
    with pytest.raises(UsageError, match="does not know an option"):
        build(stand_in, tiny)


def test_a_full_disk_ends_the_child(stand_in, monkeypatch, tmp_path):
    """On a device of our own: whoever tests with the machine's risks it."""
    full = tmp_path / "full"
    try:
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        full.open("rb").close()
    except PermissionError:
        pytest.skip("only root makes devices, and not everywhere")
    monkeypatch.setenv("STAND_IN", "talks")
    with pytest.raises(InputError, match="No space left"):
        run_logged([str(stand_in)], full)
    assert stat.S_ISCHR(full.lstat().st_mode)


def test_an_error_of_the_listener_leaves_no_process(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN", "hangs")
    seen = []

    def listen(line):
        seen.append(line)
        if line.startswith("helper"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_logged([str(stand_in)], tmp_path / "log", on_line=listen)
    assert is_gone(int(seen[-1].split()[1]))


def test_ctrl_c_ends_the_child_and_leaves_nothing(stand_in, tiny):
    engine = tiny.with_name("model.engine")
    log = tiny.with_name("model.engine.log")
    command = [sys.executable, "-m", "dlaflow", "build", str(tiny), "--out", str(engine), "--tensorrt", "8.5.2"]
    command += ["--precision", "fp16", "--trtexec", str(stand_in)]
    running = subprocess.Popen(
        command, env={**os.environ, "STAND_IN": "hangs"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(300):
        if log.is_file() and "helper" in log.read_text():
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert nothing_half_written(tiny.parent)
    assert is_gone(int(log.read_text().split("helper ")[1]))


def test_the_cache_names_the_release_that_reads_it(stand_in, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN", "keeps the cache")
    cache = tmp_path / "calib.cache"
    cache.write_bytes(b"TRT-8400-EntropyCalibration2\ninput: 3c010a14\n")
    result = build(stand_in, tiny, replace(CONFIG, precision="int8", scales="cache", cache=str(cache)))
    assert result.engine.read_bytes() == b"TRT-8502-EntropyCalibration2\ninput: 3c010a14\n"
    assert cache.read_bytes().startswith(b"TRT-8400-"), "the given one stays as it is"
    assert result.manifest.cache.path == str(cache)


def test_the_model_is_never_overwritten(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "passes")
    before = tiny.read_bytes()
    with pytest.raises(UsageError, match="overwrite the model"):
        build_engine(Request(tiny, tiny, CONFIG, BuiltFor("tensorrt", "8.5.2")), How("trtexec"))
    assert tiny.read_bytes() == before


def test_files_that_trtexec_would_not_miss(stand_in, tiny, monkeypatch):
    monkeypatch.setenv("STAND_IN", "passes")
    with pytest.raises(InputError, match="calibration cache"):
        build(stand_in, tiny, replace(CONFIG, precision="int8", scales="cache", cache="nowhere.cache"))
    with pytest.raises(InputError, match="plugin"):
        build(stand_in, tiny, replace(CONFIG, plugins=("nowhere.so",)))
    with pytest.raises(InputError, match=r"(?i)no such file"):
        build(stand_in, tiny.with_name("nowhere.onnx"))


def test_trtexec_is_found_on_path(stand_in, monkeypatch):
    monkeypatch.setenv("PATH", str(stand_in.parent))
    assert find_trtexec() == stand_in
    with pytest.raises(EnvironmentLacksError, match="trtexec is not here"):
        find_trtexec("/nowhere/trtexec")
