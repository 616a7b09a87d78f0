"""The worker of a job: its phases one after the other, the runs of a phase together, power and clocks around them."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, NoReturn, Protocol

from .allowed import command_of
from .clocks import lock_clocks, restore_clocks
from .facts import output_of
from .folder import Record, RefusedRequest, job_path
from .power import PowerMeter
from .process import end, spawn

DEVICE_TEXT = "device.txt"
_POLL_SECONDS = 0.05
_LONGEST_LINE = 2000
_LINES_KEPT = 5000
_NPY_MAGIC = b"\x93NUMPY"


class Stopped(Exception):
    """The user asked to stop the job, or the worker was told to end."""


class Failed(Exception):
    """The job cannot go on; the text says why."""


def work(job: Record) -> Record:
    """Run a job to its end and return how it ended: `state`, `why`, `runs`, `power` (where it came from)."""
    worker = _Worker(job)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_signal)
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
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
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
            with suppress(OSError), open(path, encoding="ascii") as file:
                lines.append(f"devfreq {path.split('/')[-2]} {file.read().strip()}\n")
        with open(os.path.join(self._folder, DEVICE_TEXT), "w", encoding="utf-8") as file:
            file.write("".join(lines))

    def _idle(self, seconds: float) -> None:
        started = time.time()
        self._say("phase", name="idle")
        while time.time() < started + seconds:
            self._listen()
        self.phases.append({"name": "idle", "started": started, "ended": time.time()})

    def _phase(self, phase: Record) -> None:
        self._say("phase", name=phase["name"])
        started = time.time()
        for run in phase["runs"]:
            log = open(os.path.join(self._folder, f"{run['name']}.log"), "wb")  # noqa: SIM115
            self._children.append(_Running(run, spawn(command_of(run), self._folder, log), log))
        while any(running.watch(self._say) for running in self._children):
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

    def _say(self, event: str, **fields: object) -> None:
        # A full disk silences the events; the programs' own failure tells of it.
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
        self._said = 0

    def watch(self, say: _Say) -> bool:
        """Pass on what is new in the log; whether the program still runs."""
        code = self._child.poll()
        self._pass_on(say)
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

    def _pass_on(self, say: _Say) -> None:
        for raw in self._read.readlines(1 << 16):
            # Verbose lines stay in the log, which is pulled whole.
            if self._said < _LINES_KEPT and b"[V]" not in raw:
                self._said += 1
                text = raw.decode("utf-8", "replace").rstrip()[:_LONGEST_LINE]
                say("line", run=self._run["name"], text=text)


class _Say(Protocol):
    """The shape of `_Worker._say`."""

    def __call__(self, event: str, **fields: object) -> None: ...


def _on_signal(number: int, frame: object) -> NoReturn:
    raise Stopped
