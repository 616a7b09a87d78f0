"""The worker of a job: its phases one after the other, the runs of a phase together, power and clocks around them.

Every program runs in a group of its own that dies with the worker. Power comes from tegrastats, or from the rails that
the kernel shows, each sample with its time.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, NoReturn, Protocol

from .allowed import command_of
from .clocks import lock_clocks, restore_clocks
from .facts import output_of
from .folder import Record, RefusedRequest, job_path, program, text_of

DEVICE_TEXT = "device.txt"
_POLL_SECONDS = 0.05
_LONGEST_LINE = 2000
_LINES_KEPT = 5000
_NPY_MAGIC = b"\x93NUMPY"


class Stopped(Exception):
    """The user asked to stop the job, or the worker got a signal to end."""


class Failed(Exception):
    """The job cannot go on; the text is the reason."""


def work(job: Record) -> Record:
    """Run a job to its end and return how it ended: `state`, `why`, `runs`, `power` (where it came from)."""
    worker = _Worker(job)
    on_end_signals(_on_signal)
    ending, why = "done", ""
    try:
        worker.run()
    except Stopped:
        ending, why = "stopped", "stopped on request"
    except (Failed, RefusedRequest) as error:
        ending, why = "failed", str(error)
    except OSError as error:
        ending, why = "failed", f"{error.strerror or error} {error.filename or ''}".strip()
    finally:
        on_end_signals(signal.SIG_IGN)
        worker.close()
        restore_clocks()
    return {"state": ending, "why": why, "runs": worker.runs, "phases": worker.phases, "power": worker.power_source}


class _Worker:
    def __init__(self, job: Record) -> None:
        self._job = job
        self._folder = job_path(job["id"])
        self._events = open(os.path.join(self._folder, "events.jsonl"), "ab", buffering=0)  # noqa: SIM115
        self._meter: PowerMeter | None = None
        self._children: list[_Running] = []
        self.runs: list[Record] = []
        self.phases: list[Record] = []
        self.power_source = ""

    def run(self) -> None:
        self._unpack()
        if self._job.get("clocks"):
            lock_clocks()
        self._describe_device()
        power = self._job.get("power")
        if power:
            self._meter = PowerMeter(self._folder, int(power["interval_ms"]))
            self._meter.start()
            self.power_source = self._meter.source
            self._idle(float(power["idle_s"]))
        for phase in self._job["phases"]:
            self._phase(phase)

    def close(self) -> None:
        for running in self._children:
            running.close()
        self._children = []
        if self._meter is not None:
            self._meter.stop()
        self._events.close()

    def _unpack(self) -> None:
        """trtexec reads raw values; the host sends .npy, which holds shape and type too."""
        for name in self._job["files"]:
            if not name.endswith(".npy"):
                continue
            path = os.path.join(self._folder, name)
            with open(path, "rb") as source, open(f"{path[:-4]}.bin", "wb") as target:
                head = source.read(10)
                if head[:6] != _NPY_MAGIC or head[6] != 1:
                    raise Failed(f"{name} is not a .npy file of version 1")
                source.read(int.from_bytes(head[8:10], "little"))
                shutil.copyfileobj(source, target, 1 << 20)

    def _describe_device(self) -> None:
        """Power mode and clocks as they are during the job: they go beside every number."""
        lines = [output_of("nvpmodel", "-q"), output_of("jetson_clocks", "--show")]
        for path in sorted(glob.glob("/sys/class/devfreq/*/cur_freq")):
            with suppress(OSError):
                lines.append(f"devfreq {path.split('/')[-2]} {text_of(path)}\n")
        with open(os.path.join(self._folder, DEVICE_TEXT), "w", encoding="utf-8") as file:
            file.write("".join(lines))

    def _idle(self, seconds: float) -> None:
        started = time.time()
        self._emit("phase", name="idle")
        while time.time() < started + seconds:
            self._listen()
        self.phases.append({"name": "idle", "started": started, "ended": time.time()})

    def _phase(self, phase: Record) -> None:
        self._emit("phase", name=phase["name"])
        started = time.time()
        for run in phase["runs"]:
            log = open(os.path.join(self._folder, f"{run['name']}.log"), "wb")  # noqa: SIM115
            self._children.append(_Running(run, spawn(command_of(run), self._folder, log), log))
        while any(running.watch(self._emit) for running in self._children):
            self._listen()
        ended, self._children = self._children, []
        self.phases.append({"name": phase["name"], "started": started, "ended": time.time()})
        for running in ended:
            running.close()
            self.runs.append(running.record(phase["name"]))
        bad = [run for run in self.runs[-len(ended) :] if run["exit"] != 0]
        if bad and not phase.get("may_fail"):
            late = bad[0]["timed_out"]
            why = "took longer than its time limit" if late else f"ended with {bad[0]['exit']}"
            raise Failed(f"{bad[0]['name']} {why}")

    def _listen(self) -> None:
        if os.path.exists(os.path.join(self._folder, "stop")):
            raise Stopped
        time.sleep(_POLL_SECONDS)

    def _emit(self, event: str, **fields: object) -> None:
        # A full disk silences the events; the programs' own failure shows it.
        with suppress(OSError):
            self._events.write(json.dumps({"event": event, **fields}).encode() + b"\n")


class _Running:
    """One program: its process, its log, and how much of the log was passed on."""

    def __init__(self, run: Record, child: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._run = run
        self._child = child
        self._log = log
        self._read = open(log.name, "rb")  # noqa: SIM115
        self._started = time.time()
        self._seconds = 0.0
        self._timed_out = False
        self._emitted = 0

    def watch(self, emit: _Emit) -> bool:
        """Pass on what is new in the log; whether the program still runs."""
        code = self._child.poll()
        self._pass_on(emit)
        if code is not None:
            self._seconds = self._seconds or time.time() - self._started
            return False
        if time.time() > self._started + self._run["seconds"]:
            self._timed_out = True
            end(self._child)
        return True

    def close(self) -> None:
        end(self._child)
        self._log.close()
        self._read.close()

    def record(self, phase: str) -> Record:
        return {
            "name": self._run["name"],
            "phase": phase,
            "exit": self._child.returncode,
            "seconds": self._seconds,
            "started": self._started,
            "timed_out": self._timed_out,
        }

    def _pass_on(self, emit: _Emit) -> None:
        for raw in self._read.readlines(1 << 16):
            # Verbose lines stay in the log, which is pulled whole.
            if self._emitted < _LINES_KEPT and b"[V]" not in raw:
                self._emitted += 1
                text = raw.decode("utf-8", "replace").rstrip()[:_LONGEST_LINE]
                emit("line", run=self._run["name"], text=text)


class _Emit(Protocol):
    """The shape of `_Worker._emit`."""

    def __call__(self, event: str, **fields: object) -> None: ...


def _on_signal(number: int, frame: object) -> NoReturn:
    raise Stopped


TEGRASTATS_LOG = "tegrastats.log"
RAILS_LOG = "rails.jsonl"
_SENSORS = ("/sys/class/hwmon/hwmon*", "/sys/bus/i2c/drivers/ina3221*/*/iio:device*")


class PowerMeter:
    """Samples every `interval_ms` from `start` to `stop` into a file of `folder`, each line with the epoch in front."""

    def __init__(self, folder: str, interval_ms: int) -> None:
        self._folder = folder
        self._interval_ms = max(20, interval_ms)
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.source = ""

    def start(self) -> None:
        """Raises RefusedRequest where the board shows no power at all."""
        try:
            tool = program("tegrastats")
        except RefusedRequest:
            if not read_rails():
                raise RefusedRequest("missing", "this board has neither tegrastats nor readable power rails") from None
            self.source = "sysfs"
            self._thread = threading.Thread(target=self._sample_rails, daemon=True)
        else:
            self.source = "tegrastats"
            self._child = spawn([tool, "--interval", str(self._interval_ms)], self._folder, subprocess.PIPE)
            assert self._child.stdout is not None
            self._thread = threading.Thread(target=self._stamp, args=(self._child.stdout,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling; what was sampled stays."""
        self._stop.set()
        if self._child is not None:
            end(self._child)
        if self._thread is not None:
            self._thread.join(5)

    def _stamp(self, lines: IO[bytes]) -> None:
        # A full disk ends the sampling, not the job.
        with suppress(OSError), open(os.path.join(self._folder, TEGRASTATS_LOG), "wb", buffering=0) as file:
            for line in lines:
                file.write(b"%.3f::%s" % (time.time(), line))

    def _sample_rails(self) -> None:
        with suppress(OSError), open(os.path.join(self._folder, RAILS_LOG), "w", encoding="utf-8") as file:
            while not self._stop.wait(self._interval_ms / 1000):
                file.write(json.dumps({"at": time.time(), "rails_mw": read_rails()}) + "\n")
                file.flush()


def read_rails() -> dict[str, float]:
    """Milliwatts by rail, from the INA sensors in sysfs: volts (mV) times amperes (mA) of each labelled channel."""
    rails = {}
    for folder in [found for pattern in _SENSORS for found in sorted(glob.glob(pattern))]:
        for label in sorted(glob.glob(os.path.join(folder, "in*_label"))):
            number = os.path.basename(label)[2:-6]
            try:
                name = text_of(label)
                millivolts = float(text_of(os.path.join(folder, f"in{number}_input")))
                milliamperes = float(text_of(os.path.join(folder, f"curr{number}_input")))
            except (OSError, ValueError):
                continue
            # The sum channel of the sensor has no current of its own.
            if name and "sum" not in name.lower():
                rails[name] = millivolts * milliamperes / 1000
    return rails


_LIBC = ctypes.CDLL(None)
"""Loaded before any thread: between fork and exec nothing may be."""
_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5.0

# Called with each new group: the worker adds itself, so that the guardian can end what the worker leaves.
announce: list[Callable[[int], None]] = []


def spawn(command: list[str], folder: str, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program in `folder`; its stderr goes with its stdout."""
    child = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    for notify in announce:
        notify(child.pid)
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    """End a program and its group, politely first."""
    kill_group(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_SECONDS)
    kill_group(child.pid, signal.SIGKILL)
    child.wait()


def kill_group(group: int, number: int) -> None:
    """Signal a group, which may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def on_end_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    """Handle what asks a process to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
