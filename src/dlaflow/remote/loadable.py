"""`dlaflow remote BOARD loadable`: the bytes of a loadable's inputs go to the board, those of its outputs come back.

Packing and scales stay on the host; the board runs runtime/cudla.py, which travels in the agent.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from dlaflow.errors import EnvironmentLacksError
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, perform, require_done
from dlaflow.remote.records import Phase, ProgramRun
from dlaflow.runtime.cudla import DESCRIPTION, STATISTICS_TEXTS, TIMES, CudlaError, Tensor, check_tensors

LOADABLE = "model.loadable"
_RUN = "loadable"
_SECONDS = 3600.0
_MOST_TEXT = 1 << 20
_Told = TypeVar("_Told")


class _Described(msgspec.Struct, frozen=True):
    """tensors.json of a board."""

    cudla: str
    through: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class _Reason(msgspec.Struct, frozen=True):
    """The last line of a program that failed."""

    what: str
    then: str
    lacks: bool


class BoardDevice:
    """A loadable on a core of a board, with the interface of a cuDLA session.

    Raises CudlaError with cuDLA's own reason, EnvironmentLacksError as jobs do.
    """

    def __init__(self, board: RemoteBoard, loadable: Path, core: int, control: JobControl | None = None) -> None:
        self._board, self._loadable, self._core, self._control = board, loadable, core, control
        (text,) = self._job([], (), (DESCRIPTION,))
        told = self._read(text, _Described, "no description of the loadable")
        self.version, self.through = told.cudla, told.through
        self.inputs, self.outputs = told.inputs, told.outputs
        check_tensors(self.inputs, self.outputs)

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """The outputs' bytes of one or several tasks."""
        count = len(inputs[0]) // self.inputs[0].size
        found = self._job(inputs, (), tuple(f"output{number}.raw" for number in range(len(self.outputs))))
        for data, tensor in zip(found, self.outputs, strict=True):
            if len(data) != count * tensor.size:
                raise EnvironmentLacksError(
                    f"{self._board.name} sent another size of {tensor.name}",
                    expected=count * tensor.size,
                    received=len(data),
                )
        return found

    def time(self, inputs: Sequence[bytes], runs: int, warm_up: int) -> list[float]:
        """Milliseconds of each run."""
        (text,) = self._job(inputs, (f"--runs={runs}", f"--warmUp={warm_up}"), (TIMES,))
        times = self._read(text, list[float], "no times")
        if len(times) != runs or not all(0 <= each < math.inf for each in times):
            raise EnvironmentLacksError(f"{self._board.name} sent other times", expected=runs, received=len(times))
        return times

    def statistics(self, inputs: Sequence[bytes], megahertz: int) -> list[str]:
        """Times of each layer as CSV, a text a statistics buffer."""
        (text,) = self._job(inputs, (f"--megahertz={megahertz}",), (STATISTICS_TEXTS,))
        return self._read(text, list[str], "no statistics")

    def _read(self, text: bytes, kind: type[_Told], lacks: str) -> _Told:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise EnvironmentLacksError(f"{self._board.name} sent {lacks}", received=error) from None

    def _job(self, inputs: Sequence[bytes], words: tuple[str, ...], wanted: tuple[str, ...]) -> list[bytes]:
        names = [f"input{number}.bin" for number in range(len(inputs))]
        fed = (f"--inputs={','.join(names)}",) if names else ()
        arguments = (f"--loadable={LOADABLE}", f"--core={self._core}", *fed, *words)
        run = ProgramRun(name=_RUN, program="loadable", arguments=arguments, seconds=_SECONDS)
        with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
            files = {LOADABLE: self._loadable}
            for name, data in zip(names, inputs, strict=True):
                files[name] = Path(folder) / name
                files[name].write_bytes(data)
            pulled = Path(folder) / "pulled"
            pulled.mkdir()
            options = JobOptions("loadable", self._loadable.name, files, (Phase(name=_RUN, runs=(run,)),))
            state = perform(self._board, options, pulled, self._control)
            if state.state == "failed":
                _raise_reason(pulled / f"{_RUN}.log")
            require_done(self._board, state)
            if missing := [name for name in wanted if not (pulled / name).is_file()]:
                raise EnvironmentLacksError(f"{self._board.name} left no {', '.join(missing)}")
            return [(pulled / name).read_bytes() for name in wanted]


def _raise_reason(log: Path) -> None:
    """cuDLA's reason is the last line of the program. Raises CudlaError where there is one."""
    lines = log.read_bytes()[-_MOST_TEXT:].splitlines() if log.is_file() else []
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        told = msgspec.json.decode(lines[-1] if lines else b"", type=_Reason)
        raise CudlaError(told.what, told.then, told.lacks)
