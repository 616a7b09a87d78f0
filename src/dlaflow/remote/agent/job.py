"""Jobs: started under the board's lock, run apart from the connection, closed whatever happens, found again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from .allowed import check_job
from .clocks import restore_clocks
from .folder import ID, NAME, Record, RefusedRequest, answer, digest, job_path, place, read, take_lock, write
from .worker import announce, kill_group, on_end_signals, work

_INNER = ("state.json", "events.jsonl", "reserve", "stop")
_RESERVE = b"\0" * 65536
_HEARTBEAT_SECONDS = 2.0
_POLL_SECONDS = 0.1


def start(request: Record) -> None:
    """Start a job; the same id again is answered with what became of it."""
    job = request["job"]
    check_job(job)
    path = job_path(job["id"], "state.json")
    known = read(path)
    if known:
        answer({"answer": "known", "state": known})
        return
    lock = recover()
    if lock is None:
        answer({"answer": "busy", "holder": read(place("holder.json"))})
        return
    state = _begin(job)
    detached, theirs = os.pipe()
    if os.fork() == 0:
        _detach()
        os.close(theirs)
        os.close(detached)
        _guard(job, state)
    os.close(lock)
    os.close(theirs)
    # The host ends this call's group once it has its answer; the job must have left it.
    os.read(detached, 1)
    answer({"answer": "started", "state": state})


def follow(request: Record) -> None:
    """The events of a job from an offset, with a heartbeat, until the job is over; then its state."""
    job = str(request["id"])
    path, offset = job_path(job, "events.jsonl"), int(request.get("offset", 0))
    _state_of(job)
    last_sign = time.time()
    while True:
        # The state is read first: the last events of a finished job are then surely in its file.
        state = read(job_path(job, "state.json"))
        if state.get("state") == "running":
            release(recover())
        with open(path, "rb") as file:
            file.seek(offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                offset += len(raw)
                with suppress(ValueError):
                    answer({**json.loads(raw), "at": offset})
                last_sign = time.time()
        if state.get("state") != "running":
            answer({"event": "end", "at": offset, "state": state})
            return
        if time.time() > last_sign + _HEARTBEAT_SECONDS:
            answer({"event": "alive", "at": offset})
            last_sign = time.time()
        time.sleep(_POLL_SECONDS)


def stop(request: Record) -> None:
    """Ask a job to end; `follow` ends when it has."""
    job = str(request["id"])
    state = _state_of(job)
    if state["state"] == "running":
        with open(job_path(job, "stop"), "w", encoding="ascii"):
            pass
    answer({"state": state})


def jobs(request: Record) -> None:
    """Every job's state, the oldest first."""
    release(recover())
    states = [read(place("jobs", job, "state.json")) for job in os.listdir(place("jobs")) if ID.fullmatch(job)]
    answer({"jobs": sorted(filter(None, states), key=lambda state: float(state["started"]))})


def clean(request: Record) -> None:
    """Forget jobs that ended long ago, and files that no job used since."""
    lock = recover()
    if lock is None:
        answer({"answer": "busy", "holder": read(place("holder.json"))})
        return
    before = time.time() - float(request["days"]) * 86400
    removed = 0
    for job in os.listdir(place("jobs")):
        if read(place("jobs", job, "state.json")).get("ended", 0.0) < before:
            shutil.rmtree(place("jobs", job), ignore_errors=True)
            removed += 1
    for folder in ("store", "incoming"):
        for name in os.listdir(place(folder)):
            with suppress(OSError):
                if os.stat(place(folder, name)).st_mtime < before:
                    os.unlink(place(folder, name))
    release(lock)
    answer({"answer": "cleaned", "removed": removed})


def recover() -> int | None:
    """Close the books of a job whose processes are all gone. The lock when nobody has it, else None."""
    lock = take_lock()
    if lock is not None:
        restore_clocks()
        for job in os.listdir(place("jobs")):
            state = read(place("jobs", job, "state.json"))
            if state.get("state") == "running":
                # A disk that is still full is no reason to refuse the call; the next one tries again.
                with suppress(OSError):
                    _finish(state, {"state": "died", "why": "its processes were killed, or the board was restarted"})
    return lock


def release(lock: int | None) -> None:
    """Give the lock back."""
    if lock is not None:
        os.close(lock)


def _state_of(job: str) -> Record:
    state = read(job_path(job, "state.json"))
    if not state:
        raise RefusedRequest("unknown_job", f"there is no job {job}")
    return state


def _begin(job: Record) -> Record:
    folder = job_path(job["id"])
    # What is left of a start that was cut before its state was written.
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    state = {key: job.get(key, "") for key in ("id", "kind", "desk", "title")}
    state.update(state="running", why="", started=time.time(), files=sorted(job["files"]), outputs={}, runs=[])
    try:
        for name, sha in job["files"].items():
            if not os.path.exists(place("store", sha)):
                raise RefusedRequest("missing_file", f"{name} was not pushed")
            os.utime(place("store", sha))
            os.link(place("store", sha), os.path.join(folder, name))
        # Room for the last state on a disk that runs full.
        with open(os.path.join(folder, "reserve"), "wb") as file:
            file.write(_RESERVE)
        with open(os.path.join(folder, "events.jsonl"), "wb"):
            pass
        write(place("holder.json"), state)
        write(os.path.join(folder, "state.json"), state)
    except (OSError, RefusedRequest):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return state


def _detach() -> None:
    """Leave the connection: a session of its own, no terminal, no pipe to the host."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _guard(job: Record, state: Record) -> NoReturn:
    """The guardian: start the worker, wait for its end by the pipe that only it holds, and clear up behind it."""
    groups_end, worker_end = os.pipe()
    worker = os.fork()
    if worker == 0:
        code = 1
        try:
            os.close(groups_end)
            announce.append(lambda group: _write_group(worker_end, group))
            ending = work(job)
            _finish(state, ending)
            code = 0
        finally:
            os._exit(code)
    os.close(worker_end)
    on_end_signals(signal.SIG_IGN)
    try:
        with open(groups_end, "rb") as groups:
            started = [int(line) for line in groups]
        os.waitpid(worker, 0)
        for group in started:
            if not _is_over(state):
                kill_group(group, signal.SIGKILL)
        restore_clocks()
        if not _is_over(state):
            _finish(state, {"state": "died", "why": "its worker was killed"})
    finally:
        os._exit(0)


def _is_over(state: Record) -> bool:
    return bool(read(job_path(state["id"], "state.json")).get("state") != "running")


def _write_group(pipe: int, group: int) -> None:
    with suppress(OSError):
        os.write(pipe, b"%d\n" % group)


def _finish(state: Record, ending: Record) -> None:
    """Write the final state of a job, with the hash of all that it leaves."""
    folder = job_path(state["id"])
    with suppress(OSError):
        os.unlink(os.path.join(folder, "reserve"))
    outputs = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name in _INNER or name in state["files"] or name.endswith((".tmp", ".bin")) or not os.path.isfile(path):
            continue
        # What no host takes, such as a program's hidden file.
        if not NAME.fullmatch(name):
            continue
        outputs[name] = {"bytes": os.path.getsize(path), "sha256": digest(path)}
        # An engine that was built here need not be pushed back to be run here.
        with suppress(OSError):
            os.link(path, place("store", str(outputs[name]["sha256"])))
    write(os.path.join(folder, "state.json"), {**state, **ending, "ended": time.time(), "outputs": outputs})
    sys.stdout.flush()
