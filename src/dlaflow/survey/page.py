"""The gallery: what a survey found, as a page to search and as a table in Markdown.

Both show one row for each model on each board under each release; the page holds the reasons and commands too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from dlaflow.report.graph import script_json
from dlaflow.report.html import render_page
from dlaflow.report.records import utc_now
from dlaflow.report.units import count, percent, plain, si
from dlaflow.survey.records import OnBoard, Result, Side, Triple
from dlaflow.visible import visible

_ALIKE = 2.0
"""Models with up to so many times the arithmetic, of the same task, are like one another."""
_MOST_ALIKE = 3


@dataclass(frozen=True, slots=True)
class Row:
    """A model on a board; `alike` are names of models of its kind that fit better."""

    result: Result
    on: OnBoard
    alike: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """What must be equal for rows to be compared."""
        return target_of(self.result, self.on.board, self.on.mode)

    @property
    def best(self) -> Side | None:
        """The placement after the fix, or as it is."""
        return self.result.after or self.result.before

    @property
    def rate(self) -> Triple | None:
        """Images/s of one core after the fix, or as it is."""
        return (self.on.after or self.on.before).rate

    @property
    def slower(self) -> str:
        """Whether the fix is estimated to slow it down, in a word or two: surely where the intervals are apart."""
        return "" if not self.on.slower else "slower" if self.on.clearly else "perhaps slower"

    @property
    def whole(self) -> bool:
        """Whether it is one loadable that holds all arithmetic."""
        return self.best is not None and self.best.whole

    def commands(self) -> list[str]:
        """What does the same for a file of the model."""
        case, model = self.result.case, self.result.model.name
        file = model if model.endswith(".onnx") else f"{model.rpartition(':')[2]}.onnx"
        file = f"./{file}" if file.startswith("-") else file
        words = ["--board", self.on.board, "--jetpack", case.release, "--precision", case.precision]
        words += ["--batch", str(case.batch)] if case.batch else []
        words += [word for shape in case.shape for word in ("--shape", shape)]
        mode = ["--mode", case.mode] if case.mode != "hybrid" else []
        fix = ["fix", file, "--out", "fixed.onnx", "--allow", self.result.allow]
        lines = [["check", file, *mode], [*fix, *mode]]
        if self.slower:
            lines.append([*fix, *mode, "--prefer", "speed"])
        if not mode and self.best is not None and self.best.standalone:
            lines.append([*fix, "--mode", "standalone", "--output-4d"])
        return [shlex.join(["dlaflow", *line, *words]) for line in lines]


def target_of(result: Result, board: str, mode: str) -> str:
    """A target in words."""
    case = result.case
    building = case.mode if case.mode != "hybrid" else ""
    sizes = ", ".join(case.shape) or (f"batch {case.batch}" if case.batch else "")
    parts = (board, f"JetPack {case.release}", case.precision.upper(), mode, building, sizes)
    return ", ".join(part for part in parts if part)


def rows_of(results: Iterable[Result]) -> dict[str, list[Row]]:
    """The models that are done, by target: those that fit best first, fast before slow."""
    found: dict[str, list[Row]] = {}
    for result in results:
        for on in result.boards:
            row = Row(result, on)
            found.setdefault(row.target, []).append(row)
    return {target: sorted(_with_alike(rows), key=_rank) for target, rows in found.items()}


def _with_alike(rows: Sequence[Row]) -> list[Row]:
    return [Row(row.result, row.on, tuple(each.result.model.name for each in _better(row, rows))) for row in rows]


def _better(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Models of the same task and about as much arithmetic that fit the DLA better, and are no slower there."""
    macs, rate = row.result.macs, row.rate
    return sorted(
        (
            each
            for each in rows
            if each.result.model.task == row.result.model.task
            and macs / _ALIKE <= each.result.macs <= macs * _ALIKE
            and _fit(each) > _fit(row)
            and each.rate is not None
            and (rate is None or each.rate[1] >= rate[1])
        ),
        key=_rank,
    )[:_MOST_ALIKE]


def _fit(row: Row) -> tuple[bool, int]:
    """How well a model stays on the DLA: in one piece, else by how seldom it leaves it."""
    return row.whole, -(row.best.switches if row.best else 0)


def _rank(row: Row) -> tuple[bool, float, str]:
    return not row.whole, -(row.rate[1] if row.rate else 0.0), row.result.model.name


def failed(results: Iterable[Result]) -> list[Result]:
    """What could not be used, and what crashed."""
    return [result for result in results if result.status != "done"]


def _left_out(results: Iterable[Result]) -> list[tuple[str, str, str]]:
    """What could not be surveyed, told once for all the cases that end alike: model, where, why."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for each in failed(results):
        key = each.model.name, each.case.precision.upper(), each.status, each.error
        found.setdefault(key, []).append(each.case.release)
    return [
        (name, f"JetPack {', '.join(dict.fromkeys(releases))}, {precision}, {status}", error)
        for (name, precision, status, error), releases in found.items()
    ]


def headline(results: Sequence[Result]) -> str:
    """The answer in a sentence."""
    models = {result.model.name for result in results}
    done = [result for result in results if result.status == "done"]
    before = {each.model.name for each in done if each.before and each.before.whole}
    after = {each.model.name for each in done if (side := each.after or each.before) and side.whole}
    return (
        f"{count(len(models), 'model')}: {len(before)} are one loadable as they are, "
        f"{len(after)} after `dlaflow fix`, on at least one target."
    )


def gallery_markdown(results: Sequence[Result]) -> str:
    """A page of tables, one for each target; all that is of a model's own making is plain text in them."""
    lines = [
        "# Gallery: public architectures on the DLA",
        "",
        headline(results),
        "",
        "Predicted by the rules of each release and estimated for one DLA core, random weights; nothing was built.",
        "Accuracy is not told here. `make gallery` writes these tables, and a page to sort, filter and search them.",
        "Slower: after the fix, by estimate, beyond the intervals; perhaps slower: the intervals overlap. The share on",
        "the DLA comes first; `dlaflow fix --prefer speed` keeps only what makes a model faster.",
        "",
    ]
    found = rows_of(results)
    if found:
        lines += [
            "A standalone build has no GPU at all; after the fix means `dlaflow fix --mode standalone --output-4d`.",
            "",
            "| target | models | one loadable | after fix | standalone | after fix |",
            "|---|--:|--:|--:|--:|--:|",
            *(f"| {_cell(target)} | {' | '.join(map(str, _counts(rows)))} |" for target, rows in found.items()),
            "",
        ]
    for target, rows in found.items():
        lines += [
            f"## {_cell(target)}",
            "",
            "| model | family | task | MACs on the DLA | after fix | loadables | after fix | switches | after fix "
            "| images/s (80% interval) | mJ/image |",
            "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            *(_line(row) for row in rows),
            "",
        ]
    if left := _left_out(results):
        lines += ["## What could not be surveyed", "", "| model | target | |", "|---|---|---|"]
        lines += [*(f"| {' | '.join(map(_cell, each))} |" for each in left), ""]
    return "\n".join(lines)


def _counts(rows: Sequence[Row]) -> tuple[int, ...]:
    """How many models there are; are one loadable as they are, after the fix; can be built standalone, likewise."""
    sides = [[row.result.before for row in rows], [row.best for row in rows]]
    whole = [sum(side is not None and side.whole for side in found) for found in sides]
    alone = [sum(side is not None and side.standalone for side in found) for found in sides]
    return len(rows), *whole, *alone


def _line(row: Row) -> str:
    model, before, after = row.result.model, row.result.before, row.result.after
    cells = [
        model.name,
        model.family,
        model.task,
        *(percent(side.share) if side else "" for side in (before, after)),
        *(str(side.loadables) if side else "" for side in (before, after)),
        *(str(side.switches) if side else "" for side in (before, after)),
        ", ".join(filter(None, (_interval(row.rate), row.slower))),
        _interval((row.on.after or row.on.before).energy),
    ]
    return f"| {' | '.join(map(_cell, cells))} |"


def _interval(found: Triple | None) -> str:
    return "unknown" if found is None else f"{plain(found[1], 3)} ({plain(found[0], 3)} to {plain(found[2], 3)})"


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no end of the cell."""
    return "".join(f"&#{ord(each)};" if each in "|<>&*_`[]\\~!#" else each for each in visible(text))


def gallery_page(results: Sequence[Result]) -> str:
    """One self-contained HTML file: a table that is sorted, filtered and searched, with the reasons of each row."""
    rows = rows_of(results)
    boards = sorted({row.on.board for found in rows.values() for row in found})
    return render_page(
        "gallery.html.j2",
        graphs=script_json([_facts(row) for found in rows.values() for row in found]),
        scripts=("page.js", "gallery.js"),
        headline=headline(results).replace("`", ""),
        created=utc_now(),
        rows=rows,
        failed=_left_out(results),
        boards=boards,
        families=sorted({result.model.family for result in results} - {""}),
        tasks=sorted({result.model.task for result in results} - {""}),
        models=len({result.model.name for result in results}),
        macs=si,
    )


def _facts(row: Row) -> dict[str, object]:
    """What a click tells: the page's script reads it."""
    result = row.result
    return {
        "before": msgspec.to_builtins(result.before),
        "after": msgspec.to_builtins(result.after),
        "fix": msgspec.to_builtins(result.fix),
        "times": {"before": msgspec.to_builtins(row.on.before), "after": msgspec.to_builtins(row.on.after)},
        "gpu": row.on.gpu,
        "unknown": row.on.unknown,
        "slower": row.on.slower.replace("`", ""),
        "inputs": result.inputs,
        "commands": row.commands(),
        "alike": row.alike,
    }
