"""Predicted against built, for every public build that can be re-created: the table by which the grouping is judged.

    python benchmarks/placement.py [--only PART] [--candidates] [--disagreements]

A row is a build: entries and layers on the predicted device, loadables predicted and built, those of the build with the
same first and last layer, and the candidates before the limit. `order` is told where the log names what the limit
dropped (one line a candidate, by its first layer): how many of those names the prediction drops too, and how many of
the first ones come in the same order, larger ones first. `--candidates` prints both lists side by side.

The graphs are drawn once and kept in the temporary folder (with the age of the code that draws them in its name);
dlaflow is whichever stands first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import takewhile, zip_longest
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent / "tests" / "placement"
sys.path.insert(0, str(HERE))

from graphs.builds import contributed, facts, predicted  # noqa: E402
from graphs.catalogue import CASES, Case  # noqa: E402

from dlaflow.observed.build import ObservedBuild  # noqa: E402
from dlaflow.observed.names import Resolver  # noqa: E402
from dlaflow.observed.score import Score, score  # noqa: E402
from dlaflow.placement import place  # noqa: E402
from dlaflow.placement.nodes import Node  # noqa: E402
from dlaflow.types import Placement  # noqa: E402

COLUMNS = ("build", "target", "entries", "layers", "loadables", "ends", "candidates", "order")
WIDTHS = (68, 28, 9, 9, 9, 6, 10, 0)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="builds whose name holds this")
    parser.add_argument("--candidates", action="store_true", help="the dropped candidates, predicted and built")
    parser.add_argument("--disagreements", action="store_true", help="what runs elsewhere, and the ends not predicted")
    asked = parser.parse_args()
    folder = graphs_folder()
    scores: list[Score] = []
    print(cells(COLUMNS))
    for case in (case for case in (*CASES, *contributed()) if asked.only in case.record):
        path = folder / f"{case.graph}.onnx"
        if not path.exists():
            case.draw(path)
        with grouped() as kept_and_dropped:
            placement = predicted(case, path)
        build = facts(case).build(placement, case.record)
        found = score(placement, build)
        sizes = {members[0].name: size(members) for members in (kept_and_dropped[-1][1] if kept_and_dropped else ())}
        dropped = sorted(sizes, key=lambda name: -sizes[name])
        scores.append(found)
        print(row(case, placement, build, found, order(placement, build, dropped)), flush=True)
        if asked.disagreements:
            print(*differences(found), sep="\n")
        if asked.candidates and named_drops(build):
            for ours, theirs in zip_longest(dropped, named_drops(build), fillvalue=""):
                print(f"    {sizes.get(ours, ''):>3} {ours:60.60} {theirs}")
    print(total(scores))
    return 0


def graphs_folder() -> Path:
    """Where drawn graphs are kept: another folder once the code that draws them, or a committed graph, changes."""
    drawn_by = sorted([*(HERE / "graphs").glob("*.py"), *(HERE / "builds").glob("*")])
    age = zlib.crc32(b"".join(path.read_bytes() for path in drawn_by))
    folder = Path(tempfile.gettempdir()) / f"dlaflow-graphs-{age:08x}"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def grouped() -> Iterator[list[tuple[list[list[Node]], list[list[Node]]]]]:
    """Collects what the limit of loadables keeps and drops; a placement tells only what is kept."""
    original, seen = vars(place)["keep_largest"], []

    def keep(*arguments: object, **options: object) -> object:
        seen.append(original(*arguments, **options))
        return seen[-1]

    vars(place)["keep_largest"] = keep
    try:
        yield seen
    finally:
        vars(place)["keep_largest"] = original


def size(members: Sequence[Node]) -> int:
    """The layers of a candidate, a product and its bias as one: the builder names its drops larger ones first."""
    return len({tuple(node.layer.onnx_nodes) if node.layer else (node.name,) for node in members})


def named_drops(build: ObservedBuild) -> list[str]:
    """The first layers of the candidates that the log drops, in its order."""
    return [message.layer for message in build.messages if message.reason == "subgraph_limit"]


def order(placement: Placement, build: ObservedBuild, dropped: Sequence[str]) -> str:
    """How the dropped candidates compare with those that the log names."""
    resolver = Resolver(placement)
    theirs = [{layer.name for layer in resolver.all(name)[0]} for name in named_drops(build)]
    if not theirs:
        return ""
    same = sum(any(name in names for name in dropped) for names in theirs)
    first = sum(1 for _ in takewhile(lambda pair: pair[0] in pair[1], zip(dropped, theirs, strict=False)))
    return f"{same}/{len(theirs)} dropped too, {first} in order"


def row(case: Case, placement: Placement, build: ObservedBuild, found: Score, ordered: str) -> str:
    """One line of the table."""
    drops = named_drops(build)
    candidates = str(len(found.loadables) + len(drops)) if drops and found.complete else "?"
    real = "?" if found.loadables_real is None else str(found.loadables_real)
    ends = sum(match.predicted is not None for match in found.loadables)
    told = [
        f"{case.record[:58]}{'' if found.complete else ' (excerpt)'}",
        f"{case.board} {case.tensorrt} {case.precision}",
        f"{found.named_agreeing}/{found.named}",
        f"{found.layers_agreeing}/{found.layers}",
        f"{found.loadables_predicted}/{real}",
        f"{ends}/{len(found.loadables)}" if found.loadables else "-",
        f"{placement.summary.loadables_before_cap}/{candidates}",
        ordered,
    ]
    return cells(told)


def cells(texts: Sequence[str]) -> str:
    """A line of the table."""
    return " | ".join(f"{text:{width}}" for text, width in zip(texts, WIDTHS, strict=True))


def differences(found: Score) -> list[str]:
    """What runs elsewhere than predicted, and the loadables that the prediction has not."""
    lines = [f"    {each.layer}: {each.predicted} predicted, ran on {each.real}" for each in found.disagreements]
    absent = [match for match in found.loadables if match.predicted is None]
    return [*lines, *(f"    no loadable {match.first} ... {match.last}" for match in absent)]


def total(scores: Sequence[Score]) -> str:
    """The sums over all rows."""
    layers = f"{sum(each.layers_agreeing for each in scores)}/{sum(each.layers for each in scores)}"
    named = f"{sum(each.named_agreeing for each in scores)}/{sum(each.named for each in scores)}"
    told = [each for each in scores if each.loadables_real is not None]
    ends = [match.predicted is not None for each in scores for match in each.loadables]
    return (
        f"{len(scores)} builds: entries {named}, layers {layers}, loadable counts "
        f"{sum(each.loadables_right for each in told)}/{len(told)}, same ends {sum(ends)}/{len(ends)}"
    )


if __name__ == "__main__":
    sys.exit(main())
