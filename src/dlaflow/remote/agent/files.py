"""Files by content: which are missing, taking them in, handing a job's results out."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from contextlib import suppress

from .folder import NAME, SHA, Record, RefusedRequest, answer, digest, free_bytes, job_path, need, place, read


def have(request: Record) -> None:
    """Which of the files are not in the store yet, and how much room there is."""
    wanted = [need(SHA, name, "a hash") for name in request["files"]]
    answer({"missing": [name for name in wanted if not os.path.exists(place("store", name))], "free": free_bytes()})


def receive(request: Record) -> None:
    """A tar on the rest of stdin: plain files, named by their hash, nothing else."""
    count = 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            name = need(SHA, member.name, "a hash")
            source = tar.extractfile(member) if member.isfile() else None
            if source is None:
                raise RefusedRequest("refused", f"not a plain file: {member.name!r}")
            temporary = place("incoming", f"{name}.{os.getpid()}")
            try:
                with open(temporary, "wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                os.replace(temporary, place("incoming", name))
            finally:
                with suppress(OSError):
                    os.unlink(temporary)
            count += 1
    answer({"received": count})


def adopt(request: Record) -> None:
    """Into the store with what arrived whole; what did not is dropped and named."""
    wrong = []
    for name in request["files"]:
        source, target = place("incoming", need(SHA, name, "a hash")), place("store", name)
        if os.path.exists(target):
            continue
        if not os.path.exists(source) or digest(source) != name:
            wrong.append(name)
            with suppress(OSError):
                os.unlink(source)
            continue
        os.chmod(source, 0o400)
        with open(source, "rb") as file:
            os.fsync(file.fileno())
        os.replace(source, target)
    answer({"wrong": wrong})


def send(request: Record) -> None:
    """A tar of a finished job's files on stdout."""
    job = str(request["id"])
    outputs = read(job_path(job, "state.json")).get("outputs", {})
    names = [need(NAME, name, "a file") for name in request["names"]]
    for name in names:
        if name not in outputs:
            raise RefusedRequest("refused", f"{job} has no {name!r}")
    # The host reads plain members only: no extended headers.
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            tar.add(job_path(job, name), arcname=name, recursive=False)
    sys.stdout.flush()
