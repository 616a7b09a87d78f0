"""A build that is passed on: what it placed where, its target, and the graph without weights, in one JSON file.

`dlaflow score --share` writes it, and a file in tests/placement/builds is a test: one format for both. It holds no text
of a log. Names can be hashed: one salt for the whole file, forgotten afterwards, so that the lists still match the
graph. Whatever is read is checked, since it comes from strangers.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import Model
from dlaflow.graph.weightless import graph_from_text, graph_text
from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.observed.names import is_noise, parts_of
from dlaflow.observed.score import Score
from dlaflow.parse.log import ValidatorMessage
from dlaflow.reading import read_bytes
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device, Placement
from dlaflow.version import __version__

_LONGEST = 1 << 16
"""Characters of a text; TensorRT 7 joins the names of all layers of a loadable, thousands of them in GoogLeNet."""
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=_LONGEST)]
Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class SharedLayer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An entry of the build: its printed name, its device, and, for a DLA node that lists them, all its layers."""

    name: Text
    device: Device
    kind: Text = ""
    members: tuple[Text, ...] | None = None


class SharedReason(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What TensorRT said of a layer, as the code of `dlaflow.parse.messages` and the values in it; not its words."""

    layer: Text
    reason: Text
    kind: Text = ""
    operation: Text = ""
    received: int | None = None
    limit: int | None = None


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the prediction of the version that wrote the file fared, before anybody learnt from the build.

    `ends`: how many of the `ends_told` loadables whose first and last layers the build tells were predicted.
    """

    named: Count
    named_agreeing: Count
    layers: Count
    layers_agreeing: Count
    loadables: Count
    ends: Count
    ends_told: Count

    @classmethod
    def of(cls, score: Score) -> Agreement:
        """The counts of a score."""
        return cls(
            named=score.named,
            named_agreeing=score.named_agreeing,
            layers=score.layers,
            layers_agreeing=score.layers_agreeing,
            loadables=score.loadables_predicted,
            ends=sum(match.predicted is not None for match in score.loadables),
            ends_told=len(score.loadables),
        )


class SharedBuild(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One build. Fields that are not told stay empty; `source` and `added` are for whoever publishes it.

    `everywhere` is the device of all layers where the source says no more than that. `layers` is empty where `listed`
    is all there is. `graph` is ONNX text without
    weights, a line each; it is empty where the network is drawn elsewhere. The other fields are those of
    `dlaflow.observed.build.ObservedBuild` and of the target.
    """

    schema: Literal["dlaflow.build/1"]
    dlaflow: Text
    source: Text = ""
    added: Text = ""
    board: Text
    tensorrt: Text
    precision: Text
    mode: Text = "hybrid"
    batch: Size | None = None
    shapes: dict[Text, tuple[Size, ...]] = {}
    told_by: Text = ""
    complete: bool = True
    ordered: bool = False
    everywhere: Device | None = None
    loadables: Count | None = None
    ends: tuple[tuple[Text, Text], ...] | None = None
    layers: tuple[SharedLayer, ...] = ()
    listed: tuple[SharedLayer, ...] = ()
    reasons: tuple[SharedReason, ...] = ()
    doubt: Text = ""
    hashed: bool = False
    scored: Agreement | None = None
    graph: tuple[str, ...] = ()

    def target(self) -> Target:
        """The target of the build. Raises UsageError for a board or a release that nobody knows."""
        found = resolve_target(
            self.board, tensorrt=self.tensorrt, precision=self.precision, batch=self.batch, mode=self.mode
        )
        return replace(found, shapes=tuple(FixedShape(name, dims) for name, dims in self.shapes.items()))

    def build(self, predicted: Placement, file: str = "") -> ObservedBuild:
        """The build as it was read; `predicted` tells the layers where the source says "all of them"."""
        layers = tuple(map(_observed, self.layers))
        listed = tuple(map(_observed, self.listed))
        if self.everywhere is not None:
            names = tuple(layer.name for layer in predicted.layers if layer.device is not Device.FOLDED)
            on_gpu = tuple(ObservedLayer(name, "", Device.GPU) for name in names)
            whole = (ObservedLayer("all", "", Device.DLA, members=names),)
            layers = listed = whole if self.everywhere is Device.DLA else on_gpu
        return ObservedBuild(
            layers=layers or listed,
            source=self.told_by,
            ordered=self.ordered,
            loadables=self.loadables,
            listed=listed,
            ends=self.ends,
            messages=tuple(_message(each) for each in self.reasons),
            complete=self.complete,
            doubt=self.doubt,
            file=file,
        )

    def save_graph(self, path: Path) -> Path:
        """Write the graph as an ONNX file without weights. Raises InputError when it is no usable text."""
        write_atomic(path, graph_from_text(self.graph, path).SerializeToString())
        return path

    def encoded(self) -> bytes:
        """The file: JSON with one entry or node a line, so that a change can be read."""
        lines = []
        for name, value in msgspec.to_builtins(self).items():
            items = [msgspec.json.encode(item).decode() for item in value] if isinstance(value, (list, tuple)) else []
            whole = "[\n  " + ",\n  ".join(items) + "\n ]" if items else msgspec.json.encode(value).decode()
            lines.append(f' "{name}": {whole}')
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_shared(path: Path) -> SharedBuild:
    """A file of `dlaflow score --share`. Raises InputError, with what is wrong, for any other file."""
    data = read_bytes(path)
    try:
        return msgspec.json.decode(data, type=SharedBuild)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{path} is no shared build", expected="JSON of schema dlaflow.build/1", received=str(error), then=_AGAIN
        ) from None


_AGAIN = "`dlaflow score --share` writes such files."


def share(
    model: Model, target: Target, build: ObservedBuild, scored: Score, *, hash_names: bool = False
) -> SharedBuild:
    """What a maintainer needs to add a build to the tests: nothing learnt, and no name where `hash_names` is set.

    Raises InputError for a graph that cannot be written as text.
    """
    names = _Names(hashing=hash_names)
    graph = tuple(graph_text(model, names.own, names.hidden))
    facts = facts_of(build, target, names)
    return msgspec.structs.replace(facts, hashed=hash_names, scored=Agreement.of(scored), graph=graph)


def facts_of(build: ObservedBuild, target: Target, names: _Names | None = None) -> SharedBuild:
    """A build and its target, without a graph."""
    names = names or _Names(hashing=False)
    return SharedBuild(
        schema="dlaflow.build/1",
        dlaflow=__version__,
        board=target.board.id,
        tensorrt=target.release.tensorrt,
        precision=target.precision,
        mode=target.mode,
        batch=target.batch,
        shapes={names.own(shape.name): shape.dims for shape in target.shapes},
        told_by=build.source,
        complete=build.complete,
        ordered=build.ordered,
        loadables=build.loadables,
        ends=None if build.ends is None else tuple((names.printed(a), names.printed(b)) for a, b in build.ends),
        layers=() if build.layers == build.listed else tuple(_entries(build.layers, names)),
        listed=tuple(_entries(build.listed, names)),
        reasons=tuple(dict.fromkeys(_reason(message, names) for message in build.messages)),
        doubt=build.doubt,
    )


def _entries(layers: tuple[ObservedLayer, ...], names: _Names) -> Iterator[SharedLayer]:
    """The entries of a list without copies and reformats, which a score passes over."""
    for layer in layers:
        if layer.device is Device.DLA:
            members = None if layer.members is None else tuple(map(names.printed, layer.members))
            yield SharedLayer(names.node(layer), layer.device, "", members)
        elif not is_noise(layer.name, layer.kind):
            yield SharedLayer(names.printed(layer.name), layer.device, layer.kind)


def _reason(said: ValidatorMessage, names: _Names) -> SharedReason:
    return SharedReason(
        names.printed(said.layer), said.reason, said.type, said.operation, received=said.received, limit=said.limit
    )


class _Names:
    """Names as they go into the file: as they are, or hashed with a salt that nobody keeps."""

    def __init__(self, *, hashing: bool) -> None:
        self._salt = secrets.token_bytes(16) if hashing else b""
        self._known: set[str] = set()

    def own(self, name: str) -> str:
        """A name of the model."""
        self._known.add(name)
        return self.hidden(name)

    def hidden(self, text: str) -> str:
        """A word of the model that nothing in a log is compared with."""
        return self._hash(text) if self._salt else text

    def printed(self, text: str) -> str:
        """A name that TensorRT prints, perhaps of several layers that it joined."""
        if not self._salt or not text:
            return text
        parts = parts_of(text)
        return " + ".join(map(self._part, [part for part in parts if not is_noise(part)] or parts))

    def node(self, layer: ObservedLayer) -> str:
        """The name of a DLA node, by its ends."""
        if not self._salt or layer.members:
            return self.printed(layer.name) if self._salt else layer.name
        first, last = map(self.printed, layer.ends)
        return f"{{ForeignNode[{first}...{last}]}}" if first != last else f"{{ForeignNode[{first}]}}"

    def _part(self, name: str) -> str:
        """One layer: TensorRT's own words around a name of the model stay, all other names are hashed whole."""
        if _OF_TENSORRT.match(name):
            return name
        before = _BEFORE.match(name)
        rest = name[before.end() :] if before else name
        after = "" if rest in self._known else (found.group() if (found := _AFTER.search(rest)) else "")
        core = rest[: len(rest) - len(after)]
        return (before.group() if before else "") + self._hash(core) + after

    def _hash(self, name: str) -> str:
        return "n" + hashlib.blake2b(name.encode(errors="surrogateescape"), key=self._salt, digest_size=6).hexdigest()


_OF_TENSORRT = re.compile(r"\(Unnamed Layer\* \d+\) \[\w+\]|\(?ONNXTRT_\w+\)?$")
_BEFORE = re.compile(
    r"(?:node_of_|copied_|(?:squeeze|reshape)_(?:after|before)_|scale_(?:eltwise|operand|constant)_of_)+"
)
_AFTER = re.compile(r"(?:_ONNXTRT_\w+|_\d+)?(?: \[\w+\])?$")


def _observed(layer: SharedLayer) -> ObservedLayer:
    return ObservedLayer(layer.name, layer.kind, layer.device, members=layer.members)


def _message(said: SharedReason) -> ValidatorMessage:
    text = said.reason.replace("_", " ")
    return ValidatorMessage(
        said.layer, said.kind, said.reason, text, operation=said.operation, received=said.received, limit=said.limit
    )
