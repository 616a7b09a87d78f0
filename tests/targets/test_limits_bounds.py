"""Every bound of limits.toml at the bound, where a layer passes, and one beyond, where its rule finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import pytest
from onnx import TensorProto

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model, network_of
from dlaflow.rules.base import Example
from dlaflow.rules.case import make_case
from dlaflow.rules.examine import Examiner
from dlaflow.rules.model import nothing_runs
from dlaflow.targets.limits import Limit, find_limit, limits
from dlaflow.targets.target import resolve_target
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Verdict
from tests.rules.test_examples import build

BOARDS = {"v1": "agx-xavier-32gb", "v2": "agx-orin-64gb"}
RELEASES = (
    "10.3.0",
    "8.5.2",
    "8.6.2",
    "8.4.1",
    "8.4.0",
    "8.2.1",
    "8.0.1",
    "7.1.3",
    "7.0.0",
    "10.4.0",
    "10.12.0",
    "11.4.1",
)
"""Where a bound is tried: the first of these that lies in its range, else the first release of the range."""

Make = Callable[[int], Example]


def conv(weights: str, attributes: str = "", x: str = "1,4,64,64") -> Example:
    return Example(f"y = Conv{attributes and f'<{attributes}>'}(x, w)", x=x, weights=(("w", weights),))


def deconv(weights: str, attributes: str = "", x: str = "1,4,4,4") -> Example:
    return Example(f"y = ConvTranspose{attributes and f'<{attributes}>'}(x, w)", x=x, weights=(("w", weights),))


def resize(mode: str, factor: int) -> Example:
    nodes = f'y = Resize<mode="{mode}", coordinate_transformation_mode="half_pixel", nearest_mode="floor">(x, roi, s)'
    if mode == "nearest":
        nodes = nodes.replace("half_pixel", "asymmetric")
    return Example(nodes, x="1,8,4,4", constants=(("roi", "float[0]", ""), ("s", "float[4]", f"1,1,{factor},{factor}")))


def loadables(count: int) -> Example:
    """A chain of `count` ReLUs between which a Ceil runs on the GPU."""
    pairs = "\n".join(f"c{i} = Ceil(r{i})\nr{i + 1} = Relu(c{i})" for i in range(1, count))
    return Example(f"r1 = Relu(x)\n{pairs}\ny = Identity(r{count})")


NUMBERS: dict[str, tuple[str, Make]] = {
    "any.batch": ("DLA101", lambda n: Example("y = Relu(x)", x=f"{n},8,2,2")),
    # A size of 0 can only come out of a layer: an input's 0 stands for an open size.
    "any.dims": ("DLA102", lambda n: Example("y = Relu(x)", x=f"1,8,1,{n}") if n else conv("0,1,1,1", x="1,1,8,8")),
    "model.loadables": ("DLA010", loadables),
    "conv.kernel": ("DLA110", lambda n: conv(f"4,4,{n},{n}")),
    "conv.padding": ("DLA111", lambda n: conv("4,4,32,32", f"pads=[{n},{n},{n},{n}]")),
    "conv.stride": ("DLA113", lambda n: conv("4,4,3,3", f"strides=[{n},{n}]")),
    "conv.dilation": ("DLA114", lambda n: conv("4,4,3,3", f"dilations=[{n},{n}]", x="1,4,80,80")),
    "conv.out_channels": ("DLA115", lambda n: conv(f"{n},1,1,1", x="1,1,8,8")),
    "conv.in_channels": ("DLA116", lambda n: conv(f"1,{n},1,1", x=f"1,{n},1,1")),
    "conv.groups": ("DLA117", lambda n: conv(f"{n},1,1,1", f"group={n}", x=f"1,{n},1,1")),
    # One bank for the weights; each further one holds 256 entries, which 512 columns of 64 channels fill.
    "conv.buffer_banks": ("DLA120", lambda n: conv("8,64,1,1", x=f"1,64,1,{(n - 1) * 512}")),
    "deconv.kernel": ("DLA130", lambda n: deconv(f"4,4,{n},1")),
    "deconv.stride": ("DLA131", lambda n: deconv("4,4,2,1", f"strides=[{n},1]")),
    "deconv.square_off": ("DLA132", lambda n: deconv(f"4,4,{n},{n}", f"strides=[{n},{n}]")),
    "deconv.padding": ("DLA133", lambda n: deconv("4,4,4,4", f"pads=[{n},{n},{n},{n}]")),
    "deconv.groups": ("DLA135", lambda n: deconv("4,4,2,2", f"group={n}")),
    "deconv.dilation": ("DLA136", lambda n: deconv("4,4,2,2", f"dilations=[{n},{n}]")),
    "deconv.channels": ("DLA137", lambda n: deconv(f"{n},1,1,1", x=f"1,{n},1,1")),
    "pool.window": ("DLA151", lambda n: Example(f"y = MaxPool<kernel_shape=[{n},{n}]>(x)")),
    "pool.padding": ("DLA152", lambda n: Example(f"y = MaxPool<kernel_shape=[9,9], pads=[{n},{n},{n},{n}]>(x)")),
    "pool.stride": ("DLA154", lambda n: Example(f"y = MaxPool<kernel_shape=[2,2], strides=[{n},{n}]>(x)")),
    "act.clip_max": (
        "DLA171",
        lambda n: Example("y = Clip(x, l, h)", constants=(("l", "float", "0"), ("h", "float", str(n)))),
    ),
    "lrn.window": ("DLA202", lambda n: Example(f"y = LRN<size={n}>(x)")),
    # The axis counted from the end of four dimensions.
    "concat.axis_from_last": (
        "DLA210",
        lambda n: Example(f"y = Concat<axis={4 - n}>(x, x2)", more_inputs=(("x2", "float[1,64,32,32]"),)),
    ),
    "resize.nearest_scale": ("DLA222", lambda n: resize("nearest", n)),
    "resize.linear_scale": ("DLA222", lambda n: resize("linear", n)),
    "softmax.axis_alone": ("DLA262", lambda n: Example("y = Softmax<axis=1>(x)", x=f"1,{n},1,1")),
    "softmax.axis": ("DLA262", lambda n: Example("y = Softmax<axis=1>(x)", x=f"1,{n},4,4")),
}
"""The id of a bound on a number: the rule, and a model whose one layer has that number."""

ONE_SIDE: list[tuple[str, str, Make]] = [
    ("conv.kernel", "DLA110", lambda n: conv(f"4,4,{n},1")),
    ("conv.kernel", "DLA110", lambda n: conv(f"4,4,1,{n}")),
    ("conv.padding", "DLA111", lambda n: conv("4,4,32,32", f"pads=[{n},0,0,0]")),
    ("conv.padding", "DLA111", lambda n: conv("4,4,32,32", f"pads=[0,0,0,{n}]")),
    ("conv.stride", "DLA113", lambda n: conv("4,4,3,3", f"strides=[1,{n}]")),
    ("conv.in_channels", "DLA191", lambda n: Example("y = MatMul(x, w)", x=f"1,{n}", weights=(("w", f"{n},1"),))),
    ("conv.in_channels", "DLA191", lambda n: Example("y = MatMul(x, w)", x="1,1", weights=(("w", f"1,{n}"),))),
    ("deconv.kernel", "DLA130", lambda n: deconv(f"4,4,1,{n}")),
    ("deconv.channels", "DLA137", lambda n: deconv(f"1,{n},1,1", x="1,1,1,1")),
    ("pool.window", "DLA151", lambda n: Example(f"y = MaxPool<kernel_shape=[1,{n}]>(x)")),
    ("pool.padding", "DLA152", lambda n: Example(f"y = MaxPool<kernel_shape=[9,9], pads=[0,0,{n},0]>(x)")),
    ("any.dims", "DLA102", lambda n: Example("y = Relu(x)", x=f"1,{n},1,1")),
    ("any.dims", "DLA102", lambda n: Example("y = Relu(x)", x=f"1,8,{n},1")),
]
"""Further models for some bounds: the number on one side alone, or in another rule."""

_TWO = (("x2", "float[1,64,32,32]"),)


def binary(op: str) -> Example:
    return Example(f"y = {op}(x, x2)", more_inputs=_TWO)


def compared(op: str) -> Example:
    return Example(f"b = {op}(x, x2)\ny = Cast<to=1>(b)", more_inputs=_TWO)


def second_operand(shape: str) -> Example:
    return Example("y = Mul(x, s)", x="4,64,32,32", more_inputs=(("s", f"float[{shape}]"),))


NAMES: dict[str, tuple[str, dict[str, Example]]] = {
    "act.types": (
        "DLA170",
        {
            "RELU": Example("y = Relu(x)"),
            "SIGMOID": Example("y = Sigmoid(x)"),
            "TANH": Example("y = Tanh(x)"),
            "CLIP": NUMBERS["act.clip_max"][1](6),
            "LEAKY_RELU": Example("y = LeakyRelu<alpha=0.1>(x)"),
            "ELU": Example("y = Elu(x)"),
        },
    ),
    "elementwise.operations": (
        "DLA180",
        {
            "SUM": binary("Add"),
            "PROD": binary("Mul"),
            "MAX": binary("Max"),
            "MIN": binary("Min"),
            "SUB": binary("Sub"),
            "DIV": binary("Div"),
        },
    ),
    "elementwise.broadcast": (
        "DLA181",
        {
            "NCHW": second_operand("4,64,32,32"),
            "NC11": second_operand("4,64,1,1"),
            "N111": second_operand("4,1,1,1"),
            "N1HW": second_operand("4,1,32,32"),
        },
    ),
    "comparison.operations": (
        "DLA184",
        {
            "EQUAL": compared("Equal"),
            "GREATER": compared("Greater"),
            "LESS": compared("Less"),
            "GREATER or EQUAL": compared("GreaterOrEqual"),
        },
    ),
    "unary.operations": (
        "DLA270",
        {
            "ABS": Example("y = Abs(x)"),
            "CEIL": Example("y = Ceil(x)"),
        },
    ),
    "slice.modes": (
        "DLA235",
        {
            "STRICT_BOUNDS": Example(
                "y = Slice(x, b, e, a)",
                constants=(("b", "int64[1]", "0"), ("e", "int64[1]", "8"), ("a", "int64[1]", "1")),
            ),
            "WRAP": Example("y = Tile(x, n)", constants=(("n", "int64[4]", "1,1,2,1"),)),
            "FILL": Example("y = Pad(x, p)", constants=(("p", "int64[8]", "0,0,1,1,0,0,1,1"),)),
            "CLAMP": Example('y = Pad<mode="edge">(x, p)', constants=(("p", "int64[8]", "0,0,1,1,0,0,1,1"),)),
        },
    ),
    "reduce.operations": (
        "DLA250",
        {
            "MAX": Example("y = ReduceMax<axes=[2,3], keepdims=1>(x)"),
            "AVG": Example("y = GlobalAveragePool(x)"),
        },
    ),
}
"""The id of a list of names: the rule, and a model for each name; the last stands in no list (or is made of two)."""

NOT_WHOLLY_TAKEN = {"comparison.operations": {"EQUAL", "GREATER", "LESS"}, "slice.modes": {"FILL"}}
"""Listed names of which a rule still says `unknown`, because another source contradicts or demands more."""


@dataclass(frozen=True)
class Switched:
    """A bound that is a release: models that its rule judges one way inside of the range and another way outside."""

    rule: str
    examples: tuple[Example, ...]
    inside: Verdict | None
    outside: Verdict | None
    precision: str = "int8"


_SHUFFLE = Example("y = Transpose<perm=[0,1,3,2]>(x)")
_DEPTHWISE = Example("y = Conv<group=960>(x, w)", x="1,960,8,8", weights=(("w", "960,1,3,3"),))
_GROUPED = Example("y = Conv<group=32>(x, w)", x="1,256,8,256", weights=(("w", "256,8,3,3"),))
_UNKNOWN, _FALLBACK = Verdict.UNKNOWN, Verdict.FALLBACK
SWITCHED = {
    "conv.padding_below_kernel": Switched("DLA112", (conv("4,4,3,3", "pads=[3,3,3,3]"),), _FALLBACK, None),
    "deconv.stride_is_kernel": Switched("DLA138", (deconv("4,4,3,3", "strides=[2,2]"),), _FALLBACK, None),
    "pool.inclusive_only": Switched(
        "DLA155", (Example("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)"),), _FALLBACK, None
    ),
    "elementwise.division": Switched("DLA180", (binary("Div"), binary("Pow")), _UNKNOWN, _FALLBACK),
    "unary.contradicted": Switched(
        "DLA270", tuple(Example(f"y = {op}(x)") for op in ("Sin", "Cos", "Atan", "Atanh")), _UNKNOWN, _FALLBACK
    ),
    # 32 kernels of 3x3 over 256 channels take 5 banks in FP16, three rows of 256 columns 12.
    "conv.kernel_group": Switched("DLA120", (_GROUPED,), _FALLBACK, None, "fp16"),
    # 32 kernels of 3x3 over 960 channels take 17 banks, one kernel of them 1.
    "conv.depthwise_unit": Switched("DLA120", (_DEPTHWISE,), None, _UNKNOWN, "fp16"),
    "fp16.refused": Switched("DLA270", (Example("y = Sin(x)"), Example("y = Cos(x)")), _FALLBACK, _UNKNOWN, "fp16"),
    "shuffle.same_channels": Switched(
        "DLA243", (Example("y = Reshape(x, n)", constants=(("n", "int64[4]", "1,32,64,32"),)),), _UNKNOWN, None
    ),
    "resize.available": Switched("DLA220", (resize("nearest", 2),), None, _UNKNOWN),
    "softmax.available": Switched("DLA260", (Example("y = Softmax<axis=1>(x)", x="1,64,1,1"),), None, _FALLBACK),
    "slice.available": Switched("DLA230", (NAMES["slice.modes"][1]["STRICT_BOUNDS"],), None, _FALLBACK),
    "shuffle.available": Switched("DLA240", (_SHUFFLE,), None, _UNKNOWN),
    "shuffle.beside_slice": Switched(
        "DLA243",
        (Example("r = Reshape(x, n)\ny, z = Split<axis=1>(r)", constants=(("n", "int64[4]", "1,64,64,16"),)),),
        _FALLBACK,
        None,
    ),
    "prelu.available": Switched(
        "DLA173", (Example("y = PRelu(x, s)", constants=(("s", "float[1]", "0.25"),)),), None, _UNKNOWN
    ),
    "quantize.available": Switched(
        "DLA290",
        (
            Example(
                "q = QuantizeLinear(x, s, z)\ny = DequantizeLinear(q, s, z)",
                constants=(("s", "float", "0.1"), ("z", "int8", "0")),
            ),
        ),
        None,
        _FALLBACK,
    ),
}
"""What is inferred answers `unknown` inside of its range, whatever stands here."""

BY_HAND = {"model.weight_bytes", "model.activation_bytes"}
"""Bounds on a whole loadable, tried by tests of their own below."""

UNREACHED = {
    ("softmax.axis_alone", 0): "an input's size of 0 stands for an open one, which another rule refuses",
    ("softmax.axis", 0): "the same",
    ("comparison.operations", "8.6.12"): "the parser makes every comparison of EQUAL, GREATER and LESS, all listed",
}
"""What no model brings to the rule of its bound: a number one beyond, or a name that the list of a release lacks."""


def numbers() -> list[tuple[Limit, int]]:
    """Each bound on a number with the numbers at it and one beyond, on both sides."""
    found = []
    for limit in limits():
        if limit.id in NUMBERS:
            at = {number for number in (limit.min, limit.max, *limit.values) if number is not None}
            beyond = {number + step for number in at for step in (-1, 1) if not limit.allows(number + step)}
            found += [(limit, number) for number in sorted(at | beyond)]
    return found


def inside(limit: Limit) -> tuple[str, str]:
    """A board and a release for which `limit` is the one in force."""
    for release in (*RELEASES, *filter(None, (limit.since, limit.until))):
        for dla in ("v1", "v2") if Version.parse(release) < Version.parse("8.4") else ("v2", "v1"):
            if find_limit(limit.id, Version.parse(release), dla) is limit:
                return BOARDS[dla], release
    raise AssertionError(f"no release for {limit}")


def outside(id: str) -> list[tuple[str, str]]:
    """Boards and releases of which no entry of that bound says anything, on each side of each range."""
    known = [limit for limit in limits() if limit.id == id]
    ends = [before(limit.since) for limit in known if limit.since]
    ends += [after(limit.until) for limit in known if limit.until]
    everywhere = [(dla, release) for dla in BOARDS for release in (*ends, known[0].since or known[0].until or "8.5.2")]
    return [(BOARDS[dla], end) for dla, end in everywhere if find_limit(id, Version.parse(end), dla) is None]


def before(release: str) -> str:
    """The last release before this one: 8.3.99 for 8.4, 8.4.0 for 8.4.1, 7.99 for 8.0."""
    *head, last = map(int, release.split("."))
    while last == 0:
        *head, last = head
    return ".".join(map(str, [*head, last - 1, *([99] if len(head) < 2 else [])]))


def after(release: str) -> str:
    """The first release that `until` leaves out: 8.7 for 8.6, 8.6.12 for 8.6.11."""
    *head, last = map(int, release.split("."))
    return ".".join(map(str, [*head, last + 1]))


def judged(
    rule: str, example: Example, board: str, release: str, folder: Path, precision: str = "int8"
) -> Verdict | None:
    """The worst verdict of a rule's findings on a model, remarks left out; None when the rule says nothing."""
    path = folder / "model.onnx"
    path.write_bytes(build(example).SerializeToString())
    model, target = load_model(path), resolve_target(board, tensorrt=release, precision=precision)
    placement = check_model(model, target)
    found = [finding for layer in placement.layers for finding in layer.findings] + placement.findings
    if nothing_runs(found):  # `check` asks no rule about layers then; the bounds hold all the same
        network, ask = network_of(model, target), Examiner()
        case = make_case(network, target)
        found = [*ask.model(case), *(each for layer in network.layers for each in ask.layer(layer, case))]
    verdicts = {finding.verdict for finding in found if finding.rule == rule}
    return next((worst for worst in (_FALLBACK, _UNKNOWN, Verdict.CONDITIONAL) if worst in verdicts), None)


def refusal(limit: Limit) -> Verdict:
    return _UNKNOWN if limit.confidence is Confidence.INFERRED else _FALLBACK


@pytest.mark.parametrize(("limit", "number"), numbers(), ids=lambda value: getattr(value, "id", value))
def test_a_number_at_the_bound_passes_and_one_beyond_is_found(limit: Limit, number: int, tmp_path: Path):
    rule, make = NUMBERS[limit.id]
    passes = limit.allows(number) != (limit.id == "deconv.square_off")
    if (limit.id, number) in UNREACHED:
        assert judged(rule, make(number), *inside(limit), tmp_path) is None
        assert judged("DLA103", make(number), *inside(limit), tmp_path) is Verdict.CONDITIONAL
        return
    assert judged(rule, make(number), *inside(limit), tmp_path) is (None if passes else refusal(limit))


@pytest.mark.parametrize(("id", "rule", "make"), ONE_SIDE, ids=lambda value: value if isinstance(value, str) else "")
def test_one_number_alone_is_held_against_the_bound(id: str, rule: str, make: Make, tmp_path: Path):
    board, release = BOARDS["v2"], "8.5.2"
    limit = find_limit(id, Version.parse(release), "v2")
    high = max(limit.max, *limit.values, 0) if id == "deconv.kernel" else limit.max
    assert judged(rule, make(high), board, release, tmp_path) is None
    assert judged(rule, make(high + 1), board, release, tmp_path) is _FALLBACK


@pytest.mark.parametrize(
    ("limit", "name"),
    [(limit, name) for limit in limits() if limit.id in NAMES for name in NAMES[limit.id][1]],
    ids=lambda value: getattr(value, "id", value),
)
def test_a_listed_name_passes_and_another_is_found(limit: Limit, name: str, tmp_path: Path):
    rule, models = NAMES[limit.id]
    expected = refusal(limit)
    if set(name.split(" or ")) <= set(limit.names):
        expected = _UNKNOWN if set(name.split(" or ")) <= NOT_WHOLLY_TAKEN.get(limit.id, set()) else None
    # Other bounds judge a division, in INT8 at least, and comparisons in FP16; they are tried below.
    precision = "int8" if limit.id == "comparison.operations" else "fp16"
    assert judged(rule, models[name], *inside(limit), tmp_path, precision) is expected


def test_padding_one_below_the_kernel_passes(tmp_path: Path):
    example = conv("4,4,3,3", "pads=[2,2,2,2]")
    assert judged("DLA112", example, BOARDS["v2"], "8.5.2", tmp_path) is None


@pytest.mark.parametrize(
    ("limit", "example"),
    [(limit, example) for limit in limits() if limit.id in SWITCHED for example in SWITCHED[limit.id].examples],
    ids=lambda value: getattr(value, "id", ""),
)
def test_a_release_inside_the_range_is_judged_one_way(limit: Limit, example: Example, tmp_path: Path):
    switched = SWITCHED[limit.id]
    expected = _UNKNOWN if limit.confidence is Confidence.INFERRED else switched.inside
    assert judged(switched.rule, example, *inside(limit), tmp_path, switched.precision) is expected


@pytest.mark.parametrize(("id", "board", "release"), [(id, *where) for id in SWITCHED for where in outside(id)])
def test_a_release_outside_of_every_range_is_judged_the_other_way(id: str, board: str, release: str, tmp_path: Path):
    switched = SWITCHED[id]
    found = {
        judged(switched.rule, example, board, release, tmp_path, switched.precision) for example in switched.examples
    }
    assert found == {switched.outside}


@pytest.mark.parametrize("limit", limits(), ids=lambda limit: limit.id)
def test_a_range_of_releases_holds_at_both_ends_and_not_beyond(limit: Limit):
    ends = [(limit.since, True), (limit.until, True)]
    ends += [(limit.since and before(limit.since), False), (limit.until and after(limit.until), False)]
    ends += [(limit.until and f"{limit.until}.99", True)] if limit.until and limit.until.count(".") < 3 else []
    for dla in BOARDS:
        for release, holds in ends:
            if release:
                found = find_limit(limit.id, Version.parse(release), dla) is limit
                assert found == (holds and dla in limit.dla), (release, dla)


def test_every_bound_is_tried():
    tried = [set(NUMBERS), set(NAMES), set(SWITCHED), BY_HAND]
    assert set().union(*tried) == {limit.id for limit in limits()}
    assert sum(map(len, tried)) == len(set().union(*tried))
    for limit in limits():
        if limit.id in NAMES:
            strangers = [name for name in NAMES[limit.id][1] if not set(name.split(" or ")) <= set(limit.names)]
            assert set(limit.names) <= set(NAMES[limit.id][1])
            assert bool(strangers) != ((limit.id, limit.since) in UNREACHED), limit
    assert all(outside(id) for id in SWITCHED)
    assert set(UNREACHED) <= {(limit.id, number) for limit, number in numbers()} | {(x.id, x.since) for x in limits()}


def save_sparse(path: Path, nodes: str, x: str, weights: dict[str, tuple[int, ...]]) -> None:
    """A model whose weights lie in a file that takes no room on the disk: checking reads shapes alone."""
    initializers = []
    for name, shape in weights.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="weights.bin")
        initializers.append(tensor)
    with (path.parent / "weights.bin").open("wb") as file:
        file.truncate(4 * max(map(prod, weights.values())))
    model = build(Example(nodes, x=x))
    model.graph.initializer.extend(initializers)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(("bias", "out", "found"), [({"b": (8191,)}, 8191, False), ({}, 8192, True)])
def test_the_weights_of_a_loadable(bias: dict[str, tuple[int, ...]], out: int, found: bool, tmp_path: Path):
    """7 * 2**26 weights of the first convolution; 2**26 of the second, or one less: 8192 * 8191 and a bias of 8191."""
    weights = {"w": (8192, 8192, 7, 1), "v": (out, 8192, 1, 1), **bias}
    (limit,) = (limit for limit in limits() if limit.id == "model.weight_bytes")
    assert limit.allows(sum(map(prod, weights.values()))) is not found
    assert limit.allows(sum(map(prod, weights.values())) - 1)
    nodes = f"a = Conv(x, w)\ny = Conv(a, v{', b' if bias else ''})"
    save_sparse(tmp_path / "model.onnx", nodes, "1,8192,8,1", weights)
    placement = check_model(load_model(tmp_path / "model.onnx"), resolve_target("agx-orin-64gb", tensorrt="8.5.2"))
    assert [one.layers for one in placement.loadables] == [["Conv_0", "Conv_1"]]
    assert [finding.rule for finding in placement.findings] == ["DLA012"] * found


@pytest.mark.parametrize(("shape", "found"), [("217,1359,331,11", False), ("64,64,512,512", True)])
def test_the_inner_tensors_of_a_loadable(shape: str, found: bool, tmp_path: Path):
    """2**30 - 1 bytes in INT8, and 2**30, between two layers."""
    (limit,) = (limit for limit in limits() if limit.id == "model.activation_bytes")
    assert prod(map(int, shape.split(","))) == limit.max + found
    example = Example("a = Relu(x)\ny = Relu(a)", x=shape)
    assert judged("DLA012", example, "agx-orin-64gb", "8.5.2", tmp_path) is (_UNKNOWN if found else None)
