"""Boards by name: one address, or an inventory file of several; and the work of many, one job at a time a board."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from dlaflow.errors import DlaflowError, InputError, UsageError
from dlaflow.progress import Interruption, Progress
from dlaflow.reading import TOML_BYTES, read_text
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.replay import ReplayTransport
from dlaflow.remote.ssh import SshTarget, SshTransport
from dlaflow.remote.transport import DEFAULT_ROOT, LocalTransport, Transport

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

T = TypeVar("T")


class BoardEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[board]]: `host` is [USER@]HOST[:PORT], `local` (this machine) or `replay:FOLDER` (a recording).

    `root` is the agent's folder on the board (default: .dlaflow in the home folder), `ssh_config` stands in place of
    ~/.ssh/config.
    """

    host: str
    name: str = ""
    root: str | None = None
    ssh_config: str | None = None

    @property
    def title(self) -> str:
        """How the board is called in answers."""
        return self.name or self.host


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inventory file."""

    board: tuple[BoardEntry, ...]


def boards_of(text: str, ssh_config: Path | None = None) -> tuple[BoardEntry, ...]:
    """The boards that BOARD on the command line stands for: an inventory (NAME.toml), or one address.

    Raises InputError for an inventory that cannot be read.
    """
    if not text.endswith(".toml"):
        return (BoardEntry(host=text, ssh_config=str(ssh_config) if ssh_config else None),)
    path = Path(text)
    try:
        found = msgspec.convert(tomllib.loads(read_text(path, TOML_BYTES)), Inventory)
    except (ValueError, RecursionError) as error:  # of tomllib, of UTF-8, of msgspec
        raise InputError(
            f"cannot read the inventory {path}: {error}", expected='[[board]] with host = "USER@HOST" and maybe a name'
        ) from None
    titles = [entry.title for entry in found.board]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if not titles or twice:
        raise InputError(
            f"cannot use the inventory {path}", expected="boards with names of their own", received=twice or "no board"
        )
    return found.board


def open_board(
    entry: BoardEntry, patience: Patience, progress: Progress, interruption: Interruption | None = None
) -> RemoteBoard:
    """The board of an entry; nothing is connected yet. Raises UsageError for an address that is none."""
    board = RemoteBoard(_transport(entry), patience, progress)
    board.title = entry.title
    board.interruption = interruption or board.interruption
    return board


@dataclass(frozen=True, slots=True)
class BoardResult(Generic[T]):
    """What came of the work on one board: its answer, or the error."""

    entry: BoardEntry
    answer: T | None
    error: DlaflowError | None


class BoardsFailedError(DlaflowError):
    """Some boards of several failed; the message names them."""


@dataclass(frozen=True, slots=True)
class UserCallbacks:
    """`ask_to_stop` asks at Ctrl-C whether the boards' jobs are to end too, `tell` prints a line."""

    ask_to_stop: Callable[[], bool] = lambda: False
    tell: Callable[[str], None] = lambda text: None


def on_every_board(
    entries: Sequence[BoardEntry], work: Callable[[BoardEntry, Interruption], T], user: UserCallbacks | None = None
) -> list[BoardResult[T]]:
    """Do `work` for all boards at once; the results come in the order of the inventory.

    A board that fails does not disturb the others. Raises KeyboardInterrupt once every board is left in good order and
    the user knows what goes on; a second Ctrl-C leaves at once.
    """
    user = user or UserCallbacks()
    results: dict[int, BoardResult[T]] = {}
    interruption = Interruption()
    # Not joined: after Ctrl-C within a join, Python 3.11 takes a running thread for ended.
    ended = [threading.Event() for _ in entries]

    def one(place: int, entry: BoardEntry) -> None:
        try:
            results[place] = BoardResult(entry, work(entry, interruption), None)
        except DlaflowError as error:
            results[place] = BoardResult(entry, None, error)
        except KeyboardInterrupt:
            results[place] = BoardResult(entry, None, DlaflowError("interrupted; nothing of it runs there any more"))
        except Exception as error:
            # One board's surprise must not silence the answers of the others.
            results[place] = BoardResult(entry, None, DlaflowError(f"{type(error).__name__}: {error}"))
        finally:
            ended[place].set()

    for place, entry in enumerate(entries):
        threading.Thread(target=one, args=(place, entry), daemon=True, name=entry.title).start()
    try:
        _wait(ended)
    except KeyboardInterrupt:
        interruption.decide(stop=user.ask_to_stop())
        _wait(ended)
        for result in results.values():
            if result.error is not None:
                user.tell(f"{result.entry.title}: {result.error}")
        raise
    return [results[place] for place in range(len(entries))]


def answers_of(
    results: Sequence[BoardResult[T]], tell: Callable[[str], None], then: str = "The others are done."
) -> dict[str, T]:
    """Board → answer.

    Raises the board's own error where there is one board; else each error is printed as a line, and BoardsFailedError
    is raised.
    """
    failed = [(result.entry.title, result.error) for result in results if result.error is not None]
    if failed and len(results) == 1:
        raise failed[0][1]
    for name, error in failed:
        tell(f"{name}: {error}")
    if failed:
        raise BoardsFailedError(
            f"{len(failed)} of {len(results)} boards failed: {', '.join(name for name, _ in failed)}",
            then=then,
        )
    return {result.entry.title: result.answer for result in results if result.answer is not None}


def _wait(ended: Sequence[threading.Event]) -> None:
    for one in ended:
        # With a time-out, because a plain wait does not let Ctrl-C through on every system.
        while not one.wait(0.2):
            pass


def _transport(entry: BoardEntry) -> Transport:
    if entry.host == "local":
        return LocalTransport(Path(entry.root).expanduser() if entry.root else Path.home() / DEFAULT_ROOT)
    if entry.host.startswith("replay:"):
        return ReplayTransport(Path(entry.host.partition(":")[2]))
    if "/" in entry.host and Path(entry.host).exists():
        raise UsageError("a board's address comes first", expected="[USER@]HOST or BOARDS.toml", received=entry.host)
    config = Path(entry.ssh_config).expanduser() if entry.ssh_config else None
    return SshTransport(SshTarget.parse(entry.host, config=config, root=entry.root or DEFAULT_ROOT))
