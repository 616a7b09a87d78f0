"""Training in several processes, one for each device: started here (`--devices 2`), or by torchrun.

The first process (rank 0) measures, writes and speaks; the others learn along. Imported only once torch is known to be
there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TypeVar

import torch
from torch import distributed, multiprocessing

from dlaflow.errors import EXIT_INTERRUPTED, DlaflowError, EnvironmentLacksError
from dlaflow.progress import Progress, Task, silent
from dlaflow.zoo.data import Dataset
from dlaflow.zoo.device import pick_device
from dlaflow.zoo.training import TrainConfig, TrainResult, train

_PATIENCE = 15.0
"""Seconds that an interrupted process has to write its checkpoint."""
_TELL_EVERY = 0.2

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class World:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that measures, writes and speaks."""
        return self.rank == 0

    def same(self, value: Value) -> Value:
        """The first process's `value`, in all of them."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a number over the processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return float(value) / self.size


def joins_others() -> bool:
    """Whether torchrun (or `launch`) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined(device: str) -> Iterator[tuple[World, torch.device]]:
    """This process's place and device; the processes are connected within the context."""
    chosen = pick_device(device)
    if not joins_others():
        yield World(), chosen
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if chosen.type == "cuda":
        _check_count(local + 1)
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
        # Its watchdog must not look at work that a CUDA graph has captured.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    elif "OMP_NUM_THREADS" not in os.environ:
        together = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        torch.set_num_threads(max(1, torch.get_num_threads() // together))
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    yield World(distributed.get_rank(), distributed.get_world_size()), chosen
    # Only in order: after an error the others may be waiting for what will never come.
    distributed.barrier()
    distributed.destroy_process_group()


def launch(config: TrainConfig, dataset: Dataset, progress: Progress) -> TrainResult:
    """Train in `config.devices` processes and return what the first of them returns.

    Raises what it raises; EnvironmentLacksError when there are fewer devices, or when a process dies.
    """
    if pick_device(config.device).type == "cuda":
        _check_count(config.devices)
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    processes, pipes = [], []
    for rank in range(config.devices):
        pipe, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(rank, port, config, dataset, theirs), daemon=True)
        process.start()
        # Once only the process holds this end, its death closes the pipe.
        theirs.close()
        processes.append(process)
        pipes.append(pipe)
    try:
        return _listen(pipes, progress)
    except KeyboardInterrupt:
        for process in processes:
            process.join(_PATIENCE)
        raise
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            process.join()


def _listen(pipes: list[Connection], progress: Progress) -> TrainResult:
    """Show what the first process tells, until a process tells a result or an error."""
    open_pipes = list(pipes)
    with ExitStack() as stack:
        task: Task | None = None
        while True:
            for pipe in wait(open_pipes):
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                except EOFError:
                    open_pipes.remove(pipe)
                    if pipe is pipes[0] or not open_pipes:
                        raise EnvironmentLacksError(
                            "a training process ended before its work was done", then="Its last words are above."
                        ) from None
                    continue
                if isinstance(message, TrainResult):
                    return message
                if isinstance(message, DlaflowError):
                    raise message
                if isinstance(message, _Opened):
                    task = stack.enter_context(progress(message.title, message.total, message.unit))
                elif isinstance(message, _Told) and task is not None:
                    task.advance(message.amount)
                    if message.state is not None:
                        task.describe(message.state)


def _work(rank: int, port: int, config: TrainConfig, dataset: Dataset, pipe: Connection) -> None:
    """One process: as torchrun would have started it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(config.devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        pipe.send(train(config, _Relay(pipe) if rank == 0 else silent, dataset))
    except DlaflowError as error:
        pipe.send(error)
        # At once: to leave in order would mean to wait for the others.
        os._exit(error.exit_code)
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)


@dataclass(frozen=True, slots=True)
class _Opened:
    title: str
    total: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class _Told:
    amount: float
    state: str | None


class _Relay:
    """A progress that is shown by another process, a few times a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._amount = 0.0
        self._state: str | None = None
        self._told = time.monotonic()

    @contextmanager
    def __call__(self, title: str, total: float | None, unit: str = "") -> Iterator[_Relay]:
        self._pipe.send(_Opened(title, total, unit))
        yield self
        self._tell()

    def advance(self, amount: float = 1) -> None:
        self._amount += amount
        if time.monotonic() - self._told > _TELL_EVERY:
            self._tell()

    def describe(self, text: str) -> None:
        self._state = text

    def _tell(self) -> None:
        self._pipe.send(_Told(self._amount, self._state))
        self._amount, self._state, self._told = 0.0, None, time.monotonic()


def _check_count(devices: int) -> None:
    if devices > torch.cuda.device_count():
        raise EnvironmentLacksError(
            "this machine has too few GPUs", expected=f"at least {devices}", received=torch.cuda.device_count()
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
