"""`dlaflow remote BOARD loadable`: the bytes of a loadable's inputs go to the board, those of its outputs come back.

Packing and scales stay on the host; the board runs runtime/cudla.py, which travels in the agent.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlaflow.errors import EnvironmentLacksError
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, perform, require_done
from dlaflow.remote.records import Phase, ProgramRun
from dlaflow.runtime.cudla import DESCRIPTION, TIMES, CudlaError, Tensor, check_tensor

LOADABLE = "model.loadable"
_RUN = "loadable"
_SECONDS = 3600.0
_MOST_TEXT = 1 << 20


class BoardDevice:
    """A loadable on a core of a board, with the interface of a cuDLA session.

    Raises CudlaError with cuDLA's own reason, EnvironmentLacksError as jobs do.
    """

    def __init__(self, board: RemoteBoard, loadable: Path, core: int, control: JobControl | None = None) -> None:
        self._board, self._loadable, self._core, self._control = board, loadable, core, control
        (text,) = self._job([], (), (DESCRIPTION,))
        try:
            told = json.loads(text[:_MOST_TEXT])
            self.version = str(told["cudla"])[:40]
            self.inputs, self.outputs = (tuple(map(_tensor, told[side])) for side in ("inputs", "outputs"))
        except (ValueError, TypeError, KeyError):
            raise EnvironmentLacksError(f"{board.name} describes the loadable in a way that cannot be read") from None

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
        try:
            times = [float(each) for each in json.loads(text)]
        except (ValueError, TypeError):
            times = []
        if len(times) != runs or not all(0 <= each < float("inf") for each in times):
            raise EnvironmentLacksError(f"{self._board.name} sent no times", expected=f"{runs} times")
        return times

    def statistics(self, inputs: Sequence[bytes], megahertz: int) -> list[str]:
        """Times of each layer as CSV, of the first statistics buffer: a loadable of one network has one."""
        (text,) = self._job(inputs, (f"--megahertz={megahertz}",), ("statistics0.csv",))
        return [text.decode("utf-8", "backslashreplace")]

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


def _tensor(row: Sequence[object]) -> Tensor:
    """A descriptor from the board, held to the same bounds as one from the library. Raises CudlaError, ValueError."""
    *first, strides = row
    name, size, dims, *kinds = first
    numbers: list[Any] = [size, *dims, *kinds, *strides]  # type: ignore[misc]  # what these are is checked here
    if not isinstance(name, str) or len(numbers) != 18 or not all(type(each) is int for each in numbers):
        raise ValueError("no descriptor")
    size, n, c, h, w, form, kind, category, pixel, mapping, *line = numbers
    return check_tensor(Tensor(name, size, (n, c, h, w), form, kind, category, pixel, mapping, tuple(line)))


def _raise_reason(log: Path) -> None:
    """cuDLA's reason is the last line of the program. Raises CudlaError where there is one."""
    lines = log.read_bytes()[-_MOST_TEXT:].decode("utf-8", "replace").splitlines() if log.is_file() else []
    try:
        told = json.loads(lines[-1])
        error = CudlaError(str(told["what"]), str(told["then"]), bool(told["lacks"]))
    except (IndexError, ValueError, TypeError, KeyError):
        return
    raise error
