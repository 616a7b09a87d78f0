"""The loop that sweeps and surveys share: keep the workers busy, and take in each task that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Protocol, TypeVar

_Key = TypeVar("_Key")
_LOOK = 0.5
"""Seconds between looks at the workers."""


class Workers(Protocol):
    """What runs tasks: `dlaflow.sweep.cluster` over Ray, or processes of this machine."""

    def ended(self, tasks: Iterable[Any], seconds: float) -> list[Any]:
        """Those of the tasks that are over, after at most so many seconds."""

    def result(self, task: Any) -> Any:
        """What a task that is over gives. Raises EnvironmentLacksError when its worker died each time."""

    def cancel(self, tasks: Iterable[Any]) -> None:
        """Interrupt the tasks as Ctrl-C would, and wait for them."""

    def machines(self) -> int:
        """Machines that are alive."""

    def room(self, cpus: float) -> int:
        """How many tasks of so many cores fit at once."""


def drive(
    workers: Workers,
    running: MutableMapping[Any, _Key],
    ask: Callable[[], tuple[_Key, Any] | None],
    end: Callable[[_Key, Any], None],
    most: Callable[[], int],
    announce: Callable[[str], None],
) -> None:
    """Ask for tasks, `most` at once, until there are none; `end` hears of each that is over, with what it was for.

    `running` maps those that are begun; the caller cancels them when anything is raised.
    """
    machines = workers.machines()
    while True:
        while len(running) < most() and (asked := ask()) is not None:
            key, task = asked
            running[task] = key
        if not running:
            return
        for task in workers.ended(running, _LOOK):
            end(running.pop(task), task)
        alive = workers.machines()
        if alive < machines:
            announce(f"A machine of the cluster was lost ({alive} left); what it did is tried again.")
        machines = alive
