"""`dlaflow remote BOARD loadable KIND`: the commands of `dlaflow loadable` on boards over SSH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from dlaflow.api import loadable as use
from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.loadable import Timing, Where, output_lines, require_clock, tensor_lines
from dlaflow.cli.options import InputTexts, Source
from dlaflow.cli.remote_options import Connecting, each_board, own_path, show_measurements, show_top1
from dlaflow.files import together, write_atomic
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.feed import npz_of
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.inventory import BoardEntry, boards_of


def inspect(board: str, file: Path, /, *, how: Where | None = None, connecting: Connecting = Connecting()) -> None:
    """Load a DLA loadable on the board and tell its inputs and outputs.

    Parameters
    ----------
    file
        The loadable.
    """

    def work(one: RemoteBoard, entry: BoardEntry) -> list[str]:
        with use.opened(file, how or Where(), use.There(one, connecting.control)) as (device, runner):
            return [f"cuDLA {device.version} on {entry.title} ({device.through}):", *tensor_lines(runner)]

    for lines in each_board(board, connecting, work).values():
        terminal.say(*lines, quiet=connecting.quiet)


def run(
    board: str,
    file: Path,
    /,
    *,
    input: InputTexts,
    out: Written | None = None,
    how: Where | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Run a DLA loadable on the board on arrays, which are packed and unpacked here.

    Parameters
    ----------
    file
        The loadable.
    input
        A .npy [n, c, h, w], any n; NAME=FILE.npy for each of several inputs.
    out
        The outputs by name, float32, to this .npz; with several boards each adds its name.
    """
    count = len(boards_of(board, connecting.ssh_config))

    def work(one: RemoteBoard, entry: BoardEntry) -> list[str]:
        with use.opened(file, how or Where(), use.There(one, connecting.control)) as (_, runner):
            outputs = use.run_inputs(input, runner)
        if out is not None:
            write_atomic(own_path(out, entry.title, count), npz_of(outputs))
        return output_lines(outputs)

    for name, lines in each_board(board, connecting, work).items():
        terminal.say(f"{file} on {name}:", *lines, quiet=connecting.quiet)


def bench(
    board: str,
    file: Path,
    /,
    *,
    timing: Timing | None = None,
    statistics: Written | None = None,
    how: Where | None = None,
    json: Written | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Time tasks on the board's DLA by CUDA events, without the copies; its layers where cuDLA counts them.

    Parameters
    ----------
    file
        The loadable.
    statistics
        cuDLA's times of each layer as CSV to this file, of all statistics buffers; needs --dla-mhz. With several boards
        each adds its name.
    json
        Also write the measurements to this file.
    """
    timing = timing or Timing()
    require_clock(statistics, timing)
    count = len(boards_of(board, connecting.ssh_config))
    found = each_board(
        board,
        connecting,
        lambda one, entry: use.bench_loadable(file, how or Where(), timing, use.There(one, connecting.control)),
    )
    with together():
        for name, (_, texts) in found.items():
            if statistics is not None:
                write_atomic(own_path(statistics, name, count), "\n".join(texts))
        show_measurements({name: rows for name, (rows, _) in found.items()}, json, connecting)


def evaluate(
    board: str,
    file: Path,
    /,
    *,
    source: Source,
    how: Where | None = None,
    json: Written | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Measure the top-1 of a DLA loadable on the board itself, with its 95% interval, on 512 images or --samples.

    Parameters
    ----------
    file
        The loadable.
    json
        Also write the measurements to this file.
    """

    def work(one: RemoteBoard, entry: BoardEntry) -> tuple[Accuracy, str]:
        there = use.There(one, connecting.control)
        return use.evaluate_loadable(file, source.data, source, how or Where(), there=there)

    show_top1(file, each_board(board, connecting, work), json, connecting)


LOADABLE: Mapping[str, Callable[..., None]] = {"inspect": inspect, "run": run, "bench": bench, "evaluate": evaluate}
