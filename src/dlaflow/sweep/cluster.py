"""The Ray cluster: one of this machine alone, or one that runs already. All that dlaflow knows of Ray stands here.

Ray tries a task again whose worker or machine died, and gives a task's result to the tasks that need it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from dlaflow.errors import EnvironmentLacksError, InputError, require

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.remote_function import RemoteFunction

_T = TypeVar("_T")
_OBJECT_STORE = 100 * 2**20
"""Bytes. Results are small records; files go through the folder."""
_ANSWER = 5.0
_CANCEL = 15.0
"""Seconds that tasks have to end by themselves after Ctrl-C: they keep what they can go on from."""


@contextmanager
def connected(address: str | None, cores: int | None) -> Iterator[None]:
    """A cluster of this machine alone with `cores` cores (None: all), on loopback; or with `address` one that runs.

    Within the context the functions below work. Raises EnvironmentLacksError without Ray, InputError where no cluster
    answers.
    """
    if address is not None:
        _look_for(address)
    _set_up(own=address is None, loopback=address is None or address.startswith(("127.0.0.1:", "localhost:")))
    require("ray", extra="sweep", what_for="this sweep")
    import ray

    with ExitStack() as stack:
        try:
            if address is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dlaflow-", ignore_cleanup_errors=True))
                ray.init(
                    "local",
                    num_cpus=cores,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                    _node_ip_address="127.0.0.1",
                )
            else:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises just that where its processes take longer than 30 s to begin
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if address is None:
                raise EnvironmentLacksError(f"Ray cannot be started here ({reason})") from None
            raise _no_cluster(address, reason) from None
        stack.callback(ray.shutdown)
        yield


def submit(function: Callable[..., _T], *arguments: object, cpus: float, gpus: float, retries: int) -> ObjectRef[_T]:
    """Call `function` on a machine of the cluster that has so many cores and GPUs free; returns the task.

    A task among the arguments is waited for and becomes its result. `retries` is how often the call is made again when
    its worker or machine dies.
    """
    task: ObjectRef[_T] = (
        _remote(function).options(num_cpus=cpus, num_gpus=gpus, max_retries=retries).remote(*arguments)
    )
    return task


@cache
def _remote(function: Callable[..., Any]) -> RemoteFunction:
    """Made once for each function: Ray takes another one for a kind of task of its own, and complains of a hundred."""
    import ray

    made: RemoteFunction = ray.remote(function)
    return made


def ended(tasks: Iterable[ObjectRef[_T]], seconds: float) -> list[ObjectRef[_T]]:
    """Those of the tasks that are over, after at most so many seconds."""
    import ray

    return ray.wait(list(tasks), num_returns=1, timeout=seconds)[0]


def result(task: ObjectRef[_T]) -> _T:
    """The result of a task that is over.

    Raises EnvironmentLacksError when its workers died each time, or dlaflow is missing where they ran.
    """
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0].split())
        raise EnvironmentLacksError(f"the cluster gave it up ({type(error).__name__}: {reason[:300]})") from None


def cancel(tasks: Iterable[ObjectRef[Any]]) -> None:
    """Interrupt the tasks as Ctrl-C would, and wait until they have put their things in order."""
    import ray

    listed = list(tasks)
    for task in listed:
        ray.cancel(task, force=False)
    if listed:
        ray.wait(listed, num_returns=len(listed), timeout=_CANCEL)


def machines() -> int:
    """Machines (or `ray start` processes) that are alive."""
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())  # type: ignore[no-untyped-call,unused-ignore]


def room(cpus: float) -> int:
    """How many tasks of so many cores fit at once."""
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
    return max(1, int(found.get("CPU", 1.0) / cpus + 1e-9))


def _look_for(address: str) -> None:
    """Find out in seconds what Ray would wait a minute for. Raises InputError."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or "/" in host or not port.isdecimal():
        raise InputError(
            "--address is no machine of a cluster",
            expected="HOST:PORT or auto",
            received=repr(address),
            then="This machine must belong to the cluster: `ray start --address HOST:PORT` makes it join.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, reason: str) -> InputError:
    then = "`ray start --head` starts one; `ray status` tells whether it runs."
    return InputError(f"no Ray cluster answers at {address} ({reason})", then=then)


def _set_up(*, own: bool, loopback: bool) -> None:
    """Ray reads these when it is imported: no telemetry, no port on the network for a cluster of one machine, and for
    one of our own a token that is written nowhere (by default Ray leaves one in the home folder)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if own:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if loopback:
        # Despite its name it makes Ray take 127.0.0.1 as the address of this machine.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
